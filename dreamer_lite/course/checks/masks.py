"""Notebook 02: masks at the borders of episodes."""

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.course.checks.exercise import check, flags
from dreamer_lite.course.compare import Exercise, on


@check
def keep_mask() -> Exercise:
    """`mine(is_last)`: (T, B) bool -> (T, B) float32, 0 where the recurrent state is reset.

    Source: `RSSM._observe` of the released code, whose mask is `~reset`.
    """

    def oracle(is_last):
        return 1.0 - jnp.concatenate([jnp.ones_like(is_last[:1]), is_last[:-1]])

    is_last = flags("00010000", "00100100", "00000001")
    return Exercise(
        oracle,
        [on("4 episode ends in 3 sequences of 8 time steps", is_last)],
        at_the_end=lambda last: 1.0 - last,
        start_kept=lambda last: oracle(last).at[0].set(1.0),
        swapped=lambda last: 1 - oracle(last),
    )


@check
def previous_action() -> Exercise:
    """`mine(action, is_first, count)`: (T, B) int, (T, B) bool -> (T, B, count) float32.

    Time step t gets the one-hot action of t - 1, or zeros where is_first and at t = 0.
    """

    def shifted(action, count):
        onehot = jax.nn.one_hot(action, count)
        return jnp.concatenate([jnp.zeros_like(onehot[:1]), onehot[:-1]])

    def action_zero(action, is_first, count):
        before = jnp.concatenate([jnp.zeros_like(action[:1]), action[:-1]])
        return jax.nn.one_hot(jnp.where(is_first, 0, before), count)

    action = jnp.array(np.random.default_rng(0).integers(0, 3, (8, 3)), jnp.int32)
    inputs = action, flags("10001000", "00010010", "00000000"), 3
    return Exercise(
        lambda action, first, count: shifted(action, count) * (1.0 - first[..., None]),
        [on("3 sequences of 8 time steps with 4 resets, 3 actions", *inputs)],
        not_shifted=lambda a, first, n: jax.nn.one_hot(a, n) * (1.0 - first[..., None]),
        leaks=lambda a, first, n: shifted(a, n),
        action_zero=action_zero,
    )
