"""The dashboard: a real small training in a thread is paused, goes on, stops, saves, and fails."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import jax
import numpy as np
import pytest
import small_run

from dreamer_lite import worlds
from dreamer_lite.course.widgets import Dashboard, busy, dashboard
from dreamer_lite.runs import checkpoints, mirror
from dreamer_lite.runs import run as runs
from dreamer_lite.training.loop import Driver, make_driver
from dreamer_lite.training.progress import Limits

ENDLESS = 10**6  # updates


def until(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Wait for a condition; a time-out only says that a thread hangs."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def driver() -> Driver:
    """The library's own loop, compiled once for all boards."""
    return make_driver(small_run.config(), worlds.make("catch"))


@pytest.fixture
def board(tmp_path, driver):
    made = Dashboard(small_run.config(), ENDLESS, tmp_path / "run", driver, background=True)
    assert made.view is not None
    yield made
    made.stop()
    made.join()


def able(board: Dashboard) -> set[str]:
    return {label for label, button in board.buttons.items() if not button.disabled}


def test_pause_go_on_and_stop(board):
    assert board.state == "ready" and not board.running
    board.start()
    until(lambda: len(board.records) >= 2)
    assert board.state == "running" and able(board) == {"pause", "stop"}
    board.buttons["pause"].click()
    count = len(board.records)
    assert board.state == "paused" and able(board) == {"go on", "stop"}
    time.sleep(1.0)
    assert len(board.records) <= count + 1  # the one that was under way
    assert "paused, update " in board.report.value and board.running
    assert f"(0.1 free). Folder: {board.folder}." in board.report.value
    board.buttons["go on"].click()
    until(lambda: len(board.records) > count + 3)
    assert board.state == "running"
    board.buttons["stop"].click()
    board.join(120)
    assert board.state == "stopped" and not board.running and able(board) == {"go on"}
    summary = json.loads((board.folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["updates"] == board.records[-1]["updates"] > 0
    assert "is saved; start resumes" in board.report.value
    assert f"Folder: {board.folder}" in board.report.value
    # What was saved is an agent, and the run goes on from it.
    assert board.agent().config.world == "catch"
    board.buttons["go on"].click()
    until(lambda: board.records[-1]["updates"] > summary["updates"])
    updates = [record["updates"] for record in board.records]
    assert updates == sorted(set(updates)) and updates[0] == 1


def test_stop_ends_a_pause_and_saves(board):
    board.start()
    until(lambda: len(board.records) >= 1)
    until(lambda: board.state == "running")
    board.pause()
    board.stop()
    board.join(120)
    assert board.state == "stopped" and (board.folder / "summary.json").exists()


def test_starting_another_stops_and_saves_the_first(board, driver, tmp_path):
    board.start()
    until(lambda: len(board.records) >= 1)
    other = Dashboard(small_run.config(seed=1), 3, tmp_path / "other", driver, background=True)
    other.start()
    assert board.state == "stopped" and (board.folder / "summary.json").exists()
    other.wait()
    assert other.state == "finished"


def faulty(driver: Driver, error: Exception | None) -> Driver:
    """A driver that after some calls raises, or gives a loss that is no number."""
    calls = []

    def advance(state, *counts):
        calls.append(1)
        state, metrics = driver.advance(state, *counts)
        if len(calls) >= 5:
            if error:
                raise error
            metrics = metrics | {"loss/image": metrics["loss/image"] * np.nan}
        return state, metrics

    return driver._replace(advance=advance)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (None, "failed: loss/image became nan before update "),
        (RuntimeError("boom\nmore"), "failed: RuntimeError: boom"),
    ],
)
def test_failure_in_the_thread_is_one_sentence_and_what_was_saved_stays(
    tmp_path, driver, error, words
):
    board = Dashboard(
        small_run.config(), ENDLESS, tmp_path / "run", faulty(driver, error), background=True
    )
    assert board.view is not None
    board.start()
    board.join(120)
    assert board.state == "failed" and words in board.words() and "\n" not in board.words()
    assert words in board.report.value and "go on" in able(board)
    assert board.agent().config.world == "catch"  # the checkpoint of the first record
    with pytest.raises(RuntimeError if error else FloatingPointError):
        board.wait()


