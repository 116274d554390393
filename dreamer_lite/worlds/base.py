"""What a JAX world is: its spaces, its time steps, and the automatic reset.

A world is a frozen dataclass of plain numbers with two pure functions, `reset` and `step`, over a
state that the caller carries. It stores nothing itself, so it can be jitted, vmapped over many
copies and put inside the training scan. The worlds beside this file, replay, training and
notebook 02 build on it; it imports none of them.

The fields of `TimeStep` are those of a stored time step; replay and training rely on their names
and dtypes. `sprites` draws grid observations.
"""

import dataclasses
import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Space:
    """Shape and kind of one observation or action.

    An image is (height, width, channels) uint8, a vector (n,) float32, a discrete value () int32
    with `classes` > 0. A board or another array of symbols is an array of classes, of any shape,
    mostly uint8. A continuous action is a vector (A,) in [-1, 1].
    """

    shape: tuple[int, ...]
    dtype: str  # "uint8", "float32" or "int32"
    classes: int = 0  # number of values of a discrete space, else 0

    @property
    def size(self) -> int:
        """How many numbers one value is when it is written flat, classes as one-hot."""
        return math.prod(self.shape) * max(1, self.classes)

    @property
    def is_image(self) -> bool:
        return self.dtype == "uint8" and not self.classes

    @property
    def is_discrete(self) -> bool:
        return self.classes > 0


class TimeStep(NamedTuple):
    """What an environment contributes to one stored time step.

    The reward arrived together with the observation. The action is chosen after it and is not
    part of the time step. `is_terminal` implies `is_last`; a time limit sets `is_last` alone.
    """

    obs: dict[str, jax.Array]  # as the world's obs_space says
    reward: jax.Array  # () float32, 0 at the first time step
    is_first: jax.Array  # () bool, obs came from a reset
    is_last: jax.Array  # () bool, the episode ends here
    is_terminal: jax.Array  # () bool, a true end: no future reward


class Described(Protocol):
    """The description of any world, in JAX or on the host."""

    @property
    def name(self) -> str: ...
    @property
    def obs_space(self) -> dict[str, Space]: ...
    @property
    def action_space(self) -> Space: ...
    @property
    def action_names(self) -> tuple[str, ...]: ...


class World(Described, Protocol):
    """A world as two pure functions; hashable, no arrays inside. Batches come from `jax.vmap`."""

    def reset(self, key: jax.Array) -> tuple[Any, TimeStep]:
        """Starts an episode. The key is consumed."""
        ...

    def step(self, state: Any, action: jax.Array, key: jax.Array) -> tuple[Any, TimeStep]:
        """Takes one step and never resets by itself. The key is consumed.

        The step after `is_last` without a reset is undefined; see `next_timestep`.
        """
        ...

    def render(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Draws observations, real or imagined, as (..., height, width, 3) uint8.

        The leading axes (...) are kept. Images may be uint8 in [0, 255] or float in [0, 1].
        """
        ...


def first_timestep(obs: dict[str, jax.Array]) -> TimeStep:
    """The time step of a reset: no reward, nothing has ended."""
    return TimeStep(obs, jnp.float32(0), jnp.array(True), jnp.array(False), jnp.array(False))


def next_timestep(
    world: World, state: Any, timestep: TimeStep, action: jax.Array, key: jax.Array
) -> tuple[Any, TimeStep]:
    """The next time step of ONE world: a reset if `timestep` ended its episode, else a step.

    So a reset has a time step of its own, which ignores the action: an episode of L actions has
    L + 1 time steps. The key is consumed.
    """
    # Only one of the two results survives, so one key may serve both. `vmap` would turn a branch
    # into this select anyway.
    begun, stepped = world.reset(key), world.step(state, action, key)
    return jax.tree.map(lambda new, old: jnp.where(timestep.is_last, new, old), begun, stepped)
