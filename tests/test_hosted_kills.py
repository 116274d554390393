"""Runs around worlds on the host, killed again and again: no row that was kept is wrong.

Such a world cannot be part of a checkpoint, so a run that goes on starts its worlds anew. What the
replay then holds must be, process by process, the rows that the worlds gave, up to the checkpoint
from which the next process went on.
"""

import random
import signal
import time
from pathlib import Path
from typing import Any

import hosted_child
import jax
import numpy as np
import pytest
import small_run

from dreamer_lite import worlds
from dreamer_lite.runs import checkpoints
from dreamer_lite.runs import run as runs

NEVER = 10**6  # more updates than any machine makes before it is killed


@pytest.mark.parametrize(
    ("name", "kills", "longest"),  # seconds that a process may live once it has saved
    [
        ("gym/CartPole-v1", 3, 0.6),
        pytest.param("atari/pong", 5, 150, marks=pytest.mark.slow),
        pytest.param("dmc/walker-walk", 5, 150, marks=pytest.mark.slow),
    ],
)
def test_no_row_that_was_kept_is_wrong(name: str, kills: int, longest: float, tmp_path) -> None:
    (family,) = (family for family in worlds.families() if name.startswith(family.prefix))
    if not family.installed:
        pytest.skip(f"{name} needs {family.package}")
    run, going_on_from = tmp_path / "run", [0]
    chance = random.Random(0)
    for number in range(kills):
        child = start(name, run, tmp_path / f"{number}.log", NEVER)
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line.startswith("updates"), line or child.communicate()[1]
        time.sleep(chance.uniform(0, longest))
        child.kill()
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        going_on_from.append(rows_of(run))
    child = start(name, run, tmp_path / f"{kills}.log", summary_of(run)["updates"] + 20)
    _, err = child.communicate(timeout=400)
    assert child.returncode == 0, err

    kept = rows_kept(name, run)
    going_on_from.append(len(kept))
    assert len(kept) == rows_of(run)
    for number in range(kills + 1):
        first, end = going_on_from[number : number + 2]
        lived = np.fromfile(tmp_path / f"{number}.log", np.uint8)
        lived = lived.reshape(-1, *kept.shape[1:])
        np.testing.assert_array_equal(kept[first:end], lived[: end - first], f"process {number}")
    files = {"config.json", "lock", "metrics.jsonl", "state", "summary.json"}
    assert {file.name for file in run.iterdir()} == files
    assert all(place.name.isdigit() for place in (run / "state").iterdir())


def start(name: str, run: Path, log: Path, updates: int):
    """The child; it saves after every record, so that most kills fall into the middle of that."""
    script = str(Path(hosted_child.__file__))
    # A killed process must not leave half a file in the shared cache: it only reads there.
    only_read = {} if not run.exists() else {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1000"}
    return small_run.start([script, name, str(run), str(log), str(updates)], **only_read)


def summary_of(run: Path) -> dict[str, Any]:
    """How the run stands in its newest checkpoint."""
    return checkpoints.read_meta(run / "state")["summary"]


def rows_of(run: Path) -> int:
    """Rows that the newest checkpoint has of each world."""
    return summary_of(run)["agent_steps"] // hosted_child.SETTINGS["worlds"]


def rows_kept(name: str, run: Path) -> np.ndarray:
    """The replay's rows as the child writes them down, (rows, W, bytes)."""
    config = hosted_child.config_of(name)
    driver = runs.make_driver(config, worlds.make(name))
    state, _ = checkpoints.restore(run / "state", driver.init(0))
    driver.close()
    rows, count = state.replay.timesteps, int(state.replay.added)
    assert count < len(rows.reward), "the ring must not have begun to overwrite"
    rows = jax.tree.map(np.asarray, rows)
    written = [hosted_child.as_bytes(jax.tree.map(lambda x, i=i: x[i], rows)) for i in range(count)]
    return np.frombuffer(b"".join(written), np.uint8).reshape(count, config.worlds, -1)
