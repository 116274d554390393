"""Notebook 01: rows and masks."""

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.course.checks.inputs import flags
from dreamer_lite.course.compare import Function, compare, on


def keep_mask(mine: Function) -> Function:
    """`mine(is_last)`: (T, B) bool -> (T, B) float32, 0 where the memory must be wiped."""

    def oracle(is_last: jax.Array) -> jax.Array:
        first = jnp.concatenate([jnp.ones_like(is_last[:1]), is_last[:-1]])
        return 1.0 - first.astype(jnp.float32)

    def at_the_end(is_last: jax.Array) -> jax.Array:
        return 1.0 - is_last.astype(jnp.float32)

    def start_kept(is_last: jax.Array) -> jax.Array:
        return oracle(is_last).at[0].set(1.0)

    return compare(
        mine,
        oracle,
        [on("4 episode ends in 3 sequences of 8 rows", flags("00010000", "00100100", "00000001"))],
        {
            "you wipe at the row where an episode ends, but that row still belongs to it: the "
            "memory must go one row later, at the reset.": at_the_end,
            "you keep the memory at row 0: nothing came before it, so there it is 0.": start_kept,
            "0 and 1 are swapped: keep is 1 where the memory goes on.": lambda x: 1 - oracle(x),
        },
        "the previous action, which needs the same mask.",
    )


def previous_action(mine: Function) -> Function:
    """`mine(action, is_first, count)`: (T, B) int, (T, B) bool -> (T, B, count) float32.

    Row t gets the one-hot action of row t - 1, or zeros at is_first and at row 0.
    """

    def oracle(action: jax.Array, is_first: jax.Array, count: int) -> jax.Array:
        return shifted(action, count) * (1.0 - is_first[..., None])

    def shifted(action: jax.Array, count: int) -> jax.Array:
        onehot = jax.nn.one_hot(action, count)
        return jnp.concatenate([jnp.zeros_like(onehot[:1]), onehot[:-1]])

    def action_zero(action: jax.Array, is_first: jax.Array, count: int) -> jax.Array:
        before = jnp.concatenate([jnp.zeros_like(action[:1]), action[:-1]])
        return jax.nn.one_hot(jnp.where(is_first, 0, before), count)

    action = jnp.array(np.random.default_rng(0).integers(0, 3, (8, 3)), jnp.int32)
    is_first = flags("10001000", "00010010", "00000000")
    return compare(
        mine,
        oracle,
        [on("3 sequences of 8 rows with 4 resets, 3 actions", action, is_first, 3)],
        {
            "you gave each row its own action: it leads to the NEXT row. Shift by one.": (
                lambda a, f, n: jax.nn.one_hot(a, n) * (1.0 - f[..., None])
            ),
            "the action before a reset leaks into the new episode: multiply by 1 - is_first.": (
                lambda a, f, n: shifted(a, n)
            ),
            "at a reset you give one-hot action 0, which is a real action: give all zeros.": (
                action_zero
            ),
        },
        "cut windows from the replay with it.",
    )
