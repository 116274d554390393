"""Any Gymnasium environment as a world: `gym/CartPole-v1`, `gym/my_module:MyEnv-v0`.

`docs/environments.md` describes what its spaces become and the options behind an @; `gym_spaces`,
`gym_actions` and `gym_options` have the code. Whatever an environment raises, renders or returns is
checked (`gym_entries`, `checks`) and becomes one sentence, never a wrong number.
"""

import contextlib
import dataclasses
import difflib
import functools
import importlib.util
import os
import re
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np

from dreamer_lite.worlds import checks, gym_actions, gym_spaces, hosted, rendering
from dreamer_lite.worlds.families import families
from dreamer_lite.worlds.gym_entries import Entry
from dreamer_lite.worlds.gym_options import GUIDE, Options, parse_options

# Packages whose environments an agent file may name: what they import was installed by the user.
INSTALLED = ("gymnasium", "ale_py", "dm_control", "dreamer_lite")

LONG = 2000  # observations after which `ByteWatch` judges an episode that has not ended


@dataclasses.dataclass(frozen=True)
class GymWorld(hosted.Description):
    """A Gymnasium environment by its id."""

    id: str
    options: Options
    draws: bool  # it offers frames as arrays

    def start(self, worlds: int, seed: int) -> hosted.Loop:
        """Makes W environments. Raises WorldError if one cannot be made."""
        watch = ByteWatch(self.name)
        return hosted.Loop(self, functools.partial(GymEnvironment, self, watch), worlds, seed)

    def render(self, obs: dict[str, np.ndarray]) -> np.ndarray | None:
        """The first image or board among the observations as (..., h, w, 3) uint8, else None.

        A board is grey, the darker the smaller its symbol; one of several layers shows their mean.
        """
        for key, space in self.obs_space.items():
            if space.is_image:
                return hosted.as_rgb(obs[key])
            if space.is_discrete and len(space.shape) in (2, 3):
                x = np.asarray(obs[key])
                if x.dtype.kind == "f":  # imagined: probabilities of the classes
                    x = x @ np.arange(space.classes)
                x = x if len(space.shape) == 2 else x.mean(-1)
                return hosted.as_rgb(x[..., None] / max(1.0, space.classes - 1.0))
        return None


