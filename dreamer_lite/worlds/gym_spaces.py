"""How Gymnasium's spaces become the agent's: what it observes and what it does.

`docs/environments.md` has the table. In short: discrete values, and arrays of few integers, are
classes; what has the shape and the bounds of an image is a uint8 image; other numbers are a float32
vector. Every value is checked against its declared space first: one that the agent's space could
not represent ends in a `WorldError`. Numbers of a vector are exact whatever their bounds, so those
outside are only warned of: Gymnasium's own LunarLander leaves its bounds by a factor of 80.
"""

import dataclasses
import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from PIL import Image

from dreamer_lite.worlds import hosted
from dreamer_lite.worlds.base import Space

CHANNELS = (1, 3, 4)
LEAST_SIDE = 8  # pixels of an image whose bounds are those of images
LARGE_SIDE = 32  # pixels from which on any bounded integers are an image
FEW = 32  # values of an integer that become classes
MOST_INPUTS = 2**15  # numbers of an observation that is written one-hot
MOST_ACTIONS = 1000  # combinations of several discrete actions
LARGEST = float(np.finfo(np.float32).max)
GUIDE = "docs/environments.md"
# Losses have these names, and the loss of each observation is shown by its name beside them.
TAKEN = {"reward", "cont", "dyn", "rep", "policy", "value", "replay_value", "total"}

NUMBER = r"-?(?:inf|\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
SIZE = re.compile(r"(\d{1,4})x(\d{1,4})")
BOUNDS = re.compile(rf"(?:(.+)=)?({NUMBER})\.\.({NUMBER})")


class Options(NamedTuple):
    """What may follow an id in the name of a world, each behind an @."""

    size: tuple[int, int] | None = None  # height, width that images are resized to
    bounds: tuple[tuple[str, float, float], ...] = ()  # (key, low, high); key "": all Box spaces
    without: tuple[str, ...] = ()  # entries of a Dict that are left out


NO_OPTIONS = Options()


def parse_options(name: str, texts: list[str]) -> Options:
    """The options of `gym/ID@64x64@0..10@-mission`.

    Raises:
      ValueError: an option that is none; one sentence.
    """
    size, bounds, without = None, [], []
    for text in texts:
        if (found := BOUNDS.fullmatch(text)) and float(found[2]) < float(found[3]):
            bounds.append((found[1] or "", float(found[2]), float(found[3])))
        elif (found := SIZE.fullmatch(text)) and min(sides := (int(found[1]), int(found[2]))) >= 8:
            size = sides
        elif text.startswith("-") and len(text) > 1:
            without.append(text[1:])
        else:
            raise ValueError(
                f"{name}: @{text} is no option; there are @HEIGHTxWIDTH (images are resized, as "
                "with @64x64), @LOW..HIGH or @KEY=LOW..HIGH (other bounds than declared) and @-KEY "
                f"(an entry is left out); see {GUIDE}."
            )
    return Options(size, tuple(bounds), tuple(without))


