"""Pendulum beside Gymnasium's Pendulum-v1, and its picture."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_lite import worlds
from dreamer_lite.worlds import Pendulum, next_timestep, pendulum, sprites

KEY = jax.random.key(0)
STEP = jax.jit(Pendulum().step)


def observe(angle, speed=0.0):
    return {"vector": np.array([np.cos(angle), np.sin(angle), speed], np.float32)}


@pytest.mark.parametrize("seed", range(3))
def test_equals_gymnasium_step_by_step(seed):
    env = gymnasium.make("Pendulum-v1")
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    for t in range(200):
        # From the same state each time: the pendulum is chaotic and float32 is not float64.
        angle, speed = env.unwrapped.state
        state = pendulum.State(jnp.float32(angle), jnp.float32(speed), jnp.int32(t))
        action = rng.uniform(-1.3, 1.3, 1).astype(np.float32)  # beyond its range now and then
        state, row = STEP(state, action, KEY)
        obs, reward, terminated, truncated, _ = env.step(2 * action)
        np.testing.assert_allclose(row.obs["vector"], obs, rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(row.reward, reward, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(state.angle, env.unwrapped.state[0], rtol=1e-6, atol=1e-5)
        assert (row.is_last, row.is_terminal) == (truncated, terminated)
        assert not row.is_first
    assert row.is_last and not row.is_terminal


def test_a_whole_episode_stays_with_gymnasium_where_it_is_not_chaotic():
    """Hanging down with friction-free swings: 200 steps without a reset of the state."""
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    env.state = np.array([np.pi - 0.5, 0.2])
    state = pendulum.State(jnp.float32(np.pi - 0.5), jnp.float32(0.2), jnp.int32(0))
    for t in range(200):
        action = np.array([0.1 * np.sin(t / 7)], np.float32)
        state, row = STEP(state, action, KEY)
        obs, reward, *_ = env.step(2 * action)
        np.testing.assert_allclose(row.obs["vector"], obs, atol=2e-3)
        np.testing.assert_allclose(row.reward, reward, atol=2e-2)
    assert row.is_last and not row.is_terminal


def test_random_start_has_gymnasiums_range_and_is_even():
    state, row = jax.vmap(Pendulum().reset)(jax.random.split(KEY, 4000))
    for value, bound in ((state.angle, np.pi), (state.speed, 1)):
        assert abs(value).max() <= bound and (abs(value) > bound / 2).mean() > 0.45
        assert abs(value.mean()) < 5 * bound / np.sqrt(3 * 4000)
    assert abs(np.corrcoef(state.angle, state.speed)[0, 1]) < 0.1
    assert row.is_first.all() and not row.is_last.any() and (row.reward == 0).all()
    np.testing.assert_allclose(row.obs["vector"][:, 0], np.cos(state.angle), atol=1e-6)
    np.testing.assert_allclose(row.obs["vector"][:, 1], np.sin(state.angle), atol=1e-6)
    np.testing.assert_array_equal(row.obs["vector"][:, 2], state.speed)


def test_time_limit_cuts_and_the_next_row_is_a_reset():
    world = Pendulum(time_limit=3)
    step = jax.jit(lambda s, row, a, k: next_timestep(world, s, row, a, k))
    state, row = world.reset(KEY)
    flags = []
    for t in range(9):
        state, row = step(state, row, jnp.ones(1), jax.random.key(t))
        flags.append((bool(row.is_first), bool(row.is_last), bool(row.is_terminal)))
    step, last, first = (False, False, False), (False, True, False), (True, False, False)
    assert flags == [step, step, last, first, step, step, last, first, step]


def test_render_keeps_leading_axes_and_takes_dreams():
    world = worlds.make("pendulum")
    vector = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)
    pictures = world.render({"vector": vector})
    assert pictures.shape == (2, 3, 320, 320, 3) and pictures.dtype == np.uint8
    np.testing.assert_array_equal(world.render({"vector": vector[1, 2]}), pictures[1, 2])
    np.testing.assert_array_equal(world.render({"vector": jnp.asarray(vector)}), pictures)
    assert world.render({"vector": vector[:0]}).shape == (0, 3, 320, 320, 3)
    wild = np.array([[0, 0, 0], [1e9, 0, -1e9], [np.nan, np.inf, 0]], np.float32)
    assert world.render({"vector": wild}).shape == (3, 320, 320, 3)


@pytest.mark.parametrize("angle", np.linspace(-3, 3, 7))
def test_the_tip_is_where_the_angle_says(angle):
    """The brightest spot, above the joint at angle 0 and to its left at a quarter turn."""
    picture = Pendulum().render(observe(angle)).mean(-1)
    y, x = (np.argwhere(picture > 240).mean(0) - 159.5) * [-1, 1]
    np.testing.assert_allclose((x, y), (-112 * np.sin(angle), 112 * np.cos(angle)), atol=1)


@pytest.mark.parametrize("angle", [0.0, 2.0, -2.5])
def test_the_arc_shows_speed_and_direction(angle):
    def arc(speed):
        """Angles ahead of the rod, against the clock, of the pixels that the speed adds."""
        more = Pendulum().render(observe(angle, speed)) != Pendulum().render(observe(angle))
        y, x = ((np.argwhere(more.any(-1)) - 159.5) * [-1, 1]).T
        return (np.arctan2(-x, y) - angle + np.pi) % (2 * np.pi) - np.pi

    for speed in (1, 4, 8):
        left, right = arc(speed), arc(-speed)
        np.testing.assert_allclose((left.min(), left.max()), (0, speed / 4), atol=0.05)
        np.testing.assert_allclose((right.max(), right.min()), (0, -speed / 4), atol=0.05)
    assert arc(0).size == 0


def test_an_unsure_dream_is_a_short_rod():
    sure, unsure = (Pendulum().render({"vector": np.array([x, 0, 0])}) for x in (1.0, 0.3))
    rod = (
        (np.array(sprites.ORANGE) == sure).all(-1).sum(),
        (np.array(sprites.ORANGE) == unsure).all(-1),
    )
    assert rod[1].sum() < rod[0] / 2
