"""The dashboard: training that draws its curves and an imagined rollout, with pause and stop.

In JupyterLab it trains in a background thread, because the buttons of a busy cell do not react. On
Colab, where pictures of a thread are not shown, it trains in the cell, and the square stop button
of the cell does what *stop* does. In a script it trains at once and prints lines of progress.
Every picture can also be had in words. `own_board` has one for the reader's agent. Notebook 09.
"""

import atexit
import functools
import html
import importlib
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
from matplotlib.figure import Figure

from dreamer_lite import worlds
from dreamer_lite.config import Config
from dreamer_lite.course import colab
from dreamer_lite.course.notebook import as_html, in_notebook, live, png
from dreamer_lite.course.widgets.busy import CELLS
from dreamer_lite.course.widgets.progress import (
    AHEAD,
    Beside,
    describe,
    draw,
    in_a_sentence,
    make_preview,
    read_records,
)
from dreamer_lite.runs import agents, process
from dreamer_lite.runs import run as runs
from dreamer_lite.runs.agents import LoadedAgent
from dreamer_lite.runs.records import Record
from dreamer_lite.show import images, plots
from dreamer_lite.training import streams
from dreamer_lite.training.loop import Driver
from dreamer_lite.training.progress import Limits
from dreamer_lite.training.state import RunState

EVERY = 1.5  # seconds between two pictures; drawing takes at most a tenth of the time
EVERY_LINE = 10.0  # seconds between two lines in a script
PATIENCE = 30.0  # seconds to wait for a thread that was asked to stop
ACTIVE = ("starting", "running", "paused")  # states in which a training can be stopped

_active: list["Dashboard"] = []  # one training at a time: two would share the cores
CELLS.listeners.append(lambda: [board._report() for board in _active])


