"""What so many minutes bring on this machine: updates, steps, and the score that others had there.

Expectations are published training curves, or our own where they say so; nothing is extrapolated.
Notebook 08.
"""

import time
from typing import NamedTuple

import jax
import numpy as np

from dreamer_lite import runs, worlds
from dreamer_lite.config import Config

UPDATES = 20  # timed


class Curve(NamedTuple):
    """A training curve that others had: return against environment frames."""

    source: str
    points: tuple[tuple[float, float, float], ...]  # (thousands of frames, mean, spread of seeds)

    def at(self, frames: float) -> tuple[float, float] | None:
        """(mean, spread) there, between the points on a straight line; None outside of them."""
        x, mean, spread = np.array(self.points).T
        if not 1e3 * x[0] <= frames <= 1e3 * x[-1]:
            return None
        return float(np.interp(frames / 1e3, x, mean)), float(np.interp(frames / 1e3, x, spread))


_SCORES = "scores/ of github.com/danijar/dreamerv3"
PUBLISHED = {  # SPEC 18.1
    "dmc/walker-walk": Curve(
        f"5 seeds of the 2023 release, a model several times as large ({_SCORES})",
        (
            (10, 43, 5), (50, 289, 93), (100, 475, 157), (150, 738, 173),
            (200, 800, 75), (250, 890, 42), (300, 844, 112), (400, 932, 68), (490, 881, 78),
        ),
    ),
    "dmc/walker-walk/pixels": Curve(
        f"10 seeds of the 2024 release, 12 million parameters or more ({_SCORES})",
        (
            (10, 60, 6), (25, 240, 71), (50, 420, 103), (100, 639, 111), (150, 831, 100),
            (200, 875, 64), (250, 898, 49), (300, 916, 31), (400, 935, 10), (500, 944, 9),
            (750, 955, 7), (990, 963, 6),
        ),
    ),
    "atari/pong": Curve(
        f"Atari 100k, 5 seeds of the 2024 release ({_SCORES})",
        (
            (10, -20.2, 0.5), (25, -20.0, 0.4), (50, -20.9, 0.1), (100, -20.2, 0.6),
            (150, -15.0, 2.4), (200, -12.9, 1.8), (250, -11.0, 3.1), (300, -6.8, 4.7),
            (400, -3.9, 3.1),
        ),
    ),
    "atari/breakout": Curve(
        f"Atari 100k, 5 seeds of the 2024 release ({_SCORES})",
        (
            (10, 1.5, 0.2), (25, 1.7, 0.4), (50, 3.3, 0.8), (100, 4.9, 1.6), (150, 5.2, 0.5),
            (200, 6.0, 1.0), (250, 6.8, 0.8), (300, 7.8, 0.7), (400, 9.0, 1.8),
        ),
    ),
    "atari/pong@200m": Curve(
        f"Atari 200M, 6 seeds of the 2024 release, 200 million parameters ({_SCORES})",
        (
            (400, -20.6, 0.1), (800, -20.5, 0.2), (1200, -16.4, 1.7), (1600, -12.1, 2.6),
            (2000, -7.2, 4.6), (2800, 1.4, 4.0), (4000, 9.4, 4.7), (8000, 14.9, 1.2),
            (10_000, 16.6, 0.6), (20_000, 18.4, 0.9),
        ),
    ),
    "atari/breakout@200m": Curve(
        f"Atari 200M, 5 seeds of the 2024 release, 200 million parameters ({_SCORES})",
        (
            (400, 2.2, 0.2), (800, 3.2, 0.4), (1200, 5.5, 0.7), (1600, 8.9, 1.2),
            (2000, 12.7, 2.3), (2800, 17.4, 2.5), (4000, 25.1, 2.9), (8000, 81.9, 17.0),
            (10_000, 137.7, 30.0), (20_000, 244.7, 58.4),
        ),
    ),
}  # fmt: skip


class Plan(NamedTuple):
    """What a training of so many minutes comes to."""

    minutes: float
    seconds_per_update: float
    updates: int
    agent_steps: int
    env_frames: int
    expected: str  # a sentence


def seconds_per_update(config: Config, updates: int = UPDATES) -> float:
    """Seconds of one update and of living the rows that belong to it, measured here.

    Raises:
      ValueError: these settings cannot be run here, in one sentence.
    """
    driver = runs.make_driver(config, worlds.make(config.world))
    try:
        rows, each = config.schedule
        state = driver.init(config.seed)
        state, metrics = driver.advance(state, 1, config.rows_before_learning, each)
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
    steps = int(updates * config.batch * config.length / config.train_ratio)
    steps += config.rows_before_learning * config.worlds
    frames = steps * getattr(worlds.make(config.world), "repeat", 1)
    return Plan(minutes, seconds, updates, steps, frames, expectation(config.world, frames))


def expectation(world: str, frames: int) -> str:
    """What a published curve has at so many frames, as a sentence; or that there is none."""
    curve = PUBLISHED.get(world)
    if curve is None:
        return f"No published curve is known for {world}: nothing is promised."
    found = curve.at(frames)
    if found is None:
        (first, low, _), (last, high, _) = curve.points[0], curve.points[-1]
        return (
            f"{frames:,} frames lie outside of the published curve, which goes from {low:g} at "
            f"{1000 * first:,.0f} to {high:g} at {1000 * last:,.0f} frames: {curve.source}."
        )
    mean, spread = found
    return f"At {frames:,} frames others had {mean:.3g} ± {spread:.3g}: {curve.source}."


def describe(config: Config, plan: Plan) -> str:
    """The plan in lines, with all three meanings of step."""
    return "\n".join(
        [
            f"{config.world}, size {config.size}, train ratio {config.train_ratio:g}, on "
            f"{jax.devices()[0].device_kind}:",
            f"{plan.seconds_per_update:.3g} s an update, measured over {UPDATES} of them here",
            f"{plan.minutes:g} minutes: {plan.updates:,} updates = "
            f"{plan.updates * config.batch * config.length:,} replayed steps = "
            f"{plan.agent_steps:,} agent steps = {plan.env_frames:,} environment frames",
            plan.expected,
        ]
    )
