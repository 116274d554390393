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
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard

from dreamer_lite import files
from dreamer_lite.worlds.base import Space, TimeStep, World, next_timestep
from dreamer_lite.worlds.breakout import Breakout
from dreamer_lite.worlds.catch import Catch
from dreamer_lite.worlds.checks import WorldError
from dreamer_lite.worlds.hosted import HostedWorld, Stepper
from dreamer_lite.worlds.pendulum import Pendulum

__all__ = [
    "AnyWorld",
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


class Family(NamedTuple):
    """A family of hosted worlds: all names that begin with `prefix`."""

    prefix: str  # "atari/"
    module: str  # the adapter in this folder, whose `make` takes the rest of the name
    package: str  # what it needs
    example: str
    about: str

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    @property
    def remedy(self) -> str:
        """The command that installs the missing package, by its own name.

        It names no extra of dreamer_lite, because pip would search an index for that name.
        """
        if self.package != "dm_control":
            return f"pip install {self.package.replace('_', '-')}"
        if sys.version_info < (3, 13):
            return 'pip install dm_control "mujoco>=3.17,<4"'
        return (  # one of its requirements has no wheel there, and the suite does without it
            "pip install --no-deps dm_control, then pip install dm-env dm-tree lxml glfw "
            'pyopengl absl-py requests "mujoco>=3.17,<4"'
        )


_FAMILIES = (
    Family("atari/", "atari", "ale_py", "atari/pong", "the Atari games of ale-py"),
    Family(
        "dmc/",
        "dmc",
        "dm_control",
        "dmc/walker-walk",
        "the DeepMind Control Suite (or its images: dmc/.../pixels)",
    ),
    Family("gym/", "gym", "gymnasium", "gym/CartPole-v1", "any Gymnasium environment"),
)


def families() -> list[Family]:
    """The families of hosted worlds, installed or not."""
    return list(_FAMILIES)


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
    for family in _FAMILIES:
        if name.startswith(family.prefix):
            if not family.installed:
                raise ValueError(f"{name} needs the package {family.package}: run {family.remedy}.")
            module = importlib.import_module(f"dreamer_lite.worlds.{family.module}")
            return module.make(name.removeprefix(family.prefix))
    known = [*_MAKERS, *(family.example for family in _FAMILIES)]
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(
        f"There is no world {name!r}{hint}; choose one of {', '.join(_MAKERS)}, or one of "
        f"{', '.join(family.prefix + '...' for family in _FAMILIES)} (such as "
        f"{', '.join(family.example for family in _FAMILIES)})."
    )