@dataclasses.dataclass
class Entry:
    """One observation of an environment: what it gives, and how that becomes the agent's."""

    path: tuple[Any, ...]  # where it stands in nested Dicts and Tuples
    key: str  # what the agent calls it
    space: Space  # what the agent gets
    shape: tuple[int, ...]  # as the environment gives it
    dtype: np.dtype
    low: Any  # array or number; what is outside cannot be represented, unless `free`
    high: Any
    convert: Callable[[np.ndarray], np.ndarray]
    slack: float = 0  # how far outside of its declared bounds low and high are: rounded away
    free: bool = False  # a vector: its bounds are no part of how it is represented
    full_bytes: bool = False  # declared 0..255, which first episodes should use
    unbounded: bool = False  # every value of `dtype` is inside
    box: bool = True  # of a Box, whose bounds the name of the world may change

    def pick(self, name: str, raw: Any) -> Any:
        """This entry's part of what the environment gave as a whole."""
        try:
            for part in self.path:
                raw = raw[part]
        except (KeyError, IndexError, TypeError) as error:
            raise hosted.WorldError(f"{name}: observation {self.key!r} is missing.") from error
        return raw

    def read(self, name: str, raw: Any, said: set[str]) -> np.ndarray:
        """A value as declared, checked, (*shape). Raises WorldError. `said`: keys warned of."""
        field = f"observation {self.key!r}"
        array = hosted.as_numbers(name, field, raw, self.shape, self.dtype, keep_large=True)
        if self.unbounded and array.dtype == self.dtype:
            return array
        if not ((array >= self.low) & (array <= self.high)).all():
            self._outside(name, array, said)
        return array

    def _outside(self, name: str, array: np.ndarray, said: set[str]) -> None:
        """Refuses a value outside of the bounds, or warns once where they do not matter."""
        field = f"{name}: observation {self.key!r}"
        outside = ~((array >= self.low) & (array <= self.high))
        index = tuple(int(i) for i in np.argwhere(outside)[0])
        where = f" at {list(index)}" if index else ""
        value = array[index]
        if array.dtype.kind == "f":
            hosted.check_finite(name, f"observation {self.key!r}", array)
            if abs(value) > LARGEST:
                raise hosted.WorldError(f"{field} holds {value}{where}, too large for float32.")
        low, high = (np.broadcast_to(x, self.shape)[index] for x in self.declared())
        says = f"{field} holds {value}{where}, its space says {low} to {high}"
        if not self.free:
            raise hosted.WorldError(f"{says}{self._way_out(name, array)}.")
        if self.key not in said:
            said.add(self.key)
            warnings.warn(f"{says}. It is taken as it is; this is said once.", stacklevel=2)
        wide = self.dtype if self.dtype.kind == "f" else np.dtype(np.int64)
        self.low, self.high = finite(wide, -np.inf), finite(wide, np.inf)
        self.read(name, array, said)

    def declared(self) -> tuple[Any, Any]:
        """The bounds as the space says them."""
        if not self.slack:
            return self.low, self.high
        return np.round(self.low + self.slack, 6), np.round(self.high - self.slack, 6)

    def _way_out(self, name: str, array: np.ndarray) -> str:
        if not self.box:
            return ""
        low = min(math.floor(array.min()), math.floor(np.min(self.declared()[0])))
        high = max(math.ceil(array.max()), math.ceil(np.max(self.declared()[1])))
        if self.space.is_image:
            top = next((x for x in (1, 255, 65535) if high <= x), math.inf)
            low, high = (0, top) if low >= 0 else (-math.inf, math.inf)
        return f"; {option(name, self, low, high)} takes other bounds"


def option(name: str, entry: Entry, low: float, high: float) -> str:
    """The name of the world with other bounds for an entry."""
    key = f"{'/'.join(map(str, entry.path))}=" if entry.path else ""
    return f"{name}@{key}{low}..{high}"


def entries(name: str, space: spaces.Space, options: Options = NO_OPTIONS) -> list[Entry]:
    """One entry for each observation of a space.

    Raises:
      ValueError: a space that is not supported, images of several sizes, or an option that fits
        nothing; one sentence with a way out.
    """
    found, labels = [], set()
    keys: set[str] = set()
    for path, leaf in leaves(space):
        label = "/".join(map(str, path))
        labels.add(label)
        if label not in options.without:
            entry = convert(name, path, leaf, options)
            while entry.key in keys | TAKEN:
                entry.key += "_"
            keys.add(entry.key)
            found.append(entry)
    check_options(name, options, labels, found)
    if not found:
        raise ValueError(f"{name} has no observation: an agent needs one.")
    sizes = {entry.space.shape[:2] for entry in found if entry.space.is_image}
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


def check_options(name: str, options: Options, labels: set[str], found: list[Entry]) -> None:
    """Raise ValueError for an option that fits no entry."""
    named = [*options.without, *(key for key, _, _ in options.bounds if key and key != "action")]
    for key in named:
        if key not in labels - {""}:
            valid = ", ".join(sorted(labels - {""})) or "none: its observation is no Dict"
            raise ValueError(f"{name}: there is no entry {key!r}; valid are {valid}.")
    if options.size and not any(entry.space.is_image for entry in found):
        raise ValueError(
            f"{name} has no image to resize: leave @{'x'.join(map(str, options.size))} out."
        )


