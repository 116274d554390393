"""Sweeps: the grid, its folder, what happens to its runs, the table, and the bands."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import small_run

from dreamer_lite.__main__ import main
from dreamer_lite.commands import sweep as command
from dreamer_lite.runs import sweep as sweeps
from dreamer_lite.runs import sweep_local
from dreamer_lite.runs.errors import RunError
from dreamer_lite.runs.sweep import Progress, Request, Sweep
from dreamer_lite.show import sweeps as bands

CHILD = Path(__file__).with_name("sweep_child.py")
GRID = {"entropy": ["3e-4", "3e-3"], "batch": ["4"]}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[float], None]:
    """Call it with the seconds that each run shall take: no run trains anything then."""

    def use(seconds: float) -> None:
        def words(_: Sweep, run: sweeps.Run) -> list[str]:
            marker = str(tmp_path / "trouble")
            return [sys.executable, "-S", str(CHILD), str(seconds), marker, *run.words]

        monkeypatch.setattr(Sweep, "command", words)

    use(0.2)
    return use


def request(seeds: int = 2, updates: int = 4) -> Request:
    return Request("catch", None, list(range(seeds)), GRID, {"updates": updates})


def make(folder: Path, **about: int) -> Sweep:
    sweep = Sweep(request(**about), folder)
    sweep.claim()
    return sweep


def go(sweep: Sweep, parallel: int = 2, stop: Callable[[], bool] = lambda: False) -> Progress:
    executor = sweep_local.Local(sweep, parallel)
    return sweeps.follow(sweep, executor, stop, lambda _: None, poll=0.02)


def updates_of(sweep: Sweep) -> list[list[int]]:
    """The numbers of updates in the records of every run."""
    return [
        [record["updates"] for record in small_run.metrics(sweep.folder / run.name)]
        for run in sweep.runs
        if (sweep.folder / run.name / "metrics.jsonl").exists()
    ]


def test_a_grid_is_every_combination_for_every_seed(tmp_path: Path) -> None:
    sweep = Sweep(request(), tmp_path)
    assert [run.name for run in sweep.runs] == [
        "entropy=3e-4_s0",
        "entropy=3e-4_s1",
        "entropy=3e-3_s0",
        "entropy=3e-3_s1",
    ]
    assert sweep.settings == ["entropy=3e-4", "entropy=3e-3"], "batch has one value: not varied"
    words = "train --world catch --seed 0 --set entropy=3e-4 --set batch=4 --updates 4 --run"
    assert sweep.runs[0].words == [*words.split(), str(tmp_path / "entropy=3e-4_s0")]
    assert Sweep(Request("catch", None, [3], {}, {"minutes": 0.5}), tmp_path).settings == ["catch"]


def test_finished_runs_are_skipped_and_a_higher_limit_continues(fake, tmp_path: Path) -> None:
    sweep = make(tmp_path / "sweep")
    progress = go(sweep)
    assert progress.total.states == {"done": 4} and progress.total.seconds_left == 0
    assert updates_of(sweep) == [[1, 2, 3, 4]] * 4
    before = time.monotonic()
    assert go(make(tmp_path / "sweep")).total.states == {"done": 4}
    assert time.monotonic() - before < 0.2 and updates_of(sweep) == [[1, 2, 3, 4]] * 4
    go(make(tmp_path / "sweep", updates=6))
    assert updates_of(sweep) == [[1, 2, 3, 4, 5, 6]] * 4


def test_so_many_at_a_time(fake, tmp_path: Path) -> None:
    sweep, most = make(tmp_path / "sweep", seeds=3), Counter()
    executor = sweep_local.Local(sweep, 2)

    def show(progress: Progress) -> None:
        states = progress.total.states
        assert sum(states.values()) == 6 and states["running"] <= 2
        most.update(running=max(0, states["running"] - most["running"]))

    sweeps.follow(sweep, executor, lambda: False, show, poll=0.02)
    assert most["running"] == 2


def test_a_failed_run_says_why_and_is_tried_again_on_request(fake, tmp_path: Path) -> None:
    (tmp_path / "trouble-1").write_text("1", encoding="utf-8")
    sweep = make(tmp_path / "sweep")
    assert go(sweep).total.states == {"done": 2, "failed": 2}
    why = sweep.failure(sweep.runs[1]).read_text(encoding="utf-8")
    assert why == "exit status 1: dreamer-lite: the loss became nan.\n"
    (tmp_path / "trouble-1").unlink()
    assert go(make(tmp_path / "sweep")).total.states == {"done": 2, "failed": 2}
    sweep.forgive()
    assert go(make(tmp_path / "sweep")).total.states == {"done": 4}


def test_a_killed_run_has_not_failed_and_goes_on(fake, tmp_path: Path) -> None:
    fake(4.0)
    sweep = make(tmp_path / "sweep", seeds=1)
    executor, killed = sweep_local.Local(sweep, 2), []

    def show(_: Progress) -> None:
        for name, (_, child, _) in executor.running.items():
            if (sweep.folder / name / "summary.json").exists() and name not in killed:
                child.kill()
                killed.append(name)

    progress = sweeps.follow(sweep, executor, lambda: False, show, poll=0.02)
    assert progress.total.states == {"stopped": 2} and len(killed) == 2
    fake(0.2)
    assert go(sweep).total.states == {"done": 2}
    assert updates_of(sweep) == [[1, 2, 3, 4]] * 2


def test_stopping_lets_the_runs_save_and_drops_the_others(fake, tmp_path: Path) -> None:
    fake(4.0)
    sweep = make(tmp_path / "sweep")
    begun = lambda: len(updates_of(sweep)) == 2  # noqa: E731
    progress = go(sweep, stop=begun)
    assert progress.total.states == {"stopped": 2, "waiting": 2}
    assert sum(map(len, updates_of(sweep))) < 8, "they ended before their time"


def test_runs_that_are_left_alone_are_waited_for_by_the_next_command(fake, tmp_path) -> None:
    fake(1.0)
    sweep = make(tmp_path / "sweep", seeds=1)
    executor = sweep_local.Local(sweep, 2)
    stop = lambda: len(updates_of(sweep)) == 2  # noqa: E731
    left = sweeps.follow(sweep, executor, stop, lambda _: None, leave=True, poll=0.02)
    assert left.total.states == {"running": 2}
    children = [child for _, child, _ in executor.running.values()]
    assert go(sweep).total.states == {"done": 2}
    assert updates_of(sweep) == [[1, 2, 3, 4]] * 2, "nobody began them a second time"
    assert [child.wait() for child in children] == [0, 0]


def test_ctrl_c_stops_the_command(fake, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    fake(4.0)
    words = ["sweep", "--world", "catch", "--updates", "4", "--seeds", "0-1"]
    words += ["--parallel", "1", "--out", str(tmp_path / "sweep")]

    def interrupt() -> None:
        while not (tmp_path / "sweep" / "s0" / "summary.json").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert main(words) == 130
    thread.join()
    out, err = capsys.readouterr()
    table = out.splitlines()
    assert (
        table[0].split() == "setting waiting running done failed stopped return time left".split()
    )
    assert table[1].split()[:8] == "all 2 runs 1 0 0 0 1".split()
    assert err.endswith("The same command goes on.\n")


def test_the_command_ends_with_the_table_and_what_to_type_next(fake, tmp_path, capsys) -> None:
    folder = tmp_path / "sweep"
    words = ["sweep", "--world", "catch", "--updates", "4", "--set", "entropy=0.1,0.2"]
    assert main([*words, "--out", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.endswith(f"Next: dreamer-lite plot --sweep {folder} --out sweep.png\n")
    (tmp_path / "trouble-0").write_text("2", encoding="utf-8")
    assert main([*words, "--seeds", "0-1", "--out", str(tmp_path / "other")]) == 1
    assert "entropy=0.1_s0 failed with exit status 2: dreamer-lite: the" in capsys.readouterr().err


BAD = [
    (["--set", "entrpy=1"], "Unknown setting 'entrpy'. Did you mean 'entropy'?"),
    (["--set", "entropy=1,x"], "--set entropy=x is no value for entropy"),
    (["--set", "entropy=1,-1"], "entropy is -1"),
    (["--set", "entropy="], "--set entropy= names no value, so the grid is empty."),
    (["--set", "entropy"], "--set entropy is not of the form NAME=VALUE,VALUE,..."),
    (["--set", "entropy=1,1.0"], "--set entropy=1,1.0 names 1 twice."),
    (["--set", "entropy=1", "--set", "entropy=2"], "--set entropy is given twice"),
    (["--set", "seed=1,2"], "Choose the seed by --seed, not by --set."),
    (["--seeds", "3-1"], "--seeds 3-1 is an empty range: 3 is above 1."),
    (["--seeds", ""], "--seeds '' is not of the form 0-9 or 0,3,5-7."),
    (["--seeds", "1,0-2"], "--seeds 1,0-2 names 1 twice."),
    (["--seeds", "0-1000"], "These are 1,001 runs: add --yes if they are meant."),
    (["--slurm", "time=3"], "--slurm is for --executor slurm."),
]


@pytest.mark.parametrize(("words", "sentence"), BAD, ids=lambda x: " ".join(x)[:30])
def test_bad_input_is_one_sentence(words, sentence, tmp_path: Path, capsys) -> None:
    full = ["sweep", "--world", "catch", "--updates", "4", "--out", str(tmp_path / "out"), *words]
    assert main(full) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.startswith("dreamer-lite: ") and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_slurm_needs_submitit(tmp_path: Path, capsys, monkeypatch) -> None:
    words = ["sweep", "--world", "catch", "--updates", "4", "--out", str(tmp_path / "out")]
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.delitem(sys.modules, "dreamer_lite.runs.sweep_slurm", raising=False)
    monkeypatch.delattr("dreamer_lite.runs.sweep_slurm", raising=False)
    assert main([*words, "--executor", "slurm"]) == 2
    sentence = "--executor slurm needs submitit: pip install submitit."
    assert capsys.readouterr().err == f"dreamer-lite: {sentence}\n"
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(fake, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "sweep"
    make(folder)
    for other, name in ((request(seeds=3), "seeds"), (request()._replace(size="1m"), "size")):
        with pytest.raises(RunError, match=f"holds a sweep with other {name} .*--out"):
            Sweep(other, folder).claim()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="holds files that are of no sweep"):
        Sweep(request(), tmp_path).claim()
    with pytest.raises(RunError, match="Cannot write in"):
        Sweep(request(), tmp_path / "file" / "sweep").claim()
    for text in ("{", "[]", '{"format": 1}', '{"format": 1, "world": 1}'):
        (folder / "sweep.json").write_text(text, encoding="utf-8")
        with pytest.raises(RunError, match=r"sweep\.json is damaged"):
            sweeps.read_request(folder)
    assert main(["plot", "--sweep", str(tmp_path / "no"), "--out", str(tmp_path / "a.png")]) == 2
    assert "name a sweep" in capsys.readouterr().err


def test_time_left_is_that_of_the_slowest_and_of_all_together(tmp_path: Path) -> None:
    sweep = make(tmp_path / "sweep", updates=100)
    for run, done in zip(sweep.runs, (50, 20)):  # 4 runs of 100 updates at 2 updates/s
        record = dict.fromkeys(sweeps.NEEDED, 1.0) | dict(
            updates=done, agent_steps=done, seconds=10 + done / 2, updates_per_second=2.0
        )
        (sweep.folder / run.name).mkdir()
        text = json.dumps(record) + '\n{"cut off'
        (sweep.folder / run.name / "metrics.jsonl").write_text(text, encoding="utf-8")
    states = dict(zip((run.name for run in sweep.runs), ["running"] * 2 + ["waiting"] * 2))
    progress = sweeps.measure(sweep, states, parallel=2)
    assert progress.rows[0].seconds_left == 40  # the second run: 80 updates
    assert progress.rows[1].seconds_left == 60, "60 s each, with 10 s of compilation"
    assert progress.total.seconds_left == (25 + 40 + 60 + 60) / 2
    text = sweeps.as_table(progress)
    assert "entropy=3e-4       0       2       0       0      1.00  40 s" in text
    assert "all 4 runs         2       2       0       0      1.00  2 min" in text


def test_long_tables_show_what_is_at_work() -> None:
    states = ["done"] * 5 + ["running"] * 2
    rows = [sweeps.Row(f"a={i}", Counter([s]), [], 1.0) for i, s in enumerate(states)]
    text = sweeps.as_table(Progress(rows, sweeps.Row("all", Counter(states), [], 1.0)), rows=3)
    assert [line.split()[0] for line in text.splitlines()] == [
        "setting",
        "a=5",
        "a=6",
        "a=0",
        "all",
    ]


def test_on_a_terminal_the_table_is_drawn_over_the_one_before(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "20")
    total = sweeps.Row("all 1 runs", Counter(["done"]), [1.0], 0.0)
    screen = command.Screen()
    for _ in range(3):
        screen(Progress([total], total))
        screen(Progress([total], total))  # too soon: not drawn
        screen.due = 0.0
    drawn = capsys.readouterr().err
    assert drawn.count("all 1 runs") == 3
    assert drawn.count("\x1b[2A") == 2, "up by the head and the one line"
    assert all(len(line) < 40 + len("\x1b[2A\x1b[K\x1b[J") for line in drawn.splitlines())


def test_slots_share_the_machine_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_local, "usable_cores", lambda: [0, 1, 2, 3, 4])
    monkeypatch.setattr(sweep_local, "visible_gpus", lambda: [])
    assert [set(s.cores) for s in sweep_local.make_slots(2)] == [{0, 2, 4}, {1, 3}]
    assert [set(s.cores) for s in sweep_local.make_slots(1)] == [set()]
    assert len(sweep_local.make_slots(None)) in range(1, 6)
    monkeypatch.setattr(sweep_local, "visible_gpus", lambda: ["0", "2"])
    slots = sweep_local.make_slots(None)
    assert [s.environment for s in slots] == [{"CUDA_VISIBLE_DEVICES": x} for x in "02"]
    four = sweep_local.make_slots(4)
    assert [s.environment["CUDA_VISIBLE_DEVICES"] for s in four] == ["0", "2", "0", "2"]
    assert {s.environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] for s in four} == {"0.45"}


# Bands


def test_interquartile_mean_and_interval_are_scipys() -> None:
    rng = np.random.default_rng(3)
    for count in (1, 3, 4, 7, 10):
        values = rng.normal(size=(5, count))
        expected = scipy.stats.trim_mean(values, 0.25, axis=-1)
        np.testing.assert_allclose(bands.interquartile_mean(values), expected, rtol=1e-12)
    values = rng.normal(size=(2, 10))
    found = scipy.stats.bootstrap(
        (values,),
        lambda x, axis: scipy.stats.trim_mean(x, 0.25, axis=axis),
        axis=-1,
        n_resamples=20_000,
        method="percentile",
    ).confidence_interval
    low, high = bands.interval(values)
    np.testing.assert_allclose(low, found.low, atol=0.06)
    np.testing.assert_allclose(high, found.high, atol=0.06)
    assert np.isnan(bands.interval(values[:, :1])).all(), "one seed says nothing about others"


def test_bands_end_where_the_first_seed_ends() -> None:
    long = bands.Curve(np.array([0.0, 100]), np.array([0.0, 10]), np.array([0.0, 100]))
    short = bands.Curve(np.array([10.0, 50]), np.array([1.0, 20]), np.array([10.0, 50]))
    found = bands.band([long, short], "frames")
    assert (found.x[0], found.x[-1]) == (10, 50)
    np.testing.assert_allclose(found.iqm, found.x)
    assert bands.band([long, short], "seconds").x[-1] == 10


def test_lines_of_many_settings_differ() -> None:
    looks = [bands.style(number) for number in range(49)]
    assert len({(look["color"], look["linestyle"]) for look in looks}) == 49


def test_plot_of_a_sweep(fake, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "sweep"
    sweep = make(folder)
    words = ["plot", "--sweep", str(folder), "--out"]
    assert main([*words, str(tmp_path / "a.png")]) == 2
    assert "no episode has ended yet in any run of this sweep" in capsys.readouterr().err
    go(sweep)
    for name in ("a.png", "a.svg", "a.csv", "a.json"):
        assert main([*words, str(tmp_path / name)]) == 0
        assert (tmp_path / name).stat().st_size > 100
    text = capsys.readouterr().out.splitlines()[1]
    assert text.split() == "entropy=3e-4 2 64 0.0 4.50 4.00 to 5.00 4.00 to 5.00".split()
    table = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert table[0].split(",") == list(bands.COLUMNS)
    assert table[1] == "entropy=3e-4,2,64,0.2,4.5,4,5,4.5,4,5"
    found = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert found["table"][1]["setting"] == "entropy=3e-3" and found["world"] == "catch"
    curve = found["curves"]["entropy=3e-4"]["frames"]
    assert (curve["x"][0], curve["iqm"][0], curve["iqm"][-1]) == (16, 1.5, 4.5)


# Real runs


@pytest.mark.slow
def test_runs_of_a_sweep_are_ordinary_runs(tmp_path: Path) -> None:
    """Local, two at a time: bit-equal to `train`, and readable by the other commands."""
    words = [*small_run.FLAGS, "--updates", "12"]
    sweep = ["-m", "dreamer_lite", "sweep", *words, "--seeds", "1-2", "--out", str(tmp_path / "s")]
    alone = ["-m", "dreamer_lite", "train", *words, "--seed", "2", "--run", str(tmp_path / "run")]
    for line in (sweep, alone):
        child = small_run.start(line)
        _, err = child.communicate(timeout=550)
        assert child.returncode == 0, err
    assert small_run.metrics(tmp_path / "s" / "s2") == small_run.metrics(tmp_path / "run")
    assert main(["evaluate", "--agent", str(tmp_path / "s" / "s1"), "--episodes", "1"]) == 0
    assert (
        main(["plot", "--run", str(tmp_path / "s" / "s1"), "--out", str(tmp_path / "a.png")]) == 0
    )


@pytest.mark.slow
def test_two_cores_are_kept_busy(tmp_path: Path) -> None:
    """Wall time of 8 runs on two cores is at most 1.15 of half of their CPU time.

    Where other programs use the machine, wall time says nothing: skipped.
    """
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2 or os.getloadavg()[0] > 0.5:
        pytest.skip("needs two cores without other work")
    words = ["sweep", *small_run.FLAGS, "--updates", "400", "--seeds", "0-7", "--parallel", "2"]
    program = (
        "import os, resource, subprocess, sys, time\n"
        f"os.sched_setaffinity(0, {cores})\n"
        "begun = time.time()\n"
        "subprocess.run([sys.executable, '-m', 'dreamer_lite', *sys.argv[1:]], check=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print((time.time() - begun) / ((used.ru_utime + used.ru_stime) / 2))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *words, "--out", str(tmp_path / "s")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(small_run.ROOT)},
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.splitlines()[-1]) < 1.15
