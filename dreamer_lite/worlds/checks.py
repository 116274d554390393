"""Checks of what an environment on the host returns, before it can reach the replay buffer.

Whatever an environment does wrong becomes a `WorldError`: one sentence that names the environment
and the field.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from dreamer_lite.worlds.base import Described, TimeStep


class WorldError(RuntimeError):
    """An environment broke the rules or raised; one sentence."""


class TooMany(WorldError):
    """Fewer environments could be made than were asked for: `made` of them."""

    def __init__(self, sentence: str, made: int):
        super().__init__(sentence)
        self.made = made


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
    """`KeyError: 'x'`: the type of an exception and the first line of its message."""
    text = (str(error).strip().splitlines() or [""])[0].rstrip(". ")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def close_one(name: str, environment: Any) -> None:
    """Closes an environment; a warning if that raises."""
    try:
        with blame(name, "closing it"):
            environment.close()
    except WorldError as error:
        warnings.warn(str(error), stacklevel=2)


def first_place(mask: np.ndarray) -> tuple[tuple[int, ...], str]:
    """The first index at which `mask` is true, and ` at [1, 0]` for a sentence."""
    index = tuple(int(i) for i in np.argwhere(mask)[0])
    return index, f" at {list(index)}" if index else ""


def as_numbers(
    name: str, field: str, raw: Any, shape: tuple[int, ...], dtype: Any, keep_large: bool = False
) -> np.ndarray:
    """What an environment returned for a field, as an array of this shape and dtype.

    Lists are converted, and numbers of another type that keep their value; floats are rounded to
    the precision of `dtype`, and become infinite where they are too large for it. With
    `keep_large`, integers that `dtype` cannot hold are returned unchanged, for the caller to judge.

    Raises:
      WorldError: another shape, or values that `dtype` cannot hold; names environment and field.
    """
    want = np.dtype(dtype)
    if type(raw) is np.ndarray and raw.dtype == want and raw.shape == shape:
        return raw
    array, says = to_array(name, field, raw), "it must be"
    if field.startswith("observation"):
        says = "its space says"
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
    lost = changed != array
    if want.kind == "f" or not lost.any():
        return changed
    if keep_large:
        return array
    raise WorldError(f"{name}: {field} holds {array[lost].flat[0]}, {says} {want}.")


def to_array(name: str, field: str, raw: Any) -> np.ndarray:
    """Anything that an environment returned, as an array. Raises WorldError if it is none."""
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
    """What an environment rendered, as (h, w, 3) uint8 of the same `shape` as earlier frames.

    A grey frame becomes three equal channels, the opacity of RGBA is dropped, and floats in [0, 1]
    are scaled to 0..255.

    Raises:
      WorldError: no frame, values that no frame has, or another shape.
    """
    frame = to_array(name, "the frame", raw)
    if frame.ndim == 3 and frame.shape[-1] == 1:
        frame = frame[..., 0]
    if frame.ndim == 2:
        frame = np.repeat(frame[..., None], 3, -1)
    if frame.ndim != 3 or frame.shape[-1] not in (3, 4) or not frame.size:
        raise WorldError(
            f"{name}: the frame has shape {frame.shape}, it must be (h, w), (h, w, 3) or (h, w, 4)."
        )
    frame = frame[..., :3]
    if shape not in (None, frame.shape):
        raise WorldError(f"{name}: the frame has shape {frame.shape}, earlier it was {shape}.")
    if frame.dtype == np.uint8:
        return frame
    top = 1 if frame.dtype.kind in "fb" else 255
    if frame.dtype.kind not in "biuf" or not ((frame >= 0) & (frame <= top)).all():
        raise WorldError(
            f"{name}: the frame is {frame.dtype} and not within 0 to {top}: uint8 from 0 to 255 "
            "and floats from 0 to 1 can be shown."
        )
    return np.rint(frame.astype(np.float32) * (255 / top)).astype(np.uint8)


def check_finite(name: str, field: str, array: np.ndarray) -> None:
    """Raises WorldError if a float array holds NaN or infinity."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        index, place = first_place(~np.isfinite(array))
        raise WorldError(f"{name}: {field} holds {array[index]}{place}, not a finite number.")


def check_timestep(world: Described, timestep: TimeStep) -> TimeStep:
    """The time step of W environments, unchanged, if it is as the world's spaces declare it.

    Raises:
      WorldError: a wrong or missing field, shape or dtype, NaN, or a class that does not exist.
    """
    name, spaces, lead = world.name, world.obs_space, np.shape(timestep.is_first)
    if set(timestep.obs) != set(spaces):
        raise WorldError(
            f"{name}: the observation has {sorted(timestep.obs)}, not {sorted(spaces)}."
        )
    for key, space in spaces.items():
        value: Any = timestep.obs[key]
        check_array(name, f"observation {key!r}", value, lead + space.shape, space.dtype)
        if space.is_discrete and (wrong := (value < 0) | (value >= space.classes)).any():
            raise WorldError(
                f"{name}: observation {key!r} is {value[wrong][0]}, its space has {space.classes} "
                "values."
            )
    check_array(name, "the reward", timestep.reward, lead, "float32")
    for field in ("is_first", "is_last", "is_terminal"):
        check_array(name, field, getattr(timestep, field), lead, "bool")
    return timestep


def check_array(name: str, field: str, array: Any, shape: tuple[int, ...], dtype: str) -> None:
    """Raises WorldError unless a field is a finite array of exactly this shape and dtype."""
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
        found = f"{getattr(array, 'dtype', type(array).__name__)} {np.shape(array)}"
        raise WorldError(f"{name}: {field} is {found}, not {dtype} {shape}.")
    check_finite(name, field, array)
