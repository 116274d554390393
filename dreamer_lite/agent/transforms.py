"""Small maps between numbers that the rest of the agent is made of. No parameters, no state.

Everything here is built by hand in notebook 02: how to predict rewards from 0.01 to 10,000 with
one network and one learning rate. All functions take and return float32.
"""

import jax
import jax.numpy as jnp
import numpy as np


def symlog(x: jax.Array) -> jax.Array:
    """Squash magnitudes, keep the sign: symlog(x) = sign(x) ln(1 + |x|) (SPEC 3)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: jax.Array) -> jax.Array:
    """The inverse of `symlog`: symexp(x) = sign(x) (exp(|x|) - 1) (SPEC 3)."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


def symexp_bins(count: int) -> np.ndarray:
    """Values of the two-hot bins, (N,): evenly spaced from -20 to 20 in symlog space (SPEC 7.1).

    Only the negative half is computed; the other is its mirror image, so that the set is exactly
    symmetric and an odd `count` has exactly 0 in the middle.
    """
    half = np.linspace(-20, 0, (count + 1) // 2, dtype=np.float32)
    half = (-np.expm1(-half)).astype(np.float32)
    mirrored = -half[::-1]
    return np.concatenate([half, mirrored[count % 2 :]])


def two_hot(y: jax.Array, bins: np.ndarray) -> jax.Array:
    """Encode y (...) as weights (..., N) on its two neighbouring bins, so that weights @ bins = y.

    The nearer bin gets the larger weight; a value on a bin has weight 1 there; a value beyond the
    ends goes to the end bin (SPEC 7.1).
    """
    count = len(bins)
    y = y[..., None]
    below = jnp.clip(jnp.sum(bins <= y, -1, keepdims=True) - 1, 0, count - 1)
    above = jnp.clip(count - jnp.sum(bins > y, -1, keepdims=True), 0, count - 1)
    values = jnp.asarray(bins)
    to_below = jnp.abs(values[below] - y)
    to_above = jnp.abs(values[above] - y)
    weight_above = jnp.where(below == above, 1.0, to_below / (to_below + to_above))
    index = jnp.arange(count)
    return jnp.where(index == above, weight_above, jnp.where(index == below, 1 - weight_above, 0))


def two_hot_mean(probs: jax.Array, bins: np.ndarray) -> jax.Array:
    """Expected bin value of probs (..., N) -> (...), summed in mirrored pairs (SPEC 7.1).

    The outer bins are worth up to 4.9e8, so their terms must cancel exactly where the prediction
    is near 0. A plain float32 sum of uniform probabilities gives 3.0; this one gives 0, compiled
    too: fused multiply-adds would spoil a difference of two products (0.7 with 15 bins), so the
    probabilities are subtracted first.
    """
    half = len(bins) // 2
    upper, lower = slice(len(bins) - half, None), slice(None, half)
    pairs = (probs[..., upper] - probs[..., lower][..., ::-1]) * bins[upper]
    middle = probs[..., half : len(bins) - half] * bins[half : len(bins) - half]
    return pairs.sum(-1) + middle.sum(-1)


def unimix(logits: jax.Array, share: float) -> jax.Array:
    """Mix a `share` of the uniform distribution into softmax(logits) (..., C); returns ln p.

    p = (1 - share) softmax(logits) + share / C keeps every class possible and KL finite (SPEC 5.5).
    """
    if share == 0:
        return jax.nn.log_softmax(logits)
    probs = (1 - share) * jax.nn.softmax(logits) + share / logits.shape[-1]
    return jnp.log(probs)


def straight_through(sample: jax.Array, probs: jax.Array) -> jax.Array:
    """`sample` forward, the gradient of `probs` backward: sg(sample) + p - sg(p) (SPEC 5.5)."""
    return jax.lax.stop_gradient(sample) + (probs - jax.lax.stop_gradient(probs))


def percentile_range(
    x: jax.Array, low: float, high: float, old: tuple[jax.Array, jax.Array], rate: float
) -> tuple[jax.Array, jax.Array]:
    """Moving percentiles of all elements of x: old + rate * (new - old) (SPEC 9.7).

    Returns (lo, hi), scalars. They start at 0 and are not bias-corrected.
    """
    new_low, new_high = jnp.percentile(x, jnp.array([low, high]))
    old_low, old_high = old
    return (1 - rate) * old_low + rate * new_low, (1 - rate) * old_high + rate * new_high
