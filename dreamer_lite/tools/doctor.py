"""What this machine has for Dreamer Lite, and what to do about what is missing.

`examine` gives one finding per thing; `dreamer-lite doctor` prints them. A finding that only some
worlds need says which. Nothing is changed, and nothing is fetched.
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
from dreamer_lite.training.memory import free_bytes
from dreamer_lite.worlds import rendering

GIB = 2**30
CUDA = 'pip install -U "jax[cuda12]"'


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    good: bool
    found: str  # what is there
    remedy: str = ""  # what to do if it is not good


def examine() -> list[Finding]:
    """Look at everything; a look that fails is a finding too."""
    looks = (python, device, memory, precision, *map(package_of, worlds.families()), mujoco, roms)
    return [finding for look in (*looks, drawing, films) for finding in safely(look)]


def safely(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a look finds; a finding too if it fails."""
    try:
        yield from look()
    except Exception as error:  # whatever a broken package or driver raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        yield Finding(look.__name__, False, reason)


def as_text(findings: list[Finding]) -> str:
    """One line per finding, and one more for what to do."""
    lines = []
    for name, good, found, remedy in findings:
        lines.append(f"{'ok  ' if good else 'MISS'}  {name:11} {found}")
        if remedy and not good:
            lines.append(f"      {'':11} -> {remedy}")
    return "\n".join(lines)


def python() -> Iterator[Finding]:
    """Python and the packages that the agent is made of."""
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
    """JAX's devices; a NVIDIA card that JAX does not use is a finding."""
    devices.first()  # says in a sentence if there is none
    all_devices = jax.devices()
    found = f"{len(all_devices)} x {all_devices[0].device_kind} ({all_devices[0].platform})"
    card = nvidia_card()
    unused = card is not None and all_devices[0].platform == "cpu"
    if unused:
        found += f", but this machine has a {card}"
    yield Finding("device", not unused, found, f"let JAX use it: {CUDA}")


def nvidia_card() -> str | None:
    """The name of an NVIDIA card by its driver's own tool; None if there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        words = [tool, "--query-gpu=name", "--format=csv,noheader"]
        output = subprocess.run(
            words, capture_output=True, encoding="utf-8", timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return output.strip().splitlines()[0] if output.strip() else None


def memory() -> Iterator[Finding]:
    """Free memory of the device, in replay steps of Pong."""
    free = free_bytes()
    if free is None:
        yield Finding("memory", True, "the device does not tell")
        return
    need = 2 * GIB
    found = f"{free / GIB:.1f} GiB free on the device"
    yield Finding("memory", free >= need, found, "close other programs, or use --set capacity=...")


def precision() -> Iterator[Finding]:
    """What `precision=auto` means here."""
    name = devices.compute_dtype("auto").__name__
    why = "the device multiplies it" if name == "bfloat16" else "faster or exacter here"
    yield Finding("precision", True, f"auto computes in {name} ({why})")


def package_of(family: worlds.Family) -> Any:
    """A look at the package of one family of worlds."""

    def look() -> Iterator[Finding]:
        found = f"{family.prefix}* needs {family.package}"
        if family.installed:
            found = f"{family.package} {installed(family.package)}: {family.prefix}*"
        yield Finding("worlds", family.installed, found, family.remedy)

    return look


def mujoco() -> Iterator[Finding]:
    """dm_control and mujoco 4 do not go together, and pip does not know it."""
    found = installed("mujoco")
    if found != "missing":
        good = int(found.split(".")[0]) < 4
        remedy = "make a new environment with mujoco<4: in this one the two share a folder"
        yield Finding("mujoco", good, f"{found} (dm_control needs one below 4)", remedy)


def roms() -> Iterator[Finding]:
    """The Atari games that ale-py brought."""
    if importlib.util.find_spec("ale_py") is None:
        return  # `package_of` has said so
    from ale_py import roms

    count = len(roms.get_all_rom_ids())
    yield Finding("roms", count > 0, f"{count} Atari games", "pip install --force-reinstall ale-py")


def drawing() -> Iterator[Finding]:
    """How MuJoCo draws; only dmc pictures need it."""
    try:
        choice = rendering.choose()
        good, found = choice.backend is not None, choice.reason
    except ValueError as error:
        good, found = False, str(error)
    yield Finding("drawing", good, f"for dmc/*: {found}", rendering.REMEDY)


def films() -> Iterator[Finding]:
    """The ffmpeg that writes films."""
    try:
        import imageio_ffmpeg

        yield Finding("ffmpeg", True, f"{imageio_ffmpeg.get_ffmpeg_version()}, by imageio-ffmpeg")
    except (ImportError, RuntimeError, OSError) as error:
        yield Finding("ffmpeg", False, str(error), "pip install imageio-ffmpeg")