class ByteWatch:
    """Warns if an observation declared as 0..255 held only small numbers in the first episode.

    The agent receives such numbers divided by 255, so it can hardly tell small ones apart.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.warned: set[str] = set()  # observations that were outside of their bounds
        self.highest: dict[str, float] = {}
        self.count, self.over = 0, False

    def add(self, entry: Entry, array: np.ndarray) -> None:
        self.count += 1
        self.highest[entry.key] = max(self.highest.get(entry.key, 0), float(array.max()))

    def judge(self, entries: list[Entry], ended: Any) -> None:
        """At the end of the first episode, or of a long part of it, warns of small numbers."""
        with contextlib.suppress(Exception):  # invalid flags are found later
            self.over = bool(ended[0]) or bool(ended[1]) or self.count > LONG
        for entry in entries if self.over else ():
            highest = self.highest.get(entry.key, 255)
            if entry.full_bytes and highest < gym_spaces.FEW:
                other = entry.option(self.name, 0, max(1, int(np.ceil(highest))))
                warnings.warn(
                    f"{self.name}: observation {entry.key!r} may hold 0 to 255 by its space, and "
                    f"held nothing above {highest:g} in a whole episode; the agent can hardly tell "
                    "such values apart. If they are symbols, or an image divided by 255, name the "
                    f"world with the largest value that there can be: {other}.",
                    stacklevel=2,
                )


class GymEnvironment:
    """One Gymnasium environment in a `Loop`."""

    def __init__(self, world: GymWorld, watch: ByteWatch) -> None:
        self.name, self.watch = world.name, watch
        self.draws, self.undrawn = world.draws, ""  # why it cannot be drawn, though it should
        self.env = self._make(world.id)
        self.entries = gym_spaces.entries(self.name, self.env.observation_space, world.options)
        self.action = gym_actions.action_map(self.env.action_space, world.options)
        ours = gym_actions.agent_space(self.name, self.env.action_space)
        found = tuple((entry.key, entry.space) for entry in self.entries)
        if (found, ours) != (world.spaces, world.action_space):
            raise checks.WorldError(f"{self.name}: its spaces are others each time it is made.")

    def _make(self, id: str) -> gymnasium.Env:
        """The environment, ready to draw if it can."""
        make = functools.partial(gymnasium.make, id, disable_env_checker=True)
        if not self.draws:
            return make()
        try:
            return make(render_mode="rgb_array")
        except Exception as error:
            with contextlib.suppress(Exception):  # if it needs more to draw than to be played
                env = make()
                self.undrawn = reason(error)
                return env
            raise

    def reset(self, seed: int | None) -> dict[str, np.ndarray]:
        result = self.env.reset(seed=seed)
        if not isinstance(result, tuple) or len(result) != 2:
            raise checks.WorldError(f"{self.name}: reset does not give (observation, info).")
        return self._observe(result[0])

    def step(self, action: np.ndarray) -> hosted.Transition:
        result = self.env.step(self.action(action))
        if not isinstance(result, tuple) or len(result) != 5:
            raise checks.WorldError(
                f"{self.name}: step does not give (observation, reward, terminated, truncated, "
                "info)."
            )
        raw, reward, terminated, truncated, _ = result
        obs = self._observe(raw)
        if not self.watch.over:
            self.watch.judge(self.entries, (terminated, truncated))
        return hosted.Transition(obs, reward, terminated, truncated)

    def frame(self) -> np.ndarray | None:
        """The environment's own frame; None, with a warning, where it needs another package."""
        if self.draws and not self.undrawn:
            try:
                return self.env.render()  # type: ignore
            except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
                self.undrawn = reason(error)
        if self.draws:
            warnings.warn(f"{self.name} cannot be drawn: {self.undrawn}.", stacklevel=2)
        self.draws = False
        return None

    def close(self) -> None:
        self.env.close()

    def _observe(self, raw: Any) -> dict[str, np.ndarray]:
        obs = {}
        for entry in self.entries:
            array = entry.read(self.name, entry.pick(self.name, raw), self.watch.warned)
            if entry.full_bytes and not self.watch.over:
                self.watch.add(entry, array)
            obs[entry.key] = entry.convert(array)
        return obs


def make(text: str) -> GymWorld:
    """The world of a Gymnasium id, described by an environment that is made and closed again.

    Behind the id there may be options, each after an @; see `gym_options.parse_options`.

    Raises:
      ValueError: unknown id, missing package, or a space that is not supported; one sentence.
    """
    name = f"gym/{text}"
    id, *texts = text.split("@")
    options = parse_options(name, texts)
    if id.startswith("DreamerLite/"):
        from dreamer_lite.worlds import gymnasium_envs

        gymnasium_envs.register()
    if ":" in id and os.getcwd() not in sys.path:  # the commands search where `python -m` would
        sys.path.append(os.getcwd())
    choose_renderer()
    try:
        env = gymnasium.make(id, disable_env_checker=True)
    except (Exception, SystemExit) as error:  # whatever the environment's constructor raises
        if isinstance(error, gymnasium.error.Error) and not is_registered(id):
            raise ValueError(unknown(id)) from error
        raise ValueError(f"{name} cannot be made: {reason(error)}.") from error
    try:
        found = gym_spaces.entries(name, env.observation_space, options)
        action_space = gym_actions.agent_space(name, env.action_space)
        gym_actions.check_options(name, env.action_space, options)
        return GymWorld(
            name=name,
            spaces=tuple((entry.key, entry.space) for entry in found),
            action_space=action_space,
            action_names=gym_actions.action_names(env.action_space, action_space, meanings(env)),
            repeat=1,
            id=id,
            options=options,
            draws=offers_frames(env),
        )
    finally:
        checks.close_one(name, env)


