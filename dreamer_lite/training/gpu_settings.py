"""How programs use a GPU: memory, precision of products, XLA's flags, CUDA graphs, and why.

`decide` is the one place; `dreamer-lite doctor` prints it. Which dtype activations have is decided
in `agent.devices`, for all kinds of devices. XLA reads the environment variables when JAX starts
its devices, so they are set before that.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax._src import xla_bridge

from dreamer_lite.agent import devices

TAKEN = 0.75  # fraction of a GPU's memory that JAX takes when it starts, unless told otherwise
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


class Setting(NamedTuple):
    """A decision."""

    name: str
    value: str
    reason: str


def decide(device: Any, environment: Mapping[str, str] = os.environ) -> list[Setting]:
    """The settings of a GPU under these environment variables; none for other devices."""
    if device.platform != "gpu":
        return []
    return [
        _memory(environment),
        _products(device),
        _flags(environment.get("XLA_FLAGS", "")),
        Setting(
            "CUDA graphs",
            "XLA's own choice",
            "they launch several small kernels at once; other settings are not measured yet",
        ),
    ]


def _memory(environment: Mapping[str, str]) -> Setting:
    if environment.get("XLA_PYTHON_CLIENT_PREALLOCATE", "").lower() in ("false", "0"):
        return Setting("memory", "taken as it is needed", "XLA_PYTHON_CLIENT_PREALLOCATE says so")
    for name in ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        if environment.get(name):
            value = f"a fraction of {environment[name]} is taken at the start"
            return Setting("memory", value, f"{name} says so")
    return Setting(
        "memory",
        f"a fraction of {TAKEN} is taken at the start",
        "JAX's own choice, which is fast and does not fragment memory; where several programs use "
        "the GPU, set XLA_PYTHON_CLIENT_PREALLOCATE=false",
    )


def _products(device: Any) -> Setting:
    name = "float32 products"
    if not devices.has_tf32(device):
        return Setting(name, "exact", "the GPU does not round their factors")
    return Setting(
        name,
        "in TF32; exact with `train --set precision=float32`",
        "TF32 is faster and rounds less than bfloat16; who asks for float32 wants all its bits",
    )


def _flags(flags: str) -> Setting:
    ours = " ".join(flag for flag in flags.split() if flag.startswith("--xla_gpu"))
    if DETERMINISTIC in flags:
        return Setting("XLA's flags", ours, "equal runs are bit-equal, and slower")
    reason = "`train --deterministic` makes equal runs bit-equal, and slower"
    return Setting("XLA's flags", ours or "none", reason)


def matmul_precision(precision: str, device: Any) -> str | None:
    """`jax_default_matmul_precision` for Config.precision on a device; None: as JAX has it."""
    exact = precision == "float32" and device.platform == "gpu" and devices.has_tf32(device)
    return "highest" if exact else None


def use_precision(precision: str) -> None:
    """Compile from now on with the products of `matmul_precision`, unless JAX was told others."""
    asked = matmul_precision(precision, devices.first())
    if asked and jax.config.values["jax_default_matmul_precision"] is None:
        jax.config.update("jax_default_matmul_precision", asked)


def be_deterministic() -> None:
    """Make equal runs on a GPU bit-equal. To be called before JAX starts its devices.

    Raises:
      ValueError: JAX has started without it, or computes on another device; one sentence.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    late = xla_bridge.backends_are_initialized() and DETERMINISTIC not in flags
    if not late and DETERMINISTIC not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISTIC}".strip()
    kind = devices.first().platform
    if kind != "gpu":
        os.environ["XLA_FLAGS"] = flags
        raise ValueError(
            f"--deterministic is for GPUs, but JAX computes on a {kind.upper()} here: leave it out."
        )
    if late:
        raise ValueError(
            "--deterministic comes too late, because JAX has started its devices: set the "
            f"environment variable XLA_FLAGS={DETERMINISTIC} before."
        )
