"""The budget planner: arithmetic by hand, published points, and what it refuses."""

import pytest
import small_run

from dreamer_lite import planner
from dreamer_lite.config import make_config


def test_minutes_become_updates_steps_and_frames() -> None:
    config = make_config("dmc/walker-walk")  # 16 x 64 replayed steps, ratio 512: 2 steps an update
    found = planner.plan(config, minutes=10, seconds=0.5)
    assert found.updates == 1200
    before = config.rows_before_learning * config.worlds
    assert found.agent_steps == 1200 * 2 + before
    assert found.env_frames == 2 * found.agent_steps, "the suite repeats each action twice"


@pytest.mark.parametrize("world", sorted(planner.PUBLISHED))
def test_curves_go_through_their_points(world: str) -> None:
    curve = planner.PUBLISHED[world]
    frames = [x for x, *_ in curve.points]
    assert frames == sorted(set(frames))
    for x, mean, spread in curve.points:
        assert curve.at(1000 * x) == pytest.approx((mean, spread))
    assert curve.at(1000 * frames[-1] + 1) is None and curve.at(1) is None


def test_between_points_on_a_straight_line() -> None:
    assert planner.PUBLISHED["dmc/walker-walk"].at(75_000) == pytest.approx((382, 125))


def test_nothing_is_promised_where_nothing_is_known() -> None:
    assert "At 100,000 frames others had 475 ± 157" in planner.expectation(
        "dmc/walker-walk", 100_000
    )
    assert "outside of the published curve" in planner.expectation("dmc/walker-walk", 10**9)
    assert "nothing is promised" in planner.expectation("gym/CartPole-v1", 1000)


@pytest.mark.parametrize("minutes, seconds", [(0, 1), (-1, 1), (1, 0)])
def test_what_cannot_be_planned(minutes: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="must be greater than 0"):
        planner.plan(small_run.config(), minutes, seconds)


def test_updates_are_timed_here() -> None:
    config = small_run.config()
    seconds = planner.seconds_per_update(config)
    assert 0 < seconds < 60
    lines = planner.describe(config, planner.plan(config, 1, seconds)).splitlines()
    assert len(lines) == 4 and "replayed steps" in lines[2] and "environment frames" in lines[2]
