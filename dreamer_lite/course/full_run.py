"""What notebook 09 needs around a long training: which run goes on, figures, a film, one line.

Everything here works for any environment; nothing is trained here.
"""

import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from dreamer_lite import assets
from dreamer_lite.agent.agent import Params
from dreamer_lite.config import Config
from dreamer_lite.course import planner
from dreamer_lite.evaluation import rollouts
from dreamer_lite.presets import SIZES
from dreamer_lite.runs import agents, places
from dreamer_lite.runs.agents import LoadedAgent
from dreamer_lite.show import images
from dreamer_lite.show.plots import COLOURS, style
from dreamer_lite.training.progress import mean_and_error
from dreamer_lite.worlds import AnyWorld

BUDGETS = (5, 15, 60, 240, 720)  # minutes
STEPS, WIDTH = 60, 160  # of a film: agent steps, every second is shown; pixels of each panel


def begun(world: str, seed: int, homes: Iterable[Path | None]) -> str:
    """The size of the newest run of this environment and seed in these folders; "" if none.

    A run that has begun goes on in its own size, whatever a plan would choose today.
    """
    ages = {}
    for folder in filter(None, homes):
        for size in SIZES:
            run = folder / f"{places.start(world)}{size}-s{seed}"
            if (run / "metrics.jsonl").exists():
                ages[size] = max(ages.get(size, 0.0), (run / "metrics.jsonl").stat().st_mtime)
    return max(ages, key=lambda size: ages[size]) if ages else ""


