"""What notebook 10 measures of any agent, and how it is drawn: episodes, rollouts, errors, rewards.

An error is the squared difference between a predicted and a real observation, summed over the
numbers that change at all while we look: where nothing ever moves, any prediction is right.
"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from dreamer_lite import worlds
from dreamer_lite.course.widgets import Dream
from dreamer_lite.course.widgets.dream import episode_ages
from dreamer_lite.evaluation.open_loop import Signals, numbers
from dreamer_lite.runs import agents, places
from dreamer_lite.runs.agents import LoadedAgent
from dreamer_lite.runs.errors import CheckpointError
from dreamer_lite.show import video
from dreamer_lite.show.plots import COLOURS, style
from dreamer_lite.training.progress import mean_and_error
from dreamer_lite.worlds import AnyWorld

SHIPPED = "minatar-breakout"  # the agent that is taken where the reader has trained none
ON_THE_HOST = 20  # episodes, and environments at once, where each is a simulator of its own
Z = 1.96  # standard errors on either side: a 95 % confidence interval
PLANES = ("paddle", "ball", "trail", "bricks")  # of MinAtar's Breakout


# The agent


def choose(name: str, homes: Sequence[Path | None]) -> tuple[str, LoadedAgent]:
    """(name, agent): the one that is named, or for "latest" the newest in these folders.

    Prints the agents that were found. One that cannot be read, because a copy is still arriving, is
    passed over with a sentence. Without any it is the shipped agent of Breakout.
    """
    if name != "latest":
        return name, agents.load(name)
    found = places.trained(filter(None, homes))
    for number, (path, _) in enumerate(found):
        print(f"found {path}{' (the newest)' if number == 0 else ''}")
    for path, _ in found:
        try:
            return str(path), agents.load(str(path))
        except CheckpointError as error:
            print(f"{error} The next one is taken.")
    print(f"No agent of yours was found: this is {SHIPPED}, which comes with the library.")
    return SHIPPED, agents.load(SHIPPED)


def episodes_for(world: AnyWorld, wanted: int) -> int:
    """How many episodes to play: `wanted`, or for 0 a number that fits the environment."""
    return wanted or (ON_THE_HOST if worlds.is_hosted(world) else 100)


class Films:
    """The folder that films are written into.

    `folder`; or that of an agent of one's own, on Google Drive for one from there; or, for a
    shipped agent, a temporary one.
    """

    def __init__(self, folder: str, agent: str):
        path = Path(agent)
        own = path.parent if path.suffix == agents.SUFFIX else path if path.is_dir() else None
        kept = Path(folder) if folder else own
        self.temporary = kept is None
        self.folder = kept or Path(tempfile.mkdtemp(prefix="dreamer-lite-"))

    def keep(self, name: str, frames: np.ndarray, fps: float) -> None:
        """Write NAME.mp4."""
        video.write(self.folder / f"{name}.mp4", frames, fps)

    def files(self) -> list[Path]:
        """All films there."""
        return sorted(self.folder.glob("*.mp4"))

    def listed(self) -> str:
        """One line for each film."""
        return "\n".join(f"{file}  {file.stat().st_size / 1000:.0f} kB" for file in self.files())


# Returns


def returns_figure(returns: Mapping[str, np.ndarray]) -> tuple[Figure, str]:
    """The distribution of each player's returns with its mean and confidence interval; words."""
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    axes = figure.add_subplot()
    words = []
    for number, (label, each) in enumerate(returns.items()):
        mean, error = mean_and_error(each)
        words.append(f"{label} {mean:.2f} ± {error:.2f}, from {each.min():.0f} to {each.max():.0f}")
        fraction = np.arange(1, len(each) + 1) / len(each)
        axes.plot(np.sort(each), fraction, label=label, **style(number, len(each)))
        axes.errorbar(mean, 0.5, xerr=Z * error, fmt="k|", capsize=4, markersize=14)
    axes.set(xlabel="return of an episode", ylabel="fraction of episodes up to it", ylim=(0, 1.02))
    axes.legend(frameon=False)
    count = len(next(iter(returns.values())))
    return figure, (
        f"Fraction of {count} episodes with at most a given return, with means and 95 % "
        f"confidence intervals. Mean and standard error: {'; '.join(words)}."
    )


# Imagined rollouts from many moments


