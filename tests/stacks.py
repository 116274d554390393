"""Environments of other versions than the tests' own, and clean places to run things in.

Two stacks: Colab's, rebuilt from `colab-constraints.txt`, and the newest of everything. An
environment is made once, in the user's cache, and anew when what it is made from changes. It is
never used itself: a test gets a copy, whose files are hard links, so that what a notebook installs
stays in the copy and every notebook meets the stack as a fresh machine would have it.
"""

import contextlib
import datetime
import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import small_run

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent
NEVER_MOVED = ("jax", "jaxlib", "flax", "numpy")
TOLD = (*NEVER_MOVED, "optax", "gymnasium", "matplotlib", "ipywidgets", "ipykernel", "jupytext")


class Stack(NamedTuple):
    """A Python and what pip is asked to install into it."""

    name: str
    python: str  # such as "3.13"
    wanted: tuple[str, ...]

    @property
    def is_colab(self) -> bool:
        return self.name == "colab"


def stacks() -> list[Stack]:
    """Colab's versions, and the newest of all that the package and its extras name."""
    colab = (HERE / "colab-constraints.txt").read_text(encoding="utf-8").splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    newest = [*project["dependencies"], *(x for e in extras if e != "dev" for x in extras[e])]
    return [
        Stack("colab", "3.13", tuple(line for line in colab if line and line[0] != "#")),
        Stack("newest", "3.12", tuple(newest)),
    ]


# Interpreters


@cache
def interpreter(version: str) -> Path | None:
    """The first Python of this version that really runs (a shim may not) and makes environments."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    candidates = [Path(folder) / f"python{version}" for folder in folders if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates += sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)
    return next((found for found in candidates if runs(found, version)), None)


def runs(python: Path, version: str) -> bool:
    program = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        result = subprocess.run(
            [python, "-c", program],
            capture_output=True,
            text=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return result.returncode == 0 and result.stdout.strip() == version


def why_not(stack: Stack) -> str:
    """Why this stack cannot be built here, or nothing."""
    if os.name != "posix":
        return "environments are copied by hard links, which is tried on Linux and macOS only"
    if interpreter(stack.python) is None:
        return f"no Python {stack.python} runs here (as python{stack.python}, or below ~/.pyenv)"
    return why_no_clone()


def why_no_clone() -> str:
    """Why what is committed cannot be cloned from here, or nothing."""
    try:
        command = ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", "HEAD"]
        found = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return "there is no git here"
    return "" if found.returncode == 0 else "this folder is not a clone of the repository"


# Environments


def folder() -> Path:
    """Where environments are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "dreamer-lite" / "stacks"


def digest(stack: Stack) -> str:
    """Changes when the environment has to be made anew; the newest stack ages in a month."""
    month = "" if stack.is_colab else datetime.date.today().strftime("%Y-%m")
    made_from = [month, str(interpreter(stack.python)), *stack.wanted]
    return hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:12]


