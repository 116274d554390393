"""An agent and worlds that are small enough for tests."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.agent.agent import Params, make_agent
from dreamer_lite.config import Config
from dreamer_lite.presets import make_config
from dreamer_lite.worlds import base

SMALL = dict(
    deter=16,
    hidden=8,
    stoch=2,
    classes=4,
    blocks=2,
    units=8,
    bins=15,
    batch=4,
    length=8,
    worlds=4,
    capacity=2000,
    image_net="dense",
)


@functools.cache
def tiny(world: base.World) -> tuple[Config, Params]:
    """A config and untrained parameters for this world."""
    config = make_config("minatar/breakout", **SMALL)
    return config, make_agent(config, world.obs_space, world.action_space).init(1)


@dataclasses.dataclass(frozen=True)
class Stroll:
    """Ends by chance after each step, so episodes differ in length; each step is worth 1.

    Observes a vector (time, noise) and takes a continuous action.
    """

    ends: float = 0.2  # chance per step; 0 never ends
    terminal: bool = True

    name = "stroll"
    obs_space = {"vector": base.Space((2,), "float32")}  # noqa: RUF012
    action_space = base.Space((3,), "float32")
    action_names = ("x", "y", "z")

    def reset(self, key: jax.Array):
        return jnp.float32(0), base.first_timestep({"vector": jnp.zeros(2)})

    def step(self, state, action, key):
        noise_key, end_key = jax.random.split(key)
        last = jax.random.uniform(end_key) < self.ends
        obs = {"vector": jnp.stack([state + 1, jax.random.normal(noise_key)])}
        one = jnp.float32(1)
        return state + 1, base.TimeStep(obs, one, jnp.array(False), last, last & self.terminal)

    def render(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """A grey square whose brightness is the time."""
        grey = np.clip(40 * np.asarray(obs["vector"])[..., 0], 0, 255).astype(np.uint8)
        return np.broadcast_to(grey[..., None, None, None], (*grey.shape, 15, 21, 3))
