"""Figures of a recurrent state-space model: one step, maps of influence, outcomes side by side.

Numpy arrays in, `matplotlib.figure.Figure` out, never through pyplot.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dreamer_lite.show.plots import COLOURS, style

RESET = "#D55E00"  # the line of a reset
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo")


class Step(NamedTuple):
    """One step of an RSSM, as it is drawn."""

    title: str
    real: np.ndarray  # (h, w, 3) uint8, what the environment shows
    decoded: np.ndarray  # (h, w, 3) uint8
    deter: np.ndarray  # (D,)
    prior: np.ndarray  # (S, C) probabilities
    posterior: np.ndarray | None  # (S, C), None while imagining
    sampled: np.ndarray  # (S,) classes


def draw_step(step: Step) -> Figure:
    """Frames, h as a strip, prior and posterior side by side with rings, KL of every group."""
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    grid = figure.add_gridspec(2, 5, height_ratios=(5, 1), width_ratios=(1, 1, 1, 1, 0.7))
    figure.suptitle(step.title, fontsize=12)
    seen = step.posterior is not None
    frames = (
        (step.real, "observation $x_t$" if seen else "not observed"),
        (step.decoded, r"decoder $\hat{x}_t$"),
    )
    for place, (image, title) in enumerate(frames):
        axes = figure.add_subplot(grid[0, place])
        axes.imshow(image, alpha=1.0 if seen or place else 0.35)
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=10)
    draw_latent(figure.add_subplot(grid[0, 2]), step.prior, r"prior $p(\hat{z}_t \mid h_t)$",
                None if seen else step.sampled)  # fmt: skip
    axes = figure.add_subplot(grid[0, 3])
    if step.posterior is None:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no observation,\nno posterior", ha="center", va="center")
        axes.set_title("posterior", fontsize=10)
        kl = np.zeros(len(step.prior))
    else:
        draw_latent(axes, step.posterior, r"posterior $q(z_t \mid h_t, x_t)$", step.sampled)
        kl = divergence(step.posterior, step.prior)
    axes = figure.add_subplot(grid[0, 4])
    axes.barh(np.arange(len(kl)), kl, color=COLOURS[0])
    axes.set(ylim=(len(kl) - 0.5, -0.5), xlim=(0, max(2.2, 1.05 * kl.max())), yticks=[])
    axes.set_xlabel("KL in nats")
    axes.set_title(f"sum {kl.sum():.2f}" if seen else "KL: none", fontsize=10)
    axes = figure.add_subplot(grid[1, :])
    axes.imshow(step.deter[None], aspect="auto", cmap="RdBu", vmin=-1, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.set_ylabel("$h_t$", rotation=0, labelpad=12)
    return figure


def draw_latent(axes: Axes, probs: np.ndarray, title: str, sampled: np.ndarray | None) -> None:
    """Probabilities (S, C) as a grid; a ring around the sampled class of each group."""
    axes.imshow(probs, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    if sampled is not None:
        for colour, width in (("black", 4.5), ("white", 1.8)):  # to be seen on every shade
            at = sampled, np.arange(len(sampled))
            axes.plot(*at, "o", mfc="none", mec=colour, ms=11, mew=width)
    axes.set(xlabel="class", xticks=[], yticks=[])
    axes.set_ylabel("group")
    axes.set_title(title, fontsize=10)


def divergence(q: np.ndarray, p: np.ndarray) -> np.ndarray:
    """KL(q || p) in nats over the last axis."""
    return np.sum(q * (np.log(np.maximum(q, 1e-20)) - np.log(np.maximum(p, 1e-20))), -1)


def draw_maps(maps: Mapping[str, np.ndarray], resets: Sequence[int], label: str) -> Figure:
    """Square maps (T, T), outputs down, inputs across, log10; exact zeros are hatched."""
    figure = Figure(figsize=(4.0 * len(maps) + 1.2, 4.1), layout="constrained")
    row = np.atleast_1d(figure.subplots(1, len(maps)))
    image: Any = None
    for axes, (title, values) in zip(row, maps.items()):
        shown = np.ma.masked_equal(values, 0)
        axes.set_facecolor("white")
        axes.patch.set(hatch="////", edgecolor="#b0b4bc")
        image = axes.imshow(np.ma.log10(shown), cmap="cividis", vmin=-4, vmax=0.5)
        for reset in resets:
            axes.axhline(reset - 0.5, color=RESET, linewidth=1.5, linestyle="--")
        axes.set(xlabel="input: time step s", ylabel="output: state at time step t")
        axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=list(row), label=label, shrink=0.8)
    return figure


def draw_outcomes(scores: Mapping[str, Sequence[float]], names: Sequence[str]) -> Figure:
    """Bars: for every label one bar for each of `names`."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(scores))
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        heights = [numbers[i] for numbers in scores.values()]
        at = places + (i - (len(names) - 1) / 2) * width
        axes.bar(at, heights, 0.95 * width, label=name, color=COLOURS[i], hatch=HATCHES[i])
    axes.set_xticks(places, [label.replace(" ", "\n", 1) for label in scores], fontsize=8)
    axes.set(ylabel="probability mass", ylim=(0, 1.3))
    axes.legend(frameon=False, ncols=len(names), loc="upper center")
    return figure


def draw_strips(strips: Mapping[str, np.ndarray], shown: Sequence[int], first: int = 0) -> Figure:
    """Rows of frames (T, h, w, 3) uint8 at the time steps `shown`; `first` is that of frame 0."""
    figure = Figure(
        figsize=(1.25 * len(shown) + 0.6, 1.3 * len(strips) + 0.2), layout="constrained"
    )
    grid = np.atleast_2d(figure.subplots(len(strips), len(shown)))
    for line, (label, frames) in zip(grid, strips.items()):
        for axes, t in zip(line, shown):
            axes.imshow(frames[t - first])
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(label.replace(" ", "\n", 1), fontsize=8)
    for axes, t in zip(grid[0], shown):
        axes.set_title(f"step {t}", fontsize=9)
    return figure


def draw_evidence(
    losses: Mapping[str, np.ndarray], kl: Mapping[str, np.ndarray], paddle: Mapping[str, np.ndarray]
) -> Figure:
    """Loss against updates, KL against time step, and wrong paddles against imagined step."""
    figure = Figure(figsize=(10.4, 3.3), layout="constrained")
    panels: Any = figure.subplots(1, 3)
    for number, label in enumerate(losses):
        smooth = np.convolve(losses[label], np.full(20, 1 / 20), "valid")
        panels[0].plot(smooth, label=label, **style(number, len(smooth)))
        panels[1].plot(kl[label], label=label, **style(number, 12))
        steps = 1 + np.arange(len(paddle[label]))
        panels[2].plot(steps, paddle[label], label=label, **style(number, 12))
    panels[0].set(xlabel="updates", ylabel="whole loss", yscale="log")
    panels[1].set(xlabel="time step of the sequence", ylabel="KL(posterior || prior), nats")
    panels[2].set(xlabel="imagined steps", ylabel="paddle in a wrong column", ylim=(-0.03, 1.03))
    for axes in panels:
        axes.legend(frameon=False, fontsize=8)
    return figure
