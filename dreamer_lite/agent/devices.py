"""How the agent is computed on a device: in which numbers, and spread over which devices.

Parameters, losses and the optimizer are always float32. Activations may be bfloat16 where the
hardware multiplies it: NVIDIA from compute capability 8.0 on (A100, L4, H100, ...), AMD's Instinct
from MI100 and Radeon from RDNA 3 on, and TPUs. A CPU and Colab's T4 compute in float32: there
bfloat16 is slower or emulated.
"""

import contextlib
import math
import os
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P


def compute_dtype(precision: str, device: Any = None) -> Any:
    """The dtype of activations, jnp.float32 or jnp.bfloat16, for Config.precision.

    "auto" decides by the device (default: JAX's first one).

    Raises:
      ValueError: bfloat16 was asked for where a GPU has no units for it.
    """
    if precision == "float32":
        return jnp.float32
    device = first() if device is None else device
    if precision == "auto":
        return jnp.bfloat16 if has_bfloat16(device) else jnp.float32
    if device.platform == "gpu" and not has_bfloat16(device):
        raise ValueError(
            f"precision is bfloat16, but {device.device_kind} (compute capability "
            f"{_capability(device)}) has no units for it: choose float32 or auto."
        )
    return jnp.bfloat16


_absent: Any = None  # the device of `compiling_for`


@contextlib.contextmanager
def compiling_for(device: Any) -> Iterator[None]:
    """Within, programs are traced for this device, which need not exist, instead of JAX's first.

    The choices that depend on a device are made while a function is traced: trace it anew here.
    """
    global _absent
    before, _absent = _absent, device
    try:
        yield
    finally:
        _absent = before


def first() -> Any:
    """The device that programs are made for: JAX's first one, or that of `compiling_for`.

    Raises:
      ValueError: JAX finds none, as where JAX_PLATFORMS asks for what is not here; one sentence.
    """
    if _absent is not None:
        return _absent
    try:
        return jax.devices()[0]
    except Exception as error:  # AssertionError or RuntimeError
        asked = os.environ.get("JAX_PLATFORMS")
        where = f" for JAX_PLATFORMS={asked}: unset it, or" if asked else ":"
        raise ValueError(f"JAX finds no device{where} install what it needs.") from error


def has_bfloat16(device: Any) -> bool:
    """Whether the device is faster in bfloat16 than in float32."""
    if device.platform == "tpu":
        return True
    # AMD names its architectures: CDNA (from MI100 on) and RDNA 3
    amd = re.match(r"gfx(908|90a|94|95|11|12)", _capability(device))
    return has_tf32(device) or (device.platform == "gpu" and amd is not None)


def has_tf32(device: Any) -> bool:
    """Whether the device is an NVIDIA GPU that rounds the factors of float32 products to TF32."""
    if device.platform != "gpu":
        return False
    try:
        return float(_capability(device)) >= 8.0
    except ValueError:  # AMD's names, and GPUs of a maker that is not known here
        return False


def _capability(device: Any) -> str:
    """Of a GPU: NVIDIA's compute capability ("8.0") or AMD's architecture ("gfx942")."""
    return str(getattr(device, "compute_capability", None) or "unknown")


def in_mesh() -> bool:
    """Whether the program is spread over the devices of a mesh, see `jax.set_mesh`."""
    return not jax.sharding.get_abstract_mesh().empty


def as_batch(x: jax.Array, lead: tuple[int, ...]) -> jax.Array:
    """(*lead, ...) -> (n, ...): the leading axes as one, which `from_batch` divides again.

    In a mesh time and batch (T, B) become (B T): with the batch first, the new axis is spread over
    the devices as the batch was. Otherwise the compiler would gather the array on every device.
    """
    if len(lead) == 2 and in_mesh():
        x = x.swapaxes(0, 1)
    return x.reshape(math.prod(lead), *x.shape[len(lead) :])


def from_batch(y: jax.Array, lead: tuple[int, ...]) -> jax.Array:
    """(n, ...) -> (*lead, ...): the inverse of `as_batch`."""
    if len(lead) == 2 and in_mesh():
        return y.reshape(*lead[::-1], *y.shape[1:]).swapaxes(0, 1)
    return y.reshape(*lead, *y.shape[1:])


def spread_leading_axis(tree: Any) -> Any:
    """Spread the leading axis over the devices of the mesh in use, if there is one.

    For arrays (N, ...) that the compiler would otherwise work on whole on every device.
    """
    if not in_mesh():
        return tree
    mesh = jax.sharding.get_abstract_mesh()
    return jax.lax.with_sharding_constraint(tree, P(mesh.axis_names[0]))
