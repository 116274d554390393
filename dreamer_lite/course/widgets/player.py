"""The dream player: buttons and sliders on a `Dream`. Every picture can also be had in words.

Notebooks 00 and 10.
"""

import functools
import html
import io
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from dreamer_lite import page
from dreamer_lite.course import notebook
from dreamer_lite.course.widgets.dream import OWN, RECORDED, Dream

HORIZON, LONGEST = 15, 60  # steps of an imagined rollout: at first, and at most
PACE = 100  # milliseconds between two steps of *play*
HOTTEST = 3.0  # temperature


class DreamPlayer:
    """Buttons on an imagined rollout (a dream). `show` displays them.

    Every button is a plain HTML one, so that the Tab key reaches it and the space bar presses it.
    With `more`, there are also: a player that runs, pauses and goes back, up to a horizon; who
    chooses its actions; the temperature of the prior; the recorded moment at which to start; and a
    table of what is predicted and, if the dream has it, of what happens in reality.
    """

    def __init__(self, dream: Dream, more: bool = False):
        import ipywidgets as widgets

        self.dream, self.more = dream, more
        self.screen, self.report, self.table = (widgets.HTML() for _ in range(3))
        self.buttons: dict[str, Any] = {}
        self.controls: dict[str, Any] = {}
        self._busy = False  # a control is being set by us, not by the reader
        self._over = False  # the recording, by which it plays, has no more
        for label in [*dream.choices, OWN]:
            about = "the agent's own policy chooses" if label == OWN else f"imagine a step: {label}"
            self._add(label, about, lambda label=label: dream.step(label))
        self._add("restart", "from the same moment, with the same sampling noise", dream.begin)
        self._add("new noise", "from the same moment", lambda: dream.begin(seed=dream.seed + 1))
        self._add("another moment", "of the same recording", self._move)
        steer = [self.buttons[label] for label in [*dream.choices, OWN]]
        begin = [self.buttons[label] for label in ("restart", "new noise", "another moment")]
        rows = [steer, begin]
        if more:
            self._add_more()
            rows += self.rows
        wrap = widgets.Layout(flex_flow="row wrap")
        boxes = [widgets.HBox(row, layout=wrap) for row in rows]
        extra = [self.table] if more else []
        self.view = widgets.VBox([self.screen, self.report, *extra, *boxes])
        self.redraw()

    def _add(self, label: str, about: str, do: Callable[[], None]) -> None:
        import ipywidgets as widgets

        button = widgets.Button(
            description=label, tooltip=about, layout=widgets.Layout(width="auto", min_width="5em")
        )

        def clicked(_: Any) -> None:
            do()
            self.redraw()

        button.on_click(clicked)
        self.buttons[label] = button

    def _add_more(self) -> None:
        """The player, and the sliders. All of them core widgets: the browser keeps the time."""
        import ipywidgets as widgets

        dream = self.dream
        last = len(dream.moments) - 1
        dials = {
            "horizon": notebook.dial("horizon (steps)", HORIZON, 1, LONGEST, 1),
            "temperature": notebook.dial("temperature", dream.temperature, 0.0, HOTTEST, 0.1),
            "moment": notebook.dial("real moment", dream.moments.index(dream.moment), 0, last, 1),
        }
        made = {
            "play": widgets.Play(
                value=0, min=0, max=HORIZON, step=1, interval=PACE, show_repeat=False
            ),
            "by": widgets.Dropdown(
                options=[OWN, RECORDED, *dream.choices],
                description="play by",
                style={"description_width": "initial"},
            ),
        } | {name: box for name, (box, _) in dials.items()}
        self.rows = [[named(made["play"]), made["by"]], *([row] for _, row in dials.values())]
        self.controls |= made
        for name, control in made.items():
            control.observe(functools.partial(self._turned, name), "value")

    def _turned(self, name: str, change: dict[str, Any]) -> None:
        """A control has a new value, from the reader or from the player's clock."""
        if self._busy:
            return
        self._over = False
        value = change["new"]
        if name == "play":
            self.tick() if value > 0 else self.dream.begin()  # its stop button goes back to 0
        elif name == "temperature":
            self.dream.temperature = value
        elif name == "moment":
            self.dream.begin(self.dream.moments[value])
        self.redraw()

    def tick(self) -> None:
        """Imagine one step with the action of `play by`, unless the horizon is reached."""
        choice = self.controls["by"].value
        if self.at_horizon():
            return
        try:
            self.dream.step(choice)
        except ValueError:  # the recording has no more
            self._over = True

    def at_horizon(self) -> bool:
        """Whether the rollout is as long as the horizon."""
        return self.more and self.dream.steps >= self.controls["horizon"].value

    def _move(self) -> None:
        """To a moment a fifth of the recording later, from its end to its start."""
        moments = self.dream.moments
        here = moments.index(self.dream.moment)
        self.dream.begin(moments[(here + max(1, len(moments) // 5)) % len(moments)])

    def redraw(self) -> None:
        """Show the current state."""
        words = self.dream.words()
        if self.at_horizon():
            words += " The horizon is reached: restart, or choose a longer one."
        self.screen.value = as_html(self.dream.picture(), words)
        self.report.value = f'<p role="status">{html.escape(words)}</p>'
        if self.more:
            self._set_controls()
            self.table.value = as_table(self.dream.readings())

    def _set_controls(self) -> None:
        """Set the controls to the state of the dream; at the horizon no step can be taken."""
        self._busy = True
        play, dream = self.controls["play"], self.dream
        last = dream.steps if self._over else self.controls["horizon"].value
        play.max = max(1, last, dream.steps)
        play.value = dream.steps
        self.controls["moment"].value = dream.moments.index(dream.moment)
        for label in [*dream.choices, OWN]:
            self.buttons[label].disabled = self.at_horizon()
        self._busy = False

    def seconds_per_frame(self, presses: int = 30) -> float:
        """Median seconds from a press on OWN until its new picture is handed to the browser."""
        taken = []
        for _ in range(presses + 1):
            begun = time.perf_counter()
            self.dream.step(OWN)
            self.redraw()
            taken.append(time.perf_counter() - begun)
        self.dream.begin()
        self.redraw()
        return statistics.median(taken[1:])  # the first one compiles

    def show(self) -> None:
        """Display picture and buttons."""
        from IPython.display import display

        display(self.view)


def named(play: Any) -> Any:
    """What to show of a player: its icons have no names, so a button with a name starts it.

    The player of ipywidgets 7 cannot be started from here: it is shown as it is, and the buttons of
    the actions take single steps.
    """
    import ipywidgets as widgets

    if not play.has_trait("playing"):
        return play
    button = widgets.ToggleButton(
        description="play", icon="play", tooltip="play on, up to the horizon; again: pause"
    )
    widgets.link((play, "playing"), (button, "value"))
    play.layout.display = "none"
    return widgets.HBox([button, play])


def as_table(readings: Sequence[tuple[str, str, str]]) -> str:
    """`Dream.readings` as an HTML table with heads."""
    heads = "".join(f'<th scope="col">{x}</th>' for x in ("", "dream", "reality"))
    rows = "".join(
        f'<tr><th scope="row">{html.escape(what)}</th>'
        + "".join(f"<td>{html.escape(x) or 'unknown'}</td>" for x in values)
        + "</tr>"
        for what, *values in readings
    )
    return f"<table><tr>{heads}</tr>{rows}</table>"


def steer(dream: Dream, plan: Sequence[str], more: bool = False) -> None:
    """Buttons on the dream in a notebook; in a script, the actions of `plan` one by one, in words.

    `more` as in `DreamPlayer`.

    Raises ValueError for an unknown action, in a script.
    """
    if notebook.in_notebook():
        DreamPlayer(dream, more).show()
        return
    dream.begin()
    print(dream.words())
    for choice in plan:
        dream.step(choice)
        print(dream.words())


def steer_in_page(dream: Dream, plan: Sequence[str]) -> None:
    """The page of the dream's agent, in a notebook; it goes on without a kernel.

    It has moments of its own to start from. In a script, the actions of `plan` one by one, in
    words.

    Raises ValueError for an unknown action, in a script.
    """
    if notebook.in_notebook():
        page.show(page.collect(dream.agent, dream.seed))
    else:
        steer(dream, plan)


def as_html(picture: np.ndarray, alt: str) -> str:
    """A picture (h, w, 3) uint8 as an <img>, as wide as there is room for up to its own width."""
    raw = io.BytesIO()
    Image.fromarray(picture).save(raw, "PNG", compress_level=1)
    return notebook.as_html(raw.getvalue(), alt, f"width:100%;max-width:{picture.shape[1]}px")
