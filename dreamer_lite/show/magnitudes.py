"""Figures of notebook 03: two-hot codes, and predictions of rewards of four magnitudes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dreamer_lite.show.plots import COLOURS, decorate, style

HATCHES = ("", "///", "...", "xx")


def draw_maps(
    maps: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray], sizes: np.ndarray
) -> Figure:
    """One line of pictures for each loss, one column for each task, in units of its rewards.

    Args:
      maps: label -> (4, n, n), the first of them is what should be predicted.
      scores: label -> (4,), explained variance, written on the pictures of that label.
      sizes: (4,) of the tasks' rewards.
    """
    figure = Figure(figsize=(6.8, 1.0 * len(maps) + 0.5), layout="constrained")
    grid = figure.subplots(len(maps), len(sizes), squeeze=False)
    image: Any = None
    for line, (label, pictures) in zip(grid, maps.items()):
        for number, (axes, picture) in enumerate(zip(line, pictures)):
            image = axes.imshow(
                picture, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-1.5, vmax=1.5
            )
            axes.set(xticks=[], yticks=[])
            if label in scores:
                text = f"{max(scores[label][number], -99):.2f}"
                box = dict(facecolor="white", edgecolor="none", pad=1.5)
                axes.text(0.5, 0.5, text, fontsize=9, transform=axes.transAxes, bbox=box,
                          ha="center", va="center")  # fmt: skip
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    for axes, size in zip(grid[0], sizes):
        axes.set_title(f"s = {size:,g}", fontsize=10)
    bar = figure.colorbar(image, ax=grid, shrink=0.6, aspect=30)
    bar.set_label("predicted reward / its size s")
    return figure


def draw_code(y: float, code: np.ndarray, bins: np.ndarray) -> tuple[Figure, str]:
    """The two-hot code (K,) of y as bars on the 17 bins around it, and the same in words."""
    middle = int(np.clip(code.argmax(), 8, len(bins) - 9))
    near = slice(middle - 8, middle + 9)
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(np.arange(17), code[near], color=COLOURS[0], edgecolor="black")
    axes.set_xticks(np.arange(17), [f"{b:.3g}" for b in bins[near]], rotation=60, fontsize=8)
    axes.set(ylim=(0, 1.05), ylabel="weight", xlabel="value of the bin")
    axes.set_title(f"y = {y:.4g}", fontsize=11)
    words = " and ".join(
        f"{code[i]:.3f} on the bin {bins[i]:.4g}" for i in np.flatnonzero(code > 0)
    )
    return figure, f"The two-hot code of {y:.4g}, bars on 17 bins: {words}."


def draw_lines(lines: Mapping[str, tuple], x: str, y: str) -> Figure:
    """A line for each label -> (x values, y values)."""
    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    axes = figure.add_subplot()
    for number, (label, (xs, ys)) in enumerate(lines.items()):
        axes.plot(xs, ys, label=label, **style(number, len(xs)))
    decorate(axes, x, y)
    axes.legend(frameon=False, fontsize=9)
    return figure


def draw_fractions(fractions: Mapping[str, np.ndarray], sizes: np.ndarray) -> Figure:
    """Of each loss a bar, cut into the tasks' fractions (4,) of the trunk's gradient."""
    figure = Figure(figsize=(6.6, 0.5 * len(fractions) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(fractions))
    for number, size in enumerate(sizes):
        width = np.array([values[number] for values in fractions.values()])
        axes.barh(
            list(fractions), width, left=left, color=COLOURS[number], alpha=0.75,
            hatch=HATCHES[number], edgecolor="white", label=f"task of s = {size:,g}",
        )  # fmt: skip
        left += width
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="fraction of the gradient that reaches the trunk")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    return figure


def in_words(numbers: Mapping[str, np.ndarray]) -> str:
    """The numbers of each label, for an alt text."""
    numbers = {label.replace("\n", " "): values for label, values in numbers.items()}
    return "; ".join(f"{k}: " + ", ".join(f"{x:.2f}" for x in v) for k, v in numbers.items())
