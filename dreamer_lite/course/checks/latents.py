"""Notebook 04: the recurrent state-space model."""

import jax
import jax.numpy as jnp

from dreamer_lite.agent import transforms
from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.layers import block_affine
from dreamer_lite.course.checks.exercise import check, normal, uniform
from dreamer_lite.course.compare import Exercise, Function, gradient, on

UNIMIX = 0.01  # fraction of the uniform distribution in notebook 04's latents


@check
def block_gru() -> Exercise:
    """`mine(deter, x, kernel, bias)`: the gates of the block GRU.

    deter (..., D), x (..., D), kernel (g, D/g, 3D/g), bias (3D,) -> the new deter (..., D).
    Source: `RSSM._core` of the released code (dreamerv3/rssm.py).
    """
    sigmoid, tanh = jax.nn.sigmoid, jnp.tanh

    def gru(formula: Function, split_inside: bool = True) -> Function:
        """A block GRU from its last formula: formula(reset, candidate, update, deter)."""

        def step(deter, x, kernel, bias):
            flat = block_affine(x, kernel, bias)
            blocks = kernel.shape[0] if split_inside else 1
            gates = flat.reshape(*x.shape[:-1], blocks, 3, -1)
            reset, candidate, update = (gates[..., i, :].reshape(deter.shape) for i in range(3))
            return formula(reset, candidate, update, deter)

        return step

    def blend(weight, candidate, deter):
        return weight * candidate + (1 - weight) * deter

    def right(r, c, u, h):
        return blend(sigmoid(u - 1), tanh(sigmoid(r) * c), h)

    sizes = (normal(5, 7, 8), normal(6, 7, 8), normal(7, 2, 4, 12), normal(8, 24))
    single = (normal(9, 3, 5, 6), normal(10, 3, 5, 6), normal(11, 1, 6, 18), normal(12, 18))
    return Exercise(
        gru(right),
        [on("2 blocks, D = 8, shape (7, 8)", *sizes), on("1 block, D = 6, (3, 5, 6)", *single)],
        cut_across=gru(right, split_inside=False),
        no_shift=gru(lambda r, c, u, h: blend(sigmoid(u), tanh(sigmoid(r) * c), h)),
        swapped=gru(lambda r, c, u, h: blend(1 - sigmoid(u - 1), tanh(sigmoid(r) * c), h)),
        no_reset=gru(lambda r, c, u, h: blend(sigmoid(u - 1), tanh(c), h)),
        reset_outside=gru(lambda r, c, u, h: blend(sigmoid(u - 1), sigmoid(r) * tanh(c), h)),
        order=gru(lambda r, c, u, h: right(r, u, c, h)),
    )


@check
def sample_latent() -> Exercise:
    """`mine(raw, u)`: logits (..., S, C), noise (..., S) in [0, 1) -> a sample (..., S, C).

    One-hot in the forward pass, the gradient of the mixed probabilities in the backward pass
    (straight-through estimator). Source: Hafner et al. 2025, "World model learning".
    """

    def passed(sample, dist):
        return transforms.straight_through(sample, dist.probs)

    def mixed(raw):
        return OneHot.mix(raw, UNIMIX)

    def oracle(raw, u):
        return passed(mixed(raw).quantile(u), mixed(raw))

    raw, u = 2 * normal(13, 6, 5, 4), uniform(14, 6, 5)
    sure = jnp.array([[30.0, 0, 0, 0]], jnp.float32)
    return Exercise(
        oracle,
        [
            on("30 samples from 4 classes", raw, u),
            on("a latent with one likely class, noise 0.999", sure, jnp.float32([0.999])),
            gradient("the gradient for the logits", raw, u),
        ],
        probabilities=lambda raw, u: mixed(raw).probs,
        no_gradient=lambda raw, u: jax.lax.stop_gradient(oracle(raw, u)),
        mode=lambda raw, u: passed(mixed(raw).mode(), mixed(raw)),
        unmixed=lambda raw, u: passed(OneHot.mix(raw).quantile(u), OneHot.mix(raw)),
        unmixed_gradient=lambda raw, u: passed(mixed(raw).quantile(u), OneHot.mix(raw)),
    )


@check
def forget() -> Exercise:
    """`mine(deter, stoch, action, is_first)` -> the three, set to zero where is_first.

    deter (B, D), stoch (B, S, C), action (B, A) embedded, is_first (B,) bool.
    Source: `RSSM._observe` of the released code (dreamerv3/rssm.py).
    """

    def masked(mask, *arrays):
        return tuple(jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), 0.0, x) for x in arrays)

    def action_zero(deter, stoch, action, is_first):
        zero = jax.nn.one_hot(jnp.zeros(len(action), jnp.int32), action.shape[-1])
        return *masked(is_first, deter, stoch), jnp.where(is_first[:, None], zero, action)

    inputs = (normal(15, 5, 6), normal(16, 5, 2, 3), jax.nn.one_hot(jnp.arange(5) % 3, 3))
    return Exercise(
        lambda deter, stoch, action, is_first: masked(is_first, deter, stoch, action),
        [on("5 states, 2 of them at a reset", *inputs, jnp.array([1, 0, 0, 1, 0], bool))],
        action_kept=lambda d, s, a, first: (*masked(first, d, s), a),
        action_zero=action_zero,
        swapped=lambda d, s, a, first: masked(~first, d, s, a),
        nothing=lambda d, s, a, first: (d, s, a),
    )
