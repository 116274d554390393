# Finds dreamer_lite: installed, in a folder above this notebook, or in a fresh clone.
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY, REF = "", ""  # from pyproject.toml
CLONE = Path("dreamer-lite-code")


def whole(folder):
    """Whether this folder holds the library of this course, all of it. Nothing in it is run."""
    parts = [Path(folder, "dreamer_lite", name) for name in ("__init__.py", "worlds/__init__.py")]
    return all(map(Path.is_file, parts)) and b"Dreamer Lite" in parts[0].read_bytes()


def need(fine, sentence):
    if not fine:
        raise ImportError(sentence)


need(sys.version_info >= (3, 11) and importlib.util.find_spec("jax"),
     f"{sys.executable} is older than Python 3.11 or has no jax: choose the kernel of the clone's "
     ".venv, or open this notebook by `make lab`.")  # fmt: skip
spec = importlib.util.find_spec("dreamer_lite")
if not any(whole(Path(f).parent) for f in (spec and spec.submodule_search_locations) or ()):
    near = [Path.cwd(), *Path.cwd().parents][:3] + [CLONE]
    if not any(map(whole, near)):
        need(REPOSITORY, "dreamer_lite is not here: clone its repository, run `make lab` there.")
        need(not CLONE.exists(), f"{CLONE.resolve()} is no whole clone: delete it, run again.")
        need(shutil.which("git"), f"To fetch {REPOSITORY}, install git, then run this again.")
        part = f"{CLONE}-{os.getpid()}"  # what is cut off is not taken for a clone
        words = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
        command = ["git", "clone", "-q", "--depth=1", f"--branch={REF}", REPOSITORY, part]
        result = subprocess.run(command, env=words, capture_output=True, encoding="utf-8")
        said = " ".join(result.stderr.split())
        need(result.returncode == 0, f"Cannot fetch {REPOSITORY}: {said}")
        os.rename(part, CLONE)
    sys.path.insert(0, str(next(filter(whole, near)).resolve()))
