"""Descriptions of the NVIDIA cards that Colab lends, to compile for them where there is none.

XLA's compiler needs no GPU and no driver, but a description of the card and the plugin
`jax-cuda12-plugin`, which `make gpu-check` installs in an environment of its own.
"""

import os
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from dreamer_lite.config import check_name
from dreamer_lite.training.gpu_settings import TAKEN


class Card(NamedTuple):
    """What the compiler wants to know of a card."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    lanes: int  # float32 units of a multiprocessor
    threads: int  # of a multiprocessor, at most
    shared_memory: int  # bytes of a multiprocessor; a block may have 1 KiB less, on a T4 all of it
    gigahertz: float
    bandwidth: float  # bytes per second
    cache: int  # bytes of L2
    memory: int  # bytes that programs see

    @property
    def usable(self) -> int:
        """Bytes that JAX takes of the memory."""
        return int(TAKEN * self.memory)


# T4 and A100 as in XLA's own descriptions, L4 as CUDA's deviceQuery prints it.
CARDS = {
    "T4": Card("Tesla T4", (7, 5), 40, 64, 1024, 65536, 1.59, 320e9, 4 << 20, 15_835_660_288),
    "L4": Card("NVIDIA L4", (8, 9), 58, 128, 1536, 102400, 2.04, 300e9, 48 << 20, 23_583_784_960),
    "A100": Card(
        "NVIDIA A100 40GB", (8, 0), 108, 64, 2048, 167936, 1.41, 1555e9, 40 << 20, 42_331_013_120
    ),
}


def description(card: Card) -> str:
    """A card in the form of XLA's `GpuTargetConfigProto`, as text."""
    block = card.shared_memory - (1024 if card.capability >= (8, 0) else 0)
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {card.shared_memory}
  threads_per_core_limit: {card.threads}
  core_count: {card.multiprocessors}
  fpus_per_core: {card.lanes}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {int(card.bandwidth)}
  l2_cache_size: {card.cache}
  clock_rate_ghz: {card.gigahertz}
  device_memory_size: {card.memory}
  shared_memory_per_block_optin: {block}
  cuda_compute_capability {{ major: {card.capability[0]} minor: {card.capability[1]} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 patch: 0 }}
device_description_str: "{card.name}"
"""


def absent_device(name: str) -> Any:
    """A device of JAX, of the card "T4", "L4" or "A100", to compile for and not to compute with.

    JAX must not have started: from here on its own device is the CPU.

    Raises:
      ValueError: there is no such card here, or no compiler for it; one sentence.
    """
    check_name("card", name, CARDS)
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # the plugin asks for a driver otherwise
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # it keeps no texts of programs
    try:
        topology = topologies.get_topology_desc(
            platform="cuda", target_config=description(CARDS[name]), topology="1x1x1"
        )
    except (NotImplementedError, KeyError, RuntimeError) as error:
        raise ValueError(
            "JAX has no compiler for NVIDIA cards here: `make gpu-check` installs it in .venv/gpu."
        ) from error
    return topology.devices[0]
