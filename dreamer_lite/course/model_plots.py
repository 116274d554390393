"""Figures and films of world models for notebooks 05 and 06. They draw what they are given."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from dreamer_lite.show import images
from dreamer_lite.show.plots import COLOURS, decorate, style


def losses(
    updates: Sequence[int], history: Mapping[str, np.ndarray], free_nats: float, title: str = ""
) -> Figure:
    """The losses of a world model against updates on a log scale; `rep` has the values of `dyn`."""
    figure = Figure(figsize=(7.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    names = [name for name in history if name != "rep"]
    for number, name in enumerate(names):
        values = np.maximum(history[name], 1e-6)
        axes.plot(updates, values, label=name, **style(number, len(values)))
    line = axes.axhline(free_nats, color="0.4", linewidth=1.2, linestyle=(0, (1, 3)))
    line.set_label(f"free nats: {free_nats:g}")
    axes.set_yscale("log")
    decorate(axes, "updates", "mean loss (log scale)")
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, ncols=len(names) + 1, fontsize=9)
    return figure


def gradient_map(
    maps: Mapping[str, np.ndarray],
    marks: Mapping[str, np.ndarray],
    rows: Sequence[str],
    columns: Sequence[str],
) -> Figure:
    """Norms of gradients (losses, networks) as shades, one panel for each of `maps`.

    Where a norm is exactly zero, a 0 is written; where `marks` of the panel is True, S, because a
    stop-gradient is the reason.
    """
    figure = Figure(figsize=(4.4 * len(maps) + 0.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
    drawn = []
    for axes, (label, norms) in zip(panels, maps.items(), strict=True):
        drawn.append(draw_map(axes, norms, rows, columns, marks.get(label)))
        axes.set_title(label, fontsize=10)
    bar = figure.colorbar(drawn[-1], ax=panels)
    bar.set_label("norm of the gradient, log10", fontsize=8)
    return figure


def draw_map(
    axes: Axes,
    norms: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    marks: np.ndarray | None = None,
) -> AxesImage:
    """One panel of `gradient_map`."""
    shades = np.log10(np.maximum(norms, 1e-5))
    image = axes.imshow(shades, cmap="cividis", vmin=-5, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows)
    for i, j in np.argwhere(norms == 0):
        word = "S" if marks is not None and marks[i, j] else "0"
        axes.text(j, i, word, color="white", ha="center", va="center", weight="bold")
    return image


def where(found: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> str:
    """The places of a table that are True, in words: "dyn: encoder, posterior; rep: prior"."""
    lines = [
        f"{row}: {', '.join(name for name, x in zip(columns, line, strict=True) if x)}"
        for row, line in zip(rows, found, strict=True)
        if line.any()
    ]
    return "; ".join(lines) or "none"


def errors(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]], per_cell: np.ndarray
) -> Figure:
    """Errors against horizon with their 95 % confidence intervals, and where in the frame they are.

    `panels` maps a title to lines, {label: (mean (H,), half width (H,))}; `per_cell` is the mean
    squared error of each cell (height, width).
    """
    figure = Figure(figsize=(10.4, 3.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.25, 1.25, 1))
    for axes, (title, lines) in zip((left, middle), panels.items(), strict=True):
        for number, (label, (mean, half)) in enumerate(lines.items()):
            steps = np.arange(1, len(mean) + 1)
            axes.plot(steps, mean, label=label, **style(number, len(mean)))
            band = COLOURS[number % len(COLOURS)]
            axes.fill_between(steps, mean - half, mean + half, alpha=0.2, color=band)
        decorate(axes, "horizon (steps of the open loop)", "squared error, summed over cells")
        axes.set_title(title, fontsize=10)
        axes.set_ylim(bottom=0)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    image = right.imshow(per_cell, cmap="cividis", vmin=0)
    right.set(title="squared error of each cell", xlabel="column", ylabel="row of the frame")
    right.title.set_fontsize(10)
    figure.colorbar(image, ax=right)
    return figure


def comparison(
    curves: Mapping[str, Mapping[str, tuple[Sequence[int], np.ndarray]]],
    evidence: Mapping[str, Any],
    rows: Sequence[str],
    columns: Sequence[str],
) -> Figure:
    """Two models side by side: two loss curves, errors of the paddle, and two gradient maps.

    `curves` is {loss: {model: (updates, values)}}, `evidence` {model: world_models.Evidence}.
    """
    figure = Figure(figsize=(10.4, 6.8), layout="constrained")
    grid = figure.add_gridspec(2, 6, height_ratios=(1, 1.15))
    for place, (loss, lines) in enumerate(curves.items()):
        axes = figure.add_subplot(grid[0, 2 * place : 2 * place + 2])
        for number, (label, (updates, values)) in enumerate(lines.items()):
            axes.plot(updates, values, label=label, **style(number, len(values)))
        axes.set_yscale("log")
        decorate(axes, "updates", f"{loss} (log scale)")
        axes.legend(frameon=False, fontsize=9)
    axes, at = figure.add_subplot(grid[0, 4:]), np.arange(len(evidence))
    for number, label in enumerate(("actions taken", "another's actions")):
        heights = [getattr(x, ("taken", "others")[number]) for x in evidence.values()]
        hatch, colour = ("", "//")[number], COLOURS[number + 2]
        axes.bar(at + 0.4 * number, heights, 0.36, label=label, color=colour, hatch=hatch)
    axes.set_xticks(at + 0.2, evidence)
    axes.set_ylim(top=1.35 * axes.get_ylim()[1])
    decorate(axes, "", "error of the paddle at step 1")
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    for place, (label, x) in enumerate(evidence.items()):
        axes = figure.add_subplot(grid[1, 3 * place : 3 * place + 3])
        draw_map(axes, x.norms, rows, columns)
        axes.set_title(f"gradient of each loss, {label}", fontsize=10)
    return figure


def paths(runs: Mapping[str, np.ndarray], labels: Sequence[str]) -> Figure:
    """Probabilities (steps, n) along gradient descent, a panel for each run."""
    figure = Figure(figsize=(10.4, 3.2), layout="constrained")
    panels = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    for axes, (title, path) in zip(panels, runs.items(), strict=True):
        for number, label in enumerate(labels):
            axes.plot(path[:, number], label=label, **style(number, len(path)))
        decorate(axes, "steps", "")
        axes.set_title(title, fontsize=10)
        axes.set_ylim(-0.02, 1.02)
    panels[0].set_ylabel("probability of class 0")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    return figure


def free_nats(
    logits: np.ndarray, losses: np.ndarray, gradients: np.ndarray, floor: float
) -> Figure:
    """A KL loss and its gradient against a logit of the posterior; grey where the floor holds."""
    figure = Figure(figsize=(7.4, 3.0), layout="constrained")
    for number, (axes, (label, values)) in enumerate(
        zip(figure.subplots(1, 2), {"loss (nats)": losses, "gradient": gradients}.items())
    ):
        axes.plot(logits, values, **style(number, len(logits)))
        off = np.asarray(gradients) == 0
        axes.fill_between(logits, 0, 2.6 if number == 0 else 0.6, where=off, color="0.88")
        decorate(axes, "first logit of the posterior", label)
        axes.set_ylim(0, 2.6 if number == 0 else 0.6)
    figure.suptitle(f"{floor:.2f} nats free; grey: the loss is constant", fontsize=10)
    return figure


def film(
    draw: Callable[[np.ndarray], np.ndarray],
    real: np.ndarray,
    dream: np.ndarray,
    observed: int,
    notes: Sequence[str],
) -> np.ndarray:
    """Frames (n, h, w, 3) uint8: reality, the model's prediction, and where they differ.

    `real` and `dream` are observations (n, ...) that `draw` turns into an image; while the first
    `observed` of them, the model's is a reconstruction. `notes` (n,) stand below reality.
    """
    frames = []
    for step, (a, b) in enumerate(zip(real, dream, strict=True)):
        panels: list[Any] = [draw(a), draw(b)]
        open_loop = step - observed + 1
        header = "observing" if open_loop <= 0 else f"open loop, step {open_loop}"
        frames.append(
            images.triptych(
                [*panels, images.difference(panels[1], panels[0])],
                ["reality", "reconstruction" if open_loop <= 0 else "prediction", "difference"],
                [notes[step], "sees this frame" if open_loop <= 0 else "sees no frame"],
                open_loop <= 0, header, "", (step + 1) / len(real), observed / len(real),
            )
        )  # fmt: skip
    return np.stack(frames)
