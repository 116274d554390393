"""Atari games, by ale-py's C++ environment: `atari/pong`, `atari/pong@200m`.

Two protocols, as in the released code (`dreamerv3/configs.yaml`, `embodied/envs/atari.py`). The
plain name is that of Atari 100k, `@200m` that of the runs of 200M frames:

                    atari/pong              atari/pong@200m
    image           64x64x3, colour         96x96x1, grey
    sticky actions  none                    0.25
    actions         those the game needs    all 18

Both repeat an action 4 times, take the pixel-wise maximum of the last two screens, wait up to 30
frames at the start of a game, cut a game 108,000 frames later, and leave rewards as they are. An
episode is a whole game, a lost life does not end it; only a finished game is terminal, a cut one is
not. Sticky actions are those of Machado et al. (2018).

Departures: screens are resized by averaging areas, where the released code uses PIL's bilinear
filter; and grey is the emulator's own palette of grey.
"""

import dataclasses
import difflib
import functools
import os
from typing import Any

import ale_py
import numpy as np
from ale_py import roms

from dreamer_lite.worlds import hosted
from dreamer_lite.worlds.base import Space, TimeStep
from dreamer_lite.worlds.checks import WorldError, blame, check_timestep
from dreamer_lite.worlds.gym_actions import apart

REPEAT = 4  # emulator frames per agent step
TIME_LIMIT = 108_000  # emulator frames, half an hour of play
NO_OPS = 30  # emulator frames at most, at the start of a game
SCREEN = (210, 160)  # height and width of the console's own screen
LONG = "@200m"
# Games for two: ale-py ends the process when it is asked to start them.
TWO_PLAYERS = frozenset({"combat", "joust", "maze_craze", "warlords"})


