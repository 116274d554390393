"""What so many minutes bring on this machine: updates, steps, and the score that others had there.

Expectations are published training curves, or our own where they say so; nothing is extrapolated.
Who replays each step less often than the authors of a curve has made fewer updates after as many
steps. Then two points of the curve hold the score between them: that after as many lived steps, and
that after as many replayed ones. Notebook 08.
"""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from dreamer_lite import worlds
from dreamer_lite.config import Config, make_config
from dreamer_lite.runs import run as runs

UPDATES = 20  # timed
ENOUGH = 0.9  # a plan that gets through this share of a curve's rise has minutes to spare


class Curve(NamedTuple):
    """A training curve: return against environment frames."""

    source: str
    train_ratio: float  # of the runs behind it
    points: tuple[tuple[float, float, float], ...]  # (thousands of frames, mean, spread of seeds)
    who: str = "others"

    def at(self, frames: float) -> tuple[float, float] | None:
        """(mean, spread) there, between the points on a straight line; None outside of them."""
        x, mean, spread = np.array(self.points).T
        if not 1e3 * x[0] <= frames <= 1e3 * x[-1]:
            return None
        return float(np.interp(frames / 1e3, x, mean)), float(np.interp(frames / 1e3, x, spread))

    def near(self, frames: float) -> tuple[float, float, float]:
        """(frames, mean, spread) there, or at the nearer end of the curve."""
        first, last = 1e3 * self.points[0][0], 1e3 * self.points[-1][0]
        inside = min(max(frames, first), last)
        return inside, *(self.at(inside) or (np.nan, np.nan))


_SCORES = "scores/ of github.com/danijar/dreamerv3"
PUBLISHED = {  # SPEC 18.1
    "dmc/walker-walk": Curve(
        f"5 seeds of the 2023 release, a model several times as large ({_SCORES})",
        512,
        (
            (10, 43, 5), (50, 289, 93), (100, 475, 157), (150, 738, 173),
            (200, 800, 75), (250, 890, 42), (300, 844, 112), (400, 932, 68), (490, 881, 78),
        ),
    ),
    "dmc/walker-walk/pixels": Curve(
        f"10 seeds of the 2024 release, 12 million parameters or more ({_SCORES})",
        512,
        (
            (10, 60, 6), (25, 240, 71), (50, 420, 103), (100, 639, 111), (150, 831, 100),
            (200, 875, 64), (250, 898, 49), (300, 916, 31), (400, 935, 10), (500, 944, 9),
            (750, 955, 7), (990, 963, 6),
        ),
    ),
    "atari/pong": Curve(
        f"Atari 100k, 5 seeds of the 2024 release ({_SCORES})",
        256,
        (
            (10, -20.2, 0.5), (25, -20.0, 0.4), (50, -20.9, 0.1), (100, -20.2, 0.6),
            (150, -15.0, 2.4), (200, -12.9, 1.8), (250, -11.0, 3.1), (300, -6.8, 4.7),
            (400, -3.9, 3.1),
        ),
    ),
    "atari/breakout": Curve(
        f"Atari 100k, 5 seeds of the 2024 release ({_SCORES})",
        256,
        (
            (10, 1.5, 0.2), (25, 1.7, 0.4), (50, 3.3, 0.8), (100, 4.9, 1.6), (150, 5.2, 0.5),
            (200, 6.0, 1.0), (250, 6.8, 0.8), (300, 7.8, 0.7), (400, 9.0, 1.8),
        ),
    ),
    "atari/pong@200m": Curve(
        f"Atari 200M, 6 seeds of the 2024 release, 200 million parameters ({_SCORES})",
        32,
        (
            (400, -20.6, 0.1), (800, -20.5, 0.2), (1200, -16.4, 1.7), (1600, -12.1, 2.6),
            (2000, -7.2, 4.6), (2800, 1.4, 4.0), (4000, 9.4, 4.7), (8000, 14.9, 1.2),
            (10_000, 16.6, 0.6), (20_000, 18.4, 0.9),
        ),
    ),
    "atari/breakout@200m": Curve(
        f"Atari 200M, 5 seeds of the 2024 release, 200 million parameters ({_SCORES})",
        32,
        (
            (400, 2.2, 0.2), (800, 3.2, 0.4), (1200, 5.5, 0.7), (1600, 8.9, 1.2),
            (2000, 12.7, 2.3), (2800, 17.4, 2.5), (4000, 25.1, 2.9), (8000, 81.9, 17.0),
            (10_000, 137.7, 30.0), (20_000, 244.7, 58.4),
        ),
    ),
}  # fmt: skip

