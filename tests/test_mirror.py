"""The copy of a run where folders may vanish: it arrives, is checked, and a run goes on from it."""

import dataclasses
import errno
import json
import os
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import small_run
from small_run import metrics

from dreamer_lite import files, worlds
from dreamer_lite.__main__ import main
from dreamer_lite.runs import checkpoints, mirror
from dreamer_lite.runs import run as runs
from dreamer_lite.runs.errors import CheckpointError, RunError
from dreamer_lite.training.loop import Driver, make_driver
from dreamer_lite.training.progress import Limits
from dreamer_lite.training.state import RunState

# One row an update; the ring begins to overwrite after 100 rows.
RECORDS = "metrics.jsonl"
CONFIG = small_run.config(capacity=400, train_ratio=8, updates_per_call=10)


@pytest.fixture(scope="module")
def driver() -> Driver:
    return make_driver(CONFIG, worlds.make("catch"))


@pytest.fixture(autouse=True)
def same_driver_and_many_pushes(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "make_driver", lambda *_: driver)
    monkeypatch.setattr(runs, "MIRROR_EVERY", 0.0)


def train(folder: Path, copy: Path, updates: int) -> None:
    """To this many updates, with a push after every record."""
    limits = Limits(updates=updates)
    list(runs.run(CONFIG, folder, limits, save_every=0, mirror_folder=copy))


def state_of(folder: Path, driver: Driver) -> RunState:
    return checkpoints.restore(folder / "state", driver.init(0))[0]


def without_latents(state: RunState) -> RunState:
    """Stored latents are refreshed after their rows were copied."""
    latents = jax.tree.map(np.zeros_like, (state.replay.deter, state.replay.stoch))
    return state._replace(replay=state.replay._replace(deter=latents[0], stoch=latents[1]))


def chunks(copy: Path) -> list[str]:
    return sorted(file.name for file in copy.glob("replay-*"))


@pytest.mark.parametrize("updates", [10, 120], ids=["ring not full", "ring overwritten"])
def test_what_is_fetched_is_what_was_pushed(
    updates: int, driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "CHUNK", 5_000)  # bytes: several files at a time
    train(tmp_path / "here", tmp_path / "copy", updates)
    mirror.fetch(tmp_path / "copy", tmp_path / "there")
    here, there = (state_of(tmp_path / name, driver) for name in ("here", "there"))
    full = int(here.replay.added) > checkpoints.ring_length(here)
    assert full == (updates == 120)
    small_run.assert_same(without_latents(there), without_latents(here))
    remembered = np.asarray(there.replay.deter).any((1, 2)) | there.replay.timesteps.is_first.all(1)
    assert remembered[: int(there.replay.added)].all(), "latents as they were when copied"
    assert metrics(tmp_path / "here") == metrics(tmp_path / "there")


