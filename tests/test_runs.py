"""Run folders: nothing is lost, whatever interrupts a run, and nobody else's files are touched."""

import contextlib
import csv
import errno
import hashlib
import json
import os
import random
import re
import resource
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import small_run
from small_run import metrics, state_of

from dreamer_lite import assets
from dreamer_lite.commands.parser import make_parser
from dreamer_lite.commands.settings import settings
from dreamer_lite.presets import make_config
from dreamer_lite.runs import agents, checkpoints, description, process, records
from dreamer_lite.runs import run as runs
from dreamer_lite.runs.errors import CheckpointError, RunError
from dreamer_lite.training.loop import Driver
from dreamer_lite.training.progress import Limits

CONFIG = small_run.config()
TIMING = {"seconds", "updates_per_second"}


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


# Killed

CHILD = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import small_run
from dreamer_lite.runs import process
from dreamer_lite.runs import run as runs
from dreamer_lite.training.progress import Limits
process.enable_compilation_cache()
records = runs.run(small_run.config(), Path(sys.argv[1]), Limits(updates=120), save_every=0)
for record in records:
    print("updates", record["updates"], flush=True)
"""


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, driver: Driver) -> None:
    """It saves after every call, so that most kills fall into the middle of saving."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    child = small_run.start(["-c", CHILD, str(whole)])
    out, err = child.communicate(timeout=400)
    assert child.returncode == 0, err

    # A killed process must not leave half a file in the shared cache: it only reads there.
    only_read = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1000"}
    chance = random.Random(0)
    for _ in range(3):
        child = small_run.start(["-c", CHILD, str(killed)], **only_read)
        assert child.stdout is not None
        assert child.stdout.readline().startswith("updates")
        time.sleep(chance.uniform(0, 0.6))
        child.kill()
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        checkpoints.read_meta(killed / "state")  # whole
        with (killed / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"updates": 9')  # as if the kill had hit this write
    child = small_run.start(["-c", CHILD, str(killed)], **only_read)
    out, err = child.communicate(timeout=400)
    assert child.returncode == 0, err
    assert out

    small_run.assert_same(state_of(killed, driver), state_of(whole, driver))
    assert metrics(killed) == metrics(whole)
    clock = ("wall_seconds", "first_update_seconds")
    a, b = ({k: v for k, v in summary(x).items() if k not in clock} for x in (whole, killed))
    assert a == b


def test_what_the_checkpoint_does_not_know_is_cut_off(tmp_path: Path, same_driver: None) -> None:
    records = runs.run(CONFIG, tmp_path, Limits(updates=20))
    written = list(records)
    good = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    later = json.dumps(written[-1] | {"updates": 999})
    (tmp_path / "metrics.jsonl").write_text(f'{good}{later}\n{{"updates": 1', encoding="utf-8")
    (tmp_path / "summary.json").unlink()  # a kill between checkpoint and summary
    with pytest.warns(UserWarning, match="2 records after the checkpoint, update 20, were dropped"):
        assert list(runs.run(CONFIG, tmp_path, Limits(updates=20))) == []
    assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8") == good
    assert summary(tmp_path)["updates"] == written[-1]["updates"]


ROWS = [json.dumps({"updates": n, "loss": n / 7}).encode() + b"\n" for n in range(1, 9)]
WHOLE = b"".join(ROWS[:6])  # up to the checkpoint at update 6
KNOWN = {"rows": 6, "bytes": len(WHOLE), "sha256": hashlib.sha256(WHOLE).hexdigest()}


@pytest.mark.parametrize("known", [KNOWN, None], ids=["with checksum", "of an earlier version"])
def test_only_rows_beyond_the_checkpoint_are_dropped(known: Any, tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    for behind, words in {
        b"": None,
        ROWS[6]: "1 record after the checkpoint, update 6, was dropped",
        b"".join(ROWS[6:]) + b'{"upd': "3 records after the checkpoint, update 6, were dropped",
        b"\xff\x00": "1 record after",
    }.items():
        file.write_bytes(WHOLE + behind)
        told = records.repair(file, 6, known)
        assert file.read_bytes() == WHOLE and len(told) == bool(words)
        assert not words or words in told[0]
        assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("known", [KNOWN, None], ids=["with checksum", "of an earlier version"])
def test_what_is_missing_of_the_records_is_told_and_what_is_left_is_kept(
    known: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # it takes time
    file, of = tmp_path / "metrics.jsonl", " of its 6" if known else ""
    flipped = b"\x81" + ROWS[2][1:]
    for number, (found, kept) in enumerate(
        [
            (b"".join([*ROWS[:2], flipped, *ROWS[3:8]]), [0, 1, 3, 4, 5]),  # a byte
            (b"".join([*ROWS[:5], ROWS[5][:-4]]), [0, 1, 2, 3, 4]),  # cut off
            (b"".join(ROWS[:4]), [0, 1, 2, 3]),
            (b"".join([*ROWS[:2], *ROWS[6:], *ROWS[2:6]]), [0, 1, 2, 3, 4, 5]),
            (b"".join([*ROWS[:3], *ROWS[:6]]), [0, 1, 2, 3, 4, 5]),
            (bytes(len(WHOLE)), []),
            (b"", []),
            (None, []),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = folder / "metrics.jsonl"
        if found is not None:
            file.write_bytes(found)
        (told,) = records.repair(file, 6, known)
        assert (
            f"is not as it was written: {len(kept)}{of} records up to update 6 can be read" in told
        )
        left = b"".join(ROWS[n] for n in kept)
        assert (file.read_bytes() if file.exists() else b"") == left
        aside = file.with_name("metrics.jsonl.damaged")
        if found and found != left:
            assert aside.read_bytes() == found and aside.name in told, "nothing is lost"
            file.write_bytes(found)
            assert "metrics.jsonl.damaged2" in records.repair(file, 6, known)[0]
        else:
            assert not aside.exists()


def test_a_digit_that_was_changed_in_the_records_is_told(tmp_path: Path, same_driver: None) -> None:
    list(runs.run(CONFIG, tmp_path, Limits(updates=20)))
    file = tmp_path / "metrics.jsonl"
    changed = file.read_bytes().replace(b'"episodes": ', b'"episodes": 1', 1)
    file.write_bytes(changed)
    told: list[str] = []
    list(runs.run(CONFIG, tmp_path, Limits(updates=20), tell=told.append))
    assert file.read_bytes() == changed and len(told) == 1
    assert re.search(
        r"not as it was written: (\d) of its \1 records up to update 20 can be", told[0]
    )
    list(runs.run(CONFIG, tmp_path, Limits(updates=30), tell=told.append))  # told again: no save
    told.clear()
    list(runs.run(CONFIG, tmp_path, Limits(updates=40), tell=told.append))
    assert told == [], "the newest checkpoint knows them as they are now"


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path, same_driver: None) -> None:
    """Its checkpoint has no checksum of the records."""
    list(runs.run(CONFIG, tmp_path, Limits(updates=20)))
    (place,) = (p for p in (tmp_path / "state").iterdir() if p.name == "000002")
    meta = json.loads((place / "meta.json").read_text(encoding="utf-8"))
    assert meta.pop("metrics")["rows"] == len(metrics(tmp_path))
    (place / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"] = checkpoints._checksums(place)
    manifest["files"].pop("manifest.json")
    (place / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    list(runs.run(CONFIG, tmp_path, Limits(updates=30)))  # without a warning
    assert metrics(tmp_path)[-1]["updates"] == 30


def test_lost_checkpoints_are_told_and_nothing_is_touched(
    tmp_path: Path, same_driver: None
) -> None:
    list(runs.run(CONFIG, tmp_path, Limits(updates=20)))
    (tmp_path / "state").rename(tmp_path / "elsewhere")
    files = {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file() and p.name != "lock"}
    for missing in ("nothing", "summary.json"):
        files.pop(tmp_path / missing, None)
        (tmp_path / missing).unlink(missing_ok=True)
        with pytest.raises(RunError, match=r"has lost its checkpoints, the folders in .*--run"):
            runs.run(CONFIG, tmp_path, Limits(updates=30))
        assert files == {p: p.read_bytes() for p in files}
    (tmp_path / "elsewhere").rename(tmp_path / "state")
    list(runs.run(CONFIG, tmp_path, Limits(updates=30)))


def test_another_version_of_jax_is_told(
    tmp_path: Path, same_driver: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(runs.run(CONFIG, tmp_path, Limits(updates=5)))
    monkeypatch.setattr(description, "_version", lambda name: "99")
    told: list[str] = []
    list(runs.run(CONFIG, tmp_path, Limits(updates=10), tell=told.append))
    assert len(told) == 1 and f"with jax {jax.__version__} and continues with 99" in told[0]


# Stopped, finished, gone on


def test_a_run_in_parts_is_the_whole_run(tmp_path: Path, same_driver: None, driver: Driver) -> None:
    limits = Limits(updates=60)
    list(runs.run(CONFIG, tmp_path / "whole", limits))
    presses = iter([False, False, True])
    first = list(runs.run(CONFIG, tmp_path / "parts", limits, stop=lambda: next(presses)))
    assert len(first) == 3
    seconds = summary(tmp_path / "parts")["wall_seconds"]
    records = runs.run(CONFIG, tmp_path / "parts", limits, elapsed=100.0)
    assert next(records)["seconds"] > seconds + 100
    records.close()  # a notebook may stop between any two records
    list(runs.run(CONFIG, tmp_path / "parts", limits))
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    small_run.assert_same(
        state_of(tmp_path / "parts", driver), state_of(tmp_path / "whole", driver)
    )
    found = summary(tmp_path / "parts")
    assert found["wall_seconds"] > seconds + 100
    assert found["first_update_seconds"] < seconds + 1  # of the first start


def test_a_new_run_begins_from_an_agent(tmp_path: Path, same_driver: None, driver: Driver) -> None:
    list(runs.run(CONFIG, tmp_path / "first", Limits(updates=20)))
    agents.export(tmp_path / "first", tmp_path / "agent.safetensors")
    origin = runs.Origin("agent", agents.load(str(tmp_path / "agent.safetensors")).params)
    seen: list = []

    def watch(state) -> None:
        if not seen:  # the warm-up starts at rate 0: the first update changes nothing
            seen.append(jax.device_get((state.learner.params, state.learner.slow_critic)))

    presses = iter([True, True])
    list(
        runs.run(
            CONFIG, tmp_path / "second", Limits(updates=40), origin=origin, watch=watch,
            stop=lambda: next(presses),
        )
    )  # fmt: skip
    small_run.assert_same(seen[0][0], origin.params)
    jax.tree.map(  # the slow critic has moved once, from equal numbers to equal numbers
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        seen[0][1],
        origin.params["critic"],
    )
    fresh = driver.init(CONFIG.seed).learner.params
    with pytest.raises(AssertionError):
        small_run.assert_same(seen[0][0], jax.device_get(fresh))
    assert summary(tmp_path / "second")["from"] == "agent"
    list(runs.run(CONFIG, tmp_path / "second", Limits(updates=40)))  # it goes on without the agent
    assert summary(tmp_path / "second")["from"] == "agent"
    info = agents.export(tmp_path / "second", tmp_path / "more.safetensors")
    assert "--from agent" in info["trained"]["command"]


def test_an_agent_with_other_networks_begins_nothing(tmp_path: Path, same_driver: None) -> None:
    other = agents.load("pendulum").params
    with pytest.raises(RunError, match="other shapes: choose the same --size"):
        runs.run(CONFIG, tmp_path, Limits(updates=1), origin=runs.Origin("pendulum", other))
    assert not (tmp_path / "state").exists()


def test_summary_has_the_keys_that_others_build_on(tmp_path: Path, same_driver: None) -> None:
    *_, last = runs.run(CONFIG, tmp_path, Limits(steps=60))
    found = summary(tmp_path)
    assert (
        list(found)
        == (
            "return_mean return_stderr episodes agent_steps env_frames updates wall_seconds "
            "first_update_seconds versions device"
        ).split()
    )
    assert found["agent_steps"] == found["env_frames"] == last["agent_steps"] >= 60
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["world"] == "catch"
    assert runs.finished(tmp_path, Limits(steps=60)) and not runs.finished(tmp_path, Limits())
    minutes = found["wall_seconds"] / 60
    assert runs.finished(tmp_path, Limits(minutes=0.99 * minutes))
    assert not runs.finished(tmp_path, Limits(minutes=1.01 * minutes))


@pytest.fixture
def ctrl_c_raises() -> Iterator[None]:
    """As in a terminal: what a shell starts in the background ignores Ctrl-C, its children too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_raises")
def test_two_presses() -> None:
    before = signal.getsignal(signal.SIGINT)
    with process.stop_on_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert stop() and stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    pressed = []
    with process.stop_on_signals(again=lambda number, frame: pressed.append(number)):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
    assert pressed == [signal.SIGINT]
    with process.stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert stop.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) is before


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.mark.usefixtures("ctrl_c_raises")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_also_where_stderr_is_gone(number: int) -> None:
    read, write = os.pipe()
    os.close(read)  # as a terminal that was closed
    stderr = os.dup(2)
    os.dup2(write, 2)
    try:
        with process.stop_on_signals() as stop:
            send(number)
            assert stop.signal == number
    finally:
        os.dup2(stderr, 2)
        for end in (stderr, write):
            os.close(end)


def test_signals_that_come_together_are_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed terminal sends SIGHUP twice and SIGTERM, `timeout` SIGTERM twice."""
    again = []
    for first in (signal.SIGHUP, signal.SIGTERM):
        with process.stop_on_signals(b"", lambda number, frame: again.append(number)) as stop:
            for number in (first, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
                send(number)
            assert stop.signal == first and again == []
    monkeypatch.setattr(process, "TWICE", 0.0)
    with process.stop_on_signals(b"", lambda number, frame: again.append(number)):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            send(number)
    assert again == [signal.SIGTERM]


@pytest.mark.filterwarnings("ignore:os.fork")  # the child uses no JAX
def test_nohup_stays_and_processes_that_are_forked_can_be_ended() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.stop_on_signals(b"") as stop:
            send(signal.SIGHUP)
            assert not stop()
            child = os.fork()
            if child == 0:
                time.sleep(20)
                os._exit(0)
            time.sleep(0.1)
            os.kill(child, signal.SIGINT)
            os.kill(child, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGHUP, before)


# What breaks


def breaking(driver: Driver, calls: int, name: str) -> Driver:
    """A driver whose metric `name` is NaN from a certain call on."""
    made = iter(range(1000))

    def advance(*args: Any) -> Any:
        state, found = driver.advance(*args)
        return state, found | ({name: jax.numpy.nan} if next(made) >= calls else {})

    return driver._replace(advance=advance)


def test_nan_stops_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "make_driver", lambda *_: breaking(driver, 4, "loss/reward"))
    seen = []
    with pytest.raises(FloatingPointError, match=r"loss/reward became nan"):
        for record in runs.run(CONFIG, tmp_path, Limits(updates=100), save_every=0):
            seen.append(record["updates"])
    assert len(seen) > 1
    assert summary(tmp_path)["updates"] == seen[-1]
    assert int(state_of(tmp_path, driver).updates) == seen[-1]


@contextlib.contextmanager
def full_disk(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [200, 5000])  # metrics.jsonl breaks, or the checkpoint
def test_a_full_disk_is_one_sentence(tmp_path: Path, same_driver: None, limit: int) -> None:
    list(runs.run(CONFIG, tmp_path, Limits(updates=10)))
    before = summary(tmp_path)
    records = runs.run(CONFIG, tmp_path, Limits(updates=20), save_every=0)
    with full_disk(limit), pytest.raises(OSError, match=r"^Could not .* make room there"):
        list(records)
    assert summary(tmp_path) == before
    told: list[str] = []
    list(runs.run(CONFIG, tmp_path, Limits(updates=20), tell=told.append))  # with room again
    assert len(told) == (limit == 5000), "the row that came before its checkpoint"
    assert summary(tmp_path)["updates"] >= 20


# What is refused


def test_a_folder_in_use(tmp_path: Path, same_driver: None) -> None:
    records = runs.run(CONFIG, tmp_path, Limits(updates=10))
    next(records)
    with pytest.raises(RunError, match=f"in use by process {os.getpid()}: .*--run"):
        runs.run(CONFIG, tmp_path, Limits(updates=10))
    records.close()
    list(runs.run(CONFIG, tmp_path, Limits(updates=10)))


@pytest.mark.filterwarnings("ignore:os.fork")  # the child uses no JAX
def test_a_lock_is_not_inherited(tmp_path: Path, same_driver: None) -> None:
    """An environment's helper, forked, may outlive a trainer that was killed."""
    read, write = os.pipe()
    go, gone = os.pipe()
    trainer = os.fork()
    if trainer == 0:
        lock = process.lock_folder(tmp_path, print)
        if os.fork() == 0:  # the helper
            os.close(gone)
            os.write(write, b"forked")
            os.read(go, 1)  # until the test ends
            os._exit(0)
        time.sleep(20)
        lock.close()
        os._exit(0)
    try:
        assert os.read(read, 6) == b"forked"
        with pytest.raises(RunError, match=f"in use by process {trainer}"):
            runs.run(CONFIG, tmp_path, Limits(updates=5))
        os.kill(trainer, signal.SIGKILL)
        os.waitpid(trainer, 0)
        list(runs.run(CONFIG, tmp_path, Limits(updates=5)))
    finally:
        for end in (gone, go, read, write):
            os.close(end)


def test_a_lock_that_is_another_file_is_left_alone(tmp_path: Path) -> None:
    precious, run = tmp_path / "precious", tmp_path / "run"
    run.mkdir()
    precious.write_text("precious", encoding="utf-8")
    for make in (
        lambda lock: lock.symlink_to(precious),
        lambda lock: lock.symlink_to(tmp_path / "new"),
        lambda lock: lock.symlink_to("/dev/full"),
        lambda lock: lock.hardlink_to(precious),
        lambda lock: os.mkfifo(lock),
        lambda lock: lock.mkdir(),
    ):
        make(run / "lock")
        with pytest.raises(RunError, match="run/lock is a link or no regular file"):
            runs.run(CONFIG, run, Limits(updates=5))
        assert (
            precious.read_text(encoding="utf-8") == "precious" and not (tmp_path / "new").exists()
        )
        assert [file.name for file in run.iterdir()] == ["lock"]
        (run / "lock").rmdir() if (run / "lock").is_dir() else (run / "lock").unlink()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_without_locks(
    number: int, tmp_path: Path, same_driver: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(process.fcntl, "flock", flock)
    told: list[str] = []
    list(runs.run(CONFIG, tmp_path, Limits(updates=5), tell=told.append))
    assert len(told) == 1 and "has no locks" in told[0] and os.strerror(number) in told[0]


def test_another_config(tmp_path: Path, same_driver: None) -> None:
    list(runs.run(CONFIG, tmp_path, Limits(updates=5)))
    other = small_run.config(seed=1, updates_per_call=6)
    with pytest.raises(RunError) as error:
        runs.run(other, tmp_path, Limits(updates=5))
    assert "seed=0 (asked: 1), updates_per_call=5 (asked: 6): ask for the same" in str(error.value)
    list(runs.run(CONFIG, tmp_path, Limits(updates=10)))  # nothing was touched, the lock is free


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match=r"Cannot write in .*: choose another folder"):
        runs.run(CONFIG, tmp_path / "file" / "run", Limits(updates=5))


def test_somebody_elses_folder(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("precious\n", encoding="utf-8")
    with pytest.raises(RunError, match="of no run"):
        runs.run(CONFIG, tmp_path, Limits(updates=5))
    assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8") == "precious\n"


def test_a_damaged_checkpoint_stops_the_run(tmp_path: Path, same_driver: None) -> None:
    list(runs.run(CONFIG, tmp_path, Limits(updates=5)))
    newest = sorted((tmp_path / "state").iterdir())[-1]
    (newest / "meta.json").unlink()
    before = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    with pytest.raises(CheckpointError, match=re.escape(str(newest))):
        runs.run(CONFIG, tmp_path, Limits(updates=10))
    assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8") == before


# Agents by name


def test_export_and_load(tmp_path: Path, same_driver: None, driver: Driver) -> None:
    list(runs.run(CONFIG, tmp_path / "run", Limits(updates=10)))
    out = tmp_path / "agent.safetensors"
    agents.export(tmp_path / "run", out)
    _, params, _ = agents.load(str(tmp_path / "run"))
    config, again, info = agents.load(str(out))
    assert config == CONFIG
    small_run.assert_same(again, params)
    assert {"world", "return_mean", "return_stderr", "episodes", "trained"} <= info.keys()
    trained = info["trained"]
    assert trained["command"].startswith("dreamer-lite train --world catch --size tiny --seed 0")
    assert "--set units=8" in trained["command"] and trained["updates"] >= 10
    with pytest.raises(ValueError, match=r"There is no agent 'nobody': name a run folder"):
        agents.load("nobody")


def test_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "catch.safetensors").write_text("", encoding="utf-8")
    monkeypatch.setattr(assets, "_FOLDER", tmp_path)
    assert assets.agents() == ["catch"]
    assert assets.path("agents/catch.safetensors").is_file()
    with pytest.raises(ValueError, match=r"no asset 'agents/cat': did you mean agents/catch"):
        assets.path("agents/cat")
    with pytest.raises(ValueError, match="no asset"):
        assets.path("../secret")


@pytest.mark.parametrize("name", assets.agents())
def test_shipped_agents_say_how_they_were_made(name: str) -> None:
    """The command in the .json builds the very settings, and the curve is that of this training."""
    agent = agents.load(name)
    words = shlex.split(agent.info["trained"]["command"])
    args = make_parser().parse_args(words[1:])
    made = make_config(args.world, args.size, seed=args.seed, **settings(args.set))
    assert made == agent.config
    with assets.path(f"agents/{name}.csv").open(encoding="utf-8") as file:
        *_, last = csv.DictReader(file)
    assert int(last["updates"]) == args.updates == agent.info["trained"]["updates"]
    assert float(last["return_mean"]) == pytest.approx(agent.info["return_mean"])
    assert f"| `{name}` |" in assets.path("README.md").read_text(encoding="utf-8")


def test_the_compilation_cache_may_be_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    program = (
        "import jax; from dreamer_lite.runs import process; process.enable_compilation_cache();"
        "print(jax.jit(lambda x: x + 1)(1), bool(jax.config.values['jax_compilation_cache_dir']))"
    )
    child = small_run.start(
        ["-c", program], JAX_COMPILATION_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path / "file")
    )
    out, err = child.communicate(timeout=200)
    assert (out.split(), err) == (["2", "False"], "")
