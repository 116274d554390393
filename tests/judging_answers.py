"""Solutions and wrong answers of notebook 10, for `test_checks`."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np


def mean_and_error(returns):
    n, mean = len(returns), sum(returns) / len(returns)
    return mean, jnp.sqrt(sum((x - mean) ** 2 for x in returns) / (n - 1) / n)


def trusted_steps(dream, copy):
    for step, (mine, theirs) in enumerate(zip(dream, copy)):
        if mine >= theirs:
            return step
    return len(dream)


def worst_dream(errors, valid):
    errors, valid = np.asarray(errors), np.asarray(valid)
    means = {m: errors[valid[:, m], m].mean() for m in range(errors.shape[1]) if valid[:, m].any()}
    return max(means, key=lambda m: means[m])


SOLUTIONS: dict[str, Callable] = {
    f.__name__: f for f in (mean_and_error, trusted_steps, worst_dream)
}

WRONG: list[tuple[str, Callable, str]] = [
    ("mean_and_error", lambda x: (x.mean(), jnp.std(x, ddof=1)), "by the root of n"),
    ("mean_and_error", lambda x: (x.mean(), jnp.std(x, ddof=1) / len(x)), "ROOT only"),
    ("mean_and_error", lambda x: (x.mean(), jnp.std(x) / len(x) ** 0.5), "divides by n - 1"),
    ("mean_and_error", lambda x: (x.mean(), jnp.var(x, ddof=1) / len(x) ** 0.5), "a variance"),
    ("mean_and_error", lambda x: (jnp.median(x), mean_and_error(x)[1]), "wrong numbers"),
    ("mean_and_error", lambda x: x.mean(), "1 arrays where 2"),
    ("trusted_steps", lambda d, c: jnp.sum(d < c), "FIRST crossing"),
    ("trusted_steps", lambda d, c: jnp.argmax(d >= c), "never crosses"),
    ("trusted_steps", lambda d, c: trusted_steps(d, c) + 1, "one too many"),
    ("trusted_steps", lambda d, c: trusted_steps(c, d), "other way round"),
    ("trusted_steps", lambda d, c: d < c, "wrong shape: (7,)"),
    ("worst_dream", lambda e, v: jnp.argmax(e.mean(0)), "where=valid"),
    ("worst_dream", lambda e, v: jnp.argmax((e * v).sum(0)), "add the errors up"),
    ("worst_dream", lambda e, v: jnp.argmax((e * v).sum(0) / v.sum(0)), "0 / 0"),
    (
        "worst_dream",
        lambda e, v: jnp.argmin(jnp.where(v.any(0), (e * v).sum(0) / v.sum(0), 9e9)),
        "the best one",
    ),
    ("worst_dream", lambda e, v: jnp.argmax(e), "wrong numbers"),
]
