"""Notebook 02: predicting anything."""

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.agent import transforms
from dreamer_lite.course.checks.inputs import normal
from dreamer_lite.course.compare import Function, Part, compare, on

_NUMBERS = jnp.array(
    [[-1e4, -20, -1, -0.5], [-0.01, 0, 0.001, 0.01], [0.5, 1, 20, 1e4]], jnp.float32
)


def symlog(mine: Function) -> Function:
    """`mine(x)`: sign(x) ln(1 + |x|), elementwise."""
    return compare(
        mine,
        transforms.symlog,
        [on("12 numbers from -10,000 to 10,000, shape (3, 4)", _NUMBERS)],
        {
            "you forgot the sign: symlog(-1) is -0.693.": lambda x: jnp.log1p(jnp.abs(x)),
            "the 1 in ln(1 + |x|) is missing.": (
                lambda x: jnp.sign(x) * jnp.log(jnp.maximum(jnp.abs(x), 1e-30))
            ),
            "that is a logarithm to base 10: take the natural one.": (
                lambda x: transforms.symlog(x) / jnp.log(10.0)
            ),
        },
        "its inverse.",
    )


def symexp(mine: Function) -> Function:
    """`mine(x)`: sign(x) (exp(|x|) - 1), elementwise."""
    x = jnp.array([[-9.0, -3.0, -1.0, -0.1, 0.0], [0.1, 0.15748, 1.0, 5.0, 9.0]], jnp.float32)
    small = Part("1e6 times symexp of 1e-6", lambda f: 1e6 * f(jnp.full((2, 5), 1e-6)))
    return compare(
        mine,
        transforms.symexp,
        [on("10 numbers from -9 to 9, shape (2, 5)", x), small],
        {
            "you forgot the sign: symexp(-1) is -1.718.": lambda x: jnp.expm1(jnp.abs(x)),
            "the - 1 is missing: symexp(0) is 0.": lambda x: jnp.sign(x) * jnp.exp(jnp.abs(x)),
            "take |x| in the exponent: for negative x yours goes to -1.": jnp.expm1,
            "exp(x) - 1 loses its digits near 0 in float32: there is a function for it, "
            "jnp.expm1.": lambda x: jnp.sign(x) * (jnp.exp(jnp.abs(x)) - 1),
        },
        "bins between which any reward can lie.",
        tolerance=1e-3,
    )


def two_hot(mine: Function) -> Function:
    """`mine(y, bins)`: (...), (N,) -> (..., N), the weights on the two neighbouring bins."""
    bins = transforms.symexp_bins(255)
    numbers = jnp.array([-900.0, -21.0, -1.0, -0.1, 0.1, 0.5, 1.0, 20.0, 900.0], jnp.float32)
    exact = jnp.asarray(bins[[100, 126, 127, 128, 200]])
    ends = jnp.array([-1e9, 1e9, bins[0], bins[-1]], jnp.float32)

    def one_bin(y: jax.Array, bins: np.ndarray) -> jax.Array:
        return jax.nn.one_hot(jnp.argmin(jnp.abs(bins - y[..., None]), -1), len(bins))

    def swapped(y: jax.Array, bins: np.ndarray) -> jax.Array:
        right = transforms.two_hot(y, bins)
        total = jnp.sum(jnp.where(right > 0, jnp.arange(len(bins)), 0), -1, keepdims=True)
        mirrored = jnp.clip(total - jnp.arange(len(bins)), 0, len(bins) - 1)
        single = (right > 0).sum(-1, keepdims=True) == 1
        return jnp.where(single, right, jnp.take_along_axis(right, mirrored, -1))

    def in_symlog(y: jax.Array, bins: np.ndarray) -> jax.Array:
        squashed = np.asarray(transforms.symlog(jnp.asarray(bins)))
        return transforms.two_hot(transforms.symlog(y), squashed)

    return compare(
        mine,
        transforms.two_hot,
        [
            on("9 numbers between the bins", numbers, bins),
            on("9 numbers on bins and beyond the ends", jnp.concatenate([exact, ends]), bins),
            on("shape (2, 3)", normal(1, 2, 3), bins),
        ],
        {
            "you use one bin: put weight on both neighbours, so that weights @ bins gives y.": (
                one_bin
            ),
            "the two weights are swapped: the NEARER bin gets the larger one.": swapped,
            "you measure distances in symlog space: then weights @ bins is not y. Take them in "
            "reward space.": in_symlog,
        },
        "decode it again, without losing the small numbers.",
    )


def symmetric_mean(mine: Function) -> Function:
    """`mine(probs, bins)`: (..., N), (N,) -> (...), the expected bin value, summed in pairs."""
    bins = transforms.symexp_bins(255)
    uniform = jnp.full((3, 255), 1 / 255, jnp.float32)
    peaked = jax.nn.softmax(normal(2, 4, 255) - 0.5 * (jnp.arange(255) - 127.0) ** 2)
    few = transforms.symexp_bins(8)

    def left_to_right(probs: jax.Array, bins: np.ndarray) -> jax.Array:
        return jnp.asarray(np.cumsum(np.asarray(probs * bins), -1, np.float32)[..., -1])

    return compare(
        mine,
        transforms.two_hot_mean,
        [
            on("uniform probabilities, 255 bins", uniform, bins),
            on("probabilities near the middle, 255 bins", peaked, bins),
            on("8 bins, an even count without a middle", jax.nn.softmax(normal(3, 2, 8)), few),
        ],
        {
            "summed left to right: terms of two million must cancel and leave dust. Add each bin "
            "to its mirror image first.": left_to_right,
            "a plain sum leaves dust of terms of two million. Add each bin to its mirror image "
            "first.": lambda p, b: jnp.sum(p * b, -1),
            "that is a plain product p @ bins: add each bin to its mirror image first.": (
                lambda p, b: p @ jnp.asarray(b)
            ),
        },
        "one net for rewards of every size.",
    )


def unimix(mine: Function) -> Function:
    """`mine(logits, share)`: (..., C) -> (..., C), ln of softmax with a share of uniform."""
    logits = jnp.array([[10.0, 0, 0, 0], [100.0, 0, 0, 0], [2.0, 1, 0, -1]], jnp.float32)
    return compare(
        mine,
        transforms.unimix,
        [
            on("3 rows of logits, 1 % uniform", logits, 0.01),
            on("shape (2, 3, 5), 10 %", normal(4, 2, 3, 5), 0.1),
        ],
        {
            "nothing was mixed in: that is the plain log-softmax.": (
                lambda x, s: jnp.maximum(jax.nn.log_softmax(x), -1e30)
            ),
            "return ln p, not p.": lambda x, s: jnp.exp(transforms.unimix(x, s)),
            "the uniform share is spread over C classes: divide it by C.": (
                lambda x, s: jnp.log((1 - s) * jax.nn.softmax(x) + s)
            ),
            "the softmax must give way: multiply it by 1 - share, so that p sums to 1.": (
                lambda x, s: jnp.log(jax.nn.softmax(x) + s / x.shape[-1])
            ),
        },
        "the summary; notebook 03 uses it for every latent.",
    )
