"""Sets a notebook up after its bootstrap cell; on Colab and Kaggle, installs what is missing.

The machine's jax, flax and numpy are never touched: replacing them swaps the GPU build for a CPU
one. What is installed is written into a constraints file first, so that pip can only add. Standard
library only, because this runs before anything is installed. The GL back end that renders Walker is
chosen by the module that renders, not here.
"""

import importlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from dreamer_lite import __version__, assets, files, notices

PYTHON = sys.version_info[:2]
NEVER = ("jax", "jaxlib", "flax", "numpy")
FOLDER = "dreamer-lite"  # on Google Drive: mirrors of runs, agents and films
KAGGLE = "/kaggle/working"  # what a saved version of a Kaggle notebook keeps
QUIET = "3"  # XLA's own words, such as that a compilation is slow, stay out of the page
GPU_MENU = {
    "Colab": "menu Runtime, Change runtime type, T4 GPU, Save",
    "Kaggle": "menu Settings, Accelerator, GPU T4 x2",
    "": "",
}

# dm_control wants labmaze, which has no wheel for Python 3.13 and which its suite does not use.
DM_CONTROL = "dm_control>=1.0.50"
BESIDE_DM_CONTROL = (
    "dm-env", "dm-tree", "lxml", "glfw", "pyopengl", "absl-py", "requests", "tqdm", "pyparsing",
    "mujoco>=3.17,<4",
)  # fmt: skip


def on_colab() -> bool:
    """Whether this is a Colab kernel."""
    return "google.colab" in sys.modules


def on_kaggle() -> bool:
    """Whether this is a Kaggle notebook."""
    return "KAGGLE_KERNEL_RUN_TYPE" in os.environ


def setup(*extras: str) -> None:
    """Install what is missing, on Colab and Kaggle; print versions and device. May be run twice.

    From here on the library's warnings are printed to stdout: nbgrader takes anything on stderr for
    a failure. `extras` are those of pyproject.toml: "atari", "dmc".

    Raises:
      ValueError: an extra that does not exist.
      ImportError: the kernel is that of another Python, which lacks what the library needs.
      RuntimeError: pip failed; the message has its last line.
    """
    wanted = requirements(*extras)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", QUIET)
    notices.say_plainly(print)
    notices.print_anything()
    if on_kaggle():
        os.environ.setdefault("DREAMER_LITE_RUNS", f"{KAGGLE}/runs")
    if on_colab() or on_kaggle():
        install(wanted)
    have = installed()
    needed = dict.fromkeys([*NEVER, *map(distribution, requirements())])
    if lacking := [name for name in needed if name not in have]:
        raise ImportError(
            f"The Python of this kernel, {sys.executable}, has no {', '.join(lacking)}: choose the "
            "kernel of the clone's .venv, or open this notebook by `make lab`."
        )
    print(describe())
    menu = GPU_MENU["Colab" if on_colab() else "Kaggle" if on_kaggle() else ""]
    if menu and "gpu" not in describe():
        print(
            f"No GPU here. Only notebook 09 needs one, for Pong and for images. For a GPU: {menu}; "
            "then run all cells again."
        )


def drive(wanted: bool = True) -> Path | None:
    """On Colab, if `wanted`: the folder "dreamer-lite" on Google Drive, made if it is missing.

    Mounting asks for permission. If that is refused or fails, a sentence says so and what happens
    then. None without Drive, and everywhere but on Colab.
    """
    if not (wanted and on_colab()):
        return None
    try:
        importlib.import_module("google.colab.drive").mount(str(files.DRIVE))
        place = Path(files.DRIVE) / "MyDrive" / FOLDER
        place.mkdir(parents=True, exist_ok=True)
        return place
    except Exception as error:  # colabtools raises several types, its own among them
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        print(
            f"Google Drive could not be mounted ({why}): all files stay on this machine, which "
            "Colab deletes in the end; notebook 09 offers them for download before that."
        )
        return None


