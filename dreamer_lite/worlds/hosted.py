"""What a hosted world is: an environment outside of JAX, such as an emulator or a physics engine.

A `HostedWorld` is only a description; `start` returns a `Stepper`, W environments side by side on
the CPU, whose time steps are numpy arrays of the same layout as those of JAX worlds. Adapters whose
environments come one by one (`gym`, `dmc`) put them into a `Loop`, which resets them, stacks their
time steps and checks them (`checks`).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from dreamer_lite.worlds import checks
from dreamer_lite.worlds.base import Described, Space, TimeStep
from dreamer_lite.worlds.checks import TooMany, WorldError, blame

Observation = dict[str, np.ndarray]

FAR = 1e9  # Some write 1e10 or the largest float for infinity: from here on it is taken as such.


class Stepper(Protocol):
    """W environments side by side. Arrays are numpy, leading axis W, dtypes as in obs_space."""

    def reset(self) -> TimeStep:
        """Restarts every environment from the seed; the first time step of W episodes."""
        ...

    def step(self, action: np.ndarray) -> TimeStep:
        """Takes one step by actions (W,) int32 or (W, A) float32 in [-1, 1].

        Where the previous time step had `is_last`, the environment is reset and its action ignored.

        Raises:
          WorldError: an environment raised, or returned what its spaces do not allow.
        """
        ...

    def frames(self) -> np.ndarray | None:
        """The current frames in full colour, (W, h, w, 3) uint8; None if they cannot be drawn."""
        ...

    def close(self) -> None: ...


class HostedWorld(Described, Protocol):
    """A description: cheap, frozen and hashable, without an environment inside."""

    @property
    def repeat(self) -> int:
        """Environment frames per agent step."""
        ...

    def start(self, worlds: int, seed: int) -> Stepper: ...

    def render(self, obs: Observation) -> np.ndarray | None:
        """Draws observations, real or imagined, as (..., h, w, 3) uint8; None if it cannot."""
        ...


@dataclasses.dataclass(frozen=True)
class Description:
    """What the adapters' worlds have in common: the fields of `HostedWorld`."""

    name: str
    spaces: tuple[tuple[str, Space], ...]  # obs_space in a hashable form
    action_space: Space
    action_names: tuple[str, ...]  # one per discrete action, or one per dimension
    repeat: int  # environment frames per agent step

    @property
    def obs_space(self) -> dict[str, Space]:
        return dict(self.spaces)


class Transition(NamedTuple):
    """What one environment returns for an action."""

    obs: Observation
    reward: Any  # a number
    terminated: Any  # bool, the episode ended in a terminal state
    truncated: Any  # bool, the episode was cut


class Environment(Protocol):
    """One environment inside a `Loop`; observations as in the world's obs_space."""

    def reset(self, seed: int | None) -> Observation: ...
    def step(self, action: np.ndarray) -> Transition: ...
    def frame(self) -> np.ndarray | None: ...
    def close(self) -> None: ...


