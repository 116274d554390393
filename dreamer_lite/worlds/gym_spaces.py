"""How Gymnasium's observation spaces become the agent's.

`docs/environments.md` has the table. In short: discrete values, and arrays of few integers, become
classes; a Box with the shape and the bounds of an image becomes a uint8 image; other numbers become
a float32 vector. Each value is checked against its declared space first (`gym_entries`). A vector
represents its numbers exactly whatever their bounds, so values outside only cause a warning:
Gymnasium's own LunarLander leaves its bounds by a factor of 80.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from PIL import Image

from dreamer_lite.worlds.base import Space
from dreamer_lite.worlds.gym_entries import Entry, finite
from dreamer_lite.worlds.gym_options import GUIDE, NO_OPTIONS, Options, check_options, with_bounds

CHANNELS = (1, 3, 4)
LEAST_SIDE = 8  # pixels of an image whose bounds are those of images
LARGE_SIDE = 32  # pixels from which on any bounded integers are an image
FEW = 32  # values of an integer that become classes
MOST_INPUTS = 2**15  # numbers of an observation that is written one-hot
# Losses have these names, and the loss of each observation is shown by its name beside them.
TAKEN = {"reward", "cont", "dyn", "rep", "policy", "value", "replay_value", "total"}


def entries(name: str, space: spaces.Space, options: Options = NO_OPTIONS) -> list[Entry]:
    """One entry for each observation of a space.

    Raises:
      ValueError: a space that is not supported, images of several sizes, or an option that fits
        nothing; one sentence with a way out.
    """
    found, labels, taken = [], set(), set(TAKEN)
    for path, leaf in leaves(space):
        label = "/".join(map(str, path))
        labels.add(label)
        if label not in options.without:
            entry = make_entry(name, path, leaf, options)
            while entry.key in taken:
                entry.key += "_"
            taken.add(entry.key)
            found.append(entry)
    sizes = {entry.space.shape[:2] for entry in found if entry.space.is_image}
    check_options(name, options, labels, bool(sizes))
    if not found:
        raise ValueError(f"{name} has no observation: an agent needs one.")
    if len(sizes) > 1:
        raise ValueError(
            f"{name} has images of several sizes {sorted(sizes)}: {name}@64x64 makes them equal."
        )
    return found


def leaves(space: spaces.Space, path: tuple = ()) -> Iterator[tuple[tuple, spaces.Space]]:
    """(path, space) of everything inside of nested Dicts and Tuples."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inside = space.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, value in inside:
            yield from leaves(value, (*path, key))
    else:
        yield path, space


def make_entry(name: str, path: tuple, space: spaces.Space, options: Options) -> Entry:
    """The entry of one space that is no Dict or Tuple."""
    label = "/".join(map(str, path))
    what = f"observation {label!r}" if path else "its observation"
    if isinstance(space, spaces.Box):
        for key, least, most in options.bounds:
            if key in ("", label):
                space = with_bounds(space, least, most)
        check_box(name, what, label, space)
        kind = box_kind(space)
        if kind == "image":
            return image(path, space, options.size)
        if kind == "vector":
            return vector(path, space)
        return classes(path, space, space.low.astype(np.int64), space.high.astype(np.int64))
    limits = discrete_limits(space)
    if limits is None:
        raise ValueError(
            f"{name}: {what} is a {type(space).__name__} space; supported are Box, Discrete, "
            "MultiDiscrete, MultiBinary, and Dict and Tuple of these. "
            + (f"{name}@-{label} leaves it out." if path else f"{GUIDE} shows a wrapper.")
        )
    entry = classes(path, space, *limits)
    if entry.space.size > MOST_INPUTS:
        raise ValueError(
            f"{name}: {what} has {limits[0].size} x {entry.space.classes} classes; at most "
            f"{MOST_INPUTS} are supported. A Box of integers is taken as numbers; {GUIDE} shows a "
            "wrapper."
        )
    entry.box = False
    return entry


def discrete_limits(space: spaces.Space) -> tuple[np.ndarray, np.ndarray] | None:
    """Smallest and largest values of a discrete space, int64; None for any other space."""
    if isinstance(space, spaces.Discrete):
        return np.array(int(space.start)), np.array(int(space.start) + int(space.n) - 1)
    if isinstance(space, spaces.MultiDiscrete):
        start = np.asarray(space.start, np.int64)
        return start, start + np.asarray(space.nvec, np.int64) - 1
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(space.shape, np.int64), np.ones(space.shape, np.int64)
    return None


def check_box(name: str, what: str, label: str, space: spaces.Box) -> None:
    """Raises ValueError for a Box that no observation of the agent can represent."""
    shape = space.shape
    if math.prod(shape) == 0:
        way = f": {name}@-{label} leaves it out" if label else ""
        raise ValueError(f"{name}: {what} is a Box of shape {shape}, which holds no numbers{way}.")
    if np.isnan(space.low).any() or np.isnan(space.high).any():
        raise ValueError(f"{name}: {what} has bounds that are not numbers.")
    stacked = len(shape) > 3 and (space.dtype == np.uint8 or side(shape[1:], True) >= LARGE_SIDE)
    if stacked and box_kind(space) == "vector":
        raise ValueError(
            f"{name}: {what} has shape {shape}; images are (h, w, c): leave out the wrapper that "
            "stacks frames, this agent has a memory."
        )


