"""What the functions are tried on: fixed random numbers, and flags that can be read."""

import jax
import jax.numpy as jnp
import numpy as np


def normal(seed: int, *shape: int) -> jax.Array:
    """Normal numbers, float32."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def uniform(seed: int, *shape: int) -> jax.Array:
    """Uniform numbers in [0, 1), float32."""
    return jnp.asarray(np.random.default_rng(seed).random(shape), jnp.float32)


def flags(*rows: str) -> jax.Array:
    """Flags (T, B) from one word per sequence, such as "1000"."""
    return jnp.array([[letter == "1" for letter in row] for row in rows]).T
