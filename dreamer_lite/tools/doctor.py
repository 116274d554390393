"""Checks what this machine has for Dreamer Lite, and says how to install what is missing.

`examine` returns one finding per check; `dreamer-lite doctor` prints them. A finding that matters
to some environments only says to which. The checks change nothing and download nothing.
"""

import importlib.util
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import jax

from dreamer_lite import __version__, worlds
from dreamer_lite.agent import devices
from dreamer_lite.training import gpu_settings
from dreamer_lite.training.memory import free_bytes
from dreamer_lite.worlds import rendering

GIB = 2**30
CUDA = 'pip install -U "jax[cuda12]"'


class Finding(NamedTuple):
    """The result of a check."""

    name: str
    good: bool
    found: str
    remedy: str = ""  # what to do if the result is not good


def examine() -> list[Finding]:
    """Run all checks; a check that fails gives a finding, too."""
    machine, packages = (python, device, memory, precision, gpu), worlds.families()
    checks = (*machine, *map(package_of, packages), mujoco, roms, drawing, films)
    return [finding for check in checks for finding in safely(check)]


def safely(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check, or its error as a finding."""
    try:
        yield from check()
    except Exception as error:  # whatever a broken package or driver raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        yield Finding(check.__name__, False, reason)


def as_text(findings: list[Finding]) -> str:
    """One line per finding, and one more for its remedy if it is not good."""
    lines = []
    for name, good, found, remedy in findings:
        lines.append(f"{'ok  ' if good else 'MISS'}  {name:11} {found}")
        if remedy and not good:
            lines.append(f"      {'':11} -> {remedy}")
    return "\n".join(lines)


def python() -> Iterator[Finding]:
    """Versions of Python and of the packages that training needs."""
    names = ("jax", "jaxlib", "flax", "optax", "numpy", "gymnasium", "orbax-checkpoint")
    found = ", ".join(f"{name} {installed(name)}" for name in names)
    yield Finding(
        "python", True, f"{platform.python_version()}, dreamer_lite {__version__}, {found}"
    )


def installed(package: str) -> str:
    """The version of a package, or "missing"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def device() -> Iterator[Finding]:
    """JAX's devices, and whether there is an NVIDIA card that JAX does not use."""
    devices.first()  # says in a sentence if there is none
    all_devices = jax.devices()
    found = f"{len(all_devices)} x {all_devices[0].device_kind} ({all_devices[0].platform})"
    card = nvidia_card()
    unused = card is not None and all_devices[0].platform == "cpu"
    if unused:
        found += f", but this machine has a {card}"
    yield Finding("device", not unused, found, f"let JAX use it: {CUDA}")


def nvidia_card() -> str | None:
    """The name of an NVIDIA card as its driver's own tool prints it; None if there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        words = [tool, "--query-gpu=name", "--format=csv,noheader"]
        lines = subprocess.check_output(
            words, stderr=subprocess.DEVNULL, encoding="utf-8", timeout=20
        ).split("\n")
    except (OSError, subprocess.SubprocessError):
        return None
    return lines[0].strip() or None


def memory() -> Iterator[Finding]:
    """Free memory of the device."""
    free = free_bytes()
    if free is None:
        yield Finding("memory", True, "the device does not report it")
        return
    found = f"{free / GIB:.1f} GiB free on the device"
    remedy = "close other programs, or use --set capacity=..."
    yield Finding("memory", free >= 2 * GIB, found, remedy)


def precision() -> Iterator[Finding]:
    """The floating point format of `precision=auto` on this device."""
    name = devices.compute_dtype("auto").__name__
    why = "the device has units for it" if name == "bfloat16" else "faster or more exact here"
    yield Finding("precision", True, f"auto computes in {name} ({why})")


def gpu() -> Iterator[Finding]:
    """How programs use a GPU, each with its reason."""
    found = gpu_settings.decide(devices.first())
    for name, value, reason in found:
        yield Finding("gpu", True, f"{name}: {value} ({reason})")
    if not found:
        yield Finding("gpu", True, "JAX uses none, so there is nothing to set")


def package_of(family: worlds.Family) -> Any:
    """A check of the package of one family of environments."""

    def check() -> Iterator[Finding]:
        found = f"{family.prefix}* needs {family.package}"
        if family.installed:
            found = f"{family.package} {installed(family.package)}: {family.prefix}*"
        yield Finding("worlds", family.installed, found, family.remedy)

    return check


def mujoco() -> Iterator[Finding]:
    """dm_control breaks with mujoco 4, and pip does not know it."""
    found = installed("mujoco")
    if found != "missing":
        good = int(found.split(".")[0]) < 4
        remedy = "make a new virtual environment with mujoco<4: both versions use the same folder"
        yield Finding("mujoco", good, f"{found} (dm_control needs one below 4)", remedy)


def roms() -> Iterator[Finding]:
    """The Atari games that ale-py contains."""
    if importlib.util.find_spec("ale_py") is None:
        return  # `package_of` reports it
    from ale_py import roms

    count = len(roms.get_all_rom_ids())
    yield Finding("roms", count > 0, f"{count} Atari games", "pip install --force-reinstall ale-py")


def drawing() -> Iterator[Finding]:
    """How MuJoCo renders; only films and images of dmc/* need it."""
    try:
        choice = rendering.choose()
        good, found = choice.backend is not None, choice.reason
    except ValueError as error:
        good, found = False, str(error)
    yield Finding("drawing", good, f"for dmc/*: {found}", rendering.REMEDY)


def films() -> Iterator[Finding]:
    """The ffmpeg that encodes films."""
    try:
        import imageio_ffmpeg

        yield Finding("ffmpeg", True, f"{imageio_ffmpeg.get_ffmpeg_version()}, by imageio-ffmpeg")
    except (ImportError, RuntimeError, OSError) as error:
        yield Finding("ffmpeg", False, str(error), "pip install imageio-ffmpeg")
