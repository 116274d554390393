"""Figures of runs, each with a description in words for readers who cannot see it.

Drawn on `matplotlib.figure.Figure`, never through pyplot: no window, no global state, safe in
threads. Lines differ in colour, in dashes and in markers.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Record = Mapping[str, Any]  # a line of metrics.jsonl, see `progress.make_record`
Run = tuple[str, Sequence[Record]]  # label, records

# Okabe and Ito's palette, but brown and violet for its orange and sky blue, too pale on white.
COLOURS = (
    "#0072B2",  # blue
    "#D55E00",  # vermilion
    "#009E73",  # green
    "#CC79A7",  # purple
    "#785024",  # brown
    "#8878F4",  # violet
    "#000000",
)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)))
MARKERS = "osD^vPX"
POINTS = 12  # markers on a line
# What the return's curve is drawn from.
NO_EPISODE = "no episode has ended yet"
COLUMNS = ("updates", "agent_steps", "seconds", "episodes", "return_mean", "return_stderr")


def style(number: int, points: int) -> dict:
    """Colour, dashes and markers of line `number`, which has so many points."""
    return dict(
        color=COLOURS[number % len(COLOURS)],
        linestyle=DASHES[number % len(DASHES)],
        marker=MARKERS[number % len(MARKERS)],
        markevery=max(1, points // POINTS),
        markersize=4.5,
        linewidth=1.8,
    )


def curves(runs: Sequence[Run]) -> Figure:
    """The return of the training episodes against agent steps and against wall time.

    The band is one standard error; of a run of several seeds, around their mean, it goes from the
    lowest to the highest seed. A single run gets its losses below (see `draw_losses`).

    Raises:
      ValueError: no runs, or one without records.
    """
    check_runs(runs)
    alone = len(runs) == 1
    figure = Figure(figsize=(9.6, 6.8 if alone else 3.8), layout="constrained")
    grid = figure.add_gridspec(2 if alone else 1, 2)
    by_steps, by_time = (figure.add_subplot(grid[0, i]) for i in range(2))
    for number, (label, records) in enumerate(runs):
        label = plain(label) + in_brackets(records[-1])
        records = with_episodes(records)
        label += "" if records else f" ({NO_EPISODE})"
        mean, (low, high) = column(records, "return_mean"), band(records, "return_mean")
        for axes, x in (
            (by_steps, column(records, "agent_steps") / 1000),
            (by_time, column(records, "seconds") / 60),
        ):
            axes.plot(x, mean, label=label, **style(number, len(x)))
            axes.fill_between(x, low, high, alpha=0.2, color=COLOURS[number % 7])
        if alone and not records:
            say_no_episode(by_steps, by_time)
    decorate(by_steps, "agent steps (thousands)", "return of the latest episodes")
    decorate(by_time, "wall time (minutes)", "return of the latest episodes")
    if len(runs) > 1:
        by_steps.legend(frameon=False)
    else:
        figure.suptitle(plain(runs[0][0]) + in_brackets(runs[0][1][-1]), fontsize=12)
        draw_losses(figure.add_subplot(grid[1, :]), runs[0][1])
    return figure


def say_no_episode(*panels: Axes) -> None:
    """Writes into empty panels why they are empty."""
    for axes in panels:
        axes.text(0.5, 0.5, NO_EPISODE, ha="center", va="center", transform=axes.transAxes)


def as_csv(runs: Sequence[Run]) -> str:
    """The returns that `curves` draws: a line a record, with the run's label in the first column.

    Raises ValueError for no runs, or one without records.
    """
    check_runs(runs)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["run", *COLUMNS])
    for label, records in runs:
        for record in records:
            shown = COLUMNS if fewest_episodes(record) else COLUMNS[:4]  # no return yet: empty
            values = [f"{record[name]:.7g}" if name in shown else "" for name in COLUMNS]
            table.writerow([label, *values])
    return text.getvalue()


def losses(label: str, records: Sequence[Record], free_nats: float = 1.0) -> Figure:
    """The world model's losses of one run against updates. Raises ValueError without records."""
    check_runs([(label, records)])
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    axes = figure.add_subplot()
    draw_losses(axes, records, free_nats)
    axes.set_title(plain(label) + in_brackets(records[-1]))
    return figure


# Not of the world model: the curves of the behaviour's losses say little.
BEHAVIOUR = {"loss/policy", "loss/value", "loss/replay_value", "loss/total", "loss/rep"}


def draw_losses(axes: Axes, records: Sequence[Record], free_nats: float = 1.0) -> None:
    """The world model's losses on a log scale, with the line of the free nats.

    `dyn` cannot fall below that line: the KL divergence is clipped there (Hafner et al. 2025,
    "World model learning"). `rep` has the same value, and so is left out. Of several seeds, the
    bands go from the lowest to the highest.
    """
    names = [name for name in records[-1] if name.startswith("loss/") and name not in BEHAVIOUR]
    updates = column(records, "updates")
    for number, name in enumerate(names):
        y = np.maximum(column(records, name), 1e-6)
        axes.plot(updates, y, label=name.removeprefix("loss/"), **style(number, len(y)))
        if "seeds" in records[-1]:
            low, high = (np.maximum(edge, 1e-6) for edge in band(records, name))
            axes.fill_between(updates, low, high, alpha=0.2, color=COLOURS[number % 7])
    line = axes.axhline(free_nats, color="0.4", linewidth=1.2, linestyle=(0, (1, 3)))
    line.set_label(f"free nats: {free_nats:g}")
    axes.set_yscale("log")
    decorate(axes, "updates", "loss (nats, log scale)")
    axes.legend(frameon=False, ncols=len(names) + 1, loc="best", fontsize=9)


