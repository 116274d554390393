"""The environments by name: `make("minatar/breakout")`, `make("dmc/walker-walk")`.

JAX worlds run inside the compiled training program, hosted ones on the CPU beside it (`hosted`).
Read `base` first, then `catch`. To add a JAX world, write it by the protocol `World` of `base` and
give it a line in `_MAKERS`. The adapters of hosted worlds are imported when one of their worlds is
made, because they need packages of their own.
"""

import difflib
import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, TypeGuard

from dreamer_lite import files
from dreamer_lite.worlds.base import Space, TimeStep, World, next_timestep
from dreamer_lite.worlds.breakout import Breakout
from dreamer_lite.worlds.catch import Catch
from dreamer_lite.worlds.checks import WorldError
from dreamer_lite.worlds.families import FAMILIES, Family, families
from dreamer_lite.worlds.hosted import HostedWorld, Stepper
from dreamer_lite.worlds.pendulum import Pendulum

__all__ = [
    "AnyWorld",
    "Family",
    "Breakout",
    "Catch",
    "Pendulum",
    "HostedWorld",
    "TimeStep",
    "Space",
    "Stepper",
    "World",
    "WorldError",
    "families",
    "is_hosted",
    "make",
    "make_read",
    "module_needed",
    "names",
    "next_timestep",
]

AnyWorld = World | HostedWorld

_trusted: set[str] = set()  # names that were given to `make` in this process

_MAKERS: dict[str, Callable[[], World]] = {
    "catch": Catch,
    "catch/hidden": functools.partial(Catch, hidden=True),
    "catch/kink": functools.partial(Catch, kink=True),
    "catch/hidden-kink": functools.partial(Catch, hidden=True, kink=True),
    "minatar/breakout": Breakout,
    "pendulum": Pendulum,
}


def names() -> list[str]:
    """The names of the JAX worlds. Those of hosted ones begin with the prefix of a family."""
    return list(_MAKERS)


def is_hosted(world: AnyWorld) -> TypeGuard[HostedWorld]:
    """Whether a world runs on the host, with `start`, and not in JAX, with `reset` and `step`."""
    return hasattr(world, "start")


class ImportNeeded(ValueError):
    """A world named in a file would import a module that was not asked for; one sentence."""


def make(name: str) -> Any:
    """Makes a `World` or a `HostedWorld` by a name that the user gave.

    A world of the user's own, `gym/MODULE:ID`, imports its module, also from the current folder.
    For a name that was read from a file there is `make_read`.

    Raises:
      ValueError: no world has this name, or its package is missing; one sentence with the valid
        names.
    """
    world = _make(name)
    _trusted.add(name)
    return world


def make_read(name: str) -> Any:
    """`make` for a name that was read from a file, which may be untrusted.

    It imports only what was installed with this package, and nothing from the current folder,
    unless the user gave this name to `make` before.

    Raises:
      ImportNeeded: the world needs another module.
      ValueError: as `make`.
    """
    if name in _trusted:
        return _make(name)
    with files.without_current_folder():
        if (module := module_needed(name)) is not None:
            raise ImportNeeded(f"the world {name!r} would import the module {module!r}.")
        return _make(name)


def module_needed(name: str) -> str | None:
    """The module that a Gymnasium id would import beyond what was installed with this package."""
    id = name.removeprefix("gym/")
    if id == name or not importlib.util.find_spec("gymnasium"):
        return None
    from dreamer_lite.worlds import gym

    return gym.module_needed(id)


def _make(name: str) -> Any:
    if name in _MAKERS:
        return _MAKERS[name]()
    for family in FAMILIES:
        if name.startswith(family.prefix):
            if not family.installed:
                raise ValueError(f"{name} needs the package {family.package}: run {family.remedy}.")
            module = importlib.import_module(f"dreamer_lite.worlds.{family.module}")
            return module.make(name.removeprefix(family.prefix))
    known = [*_MAKERS, *(family.example for family in FAMILIES)]
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(
        f"There is no world {name!r}{hint}; choose one of {', '.join(_MAKERS)}, or one of "
        f"{', '.join(family.prefix + '...' for family in FAMILIES)} (such as "
        f"{', '.join(family.example for family in FAMILIES)})."
    )
