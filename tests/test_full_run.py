"""Notebook 09 in a real kernel that is killed in the middle: *Run all* goes on where it was."""

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import nbformat
import pytest
import small_run
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from dreamer_lite import worlds
from dreamer_lite.runs import checkpoints

NOTEBOOK = small_run.ROOT / "notebooks" / "09_full_run.ipynb"
# Checkpoints and copies come all the time here, so that a kill falls into the middle of one.
OFTEN = (
    "from dreamer_lite.runs import run as runs; "
    "runs.run.__kwdefaults__['save_every'] = runs.MIRROR_EVERY = 0.2"
)


def notebook(folder: Path, world: str, updates: int) -> NotebookClient:
    """The student's copy with a small run in its cell of parameters, in a kernel to come."""
    (folder / "mirror").mkdir(exist_ok=True)
    found = nbformat.read(NOTEBOOK, 4)
    (parameters,) = (c for c in found.cells if "parameters" in c.metadata.get("tags", []))
    chosen = dict(
        world_name=world,
        size="tiny",
        updates=updates,
        changes=small_run.SETTINGS,
        folder=str(folder / "run"),
        mirror=str(folder / "mirror"),
    )
    lines = [f"{name} = {value!r}" for name, value in chosen.items()]
    pid = f"open({str(folder / 'pid')!r}, 'w').write(str(os.getpid()))"
    parameters.source = "\n".join([parameters.source, *lines, OFTEN, pid])
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(found, timeout=400, kernel_name="python3", resources=resources)


def environment() -> dict[str, str]:
    words = {"PYTHONPATH": str(small_run.ROOT), "DREAMER_LITE_FAST": "1"}
    return os.environ | words | {"JAX_COMPILATION_CACHE_DIR": str(small_run.cache())}


def saved(folder: Path) -> int:
    """Updates of the checkpoint; 0 if there is none."""
    state = folder / "run" / "state"
    if not checkpoints.exists(state):
        return 0
    return checkpoints.read_meta(state)["summary"]["updates"]


def kill_in_the_middle(folder: Path, world: str, updates: int, beyond: int) -> None:
    """Run all, and SIGKILL the kernel once its checkpoint is beyond so many updates."""
    (folder / "pid").unlink(missing_ok=True)
    ended = []

    def run() -> None:
        try:
            notebook(folder, world, updates).execute(env=environment())
        except DeadKernelError:
            ended.append("killed")

    thread = threading.Thread(target=run)
    thread.start()
    end = time.monotonic() + 400
    while saved(folder) <= beyond:
        assert thread.is_alive() and time.monotonic() < end, "it never got so far"
        time.sleep(0.05)
    os.kill(int((folder / "pid").read_text(encoding="utf-8")), signal.SIGKILL)
    thread.join()
    assert ended == ["killed"] and beyond < saved(folder) < updates


@pytest.mark.slow
@pytest.mark.parametrize(
    "world, updates, step", [("catch", 6000, 100), ("dmc/walker-walk", 1000, 20)]
)
def test_run_all_goes_on_after_a_kill_and_after_the_loss_of_the_machine(
    tmp_path, world, updates, step
):
    for family in worlds.families():
        if world.startswith(family.prefix) and not family.installed:
            pytest.skip(f"{world} needs {family.package}")
    kill_in_the_middle(tmp_path, world, updates, beyond=step)
    first = saved(tmp_path)
    before = records(tmp_path, first)
    kill_in_the_middle(tmp_path, world, updates, beyond=first + step)  # it went on
    second = saved(tmp_path)
    assert records(tmp_path, second)[: len(before)] == before
    shutil.rmtree(tmp_path / "run")  # the machine is gone: only the copy is left
    client = notebook(tmp_path, world, second + step)
    client.execute(env=environment())
    whole = [record["updates"] for record in records(tmp_path, updates)]
    assert whole == sorted(set(whole)) and whole[-1] >= second + step
    assert records(tmp_path, first)[:3] == before[:3], "the run that began two kernels ago"
    said = "".join(o.get("text", "") for c in client.nb.cells for o in c.get("outputs", []))
    assert f"finished, update {whole[-1]:,} of" in said


def records(folder: Path, upto: int) -> list[dict]:
    """Whole lines of metrics up to so many updates."""
    lines = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [record for record in found if record["updates"] <= upto]
