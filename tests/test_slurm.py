"""A sweep on a real Slurm: one job is preempted and requeued, another cancelled in mid-run."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm
import small_run

from dreamer_lite.runs import checkpoints

submitit = pytest.importorskip("submitit", reason="submitit is missing: pip install submitit")

from dreamer_lite.__main__ import main  # noqa: E402
from dreamer_lite.runs import sweep_slurm  # noqa: E402
from dreamer_lite.runs.errors import RunError  # noqa: E402
from dreamer_lite.runs.sweep import Request, Sweep  # noqa: E402

NAMES = [f"entropy={value}_s{seed}" for value in ("0.1", "0.2") for seed in (0, 1)]

UPDATES = 2500  # long enough to be interrupted
RECORDS = UPDATES / 5  # see small_run.SETTINGS


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """That in which Slurm's commands find the one that runs for these tests."""
    if reason := slurm.why_not():
        pytest.skip(reason)
    with slurm.running(tmp_path_factory.mktemp("slurm")) as found:
        yield found | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(small_run.ROOT), *sys.path])),
            "JAX_COMPILATION_CACHE_DIR": str(small_run.cache()),
        }


STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """The commands that a test has started end with it."""
    yield
    for child in STARTED:
        child.kill()
        child.wait()
    STARTED.clear()


def start(words: list[str], out: Path, environment: dict[str, str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "dreamer_lite", "sweep", *small_run.FLAGS, "--seeds", "0-1"]
    command += ["--set", "entropy=0.1,0.2", "--updates", str(UPDATES), "--out", str(out), *words]
    pipes: Any = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    STARTED.append(subprocess.Popen(command, cwd=small_run.ROOT, env=environment, **pipes))
    return STARTED[-1]


def order(words: list[str], environment: dict[str, str], check: bool = True) -> str:
    """The output of a command of Slurm."""
    pipes: Any = dict(capture_output=True, text=True)
    result = subprocess.run(words, env=environment, **pipes)
    assert not check or result.returncode == 0, result.stderr
    return result.stdout


def job_of(out: Path, name: str) -> str:
    return (out / "logs" / f"{name}.job").read_text(encoding="utf-8").strip()


def in_progress(out: Path, but: str = "") -> str | None:
    """A run that has a checkpoint and is not finished yet."""
    for name in NAMES:
        folder = out / name
        records = folder / "metrics.jsonl"
        begun = checkpoints.exists(folder / "state") and records.exists()
        if name != but and begun and 5 < len(small_run.metrics(folder)) < RECORDS / 2:
            return name
    return None


def find(out: Path, but: str = "") -> str:
    """The first run to be in progress."""
    found: list[str] = []
    slurm.wait_for(lambda: found.extend(filter(None, [in_progress(out, but)])) or found, 300)
    return found[0]


@pytest.mark.slow
def test_four_runs_of_which_one_is_preempted_and_one_cancelled(
    environment: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "slurm"
    child = start(["--executor", "slurm", "--slurm", "timeout_min=60"], out, environment)
    preempted = find(out)
    # Slurm 22.05 sends the signal, and then says that the job cannot be altered now.
    order(["scancel", "--signal=USR2", job_of(out, preempted)], environment, check=False)
    cancelled = find(out, but=preempted)
    order(["scancel", job_of(out, cancelled)], environment)
    text, err = child.communicate(timeout=900)
    assert child.returncode == 1, err
    assert text.splitlines()[-1].split()[:8] == "all 4 runs 0 0 3 0 1".split(), text
    job = (out / "logs" / f"{preempted}.log").read_text(encoding="utf-8")
    assert "Stopping" in job, "the preempted run was asked to save"
    shown = order(["scontrol", "show", "job", job_of(out, preempted)], environment)
    assert "Restarts=1" in shown
    before = len(small_run.metrics(out / cancelled))
    child = start(["--executor", "slurm"], out, environment)
    text, err = child.communicate(timeout=900)
    assert child.returncode == 0, err
    assert 5 < before < len(small_run.metrics(out / cancelled))

    local = tmp_path / "local"
    child = start(["--parallel", "2"], local, environment)
    _, err = child.communicate(timeout=900)
    assert child.returncode == 0, err
    for name in NAMES:
        here, there = (checkpoints.verified(place / name / "state")[0] for place in (local, out))
        for part in ("agent", "run"):
            small_run.assert_same(checkpoints.read(here, part), checkpoints.read(there, part))
        assert small_run.metrics(local / name) == small_run.metrics(out / name)


@pytest.mark.slow
def test_leaving_and_coming_back_submits_nothing_twice(
    environment: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    child = start(["--executor", "slurm", "--parallel", "1"], out, environment)
    slurm.wait_for(lambda: all((out / "logs" / f"{n}.job").exists() for n in NAMES), 120)
    jobs = [job_of(out, name) for name in NAMES]
    child.send_signal(2)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 130 and "leaving the runs at work" in err
    again = start(["--executor", "slurm", "--on-stop", "cancel"], out, environment)
    find(out)
    again.send_signal(2)
    text, err = again.communicate(timeout=300)
    assert again.returncode == 130 and "the runs save and end" in err
    assert [job_of(out, name) for name in NAMES] == jobs
    assert text.splitlines()[-1].split()[:8] == "all 4 runs 3 0 0 0 1".split(), text
    assert order(["squeue", "--noheader"], environment) == ""


@pytest.mark.slow
def test_what_slurm_refuses_is_one_sentence(
    environment: dict[str, str], tmp_path: Path, monkeypatch, capsys
) -> None:
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, environment[name])
    words = ["sweep", "--world", "catch", "--updates", "4", "--executor", "slurm", "--out"]
    assert main([*words, str(tmp_path / "s"), "--slurm", "partition=nobody"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Slurm takes no jobs: " in err and "partition" in err


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"gpus": 2}, "--slurm gpus is no parameter of a job: valid are account, "),
        ({"time": "1-00:00:00"}, "it is a whole number of minutes"),
        ({"nodes": 2}, "a run of a sweep is one process, so it must be 1"),
    ],
)
def test_odd_parameters_are_one_sentence(parameters: dict, sentence: str) -> None:
    with pytest.raises(RunError, match=sentence):
        sweep_slurm.check_parameters(parameters)


