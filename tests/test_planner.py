"""The budget planner: arithmetic by hand, published points, and what it refuses."""

import dataclasses
import math

import pytest
import small_run

from dreamer_lite.config import Config
from dreamer_lite.course import planner
from dreamer_lite.presets import make_config


def test_minutes_become_updates_steps_and_frames() -> None:
    config = make_config("dmc/walker-walk")  # 16 x 64 replayed steps, ratio 512: 2 steps an update
    found = planner.plan(config, minutes=10, seconds=0.5)
    assert found.updates == 1200
    before = config.steps_before_learning * config.worlds
    assert found.agent_steps == 1200 * 2 + before
    assert found.env_frames == 2 * found.agent_steps, "the suite repeats each action twice"
    assert found.replayed_steps == 1200 * 16 * 64 == 512 * (found.agent_steps - before)


@pytest.mark.parametrize("world", sorted(planner.references()))
def test_curves_go_through_their_points(world: str) -> None:
    curve = planner.references()[world]
    frames = [x for x, *_ in curve.points]
    assert frames == sorted(set(frames))
    for x, mean, spread in curve.points:
        assert curve.at(1000 * x) == pytest.approx((mean, spread))
    assert curve.at(1000 * frames[-1] + 1) is None and curve.at(1) is None


def test_between_points_on_a_straight_line() -> None:
    assert planner.references()["dmc/walker-walk"].at(75_000) == pytest.approx((382, 125))


def walker(ratio: float) -> Config:
    return make_config("dmc/walker-walk", "1m", train_ratio=ratio)


