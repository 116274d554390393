"""The embedded worlds by name: `make("minatar/breakout")`.

To add one, write it by the protocol `World` of `base` and give it a line in `_MAKERS`.
"""

import difflib
import functools
from collections.abc import Callable

from dreamer_lite.worlds.base import Row, Space, World, next_row
from dreamer_lite.worlds.breakout import Breakout
from dreamer_lite.worlds.catch import Catch
from dreamer_lite.worlds.pendulum import Pendulum

__all__ = ["Breakout", "Catch", "Pendulum", "Row", "Space", "World", "make", "names", "next_row"]

_MAKERS: dict[str, Callable[[], World]] = {
    "catch": Catch,
    "catch/hidden": functools.partial(Catch, hidden=True),
    "catch/kink": functools.partial(Catch, kink=True),
    "catch/hidden-kink": functools.partial(Catch, hidden=True, kink=True),
    "minatar/breakout": Breakout,
    "pendulum": Pendulum,
}


def names() -> list[str]:
    """The names that `make` knows."""
    return list(_MAKERS)


def make(name: str) -> World:
    """Makes a world by its name.

    Raises:
      ValueError: no world has this name; one sentence with the nearest name and all of them.
    """
    if name not in _MAKERS:
        near = difflib.get_close_matches(name.lower(), _MAKERS, n=1, cutoff=0.4)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"There is no world {name!r}{hint}; choose one of {', '.join(_MAKERS)}.")
    return _MAKERS[name]()
