"""The replay buffer: a ring of time steps for each environment, and windows cut from it.

Source: `Replay` in the released code (embodied/core/replay.py); Hafner et al. 2025, Methods
("Experience replay"). One continuous stream per environment; windows of T + 1 steps overlap and run
across episode ends (the `is_first` flags reset the state).
Step 0 of a window is context: its stored latents and action are
where the sequence starts from. All functions are pure and live inside the training loop; writes are
unconditional, because a conditional write inside a scan copies the whole buffer. Notebook 02.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dreamer_lite.agent.agent import PolicyCarry, embed_action
from dreamer_lite.agent.rssm import State
from dreamer_lite.agent.world_model import Batch
from dreamer_lite.config import Config
from dreamer_lite.worlds.base import Space, TimeStep


class Replay(NamedTuple):
    """The ring. L time steps for each of W environments; step i of a stream lies at i % L."""

    timesteps: TimeStep  # (L, W, ...)
    action: jax.Array  # (L, W) int32 or (L, W, A), chosen after this observation
    deter: jax.Array  # (L, W, D) float32, the posterior state after it
    stoch: jax.Array  # (L, W, S) uint8, its classes
    added: jax.Array  # () int32, time steps ever added to each stream
    queued: jax.Array  # () int32, windows ever taken from the online queue, modulo 2^32


class Windows(NamedTuple):
    """Where the windows of a batch came from."""

    start: jax.Array  # (B,) stream index of step 0
    world: jax.Array  # (B,)


def init(config: Config, obs_space: dict[str, Space], action_space: Space) -> Replay:
    """An empty ring of `capacity` steps, W streams side by side."""
    lead = (config.capacity // config.worlds, config.worlds)
    flag = jnp.zeros(lead, bool)
    obs = {key: jnp.zeros((*lead, *s.shape), s.dtype) for key, s in obs_space.items()}
    return Replay(
        timesteps=TimeStep(obs, jnp.zeros(lead), flag, flag.copy(), flag.copy()),
        action=jnp.zeros((*lead, *action_space.shape), action_space.dtype),
        deter=jnp.zeros((*lead, config.deter)),
        stoch=jnp.zeros((*lead, config.stoch), jnp.uint8),
        added=jnp.int32(0),
        queued=jnp.int32(0),
    )


def add(replay: Replay, timestep: TimeStep, action: jax.Array, carry: PolicyCarry) -> Replay:
    """Append one time step of all W environments, its action, and the posterior state."""
    place = replay.added % replay.deter.shape[0]
    stoch = jnp.argmax(carry.state.stoch, -1).astype(jnp.uint8)
    rings = replay.timesteps, replay.action, replay.deter, replay.stoch
    for ring, new in zip(
        *map(jax.tree.leaves, (rings, (timestep, action, carry.state.deter, stoch)))
    ):
        assert new.shape == ring.shape[1:], (new.shape, ring.shape)
    return replay._replace(
        timesteps=jax.tree.map(
            lambda ring, new: ring.at[place].set(new), replay.timesteps, timestep
        ),
        action=replay.action.at[place].set(action),
        deter=replay.deter.at[place].set(carry.state.deter),
        stoch=replay.stoch.at[place].set(stoch),
        added=replay.added + 1,
    )


def sample(replay: Replay, config: Config, key: jax.Array) -> tuple[Replay, Windows]:
    """Choose B windows of T + 1 time steps: first from the online queue, then uniformly.

    Uniform draws are with replacement over every window that is whole in the ring. The key is
    consumed. The ring must hold at least one window.
    """
    window, capacity = config.length + 1, replay.deter.shape[0]
    start_key, world_key = jax.random.split(key)
    oldest = jnp.maximum(0, replay.added - capacity)
    newest = replay.added - window
    start = jax.random.randint(start_key, (config.batch,), oldest, newest + 1)
    world = jax.random.randint(world_key, (config.batch,), 0, config.worlds)
    if not config.online_queue:
        return replay, Windows(start, world)
    # The environments move in step, so the queue is plain counting: window j of the queue is round
    # j // W of world j % W, and round r starts at stream index 1 + r * window. Windows are counted
    # back from the newest: their total passes 2^31 in long runs, but differences stay right.
    rounds = jnp.maximum(0, (replay.added - 1) // window)
    lost = jnp.maximum(0, -(-(oldest - 1) // window))  # rounds that were overwritten
    waiting = config.worlds * rounds - replay.queued
    waiting = jnp.minimum(waiting, config.worlds * (rounds - lost))
    behind = waiting - jnp.arange(config.batch)
    fresh = behind > 0
    start = jnp.where(fresh, 1 + (rounds + -behind // config.worlds) * window, start)
    world = jnp.where(fresh, -behind % config.worlds, world)
    queued = config.worlds * rounds - waiting + fresh.sum(dtype=jnp.int32)
    return replay._replace(queued=queued), Windows(start, world)


def window_index(replay: Replay, windows: Windows, config: Config) -> tuple[jax.Array, jax.Array]:
    """Ring positions (T+1, B) and environments (1, B) of the windows' steps."""
    index = (windows.start + jnp.arange(config.length + 1)[:, None]) % replay.deter.shape[0]
    return index, windows.world[None]


