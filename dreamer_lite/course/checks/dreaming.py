"""Notebook 06: imagination."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dreamer_lite import worlds
from dreamer_lite.course.checks.exercise import normal, one_hots, part, solved, solved_agent
from dreamer_lite.course.compare import Exercise, Part, on

STEPS, ROLLOUTS, ACTIONS = 5, 3, 3


@functools.cache
def small_agent() -> Any:
    """A small agent for Catch whose parameters are random, so that every head depends on h and z.

    A new agent's reward head, critic and actor output almost nothing. This actor is decisive: an
    action that was chosen in another state is another action.
    """
    course = solved_agent()
    c = course.Config(deter=8, stoch=3, classes=4, blocks=2, hidden=6, units=7, bins=63, horizon=5)
    graph, params = nnx.split(course.Dreamer(c, worlds.make("catch"), 0))
    leaves, tree = jax.tree.flatten(nnx.to_pure_dict(params))
    leaves = [x + 0.5 * normal(300 + i, *x.shape) for i, x in enumerate(leaves)]
    agent = nnx.merge(graph, jax.tree.unflatten(tree, leaves))
    last = agent.actor.net.out.kernel
    last[...] = 6 * last[...]
    return agent


@functools.cache
def calm_agent() -> Any:
    """The small agent with small rewards and values: nearly all probability on the bin of 0."""
    graph, params = nnx.split(small_agent())
    agent = nnx.merge(graph, nnx.to_pure_dict(params))  # a copy
    for head in (agent.reward.out, agent.critic.out):
        bins = len(head.bias)
        head.kernel[...] = 0.1 * head.kernel[...]
        head.bias[...] = -4.0 * jnp.abs(jnp.arange(bins) - bins // 2)
    return agent


def small_start() -> Any:
    """A latent state (ROLLOUTS, ...) of the small agent."""
    return solved_agent().State(normal(30, ROLLOUTS, 8), one_hots(4, ROLLOUTS, 3))


def _noise(agent: Any, key: jax.Array, steps: int) -> jax.Array:
    """The noise that both parts draw: (steps, N, S)."""
    return jax.random.uniform(key, (steps, ROLLOUTS, agent.rssm.c.stoch))


def _behind(start: Any, states: Any) -> Any:
    """The start in front of the states."""
    return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), start, states)


@part("imagine_plan")
def imagine_plan() -> Exercise:
    """`mine(agent, start, actions, key)` -> the H imagined states (H, N, ...).

    start (N, ...), actions (H, N, A). Source: `RSSM.imagine` of the released code
    (dreamerv3/rssm.py).
    """
    oracle = solved("imagine_plan")

    def roll(agent, start, actions, u):
        def step(state, inputs):
            following = agent.rssm.imagine_step(state, *inputs)
            return following, (state, following)

        return jax.lax.scan(step, start, (actions, u))[1]

    def with_noise(change: Callable) -> Callable:
        def mistake(agent, start, actions, key):
            return roll(agent, start, actions, change(_noise(agent, key, len(actions))))[1]

        return mistake

    def before(agent, start, actions, key):
        return roll(agent, start, actions, _noise(agent, key, len(actions)))[0]

    def last(agent, start, actions, key):
        return jax.tree.map(lambda x: x[-1], oracle(agent, start, actions, key))

    def both_results(*inputs):
        return last(*inputs), oracle(*inputs)

    def with_start(agent, start, actions, key):
        return _behind(start, oracle(agent, start, actions, key))

    def exchanged(agent, start, actions, key):
        u = _noise(agent, key, len(actions))
        return roll(agent, start, u, actions)[1]

    def from_start(agent, start, actions, key):
        step = jax.vmap(agent.rssm.imagine_step, (None, 0, 0))
        return step(start, actions, _noise(agent, key, len(actions)))

    def backwards(agent, start, actions, key):
        return oracle(agent, start, actions[::-1], key)

    agent, start, key = small_agent(), small_start(), jax.random.key(31)
    actions = one_hots(ACTIONS, STEPS, ROLLOUTS)
    later = actions.at[3:].set(actions[3:, :, ::-1])

    def causality(function: Callable) -> Any:
        """How many numbers of 3 states change with the 2 actions after them; whether others do."""
        states = [function(agent, start, a, key) for a in (actions, later)]
        pairs = [*zip(*map(jax.tree.leaves, states), strict=True)]
        changed = [jnp.sum(a[:3] != b[:3]) for a, b in pairs]
        return (*changed, jnp.any(pairs[0][0][3] != pairs[0][1][3]))

    return Exercise(
        oracle,
        [
            on("3 imagined rollouts of 5 steps by a small RSSM", agent, start, actions, key),
            Part("other actions at steps 4 and 5 leave the first 3 states as they are", causality),
        ],
        last=last,
        both_results=both_results,
        with_start=with_start,
        before=before,
        exchanged=exchanged,
        from_start=from_start,
        one_noise=with_noise(lambda u: jnp.broadcast_to(u[:1], u.shape)),
        backwards=backwards,
    )


@part("imagine")
def imagine() -> Exercise:
    """`mine(agent, start, horizon, key)` -> states (H+1, N, ...), actions (H, N, A).

    The first state is the start. Source: Hafner et al. 2025, "Critic learning".
    """
    oracle = solved("imagine")

    def start_last(agent, start, horizon, key):
        states, actions = roll(agent, start, horizon, key, kept="no start")
        return jax.tree.map(lambda x, xs: jnp.concatenate([xs, x[None]]), start, states), actions

    def roll(agent, start, horizon, key, act=None, one_key=False, kept=None):
        u_key, action_key = jax.random.split(key)
        keys = jax.random.split(action_key, horizon)
        keys = jnp.broadcast_to(keys[:1], keys.shape) if one_key else keys

        def choose(state, key):
            return agent.actor.policy(solved_agent().feature(state)).sample(key)

        def step(state, inputs):
            key, u = inputs
            action = choose(start if act == "start" else state, key)
            new = agent.rssm.imagine_step(state, action, u)
            action = choose(new, key) if act == "late" else action
            return new, (state if kept == "old" else new, action)

        xs = keys, _noise(agent, u_key, horizon)
        states, actions = jax.lax.scan(step, start, xs)[1]
        return (states if kept == "no start" else _behind(start, states)), actions

    inputs = small_agent(), small_start(), STEPS, jax.random.key(32)
    return Exercise(
        oracle,
        [on("3 imagined rollouts of 5 steps with a small actor", *inputs)],
        no_start=functools.partial(roll, kept="no start"),
        start_last=start_last,
        start_twice=functools.partial(roll, kept="old"),
        late=functools.partial(roll, act="late"),
        one_key=functools.partial(roll, one_key=True),
        from_start=functools.partial(roll, act="start"),
    )
