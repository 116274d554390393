"""Random play as arrays with time first: what the world models of notebooks 04 to 06 learn from.

Notebooks import this; it knows the environments and nothing of the models. Where it stores in a
replay buffer, `dreamer` is the reader's agent as a module, `parts.load()`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.worlds.base import Space, TimeStep, World, next_timestep

# (observations (B, ...), key) -> actions (B,) int32, or (B, A) float32 for continuous ones
Policy = Callable[[dict[str, jax.Array], jax.Array], jax.Array]


class Play(NamedTuple):
    """Time steps of B environments that ran side by side, episode after episode."""

    steps: TimeStep  # (T, B, ...)
    action: jax.Array  # (T, B, A) the action *before* each observation, one-hot; zero at a reset


def random_play(world: World, length: int, count: int, key: jax.Array) -> Play:
    """`length` time steps T of `count` environments B under actions that are drawn uniformly.

    Each environment begins with a reset, and is reset again where its episode ends. The key is
    consumed. To be called inside or outside of `jax.jit`; outside, it is compiled once.
    """
    return collect(world, length, count, key, uniform(world.action_space))


@functools.cache
def uniform(space: Space) -> Policy:
    """The policy that chooses every action of a space with the same probability."""

    def policy(obs: dict[str, jax.Array], key: jax.Array) -> jax.Array:
        count = len(jax.tree.leaves(obs)[0])
        if space.is_discrete:
            return jax.random.randint(key, (count,), 0, space.classes)
        return jax.random.uniform(key, (count, *space.shape), minval=-1.0, maxval=1.0)

    return policy


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 4))
def collect(world: World, length: int, count: int, key: jax.Array, policy: Policy) -> Play:
    """As `random_play`, under any policy of the observation."""
    return collect_states(world, length, count, key, policy)[0]


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 4))
def collect_states(
    world: World, length: int, count: int, key: jax.Array, policy: Policy
) -> tuple[Play, Any]:
    """As `collect`, and the environments' own states (T, B, ...), from which they can go on."""
    reset_key, key = jax.random.split(key)
    state, first = jax.vmap(world.reset)(jax.random.split(reset_key, count))
    space = world.action_space

    def step(carry: tuple[Any, TimeStep], key: jax.Array) -> tuple[Any, tuple]:
        state, steps = carry
        action_key, world_key = jax.random.split(key)
        action = policy(steps.obs, action_key)
        keys = jax.random.split(world_key, count)
        state, new = jax.vmap(functools.partial(next_timestep, world))(state, steps, action, keys)
        embedded = jax.nn.one_hot(action, space.classes) if space.is_discrete else action
        embedded = embedded.reshape(count, -1) * (1.0 - new.is_first[:, None])
        return (state, new), (new, embedded, state)

    keys = jax.random.split(key, length - 1)
    steps, action, states = jax.lax.scan(step, (state, first), keys)[1]
    size = space.classes or space.size

    def with_first(first: Any, rest: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)

    action = jnp.concatenate([jnp.zeros((1, count, size)), action])
    return Play(with_first(first, steps), action), with_first(state, states)


def as_batch(dreamer: Any, c: Any, play: Play) -> Any:
    """`dreamer.Batch` of a play whose first time steps have no past.

    `dreamer` is the module from `parts.load`, `c` its `Config`.
    """
    count = play.action.shape[1]
    start = dreamer.State(
        jnp.zeros((count, c.deter)), jnp.zeros((count, c.stoch, c.classes), jnp.float32)
    )
    return dreamer.Batch(play.steps, play.action, start)


def windows(play: Play, length: int) -> Play:
    """Cut a play into windows of `length` time steps that do not overlap; (length, N, ...).

    Time steps that do not fill a window are left out. N is B times the windows of one environment.
    """
    pieces = len(play.action) // length
    if pieces == 0:
        raise ValueError(f"A window of {length} is longer than the play of {len(play.action)}.")

    def cut(x: jax.Array) -> jax.Array:
        x = x[: pieces * length].reshape(pieces, length, *x.shape[1:])
        return jnp.moveaxis(x, 0, 1).reshape(length, -1, *x.shape[3:])

    return jax.tree.map(cut, play)


def store(dreamer: Any, c: Any, play: Play) -> Any:
    """A `dreamer.Replay` that just holds the play, filled by `dreamer.add`; no states yet."""
    length, count = play.action.shape[:2]
    after = jnp.concatenate([play.action[1:], jnp.zeros_like(play.action[:1])])  # chosen after obs
    none = dreamer.State(
        jnp.zeros((count, c.deter)), jnp.zeros((count, c.stoch, c.classes), jnp.float32)
    )
    empty = dreamer.Replay(
        steps=jax.tree.map(jnp.zeros_like, play.steps),
        action=jnp.zeros_like(after),
        deter=jnp.zeros((length, count, c.deter)),
        stoch=jnp.zeros((length, count, c.stoch), jnp.uint8),
        added=jnp.int32(0),
    )

    def once(replay: Any, now: tuple) -> tuple[Any, None]:
        return dreamer.add(replay, *now, none), None

    return jax.jit(lambda inputs: jax.lax.scan(once, empty, inputs)[0])((play.steps, after))


class Moments(NamedTuple):
    """Places in a play, at most one in each environment, so that they are independent samples."""

    time: np.ndarray  # (M,) time step of the last observation
    world: np.ndarray  # (M,) environment


def moments(play: Play, observed: int, horizon: int, seed: int = 0) -> Moments:
    """One moment in each environment, such that `horizon` time steps of its episode follow.

    At least `observed` time steps of the episode lie before and at it. Environments without such a
    moment are left out.

    Raises:
      ValueError: no environment has one.
    """
    first = np.asarray(play.steps.is_first)
    step = np.arange(len(first))[:, None]
    begin = np.maximum.accumulate(np.where(first, step, 0), 0)  # where the episode began
    end = np.minimum(step + horizon, len(first) - 1)
    fits = (begin[end[:, 0]] == begin) & (step + horizon < len(first))
    fits &= step - begin >= observed - 1
    drawn = np.where(fits, np.random.default_rng(seed).random(fits.shape), -1.0)
    world = np.flatnonzero(fits.any(0))
    if not len(world):
        raise ValueError(
            f"No episode has {observed} + {horizon} time steps: play longer, or ask for fewer."
        )
    return Moments(drawn.argmax(0)[world], world)


def at_offsets(x: Any, at: Moments, offsets: Any) -> Any:
    """What lies at these offsets (n,) from the moments: arrays (T, B, ...) -> (n, M, ...)."""
    places = at.time + np.asarray(offsets)[:, None]
    return jax.tree.map(lambda leaf: leaf[places, at.world], x)