def box_kind(space: spaces.Box) -> str:
    """What a Box becomes: "classes", "image" or "vector"."""
    shape, dtype, low, high = space.shape, np.dtype(space.dtype), space.low, space.high
    span = float((high.astype(float) - low.astype(float)).max())
    even = bool((low == low.flat[0]).all() and (high == high.flat[0]).all())
    bottom, top = float(low.flat[0]), float(high.flat[0])
    is_bytes, floats = dtype == np.uint8, dtype.kind == "f"
    pixels = side(shape, is_bytes or len(shape) == 2)
    large = even and not floats and span <= 255 and pixels >= LARGE_SIDE
    short = math.prod(shape) * (span + 1) <= MOST_INPUTS
    if not floats and span < FEW and short and not large:
        return "classes"
    usual = even and bottom == 0 and (top == 255 or (top == 1 and floats))
    if large or (usual and pixels >= LEAST_SIDE and (is_bytes or len(shape) == 3)):
        return "image"
    return "vector"


def side(shape: tuple[int, ...], any_channels: bool) -> int:
    """Shorter side in pixels of (h, w), (h, w, c) or (c, h, w); 0 for what is no image."""
    if len(shape) == 2:
        return min(shape)
    if len(shape) != 3 or not (any_channels or min(shape[0], shape[2]) in CHANNELS):
        return 0
    return min(shape[1:] if channels_first(shape) else shape[:2])


def channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] < shape[2]


def key_of(path: tuple, alone: str) -> str:
    """The agent's name of an entry: its keys, or `alone` for an observation that is no Dict."""
    return "/".join(map(str, path)) or alone


def classes(path: tuple, space: spaces.Space, low: np.ndarray, high: np.ndarray) -> Entry:
    """An entry whose integers (*shape) each become one of as many classes as there are values."""
    shape: Any = space.shape
    count = int((high - low).max(initial=0)) + 1
    dtype = np.dtype("int32" if not shape or count > 256 else "uint8")

    def change(x: np.ndarray) -> np.ndarray:
        return np.subtract(x, low, dtype=np.int64).astype(dtype)

    ours = Space(shape, dtype.name, classes=count)
    return Entry(path, key_of(path, "state"), ours, shape, np.dtype(space.dtype), low, high, change)


def vector(path: tuple, space: spaces.Box) -> Entry:
    """An entry that becomes a flat float32 vector."""
    number, dtype = math.prod(space.shape), np.dtype(space.dtype)
    whole_range = (space.low == 0).all() and (space.high == 255).all()
    return Entry(
        path,
        key_of(path, "vector"),
        Space((number,), "float32"),
        space.shape,
        dtype,
        finite(dtype, space.low),
        finite(dtype, space.high),
        lambda x: x.reshape(number).astype(np.float32),
        free=True,
        full_bytes=dtype == np.uint8 and number > 1 and whole_range,
    )


def image(path: tuple, space: spaces.Box, size: tuple[int, int] | None) -> Entry:
    """An entry that becomes (h, w, c) uint8, its bounds scaled to 0..255."""
    shape, dtype = space.shape, np.dtype(space.dtype)
    low, high = space.low.flat[0], space.high.flat[0]
    scale = np.float32(255 / (float(high) - float(low)))
    is_bytes = dtype == np.uint8 and scale == 1
    first = channels_first(shape)

    def change(x: np.ndarray) -> np.ndarray:
        if not is_bytes:
            x = np.clip(np.rint((x.astype(np.float32) - np.float32(low)) * scale), 0, 255)
            x = x.astype(np.uint8)
        x = x.transpose(1, 2, 0) if first else x
        x = x[..., None] if x.ndim == 2 else x
        return x if size is None else resize(x, size)

    slack = 0.5 / 255 * (float(high) - float(low)) if dtype.kind == "f" else 0  # rounded away
    return Entry(
        path,
        key_of(path, "image"),
        Space(change(np.full(shape, low, dtype)).shape, "uint8"),
        shape,
        dtype,
        dtype.type(low - slack),
        dtype.type(high + slack),
        change,
        slack=slack,
        full_bytes=low == 0 and high == 255,
        unbounded=is_bytes,
    )


def resize(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (h, w, c) uint8 at another (height, width), each pixel the mean of an area."""
    if x.shape[:2] == size:
        return x
    channels = [Image.fromarray(np.ascontiguousarray(x[..., i])) for i in range(x.shape[2])]
    averaged = [channel.resize((size[1], size[0]), Image.Resampling.BOX) for channel in channels]
    return np.stack([np.asarray(channel) for channel in averaged], -1)