def test_a_run_goes_on_where_its_folder_is_gone(driver: Driver, tmp_path: Path) -> None:
    train(tmp_path / "first", tmp_path / "copy", 20)
    lived = int(state_of(tmp_path / "first", driver).replay.added)
    shutil.rmtree(tmp_path / "first")  # the machine was taken away
    train(tmp_path / "second", tmp_path / "copy", 40)
    records = (tmp_path / "second" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    updates = [json.loads(line)["updates"] for line in records]
    assert updates == sorted(set(updates)) and updates[0] <= 5 and updates[-1] >= 40
    assert int(state_of(tmp_path / "second", driver).replay.added) > lived


def test_rows_are_written_once(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    train(tmp_path / "run", copy, 20)
    before = {name: (copy / name).stat().st_mtime_ns for name in chunks(copy)}
    train(tmp_path / "run", copy, 40)
    assert before == {name: (copy / name).stat().st_mtime_ns for name in before}
    assert len(chunks(copy)) > len(before)


def test_files_of_overwritten_rows_are_used_again(tmp_path: Path) -> None:
    train(tmp_path / "run", tmp_path / "copy", 120)
    count = len(chunks(tmp_path / "copy"))
    train(tmp_path / "run", tmp_path / "copy", 200)
    assert len(chunks(tmp_path / "copy")) == count
    assert {f.name for f in (tmp_path / "copy").iterdir()} == {
        "slot-0", "slot-1", "metrics.jsonl", *chunks(tmp_path / "copy"),
        "agent.safetensors", "agent.json", "summary.json",
    }  # fmt: skip


def newest_slot(copy: Path) -> Path:
    return max((copy / "slot-0", copy / "slot-1"), key=lambda file: file.stat().st_mtime_ns)


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("harm", [cut_short, flip, lambda file: file.write_bytes(b"")])
@pytest.mark.parametrize("what", ["slot", "rows"])
def test_what_did_not_arrive_whole_leaves_the_one_before(harm, what: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    train(tmp_path / "run", copy, 20)
    earlier = [slot.meta["summary"]["updates"] for slot in mirror._slots(copy)]
    last_rows = mirror._slots(copy)[0].chunks[-1]["file"]
    harm(newest_slot(copy) if what == "slot" else copy / last_rows)
    with pytest.warns(UserWarning, match=f"continuing from the one before, update {earlier[1]}"):
        mirror.fetch(copy, tmp_path / "there")
    meta = checkpoints.read_meta(tmp_path / "there" / "state")
    assert meta["summary"]["updates"] == earlier[1] < earlier[0]


def test_a_copy_that_is_broken_twice_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "run", tmp_path / "copy", 20)
    for name in ("slot-0", "slot-1"):
        flip(tmp_path / "copy" / name)
    with pytest.raises(CheckpointError, match="has not arrived whole: wait until"):
        train(tmp_path / "other", tmp_path / "copy", 40)


def test_the_copy_of_another_run_is_left_alone(tmp_path: Path) -> None:
    train(tmp_path / "run", tmp_path / "copy", 10)
    before = {file.name: file.read_bytes() for file in (tmp_path / "copy").iterdir()}
    other = dataclasses.replace(CONFIG, seed=1)
    sentence = re.escape(f"{tmp_path / 'copy'} holds a run with seed=0 (asked: 1)")
    with pytest.raises(RunError, match=sentence):
        list(runs.run(other, tmp_path / "o", Limits(updates=5), mirror_folder=tmp_path / "copy"))
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "copy").iterdir()}


def test_the_run_that_is_further_is_gone_on_from(driver: Driver, tmp_path: Path) -> None:
    """The local one here; rows of the copy's other past do not get mixed in."""
    train(tmp_path / "short", tmp_path / "copy", 10)
    list(runs.run(CONFIG, tmp_path / "long", Limits(updates=40)))
    state = state_of(tmp_path / "long", driver)
    reward = np.asarray(state.replay.timesteps.reward).copy()
    rows = state.replay.timesteps._replace(reward=reward + 1)  # another past
    meta = checkpoints.read_meta(tmp_path / "long" / "state")
    other = state._replace(replay=state.replay._replace(timesteps=rows))
    checkpoints.save(tmp_path / "long" / "state", other, meta)
    train(tmp_path / "long", tmp_path / "copy", 60)
    mirror.fetch(tmp_path / "copy", tmp_path / "there")
    long, there = (state_of(tmp_path / name, driver) for name in ("long", "there"))
    small_run.assert_same(without_latents(there), without_latents(long))


@pytest.mark.parametrize("cut", ["before the checkpoint", "after it"])
def test_a_fetch_that_is_cut_off_loses_no_records(
    cut: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "first", tmp_path / "copy", 20)
    written = checkpoints.write

    def killed(*arguments) -> Path:
        if cut == "after it":
            written(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "second", tmp_path / "copy", 20)
    monkeypatch.setattr(checkpoints, "write", written)
    train(tmp_path / "second", tmp_path / "copy", 40)
    first, second, copy = (metrics(tmp_path / name) for name in ("first", "second", "copy"))
    assert second == copy and second[: len(first)] == first and second[-1]["updates"] == 40