def test_a_folder_of_another_run_is_refused_in_a_sentence(board, tmp_path):
    board.start()
    until(lambda: len(board.records) >= 1)
    board.stop()
    board.join()
    other = Dashboard(small_run.config(units=16), 5, board.folder, background=True)
    other.start()
    other.join()
    assert "failed: " in other.words() and "units=8 (asked: 16)" in other.words()


def test_a_copy_is_kept_and_gone_on_from_where_the_folder_is_gone(tmp_path, driver):
    copy = tmp_path / "copy"
    first = Dashboard(small_run.config(), 12, tmp_path / "a", driver, background=False, mirror=copy)
    first.start()
    assert first.state == "finished" and str(copy) in first.words()
    again = Dashboard(small_run.config(), 20, tmp_path / "b", driver, background=False, mirror=copy)
    again.start()
    assert again.records[: len(first.records)] == first.records
    assert again.state == "finished" and again.records[-1]["updates"] == 20
    # A folder that cannot be written is refused before anything is trained.
    (tmp_path / "file").touch()
    third = Dashboard(
        small_run.config(), 5, tmp_path / "c", driver, background=False, mirror=tmp_path / "file"
    )
    third.start()
    assert third.state == "failed" and "Cannot write a copy in" in third.words()
    assert not third.records


def test_in_a_script_it_trains_in_lines_and_a_second_start_finds_it_finished(
    tmp_path, driver, capsys
):
    board = Dashboard(small_run.config(), 12, tmp_path, driver)
    assert not board.background
    board.start()
    out = capsys.readouterr().out
    assert "[picture] starting" in out and "finished, update 12 of 12" in out
    assert "losses in nats: " in out and "image " in out and "return " in out
    again = Dashboard(small_run.config(), 12, tmp_path, driver)
    again.start()
    assert again.state == "finished" and len(again.records) == len(board.records)
    again.wait()


def test_minutes_stop_a_run_and_count_earlier_starts(tmp_path, driver):
    def saved() -> dict:
        return json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))

    Dashboard(small_run.config(), 5, tmp_path, driver).start()
    before = saved()
    minutes = before["wall_seconds"] / 60 + 0.2
    board = Dashboard(small_run.config(), None, tmp_path, driver, minutes=minutes)
    board.start()
    assert board.state == "finished" and f"of {minutes:g}, " in board.words()
    assert before["updates"] < saved()["updates"] < ENDLESS
    assert 60 * minutes <= saved()["wall_seconds"] < 60 * minutes + 60
    again = Dashboard(small_run.config(), None, tmp_path, driver, minutes=minutes)
    again.start()
    assert again.state == "finished" and len(again.records) == len(board.records)