class Test(NamedTuple):
    """M moments of a recording and the H steps after each; n numbers describe an observation."""

    moments: np.ndarray  # (M,) time steps of the recording
    seeds: np.ndarray  # (M,) of the sampling noise of each rollout
    actions: np.ndarray  # (H, M, ...) the recorded ones
    real: np.ndarray  # (H, M, n)
    last: np.ndarray  # (M, n) the last observation before the rollout
    mean: np.ndarray  # (n,) the mean observation of the recording
    valid: np.ndarray  # (H, M) bool, false beyond the end of an episode
    counted: np.ndarray  # (M, n) bool, the numbers that change within the H steps
    reward: np.ndarray  # (M,) sum of the H real rewards


def moments(dream: Dream, count: int, horizon: int, seed: int) -> Test:
    """Up to `count` moments of the dream's recording, drawn at random, and what really followed."""
    game, draw = dream.recording, np.random.default_rng(seed)
    left = episode_ages(game)[1]
    chosen = draw.permutation([m for m in dream.moments if left[m]])[:count]
    steps = np.arange(horizon)[:, None]
    ahead = np.minimum(chosen + steps + 1, len(left) - 1)
    valid = steps + 1 <= left[chosen]
    real = flat(dream, {key: x[ahead] for key, x in game.obs.items()})
    last = flat(dream, {key: x[chosen] for key, x in game.obs.items()})
    return Test(
        chosen,
        seed + np.arange(len(chosen)),
        game.action[np.minimum(chosen + steps, len(left) - 1)],
        real,
        last,
        flat(dream, game.obs).mean(0),
        valid,
        ((real != last) & valid[..., None]).any(0),
        (game.reward[ahead] * valid).sum(0),
    )


