# Finds dreamer_lite: installed, in a folder above this notebook, or in a fresh clone.
import importlib.util
import pathlib
import subprocess
import sys

REPOSITORY, REF = "", ""  # from pyproject.toml
if importlib.util.find_spec("dreamer_lite") is None:
    above = [pathlib.Path.cwd(), *pathlib.Path.cwd().parents, pathlib.Path("dreamer-lite-code")]
    found = [folder for folder in above if (folder / "dreamer_lite" / "__init__.py").is_file()]
    if not found and not REPOSITORY:
        raise ImportError(
            "dreamer_lite is not here: clone its repository and run `make lab` there."
        )
    if not found:
        clone = ["git", "clone", "--quiet", "--depth=1", f"--branch={REF}", REPOSITORY, above[-1]]
        subprocess.run(clone, check=True)
    sys.path.insert(0, str((found or above[-1:])[0].resolve()))
