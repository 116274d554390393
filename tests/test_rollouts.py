"""Playing: whose episodes count, what a recorded row is, and the pictures of them."""

import jax
import numpy as np
import pytest
from tiny_agent import Stroll, tiny

from dreamer_lite.evaluation import players, rollouts
from dreamer_lite.worlds import Breakout, Catch

WORLDS = {"catch": Catch(), "breakout": Breakout(), "stroll": Stroll()}


@pytest.mark.parametrize(
    ("name", "trained"), [("breakout", True), ("stroll", True), ("stroll", False)]
)
def test_evaluate_counts_the_first_whole_episode_of_each_world(name: str, trained: bool) -> None:
    world = WORLDS[name]
    config, params = tiny(world)
    params = params if trained else None
    returns = rollouts.evaluate(config, params, world, 12, seed=3)
    assert returns.shape == (12,) and returns.dtype == np.float32

    player = players.make_player(config, world)
    stage, slow, running = player.start(params, 3, 12, "evaluate"), np.zeros(12), set(range(12))
    while running:
        stage, trace = player.play(params, stage, 1)
        for i in list(running):
            slow[i] += trace.timestep.reward[0, i]
            if trace.timestep.is_last[0, i]:
                running.remove(i)
    np.testing.assert_allclose(returns, slow)
    if name == "stroll":
        assert len(set(slow)) > 3, "episodes of unequal length, or this test shows nothing"


def test_long_episodes_count_as_often_as_short_ones() -> None:
    """Length is geometric with mean 5; the first 256 to end of many episodes would be shorter."""
    world = Stroll()
    returns = rollouts.evaluate(*tiny(world), world, 256, seed=0)
    assert abs(returns.mean() - 5) < 4 * np.sqrt(20 / 256)


@pytest.fixture(scope="module", params=["breakout", "stroll"])
def recorded(request):
    world = WORLDS[request.param]
    config, params = tiny(world)
    return world, config, params, rollouts.record(config, params, world, seed=5, episodes=3)


def test_recorded_rows_are_those_of_the_specification(recorded) -> None:
    world, config, _, found = recorded
    count = len(found.reward)
    assert all(isinstance(x, np.ndarray) and len(x) == count for x in jax.tree.leaves(found))
    assert found.is_last.sum() == found.is_first.sum() == 3 and found.is_last[-1]
    np.testing.assert_array_equal(found.is_first, np.r_[True, found.is_last[:-1]])
    assert found.is_last[found.is_terminal].all()
    assert (found.reward[found.is_first] == 0).all()
    assert (found.action[found.is_last] == 0).all()
    for name, space in world.obs_space.items():
        assert found.obs[name].shape[1:] == space.shape and found.obs[name].dtype == space.dtype
    assert found.action.dtype == world.action_space.dtype
    assert found.deter.shape == (count, config.deter)
    assert found.stoch.shape == (count, config.stoch, config.classes)
    np.testing.assert_allclose(found.stoch.sum(-1), 1, rtol=1e-6)


def test_an_episode_of_n_actions_has_n_plus_1_rows_each_the_effect_of_the_last() -> None:
    world = Breakout(sticky=0.0)
    config, params = tiny(world)
    found = rollouts.record(config, params, world, seed=5, episodes=2)
    state = None
    for i, action in enumerate(found.action):
        if found.is_first[i]:  # two starts: the ball comes from the left or from the right
            starts = [world.reset(jax.random.key(seed)) for seed in range(8)]
            state, row = next(
                (s, r) for s, r in starts if (r.obs["image"] == found.obs["image"][i]).all()
            )
        np.testing.assert_array_equal(found.obs["image"][i], row.obs["image"])
        assert (found.reward[i], found.is_last[i]) == (row.reward, row.is_last)
        state, row = world.step(state, action, jax.random.key(0))


def test_the_agent_forgets_at_each_start(recorded) -> None:
    """At is_first the deterministic state follows from nothing: it is always the same."""
    found = recorded[3]
    first = found.deter[found.is_first]
    np.testing.assert_allclose(first, np.broadcast_to(first[0], first.shape), rtol=1e-6)
    assert np.ptp(found.deter, 0).max() > 0.01


def test_the_score_is_the_return_so_far(recorded) -> None:
    found = recorded[3]
    total = 0.0
    for reward, first, score in zip(found.reward, found.is_first, found.score, strict=True):
        total = reward if first else total + reward
        assert score == pytest.approx(total)


def test_a_recording_depends_on_its_seed_and_not_on_the_chunks(recorded, monkeypatch) -> None:
    world, config, params, found = recorded
    monkeypatch.setattr(rollouts, "CHUNK", 7)
    again = rollouts.record(config, params, world, seed=5, episodes=3)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    other = rollouts.record(config, params, world, seed=6, episodes=3)
    assert len(other.reward) != len(found.reward) or (other.action != found.action).any()


def test_the_random_player_is_uniform_and_knows_nothing() -> None:
    world = WORLDS["breakout"]
    config, _ = tiny(world)
    found = rollouts.record(config, None, world, seed=0, episodes=60)
    assert found.deter is None and found.stoch is None
    chosen = found.action[~found.is_last]
    share = np.bincount(chosen, minlength=3) / len(chosen)
    assert len(chosen) > 400 and np.abs(share - 1 / 3).max() < 0.1
    world = WORLDS["stroll"]
    found = rollouts.record(config, None, world, seed=0, episodes=60)
    chosen = found.action[~found.is_last]
    assert chosen.shape[1] == 3 and (found.action[found.is_last] == 0).all()
    assert chosen.min() < -0.9 and chosen.max() > 0.9 and np.abs(chosen).max() <= 1
    assert np.abs(chosen.mean(0)).max() < 0.2


def test_frames_carry_the_step_and_the_return(recorded) -> None:
    world, _, _, found = recorded
    frames = rollouts.annotated_frames(world, found)
    plain = world.render({name: x[3] for name, x in found.obs.items()})
    times = 320 // max(plain.shape[:2])
    height, width = plain.shape[0] * times, plain.shape[1] * times
    assert frames.dtype == np.uint8 and frames.shape[0] == len(found.reward)
    assert frames.shape[1] % 2 == frames.shape[2] % 2 == 0
    np.testing.assert_array_equal(frames[3, :height:times, :width:times], plain)
    changed = found._replace(score=found.score + 10)
    other = rollouts.annotated_frames(world, changed)
    np.testing.assert_array_equal(frames[:, :height], other[:, :height])
    assert (frames[3, height:] != other[3, height:]).any(), "another return, another text"
    assert (frames[2, height:] != frames[1, height:]).any(), "another step, another text"


def test_bad_arguments_and_endless_episodes_get_one_sentence(monkeypatch) -> None:
    world = WORLDS["stroll"]
    for function in (rollouts.evaluate, rollouts.record):
        with pytest.raises(ValueError, match="episodes is 0: it must be at least 1"):
            function(*tiny(world), world, episodes=0, seed=0)
    for module in (players, rollouts):
        monkeypatch.setattr(module, "LONGEST", 50)
    world = Stroll(ends=0.0)
    for function in (rollouts.evaluate, rollouts.record):
        with pytest.raises(RuntimeError, match="stroll did not end within 50 steps"):
            function(*tiny(world), world, episodes=1, seed=0)
