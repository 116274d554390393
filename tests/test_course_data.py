"""Random play of the notebooks: whole episodes, the action before each observation, resets."""

import jax
import numpy as np
import pytest

from dreamer_lite import worlds
from dreamer_lite.course import data, parts

KEY = jax.random.key(3)


def paddle(play: data.Play) -> np.ndarray:
    """The paddle's column (T, B) in Catch."""
    return np.asarray(play.steps.obs["image"])[..., 9, :, 0].argmax(-1)


def test_the_action_stands_before_the_observation_it_leads_to():
    play = data.random_play(worlds.make("catch"), 25, 6, KEY)
    first = np.asarray(play.steps.is_first)
    assert first.sum(1).tolist() == [6 * (t % 10 == 0) for t in range(25)]
    action = np.asarray(play.action)
    assert action.shape == (25, 6, 3)
    assert (action.sum(-1) == 1 - first).all(), "one-hot, and zero at a reset"
    column, move = paddle(play), action @ np.array([0, -1, 1])
    for t in range(1, 25):
        moved = np.clip(column[t - 1] + move[t], 0, 9)
        assert (np.where(first[t], 5, moved) == column[t]).all()
    assert (np.abs(action[1:10].mean((0, 1)) - 1 / 3) < 0.2).all()


def test_continuous_actions_fill_their_range():
    play = data.random_play(worlds.make("pendulum"), 30, 4, KEY)
    action = np.asarray(play.action)
    assert action.shape == (30, 4, 1)
    assert np.abs(action).max() <= 1 and action.std() > 0.4
    assert len(np.unique(action[1:])) > 100


def test_another_policy_chooses():
    play = data.collect(
        worlds.make("catch"), 9, 2, KEY, lambda obs, key: 0 * obs["image"][:, 0, 0, 0] + 2
    )
    assert paddle(play)[:, 0].tolist() == [5, 6, 7, 8, 9, 9, 9, 9, 9]


def test_a_batch_begins_with_no_memory():
    dreamer = parts.assemble({})
    c = dreamer.Config(deter=16, stoch=3, classes=4)
    batch = data.as_batch(dreamer, c, data.random_play(worlds.make("catch"), 5, 7, KEY))
    assert isinstance(batch, dreamer.Batch)
    assert batch.start.deter.shape == (7, 16) and batch.start.stoch.shape == (7, 3, 4)
    assert not np.any(batch.start.deter) and not np.any(batch.start.stoch)


def test_windows_do_not_overlap_and_keep_time_in_order():
    play = data.random_play(worlds.make("catch"), 11, 3, KEY)
    cut = data.windows(play, 5)
    assert cut.action.shape == (5, 6, 3)
    for name, x in cut.steps._asdict().items():
        for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(getattr(play.steps, name))):
            assert (a[:, :3] == b[:5]).all() and (a[:, 3:] == b[5:10]).all(), name
    with pytest.raises(ValueError, match=r"A window of 12 is longer than the play of 11\."):
        data.windows(play, 12)
