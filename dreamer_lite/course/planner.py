"""What a time budget buys on this machine: updates, steps, and the return that others had then.

The expected returns are read off published training curves, or off our own where the text says so;
nothing is extrapolated. A run with a lower train ratio than the curve's has made fewer updates
after as many environment steps. Then two points of the curve bracket its return: the one after as
many collected steps, and the one after as many replayed steps. Notebook 09.
"""

import functools
import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from dreamer_lite import assets, worlds
from dreamer_lite.config import Config
from dreamer_lite.presets import make_config
from dreamer_lite.runs import run as runs

UPDATES = 20  # timed
ENOUGH = 0.9  # a plan that reaches this fraction of a curve's rise has minutes to spare

# (environment, "cpu" or "gpu"): minutes after which there is something to see. CPUs: measured, on
# one or two cores. GPUs: `estimated_seconds`, until somebody has measured them.
MINUTES = {
    ("dmc/walker-walk", "cpu"): 30.0,
    ("dmc/walker-walk", "gpu"): 25.0,
    ("atari/road_runner", "cpu"): 20.0,
    ("atari/road_runner", "gpu"): 10.0,
    ("atari/pong", "cpu"): 115.0,
    ("atari/pong", "gpu"): 10.0,
    ("atari/breakout", "cpu"): 122.0,
    ("atari/breakout", "gpu"): 10.0,
}
OTHERS = 60.0  # minutes

# (environment or its family, size): kernel launches of an update compiled for a T4, see "Programs
# for GPUs" in assets/speed.md, and billions of floating-point operations in its matrix products.
COMPILED = {
    ("dmc", "small"): (2_001, 5.2),
    ("dmc", "1m"): (3_043, 31.0),
    ("atari", "pixels-cpu"): (1_477, 4.5),
    ("atari", "1m"): (3_127, 96.4),
}
LAUNCH = 5e-6  # seconds a launch: what is usual, not measured here
RATE = 2e12  # operations per second, a quarter of a T4's peak in float32
AROUND = 0.010  # seconds of acting and of the simulator beside an update: assumed


class ReferenceCurve(NamedTuple):
    """A training curve: return against environment frames."""

    source: str
    train_ratio: float  # of the runs behind it
    points: list[tuple[float, float, float]]  # (thousands of frames, mean, spread)
    who: str = "others"

    def at(self, frames: float) -> tuple[float, float] | None:
        """(mean, spread) there, interpolated linearly between the points; None outside of them."""
        inside, mean, spread = self.near(frames)
        return (mean, spread) if inside == frames else None

    def near(self, frames: float) -> tuple[float, float, float]:
        """(frames, mean, spread) there, or at the nearer end of the curve."""
        x, mean, spread = np.array(self.points).T
        inside = min(max(frames, 1e3 * x[0]), 1e3 * x[-1])
        mean, spread = (float(np.interp(inside / 1e3, x, values)) for values in (mean, spread))
        return float(inside), mean, spread


@functools.cache
def references() -> dict[str, ReferenceCurve]:
    """The curves of assets/curves/returns_by_frames.json.

    Published ones by environment ("atari/pong"), our own by environment and size ("dmc/walker-walk
    small").
    """
    text = assets.path("curves/returns_by_frames.json").read_text(encoding="utf-8")
    return {
        name: ReferenceCurve(**{key: curve[key] for key in ReferenceCurve._fields})
        for name, curve in json.loads(text)["curves"].items()
    }


class Plan(NamedTuple):
    """What a training of so many minutes amounts to."""

    config: Config
    minutes: float
    seconds_per_update: float  # measured
    updates: int
    replayed_steps: int  # updates * batch * length
    agent_steps: int
    env_frames: int
    low: float  # return of the curve at the earlier of two points, see `landmarks`; NaN: unknown
    high: float  # at the later one; equal to `low` where both are the same
    expected: str  # the same as a sentence, with spread and source