@pytest.mark.parametrize("harm", [cut_short, Path.unlink])
def test_records_that_did_not_arrive_are_told_or_taken_from_here(harm, tmp_path: Path) -> None:
    run, copy = tmp_path / "run", tmp_path / "copy"
    train(run, copy, 30)
    whole = metrics(run)
    shutil.rmtree(run / "state")  # the records are still here
    harm(copy / "metrics.jsonl")
    mirror.fetch(copy, run)
    assert metrics(run) == whole
    told: list[str] = []
    list(
        runs.run(
            CONFIG, tmp_path / "other", Limits(updates=30), mirror_folder=copy, tell=told.append
        )
    )
    left = len(whole) - 1 if harm is cut_short else 0
    assert f"is not as it was written: {left} of its {len(whole)} records" in " ".join(told)
    assert metrics(tmp_path / "other") == whole[:left]


class Hiccups:
    """Makes writing in a copy fail at some of its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails):
        self.calls, self.fails, self.overwrite = 0, fails, mirror._overwrite
        monkeypatch.setattr(mirror, "_overwrite", self)

    def __call__(self, file: Path, data: bytes) -> None:
        self.calls += 1
        if self.fails(self.calls):
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self.overwrite(file, data)


def test_a_hiccup_does_not_end_the_training(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hiccups(monkeypatch, lambda call: call in (1, 5, 6))
    run, copy, told = tmp_path / "run", tmp_path / "copy", []
    limits = Limits(updates=40)
    list(runs.run(CONFIG, run, limits, save_every=0, mirror_folder=copy, tell=told.append))
    assert len(told) == 3 and all("endpoint is not connected" in said for said in told)
    assert all("the run itself is intact. The next copy will try again" in said for said in told)
    mirror.fetch(copy, tmp_path / "there")
    here, there = (state_of(tmp_path / name, driver) for name in ("run", "there"))
    small_run.assert_same(without_latents(there), without_latents(here))
    assert metrics(copy) == metrics(run)


def test_a_copy_that_fails_to_the_end_is_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Hiccups(monkeypatch, lambda call: True)
    words = ["train", *small_run.FLAGS, "--mirror", str(tmp_path / "copy"), "--updates", "10"]
    monkeypatch.setattr(runs, "make_driver", lambda config, world, *_: make_driver(config, world))
    assert main([*words, "--run", str(tmp_path / "run")]) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err and "The next copy will try again." in err
    assert err.splitlines()[-1].endswith("leave --mirror out; the run itself is intact.")
    assert checkpoints.read_meta(tmp_path / "run" / "state")["summary"]["updates"] == 10


def test_a_first_copy_that_was_cut_off_is_made_anew(driver: Driver, tmp_path: Path) -> None:
    run, copy = tmp_path / "run", tmp_path / "copy"
    list(runs.run(CONFIG, run, Limits(updates=10)))
    mirror.check(copy)
    mirror.push(copy, state_of(run, driver), checkpoints.read_meta(run / "state"), run / RECORDS)
    (slot,) = copy.glob("slot-*")
    cut_short(slot)
    with pytest.raises(CheckpointError, match="has not arrived whole: wait until"):
        train(tmp_path / "other machine", copy, 30)
    told: list[str] = []
    list(runs.run(CONFIG, run, Limits(updates=30), mirror_folder=copy, tell=told.append))
    assert told == [f"The first copy in {copy} was cut off: it will be made again."]
    mirror.fetch(copy, tmp_path / "there")


def test_a_copy_whose_folder_vanishes_is_not_made_elsewhere(tmp_path: Path) -> None:
    run, disk = tmp_path / "run", tmp_path / "disk"
    disk.mkdir()
    copy, told = disk / "copy", []
    limits = Limits(updates=30)
    news = runs.run(CONFIG, run, limits, save_every=0, mirror_folder=copy, tell=told.append)
    next(news)
    copy.rename(tmp_path / "unmounted")
    with pytest.raises(OSError, match=r"the folder is gone or is another one.*itself is intact"):
        list(news)
    assert not any(disk.iterdir()) and told
    assert checkpoints.read_meta(run / "state")["summary"]["updates"] == 30
    copy.mkdir()  # as a folder may be, below the place where a disk was mounted
    with pytest.raises(OSError, match="the folder is gone"):
        meta = checkpoints.read_meta(run / "state")
        mirror.push(copy, None, meta, run / "metrics.jsonl")  # pyright: ignore
    assert not any(copy.iterdir())


def test_a_copy_on_a_disk_that_is_not_mounted_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "DRIVE", tmp_path / "drive")
    (tmp_path / "drive" / "MyDrive").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "drive" / "MyDrive")
    for copy, words in (
        (tmp_path / "usb" / "copy", f"there is no folder {tmp_path / 'usb'}: make it, or mount"),
        (tmp_path / "drive" / "MyDrive" / "copy", "Google Drive is not mounted: call colab.drive"),
        (tmp_path / "drive" / "copy", "Google Drive is not mounted"),
        (tmp_path / "link" / "copy", "Google Drive is not mounted"),
    ):
        with pytest.raises(RunError, match=re.escape(f"Cannot write a copy in {copy} ({words}")):
            train(tmp_path / "run", copy, 10)
        assert not copy.exists() and not (tmp_path / "usb").exists()
    monkeypatch.setattr(os.path, "ismount", lambda place: str(place) == str(files.DRIVE))
    train(tmp_path / "run", tmp_path / "drive" / "MyDrive" / "copy", 10)


def test_a_run_is_not_its_own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    run = tmp_path / "here" / "run"
    for copy in (run, Path("here/run"), tmp_path / "link" / "run", run / "copy", run.parent):
        with pytest.raises(RunError, match="are one folder, or one is in the other: choose"):
            runs.run(CONFIG, run, Limits(updates=5), mirror_folder=copy)
    assert not any((tmp_path / "here").iterdir())
    list(runs.run(CONFIG, run, Limits(updates=5), mirror_folder=tmp_path / "copy"))
    before = metrics(run)
    with pytest.raises(RunError, match="is a run folder itself: choose another folder"):
        runs.run(CONFIG, tmp_path / "other", Limits(updates=5), mirror_folder=run)
    assert metrics(run) == before


@pytest.mark.parametrize("inside", ["", "deeper/still"])
def test_a_copy_that_cannot_be_written_is_refused_at_once(inside: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where the folder should be", encoding="utf-8")
    copy = tmp_path / "file" / inside
    sentence = re.escape(f"Cannot write a copy in {copy} (") + r".*\): choose .* leave it out\.$"
    with pytest.raises(RunError, match=sentence):
        runs.run(CONFIG, tmp_path / "run", Limits(updates=10), mirror_folder=copy)
    assert not checkpoints.exists(tmp_path / "run" / "state")
    list(runs.run(CONFIG, tmp_path / "run", Limits(updates=5)))  # the folder is free again


def test_looking_whether_a_copy_can_be_written_leaves_no_run_there(tmp_path: Path) -> None:
    mirror.check(tmp_path / "copy")
    mirror.check(tmp_path / "copy")
    assert not mirror.exists(tmp_path / "copy")


def test_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", *small_run.FLAGS, "--set", "capacity=400", "--mirror", str(tmp_path / "copy")]
    assert main([*words, "--updates", "10", "--run", str(tmp_path / "a")]) == 0
    assert mirror.exists(tmp_path / "copy")
    assert main([*words, "--updates", "10", "--run", str(tmp_path / "b")]) == 0
    assert "10" in capsys.readouterr().out
    assert (
        json.loads((tmp_path / "b" / "summary.json").read_text(encoding="utf-8"))["updates"] >= 10
    )
