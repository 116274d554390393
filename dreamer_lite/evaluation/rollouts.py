"""Real episodes: how good an agent is, and what it observed, as arrays and as images.

Numpy arrays come out, time first. Built on by `dreams` and notebook 10; `players` acts.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from dreamer_lite.agent.agent import Params
from dreamer_lite.config import Config
from dreamer_lite.evaluation.players import LONGEST, Player, RolloutState, make_player
from dreamer_lite.show import images
from dreamer_lite.training import memory
from dreamer_lite.worlds import AnyWorld
from dreamer_lite.worlds.hosted import TooMany, WorldError

CHUNK = 128  # time steps of `record` between two checks whether its episodes are over
MOST = 10_000  # episodes at once, side by side in memory


class Recording(NamedTuple):
    """Consecutive episodes of one world as numpy arrays: one entry per time step."""

    obs: dict[str, np.ndarray]  # (n, ...)
    reward: np.ndarray  # (n,) float32, arrived with obs
    is_first: np.ndarray  # (n,) bool
    is_last: np.ndarray  # (n,) bool
    is_terminal: np.ndarray  # (n,) bool
    action: np.ndarray  # (n,) or (n, A), chosen after seeing obs; 0 at is_last
    deter: np.ndarray | None  # (n, D) what the agent then knew; None for the random player
    stoch: np.ndarray | None  # (n, S, C)
    score: np.ndarray  # (n,) float32, return of the episode up to and with this step
    frame: np.ndarray | None  # (n, h, w, 3) uint8 from a world on the host; None: draw obs
    world: Any = None  # (n, ...) the world's own state at each step; None for one on the host


def evaluate(
    config: Config, params: Params | None, world: AnyWorld, episodes: int, seed: int
) -> np.ndarray:
    """Undiscounted returns (episodes,) float32 of the first episode of each of as many worlds.

    One whole episode from every world, however long: taking the first `episodes` that end would
    prefer the short ones. The policy samples, as everywhere. The episodes are others than those of
    a training with the same seed.

    Raises:
      ValueError: `episodes` is not between 1 and MOST.
      WorldError: an episode that does not end within LONGEST steps.
    """
    check_episodes(episodes)
    player = make_player(config, world)
    returns, at_once = np.zeros(0, np.float32), episodes
    while len(returns) < episodes:
        use = f"evaluate from {len(returns)}" if len(returns) else "evaluate"
        stage = start_as_many(player, params, seed, min(at_once, episodes - len(returns)), use)
        at_once = len(stage.timestep.is_last)
        total, ended = player.score(params, stage)
        if not ended.all():
            raise WorldError(endless(world))
        returns = np.concatenate([returns, total])
    return returns


def start_as_many(
    player: Player, params: Params | None, seed: int, worlds: int, use: str
) -> RolloutState:
    """`worlds` of them side by side, or as many as can exist at a time, with a warning."""
    try:
        return player.start(params, seed, worlds, use)
    except TooMany as error:
        warnings.warn(f"{error} Here {error.made} is taken at a time.", stacklevel=2)
        return player.start(params, seed, error.made, use)


def record(
    config: Config,
    params: Params | None,
    world: AnyWorld,
    seed: int,
    episodes: int = 1,
    film: bool = True,
) -> Recording:
    """Play `episodes` whole episodes in one world, one after the other, and keep every time step.

    Without `film`, pictures of a world on the host are drawn from what it observes, if they are.

    Raises:
      ValueError: `episodes` is not between 1 and MOST, or they do not fit in memory.
      WorldError: an episode that does not end within LONGEST steps.
    """
    check_episodes(episodes)
    player = make_player(config, world, film)
    stage = player.start(params, seed, 1, "record")
    chunks, ends, length = [], 0, 0
    while ends < episodes:
        if length >= LONGEST * (ends + 1):
            raise WorldError(endless(world))
        stage, trace = player.play(params, stage, CHUNK)
        chunks.append(jax.tree.map(lambda x: np.asarray(x[:, 0]), trace))
        ends += int(chunks[-1].timestep.is_last.sum())
        length += CHUNK
        check_memory(len(chunks) * sum(x.nbytes for x in jax.tree.leaves(chunks[-1])), episodes)
    whole: Any = jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)
    count = np.flatnonzero(whole.timestep.is_last)[episodes - 1] + 1
    whole = jax.tree.map(lambda x: x[:count], whole)
    deter, stoch = (None, None) if whole.state is None else whole.state
    score = running_return(whole.timestep.reward, whole.timestep.is_first)
    return Recording(
        *whole.timestep,
        action=whole.action,
        deter=deter,
        stoch=stoch,
        score=score,
        frame=whole.frame,
        world=whole.world,
    )


def running_return(reward: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    """Sum of the rewards since the episode began, (n,), (n,) -> (n,) float32."""
    total = np.cumsum(reward, dtype=np.float64)
    before = np.where(is_first, total - reward, -np.inf)  # total when the episode began
    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(reward)), 0))
    return (total - before[starts]).astype(np.float32)


def check_episodes(episodes: int) -> None:
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}: it must be at least 1.")
    if episodes > MOST:
        raise ValueError(f"episodes is {episodes}: it must be at most {MOST}.")


def check_memory(needed: int, episodes: int) -> None:
    """Raise ValueError if as many bytes again, in which all is put together, are not free."""
    free = memory.free_host_bytes()
    if free is not None and needed > memory.SPARE * free:
        raise ValueError(
            f"{episodes} episodes need more memory than the {free / 2**30:.1f} GiB that are free: "
            "choose fewer."
        )


def endless(world: AnyWorld) -> str:
    return f"An episode of {world.name} did not end within {LONGEST} steps."


def annotated_frames(world: AnyWorld, recording: Recording) -> np.ndarray:
    """The world's pictures of a recording, each over a line of text: (n, h, w, 3) uint8.

    The text gives the step in the episode (with the episode's number if there are several), the
    action chosen there, and the return so far; height and width are even.
    """
    count = len(recording.reward)
    episode = np.cumsum(recording.is_first)
    starts = np.maximum.accumulate(np.where(recording.is_first, np.arange(count), 0))
    frames = np.empty(0)
    picture_of = make_picture_of(world, recording)
    for i in range(count):  # one by one, to hold only one set of large pictures
        picture = picture_of(i)
        words = [f"step {i - starts[i]}"]
        if episode[-1] > 1:
            words.insert(0, f"episode {episode[i]}")
        if recording.is_last[i]:
            words.append("the end" if recording.is_terminal[i] else "time is up")
        else:
            words.append(action_name(world, recording.action[i]))
        strip = images.caption(
            picture.shape[1], 32, "   ".join(words), f"return {in_short(recording.score[i])}"
        )
        picture = images.pad_to_even(np.concatenate([picture, strip]))
        if i == 0:
            check_memory(count * picture.nbytes, int(episode[-1]))
            frames = np.empty((count, *picture.shape), np.uint8)
        frames[i] = picture
    return frames


def make_picture_of(world: AnyWorld, recording: Recording) -> Callable[[int], np.ndarray]:
    """A function from a step of a recording to its image: the environment's own, else from obs."""
    frame = recording.frame
    if frame is not None:
        return lambda i: images.enlarge(frame[i])
    draw = images.painter(world, [recording.obs])
    return lambda i: draw({key: x[i] for key, x in recording.obs.items()})


def in_short(number: float) -> str:
    """Whole numbers whole, others to one decimal."""
    return f"{number:.0f}" if number == round(number) else f"{number:.1f}"


def action_name(world: AnyWorld, action: np.ndarray) -> str:
    """A real action in a word; numbers if it is continuous."""
    if world.action_space.is_discrete:
        return world.action_names[int(action)]
    return " ".join(f"{x:+.1f}" for x in action[:3])
