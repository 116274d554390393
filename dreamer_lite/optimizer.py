"""The optimiser: adaptive gradient clipping, then RMS scaling, then momentum (SPEC 10).

Scaling before averaging is the LaProp order: Adam averages raw gradients and scales the average.
Built in notebook 07. The libraries' parts are optax's; only the clipping over whole tensors is ours.
"""

import jax
import jax.numpy as jnp
import optax

from dreamer_lite.config import Config


def clip_by_parameter_norm(clip: float, floor: float) -> optax.GradientTransformation:
    """Shrink each tensor's gradient to at most clip * max(floor, parameter norm) (AGC).

    Norms are over the whole tensor; optax's own AGC takes them per unit.
    """

    def shrink(grad, param):
        limit = clip * jnp.maximum(floor, jnp.linalg.norm(param.ravel()))
        return grad / jnp.maximum(1.0, jnp.linalg.norm(grad.ravel()) / limit)

    def update(grads, state, params=None):
        return jax.tree.map(shrink, grads, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """One optimiser for all modules; the warm-up starts at 0, so the first update changes nothing."""
    if config.warmup:
        rate = optax.linear_schedule(0.0, config.learning_rate, config.warmup)
    else:
        rate = config.learning_rate
    # Scaling and momentum run over all parameters as one vector: a program of one step in place of
    # one per tensor, which a CPU compiles 5 s sooner and runs faster.
    scale = optax.chain(
        optax.scale_by_rms(
            config.rms_decay, config.rms_eps, eps_in_sqrt=False, bias_correction=True
        ),
        optax.ema(config.momentum, debias=True),
        optax.scale_by_learning_rate(rate),
    )
    return optax.chain(
        clip_by_parameter_norm(config.clip, config.clip_floor), optax.flatten(scale)
    )
