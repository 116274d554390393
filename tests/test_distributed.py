"""One run in several processes on this machine: it computes what one does; what can go wrong."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_run

from dreamer_lite.__main__ import main
from dreamer_lite.runs import checkpoints
from dreamer_lite.training import hosts

WAIT = 900  # seconds that a process may take on a busy machine
STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """The processes that a test has started end with it."""
    yield
    for child in STARTED:
        child.kill()
        child.wait()
    STARTED.clear()


def start(words: list[str], devices: int = 1) -> subprocess.Popen:
    """A process with so many simulated devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    STARTED.append(small_run.start(words, XLA_FLAGS=flags, PYTHONPATH=str(small_run.ROOT)))
    return STARTED[-1]


def ended(children: list[subprocess.Popen], status: int = 0) -> list[str]:
    """What each process wrote to stderr, after it ended with this exit status."""
    said = []
    for child in children:
        _, err = child.communicate(timeout=WAIT)
        assert child.returncode == status, err
        said.append(err)
    return said


def address() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


def trained(
    out: Path, world: str, processes: int, devices: int, *precision: str
) -> tuple[dict, dict]:
    """(about, arrays) after 50 updates in so many processes with so many devices each."""
    where, child = address(), "tests/hosts_child.py"
    ended(
        [
            start([child, str(out), world, where, str(processes), str(number), *precision], devices)
            for number in range(processes)
        ]
    )
    with np.load(out) as found:
        arrays = {name: found[name] for name in found.files}
    return json.loads(str(arrays.pop("about"))), arrays


@pytest.mark.slow
@pytest.mark.parametrize(
    "processes, precision, tolerance", [(2, "float32", 1e-5), (4, "float64", 1e-9)]
)
def test_several_processes_compute_what_one_does(
    tmp_path: Path, processes: int, precision: str, tolerance: float
) -> None:
    """Losses of 50 updates, parameters, replay and all; the one process has one device.

    Sums over devices are rounded in another order, and training amplifies that: on some processors
    to 1e-4 in float32 after 50 updates. In float64 nothing else may differ.
    """
    about, one = trained(tmp_path / "one.npz", "catch", 1, 1, precision)
    several, all_of_them = trained(tmp_path / "all.npz", "catch", processes, 1, precision)
    assert (about["devices"], about["local"]) == (1, 1)
    assert (several["devices"], several["local"]) == (processes, 1)
    assert len(set(about["losses"])) > 5
    np.testing.assert_allclose(several["losses"], about["losses"], rtol=tolerance)
    assert one.keys() == all_of_them.keys()
    for name in one:
        np.testing.assert_allclose(all_of_them[name], one[name], tolerance, tolerance, err_msg=name)
    kernels = [x for name, x in one.items() if name.endswith("['kernel']")]
    assert kernels and {str(x.dtype) for x in kernels} == {precision}


@pytest.mark.slow
def test_environments_on_the_host_are_divided(tmp_path: Path) -> None:
    """Each of two processes steps half of them; one process has two devices of its own."""
    for processes, devices in ((2, 1), (1, 2)):
        about, arrays = trained(tmp_path / "out.npz", "gym/CartPole-v1", processes, devices)
        assert about["devices"] == 2 and len(set(about["losses"])) > 5
        position = next(x for n, x in arrays.items() if n.startswith(".replay.timesteps.obs"))
        used = int(arrays[".replay.added"])
        assert np.isfinite(about["losses"]).all() and used > 40
        first = position[0]
        assert len(np.unique(first, axis=0)) == len(first) == 4, "every environment is another one"


def command(folder: Path, where: str, number: int, updates: int, *more: str) -> list[str]:
    words = ["-m", "dreamer_lite", "train", *small_run.FLAGS, "--updates", str(updates)]
    together = ["--coordinator", where, "--processes", "2", "--process", str(number)]
    return [*words, "--run", str(folder), *together, *more]


def alone(folder: Path, updates: int) -> list[str]:
    words = ["-m", "dreamer_lite", "train", *small_run.FLAGS, "--updates", str(updates)]
    return [*words, "--run", str(folder), "--devices", "all"]


