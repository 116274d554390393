"""Notebook 09: how good an agent is, how far to trust its dream, and which dream is the worst."""

import functools

import jax
import jax.numpy as jnp

from dreamer_lite.course.checks.inputs import flags, normal
from dreamer_lite.course.compare import Function, compare, on


def mean_and_error(mine: Function) -> Function:
    """`mine(returns)`: (n,) -> mean (), its standard error ()."""

    def oracle(returns: jax.Array) -> tuple[jax.Array, jax.Array]:
        return returns.mean(), returns.std(ddof=1) / len(returns) ** 0.5

    mistakes = {
        "that is the spread of single games: the MEAN of n of them is surer, by the root of n.": (
            lambda x: (x.mean(), x.std(ddof=1))
        ),
        "you divide by n: the error of a mean falls with its ROOT only.": (
            lambda x: (x.mean(), x.std(ddof=1) / len(x))
        ),
        "the spread of a sample divides by n - 1: its own mean is nearer than the true one.": (
            lambda x: (x.mean(), x.std() / len(x) ** 0.5)
        ),
        "that is a variance: take the root before you divide.": (
            lambda x: (x.mean(), x.var(ddof=1) / len(x) ** 0.5)
        ),
    }
    returns = 10 + 4 * normal(90, 7)
    return compare(
        mine,
        oracle,
        [on("7 returns", returns)],
        mistakes,
        "say how good the agent is, and how surely.",
    )


def as_array(function: Function) -> Function:
    """So that a plain int will do."""

    @functools.wraps(function)
    def call(*arguments):
        result = function(*arguments)
        return result if result is None else jnp.asarray(result)

    return call


def trusted_steps(mine: Function) -> Function:
    """`mine(dream, copy)`: (H,), (H,) -> () int, steps from the first on with dream < copy."""

    def oracle(dream: jax.Array, copy: jax.Array) -> jax.Array:
        return jnp.cumprod((dream < copy).astype(jnp.int32)).sum()

    mistakes = {
        "steps count only up to the FIRST crossing; what comes after it is luck.": (
            lambda d, c: (d < c).sum()
        ),
        "a dream that never crosses is trusted at all H steps: argmax gives 0 there.": (
            lambda d, c: jnp.argmax(d >= c)
        ),
        "one too many: the step at which it crosses is not to be trusted.": (
            lambda d, c: oracle(d, c) + 1
        ),
        "the smaller ERROR is better: compare the other way round.": lambda d, c: oracle(c, d),
    }
    copy = jnp.array([2.0, 3, 4, 4, 4, 4, 4])
    asked = as_array(mine)
    chosen = compare(
        asked,
        oracle,
        [
            on(
                "a dream that crosses at step 3 and comes back",
                flags("1101100")[:, 0] * -9.0,
                -copy,
            ),
            on("one that never crosses", 0.5 * copy, copy),
            on("one that is no better from the start", copy, copy),
        ],
        mistakes,
        "draw the curves, with their bands.",
    )
    return mine if chosen is asked else oracle


def worst_dream(mine: Function) -> Function:
    """`mine(errors, valid)`: (H, M), (H, M) bool -> () int, the moment with the worst mean error.

    Over the valid steps of each moment; a moment without any is out of question.
    """

    def means(errors: jax.Array, valid: jax.Array) -> jax.Array:
        return jnp.sum(errors, 0, where=valid) / valid.sum(0)

    def oracle(errors: jax.Array, valid: jax.Array) -> jax.Array:
        return jnp.argmax(jnp.where(valid.any(0), means(errors, valid), -jnp.inf))

    mistakes = {
        "rows after the end of an episode count in yours: leave them out by `where=valid`.": (
            lambda e, v: jnp.argmax(e.mean(0))
        ),
        "you add the errors up, so that long dreams look bad: divide by the valid steps.": (
            lambda e, v: jnp.argmax(jnp.sum(e, 0, where=v))
        ),
        "0 / 0 is not a number, and argmax prefers it: rule out moments without a valid step.": (
            lambda e, v: jnp.argmax(means(e, v))
        ),
        "that is the best one: look for the largest error.": (
            lambda e, v: jnp.argmin(jnp.where(v.any(0), means(e, v), jnp.inf))
        ),
    }
    # A long dream, a short bad one, one whose bad rows are not its own, a good one.
    errors = jnp.array([[3.0, 5, 1, 0.5], [3, 1, 9, 0.5], [3, 1, 9, 0.5]])
    asked = as_array(mine)
    chosen = compare(
        asked,
        oracle,
        [
            on("4 moments of 3 steps, some over early", errors, flags("111", "100", "100", "111")),
            on("one of them over at once", errors, flags("111", "000", "100", "111")),
        ],
        mistakes,
        "look at it.",
    )
    return mine if chosen is asked else oracle