# By world and size; each point the mean of the training episodes near it, and their spread.
OURS = {
    "dmc/walker-walk small": Curve(
        "agents/walker-walk.csv in assets, the spread is that of its episodes, not of seeds",
        128,
        (
            (10, 59, 33), (25, 175, 37), (50, 270, 22), (75, 318, 15), (100, 361, 32),
            (125, 382, 32), (150, 430, 21), (200, 509, 22), (250, 575, 32), (300, 677, 26),
            (350, 784, 35), (400, 898, 23), (450, 919, 7),
        ),
        "one seed of this very preset",
    ),
    "atari/road_runner pixels-cpu": Curve(
        "agents/road-runner.csv in assets, the spread is that of its games, not of seeds",
        32,
        (
            (10, 0, 0), (25, 0, 0), (50, 9, 14), (75, 462, 326), (100, 1727, 654),
            (125, 2356, 1708), (150, 1017, 460), (200, 2075, 817), (250, 2589, 2003),
            (300, 3362, 2381), (350, 3359, 2979), (400, 2648, 1629), (450, 1765, 1202),
            (500, 2631, 2017), (550, 4501, 1538), (600, 9453, 4946), (625, 9638, 5626),
        ),
        "one seed of this very preset",
    ),
}  # fmt: skip


class Plan(NamedTuple):
    """What a training of so many minutes comes to."""

    config: Config
    minutes: float
    seconds_per_update: float  # measured
    updates: int
    replayed_steps: int  # updates * batch * length
    agent_steps: int
    env_frames: int
    low: float  # the score that others had after as many replayed, or lived, steps; NaN: unknown
    high: float  # after as many of the other; equal to `low` where both are the same
    expected: str  # the same as a sentence, with spread and source


def sizes(world: str, platform: str = "") -> tuple[str, ...]:
    """Sizes worth timing for this world on a device of this platform, smallest first.

    By default JAX's own device. Each takes half a minute, most of it for compiling.
    """
    pixels = "pixels" in world or world.startswith("atari/")
    if world in worlds.names() or world.startswith("gym/"):
        return ("tiny",)
    if (platform or jax.default_backend()) != "cpu":
        return ("1m", "12m", "25m")
    if pixels:
        return ("pixels-cpu",)  # `1m` takes ten times as long, see assets/speed.md
    return ("small", "1m")