def test_values_of_parameters_are_json_where_they_can_be() -> None:
    pairs = ["partition=gpu", "gpus_per_node=2", 'setup=["module load cuda"]', "exclusive=true"]
    assert sweep_slurm.parse_parameters(pairs) == {
        "partition": "gpu",
        "gpus_per_node": 2,
        "setup": ["module load cuda"],
        "exclusive": True,
    }
    with pytest.raises(ValueError, match="--slurm gpu is not of the form KEY=VALUE"):
        sweep_slurm.parse_parameters(["gpu"])


def test_without_srun_the_sentence_says_what_else_there_is(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    sweep = Sweep(Request("catch", None, [0], {}, {"updates": 4}), tmp_path / "out")
    with pytest.raises(RunError, match=r"There is no Slurm on this machine .*--executor local"):
        sweep_slurm.Slurm(sweep, {})
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_tasks_of_srun_train_one_run(environment: dict[str, str], tmp_path: Path) -> None:
    words = [sys.executable, "-m", "dreamer_lite", "train", *small_run.FLAGS, "--devices", "all"]
    words += ["--updates", "11", "--run", str(tmp_path / "run")]
    pipes: Any = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    STARTED.append(subprocess.Popen(["srun", "-n", "2", *words], env=environment, **pipes))
    text, err = STARTED[0].communicate(timeout=900)
    assert STARTED[0].returncode == 0, err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["updates"], summary["processes"], summary["devices"]) == (11, 2, 2)
    assert text.count("Saved in") == 1, "one of the tasks reports"
