"""The panel of hyperparameters: every field of `Config` as a control made from its metadata.

It trains the library's agent with the chosen settings, beside a stored curve; it measures what a
change costs, by timing updates on the device at hand; and it shows the same settings as a command.
Notebook 08.
"""

import dataclasses
import html
from collections.abc import Iterator
from typing import Any

import jax

from dreamer_lite.config import Config
from dreamer_lite.course.notebook import dial, present
from dreamer_lite.course.planner import UPDATES, seconds_per_update
from dreamer_lite.course.widgets.dashboard import Dashboard
from dreamer_lite.course.widgets.progress import Beside
from dreamer_lite.presets import SIZES, make_config
from dreamer_lite.runs import agents

SLIDER = 200  # a range up to so many times the value gets a slider; a longer one only a box
POWERS = 100  # a range above 0 over more than this factor gets a logarithmic slider
LABEL = "11em"  # width of the names

# The first field of each group, in the order of `Config`.
GROUPS = {
    "The run": "size",
    "Environments and replay (notebook 02)": "worlds",
    "Predictions and networks (03, 04)": "bins",
    "Recurrent state-space model (04)": "deter",
    "World model (05)": "free_nats",
    "Imagination, actor and critic (06, 07)": "horizon",
    "Optimiser and loop (08)": "learning_rate",
}
LEFT_OUT = ("world", "seeds", "multipliers")  # other notebooks; not a single number


class Panel:
    """Controls for a config. `config` has their values, as long as these are valid.

    `beside` is a stored curve that is drawn beside the return of a training. In a script nothing is
    shown; `set` does what a control would, and `train` what the button does.
    """

    def __init__(self, config: Config, updates: int, beside: Beside | None = None):
        self.before = self.config = config
        self.updates, self.beside = updates, beside
        self.board: Dashboard | None = None  # of the latest training
        self.error, self.timing = "", ""
        self.controls: dict[str, Any] = {}
        self.view: Any = None

    def set(self, **changes: Any) -> None:
        """Change settings; "size" sets all widths together. An invalid change is not applied.

        Its error is shown, and controls that are shown follow.
        """
        try:
            if "size" in changes:
                # The widths of this size, and all other settings as they were changed.
                usual = make_config(self.config.world, self.config.size)
                kept = {n: v for n, v in difference(usual, self.config).items() if n != "size"}
                widths = SIZES[self.config.size].keys() | SIZES[changes["size"]].keys()
                kept = {n: v for n, v in kept.items() if n not in widths}
                self.config = make_config(self.config.world, **(kept | changes))
            else:
                self.config = dataclasses.replace(self.config, **changes)
            self.error = ""
        except ValueError as error:
            self.error = str(error)
        self._refresh()

    def changes(self) -> dict[str, Any]:
        """What differs from the preset of this environment and size, and a size of its own."""
        usual = make_config(self.config.world)
        if self.config.size != usual.size:
            usual = make_config(self.config.world, self.config.size)
            return {"size": self.config.size} | difference(usual, self.config)
        return difference(usual, self.config)

    def command(self) -> str:
        """The same training as a command."""
        return agents.command(self.config, self.updates)

    def parameters(self) -> str:
        """The same settings as lines for the `parameters` cell."""
        changes = {name: x for name, x in self.changes().items() if name != "seed"}
        return f"seed = {self.config.seed}\nupdates = {self.updates}\nchanges = {changes!r}"

    def time(self) -> str:
        """Time updates with these settings and with those before; compiling takes about 20 s each.

        Returns the sentence that the panel shows.
        """
        self.timing = "Compiling and timing; some 20 s, and again for the settings before ..."
        self._refresh()
        try:
            now = seconds_per_update(self.config)
            same = self.config == self.before
            self.timing = self.cost(now, now if same else seconds_per_update(self.before))
        except ValueError as error:
            self.timing = str(error)
        self._refresh()
        return self.timing

    def train(self) -> Dashboard:
        """Train with these settings, in a temporary folder; returns the dashboard.

        Another training is stopped. In a script it returns when the training is over.
        """
        self.board = board = Dashboard(self.config, self.updates, beside=self.beside)
        if self.view is None:
            board.start()
        else:
            self.place.children = [board.box()]
            board.go()
        return board

    def cost(self, now: float, before: float) -> str:
        """Seconds per update now and before, as a time for the whole training, in a sentence."""
        text = (
            f"{UPDATES} updates were timed on {jax.devices()[0].device_kind}: "
            f"{1 / now:.1f} updates/s, {self.updates:,} updates in {minutes(now * self.updates)}"
        )
        if self.config == self.before:
            return f"{text}."
        return (
            f"{text}; before the change {1 / before:.1f} updates/s, "
            f"{minutes(before * self.updates)}: {now / before:.2f} times the cost."
        )

    def words(self) -> str:
        """The error if any, command, parameters, timing."""
        parts = [f"Not applied: {self.error}"] if self.error else []
        parts += ["As a command:", self.command(), "As a cell of parameters:", self.parameters()]
        return "\n".join([*parts, self.timing] if self.timing else parts)

    # Widgets

    def show(self) -> None:
        """Display the controls in a notebook; in a script, print the words."""
        present(self.build, self.words)

    def build(self) -> Any:
        """The controls, in folded groups."""
        import ipywidgets as widgets

        self.controls = {}
        folds = []
        for title, fields in grouped():
            rows = []
            for field in fields:
                control, row = make_control(field, getattr(self.config, field.name))
                control.observe(self._setter(field.name), "value")
                self.controls[field.name] = control
                rows.append(widgets.VBox([row, widgets.HTML(about(field))]))
            folds += fold(title, widgets.VBox(rows))
        self.button = widgets.Button(
            description=f"time {UPDATES} updates", tooltip="what a change costs on this device"
        )
        self.button.on_click(lambda _: self.time())
        self.start = widgets.Button(
            description="train", tooltip="train with these settings, beside the stored curve"
        )
        self.start.on_click(lambda _: self.train())
        self.report, self.place = widgets.HTML(), widgets.VBox([])
        row = widgets.HBox([self.start, self.button])
        self.view = widgets.VBox([*folds, row, self.report, self.place])
        self._refresh()
        return self.view

    def _setter(self, name: str) -> Any:
        def change(event: Any) -> None:
            if self.error or event["new"] != getattr(self.config, name):
                self.set(**{name: event["new"]})

        return change

    def _refresh(self) -> None:
        """Update controls and report, where they are shown."""
        if self.view is None:
            return
        if not self.error:
            for name, control in self.controls.items():
                control.value = getattr(self.config, name)
        self.report.value = f'<pre role="status">{html.escape(self.words())}</pre>'


