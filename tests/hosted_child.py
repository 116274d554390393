"""A run that writes down every row its worlds give; `test_hosted_kills.py` kills it.

    python hosted_child.py WORLD RUN LOG UPDATES

LOG holds the rows of this process as bytes, one record of all worlds after the other.
"""

import os
import sys
from pathlib import Path

import numpy as np
import small_run

from dreamer_lite import worlds
from dreamer_lite.config import Config
from dreamer_lite.presets import make_config
from dreamer_lite.runs import process
from dreamer_lite.runs import run as runs
from dreamer_lite.training.progress import Limits
from dreamer_lite.worlds.base import TimeStep

SETTINGS = small_run.SETTINGS | dict(size="pixels-cpu", image_blocks=2, depth=1, capacity=20_000)


def config_of(name: str) -> Config:
    """Patches for what has pictures; one update for every row of the four worlds.

    Eight for those that live for minutes, which would fill the replay else.
    """
    return make_config(name, **SETTINGS, train_ratio=8 if name.startswith("gym/") else 64)


def as_bytes(row: TimeStep) -> bytes:
    """A row of W worlds, one world after the other."""
    leaves = [*(row.obs[key] for key in sorted(row.obs)), *row[1:]]
    flat = [np.ascontiguousarray(x).reshape(len(row.reward), -1).view(np.uint8) for x in leaves]
    return np.concatenate(flat, 1).tobytes()


def write_down(world: worlds.AnyWorld, log: Path) -> None:
    """From now on, every row of worlds of this kind goes to `log`, at once and unbuffered."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    start = type(world).start

    def start_logged(self, *arguments):
        stepper = start(self, *arguments)
        for name in ("reset", "step"):
            setattr(stepper, name, logged(getattr(stepper, name)))
        return stepper

    def logged(method):
        def call(*arguments):
            row = method(*arguments)
            os.write(file, as_bytes(row))
            return row

        return call

    type(world).start = start_logged


def main() -> None:
    name, run, log, updates = sys.argv[1:]
    config = config_of(name)
    process.enable_compilation_cache()
    write_down(worlds.make(name), Path(log))
    for record in runs.run(config, Path(run), Limits(updates=int(updates)), save_every=0):
        print("updates", record["updates"], flush=True)


if __name__ == "__main__":
    main()