def flat(dream: Dream, obs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Observations (..., n): images in [0, 1], vectors in symlog, classes as one-hot."""
    return np.asarray(numbers(dict(obs), dream.world.obs_space))  # pyright: ignore[reportArgumentType]


def rollouts(
    dream: Dream,
    test: Test,
    temperature: float = 1.0,
    again: int = 0,
    actions: np.ndarray | None = None,
) -> tuple[np.ndarray, Signals]:
    """An imagined rollout from each moment: observations (H, M, n), and what the heads predict.

    Under the recorded actions, or others (H, M, ...). `again` gives other sampling noise.
    """
    seeds = test.seeds + 1000 * again
    obs, signals = dream.many(test.moments, seeds, len(test.valid), temperature, actions)
    return flat(dream, obs), signals


def run_again(dream: Dream, test: Test) -> np.ndarray:
    """The real environment from each moment with other random numbers, observations (H, M, n).

    Raises:
      ValueError: the environment cannot be set to a moment.
    """
    return flat(dream, dream.many_real(test.moments, test.seeds, len(test.valid)))


def errors(test: Test, predicted: np.ndarray) -> np.ndarray:
    """Squared error (H, M) of predictions that broadcast to (H, M, n)."""
    return ((predicted - test.real) ** 2 * test.counted).sum(-1)


def means(test: Test, error: np.ndarray) -> np.ndarray:
    """(h, 2): mean error at each step over the moments, and its 95 % half width.

    Up to the last step h that at least 5 moments reach. Moments of one episode are alike, so the
    intervals are a little too narrow.
    """
    reached = np.flatnonzero(test.valid.sum(1) >= 5)
    each = [error[h][test.valid[h]] for h in reached]
    return np.array([(x.mean(), Z * x.std(ddof=1) / math.sqrt(len(x))) for x in each])


def errors_figure(test: Test, lines: Mapping[str, np.ndarray]) -> tuple[Figure, str]:
    """Mean error of each predictor against imagined steps, with confidence intervals; words."""
    figure = Figure(figsize=(7.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    steps = np.arange(1, 1 + len(next(iter(lines.values()))))
    for number, (label, line) in enumerate(lines.items()):
        mean, half = line.T
        axes.plot(steps, mean, label=label, **style(number, len(steps)))
        axes.fill_between(steps, mean - half, mean + half, alpha=0.15, color=COLOURS[number])
    axes.set(xlabel="imagined steps", ylabel="squared error of the observation", ylim=(0, None))
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    at = sorted({0, len(steps) // 2, len(steps) - 1})
    words = (
        label + " " + ", ".join(f"{line[h][0]:.2f} ± {line[h][1]:.2f}" for h in at)
        for label, line in lines.items()
    )
    return figure, (
        f"Squared error against imagined steps, from {len(test.moments)} moments, with 95 % "
        f"confidence intervals. At steps {', '.join(str(h + 1) for h in at)}: {'; '.join(words)}."
    )


def predicted_reward(signals: Signals) -> np.ndarray:
    """(M,) sum of the predicted rewards, each weighted by the probability of getting there."""
    alive = np.cumprod(signals.cont, 0)[:-1]
    return (np.concatenate([np.ones_like(signals.cont[:1]), alive]) * signals.reward).sum(0)


def rewards_figure(
    predicted: np.ndarray, real: np.ndarray, misses: Mapping[str, float], horizon: int
) -> tuple[Figure, str]:
    """Real against predicted sums of rewards, one point per moment; words."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    noise = np.random.default_rng(0).uniform(-0.06, 0.06, len(real)) * max(1, np.ptp(real) / 4)
    both = np.array([min(predicted.min(), real.min()), max(predicted.max(), real.max())])
    axes.plot(both, both, color="0.5", linestyle=(0, (4, 3)), label="predicted = observed")
    axes.plot(predicted, real + noise, "o", color=COLOURS[0], alpha=0.5, markersize=4)
    axes.set(xlabel=f"predicted in {horizon} steps", ylabel="observed (jittered)")
    axes.legend(frameon=False)
    words = "; ".join(f"{label} {x:.2f}" for label, x in misses.items())
    return figure, (
        f"Observed against predicted sum of rewards within {horizon} steps, {len(real)} moments: "
        f"means {real.mean():.2f} observed, {predicted.mean():.2f} predicted. Mean squared error: "
        f"{words}."
    )


# The worst rollout


def parts(dream: Dream) -> dict[str, np.ndarray]:
    """Which of the n numbers belong to which part of an observation, as masks (n,).

    Planes of a small grid, ninths of an image, or single numbers.
    """
    spaces = sorted(dream.world.obs_space.items())
    total, begin, found = sum(space.size for _, space in spaces), 0, {}
    for key, space in spaces:
        for number, cells in enumerate(_masks(space.shape, space.size)):
            mask = np.zeros(total, bool)
            mask[begin : begin + space.size] = cells.reshape(-1)
            breakout = dream.agent.config.world == "minatar/breakout"
            found[PLANES[number] if breakout else f"{key} {number}"] = mask
        begin += space.size
    return found


def _masks(shape: tuple[int, ...], size: int) -> list[np.ndarray]:
    if len(shape) < 3:
        return [np.arange(size) == i for i in range(size)]
    h, w, c = shape
    if h < 20:
        return [np.broadcast_to(np.arange(c) == i, shape) for i in range(c)]
    y, x = np.mgrid[:h, :w]
    ninth = 3 * (3 * y // h) + 3 * x // w
    return [np.broadcast_to((ninth == i)[..., None], shape) for i in range(9)]


def by_part(dream: Dream, test: Test, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """{part: (M,) mean squared error per valid step}."""
    squared = (predicted - test.real) ** 2 * test.counted * test.valid[..., None]
    return {
        name: squared[..., mask].sum((0, 2)) / test.valid.sum(0)
        for name, mask in parts(dream).items()
    }


def resampled(dream: Dream, test: Test, moment: int, count: int) -> np.ndarray:
    """(count,) mean errors of rollouts from moment number `moment` with other sampling noise."""
    valid = test.valid[:, moment]
    seeds = 5000 + np.arange(count)
    obs, _ = dream.many(np.full(count, test.moments[moment]), seeds, len(valid))
    wrong = (flat(dream, obs) - test.real[:, moment : moment + 1]) ** 2 * test.counted[moment]
    return (wrong.sum(-1) * valid[:, None]).sum(0) / valid.sum()


def rerun(dream: Dream, test: Test, moment: int, count: int) -> np.ndarray:
    """(count,) mean errors of the real environment, run again from there with other randomness.

    Under the recorded actions: the errors of a perfect model that samples one future each time.

    Raises:
      ValueError: the environment cannot be set to a moment.
    """
    valid = test.valid[:, moment]
    seeds = 5000 + np.arange(count)
    obs = dream.many_real(np.full(count, test.moments[moment]), seeds, len(valid))
    wrong = (flat(dream, obs) - test.real[:, moment : moment + 1]) ** 2 * test.counted[moment]
    return (wrong.sum(-1) * valid[:, None]).sum(0) / valid.sum()


def median(values: np.ndarray) -> int:
    """The index of the median of values (M,)."""
    return int(np.argsort(values)[len(values) // 2])


def mean_error(test: Test, error: np.ndarray) -> np.ndarray:
    """(M,) mean error of each moment over its valid steps."""
    return (error * test.valid).sum(0) / test.valid.sum(0)
