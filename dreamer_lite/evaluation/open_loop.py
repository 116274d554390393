"""The compiled part of a comparison: dream from given moments of a trace, and measure or decode it.

What is measured and why, the docstring of `dreams` says; it chooses the moments.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dreamer_lite.agent.agent import Agent, Params, embed_action, make_agent
from dreamer_lite.agent.rssm import State
from dreamer_lite.agent.transforms import symlog
from dreamer_lite.config import Config
from dreamer_lite.evaluation.rollouts import Trace
from dreamer_lite.worlds import AnyWorld
from dreamer_lite.worlds.base import Space

DREAMS = 8  # dreams in `average`
SHOWN_AWAKE, SHOWN_DREAMT = 8, 24  # rows of a film before and after the eyes close


class Signals(NamedTuple):
    """What matters to the agent besides the picture; arrays of one shape, (H, M) or (L, K)."""

    reward: Any  # dreamt: the reward head's mean; real: the reward that came
    cont: Any  # dreamt: chance that life goes on, discount taken out; real: 1 - is_terminal
    value: Any  # the critic on the dreamt state; real: the critic on the state of the waking agent


class Dreamer(NamedTuple):
    """Compiled functions; times and places (M,) say in which row and world of a trace to begin."""

    # (params, trace, times, places, valid (H, M), key) -> errors (H,) by name, real, dream
    measure: Callable[..., tuple[dict[str, jax.Array], Signals, Signals]]
    # (params, trace, times, places, key) -> the fields of Clips from `is_first` on
    film: Callable[..., tuple]


@functools.lru_cache(maxsize=16)
def make_dreamer(config: Config, world: AnyWorld) -> Dreamer:
    """The compiled comparison for this config and world; made once for each pair."""
    graph = make_agent(config, world.obs_space, world.action_space)

    def follow(trace: Trace, times: jax.Array, places: jax.Array, offsets: jax.Array) -> Trace:
        """Rows of the trace at these steps from each moment, (n, M, ...); kept within its ends."""
        rows = jnp.clip(times[None] + offsets[:, None], 0, trace.row.reward.shape[0] - 1)
        return jax.tree.map(lambda x: x[rows, places[None]], trace)

    def fall_asleep(trace, times, places, steps: int) -> tuple[State, jax.Array]:
        """States (M, ...) at the moments, and the embedded actions (steps, M, A) that follow."""
        action = follow(trace, times, places, jnp.arange(steps)).action
        start = jax.tree.map(lambda x: x[times, places], trace.state)
        return start, embed_action(action, world.action_space)

    @jax.jit
    def measure(params: Params, trace: Trace, times, places, valid, key):
        agent = graph.merge(params)
        steps = valid.shape[0]
        start, actions = fall_asleep(trace, times, places, steps)
        ahead = follow(trace, times, places, 1 + jnp.arange(steps))
        dream = jax.vmap(agent.model.open_loop, (None, None, 0))
        states = dream(start, actions, jax.random.split(key, DREAMS))  # (DREAMS, H, M, ...)

        def predict(h: jax.Array) -> dict[str, jax.Array]:
            at_h = jax.tree.map(lambda x: x[:, h], states)
            guess = numbers(decode(agent, at_h), world.obs_space)
            return {"model": guess[0], "average": guess.mean(0)}

        last = follow(trace, times, places, jnp.zeros(1, jnp.int32)).row.obs
        errors = cell_errors(
            predict,
            numbers(ahead.row.obs, world.obs_space),
            numbers(last, world.obs_space)[0],
            numbers(trace.row.obs, world.obs_space).mean((0, 1)),
            valid,
        )
        first = jax.tree.map(lambda x: x[0], states)
        return errors, lived(agent, ahead), foreseen(agent, first, config)

    @jax.jit
    def film(params: Params, trace: Trace, times, places, key):
        agent = graph.merge(params)
        start, actions = fall_asleep(trace, times, places, SHOWN_DREAMT)
        rows = follow(trace, times, places, jnp.arange(1 - SHOWN_AWAKE, SHOWN_DREAMT + 1))
        assert rows.state is not None
        states = jax.tree.map(
            lambda awake, dreamt: jnp.concatenate([awake[:SHOWN_AWAKE], dreamt]),
            rows.state,
            agent.model.open_loop(start, actions, key),
        )
        before = follow(trace, times, places, jnp.arange(-SHOWN_AWAKE, SHOWN_DREAMT)).action
        seen, real = decode(agent, states), lived(agent, rows)
        dream = foreseen(agent, states, config)
        return rows.row.is_first, before, rows.row.obs, seen, real, dream

    return Dreamer(measure, film)


def decode(agent: Agent, states: State) -> dict[str, jax.Array]:
    """The decoder's mean for states (...): images in [0, 1], classes as probabilities."""
    guesses = agent.model.decoder(states.deter, states.stoch)
    return {key: guess.mean() for key, guess in guesses.items()}


def lived(agent: Agent, rows: Trace) -> Signals:
    """What reality said at these rows; the value is the waking agent's own estimate."""
    assert rows.state is not None, "a random player has no value"
    value = agent.critic(rows.state.feature).mean()
    return Signals(rows.row.reward, 1.0 - rows.row.is_terminal, value)


def foreseen(agent: Agent, states: State, config: Config) -> Signals:
    """What the heads say of dreamt states (...)."""
    feature = states.feature
    cont = jnp.minimum(1.0, agent.model.cont(feature).mean() / config.discount)
    return Signals(agent.model.reward(feature).mean(), cont, agent.critic(feature).mean())


def numbers(obs: dict[str, jax.Array], spaces: dict[str, Space]) -> jax.Array:
    """Real or decoded observations as one flat float32 array (..., n) to compare by."""
    parts = []
    for key, space in sorted(spaces.items()):
        x = obs[key]
        if space.is_image:
            x = x / 255 if x.dtype == jnp.uint8 else x
        elif space.is_discrete:
            x = jax.nn.one_hot(x, space.classes) if jnp.issubdtype(x.dtype, jnp.integer) else x
        else:
            x = symlog(x)
        lead = x.ndim - len(space.shape) - space.is_discrete
        parts.append(x.reshape(*x.shape[:lead], space.size))
    return jnp.concatenate(parts, -1)


def cell_errors(
    predict: Callable[[jax.Array], dict[str, jax.Array]],
    real: jax.Array,
    last: jax.Array,
    mean: jax.Array,
    valid: jax.Array,
) -> dict[str, jax.Array]:
    """Mean squared error (H,) of each predictor and of the two baselines on the cells that change.

    `predict(h)`, h from 0, gives {name: guess (M, n)} for `real[h]`; real (H, M, n), last frame
    seen (M, n), mean frame (n,), valid (H, M). NaN where no cell counts.
    """
    changes = jnp.any(valid[..., None] & (real != last[None]), 0)  # (M, n)

    def at(h: jax.Array) -> dict[str, jax.Array]:
        counted = changes & valid[h][:, None]
        guesses = predict(h) | {"copy_last": last, "mean_frame": mean[None]}
        return {
            name: jnp.mean((guess - real[h]) ** 2, where=counted) for name, guess in guesses.items()
        }

    return jax.lax.map(at, jnp.arange(real.shape[0]))