class Loop:
    """A `Stepper` of environments that are stepped one after the other."""

    def __init__(
        self, world: Description, make: Callable[[], Environment], worlds: int, seed: int
    ) -> None:
        self.world = world
        self.seeds = seeds(seed, worlds)
        self.over = np.ones(worlds, bool)
        self.environments: list[Environment] = []
        self.frame_shape: tuple[int, ...] | None = None  # of all frames, once one was drawn
        try:
            for number in range(worlds):
                self._make(make, number)
        except BaseException:
            self.close()
            raise

    def _make(self, make: Callable[[], Environment], number: int) -> None:
        """Makes one more. Raises TooMany if it is not the first that cannot be made."""
        try:
            with blame(self.world.name, "making it"):
                self.environments.append(make())
        except WorldError as error:
            if number == 0:
                raise
            cause = checks.in_one_line(error.__cause__) if error.__cause__ else str(error)
            raise TooMany(
                f"{self.world.name}: making number {number + 1} of {len(self.seeds)} environments "
                f"raised {cause}. If only {number} may exist at a time, train with "
                f"--set worlds={number}.",
                number,
            ) from error

    def reset(self) -> TimeStep:
        return self._gather([self._reset(*x) for x in zip(self.environments, self.seeds)])

    def step(self, action: np.ndarray) -> TimeStep:
        action = np.array(action)
        checks.check_finite(self.world.name, "the agent's action", action)
        return self._gather(
            [
                self._reset(environment, None) if over else self._step(environment, its_action)
                for environment, over, its_action in zip(self.environments, self.over, action)
            ]
        )

    def frames(self) -> np.ndarray | None:
        with blame(self.world.name, "drawing it"):
            drawn = [environment.frame() for environment in self.environments]
        if self.frame_shape is None and any(frame is None for frame in drawn):
            return None
        frames = []
        for frame in drawn:
            frames.append(checks.as_frame(self.world.name, frame, self.frame_shape))
            self.frame_shape = frames[0].shape
        return np.stack(frames)

    def close(self) -> None:
        """Closes all environments. One that cannot be closed only causes a warning."""
        while self.environments:
            checks.close_one(self.world.name, self.environments.pop())

    def _reset(self, environment: Environment, seed: int | None) -> TimeStep:
        with blame(self.world.name, "reset"):
            obs = environment.reset(seed)
        return TimeStep(obs, np.float32(0), np.True_, np.False_, np.False_)  # type: ignore

    def _step(self, environment: Environment, action: np.ndarray) -> TimeStep:
        name = self.world.name
        with blame(name, "step"):
            obs, reward, terminated, truncated = environment.step(action)
        reward = checks.as_array(name, "the reward", reward, (), "float32")
        terminated = checks.as_array(name, "terminated", terminated, (), "bool")
        truncated = checks.as_array(name, "truncated", truncated, (), "bool")
        return TimeStep(obs, reward, np.False_, terminated | truncated, terminated)  # type: ignore

    def _gather(self, timesteps: list[TimeStep]) -> TimeStep:
        """Stacks one time step per environment, and checks the result."""
        obs = {}
        for key in self.world.obs_space:
            with blame(self.world.name, f"observation {key!r}"):
                obs[key] = np.stack([timestep.obs[key] for timestep in timesteps])
        stacked: Any = TimeStep(obs, *map(np.stack, list(zip(*timesteps))[1:]))  # type: ignore
        self.over = stacked.is_last
        return checks.check_timestep(self.world, stacked)


def seeds(seed: int, worlds: int) -> list[int]:
    """A seed in [0, 2^31) for each of W environments, unlike those of neighbouring seeds."""
    return [int(x) for x in np.random.SeedSequence(seed).generate_state(worlds) >> 1]


def as_rgb(image: np.ndarray) -> np.ndarray:
    """An image observation (..., h, w, c), real or imagined, as (..., h, w, 3) uint8.

    One channel is shown as grey. Of any other number but 3, such as a stack of frames, the last
    channel is shown.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = np.round(255 * np.clip(np.nan_to_num(image), 0, 1)).astype(np.uint8)
    return image if image.shape[-1] == 3 else np.repeat(image[..., -1:], 3, -1)


def usable_bounds(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bounds between which an agent chooses, (A,) float64 each, within `low` and `high`.

    Where one side is unbounded, it is the range of 2 beside the other bound; where both are, it is
    -1 to 1.
    """
    low, high = np.asarray(low, float), np.asarray(high, float)
    below, above = low <= -FAR, high >= FAR
    least = np.where(below, np.where(above, -1.0, high - 2), low)
    most = np.where(above, np.where(below, 1.0, low + 2), high)
    return least, most


def bounds_map(
    low: np.ndarray, high: np.ndarray, integers: bool = False
) -> Callable[[np.ndarray], np.ndarray]:
    """Maps [-1, 1] to [low, high], or to `usable_bounds` where these are open; (A,) -> (A,).

    With `integers`, an equal part of [-1, 1] goes to each integer from low to high.
    """
    low, high = usable_bounds(low, high)
    span = high - low + integers

    def change(action: np.ndarray) -> np.ndarray:
        scaled = low + (np.clip(action, -1, 1).astype(float) + 1) / 2 * span
        return np.clip(np.floor(scaled) if integers else scaled, low, high)

    return change
