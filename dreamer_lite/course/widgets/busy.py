"""Whether a cell of the notebook runs: until it ends, the kernel answers no button of a widget."""

from collections.abc import Callable
from typing import Any

from dreamer_lite.course.notebook import in_notebook

BUSY = " A cell is running: the buttons answer when it has ended."
WAITS = " A cell waits for the end: its square stop button stops the training and saves."


class Cells:
    """`running` says whether a cell runs; `listeners` are called when one begins or ends."""

    def __init__(self) -> None:
        self.running = False
        self.listeners: list[Callable[[], Any]] = []

    def begin(self, _info: Any = None) -> None:
        """A cell begins."""
        self._set(True)

    def end(self, _result: Any = None) -> None:
        """It has ended."""
        self._set(False)

    def note(self, waiting: bool) -> str:
        """What to say beside buttons; `waiting` if the cell that runs waits for their training."""
        if not self.running:
            return ""
        return WAITS if waiting else BUSY

    def _set(self, running: bool) -> None:
        self.running = running
        for listener in self.listeners:
            listener()


def watched() -> Cells:
    """The cells of this notebook, of which one imports this; in a script none runs."""
    cells = Cells()
    if in_notebook():
        from IPython.core.getipython import get_ipython

        events: Any = getattr(get_ipython(), "events")  # noqa: B009
        events.register("pre_run_cell", cells.begin)
        events.register("post_run_cell", cells.end)
        cells.running = True
    return cells


CELLS = watched()
