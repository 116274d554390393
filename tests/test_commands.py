"""The commands: what they print, their files, and one sentence for everything that cannot be."""

import csv
import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import small_run

from dreamer_lite.__main__ import main
from dreamer_lite.commands.train import report
from dreamer_lite.runs import run as runs
from dreamer_lite.runs.errors import RunError
from dreamer_lite.training.progress import Limits

LONG = ["--set", "capacity=100", "--set", "batch=16"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a small agent."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    assert main(["train", *small_run.FLAGS, "--updates", "30", "--run", str(folder)]) == 0
    return folder


def refused(capsys: pytest.CaptureFixture, *words: object) -> str:
    """The one sentence that a command answers with exit status 2."""
    assert main([str(word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    line = err.splitlines()[-1]
    assert err.count("\n") == 1 or "until you press" in err, err
    assert re.fullmatch(r"dreamer-lite: .*\.", line), line
    return line


# Bad input


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "COMMAND"),
        (["learn"], "no command 'learn': valid are train, evaluate"),
        (["train"], "--world"),
        (["train", "--world", "catch", "--devices", "2"], "invalid choice: '2'"),
        (["train", "--world", "minatar/breakot"], r"did you mean 'minatar/breakout'\?.*catch"),
        (["train", "--world", "catch", "--size", "12"], "Unknown size '12'.*12m.*tiny"),
        (["train", "--world", "catch", "--minutes", "-1"], "'-1' is not a number above 0"),
        (["train", "--world", "catch", "--minutes", "nan"], "'nan' is not a number above 0"),
        (
            ["train", "--world", "catch", "--updates", "0"],
            "'0' is not a whole number of at least 1",
        ),
        (["train", "--world", "catch", "--steps", "1.5"], "'1.5' is not a whole number"),
        (["train", "--world", "catch", "--seed", "-3"], "'-3' is not a whole number of at least 0"),
        (["train", "--world", "catch", "--steps", "5", "--updates", "5"], "not allowed with"),
        (["train", "--world", "catch", "--updates", "5", *LONG], "capacity is 100 .* at least"),
        (["train", "--world", "catch", "--set", "horzon=3"], "Did you mean 'horizon'"),
        (["train", "--world", "catch", "--set", "horizon"], "not of the form NAME=VALUE"),
        (["train", "--world", "catch", "--set", "horizon=far"], "horizon=far is no value"),
        (["train", "--world", "catch", "--set", "horizon=0"], "horizon is 0: .* between 1 and"),
        (["train", "--world", "catch", "--set", "online_queue=maybe"], "no value for online_queue"),
        (["train", "--world", "catch", "--set", "multipliers=2,x"], "no value for multipliers"),
        (["train", "--world", "catch", "--set", "seed=3"], "Choose the seed by --seed"),
        (["train", "--world", "catch", "--set", "deter=10", "--set", "blocks=4"], "a multiple of"),
        (["evaluate", "--agent", "nobody"], "no agent 'nobody': name a run folder"),
        (["evaluate", "--agent", "no.safetensors"], r"Cannot read no.safetensors \(No such file"),
        (["evaluate", "--agent", "tests"], "no checkpoint in tests"),
        (["evaluate", "--agent", "tests", "--episodes", "0"], "at least 1"),
        (["dream", "--agent", "tests", "--out", "a.avi"], "a.avi must end in .mp4 or .gif"),
        (["record", "--agent", "random"], "needs --world"),
        (["record", "--agent", "random", "--world", "pong", "--out", "a.mp4"], "no world 'pong'"),
        (["evaluate", "--agent", "random"], "needs --world"),
        (["evaluate", "--agent", "random", "--world", "pong"], "no world 'pong'"),
        (["record", "--agent", "tests", "--world", "catch"], "An agent has its own world"),
        (["export", "--agent", "tests", "--out", "agent.pkl"], "must end in .safetensors"),
        (["export", "--agent", "nobody", "--out", "a.safetensors"], "no run folder nobody"),
        (["plot", "--run", "nobody", "--out", "a.pdf"], "must end in .png or .svg"),
        (["plot", "--run", "nobody", "--out", "a.png"], "Cannot read nobody/metrics.jsonl"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value) or "nothing",
)
def test_bad_input(
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").mkdir()
    assert re.search(sentence, refused(capsys, *words))
    assert [path.name for path in tmp_path.iterdir()] == ["tests"]  # nothing was left behind
    assert not any((tmp_path / "tests").iterdir())


def test_places_that_cannot_be_written(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    below = tmp_path / "file" / "new"
    line = refused(capsys, "train", *small_run.FLAGS, "--updates", 5, "--run", below)
    assert "Cannot write in" in line and "--run" in line
    assert "Cannot write" in refused(
        capsys, "record", "--agent", "random", "--world", "catch", "--out", below / "a.mp4"
    )


def test_a_run_of_another_config(capsys: pytest.CaptureFixture, run: Path) -> None:
    capsys.readouterr()
    line = refused(capsys, "train", *small_run.FLAGS, "--seed", 4, "--updates", 9, "--run", run)
    assert "holds a run with seed=0 (asked: 4)" in line
    assert "world=catch (asked: minatar/breakout), size" not in line


def test_a_damaged_checkpoint(capsys: pytest.CaptureFixture, run: Path, tmp_path: Path) -> None:
    place = sorted((run / "state").iterdir())[-1]
    good = (place / "meta.json").read_bytes()
    (place / "meta.json").write_bytes(good[:-1])
    try:
        capsys.readouterr()
        for words in (
            ["train", *small_run.FLAGS, "--updates", 90, "--run", run],
            ["evaluate", "--agent", run],
            ["export", "--agent", run, "--out", tmp_path / "a.safetensors"],
        ):
            assert f"{place} is damaged" in refused(capsys, *words)
    finally:
        (place / "meta.json").write_bytes(good)


# What they print


def test_train_says_how_it_went(capsys: pytest.CaptureFixture, run: Path) -> None:
    assert main(["train", *small_run.FLAGS, "--updates", "30", "--run", str(run)]) == 0
    out, err = capsys.readouterr()
    assert "has reached this limit already" in err and "Compiling" not in err
    assert re.search(r"Return \d+\.\d\d ± \d+\.\d\d over the last \d+ training episodes", out)
    assert f"dreamer-lite dream --agent {run}" in out
    assert len(out.splitlines()) <= 5


def test_worlds(capsys: pytest.CaptureFixture) -> None:
    assert main(["worlds"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("catch ") and "stay, left, right" in line for line in lines)
    assert any(line.startswith("minatar/breakout ") for line in lines)


def test_evaluate(capsys: pytest.CaptureFixture, run: Path) -> None:
    words = ["evaluate", "--agent", str(run), "--episodes", "4", "--seed", "1"]
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert list(found) == ["return_mean", "return_stderr", "episodes"] and not err
    assert found["episodes"] == 4 and 0 <= found["return_mean"] <= 1
    assert main(words) == 0
    assert f"Return {found['return_mean']:.2f} ± " in capsys.readouterr().out


def test_evaluate_random_play(capsys: pytest.CaptureFixture) -> None:
    words = ["evaluate", "--agent", "random", "--world", "catch", "--episodes", "200", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["episodes"] == 200 and 0.02 < found["return_mean"] < 0.25, "one ball in ten"


def test_export_then_evaluate(capsys: pytest.CaptureFixture, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "agent.safetensors"
    assert main(["export", "--agent", str(run), "--out", str(out)]) == 0
    assert out.with_suffix(".json").exists()
    capsys.readouterr()
    for agent in (run, out):
        assert main(["evaluate", "--agent", str(agent), "--episodes", "4", "--json"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


def test_dream(capsys: pytest.CaptureFixture, run: Path) -> None:
    assert main(["dream", "--agent", str(run), "--json"]) == 0
    out, _ = capsys.readouterr()
    found = json.loads(out)
    assert list(found) == ["horizon", "model", "copy_last", "mean_frame", "video"]
    assert found["horizon"][0] == 1 and np.isfinite(found["model"]).all()
    assert len({len(found[name]) for name in list(found)[:-1]}) == 1
    assert found["video"] == str(run / "dream.mp4") and Path(found["video"]).stat().st_size
    assert (run / "dream.png").stat().st_size


def test_record(capsys: pytest.CaptureFixture, run: Path, tmp_path: Path) -> None:
    assert main(["record", "--agent", str(run), "--episodes", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["returns"]) == 2 and found["video"] == str(run / "record.mp4")
    film = tmp_path / "random.gif"
    words = ["record", "--agent", "random", "--world", "catch", "--out", str(film)]
    assert main(words) == 0
    assert str(film) in capsys.readouterr().out and film.stat().st_size


def test_plot(run: Path, tmp_path: Path) -> None:
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"updates"')  # somebody is training here
    for out in (tmp_path / "curve.png", tmp_path / "curve.svg"):
        assert main(["plot", "--run", str(run), str(run), "--out", str(out)]) == 0
        assert out.stat().st_size


def test_plot_writes_the_numbers_too(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "curve.csv"
    assert main(["plot", "--run", str(run), "--out", str(out)]) == 0
    written = list(csv.DictReader(out.open(encoding="utf-8")))
    records = [
        json.loads(line)
        for line in (run / "metrics.jsonl").open(encoding="utf-8")
        if line.endswith("\n")
    ]
    assert [line["run"] for line in written] == [run.name] * len(records)
    for name in ("updates", "agent_steps", "seconds", "return_mean"):
        assert [float(line[name]) for line in written] == pytest.approx([r[name] for r in records])


# A real process


def test_ctrl_c_saves_and_nobody_else_gets_in(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ["-m", "dreamer_lite", "train", *small_run.FLAGS, "--run", str(folder)]
    child = small_run.start(words)
    assert child.stderr is not None
    assert "until you press Ctrl-C" in child.stderr.readline()
    assert "Compiling" in child.stderr.readline()
    assert "update" in child.stderr.readline()
    with pytest.raises(RunError, match=f"in use by process {child.pid}"):
        runs.run(small_run.config(), folder, Limits(updates=5))
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=200)
    assert child.returncode == 130, err
    assert "Stopping: finishing this step and saving" in err and "Traceback" not in err
    assert "Saved in" in out
    updates = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["updates"]
    assert (
        json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])[
            "updates"
        ]
        == updates
    )


def test_start_up_imports_no_pictures() -> None:
    program = (
        "import sys, tqdm, dreamer_lite.__main__, dreamer_lite.runs.run\n"
        "print(*sorted({'matplotlib', 'mediapy', 'orbax', 'safetensors'} & set(sys.modules)))"
    )
    child = small_run.start(["-c", program])
    out, err = child.communicate(timeout=200)
    assert child.returncode == 0, err
    assert out.split() == []


def test_a_run_that_has_not_learnt_says_so(capsys: pytest.CaptureFixture, run: Path) -> None:
    """30 updates: the limit is reached already, and the summary is printed again."""
    assert main(["train", *small_run.FLAGS, "--updates", "30", "--run", str(run)]) == 0
    said = capsys.readouterr().out
    assert "So few updates teach nothing yet" in said and "higher limit goes on" in said
    file = run / "summary.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"updates": 30', '"updates": 3000'), encoding="utf-8")
    assert report(run, "catch") == 0
    file.write_text(text, encoding="utf-8")
    assert "So few updates" not in capsys.readouterr().out


def test_a_thread_that_was_left_behind_does_not_keep_the_process_alive() -> None:
    program = (
        "import sys, threading, time; from dreamer_lite.commands import main as commands\n"
        "threading.Thread(target=time.sleep, args=(100,)).start()\n"
        "commands.PATIENCE, sys.argv = 0.2, ['dreamer-lite', 'worlds']\n"
        "sys.exit(commands.entry())"
    )
    child = small_run.start(["-c", program])
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "") and "catch" in out
