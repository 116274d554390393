"""Notebook 03: the RSSM."""

import jax
import jax.numpy as jnp

from dreamer_lite.agent import transforms
from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.networks import block_product
from dreamer_lite.course.checks.inputs import normal, uniform
from dreamer_lite.course.compare import Function, compare, gradient, on


def _gru(inner: Function, split_inside: bool = True) -> Function:
    """A block GRU `f(deter, x, kernel, bias)` from its last formula, inner(reset, cand, up, h)."""

    def step(deter: jax.Array, x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        flat = block_product(x, kernel) + bias
        blocks = kernel.shape[0] if split_inside else 1
        gates = flat.reshape(*x.shape[:-1], blocks, 3, -1)
        reset, candidate, update = (gates[..., i, :].reshape(deter.shape) for i in range(3))
        return inner(reset, candidate, update, deter)

    return step


def _blend(weight: jax.Array, candidate: jax.Array, deter: jax.Array) -> jax.Array:
    return weight * candidate + (1 - weight) * deter


def _right(reset, candidate, update, deter):
    sigmoid = jax.nn.sigmoid
    return _blend(sigmoid(update - 1), jnp.tanh(sigmoid(reset) * candidate), deter)


def block_gru(mine: Function) -> Function:
    """`mine(deter, x, kernel, bias)`: the block GRU's gates (SPEC 5.3).

    deter (..., D), x (..., D), kernel (g, D/g, 3D/g), bias (3D,) -> the new deter (..., D).
    """
    sigmoid = jax.nn.sigmoid
    sizes = (normal(5, 7, 8), normal(6, 7, 8), normal(7, 2, 4, 12), normal(8, 24))
    single = (normal(9, 3, 5, 6), normal(10, 3, 5, 6), normal(11, 1, 6, 18), normal(12, 18))
    return compare(
        mine,
        _gru(_right),
        [on("2 blocks, D = 8, shape (7, 8)", *sizes), on("1 block, D = 6, (3, 5, 6)", *single)],
        {
            "you cut all 3D numbers in three: each BLOCK's output is cut in three. Reshape to "
            "(..., g, 3, D/g).": _gru(_right, split_inside=False),
            "the update gate is sigmoid(update - 1): it starts out mostly closed.": _gru(
                lambda r, c, u, h: _blend(sigmoid(u), jnp.tanh(sigmoid(r) * c), h)
            ),
            "the two parts are swapped: the update gate lets the NEW candidate in.": _gru(
                lambda r, c, u, h: _blend(1 - sigmoid(u - 1), jnp.tanh(sigmoid(r) * c), h)
            ),
            "the reset gate is missing: it multiplies the candidate inside the tanh.": _gru(
                lambda r, c, u, h: _blend(sigmoid(u - 1), jnp.tanh(c), h)
            ),
            "the reset gate belongs inside the tanh, on the candidate.": _gru(
                lambda r, c, u, h: _blend(sigmoid(u - 1), sigmoid(r) * jnp.tanh(c), h)
            ),
            "the order in a block is reset, candidate, update.": _gru(
                lambda r, c, u, h: _right(r, u, c, h)
            ),
        },
        "the two guesses of z that hang on it.",
    )


SHARE = 0.01  # of uniform, in notebook 03's latents


def sample_latent(mine: Function) -> Function:
    """`mine(raw, u)`: logits (..., S, C), noise (..., S) in [0, 1) -> a sample (..., S, C).

    One-hot forward, the gradient of the mixed probabilities backward (SPEC 5.5).
    """

    def oracle(raw: jax.Array, u: jax.Array) -> jax.Array:
        dist = OneHot.mix(raw, SHARE)
        return transforms.straight_through(dist.quantile(u), dist.probs)

    def unmixed(raw: jax.Array, u: jax.Array) -> jax.Array:
        dist = OneHot.mix(raw)
        return transforms.straight_through(dist.quantile(u), dist.probs)

    def unmixed_gradient(raw: jax.Array, u: jax.Array) -> jax.Array:
        sample = OneHot.mix(raw, SHARE).quantile(u)
        return transforms.straight_through(sample, OneHot.mix(raw).probs)

    def likeliest(raw: jax.Array, u: jax.Array) -> jax.Array:
        dist = OneHot.mix(raw, SHARE)
        return transforms.straight_through(dist.mode(), dist.probs)

    raw, u = 2 * normal(13, 6, 5, 4), uniform(14, 6, 5)
    sure = jnp.array([[30.0, 0, 0, 0]], jnp.float32)
    return compare(
        mine,
        oracle,
        [
            on("30 draws from 4 classes", raw, u),
            on("a sure latent and noise of 0.999", sure, jnp.array([0.999], jnp.float32)),
            gradient("the gradient for the logits", raw, u),
        ],
        {
            "you return the probabilities: draw one class and make it one-hot.": (
                lambda r, u: OneHot.mix(r, SHARE).probs
            ),
            "no gradient comes through: add probs - stop_gradient(probs).": (
                lambda r, u: jax.lax.stop_gradient(oracle(r, u))
            ),
            "you always take the likeliest class: let u decide, the first class whose cumulated "
            "probability is above u.": likeliest,
            "the 1 % of uniform is missing.": unmixed,
            "the gradient must be that of the MIXED probabilities.": unmixed_gradient,
        },
        "a state that forgets when an episode begins.",
    )


def forget(mine: Function) -> Function:
    """`mine(deter, stoch, action, is_first)` -> the three, zeroed where is_first (SPEC 5.2).

    deter (B, D), stoch (B, S, C), action (B, A) embedded, is_first (B,) bool.
    """

    def masked(mask: jax.Array, *arrays: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), 0.0, x) for x in arrays)

    def oracle(deter, stoch, action, is_first):
        return masked(is_first, deter, stoch, action)

    def action_kept(deter, stoch, action, is_first):
        return (*masked(is_first, deter, stoch), action)

    def first_action(deter, stoch, action, is_first):
        zero = jax.nn.one_hot(jnp.zeros(len(action), jnp.int32), action.shape[-1])
        deter, stoch = masked(is_first, deter, stoch)
        return deter, stoch, jnp.where(is_first[:, None], zero, action)

    inputs = (normal(15, 5, 6), normal(16, 5, 2, 3), jax.nn.one_hot(jnp.arange(5) % 3, 3))
    return compare(
        mine,
        oracle,
        [on("5 states, 2 of them at a reset", *inputs, jnp.array([1, 0, 0, 1, 0], bool))],
        {
            "the previous action must go too: it belongs to the old episode.": action_kept,
            "you give one-hot action 0, which is a real action: give all zeros.": first_action,
            "yes and no are swapped: zero where is_first is True.": (
                lambda d, s, a, f: masked(~f, d, s, a)
            ),
            "nothing was zeroed.": lambda d, s, a, f: (d, s, a),
        },
        "scan it along a sequence.",
    )
