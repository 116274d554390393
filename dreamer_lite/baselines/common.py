"""What both model-free agents need: environments, weighted means, the optimizer."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from dreamer_lite.config import Config
from dreamer_lite.training.progress import keep_score
from dreamer_lite.training.state import EPISODES, EnvState
from dreamer_lite.worlds.base import World, next_timestep


def reset(world: World, config: Config, key: jax.Array) -> EnvState:
    """W environments at their first time step, no return counted yet. The key is consumed."""
    states, timestep = jax.vmap(world.reset)(jax.random.split(key, config.worlds))
    zero = jnp.int32(0)
    return EnvState(states, timestep, None, jnp.zeros(config.worlds), jnp.zeros(EPISODES), zero)


def step(world: World, envs: EnvState, action: jax.Array, key: jax.Array) -> EnvState:
    """All W environments take their action (W, ...), or reset. The key is consumed."""
    keys = jax.random.split(key, len(envs.score))
    states, timestep = jax.vmap(next_timestep, (None, 0, 0, 0, 0))(
        world, envs.world, envs.timestep, action, keys
    )
    return keep_score(envs._replace(world=states, timestep=timestep))


def weighted_mean(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean of x (...) by weights (...) of 0 or 1, a scalar; 0 where all weights are 0."""
    return jnp.sum(weight * x) / jnp.maximum(1.0, jnp.sum(weight))


def make_optimizer(settings: Any) -> optax.GradientTransformation:
    """Adam after clipping the global norm; on one flat vector, because that compiles faster.

    `settings` has a `learning_rate` and a `max_norm`.
    """
    clip = optax.clip_by_global_norm(settings.max_norm)
    return optax.flatten(optax.chain(clip, optax.adam(settings.learning_rate, eps=1e-5)))


def make_step(
    optimizer: optax.GradientTransformation, gradient: Any, state: Any, params: Any
) -> tuple[Any, Any]:
    """(parameters, the optimizer's state) after one gradient step."""
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state