def choose_renderer() -> None:
    """Lets MuJoCo draw without a screen, before it is imported, if it is installed."""
    if importlib.util.find_spec("mujoco") is not None:
        with contextlib.suppress(ValueError):  # MuJoCo itself reports a wrong MUJOCO_GL
            rendering.choose()


def meanings(env: gymnasium.Env) -> Any:
    """The environment's names of its actions; None if it has no names, or raises."""
    with contextlib.suppress(Exception):
        return env.unwrapped.get_action_meanings()  # type: ignore


def offers_frames(env: gymnasium.Env) -> bool:
    """Whether it renders frames as arrays."""
    with contextlib.suppress(Exception):  # an environment may put anything into its metadata
        return "rgb_array" in env.metadata["render_modes"]
    return False


def reason(error: BaseException) -> str:
    """What an environment raised, with the remedy for a missing package."""
    if isinstance(error, gymnasium.error.DependencyNotInstalled):
        return checks.in_one_line(error).removeprefix("DependencyNotInstalled: ")
    advice = ", run `pip install imageio`" if getattr(error, "name", None) == "imageio" else ""
    return checks.in_one_line(error) + advice


def is_registered(id: str) -> bool:
    """Whether Gymnasium knows an id, with or without a version."""
    name = id.rpartition(":")[2]
    return any(known == name or known.startswith(f"{name}-v") for known in gymnasium.registry)


def module_needed(text: str) -> str | None:
    """The module that making this would import, unless it is of a package of `INSTALLED`.

    `text` is as for `make`. Nothing is imported to find out. An entry point that is a
    function, not a name, is imported already.
    """
    id = text.partition("@")[0]
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
    """A sentence with the nearest registered ids, or with the name that the library gives it."""
    module, _, name = id.rpartition(":")
    if other := elsewhere(name):
        return f"Gymnasium knows no environment {id!r}: {other}."
    lowered = {known.lower(): known for known in sorted(gymnasium.registry)}
    near = [lowered[x] for x in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
    near = [f"gym/{with_module(x, module)}" for x in near]
    hint = f": did you mean {' or '.join(near)}?" if near else "."
    return (
        f"Gymnasium knows no environment {id!r}{hint} One of another package or of your own is "
        f"named gym/MODULE:ID, where importing MODULE registers it; see {GUIDE}."
    )


def with_module(known: str, module: str) -> str:
    """A registered id, behind the module that was named unless the id is Gymnasium's own."""
    point = gymnasium.registry[known].entry_point
    home = point if isinstance(point, str) else getattr(point, "__module__", "")
    return f"{module}:{known}" if module and not home.startswith("gymnasium.") else known


def elsewhere(name: str) -> str | None:
    """The library's name of an environment that other packages name differently."""
    if found := re.fullmatch(r"dm_control/(\w+)-(\w+)-v\d+", name):
        return f"the control suite is dmc/{found[1]}-{found[2].replace('_', '-')} here"
    if found := re.fullmatch(r"MinAtar/Breakout-v\d+", name, re.IGNORECASE):
        return "MinAtar's Breakout is minatar/breakout here"
    found = re.fullmatch(r"(ALE/)?(\w+?)(-ram)?(NoFrameskip|Deterministic)?(-ram)?(-v\d+)?", name)
    if not found:
        return None
    game = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", found[2]).lower()
    games: list[str] = []
    if any(family.prefix == "atari/" and family.installed for family in families()):
        from ale_py import roms

        games = roms.get_all_rom_ids()
    if not found[1] and game not in games:
        return None
    here, there = (game, found[2]) if not games or game in games else ("pong", "Pong")
    return (
        f"games of Atari are named as atari/{here} here; gym/ale_py:ALE/{there}-v5@64x64 takes "
        "Gymnasium's own form of it"
    )