def difference(usual: Config, mine: Config) -> dict[str, Any]:
    """The settings in which two configs differ, as `mine` has them."""
    names = [field.name for field in dataclasses.fields(Config)]
    return {n: getattr(mine, n) for n in names if getattr(mine, n) != getattr(usual, n)}


def grouped() -> Iterator[tuple[str, list[dataclasses.Field]]]:
    """The fields of `Config` under the titles of GROUPS."""
    fields = [field for field in dataclasses.fields(Config) if field.name not in LEFT_OUT]
    names = [field.name for field in fields]
    starts = [names.index(first) for first in GROUPS.values()]
    for title, start, end in zip(GROUPS, starts, [*starts[1:], len(fields)]):
        yield title, fields[start:end]


def make_control(field: dataclasses.Field, value: Any) -> tuple[Any, Any]:
    """(a widget for one setting, what to show), by the kind and range in its metadata."""
    import ipywidgets as widgets

    meta = field.metadata
    common: dict[str, Any] = dict(
        value=value,
        description=field.name,
        style={"description_width": LABEL},
        layout=widgets.Layout(width="32em"),
    )
    if "options" in meta:
        control = widgets.Dropdown(options=list(meta["options"]), **common)
    elif field.type is bool:
        control = widgets.Checkbox(**common)
    else:
        low, high, whole = meta["low"], meta["high"], field.type is int
        low = int(low) if whole else float(low)
        step = 1 if whole else max(value, 1e-6) / 10
        if low > 0 and high > POWERS * low:
            return dial(field.name, value, low, high, step, LABEL, logarithmic=True)
        if high - low <= SLIDER * max(abs(value), 1 if whole else 0):
            return dial(field.name, value, low, high, 1 if whole else (high - low) / 1000, LABEL)
        box = widgets.BoundedIntText if whole else widgets.BoundedFloatText
        control = box(min=low, max=high, step=step, **common)
    return control, control


def fold(title: str, box: Any) -> list[Any]:
    """A button that opens and closes a box, and the box; an Accordion cannot be reached by keys."""
    import ipywidgets as widgets

    button = widgets.ToggleButton(
        description=title, icon="caret-right", layout=widgets.Layout(width="32em")
    )

    def toggle(event: Any) -> None:
        button.icon = "caret-down" if event["new"] else "caret-right"
        box.layout.display = "" if event["new"] else "none"

    button.observe(toggle, "value")
    box.layout.display = "none"
    return [button, box]


def about(field: dataclasses.Field) -> str:
    """What a setting is, its unit and range, as a line of HTML."""
    meta = field.metadata
    if "low" in meta:
        unit = f"{meta['unit']}, " if meta["unit"] else ""
        form = "," if field.type is int else "g"
        text = f"{unit}from {meta['low']:{form}} to {meta['high']:{form}}"
    elif "options" in meta:
        text = f"one of {', '.join(meta['options'])}"
    elif field.name == "size":
        text = "sets the widths of all networks together"
    else:
        text = "on or off"
    return f'<span style="margin-left:11.5em">{html.escape(text)}</span>'


def minutes(seconds: float) -> str:
    """A time in words."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} minutes"
