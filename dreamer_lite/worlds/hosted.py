"""What a hosted world is: one that lives outside of JAX, such as an emulator or a physics engine.

A `HostedWorld` only describes; `start` gives a `Stepper`, W environments that run side by side on
the CPU and answer with numpy rows of the same layout as those of JAX worlds (SPEC 1.1). Adapters
whose environments come one by one (`gym`, `dmc`) put them into a `Loop`, which resets them,
stacks their rows and checks them. What an environment does wrong ends in a `WorldError`, one
sentence that names the environment and the field, before it can reach replay.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from dreamer_lite.worlds.base import Described, Space, TimeStep

Observation = dict[str, np.ndarray]


FAR = 1e9  # Some write 1e10 or the largest float for infinity: from here on it is taken as such.


class WorldError(RuntimeError):
    """An environment broke the rules or raised; one sentence."""


class TooMany(WorldError):
    """Fewer environments could be made than were asked for: `made` of them."""

    def __init__(self, sentence: str, made: int):
        super().__init__(sentence)
        self.made = made


class Stepper(Protocol):
    """W environments side by side. Rows are numpy, leading axis W, dtypes as obs_space says."""

    def reset(self) -> TimeStep:
        """Starts all over from the seed; the first row of W episodes."""
        ...

    def step(self, action: np.ndarray) -> TimeStep:
        """Moves on by actions (W,) int32 or (W, A) float32 in [-1, 1].

        Where the row before had `is_last` the action is ignored and the row is that of a reset.

        Raises:
          WorldError: an environment raised, or gave what its spaces do not allow.
        """
        ...

    def frames(self) -> np.ndarray | None:
        """What is going on, in true colours, (W, h, w, 3) uint8; None if it cannot be drawn."""
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
        """Draws observations, real or dreamt, as (..., h, w, 3) uint8; None if it cannot."""
        ...


@dataclasses.dataclass(frozen=True)
class Description:
    """What the adapters' worlds have in common: the fields of `HostedWorld`."""

    name: str
    spaces: tuple[tuple[str, Space], ...]  # obs_space, as something hashable
    action_space: Space
    action_names: tuple[str, ...]  # one per discrete action, or one per number
    repeat: int  # environment frames per agent step

    @property
    def obs_space(self) -> dict[str, Space]:
        return dict(self.spaces)


class Transition(NamedTuple):
    """What one environment answers to an action."""

    obs: Observation
    reward: Any  # a number
    terminated: Any  # bool, a true end
    truncated: Any  # bool, cut


class Environment(Protocol):
    """One environment inside a `Loop`; observations as the world's obs_space says."""

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
        self.picture: tuple[int, ...] | None = None  # the shape of all, once one was drawn
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
            cause = in_one_line(error.__cause__) if error.__cause__ else str(error)
            raise TooMany(
                f"{self.world.name}: making number {number + 1} of {len(self.seeds)} environments "
                f"raised {cause}. If only {number} may exist at a time, train with "
                f"--set worlds={number}.",
                number,
            ) from error

    def reset(self) -> TimeStep:
        return self._gather([self._begin(*x) for x in zip(self.environments, self.seeds)])

    def step(self, action: np.ndarray) -> TimeStep:
        rows, action = [], np.array(action)
        check_finite(self.world.name, "the agent's action", action)
        for environment, over, its_action in zip(self.environments, self.over, action):
            if over:
                rows.append(self._begin(environment, None))
            else:
                rows.append(self._move(environment, its_action))
        return self._gather(rows)

    def frames(self) -> np.ndarray | None:
        with blame(self.world.name, "drawing it"):
            drawn = [environment.frame() for environment in self.environments]
        if self.picture is None and any(frame is None for frame in drawn):
            return None
        frames = []
        for frame in drawn:
            frames.append(as_frame(self.world.name, frame, self.picture))
            self.picture = frames[0].shape
        return np.stack(frames)

    def close(self) -> None:
        """Close them all. Those that cannot be closed are warned of: what they did is kept."""
        while self.environments:
            close_one(self.world.name, self.environments.pop())

    def _begin(self, environment: Environment, seed: int | None) -> TimeStep:
        with blame(self.world.name, "reset"):
            obs = environment.reset(seed)
        return TimeStep(obs, np.float32(0), np.True_, np.False_, np.False_)  # type: ignore

    def _move(self, environment: Environment, action: np.ndarray) -> TimeStep:
        name = self.world.name
        with blame(name, "step"):
            obs, reward, terminated, truncated = environment.step(action)
        reward = as_array(name, "the reward", reward, (), "float32")
        terminated = as_array(name, "terminated", terminated, (), "bool")
        truncated = as_array(name, "truncated", truncated, (), "bool")
        return TimeStep(obs, reward, np.False_, terminated | truncated, terminated)  # type: ignore

    def _gather(self, rows: list[TimeStep]) -> TimeStep:
        obs = {}
        for key in self.world.obs_space:
            with blame(self.world.name, f"observation {key!r}"):
                obs[key] = np.stack([row.obs[key] for row in rows])
        row = TimeStep(obs, *(np.stack(x) for x in list(zip(*rows))[1:]))  # type: ignore
        self.over = np.asarray(row.is_last)
        return check_row(self.world, row)


