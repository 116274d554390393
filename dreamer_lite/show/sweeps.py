"""The returns of a sweep: for each setting the interquartile mean over its seeds, with an interval.

Means over seeds follow Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice". Their library, rliable, would bring five more packages (arch, statsmodels,
pandas, seaborn, patsy) for these few lines of numpy; the tests compare them with SciPy's.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from dreamer_lite.show import plots

RESAMPLES = 2000
CONFIDENCE = 0.95
POINTS = 100  # of a curve
COLUMNS = ("setting", "seeds", "frames", "seconds", "iqm", "low", "high", "mean", "least", "most")


class Curve(NamedTuple):
    """The returns of one run, n records long."""

    frames: np.ndarray  # (n,) environment frames
    seconds: np.ndarray  # (n,)
    returns: np.ndarray  # (n,)


class Band(NamedTuple):
    """What the seeds of a setting have in common, n points long; the interval is of 95 %."""

    x: np.ndarray  # (n,)
    iqm: np.ndarray  # (n,)
    low: np.ndarray  # (n,) NaN for a single seed, of which nothing about others is known
    high: np.ndarray  # (n,)


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean without the lowest and the highest quarter, over the last axis; (..., S) -> (...).

    Of fewer than four values it is the mean.
    """
    count = values.shape[-1]
    cut = int(0.25 * count)
    return np.sort(values, -1)[..., cut : count - cut].mean(-1)


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap interval of 95 % of the interquartile mean; (n, S) -> two (n,).

    Seeds are drawn with replacement, the same ones for all n points (percentile method).
    """
    points, seeds = values.shape
    if seeds < 2:
        return np.full(points, np.nan), np.full(points, np.nan)
    drawn = np.random.default_rng(0).integers(seeds, size=(RESAMPLES, seeds))
    means = np.stack([interquartile_mean(row[drawn]) for row in values])  # (n, RESAMPLES)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100 - tail], axis=1)
    return low, high


def band(curves: Sequence[Curve], x: str) -> Band:
    """The band of a setting's seeds against "frames" or "seconds".

    Curves are interpolated at common points, from where all have begun to where the first ends.
    """
    places = [getattr(curve, x) for curve in curves]
    first, last = max(p[0] for p in places), min(p[-1] for p in places)
    common = np.linspace(first, max(first, last), POINTS)
    values = [np.interp(common, p, curve.returns) for p, curve in zip(places, curves)]
    together = np.stack(values, -1)
    return Band(common, interquartile_mean(together), *interval(together))


def draw(settings: Mapping[str, Sequence[Curve]], title: str = "") -> Figure:
    """Return against frames and against wall time: a line and a band for each setting.

    Raises:
      ValueError: no run of any setting has finished an episode.
    """
    check(settings)
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for number, (label, curves) in enumerate((s, c) for s, c in settings.items() if c):
        for axes, x, unit in zip(panels, ("frames", "seconds"), (1000, 60)):
            found = band(curves, x)
            named = f"{plots.plain(label)} ({many(len(curves))})"
            axes.plot(found.x / unit, found.iqm, label=named, **style(number))
            color = plots.COLOURS[number % len(plots.COLOURS)]
            axes.fill_between(found.x / unit, found.low, found.high, alpha=0.2, color=color)
    plots.decorate(panels[0], "environment frames (thousands)", "return (interquartile mean)")
    plots.decorate(panels[1], "wall time (minutes)", "")
    panels[0].legend(frameon=False, fontsize=9)
    figure.suptitle(plots.plain(title), fontsize=12)
    return figure


def style(number: int) -> dict[str, Any]:
    """That of line `number`; when the colours come round again, their dashes are others."""
    dashes = plots.DASHES[(number + number // len(plots.COLOURS)) % len(plots.DASHES)]
    return plots.style(number, POINTS) | {"linestyle": dashes}


def many(seeds: int) -> str:
    return f"{seeds} seeds" if seeds > 1 else "1 seed"


def table(settings: Mapping[str, Sequence[Curve]]) -> list[dict[str, Any]]:
    """A row for each setting: its returns where all its seeds have come to, see COLUMNS.

    Settings without a finished episode have no returns (None). `frames` and `seconds` are those of
    the seed with the fewest frames.
    """
    rows = []
    for label, curves in settings.items():
        row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"setting": label, "seeds": len(curves)}
        if curves:
            found = band(curves, "frames")
            shortest = min(curves, key=lambda curve: curve.frames[-1])
            last = np.array([np.interp(found.x[-1], c.frames, c.returns) for c in curves])
            row |= {"frames": int(shortest.frames[-1]), "seconds": float(shortest.seconds[-1])}
            row |= {"iqm": float(found.iqm[-1]), "mean": float(last.mean())}
            row |= {"least": float(last.min()), "most": float(last.max())}
            if len(curves) > 1:
                row |= {"low": float(found.low[-1]), "high": float(found.high[-1])}
        rows.append(row)
    return rows


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table in columns."""
    width = max(7, *(len(row["setting"]) for row in rows))
    lines = [f"{'setting':{width}} seeds     frames   minutes     IQM  95 % interval      range"]
    for row in rows:
        if row["iqm"] is None:
            lines.append(f"{row['setting']:{width}} {row['seeds']:5}  {plots.NO_EPISODE}")
            continue
        known = row["low"] is not None
        error = f"{row['low']:.2f} to {row['high']:.2f}" if known else "-"
        lines.append(
            f"{row['setting']:{width}} {row['seeds']:5} {row['frames']:10,} "
            f"{row['seconds'] / 60:9.1f} {row['iqm']:7.2f}  {error:16} "
            f"{row['least']:.2f} to {row['most']:.2f}"
        )
    return "\n".join(lines)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as CSV; what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = [row[name] for name in COLUMNS]
        writer.writerow([f"{x:.7g}" if isinstance(x, float) else x for x in values])
    return text.getvalue()


def as_json(settings: Mapping[str, Sequence[Curve]]) -> dict[str, Any]:
    """The table and the bands: {"table": [...], "curves": {setting: {"frames": ..., ...}}}."""
    curves = {}
    for label, own in settings.items():
        if own:
            both = {x: band(own, x) for x in ("frames", "seconds")}
            curves[label] = {x: rounded(found) for x, found in both.items()}
    return {"table": table(settings), "curves": curves}


def rounded(found: Band) -> dict[str, list[float | None]]:
    """A band as JSON has it: NaN is null."""
    return {
        name: [None if np.isnan(x) else float(f"{x:.6g}") for x in values]
        for name, values in found._asdict().items()
    }


def check(settings: Mapping[str, Sequence[Curve]]) -> None:
    if not any(settings.values()):
        raise ValueError(f"There is nothing to plot: {plots.NO_EPISODE} in any run of this sweep.")
