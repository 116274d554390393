"""Several agents in one program: each is the one it would be alone, in numbers and on disk."""

import dataclasses
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_run

from dreamer_lite import worlds
from dreamer_lite.__main__ import main
from dreamer_lite.commands.train import in_words
from dreamer_lite.runs import agents, checkpoints
from dreamer_lite.runs import run as runs
from dreamer_lite.runs.errors import RunError
from dreamer_lite.show import plots
from dreamer_lite.training import loop as training
from dreamer_lite.training.loop import Driver, make_driver
from dreamer_lite.training.progress import Limits
from dreamer_lite.training.state import RunState

SEED, N = 5, 3
# Small nets compile fast. The optimiser blows up the smallest gradients, and with them the last
# digits in which two programs differ: `rms_eps` keeps it from that.
SETTINGS = dict.fromkeys(
    ("encoder_layers", "decoder_layers", "policy_layers", "value_layers", "prior_layers"), 1
) | {"seed": SEED, "rms_eps": 0.1, "warmup": 0, "learning_rate": 1e-2}
CONFIG = small_run.config(**SETTINGS, seeds=N)
ALONE = small_run.config(**SETTINGS)
LIMITS = Limits(updates=14)


@pytest.fixture(scope="module")
def driver() -> Driver:
    return make_driver(CONFIG, worlds.make("catch"))


@pytest.fixture(scope="module")
def alone() -> Driver:
    return make_driver(ALONE, worlds.make("catch"))