def sizes(world: str, platform: str = "") -> tuple[str, ...]:
    """Sizes worth timing for this environment on a device of this platform, smallest first.

    By default JAX's own device. Timing a size takes half a minute, mostly for compilation.
    """
    if world in worlds.names() or world.startswith("gym/"):
        return ("tiny",)
    small = "pixels-cpu" if "pixels" in world or world.startswith("atari/") else "small"
    if (platform or jax.default_backend()) != "cpu":
        # first the size with which we have learnt it on a CPU, where we have
        return (small, "1m") if f"{world} {small}" in references() else ("1m", "12m", "25m")
    # with images `1m` takes a CPU ten times as long, see assets/speed.md
    return (small,) if small == "pixels-cpu" else (small, "1m")


def minutes_for(world: str, platform: str = "") -> float:
    """Minutes after which there is something to see, on a device of this platform."""
    kind = "cpu" if (platform or jax.default_backend()) == "cpu" else "gpu"
    return MINUTES.get((world, kind), OTHERS)


def estimated_seconds(config: Config) -> float:
    """An estimate of the seconds per update on a T4, acting and simulator included; NaN: unknown.

    Launches of the compiled program at LAUNCH each, floating-point operations at RATE, and AROUND.
    It says nothing about other settings than those of the presets.
    """
    compiled = COMPILED.get((config.world.split("/")[0], config.size))
    if compiled is None or "pixels" in config.world:
        return np.nan
    launches, billions = compiled
    return launches * LAUNCH + billions * 1e9 / RATE + AROUND


def seconds_per_update(config: Config, updates: int = UPDATES) -> float:
    """Seconds of one update and of collecting the steps that belong to it, measured here.

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
    """What `minutes` amount to at `seconds` per update.

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


def curve_of(config: Config) -> ReferenceCurve | None:
    """The curve to compare a run with: one of the same size if there is one."""
    curves = references()
    return curves.get(f"{config.world} {config.size}") or curves.get(config.world)


def landmarks(config: Config, replayed: int, frames: int) -> dict[str, tuple[float, float, float]]:
    """{"replayed": (frames, mean, spread), "collected": ...}: two points of the run's curve.

    Its points after as many replayed steps and after as many environment frames as the run has, or
    the nearest end of the curve; the one with fewer frames comes first. {} without a curve.
    """
    curve = curve_of(config)
    if curve is None:
        return {}
    before = config.steps_before_learning * config.worlds
    by_replay = (replayed / curve.train_ratio + before) * repeat(config)
    found = {"replayed": curve.near(by_replay), "collected": curve.near(frames)}
    return dict(sorted(found.items(), key=lambda item: item[1][0]))


def expectation(config: Config, replayed: int, frames: int) -> str:
    """The return of the curve there, as a sentence; or that no curve is known."""
    curve = curve_of(config)
    if curve is None:
        return f"No curve is known for {config.world}: nothing is promised."
    points = landmarks(config, replayed, frames)
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
    if most - few <= 0.01 * most:  # the same point, up to a few steps
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
    """The largest size that reaches ENOUGH of its curve's rise, and no less than a smaller one.

    Larger networks learn more from as many steps (Hafner et al. 2025), but only if the time
    suffices for the updates. Where none does so, the smallest. `plans` are sorted by size.
    """
    chosen = plans[0]
    for candidate in plans[1:]:
        curve = curve_of(candidate.config)
        if curve is not None:
            means = [mean for _, mean, _ in curve.points]
            enough = candidate.low >= means[0] + ENOUGH * (max(means) - means[0])
            if enough and not candidate.low < chosen.low:
                chosen = candidate
    return chosen


def describe(plan: Plan) -> str:
    """The plan in four lines, which tell updates, replayed steps, agent steps and frames apart."""
    config = plan.config
    return "\n".join(
        [
            f"{config.world}, size {config.size}, train ratio {config.train_ratio:g}, on "
            f"{jax.devices()[0].device_kind}:",
            f"{plan.seconds_per_update:.3g} s per update, measured here",
            f"{plan.minutes:g} minutes: {plan.updates:,} updates = {plan.replayed_steps:,} "
            f"replayed steps, {plan.agent_steps:,} agent steps = {plan.env_frames:,} "
            "environment frames",
            plan.expected,
        ]
    )
