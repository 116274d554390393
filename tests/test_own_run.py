"""Training of the reader's own agent: its records, its folder, its dashboard."""

import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from dreamer_lite.course import parts
from dreamer_lite.course.own_run import EVERY, OwnRun
from dreamer_lite.course.widgets import Beside, OwnDashboard, own_board

TINY = dict(worlds=2, batch=2, length=3, capacity=400, train_ratio=3, deter=8, stoch=2, classes=3,
            hidden=8, units=8, layers=1, bins=15, horizon=3, starts=2)  # fmt: skip


@pytest.fixture(scope="module")
def own() -> OwnRun:
    """A tiny agent for Catch, compiled once."""
    made = OwnRun(parts.assemble({}), "catch", 3 * EVERY, changes=TINY)
    assert made.measure
    return made


def same(left: object, right: object) -> bool:
    """Whether two runs hold the same numbers; their types may be of different modules."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_records_say_what_happened(own):
    run = own.anew(0)
    records = list(run.records())
    assert [r["updates"] for r in records] == [EVERY, 2 * EVERY, 3 * EVERY]
    assert records == run.history and run.done(run.run) == 3 * EVERY
    assert [r["agent_steps"] for r in records] == [12 + 2 * 50 * i for i in (1, 2, 3)]
    assert {"loss/recon", "critic", "imagined_return", "kl_second", "entropy"} <= set(records[0])
    assert 0 <= records[-1]["return_mean"] <= 1 and records[-1]["episodes"] == 2
    assert records[0]["seconds"] < records[1]["seconds"]
    returns = run.returns(20)
    assert returns.shape == (20,) and set(returns) <= {0.0, 1.0}
    assert list(run.records()) == [], "it has come to its updates"


def test_a_stopped_run_goes_on_from_its_folder_exactly(own, tmp_path):
    whole = own.anew(4)
    list(whole.records())
    first = own.anew(4)
    first.folder = tmp_path / "run"
    list(first.records(stop=lambda: len(first.history) == 2))
    assert {file.name for file in first.folder.iterdir()} == {"run.npz", "metrics.jsonl"}
    second = own.anew(4)
    second.folder = first.folder
    # A kill between two writes leaves a record that the saved run has not come to.
    with (first.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"updates": 150, "seconds": 1.0}\n')
    (last,) = second.records()
    assert len(second.history) == 3 and same(second.run, whole.run)
    assert last["loss/recon"] == whole.history[-1]["loss/recon"]
    assert second.history[:2] == first.history and last["seconds"] > first.history[-1]["seconds"]


def test_the_single_file_goes_on_with_the_run(own, tmp_path, monkeypatch, capsys):
    """`python my_dreamer.py --out FOLDER` continues what the dashboard has trained."""
    monkeypatch.setenv("DREAMER_LITE_PARTS", str(tmp_path))
    path = parts.complete()
    run = own.anew(0)
    run.folder = tmp_path / "run"
    list(run.records(stop=lambda: bool(run.history)))
    text = path.read_text(encoding="utf-8")
    change = f'PRESETS["catch"] = {TINY!r}\n\n\nif __name__ == "__main__":'
    path.write_text(text.replace('if __name__ == "__main__":', change), encoding="utf-8")
    command = ["my_dreamer.py", "--world", "catch", "--minutes", "0.001", "--out", str(run.folder)]
    monkeypatch.setattr(sys, "argv", command)
    runpy.run_path(str(path), run_name="__main__")
    assert f" s, {12 + 2 * (50 + 100)} steps, " in capsys.readouterr().out


def test_a_run_that_the_single_file_began_goes_on(own, tmp_path):
    """Its command keeps no records: those of the first updates are missing, and nothing else."""
    whole = own.anew(5)
    list(whole.records())
    first = own.anew(5)
    first.folder = tmp_path / "run"
    list(first.records(stop=lambda: bool(first.history)))
    (first.folder / "metrics.jsonl").unlink()
    second = own.anew(5)
    second.folder = first.folder
    assert [record["updates"] for record in second.records()] == [100, 150]
    assert same(second.run, whole.run)


def test_a_forced_wrong_part_changes_what_is_trained(own):
    """Whatever part is wrong is what is trained with."""
    right = own.anew(0)
    next(iter(right.records()))
    wrong = {
        "update": ("0.98 * s + 0.02 * p", "0.9 * s + 0.1 * p"),
        "collect": ("run.steps, action, state)", "run.steps, run.action, state)"),
    }
    for name, (text, other) in wrong.items():
        (chunk,) = (c for c in parts.solution() if c.name == name)
        assert text in chunk.text
        forced = parts.load(force={name: chunk.text.replace(text, other)})
        broken = OwnRun(forced, "catch", EVERY, changes=TINY)
        next(iter(broken.records()))
        changed = not same(broken.run.learner, right.run.learner)
        assert changed, name


def test_what_cannot_be_trained_is_said_in_a_sentence():
    dreamer = parts.assemble({})
    for arguments, words in (
        (("dmc/walker-walk", 50), "'dmc/walker-walk' has no preset: valid are minatar/breakout, "),
        (("catch", 70), "updates is 70: it must be a multiple of 50."),
        (("catch", 50, 0, "", {"lr": 1}), "There is no hyperparameter 'lr': valid are worlds, "),
    ):
        with pytest.raises(ValueError, match=words):
            OwnRun(dreamer, *arguments)
    with pytest.raises(ValueError, match="Nothing is trained yet"):
        OwnRun(dreamer, "catch", 50).returns(3)


def test_a_loss_that_is_not_finite_ends_it(own):
    broken = own.anew(0)
    broken.advance = lambda run, n: (run, {"return": 0.0, "recon": float("nan")})
    with pytest.raises(FloatingPointError, match="The loss recon became nan before update"):
        list(broken.records())


# The dashboard


def until(condition: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def board(own):
    run = own.anew(0)
    run.updates = 10**6 * EVERY
    made = OwnDashboard(run, background=True)
    assert made.view is not None
    yield made
    made.stop()
    made.join()


def test_its_dashboard_pauses_goes_on_stops_and_saves(board):
    board.start()
    until(lambda: len(board.records) >= 2)
    board.buttons["pause"].click()
    until(lambda: board.state == "paused")
    count = len(board.records)
    time.sleep(0.5)
    assert len(board.records) <= count + 1 and board.running
    board.buttons["go on"].click()
    until(lambda: len(board.records) > count + 2)
    board.buttons["stop"].click()
    board.join(120)
    assert board.state == "stopped" and "is saved; start resumes" in board.report.value
    assert (board.folder / "run.npz").exists()
    assert {"actor", "critic", "rssm"} <= set(dir(board.agent()))
    done = board.records[-1]["updates"]
    board.buttons["go on"].click()
    until(lambda: board.records[-1]["updates"] > done)
    updates = [record["updates"] for record in board.records]
    assert updates == sorted(set(updates)) and updates[0] == EVERY


def test_its_picture_has_all_curves_and_a_dream(own, monkeypatch):
    monkeypatch.setattr("dreamer_lite.course.widgets.dashboard.in_notebook", lambda: True)
    beside = Beside("stored", np.array([50.0, 100]), np.array([[0.0, 0.2], [0.1, 0.3]]))
    board = OwnDashboard(own.anew(0), beside, background=False)
    drawn: list = []
    monkeypatch.setattr(
        "dreamer_lite.course.widgets.dashboard.live",
        lambda: lambda figure, alt, name="": drawn.append((figure, alt)),
    )
    board.start()
    figure, alt = drawn[-1]
    labels = {text for axes in figure.axes for text in axes.get_legend_handles_labels()[1]}
    assert labels >= {"stored", "recon", "reward", "cont", "dyn", "imagined return", "critic"}
    assert "finished, update 150 of 150" in alt
    titles = [axes.get_title() for axes in figure.axes]
    assert titles.count("imagined 7") == 1 and figure.axes[3].images


def test_each_curve_of_the_dashboard_has_a_meaning():
    names = {"recon", "reward", "cont", "dyn", "imagined return", "critic", "entropy", "return"}
    assert set(own_board.MEANINGS) == names
    table = own_board.meanings()
    assert table.count("\n") == len(names) + 1 and "| **dyn** | KL divergence" in table
    assert all(all(meaning) for meaning in own_board.MEANINGS.values())


def test_in_a_script_it_prints_lines(own, capsys):
    board = OwnDashboard(own.anew(0))
    board.start()
    out = capsys.readouterr().out
    assert "[picture] starting" in out and "finished, update 150 of 150" in out
    assert Path(board.folder, "run.npz").exists()
