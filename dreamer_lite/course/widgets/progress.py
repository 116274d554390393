"""What the dashboard shows: the progress of a run in words, as curves, and what it imagines."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from dreamer_lite.agent import behavior
from dreamer_lite.agent.agent import Params, make_agent
from dreamer_lite.agent.rssm import State
from dreamer_lite.config import Config
from dreamer_lite.evaluation.open_loop import decode
from dreamer_lite.runs.records import Record
from dreamer_lite.show import plots
from dreamer_lite.training.progress import Limits
from dreamer_lite.worlds import AnyWorld

AHEAD = 7  # imagined steps in the strip
RECENT = 5  # records over which the speed is averaged


class Beside(NamedTuple):
    """A stored curve to draw beside a return: n points of S seeds."""

    label: str
    updates: np.ndarray  # (n,)
    returns: np.ndarray  # (n, S)


@functools.lru_cache(maxsize=8)
def make_preview(config: Config, world: AnyWorld) -> Callable[..., dict[str, jax.Array]]:
    """preview(params, state (W, ...), key): environment 0 now, then AHEAD imagined steps.

    Decoded observations (AHEAD+1, ...) by name; the actions are the policy's own.
    """
    graph = make_agent(config, world.obs_space, world.action_space)

    @jax.jit
    def preview(params: Params, state: State, key: jax.Array) -> dict[str, jax.Array]:
        agent = graph.merge(params)
        start = jax.tree.map(lambda x: x[:1], state)
        states, _ = behavior.imagine(agent.model, agent.actor, start, AHEAD, key)
        return {name: x[:, 0] for name, x in decode(agent, states).items()}

    return preview


def describe(state: str, records: Sequence[Record], limits: Limits, free_nats: float) -> str:
    """How far a run with these limits is, its speed, return and losses, in one sentence."""
    if not records:
        compiles = ": it compiles first, for about 20 s on 2 CPU cores"
        return state + (compiles if state == "starting" else "")
    last = records[-1]
    speed = np.mean([record["updates_per_second"] for record in records[-RECENT:]])
    text, left = f"{state}, update {last['updates']:,}", []
    if limits.updates is not None:
        text += f" of {limits.updates:,}"
        left.append((limits.updates - last["updates"]) / max(speed, 1e-9))
    if limits.minutes is not None:
        text += f", minute {last['seconds'] / 60:.1f} of {limits.minutes:g}"
        left.append(60 * limits.minutes - last["seconds"])
    text += f", {speed:.1f} updates/s"
    if state == "running" and len(records) > 1 and left:
        text += f", about {duration(max(0.0, min(left)))} left"
    if plots.fewest_episodes(last):
        text += f"; return {last['return_mean']:.2f} ± {last['return_stderr']:.2f}"
    else:
        text += f"; {plots.NO_EPISODE}"
    losses = [name for name in last if name.startswith("loss/") and name not in plots.BEHAVIOUR]
    parts = ", ".join(f"{name.removeprefix('loss/')} {last[name]:.3g}" for name in losses)
    return f"{text}; losses in nats: {parts} ({free_nats:g} free)"


def draw(
    title: str,
    records: Sequence[Record],
    free_nats: float,
    images: Sequence[np.ndarray],
    beside: Beside | None = None,
) -> Figure:
    """Return and losses against updates, and below them the images of a preview, if any."""
    figure = Figure(figsize=(9.6, 5.2), layout="constrained")
    figure.suptitle(plots.plain(title), fontsize=10)
    grid = figure.add_gridspec(2, 1, height_ratios=(2.3, 1))
    left, right = (figure.add_subplot(cell) for cell in grid[0].subgridspec(1, 2))
    draw_return(left, records, beside)
    plots.draw_losses(right, records, free_nats)
    right.legend(frameon=False, ncols=2, fontsize=8, loc="best")
    draw_strip(figure, grid[1], images)
    return figure


def draw_strip(figure: Figure, place: Any, images: Sequence[np.ndarray]) -> None:
    """The images of a preview side by side; empty places where there are none."""
    strip = [figure.add_subplot(cell) for cell in place.subgridspec(1, AHEAD + 1)]
    for axes in strip:
        axes.axis("off")
    for step, (axes, image) in enumerate(zip(strip, images)):
        axes.imshow(image)
        axes.set_title(f"imagined {step}" if step else "reconstruction", fontsize=8)


def draw_return(axes: Any, records: Sequence[Record], beside: Beside | None = None) -> None:
    """The mean return of the latest episodes and its interval; a stored curve in grey."""
    played = plots.with_episodes(records)
    if beside is not None:
        axes.plot(beside.updates, beside.returns.mean(1), "--", color="0.4", label=beside.label)
        low, high = beside.returns.min(1), beside.returns.max(1)
        axes.fill_between(beside.updates, low, high, alpha=0.15, color="0.4")
        axes.legend(frameon=False, fontsize=8)
    updates = plots.column(played, "updates")
    low, high = plots.band(played, "return_mean")
    axes.plot(updates, plots.column(played, "return_mean"), **plots.style(0, len(updates)))
    axes.fill_between(updates, low, high, alpha=0.2, color=plots.COLOURS[0])
    if not played:
        plots.say_no_episode(axes)
    plots.decorate(axes, "updates", "return of the latest episodes")


def read_records(folder: Path) -> list[Record]:
    """The records in a run folder."""
    file = folder / "metrics.jsonl"
    lines = file.read_bytes().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


def in_a_sentence(error: BaseException) -> str:
    """What went wrong, in one line."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    plain = isinstance(error, ValueError | FloatingPointError | OSError)
    return first if plain else f"{type(error).__name__}: {first}"


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds from two minutes on."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
