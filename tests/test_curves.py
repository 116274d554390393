"""Reference curves: what is stored is what was trained, and can be read back."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from dreamer_lite import assets
from dreamer_lite.baselines.ppo import Settings, train
from dreamer_lite.config import to_dict
from dreamer_lite.course import curves
from dreamer_lite.course.curves import AGENTS, Curve
from dreamer_lite.presets import make_config
from dreamer_lite.runs import sweep as sweeps
from dreamer_lite.training.progress import Limits
from dreamer_lite.worlds import make

NAMES = ["ppo", "ppo_thrifty", "q_learning", "q_learning_thrifty", "dreamer", "dreamer_thrifty"]


def made_up() -> Curve:
    returns = np.array([[0.0, 1.0], [3.0, 4.0], [2.0, 3.0], [6.0, 4.0]])
    rows = np.arange(1.0, 5)
    return Curve("ppo", 32 * rows, 100 * rows, 8 * rows, returns, {"agent": "ppo", "seeds": [0, 1]})


def test_when_a_level_is_reached():
    """The mean of the seeds counts, the first time, and two seeds share their seconds."""
    curve = made_up()
    assert curves.when(curve, 3.5) == (200, 8)
    assert curves.when(curve, 4) == (400, 16)
    assert all(map(math.isnan, curves.when(curve, 9)))


def test_a_curve_survives_its_file(tmp_path, monkeypatch):
    file = tmp_path / "curves" / "small.json"
    file.parent.mkdir()
    file.write_text(curves.as_json(made_up()), encoding="utf-8")
    monkeypatch.setattr(assets, "_FOLDER", tmp_path)
    again = curves.load("small")
    for name in ("updates", "agent_steps", "seconds", "returns"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made_up(), name))
    assert again.about["seeds"] == [0, 1]
    with pytest.raises(ValueError, match=r"no asset 'curves/large.json'"):
        curves.load("large")


@pytest.mark.parametrize("name", NAMES)
def test_stored_curves_are_whole_and_say_how_they_were_made(name):
    curve, agent = curves.load(f"breakout_{name}"), AGENTS[name]
    assert curve.agent == name and curve.about["changes"] == agent.changes
    assert len(curve.about["seeds"]) == curve.returns.shape[1] >= 3
    assert len(curve.updates) == len(curve.agent_steps) == len(curve.seconds) == len(curve.returns)
    assert (np.diff(curve.agent_steps) > 0).all() and (np.diff(curve.seconds) >= 0).all()
    command, updates = curve.about["command"], f"--updates {curve.updates[-1]:.0f}"
    if agent.model_free is None:
        assert command == curves.sweep_command(name) and updates in command
    else:
        assert f"curves {name} --world minatar/breakout --seeds 3 {updates}" in command
    assert {"cores", "processor", "versions", "wall_seconds"} <= curve.about.keys()


def test_what_the_notebook_says_of_the_stored_curves():
    """Replay saves steps, with or without a model; PPO is first in seconds."""
    race = {name: curves.when(curves.load(f"breakout_{name}"), 4) for name in NAMES}
    steps, seconds = ({name: pair[i] for name, pair in race.items()} for i in range(2))
    assert min(seconds["ppo"], seconds["ppo_thrifty"]) == min(seconds.values())
    assert 8 < seconds["dreamer_thrifty"] / seconds["q_learning_thrifty"] < 9.5
    assert steps["q_learning_thrifty"] <= steps["dreamer_thrifty"]
    times = {name: n / steps["q_learning_thrifty"] for name, n in steps.items()}
    assert 6.5 < times["ppo"] < 7.5 and 4 < times["ppo_thrifty"] < 5 and 7 < times["q_learning"] < 8
    assert 5.5 < steps["ppo"] / steps["dreamer_thrifty"] < 6.5
    assert 13.5 < steps["dreamer"] / steps["dreamer_thrifty"] < 14.5
    assert steps["q_learning"] > steps["ppo"] and steps["dreamer"] > 2 * steps["q_learning"]
    at_20_ms = {name: s + 0.02 * n for name, (n, s) in race.items()}
    assert at_20_ms["q_learning_thrifty"] == min(at_20_ms.values())


def test_the_command_stores_a_curve(tmp_path, capsys, monkeypatch):
    """Two seeds of Catch, a few rounds; the numbers are those of `ppo.train`."""
    settings = Settings(length=8, minibatches=2, epochs=1)
    monkeypatch.setitem(AGENTS, "ppo", AGENTS["ppo"]._replace(model_free=settings, changes={}))
    out = tmp_path / "curve.json"
    assert curves.main(
        ["ppo", "--world", "catch", "--seeds", "2", "--updates", "22", "--out", str(out)]
    ) == 0  # fmt: skip
    stored = json.loads(out.read_text(encoding="utf-8"))
    points = stored["points"]
    assert points["updates"] == [2, 12, 22] and points["agent_steps"] == [1024, 6144, 11264]
    news = train(make_config("catch", seeds=2), settings, make("catch"), Limits(updates=22))
    expected = [record["seeds"]["return_mean"] for record, _ in news]
    np.testing.assert_allclose(points["returns"], expected, atol=0.006)
    assert stored["seeds"] == [0, 1] and stored["cores"] >= 1
    assert "11,264 agent steps" in capsys.readouterr().out


def write_summary(run: Path, updates: int) -> None:
    summary = {"wall_seconds": 30, "agent_steps": 128 * updates, "updates": updates}
    (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")


@pytest.fixture
def swept(tmp_path) -> Path:
    """A finished sweep of two seeds of Catch, with made-up records."""
    folder = tmp_path / "sweep"
    request = sweeps.Request("catch", None, [0, 1], {"horizon": ["1"]}, {"updates": 100})
    sweep = sweeps.Sweep(request, folder)
    sweep.claim()
    for number, run in enumerate(sweep.runs):
        place = folder / run.name
        place.mkdir()
        config = to_dict(make_config("catch", seed=run.seed, horizon=1))
        (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
        write_summary(place, 100)
        records = [
            {
                "updates": n,
                "agent_steps": 128 * n,
                "seconds": 20 + n + number,
                "return_mean": n / 100,
            }
            for n in (1, 50, 100)
        ]
        text = "".join(json.dumps(r) + "\n" for r in records)
        (place / "metrics.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_a_finished_sweep_becomes_a_curve(swept, tmp_path, capsys):
    out = tmp_path / "curve.json"
    assert curves.main(["horizon_1", "--sweep", str(swept), "--out", str(out)]) == 0
    assert (
        "update     100,      12,800 agent steps,    241 s: return 1.00, 1.00"
        in capsys.readouterr().out
    )
    stored = json.loads(out.read_text(encoding="utf-8"))
    assert stored["command"] == (
        "taskset -c 0 dreamer-lite sweep --world catch --seeds 0,1 --set horizon=1 --updates 100 "
        "--parallel 1 --out runs/horizon_1"
    )
    assert stored["seeds"] == [0, 1] and stored["changes"] == {"horizon": 1}
    assert stored["points"]["seconds"] == [43, 141, 241]  # of both runs together
    assert stored["points"]["returns"] == [[0.01, 0.01], [0.5, 0.5], [1, 1]]


def test_a_sweep_that_is_no_curve_is_refused(swept, capsys):
    """Another agent, other settings, a run that was interrupted or is not finished, no sweep."""

    def refused(name: str) -> str:
        assert curves.main([name, "--sweep", str(swept)]) == 2
        return capsys.readouterr().err

    assert "ppo is not Dreamer" in refused("ppo")
    assert f"{swept / 's0'} has other settings than horizon_30" in refused("horizon_30")
    metrics = swept / "s1" / "metrics.jsonl"
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    metrics.write_text("".join(lines[:1] + lines), encoding="utf-8")
    assert "was interrupted" in refused("horizon_1")
    write_summary(swept / "s1", 50)
    assert f"{swept / 's1'} is not finished" in refused("horizon_1")
    (swept / "sweep.json").unlink()
    assert "Cannot read" in refused("horizon_1")


def test_dreamer_is_trained_by_a_sweep(capsys):
    assert curves.main(["dreamer_thrifty"]) == 2
    said = capsys.readouterr().err
    assert (
        "taskset -c 0 dreamer-lite sweep --world minatar/breakout --seeds 0,1,2 --set worlds=8 "
        "--set train_ratio=64 --updates 4000 --parallel 1 --out runs/dreamer_thrifty" in said
    )


def test_bad_input_gets_a_sentence(capsys):
    for option, value in (("--world", "catch"), ("--seeds", "2"), ("--updates", "9")):
        with pytest.raises(SystemExit, match="2"):
            curves.main(["dreamer", "--sweep", "folder", option, value])
        assert f"{option} is for a training" in capsys.readouterr().err
    assert curves.main(["ppo", "--world", "gym/CartPole-v1"]) == 2
    assert "is no environment in JAX" in capsys.readouterr().err
    assert curves.main(["ppo", "--world", "pong"]) == 2
    assert "pong" in capsys.readouterr().err