def convert(name: str, path: tuple, space: spaces.Space, options: Options) -> Entry:
    """The entry of one space that is no Dict or Tuple."""
    label = "/".join(map(str, path))
    what = f"observation {label!r}" if path else "its observation"
    if isinstance(space, spaces.Box):
        for key, low, high in options.bounds:
            if key in ("", label):
                space = with_bounds(space, low, high)
        return convert_box(name, path, what, space, options.size)
    limits = discrete_limits(space)
    if limits is None:
        raise ValueError(
            f"{name}: {what} is a {type(space).__name__} space; supported are Box, Discrete, "
            "MultiDiscrete, MultiBinary, and Dict and Tuple of these. "
            + (f"{name}@-{label} leaves it out." if path else f"{GUIDE} shows a wrapper.")
        )
    count = int((limits[1] - limits[0]).max(initial=0)) + 1
    if limits[0].size * count > MOST_INPUTS:
        raise ValueError(
            f"{name}: {what} has {limits[0].size} x {count} classes; at most {MOST_INPUTS} are "
            f"supported. A Box of integers is taken as numbers; {GUIDE} shows a wrapper."
        )
    entry = classes(path, limits[0].shape, np.dtype(space.dtype), *limits, count)
    entry.box = False
    return entry


def discrete_limits(space: spaces.Space) -> tuple[np.ndarray, np.ndarray] | None:
    """Smallest and largest values of a discrete space, int64; None for any other space."""
    if isinstance(space, spaces.Discrete):
        start = np.array(int(space.start))
        return start, start + int(space.n) - 1
    if isinstance(space, spaces.MultiDiscrete):
        start = np.asarray(space.start, np.int64)
        return start, start + np.asarray(space.nvec, np.int64) - 1
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(space.shape, np.int64), np.ones(space.shape, np.int64)
    return None


def with_bounds(space: spaces.Box, low: float, high: float) -> spaces.Box:
    """The same Box with other bounds, of floats where its integers cannot hold them."""
    dtype: Any = np.dtype(space.dtype)
    if dtype.kind != "f" and not (
        low >= np.iinfo(dtype).min and high <= np.iinfo(dtype).max and low % 1 == high % 1 == 0
    ):
        dtype = np.dtype(np.float32)
    return spaces.Box(dtype.type(low), dtype.type(high), space.shape, dtype.type)  # type: ignore


def convert_box(
    name: str, path: tuple, what: str, space: spaces.Box, size: tuple[int, int] | None
) -> Entry:
    """The entry of a Box: classes, an image or a vector, by the table in docs/environments.md."""
    shape, dtype = space.shape, np.dtype(space.dtype)
    low, high = space.low, space.high
    if math.prod(shape) == 0:
        way = f": {name}@-{'/'.join(map(str, path))} leaves it out" if path else ""
        raise ValueError(f"{name}: {what} is a Box of shape {shape}, which holds no numbers{way}.")
    if np.isnan(low).any() or np.isnan(high).any():
        raise ValueError(f"{name}: {what} has bounds that are not numbers.")
    kind = box_kind(shape, dtype, low, high)
    if kind == "classes":
        count = int((high.astype(float) - low.astype(float)).max()) + 1
        return classes(path, shape, dtype, low.astype(np.int64), high.astype(np.int64), count)
    if kind == "image":
        return image(path, shape, dtype, low.flat[0], high.flat[0], size)
    if len(shape) > 3 and (dtype == np.uint8 or picture_side(shape[1:], True) >= LARGE_SIDE):
        raise ValueError(
            f"{name}: {what} has shape {shape}; images are (h, w, c): leave out the wrapper that "
            "stacks frames, this agent has a memory."
        )
    number = math.prod(shape)
    entry = Entry(
        path,
        label_of(path, "vector"),
        Space((number,), "float32"),
        shape,
        dtype,
        finite(dtype, low),
        finite(dtype, high),
        lambda x: x.reshape(number).astype(np.float32),
        free=True,
        full_bytes=dtype == np.uint8 and number > 1 and (low == 0).all() and (high == 255).all(),
    )
    return entry


