"""Options behind the id of a Gymnasium world, each after an @: `gym/ID@64x64@0..10@-mission`."""

import re
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

GUIDE = "docs/environments.md"
NUMBER = r"-?(?:inf|\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
SIZE = re.compile(r"(\d{1,4})x(\d{1,4})")
BOUNDS = re.compile(rf"(?:(.+)=)?({NUMBER})\.\.({NUMBER})")


class Options(NamedTuple):
    """What may follow an id in the name of a world."""

    size: tuple[int, int] | None = None  # height, width that images are resized to
    bounds: tuple[tuple[str, float, float], ...] = ()  # (key, low, high); key "": all Box spaces
    without: tuple[str, ...] = ()  # entries of a Dict that are left out


NO_OPTIONS = Options()


def parse_options(name: str, texts: list[str]) -> Options:
    """The options of `gym/ID@64x64@0..10@-mission`.

    Raises:
      ValueError: an unknown option; one sentence.
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


def check_options(name: str, options: Options, labels: set[str], has_image: bool) -> None:
    """Raises ValueError for an option that fits none of the observation's entries, `labels`."""
    labels = labels - {""}
    named = [key for key, _, _ in options.bounds if key not in ("", "action")]
    for key in (*options.without, *named):
        if key not in labels:
            valid = ", ".join(sorted(labels)) or "none: its observation is no Dict"
            raise ValueError(f"{name}: there is no entry {key!r}; valid are {valid}.")
    if options.size and not has_image:
        raise ValueError(
            f"{name} has no image to resize: leave @{'x'.join(map(str, options.size))} out."
        )


def with_bounds(space: spaces.Box, low: float, high: float) -> spaces.Box:
    """The same Box with other bounds, of floats where its integers cannot hold them."""
    dtype: Any = np.dtype(space.dtype)
    if dtype.kind != "f" and not (
        low >= np.iinfo(dtype).min and high <= np.iinfo(dtype).max and low % 1 == high % 1 == 0
    ):
        dtype = np.dtype(np.float32)
    return spaces.Box(dtype.type(low), dtype.type(high), space.shape, dtype.type)  # type: ignore