def describe_curves(runs: Sequence[Run]) -> str:
    """A description of `curves`, one sentence per run; of several seeds also their spread.

    Raises ValueError as `curves` does.
    """
    check_runs(runs)
    lines = []
    for label, records in runs:
        last, records = records[-1], with_episodes(records)
        if not records:
            lines.append(
                f"{label}: {NO_EPISODE} after {last['agent_steps']:,} agent steps, "
                f"{last['updates']:,} updates and {last['seconds'] / 60:.1f} minutes."
            )
            continue
        last = records[-1]
        best = max(records, key=lambda record: record["return_mean"])
        lines.append(
            f"{label}: return {last['return_mean']:.2f} ± {last['return_stderr']:.2f} after "
            f"{last['agent_steps']:,} agent steps, {last['updates']:,} updates and "
            f"{last['seconds'] / 60:.1f} minutes; it began at {records[0]['return_mean']:.2f}, "
            f"its best was {best['return_mean']:.2f} at {best['seconds'] / 60:.1f} minutes."
            + describe_spread(last)
        )
    return "\n".join(lines)


def describe_spread(record: Record) -> str:
    """How far the seeds are apart in returns and losses; nothing for a run of one."""
    if "seeds" not in record:
        return ""
    own = record["seeds"]
    names = [name for name in own if name.startswith("loss/") and name not in BEHAVIOUR]
    spread = ", ".join(
        f"{name.removeprefix('loss/')} {min(own[name]):.2f} to {max(own[name]):.2f}"
        for name in ("return_mean", *names)
    ).replace("return_mean", "return")
    return f" These are means of {len(own['return_mean'])} seeds, which are apart by: {spread}."


def in_brackets(record: Record) -> str:
    """What a label adds where the line is the mean of several seeds."""
    if "seeds" not in record:
        return ""
    return f" (mean of {len(record['seeds']['return_mean'])} seeds; band: lowest to highest)"


def with_episodes(records: Sequence[Record]) -> list[Record]:
    """The records from the first finished episode on; before it the return of 0 has no meaning."""
    return [record for record in records if fewest_episodes(record)]


def fewest_episodes(record: Record) -> int:
    """Finished episodes, of the seed that has the fewest."""
    return min(record["seeds"]["episodes"]) if "seeds" in record else record["episodes"]


def band(records: Sequence[Record], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge (n,) of a metric: lowest and highest seed, or a return's error."""
    if records and "seeds" in records[-1]:
        none = [np.nan] * len(records[-1]["seeds"]["return_mean"])
        own = np.array([record["seeds"].get(name, none) for record in records], np.float64)
        return own.min(1), own.max(1)
    mean, error = column(records, name), column(records, "return_stderr")
    return mean - error, mean + error


def column(records: Sequence[Record], name: str) -> np.ndarray:
    """One metric of all records, (n,); NaN where a record does not have it."""
    return np.array([record.get(name, np.nan) for record in records], np.float64)


def plain(name: str) -> str:
    """A name for a figure: no mathematics between dollars, nothing that cannot be drawn.

    Matplotlib leaves names that begin with an underscore out of legends.
    """
    text = "".join(x if x.isprintable() else "?" for x in name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def decorate(axes: Axes, x: str, y: str) -> None:
    """Labels, a faint grid, no box."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def is_record(record: Any, first: Any) -> bool:
    """Whether a line of metrics.jsonl can be drawn in one curve with its first line."""
    if not isinstance(record, dict) or not all(is_number(record.get(name)) for name in COLUMNS):
        return False
    if not all(is_number(x) for name, x in record.items() if name.startswith("loss/")):
        return False
    if ("seeds" in record) != ("seeds" in first):
        return False
    if "seeds" not in record:
        return True
    own, agents = record["seeds"], first["seeds"]
    return (
        isinstance(own, dict)
        and {"return_mean", "episodes"} <= own.keys()
        and all(isinstance(values, list) and all(map(is_number, values)) for values in own.values())
        and {len(values) for values in own.values()} == {len(agents["return_mean"])} != {0}
        and {name for name in own if name.startswith("loss/")} <= record.keys()
    )


def is_number(value: Any) -> bool:
    """Whether it is a number that a figure has room for."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def check_runs(runs: Sequence[Run]) -> None:
    if not runs:
        raise ValueError("There are no runs to plot.")
    for label, records in runs:
        if not records:
            raise ValueError(f"{label} has no records yet: nothing to plot.")
