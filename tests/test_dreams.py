"""The dream beside reality: which moments and cells count, the errors, and the film."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_agent import Stroll, tiny

from dreamer_lite.agent import behavior
from dreamer_lite.agent.agent import embed_action, make_agent
from dreamer_lite.agent.rssm import State
from dreamer_lite.evaluation import dreams, open_loop, players
from dreamer_lite.show import images
from dreamer_lite.training import streams
from dreamer_lite.worlds import Breakout, Catch

H, M, N = 5, 7, 11


@pytest.fixture
def scene():
    """Frames (H, M, N) of 0 and 1 that follow a last frame (M, N); which horizons count (H, M)."""
    rng = np.random.default_rng(0)
    real = rng.integers(0, 2, (H, M, N)).astype(np.float32)
    last = rng.integers(0, 2, (M, N)).astype(np.float32)
    real[..., :4] = last[:, :4]  # cells that rest
    ends = np.array([5, 5, 3, 1, 2, 4, 0])
    return real, last, real.mean((0, 1)), np.arange(H)[:, None] < ends


def errors(predict, scene) -> dict[str, np.ndarray]:
    arrays = [jnp.asarray(x) for x in scene]
    return jax.device_get(open_loop.cell_errors(lambda h: {"model": predict(h)}, *arrays))


def test_a_perfect_dream_has_no_error_and_a_blind_one_that_of_its_baseline(scene) -> None:
    real, last, mean, _ = (jnp.asarray(x) for x in scene)
    assert (errors(lambda h: real[h], scene)["model"] == 0).all()
    blind = errors(lambda h: last, scene)
    np.testing.assert_array_equal(blind["model"], blind["copy_last"])
    vague = errors(lambda h: jnp.broadcast_to(mean, last.shape), scene)
    np.testing.assert_array_equal(vague["model"], vague["mean_frame"])
    assert (blind["copy_last"] > 0.2).all() and (vague["mean_frame"] > 0.1).all()


def test_errors_equal_a_slow_sum_over_the_cells_that_change(scene) -> None:
    real, last, _, valid = scene
    guess = np.random.default_rng(1).random((H, M, N)).astype(np.float32)
    found = errors(lambda h: jnp.asarray(guess)[h], scene)["model"]
    for h in range(H):
        squares = []
        for m in range(M):
            for n in range(N):
                changes = any(valid[g, m] and real[g, m, n] != last[m, n] for g in range(H))
                if valid[h, m] and changes:
                    squares.append((guess[h, m, n] - real[h, m, n]) ** 2)
        assert found[h] == pytest.approx(np.mean(squares), rel=1e-5)


def test_what_follows_the_end_of_an_episode_does_not_count(scene) -> None:
    real, last, mean, valid = scene
    other = np.where(valid[..., None], real, 1 - real)
    guess = jnp.full((M, N), 0.3)
    before = errors(lambda h: guess, scene)
    after = errors(lambda h: guess, (other, last, mean, valid))
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_a_horizon_without_moments_has_no_error(scene) -> None:
    real, last, mean, valid = scene
    valid = valid & (np.arange(H)[:, None] < 3)
    found = errors(lambda h: jnp.asarray(real)[h], (real, last, mean, valid))["model"]
    np.testing.assert_array_equal(np.isnan(found), [False, False, False, True, True])


def test_the_best_constant_of_a_coin_is_its_chance() -> None:
    """Squared error is proper: of all fixed guesses the probability itself scores best."""
    rng = np.random.default_rng(0)
    real = (rng.random((1, 4000, 1)) < 0.7).astype(np.float32)
    last = 0.5 * np.ones((4000, 1), np.float32)  # every cell changes
    scene = real, last, real.mean((0, 1)), np.ones((1, 4000), bool)
    guesses = np.linspace(0, 1, 11)

    def error(guess: jax.Array) -> jax.Array:
        arrays = [jnp.asarray(x) for x in scene]
        predict = lambda h: {"model": jnp.full((4000, 1), guess)}  # noqa: E731
        return open_loop.cell_errors(predict, *arrays)["model"][0]

    found = jax.vmap(error)(jnp.asarray(guesses))
    assert guesses[np.argmin(found)] == pytest.approx(0.7)


def test_ages() -> None:
    is_last = np.array([[0, 0, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 1, 0]], bool).T
    is_first = np.concatenate([np.ones((1, 2), bool), is_last[:-1]])
    age, left = dreams.ages(is_first, is_last)
    np.testing.assert_array_equal(age.T, [[0, 1, 2, 0, 0, 1, 2], [0, 0, 1, 2, 3, 4, 0]])
    np.testing.assert_array_equal(left.T, [[2, 1, 0, 0, 2, 1, 0], [0, 4, 3, 2, 1, 0, 0]])


def test_moments_are_different_awake_and_go_on() -> None:
    age, left = np.meshgrid(np.arange(10), np.arange(10))
    rng = np.random.default_rng(0)
    times, places, used = dreams.choose(age, left, rng, 20)
    assert used.all() and len(set(zip(times, places, strict=True))) == 20
    assert age[times, places].min() >= dreams.OBSERVED - 1 and left[times, places].min() >= 1
    times, places, used = dreams.choose(age, left, rng, 200)
    assert len(times) == 200 and used.sum() == 6 * 9 and used[: 6 * 9].all()
    with pytest.raises(ValueError, match="nothing to imagine"):
        dreams.choose(np.zeros((4, 4), int), left[:4, :4], rng, 2)


def test_clips_are_the_first_by_chance_that_fill_the_film() -> None:
    age = np.array([9, 9, 9, 9, 9, 3, 9])
    left = np.array([30, 10, 30, 40, 24, 30, 99])
    places = np.array([0, 1, 2, 0, 3, 4, 5])
    used = np.ones(7, bool)
    assert dreams.choose_clips(age, left, places, used).tolist() == [0, 2, 4, 6]
    used[4:] = False
    assert dreams.choose_clips(age, left, places, used).tolist() == [0, 2, 1]


# With an agent


@pytest.fixture(scope="module")
def breakout():
    world = Breakout()
    return world, *tiny(world), make_agent(tiny(world)[0], world.obs_space, world.action_space)


def close(found, wanted) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def some_state(config, count: int) -> State:
    key, other = jax.random.split(jax.random.key(3))
    classes = jax.random.randint(other, (count, config.stoch), 0, config.classes)
    deter = jnp.tanh(jax.random.normal(key, (count, config.deter)))
    return State(deter, jax.nn.one_hot(classes, config.classes))


def test_a_dream_step_by_step_is_the_scanned_dream(breakout) -> None:
    _, config, params, graph = breakout
    start, key = some_state(config, M), jax.random.key(4)
    actions = jax.nn.one_hot(jax.random.randint(key, (H, M), 0, 3), 3)
    step = jax.jit(lambda params, *args: graph.merge(params).model.rssm.imagine_step(*args))
    scan = jax.jit(lambda params, *args: graph.merge(params).model.open_loop(*args))
    u = jax.random.uniform(key, (H, M, config.stoch))  # the noise of the scan, by its own key
    state, states = start, []
    for h in range(H):
        state = step(params, state, actions[h], u[h])
        states.append(state)
    close(scan(params, start, actions, key), jax.tree.map(lambda *x: jnp.stack(x), *states))


def test_imagining_step_by_step_is_the_scanned_imagination(breakout) -> None:
    _, config, params, graph = breakout
    start, key = some_state(config, M), jax.random.key(5)

    @jax.jit
    def scan(params):
        agent = graph.merge(params)
        return behavior.imagine(agent.model, agent.actor, start, H, key)

    @jax.jit
    def step(params, state, action_key, u):
        agent = graph.merge(params)
        action = agent.actor(state.feature).sample(action_key)
        return agent.model.rssm.imagine_step(state, action, u), action

    noise_key, action_key = jax.random.split(key)
    u = jax.random.uniform(noise_key, (H, M, config.stoch))
    state, states, actions = start, [start], []
    for h, k in enumerate(jax.random.split(action_key, H)):
        state, action = step(params, state, k, u[h])
        states.append(state)
        actions.append(action)
    wanted = jax.tree.map(lambda *x: jnp.stack(x), *states), jnp.stack(actions)
    close(scan(params), wanted)


def test_a_clip_wakes_by_the_posterior_and_dreams_under_the_real_actions(breakout) -> None:
    world, config, params, graph = breakout
    player = players.make_player(config, world)
    _, trace = player.play(params, player.start(params, 0, 2), 60)
    times, places, key = np.array([20, 9]), np.array([1, 0]), jax.random.key(6)
    film = open_loop.make_dreamer(config, world).film(params, trace, times, places, key)
    first, action, obs, seen, real, dream = film
    agent = jax.jit(lambda p: p)(params) and graph.merge(params)
    u = jax.random.uniform(key, (open_loop.SHOWN_IMAGINED, 2, config.stoch))
    step = jax.jit(lambda params, *args: graph.merge(params).model.rssm.imagine_step(*args))
    state = None
    for i, h in enumerate(range(1 - open_loop.SHOWN_OBSERVED, open_loop.SHOWN_IMAGINED + 1)):
        if h <= 0:
            state = State(*(x[times + h, places] for x in trace.state))
        else:
            chosen = embed_action(trace.action[times + h - 1, places], world.action_space)
            state = step(params, state, chosen, u[h - 1])
        close(seen["image"][i], open_loop.decode(agent, state)["image"])
        close(dream.reward[i], agent.model.reward(state.feature).mean())
        close(dream.value[i], agent.critic(state.feature).mean())
        np.testing.assert_array_equal(
            obs["image"][i], trace.timestep.obs["image"][times + h, places]
        )
        np.testing.assert_array_equal(action[i], trace.action[times + h - 1, places])
        np.testing.assert_array_equal(real.reward[i], trace.timestep.reward[times + h, places])
        np.testing.assert_array_equal(first[i], trace.timestep.is_first[times + h, places])


@pytest.fixture(scope="module")
def catch():
    world = Catch()
    return world, *tiny(world), dreams.compare(*tiny(world), world, seed=2)


def test_comparison_stays_within_the_episodes_of_catch(catch) -> None:
    """Ten rows: eyes open for 5, so horizon 5 is the last that any moment reaches."""
    comparison = catch[3]
    assert comparison.moments[0] == dreams.MOMENTS
    assert (np.diff(comparison.moments) <= 0).all()
    assert (comparison.moments[:5] > 0).all() and (comparison.moments[5:] == 0).all()
    np.testing.assert_array_equal(comparison.moments, comparison.valid.sum(1))
    table = comparison.as_json()
    assert list(table) == ["horizon", "model", "copy_last", "mean_frame"]
    assert table["horizon"] == [1, 2, 3, 4, 5]
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    ended = comparison.real.cont == 0  # the catch or the miss
    np.testing.assert_array_equal(ended[:-1] & comparison.valid[:-1] & comparison.valid[1:], False)
    assert (ended & comparison.valid).sum() > 50, "the last row of an episode counts"
    for k in range(comparison.clips.valid.shape[1]):
        steps = comparison.clips.step[comparison.clips.valid[:, k]]
        assert len(steps) == 10 and comparison.clips.is_first[:, k][comparison.clips.valid[:, k]][0]


def test_a_comparison_reads_the_right_rows_of_its_trace(catch) -> None:
    """The error of copying the last frame, and the real rewards, by hand from the trace."""
    world, config, params, comparison = catch
    player = players.make_player(config, world)
    _, trace = player.play(params, player.start(params, 2, dreams.WORLDS, "compare"), dreams.STEPS)
    image = np.asarray(trace.timestep.obs["image"]).reshape(dreams.STEPS, dreams.WORLDS, -1) > 0
    age, left = dreams.ages(np.asarray(trace.timestep.is_first), np.asarray(trace.timestep.is_last))
    rng = streams.generator("moments", 2)
    times, places, _ = dreams.choose(age, left, rng, dreams.MOMENTS)
    reward = np.asarray(trace.timestep.reward)
    for h in range(1, 6):
        wrong = cells = 0
        for m, (t, w) in enumerate(zip(times, places, strict=True)):
            assert comparison.valid[h - 1, m] == (age[t, w] + h <= 9)
            if comparison.valid[h - 1, m]:
                later = image[t + 1 : t + 10 - age[t, w], w]
                cells += (later != image[t, w]).any(0).sum()
                wrong += (image[t + h, w] != image[t, w]).sum()
                assert comparison.real.reward[h - 1, m] == reward[t + h, w]
        assert comparison.copy_last[h - 1] == pytest.approx(wrong / cells, rel=1e-5)


def test_a_comparison_is_repeatable_and_follows_its_seed(catch) -> None:
    world, config, params, comparison = catch
    again = dreams.compare(config, params, world, seed=2)
    for a, b in zip(jax.tree.leaves(comparison), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    other = dreams.compare(config, params, world, seed=3)
    assert not np.array_equal(other.model[:5], comparison.model[:5])


def test_vectors_and_continuous_actions_compare_too() -> None:
    world = Stroll(ends=0.05)
    comparison = dreams.compare(*tiny(world), world, seed=0, moments=40, horizon=3)
    assert comparison.horizon.tolist() == [1, 2, 3] and np.isfinite(comparison.model).all()
    assert comparison.valid.shape == comparison.dream.value.shape == (3, 40)
    film = dreams.frames(comparison, world)
    assert film.shape[1] % 2 == film.shape[2] % 2 == 0


def test_nonsense_is_refused(catch) -> None:
    world, config, params, _ = catch
    with pytest.raises(ValueError, match="must both be at least 1"):
        dreams.compare(config, params, world, seed=0, moments=0)
    with pytest.raises(ValueError, match="nothing to imagine"):
        world = Stroll(ends=1.0)
        dreams.compare(*tiny(world), world, seed=0)


# The film


def test_the_film_has_a_frame_for_each_row_and_says_when_it_sleeps(catch) -> None:
    world, _, _, comparison = catch
    film = dreams.frames(comparison, world)
    clips = comparison.clips
    assert film.dtype == np.uint8 and film.shape[3] == 3
    assert film.shape[1] % 2 == film.shape[2] % 2 == 0
    assert len(film) == clips.valid.sum() + dreams.HOLD * clips.valid.shape[1]

    def has(picture: np.ndarray, colour: images.Colour) -> bool:
        return (picture == colour).all(-1).sum() > 500

    for i, step in enumerate(clips.step[clips.valid[:, 0]]):
        assert has(film[i], images.GREEN) or step > 0
        border = film[i][120:300, 360:380]  # left of the dream: gaps only while it dreams
        assert has(border, images.PURPLE) == (step > 0)
        assert has(border, images.GREEN) == (step <= 0)


def test_the_difference_is_orange_for_too_much_and_striped_blue_for_too_little() -> None:
    real = np.full((32, 48, 3), 20, np.uint8)
    dream = real.copy()
    dream[:, :16], real[:, 32:] = 250, 250
    picture = images.difference(dream, real).astype(int)
    assert (picture[:, :16] == images.ORANGE).all()
    assert np.ptp(picture[:, 16:32]) < 25 and picture[:, 16:32].max() < 60  # equal: dark grey
    blue = picture[:, 32:]
    assert (blue[..., 2] > blue[..., 0]).all()
    bright = (blue == images.SKY).all(-1)
    assert 0.4 < bright.mean() < 0.6


def test_pictures_that_no_notebook_asked_for_are_not_loaded() -> None:
    program = (
        "import sys, dreamer_lite.evaluation.dreams\n"
        "print(*sorted({'matplotlib', 'mediapy', 'imageio_ffmpeg'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[1]
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []
