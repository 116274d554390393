"""Notebook 03: predicting anything."""

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.agent import transforms
from dreamer_lite.course.checks.exercise import check, normal
from dreamer_lite.course.compare import Exercise, Part, on


@check
def symlog() -> Exercise:
    """`mine(x)`: sign(x) ln(1 + |x|), elementwise (Hafner et al. 2025, "Robust predictions")."""
    numbers = [[-1e4, -20, -1, -0.5], [-0.01, 0, 0.001, 0.01], [0.5, 1, 20, 1e4]]
    return Exercise(
        transforms.symlog,
        [on("12 numbers from -10,000 to 10,000, shape (3, 4)", jnp.array(numbers, jnp.float32))],
        no_sign=lambda x: jnp.log1p(jnp.abs(x)),
        no_one=lambda x: jnp.sign(x) * jnp.log(jnp.maximum(jnp.abs(x), 1e-30)),
        base_10=lambda x: transforms.symlog(x) / jnp.log(10.0),
    )


@check
def symexp() -> Exercise:
    """`mine(x)`: sign(x) (exp(|x|) - 1), elementwise, the inverse of symlog."""
    x = jnp.array([[-9.0, -3.0, -1.0, -0.1, 0.0], [0.1, 0.15748, 1.0, 5.0, 9.0]], jnp.float32)
    small = Part("1e6 times symexp of 1e-6", lambda f: 1e6 * f(jnp.full((2, 5), 1e-6)))
    return Exercise(
        transforms.symexp,
        [on("10 numbers from -9 to 9, shape (2, 5)", x), small],
        tolerance=1e-3,
        no_sign=lambda x: jnp.expm1(jnp.abs(x)),
        no_one=lambda x: jnp.sign(x) * jnp.exp(jnp.abs(x)),
        no_magnitude=jnp.expm1,
        rounding=lambda x: jnp.sign(x) * (jnp.exp(jnp.abs(x)) - 1),
    )


@check
def two_hot() -> Exercise:
    """`mine(y, bins)`: (...), (K,) -> (..., K), the weights on the two neighbouring bins.

    Source: Hafner et al. 2025, "Robust predictions"; `transforms.two_hot`.
    """
    bins = transforms.symexp_bins(255)
    numbers = jnp.array([-900.0, -21.0, -1.0, -0.1, 0.1, 0.5, 1.0, 20.0, 900.0], jnp.float32)
    exact = jnp.asarray(bins[[100, 126, 127, 128, 200]])
    ends = jnp.array([-1e9, 1e9, bins[0], bins[-1]], jnp.float32)

    def swapped(y, bins):
        right = transforms.two_hot(y, bins)
        total = jnp.sum(jnp.where(right > 0, jnp.arange(len(bins)), 0), -1, keepdims=True)
        mirrored = jnp.clip(total - jnp.arange(len(bins)), 0, len(bins) - 1)
        single = (right > 0).sum(-1, keepdims=True) == 1
        return jnp.where(single, right, jnp.take_along_axis(right, mirrored, -1))

    def in_symlog(y, bins):
        squashed = np.asarray(transforms.symlog(jnp.asarray(bins)))
        return transforms.two_hot(transforms.symlog(y), squashed)

    return Exercise(
        transforms.two_hot,
        [
            on("9 numbers between the bins", numbers, bins),
            on("9 numbers on bins and beyond the ends", jnp.concatenate([exact, ends]), bins),
            on("shape (2, 3)", normal(1, 2, 3), bins),
        ],
        one_bin=lambda y, b: jax.nn.one_hot(jnp.abs(b - y[..., None]).argmin(-1), len(b)),
        swapped=swapped,
        in_symlog=in_symlog,
    )


@check
def symmetric_mean() -> Exercise:
    """`mine(probs, bins)`: (..., K), (K,) -> (...), the expected bin value, summed in pairs.

    Source: `TwoHot.pred` of the released code (embodied/jax/outs.py).
    """
    bins = transforms.symexp_bins(255)
    uniform = jnp.full((3, 255), 1 / 255, jnp.float32)
    peaked = jax.nn.softmax(normal(2, 4, 255) - 0.5 * (jnp.arange(255) - 127.0) ** 2)
    few = jax.nn.softmax(normal(3, 2, 8)), transforms.symexp_bins(8)

    def left_to_right(probs, bins):
        return jnp.asarray(np.cumsum(np.asarray(probs * bins), -1, np.float32)[..., -1])

    return Exercise(
        transforms.two_hot_mean,
        [
            on("uniform probabilities, 255 bins", uniform, bins),
            on("probabilities near the middle, 255 bins", peaked, bins),
            on("8 bins, an even count without a middle", *few),
        ],
        left_to_right=left_to_right,
        plain_sum=lambda probs, bins: jnp.sum(probs * bins, -1),
        plain_product=lambda probs, bins: probs @ jnp.asarray(bins),
    )


@check
def unimix() -> Exercise:
    """`mine(logits, fraction)`: (..., C) -> (..., C), ln of softmax mixed with uniform.

    Source: Hafner et al. 2025, "World model learning" (1 % uniform); `transforms.unimix`.
    """
    logits = jnp.array([[10.0, 0, 0, 0], [100.0, 0, 0, 0], [2.0, 1, 0, -1]], jnp.float32)
    softmax = jax.nn.softmax
    return Exercise(
        transforms.unimix,
        [
            on("3 distributions over 4 classes, 1 % uniform", logits, 0.01),
            on("shape (2, 3, 5), 10 %", normal(4, 2, 3, 5), 0.1),
        ],
        not_mixed=lambda x, mix: jnp.maximum(jax.nn.log_softmax(x), -1e30),
        no_log=lambda x, mix: jnp.exp(transforms.unimix(x, mix)),
        not_divided=lambda x, mix: jnp.log((1 - mix) * softmax(x) + mix),
        not_scaled=lambda x, mix: jnp.log(softmax(x) + mix / x.shape[-1]),
    )
