"""Any Gymnasium environment as a world: `gym/CartPole-v1`, `gym/my_module:MyEnv-v0`.

Actions may be Discrete or Box, observations Box, Discrete, or a Dict of these. An observation that
is no Dict gets the key "image", "vector" or "state" (Discrete). What becomes of a Box:

    uint8 (h, w, c) or (h, w)                 an image as it is; 0..1 is stretched to 0..255
    other dtype, bounds 0..1 or 0..255        an image in uint8, if it has 1, 3 or 4 channels
    (c, h, w) with 1, 3 or 4 channels         turned into (h, w, c)
    anything else                             a vector, flat, float32

The agent's continuous actions in [-1, 1] are mapped to the bounds where both are finite, and passed
on as they are where not (SPEC 14.3).
"""

import dataclasses
import difflib
import functools
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamer_lite.worlds import hosted
from dreamer_lite.worlds.base import Space

CHANNELS = (1, 3, 4)
# Packages whose environments an agent file may name: what they import was installed by the user.
INSTALLED = ("gymnasium", "ale_py", "dm_control", "dreamer_lite")
LEAST_SIDE = 8  # pixels; what is smaller and not uint8 is no image


class Entry(NamedTuple):
    """One observation of an environment: what it gives, and how that becomes ours."""

    key: str
    space: Space
    shape: tuple[int, ...]  # as the environment gives it
    dtype: np.dtype
    convert: Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class GymWorld(hosted.Description):
    """A Gymnasium environment by its id."""

    id: str
    draws: bool  # it offers pictures as arrays

    def start(self, worlds: int, seed: int) -> hosted.Loop:
        """Makes W environments. Raises WorldError if one cannot be made."""
        return hosted.Loop(self, functools.partial(GymEnvironment, self), worlds, seed)

    def render(self, obs: dict[str, np.ndarray]) -> np.ndarray | None:
        """The first image among the observations as (..., h, w, 3) uint8; None without images."""
        for key, space in self.obs_space.items():
            if space.is_image:
                return hosted.as_picture(obs[key])
        return None


class GymEnvironment:
    """One Gymnasium environment in a `Loop`."""

    def __init__(self, world: GymWorld) -> None:
        mode: dict[str, Any] = {"render_mode": "rgb_array"} if world.draws else {}
        self.env = gymnasium.make(world.id, disable_env_checker=True, **mode)
        self.name, self.draws = world.name, world.draws
        self.entries = entries(self.name, self.env.observation_space)
        self.action = action_map(self.env.action_space)

    def reset(self, seed: int | None) -> dict[str, np.ndarray]:
        result = self.env.reset(seed=seed)
        if not isinstance(result, tuple) or len(result) != 2:
            raise hosted.WorldError(f"{self.name}: reset does not give (observation, info).")
        return self._observe(result[0])

    def step(self, action: np.ndarray) -> hosted.Transition:
        result = self.env.step(self.action(action))
        if not isinstance(result, tuple) or len(result) != 5:
            raise hosted.WorldError(
                f"{self.name}: step does not give (observation, reward, terminated, truncated, "
                "info)."
            )
        obs, reward, terminated, truncated, _ = result
        return hosted.Transition(self._observe(obs), reward, terminated, truncated)

    def frame(self) -> np.ndarray | None:
        """The environment's own picture; None, with a warning, where it needs a package more."""
        if not self.draws:
            return None
        try:
            return self.env.render()  # type: ignore
        except gymnasium.error.DependencyNotInstalled as error:
            self.draws = False
            warnings.warn(f"{self.name} cannot be drawn: {error}.", stacklevel=2)
            return None

    def close(self) -> None:
        self.env.close()

    def _observe(self, raw: Any) -> dict[str, np.ndarray]:
        single = not isinstance(self.env.observation_space, spaces.Dict)
        obs = {}
        for entry in self.entries:
            field = f"observation {entry.key!r}"
            if not single and (not isinstance(raw, dict) or entry.key not in raw):
                raise hosted.WorldError(f"{self.name}: {field} is missing.")
            value = raw if single else raw[entry.key]
            array = hosted.as_array(self.name, field, value, entry.shape, entry.dtype)
            with np.errstate(over="ignore"):  # what is too large for float32 is found by check_row
                obs[entry.key] = entry.convert(array)
        return obs


def make(id: str) -> GymWorld:
    """The world of a Gymnasium id, described by an environment that is made and closed again.

    Raises:
      ValueError: unknown id, missing package, or a space that is not supported; one sentence.
    """
    name = f"gym/{id}"
    if id.startswith("DreamerLite/"):
        from dreamer_lite.worlds import gymnasium_envs

        gymnasium_envs.register()
    if ":" in id and os.getcwd() not in sys.path:  # the commands look where `python -m` would
        sys.path.append(os.getcwd())
    try:
        env = gymnasium.make(id, disable_env_checker=True)
    except Exception as error:  # whatever the constructor of somebody's environment raises
        if isinstance(error, gymnasium.error.Error) and id not in gymnasium.registry:
            raise ValueError(unknown(id)) from error
        raise ValueError(f"{name} cannot be made: {hosted.in_one_line(error)}.") from error
    try:
        found = entries(name, env.observation_space)
        action_space = convert_action_space(name, env.action_space)
        return GymWorld(
            name=name,
            spaces=tuple((entry.key, entry.space) for entry in found),
            action_space=action_space,
            action_names=action_names(env, action_space),
            repeat=1,
            id=id,
            draws="rgb_array" in (env.metadata.get("render_modes") or ()),
        )
    finally:
        env.close()