@pytest.mark.slow
def test_a_checkpoint_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    """One process, then two, then one: the same as one process with two devices all the time."""
    folder, whole = tmp_path / "run", tmp_path / "whole"
    ended([start(alone(folder, 11), devices=2)])
    where = address()
    said = ended([start(command(folder, where, number, 31)) for number in (0, 1)])
    assert "updates/s" in said[0] and "updates/s" not in said[1], "one shows the progress"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert (summary["updates"], summary["processes"], summary["devices"]) == (31, 2, 2)
    where = address()
    said = ended([start(command(folder, where, number, 31)) for number in (0, 1)])
    assert "has reached this limit already" in said[0] and "limit" not in said[1]
    ended([start(alone(folder, 41), devices=2)])
    ended([start(alone(whole, n), devices=2) for n in (41,)])
    records = small_run.metrics(folder)
    assert [r["updates"] for r in records][-1] == 41
    parts: Any = [checkpoints.verified(place / "state")[0] for place in (folder, whole)]
    for part in ("agent", "run"):
        here, there = (checkpoints.read(place, part) for place in parts)
        for name in here:
            np.testing.assert_allclose(here[name], there[name], 1e-5, 1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("dead", [0, 1])
def test_when_a_process_dies_the_other_stops_and_the_command_goes_on(
    tmp_path: Path, dead: int
) -> None:
    folder, where = tmp_path / "run", address()
    children = [start(command(folder, where, number, 10**6)) for number in (0, 1)]
    until = time.monotonic() + WAIT
    while not (folder / "summary.json").exists():
        assert time.monotonic() < until and all(child.poll() is None for child in children)
        time.sleep(0.2)
    children[dead].send_signal(signal.SIGKILL)
    begun = time.monotonic()
    _, err = children[1 - dead].communicate(timeout=WAIT)
    assert time.monotonic() - begun < 2 * hosts.HEARTBEAT
    # JAX may be faster to say so where its coordinator has died.
    sentence = hosts.DIED in err
    assert sentence or (dead == 0 and "another task died" in err), err
    assert children[1 - dead].returncode == (1 if sentence else -signal.SIGABRT)
    done = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["updates"]
    where = address()
    again = [start(command(folder, where, number, done + 5)) for number in (0, 1)]
    ended(again)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["updates"] >= done + 5


@pytest.mark.slow
def test_a_signal_to_one_process_stops_and_saves_all(tmp_path: Path) -> None:
    folder, where = tmp_path / "run", address()
    children = [start(command(folder, where, number, 10**6)) for number in (0, 1)]
    until = time.monotonic() + WAIT
    while not (folder / "summary.json").exists():
        assert time.monotonic() < until and all(child.poll() is None for child in children)
        time.sleep(0.2)
    children[1].send_signal(signal.SIGTERM)
    codes = []
    for child in children:
        _, err = child.communicate(timeout=WAIT)
        codes.append(child.returncode)
    assert codes == [0, 128 + signal.SIGTERM]
    last = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert small_run.metrics(folder)[-1]["updates"] == last["updates"]


@pytest.mark.slow
def test_a_folder_in_use_is_refused_by_all_with_one_sentence(tmp_path: Path) -> None:
    folder, where = tmp_path / "file", address()
    folder.touch()
    said = ended([start(command(folder, where, n, 5)) for n in (0, 1)], status=2)
    for err in said:
        assert f"dreamer-lite: Cannot write in {folder}" in err


BAD = [
    (["--coordinator", "a:1"], "--coordinator, --processes and --process go together"),
    (["--process", "0"], "--coordinator, --processes and --process go together"),
    (["--coordinator", "a", "--processes", "2", "--process", "0"], "is not of the form HOST:PORT"),
    (["--coordinator", "a:1", "--processes", "2", "--process", "2"], "of 2 processes, 0 is the"),
]


@pytest.mark.parametrize(("words", "sentence"), BAD)
def test_bad_input_is_one_sentence(words: list[str], sentence: str, tmp_path, capsys) -> None:
    full = ["train", "--world", "catch", "--updates", "1", "--run", str(tmp_path / "run"), *words]
    assert main(full) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_tasks_of_slurm_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def given(**values: str) -> dict[str, Any]:
        for name in ("STEP_NUM_TASKS", "STEP_NUM_NODES", "PROCID"):
            monkeypatch.delenv(f"SLURM_{name}", raising=False)
            if name in values:
                monkeypatch.setenv(f"SLURM_{name}", values[name])
        return hosts.of_slurm()

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    slurm = {"cluster_detection_method": "slurm"}
    assert given() == {}
    assert given(STEP_NUM_TASKS="1", STEP_NUM_NODES="1", PROCID="0") == {}
    assert given(STEP_NUM_TASKS="2", STEP_NUM_NODES="2", PROCID="1") == slurm
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    all_four = slurm | {"local_device_ids": [0, 1, 2, 3]}
    assert given(STEP_NUM_TASKS="2", STEP_NUM_NODES="2", PROCID="1") == all_four
    assert given(STEP_NUM_TASKS="8", STEP_NUM_NODES="2", PROCID="1") == slurm, "one for each task"


def test_with_one_process_nothing_happens() -> None:
    array = np.arange(3)
    assert not hosts.several() and hosts.is_first()
    assert hosts.agree(0.1) == 0.1 and hosts.any_of(True) and not hosts.any_of(False)
    assert hosts.first_does(lambda: array) is array and hosts.whole(array) is array
    with pytest.raises(KeyError), hosts.noticing_deaths():
        raise KeyError
