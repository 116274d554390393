"""Processes for `test_faults.py`: a run that is killed from outside, a command that is interrupted.

    python fault_child.py PHASE PRESSES WORDS...

is `dreamer-lite WORDS...` that gets Ctrl-C, PRESSES times, in PHASE: a real signal, which the
process sends to itself, so that it cannot miss.
"""

import functools
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import orbax.checkpoint
import small_run

from dreamer_lite.__main__ import main
from dreamer_lite.runs import checkpoints, process
from dreamer_lite.runs import run as runs
from dreamer_lite.training import loop as training
from dreamer_lite.training.progress import Limits
from dreamer_lite.worlds.hosted import Loop

# The ring is never full, so that at the end the replay holds every row that was ever lived.
LONG_REPLAY: dict[str, Any] = dict(capacity=80_000, train_ratio=8)


def train(folder: str, updates: int, save_every: float, news: Connection) -> None:
    """Train in `folder`, telling the updates of every record."""
    process.enable_compilation_cache()
    config = small_run.config(**LONG_REPLAY)
    for record in runs.run(config, Path(folder), Limits(updates=updates), save_every=save_every):
        news.send(record["updates"])


class Moment(NamedTuple):
    """A call during which Ctrl-C is pressed."""

    owner: Any
    name: str
    number: int = 1  # of the call
    delay: float = 0.0  # seconds after it began; 0: before it begins


# Acting and learning are apart only where worlds are on the host.
PHASES = {
    "starting": Moment(runs, "_claim"),
    "compiling": Moment(training, "no_metrics", delay=0.5),
    "acting": Moment(Loop, "step", 3),
    "learning": Moment(training, "check_finite", 2),
    "saving": Moment(orbax.checkpoint.Checkpointer, "save", 3, delay=0.01),
    "checking": Moment(checkpoints, "_checksums"),
}


def press(presses: int) -> None:
    for _ in range(presses):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)


def press_at(moment: Moment, presses: int) -> None:
    """Let Ctrl-C be pressed at this moment."""
    function, calls = getattr(moment.owner, moment.name), iter(range(1, 10**9))

    @functools.wraps(function)
    def pressed(*arguments: Any, **settings: Any) -> Any:
        if next(calls) == moment.number:
            if moment.delay:
                threading.Timer(moment.delay, press, [presses]).start()
            else:
                press(presses)
        return function(*arguments, **settings)

    setattr(moment.owner, moment.name, pressed)


if __name__ == "__main__":
    press_at(PHASES[sys.argv[1]], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