def seeds(seed: int, worlds: int) -> list[int]:
    """A seed in [0, 2^31) for each of W environments, unlike those of neighbouring seeds."""
    return [int(x) for x in np.random.SeedSequence(seed).generate_state(worlds) >> 1]


@contextlib.contextmanager
def blame(name: str, where: str) -> Iterator[None]:
    """Turns what an environment raises into a `WorldError`."""
    try:
        yield
    except WorldError:
        raise
    except (Exception, SystemExit) as error:
        raise WorldError(f"{name}: {where} raised {in_one_line(error)}.") from error


def in_one_line(error: BaseException) -> str:
    """`KeyError: 'x'`: the kind of an exception and the first line of its message."""
    text = (str(error).strip().splitlines() or [""])[0].rstrip(". ")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def close_one(name: str, environment: Any) -> None:
    """Closes an environment; a warning if that raises."""
    try:
        with blame(name, "closing it"):
            environment.close()
    except WorldError as error:
        warnings.warn(str(error), stacklevel=2)


def as_numbers(
    name: str, field: str, raw: Any, shape: tuple[int, ...], dtype: Any, keep_large: bool = False
) -> np.ndarray:
    """What an environment gave for a field, as an array of this shape and dtype.

    Lists are fine, and numbers of another type that stay what they are; floats are rounded to the
    precision of `dtype`, and what is too large for it becomes infinite. With `keep_large`, integers
    that `dtype` cannot hold stay as they are, for the caller to judge.

    Raises:
      WorldError: another shape, or values that `dtype` cannot hold; names environment and field.
    """
    want = np.dtype(dtype)
    if type(raw) is np.ndarray and raw.dtype == want and raw.shape == shape:
        return raw
    says = "its space says" if field.startswith("observation") else "it must be"
    array = to_array(name, field, raw)
    if array.shape != shape:
        raise WorldError(
            f"{name}: {field} has shape {array.shape}, {says} {shape or 'one number'}."
        )
    if array.dtype == want:
        return array
    if array.dtype.kind not in ("biuf" if want.kind == "f" else "biu"):
        raise WorldError(f"{name}: {field} has dtype {array.dtype}, {says} {want}.")
    with np.errstate(over="ignore"):
        changed = array.astype(want)
    if want.kind != "f" and (changed != array).any():
        if keep_large:
            return array
        wrong = array[changed != array].flat[0]
        raise WorldError(f"{name}: {field} holds {wrong}, {says} {want}.")
    return changed


def to_array(name: str, field: str, raw: Any) -> np.ndarray:
    """Anything that an environment gave, as an array. Raises WorldError if it is none."""
    if raw is None:
        raise WorldError(f"{name}: {field} is None.")
    try:
        return np.asarray(raw)
    except Exception as error:
        raise WorldError(f"{name}: {field} is no array ({in_one_line(error)}).") from error


