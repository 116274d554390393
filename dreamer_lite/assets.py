"""Finds what is shipped with the package: trained agents, figures, reference curves.

Only this module knows the folder of the assets. In a clone it is `assets/` at the top of the
repository, beside the package. In a package that pip installed it is `_assets`, inside the package
(see pyproject.toml).
"""

import difflib
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def clone() -> Path | None:
    """The folder of the repository that contains this package; None if pip installed it."""
    file = _PACKAGE.parent / "pyproject.toml"
    ours = file.is_file() and 'name = "dreamer_lite"' in file.read_text(encoding="utf-8")
    return file.parent if ours else None


# Only in a clone is a folder assets/ beside the package ours: site-packages may hold another one.
_FOLDER = (clone() or _PACKAGE) / ("assets" if clone() else "_assets")


def names(folder: str = "", suffix: str = "") -> list[str]:
    """The assets below `folder` whose names end in `suffix`, such as "agents/catch.json"."""
    files = sorted(file for file in (_FOLDER / folder).rglob("*") if file.is_file())
    found = [file.relative_to(_FOLDER).as_posix() for file in files]
    return [name for name in found if name.endswith(suffix)]


def agents() -> list[str]:
    """The names of the shipped agents: "catch" for the file agents/catch.safetensors."""
    found = names("agents", ".safetensors")
    return [name.removeprefix("agents/").removesuffix(".safetensors") for name in found]


def path(name: str) -> Path:
    """The file of the asset `name`, such as path("agents/catch.safetensors").

    Raises:
      ValueError: there is no such asset; one sentence with the nearest or all names.
    """
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        listed = ", ".join(known) or f"none, because {_FOLDER} is missing or empty"
        hint = f"did you mean {' or '.join(near)}?" if near else f"valid are {listed}."
        raise ValueError(f"There is no asset {name!r}: {hint}")
    return _FOLDER / name