def environment(stack: Stack) -> Path:
    """The stack's environment, made now if it is missing or old. Not to be changed: `copy` it."""
    place = folder() / f"{stack.name}-{digest(stack)}"
    with alone(stack.name):
        if not (place / ".ready").exists():
            for old in folder().glob(f"{stack.name}-*"):
                shutil.rmtree(old)
            make(stack, place)
    return place


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """One process at a time, of all that test here."""
    folder().mkdir(parents=True, exist_ok=True)
    with open(folder() / f"{name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make(stack: Stack, place: Path) -> None:
    start = time.monotonic()
    say(f"making the {stack.name} stack's environment, Python {stack.python}: 2 to 15 minutes")
    subprocess.run([str(interpreter(stack.python)), "-m", "venv", place], check=True)
    pip(place, "install", *stack.wanted)
    (place / ".ready").touch()
    say(f"made in {time.monotonic() - start:.0f} s: {in_words(versions(place))}")


@contextlib.contextmanager
def copy(place: Path) -> Iterator[Path]:
    """A copy to use and to spoil, gone afterwards; beside the original, where links reach."""
    with alone("copies"):
        for left in folder().glob("copy-*"):
            if not lives(int(left.name.split("-")[1])):  # it was killed
                shutil.rmtree(left, ignore_errors=True)
        mine = (folder() / f"copy-{os.getpid()}-{number}" for number in itertools.count())
        to = next(place for place in mine if not place.exists())
        shutil.copytree(place, to, symlinks=True, copy_function=os.link)
    try:
        yield to
    finally:
        shutil.rmtree(to, ignore_errors=True)


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def python(place: Path) -> str:
    return str(place / "bin" / "python")


def pip(place: Path, *words: str) -> str:
    """Run pip in an environment; AssertionError with its last lines if it fails."""
    command = [python(place), "-m", "pip", "--disable-pip-version-check", *words]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, result.stderr[-1500:]
    return result.stdout


def versions(place: Path) -> dict[str, str]:
    """What is installed, by normalised name."""
    found = json.loads(pip(place, "list", "--format=json"))
    return {re.sub(r"[-_.]+", "-", p["name"]).lower(): p["version"] for p in found}


def moved(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple]:
    """What was there and is now gone or another version: (before, after) by name."""
    pairs = {name: (old, after.get(name)) for name, old in before.items()}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def in_words(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {found[name]}" for name in TOLD if name in found)


def say(words: str) -> None:
    """Progress of a long job; seen live where pytest runs with -s."""
    print(f"  {words}", flush=True)


# Places without a history


def clean(home: Path, **more: str) -> dict[str, str]:
    """The variables of somebody who has just arrived, with `home` as the home folder.

    Only the ways to programs, to a package mirror and through a proxy are kept, and pip's cache of
    downloads, which is not worth 400 MB a time.
    """
    home.mkdir(parents=True, exist_ok=True)
    real = Path.home()
    kept = re.compile(r"PATH|LANG|LC_\w+|TZ|TERM|(PIP|SSL|UV|REQUESTS)_\w+|\w+_(proxy|PROXY)")
    words = {name: value for name, value in os.environ.items() if kept.fullmatch(name)}
    own = Path(os.environ.get("VIRTUAL_ENV", ROOT / ".venv"), "bin")
    path = [p for p in words["PATH"].split(os.pathsep) if Path(p) != own]
    settings = [real / ".config" / "pip" / "pip.conf", real / ".pip" / "pip.conf"]
    for file in filter(Path.is_file, settings):
        words.setdefault("PIP_CONFIG_FILE", str(file))
    words.setdefault("PIP_CACHE_DIR", str(real / ".cache" / "pip"))
    return words | {"HOME": str(home), "PATH": os.pathsep.join(path)} | more


def fast(home: Path, stack: Stack) -> dict[str, str]:
    """`clean`, for a notebook or script in fast mode that shares the stack's compiled programs."""
    settings = {
        "DREAMER_LITE_FAST": "1",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(small_run.cache() / stack.name),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    return clean(home, **settings)


def as_colab(home: Path, words: dict[str, str]) -> dict[str, str]:
    """`words`, with a kernel that finds `google.colab` loaded when its first cell starts."""
    startup = home / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    (startup / "00_colab.py").write_text("import google.colab\n", encoding="utf-8")
    return words | {
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": str(HERE / "fake_colab"),
        "FAKE_DRIVE": str(home / "drive"),
    }


def bare_clone(place: Path) -> str:
    """What is committed here, as a repository to clone from; its address."""
    command = ["git", "clone", "--quiet", "--bare", str(ROOT), str(place)]
    subprocess.run(command, check=True, capture_output=True)
    head = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    branch = ["git", "-C", place, "branch", "--force", "stranger", head.stdout.strip()]
    subprocess.run(branch, check=True, capture_output=True)
    return place.as_uri()