def box_kind(shape: tuple[int, ...], dtype: np.dtype, low: np.ndarray, high: np.ndarray) -> str:
    """ "classes", "image" or "vector"."""
    span = float((high.astype(float) - low.astype(float)).max())
    even = bool((low == low.flat[0]).all() and (high == high.flat[0]).all())
    bottom, top = float(low.flat[0]), float(high.flat[0])
    any_channels = dtype == np.uint8
    side = picture_side(shape, any_channels or len(shape) == 2)
    large = even and dtype.kind != "f" and span <= 255 and side >= LARGE_SIDE
    short = math.prod(shape) * (span + 1) <= MOST_INPUTS
    if dtype.kind != "f" and span < FEW and short and not large:
        return "classes"
    if not even:
        return "vector"
    usual = bottom == 0 and (top == 255 or (top == 1 and dtype.kind == "f"))
    if large or (usual and side >= LEAST_SIDE and (any_channels or len(shape) == 3)):
        return "image"
    return "vector"


def picture_side(shape: tuple[int, ...], any_channels: bool) -> int:
    """Shorter side in pixels of (h, w), (h, w, c) or (c, h, w); 0 for what is no image."""
    if len(shape) == 2:
        return min(shape)
    if len(shape) != 3:
        return 0
    channels = min(shape[0], shape[2])
    sides = shape[1:] if channels_first(shape) else shape[:2]
    return min(sides) if any_channels or channels in CHANNELS else 0


def channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] < shape[2]


def label_of(path: tuple, alone: str) -> str:
    """What the agent calls an entry: its keys, or `alone` for an observation that is no Dict."""
    return "/".join(map(str, path)) or alone


def classes(
    path: tuple,
    shape: tuple[int, ...],
    dtype: np.dtype,
    low: np.ndarray,
    high: np.ndarray,
    count: int,
) -> Entry:
    """An entry whose integers (*shape) each become one of `count` classes."""
    ours = np.dtype("int32" if not shape or count > 256 else "uint8")

    def change(x: np.ndarray) -> np.ndarray:
        return np.subtract(x, low, dtype=np.int64).astype(ours)

    space = Space(shape, ours.name, classes=count)
    return Entry(path, label_of(path, "state"), space, shape, dtype, low, high, change)