def test_an_interrupt_stops_and_saves_where_training_blocks_the_cell(tmp_path, driver):
    board = Dashboard(small_run.config(), ENDLESS, tmp_path, driver)

    def interrupt() -> None:
        until(lambda: len(board.records) >= 2)
        os.kill(os.getpid(), signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    helper.start()
    board.start()
    helper.join()
    assert board.state == "stopped"
    saved = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert saved["updates"] == board.records[-1]["updates"]


def test_an_interrupt_while_waiting_stops_the_thread_and_ends_a_pause(board):
    board.start()
    until(lambda: board.state == "running")
    board.pause()
    helper = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    helper.start()
    board.wait()
    assert board.state == "stopped" and not board.running


def test_an_interrupt_while_the_last_picture_is_drawn_leaves_buttons_that_work(board):
    """The picture takes longer than `wait` takes to look again."""
    board.start()
    until(lambda: board.state == "running")
    board._display = lambda *_: time.sleep(0.7)
    helper = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    helper.start()
    board.wait()
    assert board.state == "stopped" and able(board) == {"go on"}
    assert "stopped, update " in board.report.value and busy.WAITS not in board.report.value


def test_buttons_are_grey_while_a_cell_runs(board):
    """The kernel would answer them after that, when nobody expects it."""
    board.start()
    until(lambda: board.state == "running")
    busy.CELLS.begin()
    assert able(board) == set() and busy.BUSY in board.report.value
    count = len(board.records)
    until(lambda: len(board.records) > count)
    assert able(board) == set()
    busy.CELLS.end()
    assert able(board) == {"pause", "stop"} and busy.BUSY not in board.report.value
    busy.CELLS.begin()
    seen = []
    helper = threading.Thread(
        target=lambda: (until(lambda: busy.WAITS in board.report.value), seen.append(1))
    )
    helper.start()
    threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    board.wait()
    helper.join()
    busy.CELLS.end()
    assert seen and able(board) == {"go on"} and busy.WAITS not in board.report.value


def test_the_picture_shows_return_losses_and_a_dream_of_the_training_agent(
    tmp_path, driver, monkeypatch
):
    drawn = []
    monkeypatch.setattr(dashboard, "in_notebook", lambda: True)
    monkeypatch.setattr(dashboard, "EVERY", 0.0)
    monkeypatch.setattr(dashboard, "live", lambda: lambda *args: drawn.append(args))
    board = Dashboard(small_run.config(), 40, tmp_path, driver, background=False)
    board.start("07_dashboard")
    figure, words, name = drawn[-1]
    assert name == "07_dashboard" and all(entry[2:] in ((), ("",)) for entry in drawn[:-1])
    assert words.startswith("finished, update 40 of 40")
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels[:2] == ["return of the latest episodes", "loss (nats, log scale)"]
    legend = figure.axes[1].get_legend().get_texts()
    assert any("free nats" in text.get_text() for text in legend)
    strip = [axes.get_title() for axes in figure.axes[2:]]
    assert strip == ["reconstruction"] + [f"imagined {i}" for i in range(1, dashboard.AHEAD + 1)]
    assert all(axes.images for axes in figure.axes[2:])


def test_the_preview_starts_at_the_posterior_of_the_agent(driver):
    config, world = small_run.config(), worlds.make("catch")
    state = driver.init(0)
    preview = dashboard.make_preview(config, world)
    carry = state.envs.carry.state
    found = preview(state.learner.params, carry, jax.random.key(0))["image"]
    assert found.shape == (dashboard.AHEAD + 1, 10, 10, 2)
    other = preview(state.learner.params, carry, jax.random.key(1))["image"]
    np.testing.assert_array_equal(found[0], other[0])  # nothing is sampled there
    assert (np.asarray(found[1:]) != np.asarray(other[1:])).any()


def test_on_colab_it_trains_in_the_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(dashboard, "in_notebook", lambda: True)
    assert Dashboard(small_run.config(), 1, tmp_path).background
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    assert not Dashboard(small_run.config(), 1, tmp_path).background


def test_watch_sees_every_state_before_its_record(tmp_path, driver):
    seen = []
    news = runs.run(
        small_run.config(),
        tmp_path,
        Limits(updates=11),
        driver=driver,
        watch=lambda state: seen.append(int(state.updates)),
    )
    assert [record["updates"] for record in news] == seen == [1, 5, 10, 11]


# Ends


def hanging(driver: Driver, until_set: threading.Event) -> Driver:
    """A driver that hangs in its fifth call, as an environment may."""
    calls = []

    def advance(state, *counts):
        calls.append(1)
        if len(calls) == 5:
            until_set.wait(300)
        return driver.advance(state, *counts)

    return driver._replace(advance=advance)


def test_a_training_that_hangs_does_not_keep_the_next_from_starting(tmp_path, driver, monkeypatch):
    monkeypatch.setattr(dashboard, "PATIENCE", 0.2)
    release, config = threading.Event(), small_run.config()
    first = Dashboard(config, ENDLESS, tmp_path / "a", hanging(driver, release), background=True)
    first.start()
    until(lambda: len(first.records) >= 3, 60)
    first.stop()
    first.start()  # in the same place: it shows how it stands, and does not wait
    assert first.state == "stopping" and first.running
    second = Dashboard(config, 3, tmp_path / "b", driver, background=True)
    second.start()
    second.wait()
    assert second.state == "finished"
    assert f"The training in {tmp_path / 'a'} does not stop: it hangs" in second.words()
    release.set()
    first.join()
    assert first.state == "stopped" and (tmp_path / "a" / "summary.json").exists()


def test_a_temporary_folder_is_made_late(tmp_path, driver, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    board = Dashboard(small_run.config(), 3, driver=driver, background=False)
    assert board.view and board.words() and not any(tmp_path.iterdir())
    board.start()
    (folder,) = tmp_path.iterdir()
    assert board.folder == folder and board.agent().config.world == "catch"
    assert "This temporary folder is deleted with the kernel: folder=... keeps it." in board.words()


@pytest.mark.slow
def test_a_temporary_folder_goes_with_the_process(tmp_path):
    child = small_run.start(["-c", PROGRAM, "", "ends"], TMPDIR=str(tmp_path))
    out, err = child.communicate(timeout=120)
    assert (child.returncode, err) == (0, "") and "stopped, update" in out
    assert not any(tmp_path.iterdir())


def test_a_copy_that_fails_is_shown(tmp_path, driver, monkeypatch):
    def push(*_: object) -> None:
        raise OSError("Could not copy the run.")

    monkeypatch.setattr(runs, "MIRROR_EVERY", 0.0)
    monkeypatch.setattr(mirror, "push", push)
    board = Dashboard(small_run.config(), 20, tmp_path / "a", driver, False, tmp_path / "copy")
    board.start()
    assert "failed: Could not copy the run. The run is saved" in board.words()
    assert "Could not copy the run. The next copy will try again" in board.words()


PROGRAM = """
import sys
sys.path.insert(0, "tests")
import small_run
from dreamer_lite.course.widgets import Dashboard

board = Dashboard(small_run.config(), 10**6, sys.argv[1], background=True)
board.start()
while len(board.records) < 3:
    board.join(0.1)
print("begun", flush=True)
if sys.argv[2] == "waits":
    board.join()
"""


@pytest.mark.parametrize(
    "ending", ["ends", signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)]
)
def test_a_process_that_ends_politely_saves_the_training_in_its_thread(tmp_path, ending):
    """As a kernel does that is shut down or restarted, or gets a signal."""
    run, signals = tmp_path / "run", ending != "ends"
    child = small_run.start(["-c", PROGRAM, str(run), "waits" if signals else "ends"])
    assert child.stdout is not None
    assert any(line == "begun\n" for line in iter(child.stdout.readline, ""))
    if signals:
        child.send_signal(ending)
    _, err = child.communicate(timeout=120)
    assert child.returncode == (-ending if signals else 0), err
    assert "FATAL" not in err and "Traceback" not in err, err
    assert small_run.metrics(run)[-1]["updates"] == updates_saved(run) > 1


def updates_saved(run) -> int:
    return checkpoints.read_meta(run / "state")["summary"]["updates"]


@pytest.mark.slow
@pytest.mark.parametrize("restart", [False, True])
def test_a_kernel_that_is_shut_down_saves(tmp_path, restart):
    client = pytest.importorskip("jupyter_client")
    manager = client.KernelManager()
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(small_run.cache())}
    manager.start_kernel(env=environment, cwd=str(small_run.ROOT))
    channel = manager.client()
    channel.start_channels()
    channel.wait_for_ready(timeout=120)
    code = PROGRAM.replace("sys.argv[1]", repr(str(tmp_path / "run"))).replace("sys.argv[2]", "''")
    assert channel.execute_interactive(code, timeout=300)["content"]["status"] == "ok"
    time.sleep(1)
    if restart:
        manager.restart_kernel()
    else:
        manager.shutdown_kernel()
    saved = updates_saved(tmp_path / "run")
    assert small_run.metrics(tmp_path / "run")[-1]["updates"] == saved > 10
    channel.stop_channels()
    if restart:
        manager.shutdown_kernel(now=True)
