"""Functions of numbers without parameters: symlog, two-hot codes, unimix, straight-through.

Built in notebook 03: how one network with one learning rate predicts rewards from 0.01 to 10,000.
All functions take and return float32.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.agent.fast_gpu import fewer_launches_on_gpu


def symlog(x: jax.Array) -> jax.Array:
    """symlog(x) = sign(x) ln(1 + |x|): compress magnitudes and keep the sign.

    Source: Hafner et al. 2025, "Robust predictions"; `symlog` in the released code's nets.py.
    """
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: jax.Array) -> jax.Array:
    """symexp(x) = sign(x) (exp(|x|) - 1), the inverse of `symlog`; same source."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


def symexp_bins(count: int) -> np.ndarray:
    """Values of the two-hot bins, (K,): B = symexp([-20 … +20]), evenly spaced in symlog space.

    Only the negative half is computed; the other is its mirror image, so that the set is exactly
    symmetric and an odd `count` has exactly 0 in the middle. Source: Hafner et al. 2025, "Robust
    predictions"; `symexp_twohot` in the released code's heads.py.
    """
    half = np.linspace(-20, 0, (count + 1) // 2, dtype=np.float32)
    half = (-np.expm1(-half)).astype(np.float32)
    mirrored = -half[::-1]
    return np.concatenate([half, mirrored[count % 2 :]])


def two_hot(y: jax.Array, bins: np.ndarray) -> jax.Array:
    """Encode y (...) as weights (..., K) on its two neighbouring bins, so that weights @ bins = y.

    With bₖ ≤ y ≤ bₖ₊₁: wₖ = |bₖ₊₁ - y| / |bₖ₊₁ - bₖ|, wₖ₊₁ = 1 - wₖ, all others 0. A value on a
    bin has weight 1 there; a value beyond the ends goes to the end bin. Source: Hafner et al. 2025,
    "Robust predictions".
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
    """ŷ = Σₖ pₖ bₖ, the expected bin value; probs (..., K) -> (...), summed in mirrored pairs.

    Source of the order: `TwoHot.pred` of the released code (embodied/jax/outs.py).
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


@fewer_launches_on_gpu
def unimix(logits: jax.Array, fraction: float) -> jax.Array:
    """p = (1 - f) softmax(logits) + f / C: mix in a `fraction` f of the uniform distribution.

    Keeps every class possible and the KL divergence finite. logits (..., C) -> ln p (..., C).
    Source: Hafner et al. 2025, "World model learning" (unimix).
    """
    if fraction == 0:
        return jax.nn.log_softmax(logits)
    probs = (1 - fraction) * jax.nn.softmax(logits) + fraction / logits.shape[-1]
    return jnp.log(probs)


@fewer_launches_on_gpu
def straight_through(sample: jax.Array, probs: jax.Array) -> jax.Array:
    """Straight-through estimator sg(sample) + p - sg(p): value of sample, gradient of p.

    Source: Hafner et al. 2025, "World model learning"; `OneHot.sample` in the released outs.py.
    """
    return jax.lax.stop_gradient(sample) + (probs - jax.lax.stop_gradient(probs))


def percentile_range(
    x: jax.Array, low: float, high: float, old: tuple[jax.Array, jax.Array], rate: float
) -> tuple[jax.Array, jax.Array]:
    """Exponential moving averages of two percentiles of x: (1 - rate) old + rate Per(x).

    Source: Hafner et al. 2025, "Actor learning"; `Normalize` in the released code's utils.py.
    Returns (lo, hi), scalars. They start at 0 and are not bias-corrected.
    """
    new_low, new_high = jnp.percentile(x, jnp.array([low, high]))
    old_low, old_high = old
    return (1 - rate) * old_low + rate * new_low, (1 - rate) * old_high + rate * new_high