def gather(replay: Replay, windows: Windows, config: Config, action_space: Space) -> Batch:
    """Cut the windows out of the ring, time first."""
    index = window_index(replay, windows, config)
    steps = jax.tree.map(lambda ring: ring[index], replay.timesteps)
    action = embed_action(replay.action[index], action_space)
    stoch = jax.nn.one_hot(replay.stoch[index[0][0], windows.world], config.classes)
    # A stream that starts anew without an end (a run that went on elsewhere) counts as cut off.
    cut = jnp.concatenate([steps.is_first[1:], jnp.zeros_like(steps.is_first[:1])])
    tail = jax.tree.map(lambda x: x[1:], steps._replace(is_last=steps.is_last | cut))
    return Batch(
        **tail._asdict(),
        previous_action=action[:-1],
        context=State(replay.deter[index[0][0], windows.world], stoch),
    )


def write_latents(replay: Replay, windows: Windows, states: State, config: Config) -> Replay:
    """Store the fresh posterior latents (T, B, ...) of a batch over the old ones.

    Where windows overlap, a step keeps the latents of the one that began first, which saw most
    of what came before it; of equal windows, the last. An order that the writes alone would not
    have on accelerators.
    """
    places, world = window_index(replay, windows, config)
    assert states.deter.shape[:2] == (config.length, config.batch) == states.stoch.shape[:2]
    index = (jnp.where(is_kept(windows, config), places[1:], replay.deter.shape[0]), world)
    stoch = jnp.argmax(states.stoch, -1).astype(jnp.uint8)
    return replay._replace(
        deter=replay.deter.at[index].set(states.deter, mode="drop"),
        stoch=replay.stoch.at[index].set(stoch, mode="drop"),
    )


def is_kept(windows: Windows, config: Config) -> jax.Array:
    """Which steps (T, B) of a batch's windows `write_latents` writes: each of the ring once."""
    ahead = windows.start[:, None] - windows.start  # (B, B) steps that the other began earlier
    order = jnp.arange(config.batch)
    wins = (ahead > 0) | ((ahead == 0) & (order > order[:, None]))
    wins &= windows.world[:, None] == windows.world
    # The other window reaches as far as step T - ahead of this one.
    reach = jnp.max(jnp.where(wins, config.length - ahead, 0), 1, initial=0)
    return jnp.arange(config.length)[:, None] >= reach


def bytes_needed(config: Config, obs_space: dict[str, Space], action_space: Space) -> int:
    """Memory that `init` takes."""
    return bytes_of(jax.eval_shape(lambda: init(config, obs_space, action_space)))


def bytes_of(arrays: Any) -> int:
    """Memory of a tree of arrays, or of their shapes."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(arrays))
