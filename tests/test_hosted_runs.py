"""Worlds on the host by the commands: train, stop, go on, evaluate, dream, record."""

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import small_run

from dreamer_lite import worlds
from dreamer_lite.__main__ import main
from dreamer_lite.runs import agents
from dreamer_lite.runs import run as runs
from dreamer_lite.show import images
from dreamer_lite.training.progress import Limits

SETTINGS = [
    word for name, value in small_run.SETTINGS.items() for word in ("--set", f"{name}={value}")
]
CARTPOLE = ["train", "--world", "gym/CartPole-v1", *SETTINGS]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few updates that was stopped once."""
    folder = tmp_path_factory.mktemp("runs") / "cartpole"
    for updates in ("4", "8"):
        assert main([*CARTPOLE, "--updates", updates, "--run", str(folder)]) == 0
    return folder


def test_it_goes_on_where_it_was(run: Path) -> None:
    records = [
        json.loads(line)
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    updates = [r["updates"] for r in records]
    assert updates == sorted(updates) and updates[-1] >= 8 and 4 in updates
    assert not runs.finished(run, Limits(updates=20)) and runs.finished(run, Limits(updates=8))
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert summary["env_frames"] == summary["agent_steps"] == records[-1]["agent_steps"]


def test_it_is_evaluated(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--agent", str(run), "--episodes", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["episodes"] == 3 and 1 <= found["return_mean"] <= 500


def test_its_dream_is_drawn_as_gauges(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dream", "--agent", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["model"]) == len(found["copy_last"]) == len(found["horizon"]) > 3
    assert Path(found["video"]).stat().st_size > 10_000


def test_it_is_filmed_in_its_own_pictures(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pygame", reason="draws CartPole")
    assert main(["record", "--agent", str(run), "--json"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["video"]).stat().st_size > 1_000


class Breaks(gymnasium.Env):
    """Gives NaN in step 40."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    count = 0

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        obs = np.full(2, np.nan if self.count == 40 else 0.5, np.float32)
        return obs, 1.0, self.count % 7 == 0, False, {}


def test_an_environment_that_breaks_leaves_the_last_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gymnasium.register("Breaks-v0", entry_point=lambda: Breaks())  # type: ignore
    try:
        words = ["train", "--world", "gym/Breaks-v0", *SETTINGS, "--run", str(tmp_path / "run")]
        assert main([*words, "--updates", "400"]) == 1
        saved = agents.load(str(tmp_path / "run"))
    finally:
        gymnasium.registry.pop("Breaks-v0")
    with pytest.raises(ValueError, match="an environment that is not here: Gymnasium knows no"):
        agents.load(str(tmp_path / "run"))
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("dreamer-lite: gym/Breaks-v0: observation 'vector' holds nan")
    assert all(np.isfinite(x).all() for x in small_run.arrays(saved.params).values())


def test_a_replay_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    big = [*CARTPOLE, "--set", "capacity=1000000000", "--run", str(tmp_path)]
    assert main(big) == 2
    assert "choose a capacity of at most" in capsys.readouterr().err


def test_gauges_stand_where_the_numbers_are() -> None:
    world = worlds.make("gym/CartPole-v1")
    seen = {"vector": np.array([[-1.0, 0, 2, 5], [1, 1, 4, 5]], np.float32)}
    draw = images.painter(world, [seen])
    blue = np.array(images.SKY)

    def columns(values: list[float]) -> list[float]:
        """Where the discs of the four lines are, in pixels from the left."""
        picture = draw({"vector": np.array(values, np.float32)})
        assert picture.shape == (images.PANEL, images.PANEL, 3) and picture.dtype == np.uint8
        return [
            float(np.nonzero((part == blue).all(-1))[1].mean()) for part in np.split(picture, 4)
        ]

    low, high = columns([-1, 0, 2, 5]), columns([1, 1, 4, 5])
    middle = columns([0, 0.5, 3, 5])
    for i in range(3):
        assert low[i] < middle[i] < high[i]
        assert middle[i] == pytest.approx((low[i] + high[i]) / 2, abs=1)
    assert columns([-9, -9, -9, 5])[:3] == low[:3], "what lies outside stands at the end"


def test_worlds_that_draw_are_drawn_by_themselves() -> None:
    world = worlds.make("catch")
    obs = {"image": np.zeros((10, 10, 2), np.uint8)}
    draw = images.painter(world, [{"image": obs["image"][None]}])
    np.testing.assert_array_equal(draw(obs), world.render(obs))