def plan_figure(plans: Sequence[planner.Plan], minutes: float) -> tuple[Figure, str]:
    """Return of earlier runs against minutes on this machine, one band per size; and its words."""
    figure = Figure(figsize=(7.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    words = []
    for number, plan in enumerate(plans):
        longer = [planner.plan(plan.config, m, plan.seconds_per_update) for m in BUDGETS]
        low, high = np.array([(p.low, p.high) for p in longer]).T
        label = f"size {plan.config.size}, {1 / plan.seconds_per_update:.2g} updates/s"
        axes.plot(BUDGETS, high, label=label, **style(number, len(BUDGETS)))
        axes.fill_between(BUDGETS, low, high, alpha=0.15, color=COLOURS[number])
        parts = (f"{m} minutes {a:.3g} to {b:.3g}" for m, a, b in zip(BUDGETS, low, high))
        words.append(f"{label}: {', '.join(parts)}")
    axes.axvline(minutes, color="0.4", linestyle=(0, (1, 3)), label=f"{minutes:g} minutes")
    axes.set(xscale="log", xlabel="minutes on this machine", ylabel="return of earlier runs")
    axes.set_xticks(BUDGETS, [str(m) for m in BUDGETS])
    axes.minorticks_off()
    axes.legend(frameon=False)
    return figure, (
        "Return of earlier runs against minutes on this machine. Each band reaches from their "
        "return after as many replayed steps to that after as many environment frames. "
        f"{'; '.join(words)}."
    )


def evaluate(
    config: Config, players: Mapping[str, Params | None], world: AnyWorld, episodes: int, seed: int
) -> dict[str, np.ndarray]:
    """Returns (episodes,) of each player; prints a line when one has finished."""
    returns = {}
    for label, params in players.items():
        begun = time.perf_counter()
        returns[label] = found = rollouts.evaluate(config, params, world, episodes, seed)
        mean, error = mean_and_error(found)
        took = time.perf_counter() - begun
        print(f"{label:10} {mean:8.1f} ± {error:.1f}   {episodes} episodes in {took:.0f} s")
    return returns


def returns_figure(returns: Mapping[str, np.ndarray]) -> tuple[Figure, str]:
    """Mean return of each player with its 95 % confidence interval, and every episode; words."""
    figure = Figure(figsize=(6.4, 2.4), layout="constrained")
    axes = figure.add_subplot()
    words = []
    for number, (label, each) in enumerate(returns.items()):
        mean, error = mean_and_error(each)
        hatch = ("", "//", "..")[number % 3]
        axes.barh(number, mean, 0.6, xerr=1.96 * error, color=COLOURS[0], hatch=hatch)
        axes.plot(each, np.full(len(each), number), "k|", markersize=10)
        words.append(f"{label} {mean:.1f} ± {error:.1f}")
    axes.set_yticks(range(len(returns)), list(returns))
    axes.invert_yaxis()
    axes.set(xlabel="return; strokes: single episodes, bars: 95 % confidence intervals")
    count = len(next(iter(returns.values())))
    return figure, f"Mean return and standard error of {count} episodes: {'; '.join(words)}."


def record(agent: LoadedAgent, world: AnyWorld, seed: int, drawn: bool = True) -> np.ndarray:
    """A whole episode with captions, (n, h, w, 3) uint8; not `drawn`: 60 steps, by observations."""
    found = rollouts.record(agent.config, agent.params, world, seed, film=drawn)
    part: Any = found if drawn else jax.tree.map(lambda x: x[:STEPS], found)
    return rollouts.annotated_frames(world, part)


def shipped(world: str) -> LoadedAgent | None:
    """The agent of this environment that comes with the library, if there is one."""
    found = (agents.load(name) for name in assets.agents())
    return next((agent for agent in found if agent.config.world == world), None)


def film(
    world: AnyWorld, agents: Mapping[str, tuple[Config, Params]], seed: int, drawn: bool = True
) -> tuple[np.ndarray, str]:
    """Every second of the first STEPS steps of an episode of each agent side by side, and words.

    Frames (n, h, w, 3) uint8. Without `drawn`, environments on the host are shown by their
    observations, which is faster.
    """
    panels, words = [], []
    for label, (config, params) in agents.items():
        recording = rollouts.record(config, params, world, seed, film=drawn)
        start: Any = jax.tree.map(lambda x: x[:STEPS], recording)
        frames = rollouts.annotated_frames(world, start)[::2]
        title = images.caption(frames.shape[2], 32, label, "")
        frames = np.concatenate([np.repeat(title[None], len(frames), 0), frames], 1)
        still = np.repeat(frames[-1:], STEPS // 2 - len(frames), 0)  # an episode that ended early
        step = max(1, frames.shape[2] // WIDTH)
        panels.append(np.concatenate([frames, still])[:, ::step, ::step])
        words.append(f"{label} (return of the whole episode {recording.score[-1]:.0f})")
    return images.pad_to_even(np.concatenate(panels, 2)), (
        f"Film of the first {STEPS} agent steps of an episode in {world.name}, from left to right: "
        f"{', '.join(words)}."
    )


def contents(folders: Iterable[Path | None]) -> str:
    """The files of these folders and their sizes, one line each."""
    lines = []
    for place in filter(None, folders):
        lines.append(str(place))
        for file in sorted(place.iterdir()):
            parts = [file, *file.rglob("*")] if file.is_dir() else [file]
            size = sum(f.stat().st_size for f in parts if f.is_file())
            lines.append(f"  {size / 1e6:8.2f} MB  {file.name}")
    return "\n".join(lines)


def measured(config: Config, summary: Mapping[str, Any], returns: np.ndarray) -> str:
    """One line with what this run took and brought, to be sent to the authors."""
    device = jax.devices()[0]
    mean, error = mean_and_error(returns)
    return (
        f"measured: {config.world} {config.size}, seed {config.seed}, {device.platform} "
        f"({device.device_kind}), jax {jax.__version__}, Python {platform.python_version()}: "
        f"{summary['updates']} updates, {summary['env_frames']} frames, "
        f"{summary['wall_seconds'] / 60:.1f} minutes, return {mean:.1f} ± {error:.1f} "
        f"({len(returns)} episodes)"
    )
