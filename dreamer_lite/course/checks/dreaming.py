"""Notebook 06: imagination."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.rssm import Rssm, State
from dreamer_lite.config import Config
from dreamer_lite.course.checks.exercise import check, flags, normal, uniform
from dreamer_lite.course.compare import Exercise, on

STEPS, ROLLOUTS, ACTIONS = 5, 3, 2


@functools.cache
def _rssm() -> Rssm:
    """A small RSSM that has learnt nothing."""
    config = Config(deter=8, hidden=5, stoch=3, classes=4, blocks=2)
    return Rssm(4, ACTIONS, config, np.random.default_rng(0))


def _start() -> State:
    classes = jnp.arange(ROLLOUTS * 3).reshape(ROLLOUTS, 3) % 4
    return State(normal(30, ROLLOUTS, 8), jax.nn.one_hot(classes, 4))


@check
def open_loop() -> Exercise:
    """`mine(step, start, actions, noise)` -> the T imagined states (T, B, ...).

    step(state, action (B, A), u (B, S)) -> state; start (B, ...), actions (T, B, A), noise
    (T, B, S). Source: `RSSM.imagine` of the released code (dreamerv3/rssm.py).
    """

    def roll(step, start, actions, noise):
        def once(state, inputs):
            following = step(state, *inputs)
            return following, (state, following)

        return jax.lax.scan(once, start, (actions, noise))[1]

    def one_noise(step, start, actions, noise):
        return roll(step, start, actions, jnp.broadcast_to(noise[:1], noise.shape))[1]

    actions = jax.nn.one_hot(jnp.int32(2 * uniform(35, STEPS, ROLLOUTS)), ACTIONS)
    inputs = _rssm().imagine_step, _start(), actions, uniform(31, STEPS, ROLLOUTS, 3)
    return Exercise(
        lambda *arguments: roll(*arguments)[1],
        [on("3 imagined rollouts of 5 steps by a small RSSM", *inputs)],
        before=lambda *arguments: roll(*arguments)[0],
        from_start=lambda step, start, *xs: jax.vmap(step, (None, 0, 0))(start, *xs),
        one_noise=one_noise,
    )


@check
def dream_on() -> Exercise:
    """`mine(step, policy, start, keys, noise)` -> states (H+1, N, ...), actions (H, N, A).

    policy(state, key) -> action (N, A); the first state is the start.
    Source: Hafner et al. 2025, "Actor critic learning"; `behavior.imagine`.
    """

    def policy(state: State, key: jax.Array) -> jax.Array:
        weights = 3 * jnp.cos(jnp.arange(state.feature.shape[-1] * 2.0)).reshape(-1, ACTIONS)
        return OneHot.mix(state.feature @ weights).sample(key)

    def roll(step, policy, start, keys, noise):
        def once(state, inputs):
            key, u = inputs
            action = policy(state, key)
            following = step(state, action, u)
            return following, (following, action)

        states, actions = jax.lax.scan(once, start, (keys, noise))[1]
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, states), actions

    def late(step, policy, start, keys, noise):
        states, _ = roll(step, policy, start, keys, noise)
        return states, jax.vmap(policy)(jax.tree.map(lambda x: x[1:], states), keys)

    def one_key(step, policy, start, keys, noise):
        return roll(step, policy, start, jnp.broadcast_to(keys[:1], keys.shape), noise)

    def from_start(step, policy, start, keys, noise):
        return roll(step, lambda _, key: policy(start, key), start, keys, noise)

    keys = jax.random.split(jax.random.key(32), STEPS)
    inputs = _rssm().imagine_step, policy, _start(), keys, uniform(33, STEPS, ROLLOUTS, 3)
    return Exercise(
        roll,
        [on("3 imagined rollouts of 5 steps with a policy", *inputs)],
        late=late,
        one_key=one_key,
        from_start=from_start,
    )


@check
def mean_and_band() -> Exercise:
    """`mine(errors, valid)`: (H, M), (H, M) bool -> mean (H,), half a 95 % interval (H,).

    Over the valid moments of each horizon; 1.96 standard errors, with n - 1.
    """

    def parts(errors, valid, ddof=1):
        count = valid.sum(1)
        mean = jnp.sum(errors, 1, where=valid) / count
        variance = jnp.sum((errors - mean[:, None]) ** 2, 1, where=valid) / (count - ddof)
        return mean, jnp.sqrt(variance), jnp.sqrt(count)

    def oracle(errors, valid, ddof=1):
        mean, std, root = parts(errors, valid, ddof)
        return mean, 1.96 * std / root

    def times(power: int, factor: float):
        """The mean, and the deviation divided by root**power, times factor."""

        def variant(errors, valid):
            mean, std, root = parts(errors, valid)
            return mean, factor * std / root**power

        return variant

    valid = flags("1111", "1111", "1110", "1100", "1100", "1000")
    return Exercise(
        oracle,
        [on("6 moments at 4 horizons, of which 6, 5, 3 and 2 count", normal(34, 4, 6), valid)],
        all_count=lambda errors, valid: oracle(errors, jnp.ones_like(valid)),
        zeros_count=lambda errors, valid: oracle(errors * valid, jnp.ones_like(valid)),
        no_root=times(0, 1.96),
        one_error=times(1, 1.0),
        divided_by_n=lambda errors, valid: oracle(errors, valid, 0),
    )