def download(*paths: Path) -> None:
    """Offer files to the browser, on Colab; elsewhere they are where the reader's other files are.

    A browser that refuses is named in a sentence: the files stay in Colab's file list.
    """
    if not on_colab():
        return
    for path in paths:
        try:
            importlib.import_module("google.colab.files").download(str(path))
        except Exception as error:  # no browser, or one that blocks downloads
            print(f"{path.name} was not downloaded ({error}): take it from Colab's list of files.")


def requirements(*extras: str) -> list[str]:
    """The requirements of the library and these extras, without those in NEVER.

    Raises ValueError for an unknown extra.
    """
    project = _project()
    known = project["optional-dependencies"]
    for extra in extras:
        if extra not in known:
            raise ValueError(f"There is no extra {extra!r}: valid are {', '.join(sorted(known))}.")
    lines = [*project["dependencies"], *(line for extra in extras for line in known[extra])]
    if "dmc" in extras and PYTHON >= (3, 13):
        lines += [DM_CONTROL, *BESIDE_DM_CONTROL]
    plain = [line.partition(";")[0].strip() for line in lines if _applies(line)]
    return [line for line in dict.fromkeys(plain) if distribution(line) not in NEVER]


def _project() -> dict[str, Any]:
    """The dependencies and extras, from pyproject.toml, or from what pip has installed."""
    folder = assets.clone()
    if folder is not None:
        return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = importlib.metadata.metadata("dreamer_lite")
    extras: dict[str, list[str]] = {name: [] for name in about.get_all("Provides-Extra") or []}
    plain = []
    for line in about.get_all("Requires-Dist") or []:
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        (extras[extra[1]] if extra else plain).append(line.replace('"', "'"))
    return {"dependencies": plain, "optional-dependencies": extras}


def _applies(line: str) -> bool:
    """Whether the one kind of marker that pyproject.toml uses, python_version < 'x', holds."""
    marker = re.search(r"python_version < '3\.(\d+)'", line)
    return marker is None or PYTHON < (3, int(marker[1]))


def distribution(requirement: str) -> str:
    """The normalised name in a requirement: "dm_control>=1" -> "dm-control"."""
    name = re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, str]:
    """Version of every installed distribution, by normalised name."""
    pairs = ((d.metadata["Name"], d.version) for d in importlib.metadata.distributions())
    return {distribution(name): version for name, version in pairs if name}


def install(wanted: list[str]) -> None:
    """Add what of `wanted` is not installed, without changing anything that is.

    Raises RuntimeError if pip fails.
    """
    have = installed()
    missing = [line for line in wanted if distribution(line) not in have]
    if not missing:
        return
    print(f"Installing {', '.join(distribution(line) for line in missing)} ...")
    alone = [line for line in missing if distribution(line) == "dm-control" and _needs_care()]
    together = [line for line in missing if line not in alone]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        pins = [f"{name}=={version}\n" for name, version in sorted(have.items())]
        constraints.write_text("".join(pins), encoding="utf-8")
        for lines, flags in ((together, []), (alone, ["--no-deps"])):
            if lines:
                _pip("--constraint", str(constraints), *flags, *lines)
    importlib.invalidate_caches()


def _needs_care() -> bool:
    return PYTHON >= (3, 13)


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input"]
    result = subprocess.run(
        [*command, *arguments], capture_output=True, encoding="utf-8", errors="replace"
    )
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no message"]
        raise RuntimeError(f"pip could not install what is missing: {lines[-1]}")


def describe() -> str:
    """One line: versions and device."""
    import jax  # here, because `install` comes first

    device = jax.devices()[0]
    have = installed()
    return (
        f"dreamer_lite {__version__} on Python {platform.python_version()}, jax {jax.__version__}, "
        f"flax {have.get('flax', 'missing')}; device: {device.platform} ({device.device_kind})"
    )
