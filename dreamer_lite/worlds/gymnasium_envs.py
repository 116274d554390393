"""The JAX worlds as Gymnasium environments, for readers who bring other agents to them.

    from dreamer_lite.worlds import gymnasium_envs
    gymnasium_envs.register()
    env = gymnasium.make("DreamerLite/Breakout-v0", render_mode="rgb_array")

Importing this module registers nothing. A step costs a call into JAX, about 0.1 ms: to train on
these worlds at full speed, use them as they are.
"""

from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium import spaces

from dreamer_lite import worlds
from dreamer_lite.worlds.base import Space

IDS = {
    "DreamerLite/Catch-v0": "catch",
    "DreamerLite/CatchHidden-v0": "catch/hidden",
    "DreamerLite/CatchKink-v0": "catch/kink",
    "DreamerLite/CatchHiddenKink-v0": "catch/hidden-kink",
    "DreamerLite/Breakout-v0": "minatar/breakout",
    "DreamerLite/Pendulum-v0": "pendulum",
}
SPEEDS = {"pendulum": 8.0}  # the largest last number of a vector, if not 1


def register() -> None:
    """Makes the ids of `IDS` known to `gymnasium.make`; may be called twice."""
    for id, name in IDS.items():
        if id not in gymnasium.registry:
            gymnasium.register(id, entry_point=f"{__name__}:JaxEnv", kwargs={"world": name})


class JaxEnv(gymnasium.Env):
    """One JAX world. Observations and actions are those of the world, in a Dict."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012, as Gymnasium has it

    def __init__(self, world: str, render_mode: str | None = None) -> None:
        """`world` is a name that `worlds.make` knows."""
        made = worlds.make(world)
        if worlds.is_hosted(made):
            raise ValueError(f"{world} is no JAX world.")
        self.world: Any = made
        self.render_mode = render_mode
        self.observation_space = spaces.Dict(
            {key: _space(space, SPEEDS.get(world)) for key, space in made.obs_space.items()}
        )
        self.action_space = _space(made.action_space)
        self._reset, self._step = jax.jit(self.world.reset), jax.jit(self.world.step)
        self._state = self._obs = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Starts an episode; `seed` fixes all that follows."""
        super().reset(seed=seed)
        self._state, timestep = self._reset(self._key())
        return self._observe(timestep), {}

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One action; `truncated` is the time limit of the world."""
        self._state, timestep = self._step(self._state, action, self._key())
        terminated, last = bool(timestep.is_terminal), bool(timestep.is_last)
        return (
            self._observe(timestep),
            float(timestep.reward),
            terminated,
            last and not terminated,
            {},
        )

    def render(self) -> np.ndarray | None:  # type: ignore
        """The world's image of the last observation, (h, w, 3) uint8."""
        return None if self.render_mode is None else self.world.render(self._obs)

    def _key(self) -> jax.Array:
        return jax.random.key(int(self.np_random.integers(2**31)))

    def _observe(self, timestep: Any) -> dict[str, np.ndarray]:
        self._obs = {key: np.array(value) for key, value in timestep.obs.items()}
        return self._obs


def _space(space: Space, speed: float | None = None) -> spaces.Space:
    """Gymnasium's counterpart of one of our spaces."""
    if space.is_discrete:
        return spaces.Discrete(space.classes)
    if space.is_image:
        return spaces.Box(0, 255, space.shape, np.uint8)
    high = np.ones(space.shape, np.float32)
    if speed is not None:
        high[-1] = speed
    return spaces.Box(-high, high, dtype=np.float32)
