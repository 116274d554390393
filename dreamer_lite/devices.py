"""What the device can do: which numbers to compute in, and how much memory is left.

Parameters, losses and the optimiser are always float32. Activations may be bfloat16 where the
hardware multiplies it (SPEC 3.1): NVIDIA from compute capability 8.0 on (A100, L4, H100, ...),
AMD's Instinct from MI100 and Radeon from RDNA 3 on, and TPUs. A CPU and Colab's T4 compute in
float32: there bfloat16 is slower or emulated.
"""

import os
import re
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

SPARE = 0.9  # share of the free memory that a replay may take


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


def first() -> Any:
    """JAX's first device.

    Raises:
      ValueError: JAX finds none, as where JAX_PLATFORMS asks for what is not here; one sentence.
    """
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
    if device.platform != "gpu":
        return False
    capability = _capability(device)
    if capability.startswith("gfx"):  # AMD names its architectures: CDNA (MI100 on) and RDNA 3
        return re.match(r"gfx(908|90a|94|95|11|12)", capability) is not None
    try:
        return float(capability) >= 8.0
    except ValueError:  # a GPU of a maker that is not known here
        return False


def _capability(device: Any) -> str:
    """Of a GPU: NVIDIA's compute capability ("8.0") or AMD's architecture ("gfx942")."""
    return str(getattr(device, "compute_capability", None) or "unknown")


def share_out(tree: Any) -> Any:
    """Spread the leading axis over the devices of the mesh in use, if there is one.

    For arrays (N, ...) that the compiler would otherwise work on whole on every device. See
    `jax.set_mesh`.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return tree
    return jax.lax.with_sharding_constraint(tree, P(mesh.axis_names[0]))


def free_bytes(device: Any = None) -> int | None:
    """Memory that can still be taken on the device, in bytes; None if it does not tell."""
    device = first() if device is None else device
    if device.platform == "cpu":
        return free_host_bytes()
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def free_host_bytes() -> int | None:
    """Memory of the host that can still be taken, in bytes; None if it does not tell."""
    try:
        with open(
            "/proc/meminfo", encoding="utf-8"
        ) as file:  # what the kernel could hand out, caches included
            lines = dict(line.split(":", 1) for line in file)
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def check_room(needed: int, capacity: int, device: Any = None) -> None:
    """Raise ValueError if a replay of `capacity` steps, `needed` bytes, does not fit."""
    free = free_bytes(device)
    if free is not None and needed > SPARE * free:
        fits = int(capacity * SPARE * free / needed)
        raise ValueError(
            f"A replay of {capacity:,} steps takes {needed / 2**30:.1f} GiB, but "
            f"{free / 2**30:.1f} GiB are free: choose a capacity of at most {fits:,} steps."
        )


def compiler_options() -> dict[str, str | int | bool] | None:
    """XLA settings for `advance`, whose many small products are not what XLA is tuned for on CPUs.

    None, XLA's own, on other devices and where JAX_DISABLE_MOST_OPTIMIZATIONS asks for no tuning.

    Measured on 2 cores with `minatar/breakout tiny`: the two matrix libraries that XLA prefers for
    small products (YNNPACK, XNNPACK) and its tree reduction made an update slower, a schedule for
    concurrency makes it a tenth faster, and LLVM's highest optimisation level compiled 5 s longer
    for nothing.
    """
    if jax.default_backend() != "cpu" or jax.__version_info__ < (0, 10):
        return None  # older compilers do not know these names
    if jax.config.values["jax_disable_most_optimizations"]:
        return None
    return {
        "xla_cpu_experimental_ynn_fusion_type": "",
        "xla_cpu_use_xnnpack": False,
        "xla_disable_hlo_passes": "tree_reduction_rewriter",
        "xla_backend_optimization_level": 1,
        "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_CONCURRENCY_OPTIMIZED",
    }
