"""Settings of the XLA compiler for the training loops: flags, and options of a program."""

import os

import jax
from jax._src import xla_bridge

from dreamer_lite.agent import devices

EXTRA = "--xla_backend_extra_options"
FLAGS = f"{EXTRA}=xla_cpu_disable_loop_unrolling,xla_cpu_disable_tiled_emitter"


def set_flags() -> None:
    """Add FLAGS to XLA_FLAGS, which XLA reads when JAX starts its devices.

    They concern CPUs, and cannot be given as options of one program. Without unrolled loops an
    update of `minatar/breakout tiny` takes 5 to 12 % less time; without the tiled emitter, XLA's
    newest way to compile fused operations, programs are compiled in 9 to 15 % less
    (assets/speed.md). Does nothing if JAX has started, or if the user has set such options.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if EXTRA not in flags and not xla_bridge.backends_are_initialized():
        os.environ["XLA_FLAGS"] = f"{flags} {FLAGS}".strip()


def compiler_options(runs_once: bool = False) -> dict[str, str | int | bool] | None:
    """XLA settings for `advance`, whose many small products are not what XLA is tuned for on CPUs.

    For a program that runs once, settings with which it is compiled in a third of the time.
    None, XLA's own, on other devices and where JAX_DISABLE_MOST_OPTIMIZATIONS asks for no tuning.

    Measured on 2 cores with `minatar/breakout tiny`: the two matrix libraries that XLA prefers for
    small products (YNNPACK, XNNPACK) and its tree reduction made an update slower, a schedule for
    concurrency makes it a tenth faster, and LLVM's highest optimisation level compiled 5 s longer
    for nothing.
    """
    if devices.first().platform != "cpu" or jax.__version_info__ < (0, 10):
        return None  # older compilers do not know these names
    if jax.config.values["jax_disable_most_optimizations"]:
        return None
    if runs_once:
        return {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    return {
        "xla_cpu_experimental_ynn_fusion_type": "",
        "xla_cpu_use_xnnpack": False,
        "xla_disable_hlo_passes": "tree_reduction_rewriter",
        "xla_backend_optimization_level": 1,
        "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_CONCURRENCY_OPTIMIZED",
    }
