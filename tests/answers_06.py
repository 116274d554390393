"""Solutions and wrong answers of notebook 06, for `test_checks`."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from dreamer_lite.course.checks.exercise import solved_agent


def stack(states):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def imagine_plan(agent, start, actions, key, same_noise=False):
    noise = jax.random.uniform(key, (*actions.shape[:2], agent.rssm.c.stoch))
    states = [start]
    for t, action in enumerate(actions):
        states.append(agent.rssm.imagine_step(states[-1], action, noise[0 if same_noise else t]))
    return stack(states[1:])


def imagine(agent, start, horizon, key, from_start=False):
    u_key, action_key = jax.random.split(key)
    noise = jax.random.uniform(u_key, (horizon, *start.stoch.shape[:-1]))
    states, actions = [start], []
    for u, key in zip(noise, jax.random.split(action_key, horizon)):
        seen = solved_agent().feature(start if from_start else states[-1])
        actions.append(agent.actor.policy(seen).sample(key))
        states.append(agent.rssm.imagine_step(states[-1], actions[-1], u))
    return stack(states), jnp.stack(actions)


def without_start(rollout):
    return jax.tree.map(lambda x: x[1:], rollout[0]), rollout[1]


def nth(states, n):
    return jax.tree.map(lambda x: x[n], states)


def behind(start, states):
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, states)


def exchanged(agent, start, actions, key):
    noise = jax.random.uniform(key, (*actions.shape[:2], agent.rssm.c.stoch))
    states = [start]
    for action, u in zip(actions, noise):
        states.append(agent.rssm.imagine_step(states[-1], u, action))
    return stack(states[1:])


def start_last(*inputs):
    states, actions = imagine(*inputs)
    return jax.tree.map(lambda x: jnp.roll(x, -1, 0), states), actions


def start_twice(agent, start, *inputs):
    states, actions = imagine(agent, start, *inputs)
    return behind(start, nth(states, slice(None, -1))), actions


def shifted(start, states):
    """The states before each step."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), start, states)


def late(agent, states, key):
    """The actions that the policy would choose one state too late."""
    keys = jax.random.split(jax.random.split(key)[1], len(states.deter) - 1)
    seen = solved_agent().feature(jax.tree.map(lambda x: x[1:], states))
    return states, jnp.stack([agent.actor.policy(f).sample(k) for f, k in zip(seen, keys)])


# `partial` hides a function's text, so that a check neither compares its name nor keeps it.
SOLUTIONS: dict[str, Callable] = {f.__name__: functools.partial(f) for f in (imagine_plan, imagine)}

WRONG: list[tuple[str, Callable, str]] = [
    ("imagine_plan", lambda g, s, a, k: shifted(s, imagine_plan(g, s, a, k)), "BEFORE each step"),
    ("imagine_plan", lambda g, s, a, k: imagine_plan(g, s, a, k, same_noise=True), "same noise"),
    ("imagine_plan", lambda g, s, a, k: imagine_plan(g, s, a[::-1], k), "reversed order"),
    ("imagine_plan", lambda g, s, a, k: imagine_plan(g, s, a, k).deter, "1 arrays where 2"),
    (
        "imagine_plan",
        lambda g, s, a, k: jax.vmap(g.rssm.imagine_step, (None, 0, 0))(
            s, a, jax.random.uniform(k, (*a.shape[:2], g.rssm.c.stoch))
        ),
        "begins at the start again",
    ),
    ("imagine_plan", lambda g, s, a, k: imagine_plan(g, s, a, jax.random.key(0)), "wrong numbers"),
    ("imagine_plan", lambda *x: nth(imagine_plan(*x), -1), "the last state alone"),
    (
        "imagine_plan",
        lambda *x: (nth(imagine_plan(*x), -1), imagine_plan(*x)),
        "both results of the scan",
    ),
    ("imagine_plan", lambda g, s, a, k: behind(s, imagine_plan(g, s, a, k)), "is among your"),
    ("imagine_plan", exchanged, "are exchanged"),
    (
        "imagine",
        lambda g, s, h, k: without_start(imagine(g, s, h, k)),
        "the start is missing",
    ),
    ("imagine", start_last, "at the end"),
    ("imagine", start_twice, "occurs twice"),
    ("imagine", lambda g, s, h, k: imagine(g, s, h, k, from_start=True), "the carried state"),
    ("imagine", lambda g, s, h, k: late(g, imagine(g, s, h, k)[0], k), "BEFORE the step"),
    ("imagine", lambda g, s, h, k: imagine(g, s, h, k)[0], "2 arrays where 3"),
    ("imagine", lambda g, s, h, k: imagine(g, s, h - 1, k), "wrong shape"),
]
WRONG = [(name, functools.partial(wrong), words) for name, wrong, words in WRONG]
