"""Notebook 05: imagination."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.rssm import Rssm, State
from dreamer_lite.config import Config
from dreamer_lite.course.checks.inputs import flags, normal, uniform
from dreamer_lite.course.compare import Function, compare, on

STEPS, DREAMS, ACTIONS = 5, 3, 2


@functools.cache
def _rssm() -> Rssm:
    """A small RSSM that has learnt nothing."""
    config = Config(deter=8, hidden=5, stoch=3, classes=4, blocks=2)
    return Rssm(4, ACTIONS, config, np.random.default_rng(0))


def _start() -> State:
    classes = jnp.arange(DREAMS * 3).reshape(DREAMS, 3) % 4
    return State(normal(30, DREAMS, 8), jax.nn.one_hot(classes, 4))


def open_loop(mine: Function) -> Function:
    """`mine(step, start, actions, noise)` -> the T dreamt states (T, B, ...) (SPEC 5.6).

    step(state, action (B, A), u (B, S)) -> state; start (B, ...), actions (T, B, A), noise
    (T, B, S).
    """

    def roll(step, start, actions, noise):
        def once(state, inputs):
            following = step(state, *inputs)
            return following, (state, following)

        return jax.lax.scan(once, start, (actions, noise))[1]

    def from_start(step, start, actions, noise):
        return jax.vmap(step, (None, 0, 0))(start, actions, noise)

    def one_noise(step, start, actions, noise):
        return roll(step, start, actions, jnp.broadcast_to(noise[:1], noise.shape))[1]

    actions = jax.nn.one_hot(jnp.int32(2 * uniform(35, STEPS, DREAMS)), ACTIONS)
    inputs = _start(), actions, uniform(31, STEPS, DREAMS, 3)
    return compare(
        mine,
        lambda *arguments: roll(*arguments)[1],
        [on("3 dreams of 5 steps by a small RSSM", _rssm().imagine_step, *inputs)],
        {
            "you return the states BEFORE each step: the start is known, give the 5 that are "
            "dreamt.": lambda *arguments: roll(*arguments)[0],
            "every step begins at the start again: hand the new state on as the carry.": from_start,
            "all steps use the same noise: scan over the noise too, one row a step.": one_noise,
        },
        "let a policy choose the actions.",
    )


def dream_on(mine: Function) -> Function:
    """`mine(step, policy, start, keys, noise)` -> states (H+1, N, ...), actions (H, N, A).

    policy(state, key) -> action (N, A); the first state is the start (SPEC 9.1).
    """

    def policy(state: State, key: jax.Array) -> jax.Array:
        weights = 3 * jnp.cos(jnp.arange(state.feature.shape[-1] * 2.0)).reshape(-1, ACTIONS)
        return OneHot.mix(state.feature @ weights).sample(key)

    def roll(step, policy, start, keys, noise, early: bool = False):
        def once(state, inputs):
            key, u = inputs
            action = policy(start if early else state, key)
            following = step(state, action, u)
            return following, (following, action)

        states, actions = jax.lax.scan(once, start, (keys, noise))[1]
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, states), actions

    def flat(function: Function) -> Function:
        """A State and actions as three arrays."""

        def call(*arguments):
            states, actions = function(*arguments)
            return (*states, actions)

        return functools.wraps(function)(call)

    def late(step, policy, start, keys, noise):
        states, _ = roll(step, policy, start, keys, noise)
        after = jax.tree.map(lambda x: x[1:], states)
        return states, jax.vmap(policy)(after, keys)

    def one_key(step, policy, start, keys, noise):
        return roll(step, policy, start, jnp.broadcast_to(keys[:1], keys.shape), noise)

    mistakes = {
        "the action must be chosen in the state BEFORE the step that it leads to.": late,
        "all steps use the same key, and so the same dice: scan over the keys.": one_key,
        "the policy looks at the start all the time: give it the carried state.": (
            lambda *arguments: roll(*arguments, early=True)
        ),
    }
    keys = jax.random.split(jax.random.key(32), STEPS)
    inputs = policy, _start(), keys, uniform(33, STEPS, DREAMS, 3)
    asked = flat(mine)
    chosen = compare(
        asked,
        flat(roll),
        [on("3 dreams of 5 steps with a policy", _rssm().imagine_step, *inputs)],
        {hint: flat(mistake) for hint, mistake in mistakes.items()},
        "measure how long a dream can be trusted.",
    )
    return mine if chosen is asked else roll


def mean_and_band(mine: Function) -> Function:
    """`mine(errors, valid)`: (H, M), (H, M) bool -> mean (H,), half width of the band (H,).

    Over the valid moments of each horizon; 1.96 standard errors, with n - 1.
    """

    def parts(errors: jax.Array, valid: jax.Array, ddof: int = 1) -> tuple[jax.Array, ...]:
        count = valid.sum(1)
        mean = jnp.sum(errors, 1, where=valid) / count
        spread = jnp.sum((errors - mean[:, None]) ** 2, 1, where=valid) / (count - ddof)
        return mean, jnp.sqrt(spread), jnp.sqrt(count)

    def oracle(errors: jax.Array, valid: jax.Array, ddof: int = 1) -> tuple[jax.Array, ...]:
        mean, std, root = parts(errors, valid, ddof)
        return mean, 1.96 * std / root

    def all_count(errors: jax.Array, valid: jax.Array) -> tuple[jax.Array, ...]:
        return oracle(errors, jnp.ones_like(valid))

    def zeros_count(errors: jax.Array, valid: jax.Array) -> tuple[jax.Array, ...]:
        return oracle(errors * valid, jnp.ones_like(valid))

    def no_root(errors: jax.Array, valid: jax.Array) -> tuple[jax.Array, ...]:
        mean, std, _ = parts(errors, valid)
        return mean, 1.96 * std

    def one_error(errors: jax.Array, valid: jax.Array) -> tuple[jax.Array, ...]:
        mean, std, root = parts(errors, valid)
        return mean, std / root

    valid = flags("1111", "1111", "1110", "1100", "1100", "1000")
    return compare(
        mine,
        oracle,
        [on("6 moments at 4 horizons, of which 6, 5, 3 and 2 count", normal(34, 4, 6), valid)],
        {
            "all moments count in yours: leave out those whose episode is over.": all_count,
            "you count the moments that are over as errors of 0: divide by how many are valid.": (
                zeros_count
            ),
            "that is the spread of single moments: the MEAN is surer, divide by the root of the "
            "count.": no_root,
            "that is one standard error: 95 of 100 lie within 1.96 of them.": one_error,
            "the spread of a sample divides by n - 1.": lambda e, v: oracle(e, v, 0),
        },
        "hold the dream beside reality.",
    )