def module_needed(id: str) -> str | None:
    """The module that making this id would import, unless it is of a package of `INSTALLED`.

    Nothing is imported to find out. An entry point that is no name but a function is there already.
    """
    module, colon, _ = id.partition(":")
    if colon:
        return module
    known = gymnasium.registry.values()  # an id without a version stands for the latest one
    specs = [x for x in known if id in (x.id, "/".join(filter(None, (x.namespace, x.name))))]
    wrappers = [wrapper for spec in specs for wrapper in spec.additional_wrappers]
    points = [x.entry_point for x in (*specs, *wrappers)]
    modules = [point.partition(":")[0] for point in points if isinstance(point, str)]
    return next((x for x in modules if x.partition(".")[0] not in INSTALLED), None)


def unknown(id: str) -> str:
    """A sentence with the nearest registered ids."""
    lowered = {known.lower(): known for known in sorted(gymnasium.registry)}
    near = [lowered[x] for x in difflib.get_close_matches(id.lower(), lowered, n=3, cutoff=0.5)]
    hint = f": did you mean {' or '.join(f'gym/{x}' for x in near)}?" if near else "."
    return (
        f"Gymnasium knows no environment {id!r}{hint} One of your own is named "
        "gym/my_module:MyEnv-v0, where importing my_module registers it."
    )


def entries(name: str, space: spaces.Space) -> list[Entry]:
    """One entry for each observation of a space.

    Raises:
      ValueError: a space that is not supported, or images of several sizes.
    """
    if isinstance(space, spaces.Dict):
        found = [convert(name, str(key), value) for key, value in space.spaces.items()]
    else:
        found = [convert(name, "", space)]
    sizes = {entry.space.shape[:2] for entry in found if entry.space.is_image}
    if len(sizes) > 1:
        raise ValueError(f"{name} has images of several sizes {sorted(sizes)}: one is supported.")
    return found


def convert(name: str, key: str, space: spaces.Space) -> Entry:
    """The entry of one Box or Discrete space; `key` is "" outside of a Dict."""
    if isinstance(space, spaces.Discrete):
        ours = Space((), "int32", classes=int(space.n))
        start = int(space.start)
        return Entry(
            key or "state", ours, (), np.dtype(np.int64), lambda x: np.asarray(x - start, np.int32)
        )
    if not isinstance(space, spaces.Box):
        what = f"observation {key!r}" if key else "its observation"
        raise ValueError(
            f"{name}: {what} is a {type(space).__name__} space; supported are Box, Discrete, and "
            "one Dict of these (gymnasium.wrappers.FlattenObservation makes a vector of others)."
        )
    if space.dtype == np.uint8 and len(space.shape) > 3:
        raise ValueError(
            f"{name}: its images have shape {space.shape}; supported is (h, w, c): leave out the "
            "wrapper that stacks frames, this agent has a memory."
        )
    dtype = np.dtype(space.dtype)
    if is_image(space):
        shape, change = image_change(space)
        return Entry(key or "image", Space(shape, "uint8"), space.shape, dtype, change)
    size = int(np.prod(space.shape))
    return Entry(
        key or "vector",
        Space((size,), "float32"),
        space.shape,
        dtype,
        lambda x: x.reshape(size).astype(np.float32),
    )


def is_image(space: spaces.Box) -> bool:
    """By the table above."""
    shape = space.shape
    if space.dtype == np.uint8:
        return len(shape) in (2, 3)
    if len(shape) != 3 or (space.low != 0).any() or float(space.high.max()) not in (1, 255):
        return False
    last, first = shape[2] in CHANNELS, shape[0] in CHANNELS
    return (last and min(shape[:2]) >= LEAST_SIDE) or (first and min(shape[1:]) >= LEAST_SIDE)


def image_change(space: spaces.Box) -> tuple[tuple[int, ...], Callable[[np.ndarray], np.ndarray]]:
    """(h, w, c) of an image space, and what makes such a uint8 image of an array."""
    shape = space.shape
    channels_first = len(shape) == 3 and shape[0] in CHANNELS and shape[2] not in CHANNELS
    scale = 255 if space.high.max() == 1 else 1

    def change(x: np.ndarray) -> np.ndarray:
        if x.dtype != np.uint8 or scale != 1:
            x = np.round(np.clip(x * np.float32(scale), 0, 255)).astype(np.uint8)
        x = x.transpose(1, 2, 0) if channels_first else x
        return x[..., None] if x.ndim == 2 else x

    return change(np.zeros(shape, np.uint8)).shape, change


def convert_action_space(name: str, space: spaces.Space) -> Space:
    """Our space of the agent's actions. Raises ValueError unless it is Discrete or a float Box."""
    if isinstance(space, spaces.Discrete):
        return Space((), "int32", classes=int(space.n))
    if isinstance(space, spaces.Box) and space.dtype is not None and space.dtype.kind == "f":
        return Space((int(np.prod(space.shape)),), "float32")
    raise ValueError(
        f"{name}: its actions are a {space} space; supported are Discrete and Box of floats."
    )


def action_names(env: gymnasium.Env, space: Space) -> tuple[str, ...]:
    """What the environment calls its actions (as Atari does), else their numbers."""
    count = space.classes or space.shape[0]
    meanings = getattr(env.unwrapped, "get_action_meanings", list)()
    if len(meanings) == count:
        return tuple(str(word).lower() for word in meanings)
    return tuple(str(number) for number in range(count))


def action_map(space: spaces.Space) -> Callable[[np.ndarray], Any]:
    """What makes an environment's action of the agent's, () int32 or (A,) in [-1, 1]."""
    if isinstance(space, spaces.Discrete):
        return lambda action: int(action) + int(space.start)
    assert isinstance(space, spaces.Box)
    to_bounds = hosted.bounds_map(space.low.reshape(-1), space.high.reshape(-1))
    return lambda action: to_bounds(action).astype(space.dtype).reshape(space.shape)
