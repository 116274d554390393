"""The compiled part of a comparison: imagine from moments of a trace, and measure or decode.

The docstring of `dreams`, which chooses the moments, says what is measured and why.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dreamer_lite.agent.agent import Agent, Graph, Params, embed_action, make_agent
from dreamer_lite.agent.rssm import State
from dreamer_lite.agent.transforms import symlog
from dreamer_lite.config import Config
from dreamer_lite.evaluation.players import Trace
from dreamer_lite.worlds import AnyWorld
from dreamer_lite.worlds.base import Space

DREAMS = 8  # dreams in `average`
SHOWN_OBSERVED, SHOWN_IMAGINED = 8, 24  # time steps of a film before and in the open loop


class Signals(NamedTuple):
    """What matters to the agent besides the observation; arrays of one shape, (H, M) or (L, K)."""

    reward: Any  # imagined: the reward head's mean; real: the reward that came
    cont: Any  # imagined: probability of continuation, undiscounted; real: 1 - is_terminal
    value: Any  # the critic on the imagined state; real: the critic on the posterior state


class Dreamer(NamedTuple):
    """Compiled functions; a rollout begins at step times (M,) of environment places (M,)."""

    # (params, trace, times, places, valid (H, M), key) -> errors (H,) by name, real, dream
    measure: Callable[..., tuple[dict[str, jax.Array], Signals, Signals]]
    # (params, trace, times, places, key) -> the fields of Clips from `is_first` on
    film: Callable[..., tuple]


@functools.lru_cache(maxsize=16)
def make_dreamer(config: Config, world: AnyWorld) -> Dreamer:
    """The compiled comparison for this config and world; made once for each pair."""
    graph = make_agent(config, world.obs_space, world.action_space)
    return Dreamer(
        jax.jit(functools.partial(measure, graph, config, world)),
        jax.jit(functools.partial(film, graph, config, world)),
    )


def at_offsets(trace: Trace, times: jax.Array, places: jax.Array, offsets: jax.Array) -> Trace:
    """Steps of the trace at these offsets from each moment, (n, M, ...), within its ends."""
    steps = jnp.clip(times[None] + offsets[:, None], 0, trace.timestep.reward.shape[0] - 1)
    return jax.tree.map(lambda x: x[steps, places[None]], trace)


def open_loop_from(
    trace: Trace, times: jax.Array, places: jax.Array, steps: int, space: Space
) -> tuple[State, jax.Array]:
    """States (M, ...) at the moments, and the embedded actions (steps, M, A) that follow."""
    action = at_offsets(trace, times, places, jnp.arange(steps)).action
    start = jax.tree.map(lambda x: x[times, places], trace.state)
    return start, embed_action(action, space)


def measure(
    graph: Graph,
    config: Config,
    world: AnyWorld,
    params: Params,
    trace: Trace,
    times: jax.Array,
    places: jax.Array,
    valid: jax.Array,
    key: jax.Array,
) -> tuple[dict[str, jax.Array], Signals, Signals]:
    """`Dreamer.measure`: errors of DREAMS imagined rollouts from each moment, and the signals."""
    agent = graph.merge(params)
    steps = valid.shape[0]
    start, actions = open_loop_from(trace, times, places, steps, world.action_space)
    ahead = at_offsets(trace, times, places, 1 + jnp.arange(steps))
    imagine = jax.vmap(agent.model.open_loop, (None, None, 0))
    states = imagine(start, actions, jax.random.split(key, DREAMS))  # (DREAMS, H, M, ...)

    def predict(h: jax.Array) -> dict[str, jax.Array]:
        at_h = jax.tree.map(lambda x: x[:, h], states)
        predictions = numbers(decode(agent, at_h), world.obs_space)
        return {"model": predictions[0], "average": predictions.mean(0)}

    last = at_offsets(trace, times, places, jnp.zeros(1, jnp.int32)).timestep.obs
    errors = cell_errors(
        predict,
        numbers(ahead.timestep.obs, world.obs_space),
        numbers(last, world.obs_space)[0],
        numbers(trace.timestep.obs, world.obs_space).mean((0, 1)),
        valid,
    )
    first = jax.tree.map(lambda x: x[0], states)
    return errors, observed(agent, ahead), predicted(agent, first, config)


def film(
    graph: Graph,
    config: Config,
    world: AnyWorld,
    params: Params,
    trace: Trace,
    times: jax.Array,
    places: jax.Array,
    key: jax.Array,
) -> tuple:
    """`Dreamer.film`: SHOWN_OBSERVED observed steps, then SHOWN_IMAGINED imagined ones."""
    agent = graph.merge(params)
    start, actions = open_loop_from(trace, times, places, SHOWN_IMAGINED, world.action_space)
    around = at_offsets(trace, times, places, jnp.arange(1 - SHOWN_OBSERVED, SHOWN_IMAGINED + 1))
    assert around.state is not None
    states = jax.tree.map(
        lambda real, imagined: jnp.concatenate([real[:SHOWN_OBSERVED], imagined]),
        around.state,
        agent.model.open_loop(start, actions, key),
    )
    before = at_offsets(trace, times, places, jnp.arange(-SHOWN_OBSERVED, SHOWN_IMAGINED)).action
    seen, real = decode(agent, states), observed(agent, around)
    dream = predicted(agent, states, config)
    return around.timestep.is_first, before, around.timestep.obs, seen, real, dream


def decode(agent: Agent, states: State) -> dict[str, jax.Array]:
    """The decoder's mean for states (...): images in [0, 1], classes as probabilities."""
    predictions = agent.model.decoder(states.deter, states.stoch)
    return {key: prediction.mean() for key, prediction in predictions.items()}


def observed(agent: Agent, steps: Trace) -> Signals:
    """What came at these time steps; the value is the critic's on the posterior state."""
    assert steps.state is not None, "a random player has no value"
    value = agent.critic(steps.state.feature).mean()
    return Signals(steps.timestep.reward, 1.0 - steps.timestep.is_terminal, value)


def predicted(agent: Agent, states: State, config: Config) -> Signals:
    """What the heads predict for imagined states (...)."""
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

    `predict(h)`, h from 0, gives {name: prediction (M, n)} for `real[h]`; real (H, M, n), last
    frame observed (M, n), mean frame (n,), valid (H, M). NaN where no cell counts.
    """
    changes = jnp.any(valid[..., None] & (real != last[None]), 0)  # (M, n)

    def at(h: jax.Array) -> dict[str, jax.Array]:
        counted = changes & valid[h][:, None]
        predictions = predict(h) | {"copy_last": last, "mean_frame": mean[None]}
        return {
            name: jnp.mean((x - real[h]) ** 2, where=counted) for name, x in predictions.items()
        }

    return jax.lax.map(at, jnp.arange(real.shape[0]))
