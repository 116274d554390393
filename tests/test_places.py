"""Where runs lie: one rule for the commands and the notebooks; and the agents that are found."""

import os
from pathlib import Path

import numpy as np
import pytest
import small_run

from dreamer_lite import assets, worlds
from dreamer_lite.agent.agent import make_agent
from dreamer_lite.commands import train
from dreamer_lite.commands.parser import make_parser
from dreamer_lite.course import full_run, judging
from dreamer_lite.presets import make_config
from dreamer_lite.runs import agents, places
from dreamer_lite.runs import run as runs
from dreamer_lite.training.progress import Limits


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DREAMER_LITE_RUNS", raising=False)


def test_a_command_and_a_notebook_of_a_clone_mean_the_same_folder(monkeypatch, tmp_path) -> None:
    clone, elsewhere = tmp_path / "clone", tmp_path / "elsewhere"
    for folder in (clone / "notebooks", elsewhere):
        folder.mkdir(parents=True)
    monkeypatch.setattr(assets, "clone", lambda: clone)
    for here, home in (
        (clone, "runs"),
        (clone / "notebooks", os.path.join("..", "runs")),
        (elsewhere, "runs"),
    ):
        monkeypatch.chdir(here)
        assert places.home() == Path(home)
    monkeypatch.setattr(assets, "clone", lambda: None)  # installed by pip
    assert places.home() == Path("runs")
    monkeypatch.setenv("DREAMER_LITE_RUNS", str(tmp_path / "mine"))
    assert places.home() == tmp_path / "mine"


def test_the_command_trains_where_the_notebook_looks(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("DREAMER_LITE_RUNS", str(tmp_path))
    words = [f"--set={name}={value}" for name, value in small_run.SETTINGS.items()]
    train.train(make_parser().parse_args(["train", "--world", "catch", "--updates", "2", *words]))
    config = make_config("catch", **small_run.SETTINGS)
    assert (tmp_path / places.name(config) / "summary.json").exists()
    assert places.name(config) == "catch-tiny-s0"
    assert full_run.begun("catch", 0, [None, tmp_path]) == "tiny"
    assert full_run.begun("catch", 1, [tmp_path]) == full_run.begun("catch", 0, [None]) == ""


def save(path: Path, seconds: int) -> None:
    world = worlds.make("catch")
    config = small_run.config()
    params = make_agent(config, world.obs_space, world.action_space).init(0)
    agents.save_agent(path, params, config, {"updates": 1})
    os.utime(path, (seconds, seconds))


def test_the_newest_agent_is_taken_and_a_broken_one_passed_over(tmp_path, capsys) -> None:
    name, agent = judging.choose("latest", [tmp_path, None])
    assert name == judging.SHIPPED and "No agent of yours" in capsys.readouterr().out
    save(tmp_path / "old" / places.AGENT, 1_000)
    list(runs.run(small_run.config(), tmp_path / "run", Limits(updates=2)))
    assert [found.path.name for found in places.trained([tmp_path])] == ["run", places.AGENT]
    assert judging.choose("latest", [tmp_path])[0] == str(tmp_path / "run")
    assert "(the newest)" in capsys.readouterr().out
    broken = tmp_path / "broken" / places.AGENT
    save(broken, 4_000_000_000)
    broken.write_bytes(broken.read_bytes()[:-1])
    os.utime(broken, (4_000_000_000, 4_000_000_000))
    assert judging.choose("latest", [tmp_path])[0] == str(tmp_path / "run")
    assert "The next one is taken" in capsys.readouterr().out
    assert judging.choose("catch", [tmp_path])[0] == "catch"


def test_a_mirror_holds_the_agent_as_a_file(tmp_path) -> None:
    folder, copy = tmp_path / "run", tmp_path / "copies" / "run"
    copy.parent.mkdir()
    list(runs.run(small_run.config(), folder, Limits(updates=3), mirror_folder=copy))
    assert (copy / "summary.json").read_bytes() == (folder / "summary.json").read_bytes()
    from_copy, here = agents.load(str(copy / places.AGENT)), agents.load(str(folder))
    assert from_copy.info["trained"]["updates"] == 3
    for mine, theirs in zip(*(map(np.asarray, _leaves(x.params)) for x in (from_copy, here))):
        np.testing.assert_array_equal(mine, theirs)
    assert judging.choose("latest", [tmp_path / "copies"])[0] == str(copy / places.AGENT)


def _leaves(tree):
    import jax

    return jax.tree.leaves(tree)


def test_films_lie_beside_the_readers_agent(tmp_path) -> None:
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    for folder, agent, place in (
        (str(tmp_path / "films"), "catch", tmp_path / "films"),
        ("", str(tmp_path), tmp_path),
        ("", str(tmp_path / places.AGENT), tmp_path),
    ):
        films = judging.Films(folder, agent)
        films.keep("play", frames, 10)
        assert films.files() == [place / "play.mp4"] and not films.temporary
        assert "play.mp4" in films.listed()
    assert judging.Films("", "catch").temporary


def test_episodes_fit_the_environment() -> None:
    assert judging.episodes_for(worlds.make("catch"), 0) == 100
    assert judging.episodes_for(worlds.make("catch"), 7) == 7
    assert judging.episodes_for(worlds.make("gym/CartPole-v1"), 0) == judging.ON_THE_HOST