class Dashboard:
    """A run up to `updates` updates, or `minutes`, that one can watch, pause, resume and stop.

    `folder` is a run folder; a run that it holds is resumed from its checkpoint. The default is a
    temporary one, made by `start` and removed when the process ends. `driver` replaces the training
    loop of the library. `start` trains in a thread if `background` is true, by default in notebooks
    that are not on Colab; starting one stops any other. `mirror` is a folder for a copy of the run,
    see `runs.run`; "" is none. `beside` is a stored curve to draw beside the return.
    """

    written = "summary.json"  # a file that a saved run has

    def __init__(
        self,
        config: Config,
        updates: int | None,
        folder: str | Path = "",
        driver: Driver | None = None,
        background: bool | None = None,
        mirror: str | Path = "",
        minutes: float | None = None,
        beside: Beside | None = None,
    ):
        self.config, self.driver = config, driver
        self.limits = Limits(minutes, updates=updates)
        self.free_nats, self.beside = config.free_nats, beside
        self.given = Path(folder) if folder else None
        self.mirror = Path(mirror) if mirror else None
        self.background = background
        if background is None:
            self.background = in_notebook() and not colab.on_colab()
        self.world = worlds.make(config.world)
        self.records: list[Record] = []
        self.state, self.error, self.notice = "ready", None, ""
        self._go, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._due, self._reported = 0.0, 0.0
        self._preview, self._painter, self._name, self._waiting = None, None, "", False
        self._display: Callable[..., None] = live()

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.given or Path(self._temporary.name)

    @functools.cached_property
    def _temporary(self) -> tempfile.TemporaryDirectory:
        return tempfile.TemporaryDirectory(prefix="dreamer-lite-", ignore_cleanup_errors=True)

    def start(self, name: str = "") -> None:
        """Start, or resume where the last start was stopped; show the progress in this cell.

        `name` is that of the last picture, see `notebook.show`.
        """
        self._display, self._name = live(), name
        self._settle()
        self.go_on()
        if not self.running:
            self._prepare()
        self._show()
        if not self.running:
            self._begin()

    def _settle(self) -> None:
        """Let a thread that has ended draw its last picture."""
        if self.state in ("stopping", "stopped", "finished", "failed"):
            self.join(PATIENCE)

    def _prepare(self) -> None:
        self.notice = ""
        if hung := [board for board in _stop_all() if board is not self]:
            self._notify(
                f"The training in {hung[0].folder} does not stop: it hangs, perhaps in its "
                "environment. Restart the kernel if this one is slow."
            )
        _active[:] = [self]
        self.error = None
        self._stop.clear()
        self._go.set()
        self._set("starting")

    def _begin(self) -> None:
        if self.background:
            _save_at_the_end()
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        else:
            with process.stop_on_signals(b"") as asked:
                self._work(asked)
            process.pass_on(asked.signal)

    def pause(self) -> None:
        """Rest after the next record, until `go_on` or `stop`."""
        if self.state == "running":
            self._go.clear()
            self._set("paused")

    def go_on(self) -> None:
        """End a pause."""
        if self.state == "paused":
            self._set("running")
            self._go.set()

    def stop(self) -> None:
        """Stop after the next record and save; `start` goes on from there."""
        if self.running and self.state in ACTIVE:
            self._stop.set()
            self._set("stopping")
            self._go.set()

    def wait(self) -> None:
        """Wait until training ends. A pause ends too: buttons do not react while a cell is busy.

        The square stop button of the cell does what *stop* does.

        Raises what ended the training, if it failed.
        """
        self.go_on()
        self._waiting = True
        with process.stop_on_signals(b"") as asked:
            while self.running:
                if asked():
                    self.stop()
                self.join(0.2)
        self._waiting = False
        process.pass_on(asked.signal)
        if self.error is not None:
            raise self.error

    def join(self, seconds: float | None = None) -> None:
        """Wait for the thread to end, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    @property
    def running(self) -> bool:
        """Whether the thread is alive, also during a pause."""
        return self._thread is not None and self._thread.is_alive()

    def agent(self) -> LoadedAgent:
        """The agent of the last checkpoint. Raises ValueError if there is none."""
        return agents.load(str(self.folder))

    # In the thread

    def _work(self, asked: Callable[[], bool] = lambda: False) -> None:
        try:
            steps = self._train(lambda: self._stop.is_set() or asked())
            self.records = self._earlier()
            with closing(steps):
                for record in steps:
                    self.records.append(record)
                    if self.state == "starting":
                        self._set("running")
                    self._refresh()
                    self._go.wait()
        except Exception as error:
            self.error = error
        finally:
            done = bool(self.records) and self._finished()
            self.state = "failed" if self.error else "finished" if done else "stopped"
            self._refresh(last=True)

    def _train(self, stop: Callable[[], bool]) -> Generator[Record, None, None]:
        return runs.run(
            self.config, self.folder, self.limits, stop=stop, mirror_folder=self.mirror,
            driver=self.driver, watch=self._watch, tell=self._notify,
        )  # fmt: skip

    def _earlier(self) -> list[Record]:
        return read_records(self.folder)

    def _finished(self) -> bool:
        return runs.finished(self.folder, self.limits)

    def _notify(self, sentence: str) -> None:
        """Show a sentence beside the progress; what a thread prints would be lost."""
        self.notice = sentence
        self._report()

    def _watch(self, state: Any) -> None:
        """Imagine some steps from the agent's state now, if a picture is due."""
        if in_notebook() and time.perf_counter() >= self._due:
            self._preview = jax.device_get(self._imagine(state))

    def _imagine(self, state: RunState) -> dict[str, jax.Array]:
        params, carry = state.learner.params, state.envs.carry.state
        if self.config.seeds > 1:
            params, carry = jax.tree.map(lambda x: x[0], (params, carry))
        key = streams.key("glimpse", len(self.records))
        return make_preview(self.config, self.world)(params, carry, key)

    def _refresh(self, last: bool = False) -> None:
        """Draw, if it is due; what has ended is drawn in any case."""
        begun = time.perf_counter()
        if begun < self._due and not last:
            if begun > self._reported + 0.5:
                self._report()
            return
        self._display(self.figure(), self.words(), self._name if last else "")
        ended = time.perf_counter()
        self._due = ended + max(EVERY if in_notebook() else EVERY_LINE, 9 * (ended - begun))
        self._report()

    def _set(self, state: str) -> None:
        self.state = state
        self._report()

    # What is shown

    def words(self) -> str:
        """The progress in words."""
        return f"{self._progress()} {self.notice}".strip()

    def _progress(self) -> str:
        if self.error is not None:
            return f"failed: {in_a_sentence(self.error)} {self._saved()}".strip()
        text = describe(self.state, self.records, self.limits, self.free_nats)
        ended = self.records and self.state in ("stopped", "finished")
        return f"{text}. {self._saved()}" if ended else text

    def _saved(self) -> str:
        if not (self.folder / self.written).exists():
            return ""
        copy = f", with a copy in {self.mirror}" if self.mirror else ""
        lost = " This temporary folder is deleted with the kernel: folder=... keeps it."
        return f"The run is saved{copy}; start resumes it.{'' if self.given else lost}"

    def figure(self) -> Figure:
        """Return and losses against updates, and the newest imagined rollout."""
        if not self.records or not in_notebook():
            figure = Figure(figsize=(9.6, 0.6))
            figure.text(0.01, 0.4, plots.plain(self.words()[:110]), fontsize=10)
            return figure
        frames = []
        if (seen := self._preview) is not None:
            self._painter = paint = self._painter or images.painter(self.world, [seen])
            frames = [paint({name: x[i] for name, x in seen.items()}) for i in range(AHEAD + 1)]
        return self._draw(self._progress().partition("; losses")[0], frames)

    def _draw(self, title: str, frames: Sequence[Any]) -> Figure:
        return draw(title, self.records, self.free_nats, frames, self.beside)

    # Buttons

    @functools.cached_property
    def view(self) -> Any:
        """The buttons and the line of words, as widgets."""
        import ipywidgets as widgets

        self.report = widgets.HTML()
        self.buttons = {}
        for label, about, do in (
            ("pause", "pause after this step", self.pause),
            ("go on", "end the pause; after a stop, start again", self.go),
            ("stop", "save and end", self.stop),
        ):
            button = widgets.Button(description=label, tooltip=about)
            button.on_click(lambda _, do=do: do())
            self.buttons[label] = button
        return widgets.VBox([widgets.HBox(list(self.buttons.values())), self.report])

    def box(self) -> Any:
        """Buttons, words and picture as one widget, for a panel; `go` starts the training."""
        import ipywidgets as widgets

        picture = widgets.HTML()

        def show(figure: Figure, alt: str, name: str = "") -> None:
            picture.value = as_html(png(figure, alt), alt)

        self._display = show
        show(self.figure(), self.words())
        return widgets.VBox([self.view, picture])

    def go(self) -> None:
        """End a pause, or start (again) in the same place of the notebook."""
        self._settle()
        self.go_on()
        if not self.running:
            self._prepare()
            self._begin()

    def _show(self) -> None:
        """Display the buttons, if they can work, and the first picture."""
        if in_notebook() and self.background:
            from IPython.display import display

            display(self.view)
            self._report()
        self._due = 0.0
        self._display(self.figure(), self.words())

    def _report(self) -> None:
        """Bring the buttons and the line of words up to date."""
        if "view" not in self.__dict__:
            return
        self._reported = time.perf_counter()
        able = {
            "pause": self.state == "running",
            "go on": self.state in ("paused", "stopped", "failed"),
            "stop": self.state in ACTIVE,
        }
        for label, button in self.buttons.items():
            button.disabled = CELLS.running or not able[label]
        place = self.folder if self.given or self.records else "a temporary one"
        words = f"{self.words().removesuffix('.')}. Folder: {place}."
        words += CELLS.note(self._waiting) if self.state in ACTIVE else ""
        self.report.value = f'<p role="status">{html.escape(words)}</p>'


def _stop_all(seconds: float = PATIENCE) -> list[Dashboard]:
    """Stop and save every training in a thread; returns those that have not ended in so long."""
    end = time.monotonic() + seconds
    for board in _active:
        board.stop()
    for board in _active:
        board.join(max(0.0, end - time.monotonic()))
    return [board for board in _active if board.running]


@functools.cache
def _save_at_the_end() -> None:
    """Register, once, that trainings in threads are stopped and saved when the process exits.

    A kernel that is shut down or restarted exits as a program does. The thread must end before
    Python closes the thread pools that saving needs, which is before `atexit`. SIGTERM and SIGHUP
    would end the process without any of that; handlers that somebody else has set are kept.
    """
    importlib.import_module("concurrent.futures.thread")  # what was registered last comes first
    getattr(threading, "_register_atexit", atexit.register)(_stop_all)
    if threading.current_thread() is not threading.main_thread():
        return

    def end(number: int, _frame: Any) -> None:
        _stop_all()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)
