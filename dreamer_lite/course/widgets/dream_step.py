"""The compiled parts of `Dream`: one imagined step, of one rollout or of many; a real step."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.agent.agent import Params, embed_action, make_agent
from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.rssm import Rssm, State, where
from dreamer_lite.config import Config
from dreamer_lite.evaluation.open_loop import Signals, decode, predicted
from dreamer_lite.worlds import AnyWorld
from dreamer_lite.worlds.base import Space, TimeStep, World, next_timestep

COLDEST = 1e-3  # a temperature of 0 means this: always the likeliest class


class Imagined(NamedTuple):
    """One state of an imagined rollout and what the model predicts there."""

    state: State  # (1, ...)
    obs: dict[str, np.ndarray]  # (...) the decoder's mean
    signals: Signals  # numbers
    entropy: float  # nats, of the prior from which the latent was sampled
    action: np.ndarray  # in the environment's form; it led here


@functools.lru_cache(maxsize=8)
def make_step(config: Config, world: AnyWorld) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(predict, step), compiled for one imagined rollout.

    predict(params, state) -> (observation, signals, entropy). step(params, state, action, own,
    temperature, key) -> (state, observation, signals, entropy, action), where `action` is embedded,
    (A,), and ignored if `own` is true: then the agent's policy chooses. The key is consumed.
    """
    graph = make_agent(config, world.obs_space, world.action_space)

    def predictions(agent, state: State):
        """What the heads predict from one state (1, ...), without the leading axis."""
        entropy = agent.model.rssm.prior(state.deter).entropy().sum(-1)
        found = decode(agent, state), predicted(agent, state, config), entropy
        return jax.tree.map(lambda x: x[0], found)

    @jax.jit
    def predict(params: Params, state: State):
        agent = graph.merge(params)
        return predictions(agent, state.astype(agent.model.rssm.dtype))

    @jax.jit
    def step(params: Params, state: State, action: jax.Array, own, temperature, key: jax.Array):
        agent = graph.merge(params)
        act_key, noise_key = jax.random.split(key)
        state = state.astype(agent.model.rssm.dtype)
        chosen = agent.actor(state.feature).sample(act_key)[0]
        action = jnp.where(own, chosen, action)
        u = jax.random.uniform(noise_key, state.stoch.shape[:-1])
        state = imagine_step(agent.model.rssm, state, action[None], u, temperature)
        if world.action_space.is_discrete:
            action = jnp.argmax(action, -1)
        return (state.astype(jnp.float32), *predictions(agent, state), action)

    return predict, step


def imagine_step(rssm: Rssm, state: State, action: jax.Array, u, temperature) -> State:
    """`rssm.imagine_step`, with the prior's logits divided by `temperature`.

    1 samples from the prior itself; towards 0 the likeliest classes are taken.
    """
    deter = rssm.core(state, action)
    logits = rssm.prior(deter).logits
    other = jax.nn.log_softmax(logits / jnp.maximum(temperature, COLDEST))
    prior = OneHot(jnp.where(temperature == 1, logits, other))
    return State(deter, prior.quantile(u).astype(deter.dtype))


@functools.lru_cache(maxsize=8)
def many_steps(config: Config, world: AnyWorld) -> Callable[..., Any]:
    """step(params, states (M, 1, ...), actions (M, ...), temperature, keys (M,), h), compiled.

    Returns (states, observations (M, ...), signals (M,)).
    """
    _, step = make_step(config, world)

    @jax.jit
    def steps(params: Params, states: State, actions: jax.Array, temperature, keys, h):
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, h)
        actions = embed_action(actions, world.action_space)
        each = jax.vmap(step, (None, 0, 0, None, None, 0))
        return each(params, states, actions, False, temperature, keys)[:3]

    return steps


@functools.lru_cache(maxsize=8)
def make_real_step(world: World) -> Callable[..., tuple[Any, TimeStep]]:
    """step(state, timestep, action, key) -> (state, timestep) of one environment, compiled."""
    return jax.jit(functools.partial(next_timestep, world))


@functools.lru_cache(maxsize=8)
def many_real_steps(world: World) -> Callable[..., tuple[Any, TimeStep]]:
    """step(states (M, ...), timesteps (M, ...), actions (M, ...), keys (M,), h), compiled.

    Returns (states, timesteps) of M environments; one whose episode is over stands still.
    """

    @jax.jit
    def steps(states: Any, timesteps: TimeStep, actions: jax.Array, keys: jax.Array, h):
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, h)
        step = jax.vmap(functools.partial(next_timestep, world))
        after = step(states, timesteps, actions, keys)
        return where(timesteps.is_last, (states, timesteps), after)

    return steps


def choices(space: Space, names: Sequence[str]) -> dict[str, np.ndarray]:
    """What a reader may choose: {label: action in the environment's form}.

    All actions of a discrete space; of a continuous one the zero action, and each dimension alone
    at either end of its range.
    """
    if space.is_discrete:
        return {name: np.int32(i) for i, name in enumerate(names)}  # pyright: ignore
    unit = np.eye(len(names), dtype=np.float32).reshape(-1, *space.shape)
    ends = {f"{n} {sign}": x * e for n, e in zip(names, unit) for sign, x in (("-", -1), ("+", 1))}
    return {"nothing": np.zeros(space.shape, np.float32)} | ends