def as_array(name: str, field: str, raw: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The same as `as_numbers`, and finite. Raises WorldError also for NaN and infinity."""
    array = as_numbers(name, field, raw, shape, dtype)
    check_finite(name, field, array)
    return array


def as_frame(name: str, raw: Any, shape: tuple[int, ...] | None) -> np.ndarray:
    """What an environment drew, as (h, w, 3) uint8 of the same `shape` as earlier.

    Grey pictures become three equal channels, the opacity of RGBA goes, and floats in [0, 1] are
    stretched.

    Raises:
      WorldError: no picture, values that no picture has, or another shape.
    """
    frame = to_array(name, "the picture", raw)
    if frame.ndim == 3 and frame.shape[-1] in (1, 4):
        frame = frame[..., :3] if frame.shape[-1] == 4 else frame[..., 0]
    if frame.ndim == 2:
        frame = np.repeat(frame[..., None], 3, -1)
    if frame.ndim != 3 or frame.shape[-1] != 3 or not frame.size:
        raise WorldError(
            f"{name}: the picture has shape {frame.shape}, it must be (h, w), (h, w, 3) or "
            "(h, w, 4)."
        )
    if shape not in (None, frame.shape):
        raise WorldError(f"{name}: the picture has shape {frame.shape}, earlier it was {shape}.")
    if frame.dtype == np.uint8:
        return frame
    top = 1 if frame.dtype.kind in "fb" else 255
    if frame.dtype.kind not in "biuf" or not ((frame >= 0) & (frame <= top)).all():
        raise WorldError(
            f"{name}: the picture is {frame.dtype} and not within 0 to {top}: uint8 from 0 to 255 "
            "and floats from 0 to 1 can be shown."
        )
    return np.rint(frame.astype(np.float32) * (255 / top)).astype(np.uint8)


def check_finite(name: str, field: str, array: np.ndarray) -> None:
    """Raises WorldError if a float array holds NaN or infinity."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        where = f" at {list(index)}" if index else ""
        raise WorldError(f"{name}: {field} holds {array[index]}{where}, not a finite number.")


def check_row(world: HostedWorld | Description, row: TimeStep) -> TimeStep:
    """The row of W environments itself, if it is as the world's spaces say (SPEC 1.1).

    Raises:
      WorldError: a wrong or missing field, shape or dtype, NaN, or a class that does not exist.
    """
    name, spaces, lead = world.name, world.obs_space, np.shape(row.is_first)
    if set(row.obs) != set(spaces):
        raise WorldError(f"{name}: the observation has {sorted(row.obs)}, not {sorted(spaces)}.")
    for key, space in spaces.items():
        check_array(name, f"observation {key!r}", row.obs[key], lead + space.shape, space.dtype)
        value = np.asarray(row.obs[key])
        if space.is_discrete and ((value < 0) | (value >= space.classes)).any():
            wrong = value[(value < 0) | (value >= space.classes)][0]
            raise WorldError(
                f"{name}: observation {key!r} is {wrong}, its space has {space.classes} values."
            )
    check_array(name, "the reward", row.reward, lead, "float32")
    for field in ("is_first", "is_last", "is_terminal"):
        check_array(name, field, getattr(row, field), lead, "bool")
    return row


def check_array(name: str, field: str, array: Any, shape: tuple[int, ...], dtype: str) -> None:
    """Raises WorldError unless a field is a finite array of exactly this shape and dtype."""
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
        found = f"{getattr(array, 'dtype', type(array).__name__)} {np.shape(array)}"
        raise WorldError(f"{name}: {field} is {found}, not {dtype} {shape}.")
    check_finite(name, field, array)


def as_picture(image: np.ndarray) -> np.ndarray:
    """An image observation (..., h, w, c), real or dreamt, as (..., h, w, 3) uint8.

    One channel is grey. Of any other number but 3, as in a stack of frames, the last is shown.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = np.round(255 * np.clip(np.nan_to_num(image), 0, 1)).astype(np.uint8)
    return image if image.shape[-1] == 3 else np.repeat(image[..., -1:], 3, -1)


def usable_bounds(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bounds between which an agent chooses, (A,) float64 each, within `low` and `high`.

    Where one side is open it is a range of 2 beside the other, where both are, -1 to 1.
    """
    low, high = np.asarray(low, float), np.asarray(high, float)
    below, above = low <= -FAR, high >= FAR
    least = np.where(below, np.where(above, -1.0, high - 2), low)
    most = np.where(above, np.where(below, 1.0, low + 2), high)
    return least, most


def bounds_map(low: np.ndarray, high: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Maps [-1, 1] to [low, high], or to `usable_bounds` where these are open; (A,) -> (A,)."""
    low, high = usable_bounds(low, high)

    def change(action: np.ndarray) -> np.ndarray:
        share = (np.clip(action, -1, 1).astype(float) + 1) / 2
        return np.clip(low + share * (high - low), low, high)

    return change