def seconds_per_update(config: Config, updates: int = UPDATES) -> float:
    """Seconds of one update and of living the rows that belong to it, measured here.

    Raises:
      ValueError: these settings cannot be run here, in one sentence.
    """
    driver = runs.make_driver(config, worlds.make(config.world))
    try:
        rows, each = config.schedule
        state = driver.init(config.seed)
        state, metrics = driver.advance(state, 1, config.steps_before_learning, each)
        jax.block_until_ready(metrics)
        times = -(-updates // each)
        begun = time.perf_counter()
        state, metrics = driver.advance(state, times, rows, each)
        jax.block_until_ready(metrics)
        return (time.perf_counter() - begun) / (times * each)
    finally:
        driver.close()


def plan(config: Config, minutes: float, seconds: float) -> Plan:
    """What `minutes` bring at `seconds` per update.

    Raises:
      ValueError: minutes or seconds are not above 0.
    """
    if minutes <= 0 or seconds <= 0:
        raise ValueError(
            f"minutes={minutes:g} and seconds={seconds:g}: both must be greater than 0."
        )
    updates = int(60 * minutes / seconds)
    replayed = updates * config.batch * config.length
    steps = int(replayed / config.train_ratio) + config.steps_before_learning * config.worlds
    frames = steps * repeat(config)
    scores = [mean for _, mean, _ in landmarks(config, replayed, frames).values()] or [np.nan]
    sentence = expectation(config, replayed, frames)
    return Plan(
        config, minutes, seconds, updates, replayed, steps, frames, scores[0], scores[-1], sentence
    )


def repeat(config: Config) -> int:
    """Environment frames per agent step."""
    return getattr(worlds.make(config.world), "repeat", 1)


def curve_of(config: Config) -> Curve | None:
    """The curve to compare a run with: one of this very size if there is one."""
    return OURS.get(f"{config.world} {config.size}") or PUBLISHED.get(config.world)


def landmarks(config: Config, replayed: int, lived: int) -> dict[str, tuple[float, float, float]]:
    """{"replayed": (frames, mean, spread), "lived": ...}: where a run would stand on its curve.

    After as many replayed steps as the curve's authors had, and after as many environment frames;
    the one with fewer frames first. Where the curve does not reach, its end; {} without a curve.
    """
    curve = curve_of(config)
    if curve is None:
        return {}
    before = config.steps_before_learning * config.worlds
    by_replay = (replayed / curve.train_ratio + before) * repeat(config)
    found = {"replayed": curve.near(by_replay), "lived": curve.near(lived)}
    return dict(sorted(found.items(), key=lambda item: item[1][0]))


def expectation(config: Config, replayed: int, lived: int) -> str:
    """What the curve to compare with has there, as a sentence; or that there is none."""
    curve = curve_of(config)
    if curve is None:
        return f"No curve is known for {config.world}: nothing is promised."
    points = landmarks(config, replayed, lived)
    (less, more), ((few, low, spread), (most, _, _)) = points.keys(), points.values()
    ours = config.train_ratio
    here = ", as here" if ours == curve.train_ratio else f"; here it is {ours:g}"
    source = f"{curve.source}, train ratio {curve.train_ratio:g}{here}"
    first, last = (1000 * curve.points[i][0] for i in (0, -1))
    if most == first:
        return (
            f"This does not reach the curve's first point, {low:.3g} ± {spread:.3g} at "
            f"{first:,.0f} frames: {source}."
        )

    def there(frames: float, mean: float, spread: float) -> str:
        where = f"{mean:.3g} ± {spread:.3g} at {frames:,.0f} frames"
        if frames == first:
            return f"less than {where}, where the curve begins"
        return f"{where}, where the curve ends" if frames == last else where

    at_less, at_more = (there(*point) for point in points.values())
    if most - few <= 0.01 * most:  # one moment, but for some rows
        return f"{curve.who.capitalize()} had {at_less}: {source}."
    return (
        f"After as many {less} steps {curve.who} had {at_less}; after as many {more} ones, "
        f"{at_more}: {source}."
    )


def survey(
    world: str,
    minutes: float,
    changes: Mapping[str, Any] | None = None,
    size: str = "",
    updates: int = UPDATES,
) -> list[Plan]:
    """A plan for each of `sizes`, or for `size` alone, each timed here over so many updates.

    Raises:
      ValueError: as `make_config` and `seconds_per_update`.
    """
    changes = dict(changes or {})
    found = []
    for name in (size,) if size else sizes(world):
        config = make_config(world, name, **changes)
        found.append(plan(config, minutes, seconds_per_update(config, updates)))
    return found


def choose(plans: list[Plan]) -> Plan:
    """The largest size that still gets through ENOUGH of its curve's rise, else the smallest.

    Larger networks learn more from as many steps (Hafner et al. 2025), so minutes to spare
    are for them; but a network that does not get to learn is no use. `plans` are sorted by size.
    """
    chosen = plans[0]
    for candidate in plans[1:]:
        curve = curve_of(candidate.config)
        if curve is not None:
            means = [mean for _, mean, _ in curve.points]
            if candidate.low >= means[0] + ENOUGH * (max(means) - means[0]):
                chosen = candidate
    return chosen


def describe(plan: Plan) -> str:
    """The plan in lines, with all meanings of step."""
    config = plan.config
    return "\n".join(
        [
            f"{config.world}, size {config.size}, train ratio {config.train_ratio:g}, on "
            f"{jax.devices()[0].device_kind}:",
            f"{plan.seconds_per_update:.3g} s an update, as measured here",
            f"{plan.minutes:g} minutes: {plan.updates:,} updates = {plan.replayed_steps:,} "
            f"replayed steps, {plan.agent_steps:,} agent steps = {plan.env_frames:,} "
            "environment frames",
            plan.expected,
        ]
    )