def image(
    path: tuple,
    shape: tuple[int, ...],
    dtype: np.dtype,
    low: Any,
    high: Any,
    size: tuple[int, int] | None,
) -> Entry:
    """An entry that becomes (h, w, c) uint8, its bounds stretched to 0..255."""
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

    space = Space(change(np.full(shape, low, dtype)).shape, "uint8")
    slack = 0.5 / 255 * (float(high) - float(low)) if dtype.kind == "f" else 0  # rounded away
    return Entry(
        path,
        label_of(path, "image"),
        space,
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
    height, width = size
    channels = [Image.fromarray(np.ascontiguousarray(x[..., i])) for i in range(x.shape[2])]
    averaged = [channel.resize((width, height), Image.Resampling.BOX) for channel in channels]
    return np.stack([np.asarray(channel) for channel in averaged], -1)


def finite(dtype: np.dtype, bound: Any) -> Any:
    """A bound as `dtype` without infinities, and of floats within those of float32."""
    if dtype.kind != "f":
        kind = np.iinfo(dtype) if dtype.kind != "b" else np.iinfo(np.uint8)
        return np.clip(bound, kind.min, kind.max)
    most = dtype.type(min(LARGEST, float(np.finfo(dtype).max)))
    return np.clip(bound, -most, most).astype(dtype)


# Actions


def convert_action_space(name: str, space: spaces.Space) -> Space:
    """The agent's own space of actions.

    Raises:
      ValueError: a space that is not supported; one sentence with a way out.
    """
    limits = discrete_limits(space)
    if limits is not None:
        count = math.prod(int(x) + 1 for x in np.ravel(limits[1] - limits[0]))
        most = MOST_INPUTS if isinstance(space, spaces.Discrete) else MOST_ACTIONS
        if limits[0].size and count <= most:
            return Space((), "int32", classes=count)
        raise ValueError(
            f"{name}: its {type(space).__name__} space has {count} actions; from 1 to {most} are "
            f"supported. {GUIDE} shows a wrapper that offers fewer."
        )
    if isinstance(space, spaces.Box) and math.prod(space.shape):
        if np.isnan(space.low).any() or np.isnan(space.high).any():
            raise ValueError(f"{name}: its actions have bounds that are not numbers.")
        return Space((math.prod(space.shape),), "float32")
    shape = f" of shape {space.shape}" if isinstance(space, spaces.Box) else ""
    raise ValueError(
        f"{name}: its actions are a {type(space).__name__} space{shape}; supported are Box, "
        f"Discrete, MultiDiscrete and MultiBinary. {GUIDE} shows a wrapper for others."
    )


def check_action_options(name: str, space: spaces.Space, options: Options) -> None:
    """Says what the agent chooses from where an action has no bounds.

    Raises:
      ValueError: bounds were named for actions that have none, or outside of the space.
    """
    if not isinstance(space, spaces.Box):
        if any(key == "action" for key, _, _ in options.bounds):
            raise ValueError(f"{name}: its actions are no Box, so they have no bounds.")
        return
    low, high = action_bounds(space, options)
    if (low > high).any():
        raise ValueError(f"{name}: no action of {space} lies within these bounds.")
    opened = (low <= -hosted.FAR) | (high >= hosted.FAR)
    if opened.any():
        first = int(np.argmax(opened))
        least, most = hosted.usable_bounds(low, high)
        warnings.warn(
            f"{name}: action {first} of {low.size} may lie between {low[first]:g} and "
            f"{high[first]:g}; the agent chooses between {least[first]:g} and {most[first]:g}. "
            f"{name}@action=LOW..HIGH gives it other bounds.",
            stacklevel=2,
        )


def action_bounds(space: spaces.Box, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """The bounds (A,) between which the agent chooses, as float64."""
    low, high = space.low.reshape(-1).astype(float), space.high.reshape(-1).astype(float)
    for key, least, most in options.bounds:
        if key == "action":
            low, high = np.maximum(low, least), np.minimum(high, most)
    return low, high


def action_map(space: spaces.Space, options: Options = NO_OPTIONS) -> Callable[[np.ndarray], Any]:
    """What makes an environment's action of the agent's, () int32 or (A,) in [-1, 1].

    What it gives lies in the space, whatever the agent's action is.
    """
    if isinstance(space, spaces.Discrete):
        kind: Any = np.dtype(space.dtype).type
        start = int(space.start)
        return lambda action: kind(int(action) + start)
    limits = discrete_limits(space)
    if limits is not None:
        combinations = combined(*limits)
        table = [np.array(x, space.dtype).reshape(space.shape) for x in combinations]
        return lambda action: table[int(action)].copy()
    assert isinstance(space, spaces.Box)
    dtype, shape, low, high = space.dtype, space.shape, space.low, space.high
    bounds = action_bounds(space, options)
    if np.dtype(dtype).kind == "f":
        to_bounds = hosted.bounds_map(*bounds)
    else:
        to_bounds = integer_map(*bounds)

    def change(action: np.ndarray) -> np.ndarray:
        # Again at the bounds as they are declared: casting rounds.
        return np.clip(to_bounds(action).astype(dtype).reshape(shape), low, high)

    return change


def combined(low: np.ndarray, high: np.ndarray) -> list[tuple[int, ...]]:
    """All combinations of integers between two arrays, the last of them changing fastest."""
    ranges = [range(int(a), int(b) + 1) for a, b in zip(np.ravel(low), np.ravel(high))]
    return list(itertools.product(*ranges))


def integer_map(low: np.ndarray, high: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Maps [-1, 1] to the integers from low to high, an equal part to each; (A,) -> (A,)."""
    low, high = hosted.usable_bounds(low, high)

    def change(action: np.ndarray) -> np.ndarray:
        share = (np.clip(action, -1, 1).astype(float) + 1) / 2
        return np.clip(np.floor(low + share * (high - low + 1)), low, high)

    return change


def action_names(space: spaces.Space, ours: Space, meanings: Any) -> tuple[str, ...]:
    """What the environment calls its actions (as Atari does), else their numbers."""
    count = ours.classes or ours.shape[0]
    if isinstance(meanings, list | tuple) and len(meanings) == count:
        return tuple(" ".join(str(word).lower().split())[:40] for word in meanings)
    limits = discrete_limits(space)
    if limits is not None and not isinstance(space, spaces.Discrete):
        return tuple(" ".join(map(str, numbers)) for numbers in combined(*limits))
    return tuple(str(number) for number in range(count))
