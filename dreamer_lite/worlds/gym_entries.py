"""One observation of a Gymnasium environment: how it is checked and what it becomes."""

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from dreamer_lite.worlds import checks
from dreamer_lite.worlds.base import Space

LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass
class Entry:
    """One observation of an environment: what it returns, and how that becomes the agent's."""

    path: tuple[Any, ...]  # its place in nested Dicts and Tuples
    key: str  # its name in the agent's observation
    space: Space  # of the agent's observation
    shape: tuple[int, ...]  # as the environment returns it
    dtype: np.dtype
    low: Any  # array or number; values outside cannot be represented, unless `free`
    high: Any
    convert: Callable[[np.ndarray], np.ndarray]
    slack: float = 0  # how far low and high lie outside of the declared bounds: rounded away
    free: bool = False  # a vector: it is represented exactly whatever its bounds
    full_bytes: bool = False  # declared 0..255, which first episodes should use
    unbounded: bool = False  # every value of `dtype` is inside
    box: bool = True  # of a Box, whose bounds the name of the world may change

    def pick(self, name: str, raw: Any) -> Any:
        """This entry's part of the whole observation. Raises WorldError if it is missing."""
        try:
            for part in self.path:
                raw = raw[part]
        except (KeyError, IndexError, TypeError) as error:
            raise checks.WorldError(f"{name}: observation {self.key!r} is missing.") from error
        return raw

    def read(self, name: str, raw: Any, warned: set[str]) -> np.ndarray:
        """A value as declared, checked, (*shape); `warned` are the keys that were warned of.

        Raises:
          WorldError: another shape or type, or a value that cannot be represented.
        """
        field = f"observation {self.key!r}"
        array = checks.as_numbers(name, field, raw, self.shape, self.dtype, keep_large=True)
        if self.unbounded and array.dtype == self.dtype:
            return array
        inside = (array >= self.low) & (array <= self.high)
        if not inside.all():
            self._outside(name, array, ~inside, warned)
        return array

    def _outside(self, name: str, array: np.ndarray, outside: np.ndarray, warned: set[str]) -> None:
        """Refuses a value outside of the bounds, or warns once where they do not matter."""
        field = f"{name}: observation {self.key!r}"
        index, place = checks.first_place(outside)
        value = array[index]
        checks.check_finite(name, f"observation {self.key!r}", array)
        if array.dtype.kind == "f" and abs(value) > LARGEST:
            raise checks.WorldError(f"{field} holds {value}{place}, too large for float32.")
        low, high = (np.broadcast_to(x, self.shape)[index] for x in self.declared())
        sentence = f"{field} holds {value}{place}, its space says {low} to {high}"
        if not self.free:
            raise checks.WorldError(f"{sentence}{self._way_out(name, array)}.")
        if self.key not in warned:
            warned.add(self.key)
            warnings.warn(f"{sentence}. It is used as it is; there is one warning.", stacklevel=2)
        wide = self.dtype if self.dtype.kind == "f" else np.dtype(np.int64)
        self.low, self.high = finite(wide, -np.inf), finite(wide, np.inf)
        self.read(name, array, warned)

    def declared(self) -> tuple[Any, Any]:
        """The bounds that the space declares."""
        if not self.slack:
            return self.low, self.high
        return np.round(self.low + self.slack, 6), np.round(self.high - self.slack, 6)

    def _way_out(self, name: str, array: np.ndarray) -> str:
        """The name of the world with bounds that hold these values, as the end of a sentence."""
        if not self.box:
            return ""
        low = min(math.floor(array.min()), math.floor(np.min(self.declared()[0])))
        high = max(math.ceil(array.max()), math.ceil(np.max(self.declared()[1])))
        if self.space.is_image:
            top = next((x for x in (1, 255, 65535) if high <= x), math.inf)
            low, high = (0, top) if low >= 0 else (-math.inf, math.inf)
        return f"; {self.option(name, low, high)} takes other bounds"

    def option(self, name: str, low: float, high: float) -> str:
        """The name of the world with other bounds for this entry."""
        key = f"{'/'.join(map(str, self.path))}=" if self.path else ""
        return f"{name}@{key}{low}..{high}"


def finite(dtype: np.dtype, bound: Any) -> Any:
    """A bound as `dtype` without infinities, and of floats within those of float32."""
    if dtype.kind != "f":
        limits = np.iinfo(dtype if dtype.kind != "b" else np.uint8)
        return np.clip(bound, limits.min, limits.max)
    most = dtype.type(min(LARGEST, float(np.finfo(dtype).max)))
    return np.clip(bound, -most, most).astype(dtype)
