"""What every check is made of: the decorator `check`, the messages, and the inputs."""

import functools
import tomllib
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.course.compare import Exercise, Function, compare


@functools.cache
def messages() -> dict[str, dict[str, str]]:
    """{check: {mistake: hint, "next": what follows in the notebook}}, from hints.toml."""
    return tomllib.loads(Path(__file__).with_name("hints.toml").read_text(encoding="utf-8"))


def check(make: Callable[[], Exercise]) -> Callable[[Function], Function]:
    """A check from an exercise: the docstring says what the reader's function `mine` must do."""

    @functools.wraps(make, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def run(mine: Function) -> Function:
        return compare(mine, make(), messages()[make.__name__])

    del run.__wrapped__  # the signature is that of `run`
    return run


def normal(seed: int, *shape: int) -> jax.Array:
    """Normal numbers, float32."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def uniform(seed: int, *shape: int) -> jax.Array:
    """Uniform numbers in [0, 1), float32."""
    return jnp.asarray(np.random.default_rng(seed).random(shape), jnp.float32)


def flags(*sequences: str) -> jax.Array:
    """Flags (T, B) from one word per sequence, such as "1000"."""
    return jnp.array([[letter == "1" for letter in word] for word in sequences]).T


def previous(x: jax.Array) -> jax.Array:
    """x[t - 1] at t, and x[0] at 0: for formulas that confuse t with t + 1."""
    return jnp.concatenate([x[:1], x[:-1]])