def test_at_the_ratio_of_the_curve_one_point_of_it_is_expected() -> None:
    config = walker(512)
    frames = 100_000
    replayed = 512 * (frames // 2 - config.steps_before_learning * config.worlds)
    low, high = planner.landmarks(config, replayed, frames).values()
    assert low == high == (frames, 475, 157)
    words = planner.expectation(config, replayed, frames)
    assert words.startswith("Others had 475 ± 157 at 100,000 frames: 5 seeds of the 2023 rel")
    some_steps_less = planner.expectation(config, replayed - 512 * 8, frames)
    assert some_steps_less.startswith("Others had 475 ± 157 at 99,984 frames: ")


@pytest.mark.parametrize("ratio, first", [(128, "replayed"), (2048, "collected")])
def test_at_another_ratio_two_points_hold_the_score_between_them(ratio: float, first: str) -> None:
    """Replayed as much, or collected as much; by hand: 200,000 frames are 100,000 steps."""
    config = walker(ratio)
    before = config.steps_before_learning * config.worlds
    points = planner.landmarks(config, int(ratio * (100_000 - before)), 200_000)
    assert next(iter(points)) == first
    assert points["collected"] == (200_000, 800, 75)
    by_replay = 2 * (before + ratio * (100_000 - before) / 512)
    assert points["replayed"][0] == pytest.approx(min(by_replay, 490_000))
    words = planner.expectation(config, int(ratio * (100_000 - before)), 200_000)
    assert words.startswith(f"After as many {first} steps others had ")
    assert f"train ratio 512; here it is {ratio}." in words


def test_nothing_is_promised_where_nothing_is_known() -> None:
    config = walker(512)
    assert "where the curve ends" in planner.expectation(config, 10**9, 10**9)
    assert "train ratio 512, as here" in planner.expectation(config, 10**7, 10**5)
    assert "does not reach the curve's first point, 43 ± 5" in planner.expectation(config, 1, 2)
    cart = make_config("gym/CartPole-v1")
    assert "nothing is promised" in planner.expectation(cart, 1000, 1000)
    assert math.isnan(planner.plan(cart, 1, 1).low)


def test_a_curve_of_our_own_goes_before_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    own = planner.ReferenceCurve("a run of ours", 128, [(10, 1, 0), (100, 3, 1)], "one seed")
    monkeypatch.setitem(planner.references(), "dmc/walker-walk small", own)
    small = make_config("dmc/walker-walk", "small")
    assert planner.curve_of(small) is own
    before = small.steps_before_learning * small.worlds
    words = planner.expectation(small, 128 * (27_500 - before), 55_000)
    assert words == (
        "One seed had 2 ± 0.5 at 55,000 frames: a run of ours, train ratio 128, as here."
    )
    assert planner.curve_of(walker(512)) is planner.references()["dmc/walker-walk"]


def test_the_largest_size_that_gets_through_the_curve_is_chosen() -> None:
    small, large = (make_config("dmc/walker-walk", size) for size in ("1m", "12m"))
    slow = [planner.plan(small, 60, 0.1), planner.plan(large, 60, 1.0)]
    assert planner.choose(slow).config is small
    fast = [planner.plan(small, 600, 0.02), planner.plan(large, 600, 0.1)]
    assert planner.choose(fast).config is large
    pocket = dataclasses.replace(large, world="gym/CartPole-v1")
    assert planner.choose([slow[0], planner.plan(pocket, 60, 0.1)]).config is small


def test_each_size_is_judged_by_its_own_curve() -> None:
    """At 30 minutes, `1m` has risen to the end of its curve, which is below that of our own run."""
    own, large = (
        planner.plan(config, 30, planner.estimated_seconds(config))
        for config in (make_config("atari/pong", size) for size in ("pixels-cpu", "1m"))
    )
    assert own.low > 19 and -6 < large.low < -3
    assert planner.choose([own, large]) is own


@pytest.mark.parametrize("world, seconds", [("atari/freeway", 0.1), ("dmc/walker-walk", 100)])
def test_the_smallest_size_is_chosen_where_nothing_speaks_for_a_larger_one(world, seconds) -> None:
    """Without a curve, or where no size gets to the first point of its curve."""
    plans = [planner.plan(make_config(world, size), 60, seconds) for size in ("1m", "12m", "25m")]
    assert planner.choose(plans) is plans[0]


def test_sizes_fit_the_device() -> None:
    assert planner.sizes("dmc/walker-walk", "cpu") == ("small", "1m")
    assert planner.sizes("dmc/walker-walk/pixels", "cpu") == ("pixels-cpu",)
    assert planner.sizes("atari/freeway", "gpu") == ("1m", "12m", "25m")
    assert planner.sizes("dmc/walker-walk", "gpu") == ("small", "1m")
    assert planner.sizes("atari/road_runner", "gpu") == ("pixels-cpu", "1m")
    assert planner.sizes("catch", "gpu") == ("tiny",)


def test_estimates_for_a_gpu() -> None:
    """By hand: 2,001 launches of 5 us, 5.2 GFLOP at 2 TFLOP/s, 10 ms around."""
    assert planner.estimated_seconds(make_config("dmc/walker-walk", "small")) == pytest.approx(
        0.010005 + 0.0026 + 0.010
    )
    for world in ("catch", "dmc/walker-walk/pixels"):
        assert math.isnan(planner.estimated_seconds(make_config(world)))


@pytest.mark.parametrize(
    "world, size, least",
    [("dmc/walker-walk", "small", 900), ("atari/road_runner", "pixels-cpu", 9000),
     ("atari/pong", "pixels-cpu", 19), ("atari/breakout", "pixels-cpu", 10)],
)  # fmt: skip
def test_the_table_of_notebook_09_is_what_the_planner_estimates(world, size, least) -> None:
    source = small_run.ROOT / "notebooks" / "src" / "09_full_run.py"
    names = {"dmc/walker-walk": "Walker Walk", "atari/road_runner": "Road Runner"}
    names |= {"atari/pong": "Pong", "atari/breakout": "Breakout"}
    for platform, device in (("cpu", "2 CPU cores"), ("gpu", "T4, L4, A100")):
        sized = size if platform == "gpu" else planner.sizes(world, "cpu")[0]
        minutes = planner.minutes_for(world, platform)
        line = f"# | {device} | {names[world]} | `{sized}` | {minutes:g} |"
        assert line in source.read_text(encoding="utf-8")
    assert planner.sizes(world, "gpu")[0] == size
    config = make_config(world, size)
    plan = planner.plan(
        config, planner.minutes_for(world, "gpu"), planner.estimated_seconds(config)
    )
    assert plan.low >= least


@pytest.mark.parametrize("minutes, seconds", [(0, 1), (-1, 1), (1, 0)])
def test_what_cannot_be_planned(minutes: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="must be greater than 0"):
        planner.plan(small_run.config(), minutes, seconds)


def test_updates_are_timed_here() -> None:
    config = small_run.config()
    changes = small_run.SETTINGS
    (found,) = planner.survey("catch", 1, changes)
    assert found.config == dataclasses.replace(config, seed=0) and found.seconds_per_update > 0
    lines = planner.describe(found).splitlines()
    assert len(lines) == 4 and "replayed steps" in lines[2] and "environment frames" in lines[2]