@dataclasses.dataclass(frozen=True)
class AtariWorld(hosted.Description):
    """One game by one protocol."""

    game: str  # as ale-py names its ROM
    sticky: float  # [0, 1], probability that an emulator frame repeats the previous action
    every_action: bool  # all 18, else those that the game needs
    time_limit: int = TIME_LIMIT  # emulator frames
    no_ops: int = NO_OPS  # emulator frames

    def start(self, worlds: int, seed: int) -> "AtariStepper":
        """Makes W games in threads of their own."""
        return AtariStepper(self, worlds, seed)

    def render(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """The image as (..., h, w, 3) uint8, grey as grey."""
        return hosted.as_rgb(obs["image"])


class AtariStepper:
    """W games side by side, and, once frames are asked for, their twins at full size.

    A twin gets the same seeds and actions, and so the same no-ops and sticky actions. It is made
    when `frames` is first called and replays the actions taken so far; until then an agent step
    costs one stored byte.
    """

    def __init__(self, world: AtariWorld, worlds: int, seed: int) -> None:
        self.world, self.worlds = world, worlds
        self.seeds = np.array(hosted.seeds(seed, worlds))
        self.over = np.zeros(worlds, bool)
        self.played = bytearray()  # actions since `reset`, W bytes each
        self.twin: ale_py.AtariVectorEnv | None = None
        self.screens: Any = None
        with blame(world.name, "making it"):
            shape = world.obs_space["image"].shape
            self.games = emulators(world, worlds, shape)

    def reset(self) -> TimeStep:
        """Restarts all games from the seed."""
        with blame(self.world.name, "reset"):
            image, _ = self.games.reset(seed=self.seeds)
        self.played.clear()
        if self.twin is not None:
            self.twin.close()
        self.twin = None
        none = np.zeros(self.worlds, bool)
        return self._timestep(image, np.zeros(self.worlds), ~none, none, none)

    def step(self, action: np.ndarray) -> TimeStep:
        """Actions (W,) int32. Raises WorldError for an action that the game does not have."""
        action = np.array(action, np.int32)
        count = self.world.action_space.classes
        if action.shape != (self.worlds,) or (action < 0).any() or (action >= count).any():
            raise WorldError(
                f"{self.world.name}: actions {action} are not {self.worlds} from 0 to {count - 1}."
            )
        first = self.over
        with blame(self.world.name, "step"):
            image, reward, terminated, truncated, _ = self.games.step(action)
            self.played += action.astype(np.uint8).tobytes()
            if self.twin is not None:
                self.screens = self.twin.step(action)[0]
        return self._timestep(image, reward, first, terminated | truncated, terminated)

    def frames(self) -> np.ndarray:
        """The console's screens in colour, (W, 210, 160, 3) uint8.

        The first call plays the games again, 1 to 2 ms for each agent step so far.
        """
        if self.twin is None:
            with blame(self.world.name, "drawing it"):
                self.twin = twin = emulators(self.world, self.worlds, (*SCREEN, 3))
                self.screens, _ = twin.reset(seed=self.seeds)
                for action in np.frombuffer(bytes(self.played), np.uint8).reshape(-1, self.worlds):
                    self.screens = twin.step(action.astype(np.int32))[0]
        return np.array(self.screens)[:, 0]

    def close(self) -> None:
        for games in (self.games, self.twin):
            if games is not None:
                games.close()
        self.twin = None

    def _timestep(self, image: Any, reward: Any, first: Any, last: Any, terminal: Any) -> TimeStep:
        """A checked time step. The emulator's axis of stacked frames, of length 1, is dropped."""
        image = image[:, 0] if image.ndim == 5 else image.transpose(0, 2, 3, 1)
        self.over = np.array(last)
        timestep = TimeStep({"image": image}, np.float32(reward), first, last, terminal)  # type: ignore
        return check_timestep(self.world, timestep)


def emulators(world: AtariWorld, worlds: int, shape: tuple[int, ...]) -> ale_py.AtariVectorEnv:
    """W emulators that return screens of `shape` (h, w, c); c is 1 for grey or 3."""
    quiet()
    return ale_py.AtariVectorEnv(
        world.game,
        worlds,
        num_threads=min(worlds, os.cpu_count() or 1),
        max_num_frames_per_episode=world.time_limit,
        repeat_action_probability=world.sticky,
        full_action_space=world.every_action,
        img_height=shape[0],
        img_width=shape[1],
        grayscale=shape[2] == 1,
        stack_num=1,
        frameskip=REPEAT,
        maxpool=True,
        noop_max=world.no_ops,
        episodic_life=False,
        reward_clipping=False,
        use_fire_reset=False,  # where a game waits for FIRE, the agent has to press it
    )


@functools.cache
def quiet() -> None:
    """No banner on stderr for each emulator."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


def make(name: str) -> AtariWorld:
    """The world of `pong` or `pong@200m`.

    Raises:
      ValueError: no such game or protocol; one sentence.
    """
    game, _, _ = name.partition("@")
    if game in TWO_PLAYERS:
        raise ValueError(f"atari/{game} is a game for two players, ale-py cannot play it alone.")
    games = sorted(set(roms.get_all_rom_ids()) - TWO_PLAYERS)
    if game not in games or name.removeprefix(game) not in ("", LONG):
        near = difflib.get_close_matches(snake_case(game), games, n=3, cutoff=0.5)
        hint = f": did you mean {' or '.join(f'atari/{x}' for x in near)}?" if near else "."
        raise ValueError(
            f"There is no atari/{name}{hint} Names are atari/GAME for the protocol of Atari 100k "
            f"and atari/GAME{LONG} for that of 200M frames; ale-py brings {len(games)} games."
        )
    long = name.endswith(LONG)
    actions = action_names(game, long)
    return AtariWorld(
        name=f"atari/{name}",
        spaces=(("image", Space((96, 96, 1) if long else (64, 64, 3), "uint8")),),
        action_space=Space((), "int32", classes=len(actions)),
        action_names=actions,
        repeat=REPEAT,
        game=game,
        sticky=0.25 if long else 0.0,
        every_action=long,
    )


def snake_case(name: str) -> str:
    """`MsPacman` or `ms-pacman` as `ms_pacman`."""
    split = "".join(f"_{c}" if c.isupper() else c for c in name).strip("_")
    return split.lower().replace("-", "_").replace(" ", "_").replace("__", "_")


def action_names(game: str, every: bool) -> tuple[str, ...]:
    """The actions of a game in words: noop, fire, up, ..."""
    quiet()
    ale = ale_py.ALEInterface()
    ale.loadROM(str(roms.get_rom_path(game)))
    actions = ale.getLegalActionSet() if every else ale.getMinimalActionSet()
    return tuple(apart(action.name.lower()) for action in actions)
