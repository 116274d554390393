"""Figures of imagined rollouts beside reality: errors by horizon, and what the model predicts."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dreamer_lite.evaluation.dreams import Comparison, Signals
from dreamer_lite.show.plots import decorate, style

PREDICTORS = {
    "model": "dream",
    "average": "mean of several dreams",
    "copy_last": "repeat the last frame",
    "mean_frame": "mean image",
}


def horizon_errors(comparison: Comparison) -> Figure:
    """How wrong a dream is, by how far ahead: observations, rewards, continuation and values.

    Left, the squared error on the cells that change, of the dream and its baselines. Right, the
    squared error of what the heads predicted in the dream, against always predicting the mean.
    """
    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=(1.7, 1))
    large = figure.add_subplot(grid[:, 0])
    for number, (name, label) in enumerate(PREDICTORS.items()):
        y = getattr(comparison, name)
        large.plot(comparison.horizon, y, label=label, **style(number, len(y)))
    decorate(large, "horizon (steps of the open loop)", "squared error, cells that change")
    large.set_ylim(bottom=0)
    large.xaxis.set_major_locator(MaxNLocator(integer=True))
    large.set_title(
        f"from {comparison.moments[0]} moments; {comparison.moments[-1]} reach the last horizon",
        fontsize=10,
    )
    large.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    titles = ("reward", "probability to go on", "value, by the critic")
    for row, (name, title) in enumerate(zip(Signals._fields, titles, strict=True)):
        small = figure.add_subplot(grid[row, 1])
        wrong, spread = signal_errors(comparison, name)
        small.plot(comparison.horizon, wrong, label="dream", **style(0, len(wrong)))
        small.plot(comparison.horizon, spread, label="always the mean", **style(3, len(wrong)))
        decorate(small, "horizon" if row == 2 else "", "squared error")
        small.set_ylim(bottom=0)
        small.xaxis.set_major_locator(MaxNLocator(integer=True))
        small.set_title(title, fontsize=10)
        if row == 2:
            small.legend(
                frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.4)
            )
    return figure


def signal_errors(comparison: Comparison, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean squared error (H,) of an imagined signal, and of always predicting the real mean.

    That mean is taken at each horizon over the very moments that are judged: the strongest
    constant there is.
    """
    real, dream = getattr(comparison.real, name), getattr(comparison.dream, name)
    valid = comparison.valid
    count = np.maximum(1, comparison.moments)
    mean = (real * valid).sum(1) / count
    wrong = ((dream - real) ** 2 * valid).sum(1) / count
    spread = ((real - mean[:, None]) ** 2 * valid).sum(1) / count
    reached = comparison.moments > 0
    return np.where(reached, wrong, np.nan), np.where(reached, spread, np.nan)


def signals(comparison: Comparison) -> Figure:
    """Imagined against real reward, continuation and value along the moments of the film."""
    clips = comparison.clips
    moments = clips.valid.shape[1]
    figure = Figure(figsize=(2.6 * moments + 1, 5.4), layout="constrained")
    rows = figure.subplots(3, moments, sharex=True, sharey="row", squeeze=False)
    labels = ("reward", "probability to go on", "value, by the critic")
    for name, label, line in zip(Signals._fields, labels, rows, strict=True):
        for k, axes in enumerate(line):
            for number, (title, source) in enumerate(
                (("reality", clips.real), ("dream", clips.dream))
            ):
                y = np.where(clips.valid, getattr(source, name), np.nan)[:, k]
                axes.plot(clips.step, y, label=title, **style(number, len(y)))
            axes.axvline(0, color="0.45", linewidth=1, linestyle=(0, (1, 3)))
            decorate(axes, "step" if name == "value" else "", label if k == 0 else "")
    for k, axes in enumerate(rows[0]):
        axes.set_title(f"moment {k + 1}", fontsize=10)
    lines = rows[0, 0].lines[:2]
    figure.legend(handles=lines, frameon=False, ncols=2, loc="outside lower center")
    figure.suptitle("observing up to step 0, open loop after", fontsize=10)
    return figure


def describe_horizon(comparison: Comparison) -> str:
    """What `horizon_errors` shows: a verdict, then a table with a line per horizon."""
    table = comparison.as_json()
    horizon, model, copy = (np.array(table[n]) for n in ("horizon", "model", "copy_last"))
    worse = horizon[model >= copy]
    if len(worse):
        where = f"not below it at {', '.join(map(str, worse))}"
    else:
        where = f"below it at each horizon from 1 to {horizon[-1]}"
    lines = [
        f"Squared error on the cells that change, over {comparison.moments[0]} moments. Against "
        f"repeating the last frame, the dream's is {where}.",
        "horizon  moments  dream   average  repeat  mean image",
    ]
    for i in np.flatnonzero(comparison.moments):
        lines.append(
            f"{comparison.horizon[i]:7d}  {comparison.moments[i]:7d}  {comparison.model[i]:.4f}  "
            f"{comparison.average[i]:.4f}   {comparison.copy_last[i]:.4f}  "
            f"{comparison.mean_frame[i]:.4f}"
        )
    return "\n".join(lines)
