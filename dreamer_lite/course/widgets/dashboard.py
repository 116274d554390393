"""The dashboard: training that draws curves and its newest dream; one can pause and stop it.

In JupyterLab it trains in a background thread, for a busy cell would leave its buttons dead. On
Colab, where a thread's pictures do not show, it trains in the cell, and the square stop button of
the cell does what *stop* does. In a script it trains there and then and says in lines how far it
is. Every picture has a twin in words. Notebooks 07 and 08.
"""

import atexit
import functools
import html
import importlib
import json
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from dreamer_lite import worlds
from dreamer_lite.agent import behavior
from dreamer_lite.agent.agent import Params, make_agent
from dreamer_lite.agent.rssm import State
from dreamer_lite.config import Config
from dreamer_lite.course import colab
from dreamer_lite.course.notebook import in_notebook, live
from dreamer_lite.evaluation.open_loop import decode
from dreamer_lite.runs import run as runs
from dreamer_lite.runs.checkpoints import LoadedAgent
from dreamer_lite.show import images, plots
from dreamer_lite.training import streams
from dreamer_lite.training.loop import Driver
from dreamer_lite.training.progress import Limits
from dreamer_lite.training.state import RunState
from dreamer_lite.worlds import AnyWorld

AHEAD = 7  # dreamt steps in the strip
EVERY = 1.5  # seconds between two pictures, and at most a tenth of the time for drawing
EVERY_LINE = 10.0  # seconds between two lines of a script
PATIENCE = 30.0  # seconds to wait for a thread that was asked to stop
RECENT = 5  # records over which the speed is averaged

_active: list["Dashboard"] = []  # one training at a time: two would share the cores


@functools.lru_cache(maxsize=8)
def make_glimpse(config: Config, world: AnyWorld) -> Callable[..., dict[str, jax.Array]]:
    """glimpse(params, state (W, ...), key): what the agent of world 0 sees, then what it dreams.

    Observations (AHEAD+1, ...) by name; its own policy acts in the dream.
    """
    graph = make_agent(config, world.obs_space, world.action_space)

    @jax.jit
    def glimpse(params: Params, state: State, key: jax.Array) -> dict[str, jax.Array]:
        agent = graph.merge(params)
        start = jax.tree.map(lambda x: x[:1], state)
        states, _ = behavior.imagine(agent.model, agent.actor, start, AHEAD, key)
        return {name: x[:, 0] for name, x in decode(agent, states).items()}

    return glimpse


