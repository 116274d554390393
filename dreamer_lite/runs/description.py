"""How a checkpoint describes its run: settings, progress, versions. And the checks against them."""

import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from dreamer_lite import __version__
from dreamer_lite.config import Config, complete, to_dict
from dreamer_lite.runs.errors import RunError, in_short
from dreamer_lite.runs.records import Record

RESULTS = ("return_mean", "return_stderr", "episodes")
PACKAGES = ("dreamer_lite", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def make_summary(
    record: Record, seconds: float, first_update_seconds: float, repeat: int
) -> dict[str, Any]:
    """The content of summary.json; `repeat` is the number of environment frames per agent step."""
    device = jax.devices()[0]
    cores = f", {os.cpu_count()} cores" if device.platform == "cpu" else ""
    return {
        **{name: record[name] for name in (*RESULTS, "agent_steps")},
        "env_frames": record["agent_steps"] * repeat,
        "updates": record["updates"],
        "wall_seconds": round(seconds, 3),
        "first_update_seconds": round(first_update_seconds, 3),
        "versions": {"python": platform.python_version()} | {n: _version(n) for n in PACKAGES},
        "device": f"{len(jax.devices())} x {device.device_kind}{cores}",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a clone that is not installed, as on Colab
        return __version__


def compare_versions(summary: dict[str, Any], folder: Path, tell: Callable[[str], object]) -> None:
    """Tell if JAX has another version now, because the run may then not continue bit for bit."""
    then = summary.get("versions", {})
    for name in ("jax", "jaxlib"):
        if name in then and then[name] != (now := _version(name)):
            tell(
                f"{folder} was last trained with {name} {then[name]} and continues with {now}: its "
                "numbers may differ from those of an uninterrupted run in their last digits."
            )
            return


def check_settings(config: Config, saved: dict[str, Any], folder: Path) -> None:
    """Raise RunError if the run in `folder` has other settings than `config`."""
    mine, saved = to_dict(config), complete(saved)
    names = [name for name in mine | saved if mine.get(name) != saved.get(name)]
    if not names:
        return
    both = [(n, *(as_text(x.get(n, "unknown")) for x in (saved, mine))) for n in names[:4]]
    shown = ", ".join(f"{name}={old} (asked: {new})" for name, old, new in both)
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    raise RunError(
        f"{folder} holds a run with {in_short(shown)}{more}: ask for the same settings, "
        "or choose another folder with --run."
    )


def as_text(value: Any) -> str:
    """A setting as it is typed after `--set name=`."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