@pytest.fixture(scope="module")
def folder(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with three agents."""
    place = tmp_path_factory.mktemp("runs") / "three"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "make_driver", lambda *_: driver)
        list(runs.run(CONFIG, place, LIMITS))
    return place


def go(config, driver: Driver, seed: int) -> tuple[list[dict], RunState]:
    news = list(training.train(config, driver, driver.init(seed), Limits(updates=7)))
    return [record for record, _ in news], news[-1].state


def records_of(folder: Path) -> list[dict]:
    return [
        json.loads(line)
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_each_agent_is_that_of_its_own_run(driver: Driver, alone: Driver) -> None:
    """The oracle: the same numbers as N runs, in everything that a run is."""
    together, state = go(CONFIG, driver, SEED)
    assert driver.advance._cache_size() == 1
    stacked = small_run.arrays(state)
    for agent in range(N):
        records, own = go(ALONE, alone, SEED + agent)
        for name, single in small_run.arrays(own).items():
            assert stacked[name].shape == (N, *single.shape), name
            loose = 1e-3 if "optimizer" in name else 1e-4
            np.testing.assert_allclose(
                stacked[name][agent], single, rtol=1e-3, atol=loose, err_msg=name
            )
        for both, single in zip(together, records, strict=True):
            for name in ("episodes", "return_mean", "return_stderr", "loss/total", "grad_norm"):
                expected = pytest.approx(single[name], rel=1e-3, abs=1e-4)
                assert both["seeds"][name][agent] == expected, name
            assert (both["updates"], both["agent_steps"]) == (
                single["updates"],
                single["agent_steps"],
            )
    moved = stacked[".learner.params['actor']['logits']['kernel']"]
    assert (moved[0] != moved[1]).any() and (moved[1] != moved[2]).any()


def test_records_are_means_over_the_agents(folder: Path) -> None:
    for record in records_of(folder):
        own = record["seeds"]
        assert all(len(values) == N for values in own.values())
        for name in own.keys() - {"return_stderr", "episodes"}:
            assert record[name] == pytest.approx(np.mean(own[name]), rel=1e-5, abs=1e-7), name
        error = np.std(own["return_mean"], ddof=1) / math.sqrt(N)
        assert record["return_stderr"] == pytest.approx(error)
        assert own.keys() - record.keys() == set()
    assert record["updates"] >= 14 and min(own["episodes"]) > 0
    words = in_words(record)
    assert f"({min(own['return_mean']):.2f} to {max(own['return_mean']):.2f}, 3 seeds)" in words


def test_summary(folder: Path) -> None:
    found, last = (
        json.loads((folder / "summary.json").read_text(encoding="utf-8")),
        records_of(folder)[-1],
    )
    assert found["seeds"] == N
    for name in ("return_mean", "return_stderr", "episodes", "agent_steps", "updates"):
        assert found[name] == last[name]


@pytest.mark.parametrize("agent", [0, 2])
def test_the_agent_that_breaks_is_named(agent: int) -> None:
    metrics = {"entropy": np.full(N, math.nan), "loss/a": np.ones(N), "loss/b": np.ones(N)}
    training.check_finite(metrics, 7, CONFIG)
    metrics["loss/b"][agent] = math.inf
    sentence = rf"^loss/b of seed {SEED + agent} became inf before update 7\.$"
    with pytest.raises(FloatingPointError, match=sentence):
        training.check_finite(metrics, 7, CONFIG)


def test_a_run_in_parts_is_the_whole_run(
    tmp_path: Path, folder: Path, same_driver: None, driver: Driver
) -> None:
    list(runs.run(CONFIG, tmp_path, Limits(updates=3)))
    list(runs.run(CONFIG, tmp_path, LIMITS))
    whole, parts = (
        checkpoints.restore(place / "state", driver.init(0))[0] for place in (folder, tmp_path)
    )
    small_run.assert_same(parts, whole)
    assert records_of(tmp_path)[-1]["seeds"] == records_of(folder)[-1]["seeds"]


@pytest.mark.parametrize("added", [7, 10**6])
def test_rings_come_back_with_the_rows_that_are_full(
    tmp_path: Path, driver: Driver, added: int
) -> None:
    fresh = driver.init(0)
    rows = fresh.replay.deter.shape[1]
    full = np.arange(rows)[None, :, None, None] < added
    noise = np.random.default_rng(0).normal(size=fresh.replay.deter.shape).astype(np.float32)
    replay = fresh.replay._replace(
        deter=jnp.where(full, noise, 0.0), added=jnp.full(N, added, jnp.int32)
    )
    state = fresh._replace(replay=replay)
    meta = {"config": {}, "summary": {}}
    checkpoints.save(tmp_path, state, meta)
    small_run.assert_same(checkpoints.restore(tmp_path, driver.init(1))[0], state)
    saved = checkpoints.read(tmp_path / "000001", "run")["replay.deter"]
    assert saved.shape[:2] == (N, min(added, rows))


def test_an_agent_by_its_seed(folder: Path, tmp_path: Path, driver: Driver) -> None:
    state = checkpoints.restore(folder / "state", driver.init(0))[0]
    own = records_of(folder)[-1]["seeds"]
    for agent in range(N):
        config, params, info = agents.load(f"{folder}@{SEED + agent}")
        assert config == dataclasses.replace(ALONE, seed=SEED + agent)
        small_run.assert_same(params, jax.tree.map(lambda x, i=agent: x[i], state.learner.params))
        assert info["return_mean"] == own["return_mean"][agent]
        assert info["episodes"] == own["episodes"][agent]
    first = agents.load(str(folder))
    small_run.assert_same(first.params, agents.load(f"{folder}@{SEED}").params)

    out = tmp_path / "agent.safetensors"
    assert main(["export", "--agent", f"{folder}@6", "--out", str(out)]) == 0
    exported = agents.load(str(out))
    assert exported.config == dataclasses.replace(ALONE, seed=6)
    small_run.assert_same(exported.params, agents.load(f"{folder}@6").params)
    assert exported.info["return_mean"] == own["return_mean"][1]
    assert "--seed 5 --seeds 3 --updates" in exported.info["trained"]["command"]
    assert "--set seed" not in exported.info["trained"]["command"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("@8", r"has no seed 8: valid after the @ are 5, 6, 7\.$"),
        ("@0", r"has no seed 0: valid after the @ are 5, 6, 7\.$"),
        ("@last", r"write a number after the @, as in .*three@0\.$"),
        ("@", r"write a number after the @"),
        ("s@5", "There is no agent"),
    ],
)
def test_wrong_seeds(folder: Path, name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        agents.load(f"{folder}{name}")


def test_commands(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evaluate = ["evaluate", "--episodes", "2", "--json", "--agent"]
    assert main([*evaluate, str(folder)]) == 0
    out, err = capsys.readouterr()
    assert err == f"{folder} holds 3 agents: this is the first; {folder}@SEED names one.\n"
    assert main([*evaluate, f"{folder}@5"]) == 0
    assert capsys.readouterr() == (out, "")
    assert main([*evaluate, f"{folder}@9"]) == 2
    assert "valid after the @ are 5, 6, 7" in capsys.readouterr().err
    assert main(["plot", "--run", str(folder), "--out", "curves.png"]) == 0
    assert "3 seeds" in capsys.readouterr().out and Path("curves.png").stat().st_size
    assert main(["train", "--world", "catch", "--set", "seeds=3"]) == 2
    assert "Choose the seeds by --seeds" in capsys.readouterr().err
    assert main(["train", "--world", "catch", "--seeds", "65", "--updates", "1"]) == 2
    assert "seeds is 65: it must lie between 1 and 64" in capsys.readouterr().err


def test_train_names_its_folder_and_says_the_spread(
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    same_driver: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", *small_run.FLAGS, "--seed", "5", "--seeds", "3", "--updates", "2"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert (tmp_path / "runs" / "catch-tiny-s5-n3" / "state").is_dir()
    assert "of 3 seeds" in out and "@SEED" in out and "3 seeds)" in err


def test_worlds_on_the_host_are_refused(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, world="gym/CartPole-v1", seeds=2)
    with pytest.raises(RunError, match=r"^seeds is 2, but gym/CartPole-v1 .* one by one"):
        runs.run(config, tmp_path, LIMITS)


def test_curves_have_a_band_from_the_lowest_to_the_highest_seed(folder: Path) -> None:
    records = records_of(folder)
    figure = plots.curves([("three", records)])
    by_steps, _, losses = figure.axes
    shown = [record for record in records if min(record["seeds"]["episodes"])]
    low, high = edges(by_steps.collections[0], len(shown))
    own = np.array([record["seeds"]["return_mean"] for record in shown])
    np.testing.assert_allclose(low, own.min(1))
    np.testing.assert_allclose(high, own.max(1))
    title = figure.get_suptitle()
    assert title == "three (mean of 3 seeds; band: lowest to highest)"
    assert len(losses.collections) == len(losses.lines) - 1  # the free nats have no band
    own = np.array([record["seeds"]["loss/dyn"] for record in records])
    names = [line.get_label() for line in losses.lines]
    low, high = edges(losses.collections[names.index("dyn")], len(records))
    np.testing.assert_allclose(high, own.max(1), rtol=1e-6)
    np.testing.assert_allclose(low, own.min(1), rtol=1e-6)
    words = plots.describe_curves([("three", records)])
    last = own[-1]
    assert f"dyn {last.min():.2f} to {last.max():.2f}" in words and "means of 3 seeds" in words
    legend = plots.curves([("three", records), ("again", records)]).axes[0].get_legend()
    assert legend is not None and "lowest to highest" in legend.get_texts()[0].get_text()


def edges(band, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge of a `fill_between` over so many points."""
    y = band.get_paths()[0].vertices[:, 1]
    first, second = y[1 : points + 1], y[points + 2 : 2 * points + 2][::-1]
    return np.minimum(first, second), np.maximum(first, second)
