"""The optimiser: adaptive gradient clipping (AGC), then RMS scaling, then momentum (LaProp).

    g ← g / max(1, ‖g‖ / (clip max(floor, ‖θ‖)))      AGC, for each tensor
    v ← β₂ v + (1 - β₂) g²,  u = g / (√v̂ + ε)          RMS scaling
    m ← β₁ m + (1 - β₁) u,   θ ← θ - lr m̂              momentum

Adam averages raw gradients and then scales the average. Sources: Hafner et al. 2025, Methods
("Optimizer"); `clip_by_agc`, `scale_by_rms` and `scale_by_momentum` in the released opt.py.
Built in notebook 08. The parts are optax's; only the clipping over whole tensors is ours.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from dreamer_lite.agent.fast_gpu import fewer_launches_on_gpu
from dreamer_lite.config import Config


@fewer_launches_on_gpu
def norms(tree: Any) -> Any:
    """The Euclidean norm of each tensor, in a tree of the same structure."""
    return jax.tree.map(lambda x: jnp.linalg.norm(x.ravel()), tree)


def clip_by_parameter_norm(clip: float, floor: float) -> optax.GradientTransformation:
    """Shrink each tensor's gradient to at most clip * max(floor, parameter norm) (AGC).

    Norms are over the whole tensor; optax's own AGC takes them per unit.
    """

    def shrink(grad, grad_norm, param_norm):
        limit = clip * jnp.maximum(floor, param_norm)
        return grad / jnp.maximum(1.0, grad_norm / limit)

    def update(updates, state, params=None):
        return jax.tree.map(shrink, updates, norms(updates), norms(params)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def learning_rate(config: Config) -> optax.Schedule:
    """Rate of update t = 0, 1, ...: a linear warm-up, times 1 / sqrt(1 + t / decay) if that is set.

    The warm-up starts at 0, so the first update changes nothing. The paper has no decay.
    """

    def rate(t: jax.typing.ArrayLike) -> jax.typing.ArrayLike:
        warm = jnp.minimum(1.0, jnp.asarray(t) / config.warmup) if config.warmup else 1.0
        fallen = jax.lax.rsqrt(1.0 + jnp.asarray(t) / config.decay) if config.decay else 1.0
        return config.learning_rate * warm * fallen

    return rate


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """One optimiser for all modules."""
    # Scaling and momentum run over all parameters as one vector: one small program instead of one
    # per tensor, which a CPU compiles 2 s sooner.
    scale = optax.chain(
        optax.scale_by_rms(
            config.rms_decay, config.rms_eps, eps_in_sqrt=False, bias_correction=True
        ),
        optax.ema(config.momentum, debias=True),
        optax.scale_by_learning_rate(learning_rate(config)),
    )
    return optax.chain(clip_by_parameter_norm(config.clip, config.clip_floor), optax.flatten(scale))
