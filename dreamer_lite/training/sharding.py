"""One run on several devices: which axis of each array is spread over them.

One agent has its batch (B) and its environments (W) spread: each device works on a part of every
batch with a copy of the parameters, and the gradients are summed. Several agents (`seeds`) are
spread whole.
"""

import contextlib
import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dreamer_lite.agent.world_model import Batch
from dreamer_lite.config import Config
from dreamer_lite.training.replay import Replay
from dreamer_lite.training.state import EnvState, RunState

AXIS = "devices"  # the one axis of a mesh


def make_mesh(config: Config) -> Mesh | None:
    """All devices of all processes, to spread a run over; None if there is only one.

    Raises:
      ValueError: what is to be spread cannot be divided evenly.
    """
    devices = jax.devices()
    names = ("batch", "worlds") if config.seeds == 1 else ("seeds",)
    odd = [f"{n}={getattr(config, n)}" for n in names if getattr(config, n) % len(devices)]
    if odd:
        raise ValueError(
            f"{len(devices)} devices cannot share {' and '.join(odd)} evenly: choose multiples of "
            f"{len(devices)}, or --devices 1."
        )
    return Mesh(np.array(devices), (AXIS,)) if len(devices) > 1 else None


def spread(mesh: Mesh, axis: int | None) -> NamedSharding:
    """The sharding that spreads this axis over the devices; None: each device has a copy."""
    return NamedSharding(mesh, P() if axis is None else P(*(None,) * axis, AXIS))


def shard_batch(batch: Batch, mesh: Mesh | None) -> Batch:
    """Spread the sequences of a batch, (T, B, ...) and their contexts (B, ...)."""
    if mesh is None:
        return batch
    first, second = spread(mesh, 0), spread(mesh, 1)
    places: Any = Batch(*[second] * 6, context=first)  # type: ignore
    return jax.lax.with_sharding_constraint(batch, places)


def over(mesh: Mesh | None) -> Any:
    """A context in which `devices.spread_leading_axis` spreads work over this mesh."""
    if mesh is None:
        return contextlib.nullcontext()
    return jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


def of_state(config: Config, mesh: Mesh | None) -> Any:
    """Where each array of a RunState lies on the mesh: a prefix tree of shardings."""
    if mesh is None:
        return None
    place: Any = functools.partial(spread, mesh)
    whole, first, second = place(None), place(0), place(1)
    if config.seeds > 1:
        return first
    replay = Replay(second, second, second, second, added=whole, queued=whole)  # (L, W, ...)
    envs = EnvState(first, first, first, first, scores=whole, episodes=whole)  # (W, ...)
    return RunState(whole, replay, envs, key=whole, steps=whole, updates=whole)


def from_hosts(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays (w, ...) of numpy, of which every process has its own part, as one (W, ...)."""
    if mesh is None:
        return tree
    place = functools.partial(jax.make_array_from_process_local_data, spread(mesh, 0))
    return jax.tree.map(place, tree)


def on_this_host(array: jax.Array) -> np.ndarray:
    """The part (w, ...) of an array (W, ...) that lies on this process's devices."""
    if array.is_fully_addressable:
        return np.asarray(array)
    own = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in own])
