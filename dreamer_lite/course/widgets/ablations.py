"""Ablations: the returns of Dreamer with one part removed or changed, from stored curves.

Checkboxes choose the curves beside the preset's; each is the mean of its seeds with a band from the
lowest to the highest. `course.curves` makes them of sweeps. Notebook 08.
"""

import html
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dreamer_lite import assets
from dreamer_lite.course import curves
from dreamer_lite.course.curves import Curve
from dreamer_lite.course.notebook import as_html, png, present
from dreamer_lite.show.plots import COLOURS, decorate, style

PRESET = "the preset"
NAMES = {  # label: a name in `curves.AGENTS`
    PRESET: "dreamer",
    "no two-hot": "no_two_hot",
    "no two-hot, no symlog": "no_symlog",
    "no free nats": "no_free_nats",
    "no unimix": "no_unimix",
    "no percentile normaliser": "no_normaliser",
    "horizon 1": "horizon_1",
    "horizon 5": "horizon_5",
    "horizon 15": "horizon_15",
    "horizon 30": "horizon_30",
    "train ratio 1": "train_ratio_1",
    "train ratio 16": "train_ratio_16",
}
AXES = {  # label: x of a curve
    "updates": lambda curve: curve.updates,
    "agent steps": lambda curve: curve.agent_steps,
    "seconds": curves.seconds_of_one,
}
MOST = len(COLOURS) - 1  # more lines cannot be told apart


class Ablations:
    """Stored curves, of which some are shown. In a script, `words` is printed instead."""

    def __init__(self, world: str = "breakout"):
        stored = set(assets.names("curves", ".json"))
        files = {label: f"{world}_{name}" for label, name in NAMES.items()}
        self.curves: dict[str, Curve] = {
            label: curves.load(file) for label, file in files.items()
            if f"curves/{file}.json" in stored
        }  # fmt: skip
        if PRESET not in self.curves:
            raise ValueError(f"There is no stored curve {files[PRESET]!r} to compare with.")
        self.shown: list[str] = []
        self.against = "updates"
        self.warning = ""
        self.ticks: dict[str, Any] = {}
        self.view: Any = None

    def toggle(self, label: str, on: bool) -> None:
        """Show a curve beside the preset's, or hide it. Raises ValueError for an unknown one."""
        known = [name for name in self.curves if name != PRESET]
        if label not in known:
            raise ValueError(f"There is no ablation {label!r}: valid are {', '.join(known)}.")
        self.warning = ""
        if on and label not in self.shown and len(self.shown) == MOST:
            self.warning = f"{label} is left out: {MOST} fit beside the preset, uncheck one first."
        else:
            chosen = set(self.shown) - {label} | ({label} if on else set())
            self.shown = [name for name in known if name in chosen]
        self._refresh()

    def set_axis(self, against: str) -> None:
        """Draw against updates, agent steps or seconds. Raises ValueError for another axis."""
        if against not in AXES:
            raise ValueError(f"There is no axis {against!r}: valid are {', '.join(AXES)}.")
        self.against = against
        self._refresh()

    def timed_elsewhere(self) -> list[str]:
        """The shown curves that were timed on another processor than the preset's."""
        here = self.curves[PRESET].about.get("processor")
        return [name for name in self.shown if self.curves[name].about.get("processor") != here]

    def drawn(self) -> list[str]:
        """The preset and the shown curves; against seconds, only those that can be compared."""
        away = self.timed_elsewhere() if "seconds" in self.against else []
        return [PRESET, *(name for name in self.shown if name not in away)]

    def figure(self) -> Figure:
        """The preset's curve and those that are shown."""
        figure = Figure(figsize=(7.2, 3.8), layout="constrained")
        axes = figure.add_subplot()
        for number, label in enumerate(self.drawn()):
            curve = self.curves[label]
            x, y = AXES[self.against](curve), curve.returns
            axes.plot(x, y.mean(1), label=label, **style(number, len(x)))
            axes.fill_between(x, y.min(1), y.max(1), alpha=0.15, color=COLOURS[number])
        unit = "seconds on one core" if self.against == "seconds" else self.against
        decorate(axes, unit, "return (bricks per episode), latest 100")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=9)
        return figure

    def sentence(self) -> str:
        """The alt text of `figure`."""
        ends = [f"{label} {self.curves[label].returns[-1].mean():.1f}" for label in self.drawn()]
        return (
            f"Return against {self.against}, a line for the mean of the seeds and a band "
            f"from the lowest to the highest; the lines end at: {', '.join(ends)}."
        )

    def words(self) -> str:
        """A table of the curves that are shown, with the command that made each."""
        lines = [f"{'':25} {'half way':>12} {'at the end':>11}   seeds at the end   ms per update"]
        away = self.timed_elsewhere()
        for label in [PRESET, *self.shown]:
            curve = self.curves[label]
            half = curve.returns[np.searchsorted(curve.updates, curve.updates[-1] / 2)].mean()
            seeds = ", ".join(f"{x:.1f}" for x in curve.returns[-1])
            spent = np.ptp(curves.seconds_of_one(curve)) / np.ptp(curve.updates)
            lines.append(
                f"{label:25} {half:12.1f} {curve.returns[-1].mean():11.1f}   {seeds:16} "
                f"{'-' if label in away else f'{1000 * spent:.0f}':>14}"
            )
        if away:
            lines.append(
                f"Timed on another processor, not drawn against seconds: {', '.join(away)}."
            )
        lines += [self.curves[label].about["command"] for label in [PRESET, *self.shown]]
        return "\n".join([*lines, self.warning] if self.warning else lines)

    # Widgets

    def show(self) -> None:
        """Display checkboxes and picture in a notebook; in a script, print the words."""
        present(self.build, self.words)

    def build(self) -> Any:
        """Checkboxes, a choice of axis, the picture and its words."""
        import ipywidgets as widgets

        wide = {"description_width": "initial"}
        for label in self.curves:
            if label == PRESET:
                continue
            tick = widgets.Checkbox(value=label in self.shown, description=label, indent=False)
            tick.observe(lambda event, label=label: self._ticked(label, event["new"]), "value")
            self.ticks[label] = tick
        self.axis = widgets.Dropdown(
            options=list(AXES), value=self.against, description="against", style=wide
        )
        self.axis.observe(lambda event: self.set_axis(event["new"]), "value")
        self.picture, self.report = widgets.HTML(), widgets.HTML()
        grid = widgets.Layout(grid_template_columns="repeat(auto-fill, minmax(15em, 1fr))")
        ticks = widgets.GridBox(list(self.ticks.values()), layout=grid)
        self.view = widgets.VBox([ticks, self.axis, self.picture, self.report])
        self._refresh()
        return self.view

    def _ticked(self, label: str, on: bool) -> None:
        if on != (label in self.shown):
            self.toggle(label, on)

    def _refresh(self) -> None:
        """Update checkboxes, picture and words, where they are shown."""
        if self.view is None:
            return
        for label, tick in self.ticks.items():
            tick.value = label in self.shown
        self.axis.value = self.against
        alt = self.sentence()
        self.picture.value = as_html(png(self.figure(), alt), alt)
        self.report.value = f'<pre role="status">{html.escape(self.words())}</pre>'
