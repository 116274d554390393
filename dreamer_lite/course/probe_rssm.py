"""What influences what in an RSSM: by changing an input, and by the gradient.

A perturbation is a proof for these weights and this input: outputs that are equal bit by bit do not
depend on what was changed. A gradient of zero only says that no learning signal passes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.course import data
from dreamer_lite.course.ablate_rssm import WorldModel


def influence(
    model: WorldModel, params: Any, play: data.Play, what: str, key: jax.Array
) -> np.ndarray:
    """Largest change (T, T) of the state at t when the input at s is changed, for one sequence.

    `what` is "embed", which changes its sign, or "action", where another action takes its place.
    The sampling noise stays the same. The key is consumed.

    Raises:
      ValueError: another `what`.
    """
    if what not in ("embed", "action"):
        raise ValueError(f"what is {what!r}: it must be 'embed' or 'action'.")

    @jax.jit
    def all_changes(params: Any) -> jax.Array:
        networks, embed, action, start = _inputs(model, params, play)

        def states(embed: jax.Array, action: jax.Array) -> jax.Array:
            states, post = networks.rssm.observe(start, embed, action, play.steps.is_first, key)
            return jnp.concatenate([model.dreamer.feature(states), jnp.exp(post)[..., 0]], -1)[:, 0]

        def after(s: jax.Array) -> jax.Array:
            here = (jnp.arange(len(embed)) == s)[:, None, None]
            if what == "embed":
                return states(jnp.where(here, -embed, embed), action)
            return states(embed, jnp.where(here, jnp.roll(action, 1, -1), action))

        before = states(embed, action)
        changes = jax.lax.map(after, jnp.arange(len(embed)))  # (s, t, ...)
        return jnp.abs(changes - before).max(-1).T

    return np.asarray(all_changes(params))


def learning_signal(
    model: WorldModel, params: Any, play: data.Play, key: jax.Array, through: bool = True
) -> np.ndarray:
    """Norm (T, T) of the derivative of the state at t for the embedding at s, for one sequence.

    The derivative is that of a fixed weighted sum of h and z. With `through` False, samples are
    constants: the straight-through estimator is switched off. The key is consumed.
    """

    @jax.jit
    def jacobian(params: Any) -> jax.Array:
        networks, embed, action, start = _inputs(model, params, play)
        step = networks.rssm.observe_step

        def blocked(*inputs: Any) -> tuple:
            state, post = step(*inputs)
            return state._replace(stoch=jax.lax.stop_gradient(state.stoch)), post

        if not through:
            networks.rssm.observe_step = blocked

        def outputs(embed: jax.Array) -> jax.Array:
            states, _ = networks.rssm.observe(start, embed, action, play.steps.is_first, key)
            feat = model.dreamer.feature(states)[:, 0]
            return feat @ jnp.cos(jnp.arange(feat.shape[-1], dtype=jnp.float32))

        return jnp.linalg.norm(jax.jacrev(outputs)(embed)[:, :, 0], axis=-1)

    return np.asarray(jacobian(params))


def _inputs(model: WorldModel, params: Any, play: data.Play) -> tuple:
    networks = model.merge(params)
    embed = networks.encoder.embed(play.steps.obs)
    return networks, embed, play.action, networks.rssm.initial(play.action.shape[1])
