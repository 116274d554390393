"""Notebook 10: how good an agent is, how far its rollouts can be trusted, and the worst one."""

import jax.numpy as jnp

from dreamer_lite.course.checks.exercise import check, flags, normal
from dreamer_lite.course.compare import Exercise, on


@check
def mean_and_error() -> Exercise:
    """`mine(returns)`: (n,) -> mean (), its standard error ()."""
    return Exercise(
        lambda x: (x.mean(), x.std(ddof=1) / len(x) ** 0.5),
        [on("7 returns", 10 + 4 * normal(90, 7))],
        not_divided=lambda x: (x.mean(), x.std(ddof=1)),
        no_root=lambda x: (x.mean(), x.std(ddof=1) / len(x)),
        divided_by_n=lambda x: (x.mean(), x.std() / len(x) ** 0.5),
        variance=lambda x: (x.mean(), x.var(ddof=1) / len(x) ** 0.5),
    )


@check
def trusted_steps() -> Exercise:
    """`mine(dream, copy)`: errors (H,), (H,) -> () int, the leading steps with dream < copy.

    `copy` is the error of the "repeat the last frame" baseline.
    """

    def oracle(dream, copy):
        return jnp.cumprod((dream < copy).astype(jnp.int32)).sum()

    copy = jnp.array([2.0, 3, 4, 4, 4, 4, 4])
    returns = flags("1101100")[:, 0] * -9.0
    return Exercise(
        oracle,
        [
            on("a rollout that crosses at step 3 and comes back", returns, -copy),
            on("one that never crosses", 0.5 * copy, copy),
            on("one that is not better even at the start", copy, copy),
        ],
        all_steps=lambda dream, copy: (dream < copy).sum(),
        never_crosses=lambda dream, copy: jnp.argmax(dream >= copy),
        one_too_many=lambda dream, copy: oracle(dream, copy) + 1,
        other_way=lambda dream, copy: oracle(copy, dream),
    )


@check
def worst_dream() -> Exercise:
    """`mine(errors, valid)`: (H, M), (H, M) bool -> () int, the moment with the worst mean error.

    Over the valid steps of each moment; a moment without any valid step is left out.
    """

    def means(errors, valid):
        return jnp.sum(errors, 0, where=valid) / valid.sum(0)

    def oracle(errors, valid):
        return jnp.argmax(jnp.where(valid.any(0), means(errors, valid), -jnp.inf))

    # A long rollout, a short bad one, one whose large errors are not valid, a good one.
    errors = jnp.array([[3.0, 5, 1, 0.5], [3, 1, 9, 0.5], [3, 1, 9, 0.5]])
    return Exercise(
        oracle,
        [
            on("4 moments of 3 steps, some over early", errors, flags("111", "100", "100", "111")),
            on("one of them over at once", errors, flags("111", "000", "100", "111")),
        ],
        all_count=lambda errors, valid: jnp.argmax(errors.mean(0)),
        summed=lambda errors, valid: jnp.argmax(jnp.sum(errors, 0, where=valid)),
        zero_by_zero=lambda errors, valid: jnp.argmax(means(errors, valid)),
        best=lambda errors, valid: jnp.argmin(jnp.where(valid.any(0), means(errors, valid), 1e9)),
    )