class Dashboard:
    """A run up to `updates` updates that one can watch, pause, go on with and stop.

    `folder` is a run folder; one that holds a run goes on from its checkpoint. The default is a
    temporary one, made by `start` and removed when the process ends.
    `driver` replaces the package's own loop. `start` trains in a thread if `background`
    is true, by default in notebooks that are not on Colab; starting one stops any other. `mirror`
    is a folder for a copy of the run, see `runs.run`; "" is none.
    """

    def __init__(
        self,
        config: Config,
        updates: int,
        folder: str | Path = "",
        driver: Driver | None = None,
        background: bool | None = None,
        mirror: str | Path = "",
    ):
        self.config, self.updates, self.driver = config, updates, driver
        self.given = Path(folder) if folder else None
        self.mirror = Path(mirror) if mirror else None
        self.background = background
        if background is None:
            self.background = in_notebook() and not colab.on_colab()
        self.world = worlds.make(config.world)
        self.records: list[runs.Record] = []
        self.state, self.error, self.told = "ready", None, ""
        self._go, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._due, self._said = 0.0, 0.0
        self._dream, self._brush, self._name = None, None, ""
        self._draw: Callable[..., None] = live()

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.given or Path(self._temporary.name)

    @functools.cached_property
    def _temporary(self) -> tempfile.TemporaryDirectory:
        return tempfile.TemporaryDirectory(prefix="dreamer-lite-", ignore_cleanup_errors=True)

    # What a reader does

    def start(self, name: str = "") -> None:
        """Begin, or go on where the last start was stopped; show how it stands, here.

        `name` is that of the last picture, see `notebook.show`.
        """
        self._draw, self._name = live(), name
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
        self.told = ""
        if hung := [board for board in _stop_all() if board is not self]:
            self._tell(
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
            with runs.stop_on_signals(b"") as asked:
                self._work(asked)
            _pass_on(asked.signal)

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
        if self.running:
            self._stop.set()
            self._set("stopping")
            self._go.set()

    def wait(self) -> None:
        """Wait until training ends. A pause ends too, for buttons sleep while a cell is busy.

        The square stop button of the cell does what *stop* does.

        Raises what ended the training, if it failed.
        """
        with runs.stop_on_signals(b"") as asked:
            while self.running:
                if asked():
                    self.stop()
                self.go_on()
                self.join(0.2)
        _pass_on(asked.signal)
        if self.error is not None:
            raise self.error

    def join(self, seconds: float | None = None) -> None:
        """Wait for the thread to end, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    @property
    def running(self) -> bool:
        """Whether the thread lives; a pause is part of it."""
        return self._thread is not None and self._thread.is_alive()

    def agent(self) -> LoadedAgent:
        """The agent of the last checkpoint. Raises ValueError if there is none."""
        return runs.load(str(self.folder))

    # What the thread does

    def _work(self, asked: Callable[[], bool] = lambda: False) -> None:
        try:
            news = runs.run(
                self.config,
                self.folder,
                Limits(updates=self.updates),
                stop=lambda: self._stop.is_set() or asked(),
                mirror_folder=self.mirror,
                driver=self.driver,
                watch=self._watch,
                tell=self._tell,
            )
            self.records = read_records(self.folder)
            with closing(news):
                for record in news:
                    self.records.append(record)
                    if self.state == "starting":
                        self._set("running")
                    self._refresh()
                    self._go.wait()
        except Exception as error:
            self.error = error
        finally:
            done = bool(self.records) and self.records[-1]["updates"] >= self.updates
            self.state = "failed" if self.error else "finished" if done else "stopped"
            self._refresh(last=True)

    def _tell(self, sentence: str) -> None:
        """Show it beside how the run stands; what a thread prints would be lost."""
        self.told = sentence
        self._say()

    def _watch(self, state: RunState) -> None:
        """Dream ahead from what the agent sees now, if a picture is due."""
        if not in_notebook() or time.perf_counter() < self._due:
            return
        params, carry = state.learner.params, state.envs.carry.state
        if self.config.seeds > 1:
            params, carry = jax.tree.map(lambda x: x[0], (params, carry))
        glimpse = make_glimpse(self.config, self.world)
        self._dream = jax.device_get(
            glimpse(params, carry, streams.key("glimpse", len(self.records)))
        )

    def _refresh(self, last: bool = False) -> None:
        """Draw, if it is due; what has ended is drawn in any case."""
        begun = time.perf_counter()
        if begun < self._due and not last:
            if begun > self._said + 0.5:
                self._say()
            return
        self._draw(self.figure(), self.words(), self._name if last else "")
        ended = time.perf_counter()
        self._due = ended + max(EVERY if in_notebook() else EVERY_LINE, 9 * (ended - begun))
        self._say()

    def _set(self, state: str) -> None:
        self.state = state
        self._say()

    # What is shown

    def words(self) -> str:
        """How it stands, in words."""
        return f"{self._standing()} {self.told}".strip()

    def _standing(self) -> str:
        if self.error is not None:
            return f"failed: {in_a_sentence(self.error)} {self._kept()}".strip()
        if not self.records:
            if self.state == "starting":
                return "starting: it compiles first, for about 20 s on 2 CPU cores"
            return self.state
        last = self.records[-1]
        speed = np.mean([record["updates_per_second"] for record in self.records[-RECENT:]])
        text = (
            f"{self.state}, update {last['updates']:,} of {self.updates:,}, {speed:.1f} updates/s"
        )
        if self.state == "running" and len(self.records) > 1:
            text += f", about {duration((self.updates - last['updates']) / max(speed, 1e-9))} left"
        if plots.fewest_episodes(last):
            text += f"; return {last['return_mean']:.2f} ± {last['return_stderr']:.2f}"
        else:
            text += f"; {plots.NO_EPISODE}"
        losses = [name for name in last if name.startswith("loss/") and name not in plots.BEHAVIOUR]
        parts = ", ".join(f"{name.removeprefix('loss/')} {last[name]:.3g}" for name in losses)
        text += f"; losses in nats: {parts} ({self.config.free_nats:g} free)"
        return text + (f". {self._kept()}" if self.state in ("stopped", "finished") else "")

    def _kept(self) -> str:
        saved = (self.folder / "summary.json").exists()
        copy = f", with a copy in {self.mirror}" if self.mirror else ""
        keep = (
            ""
            if self.given
            else " This temporary folder goes with the kernel: folder=... keeps it."
        )
        return f"What was learnt is saved{copy}; start goes on from there.{keep}" if saved else ""

    def figure(self) -> Figure:
        """Return and losses against updates, and the newest dream."""
        if not self.records or not in_notebook():
            figure = Figure(figsize=(9.6, 0.6))
            figure.text(0.01, 0.4, plots.plain(self.words()[:110]), fontsize=10)
            return figure
        figure = Figure(figsize=(9.6, 5.2), layout="constrained")
        figure.suptitle(plots.plain(self._standing().partition("; losses")[0]), fontsize=10)
        grid = figure.add_gridspec(2, 1, height_ratios=(2.3, 1))
        left, right = (figure.add_subplot(cell) for cell in grid[0].subgridspec(1, 2))
        self._draw_return(left)
        plots.draw_losses(right, self.records, self.config.free_nats)
        right.legend(frameon=False, ncols=2, fontsize=8, loc="best")
        strip = [figure.add_subplot(cell) for cell in grid[1].subgridspec(1, AHEAD + 1)]
        self._draw_dream(strip)
        return figure

    def _draw_return(self, axes: Any) -> None:
        played = plots.with_episodes(self.records)
        updates = plots.column(played, "updates")
        low, high = plots.band(played, "return_mean")
        axes.plot(updates, plots.column(played, "return_mean"), **plots.style(0, len(updates)))
        axes.fill_between(updates, low, high, alpha=0.2, color=plots.COLOURS[0])
        if not played:
            plots.say_no_episode(axes)
        plots.decorate(axes, "updates", "return of the latest episodes")

    def _draw_dream(self, strip: list[Any]) -> None:
        for axes in strip:
            axes.axis("off")
        if self._dream is None:
            return
        if self._brush is None:
            self._brush = images.painter(self.world, [self._dream])
        for step, axes in enumerate(strip):
            axes.imshow(self._brush({name: x[step] for name, x in self._dream.items()}))
            axes.set_title(f"dream {step}" if step else "it sees", fontsize=8)

    # Buttons

    @functools.cached_property
    def view(self) -> Any:
        """The buttons and the line of words, as widgets."""
        import ipywidgets as widgets

        self.report = widgets.HTML()
        self.buttons = {}
        for label, about, do in (
            ("pause", "rest after this step", self.pause),
            ("go on", "end the pause; after a stop, start again", self._press_go_on),
            ("stop", "save and end", self.stop),
        ):
            button = widgets.Button(description=label, tooltip=about)
            button.on_click(lambda _, do=do: do())
            self.buttons[label] = button
        return widgets.VBox([widgets.HBox(list(self.buttons.values())), self.report])

    def _press_go_on(self) -> None:
        """End a pause, or start again in the same place of the notebook."""
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
            self._say()
        self._due = 0.0
        self._draw(self.figure(), self.words())

    def _say(self) -> None:
        """Bring the buttons and the line of words up to date."""
        if "view" not in self.__dict__:
            return
        self._said = time.perf_counter()
        able = {
            "pause": self.state == "running",
            "go on": self.state in ("paused", "stopped", "failed"),
            "stop": self.state in ("starting", "running", "paused"),
        }
        for label, button in self.buttons.items():
            button.disabled = not able[label]
        place = self.folder if self.given or self.records else "a temporary one"
        words = f"{self.words()} Folder: {place}"
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
    """Let trainings in threads be stopped and saved when the process ends politely: once for all.

    A kernel that is shut down or restarted ends as a program does. There the thread must end before
    Python closes the pools of threads that saving needs, which is before `atexit`. SIGTERM and
    SIGHUP would end the process without any of that, if nobody has other plans for them.
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


def _pass_on(number: int) -> None:
    """End the process if it was asked to, now that the run is saved; Ctrl-C only ends a cell."""
    if number not in (0, signal.SIGINT):
        signal.raise_signal(number)


def read_records(folder: Path) -> list[runs.Record]:
    """The records that a run folder holds."""
    file = folder / "metrics.jsonl"
    lines = file.read_bytes().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


def in_a_sentence(error: BaseException) -> str:
    """What went wrong, in one line."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        first
        if isinstance(error, ValueError | FloatingPointError | OSError)
        else (f"{type(error).__name__}: {first}")
    )


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds from two minutes on."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
