"""Q-learning: targets by hand, the ring against a loop, a probe of known values, it learns."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_lite import worlds
from dreamer_lite.baselines import q_learning
from dreamer_lite.baselines.q_learning import Settings
from dreamer_lite.presets import make_config
from dreamer_lite.training import loop as training
from dreamer_lite.worlds.base import Space, TimeStep, first_timestep

CATCH = worlds.make("catch")


def driver_of(*settings: Any) -> training.Driver:
    return q_learning.make_driver(q_learning.make_program(*settings))


CONFIG = make_config("catch", worlds=8, batch=16, length=8, train_ratio=16)  # an update a step


def test_the_target_by_hand():
    """The online network chooses (action 1, then 0), the target network values the choice."""
    online, target = jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.array([[5.0, 4.0], [6.0, 9.0]])
    reward, terminal = jnp.array([1.0, 1.0]), jnp.array([0.0, 1.0])
    y = q_learning.q_target(reward, terminal, online, target, 0.5)
    np.testing.assert_allclose(y, [1 + 0.5 * 4, 1])
    y = q_learning.q_target(reward, 0 * terminal, online, target, 0.5)
    np.testing.assert_allclose(y, [1 + 0.5 * 4, 1 + 0.5 * 6])


def test_no_gradient_reaches_the_network_that_chooses():
    online, target = jnp.array([[1.0, 2.0]]), jnp.array([[5.0, 4.0]])
    args = jnp.ones(1), jnp.zeros(1)
    slope = jax.grad(lambda o: q_learning.q_target(*args, o, target, 0.5).sum())(online)
    assert not slope.any()


# reward, last, terminal of time steps 0 to 3 -> (sum, terminal, discount, steps), γ = 0.5
RETURNS = {
    "runs on": ([9, 1, 2, 4], "0000", "0000", (1 + 1 + 1, 0, 1 / 8, 3)),
    "terminal at once": ([9, 1, 2, 4], "0100", "0100", (1, 1, 1 / 2, 1)),
    "terminal later": ([9, 1, 2, 4], "0010", "0010", (2, 1, 1 / 4, 2)),
    "time limit": ([9, 1, 2, 4], "0010", "0000", (2, 0, 1 / 4, 2)),
    "ends with the window": ([9, 1, 2, 4], "0001", "0001", (3, 1, 1 / 8, 3)),
    "another episode ends": ([9, 1, 2, 4], "0101", "0001", (1, 0, 1 / 2, 1)),
}


@pytest.mark.parametrize("case", RETURNS)
def test_n_step_returns_stop_at_the_end_of_an_episode(case):
    reward, last, terminal, expected = RETURNS[case]
    flags = (jnp.array([[float(letter)] for letter in word]) for word in (last, terminal))
    got = q_learning.n_step_return(jnp.array(reward, jnp.float32)[:, None], *flags, 0.5)
    np.testing.assert_allclose([x[0] for x in got], expected)


def test_one_step_returns_are_the_next_reward():
    reward, flag = jnp.arange(6.0).reshape(2, 3), jnp.zeros((2, 3))
    got = q_learning.n_step_return(reward, flag, flag, 0.9)
    np.testing.assert_allclose(got.reward, reward[1])
    np.testing.assert_allclose(got.discount, 0.9)


class Counter(NamedTuple):
    time: jax.Array


@dataclasses.dataclass(frozen=True)
class Line:
    """A probe: three actions to an end; the reward at the end is that of the LAST action.

    With `limit` the end is a time limit. The value of acting well is γ² r from the first state; a
    time limit adds the value of the last observation, which nothing ever corrects.
    """

    limit: bool = False

    name = "line"
    obs_space = {"time": Space((4,), "float32")}  # noqa: RUF012
    action_space = Space((), "int32", classes=2)
    action_names = ("bad", "good")

    def reset(self, key: jax.Array) -> tuple[Counter, TimeStep]:
        time = jnp.int32(0)
        return Counter(time), first_timestep({"time": jax.nn.one_hot(time, 4)})

    def step(self, state: Counter, action: jax.Array, key: jax.Array) -> tuple[Counter, TimeStep]:
        time = state.time + 1
        last = time == 3
        reward = jnp.where(last & (action == 1), 1.0, 0.0)
        obs = {"time": jax.nn.one_hot(time, 4)}
        terminal = last & (not self.limit)
        return Counter(time), TimeStep(obs, reward, jnp.array(False), last, terminal)

    def render(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        raise NotImplementedError


def trained(world: Any, updates: int, **changes: Any) -> tuple[Any, Any]:
    """(the state, the network's values of the four observations) after so many updates."""
    settings = Settings(discount=0.5, explore_steps=10**9, target_rate=0.05, **changes)
    config = dataclasses.replace(CONFIG, units=16, world="catch")
    program = q_learning.make_program(config, settings, world)
    driver = q_learning.make_driver(program)
    *_, (record, state) = training.train(
        config, driver, driver.init(0), training.Limits(updates=updates)
    )
    assert record["updates"] == updates
    return state, np.asarray(program.network(state.params)({"time": jnp.eye(4)}))


@pytest.mark.parametrize("n_step", [1, 2])
def test_a_probe_with_known_values(n_step):
    """Off-policy: actions are uniformly random throughout, the values are those of the best.

    With n = 1 this is exact. A return of 2 steps, not corrected, averages over the random policy
    where the second action matters: the value one step before the last action is then half.
    """
    _, q = trained(Line(), 400, n_step=n_step, learning_rate=3e-3)
    np.testing.assert_allclose(q[2], [0, 1], atol=0.05)
    before = {1: 0.5, 2: 0.25}[n_step]
    np.testing.assert_allclose(q[1], [before, before], atol=0.05)


def test_a_time_limit_is_bootstrapped_and_an_end_is_not():
    """The loss's target, for a network whose values are all 7."""
    config = dataclasses.replace(CONFIG, world="catch")
    for limit, expected in ((False, {0.0, 1.0}), (True, {3.5, 4.5})):
        world = Line(limit)
        settings = Settings(n_step=1, discount=0.5, explore_steps=10**9)
        driver = driver_of(config, settings, world)
        state, _ = driver.advance(driver.init(0), 1, 40, 0)
        batch = q_learning.sample(state.replay, 200, settings, jax.random.key(0))
        values = jnp.full((200, 2), 7.0)
        y = q_learning.q_target(
            batch.ahead.reward, batch.ahead.is_terminal, values, values, batch.ahead.discount
        )
        at_two = (batch.obs["time"][:, 2] > 0) & (batch.weight > 0)
        assert at_two.sum() > 20 and set(np.asarray(y)[at_two]) == expected
        at_three = batch.obs["time"][:, 3] > 0
        assert at_three.sum() > 20 and not batch.weight[at_three].any()  # its action was ignored


def happened(replay: q_learning.Replay, start: int, world: int) -> tuple[bytes, tuple]:
    """(both observations, (action, steps, return)) of a transition of three steps, by a loop."""
    length, total, k = len(replay.action), 0.0, 0
    steps = replay.timesteps
    while k < 3:
        k += 1
        place = (start + k) % length, world
        total += 0.99 ** (k - 1) * steps.reward[place]
        if steps.is_last[place]:
            break
    image, first = steps.obs["image"], (start % length, world)
    return image[first].tobytes() + image[place].tobytes(), (replay.action[first], k, total)


@pytest.mark.parametrize("steps", [20, 50])  # the ring holds 32: the second has come round
def test_a_transition_is_what_happened(steps):
    config = make_config("catch", worlds=2, batch=2, length=4, train_ratio=1, capacity=64)
    settings = Settings(n_step=3)
    driver = driver_of(config, settings, CATCH)
    state, _ = driver.advance(driver.init(1), 1, steps, 0)
    batch = q_learning.sample(state.replay, 300, settings, jax.random.key(2))
    replay, batch = jax.device_get((state.replay, batch))
    possible: dict[bytes, list] = {}
    for start in range(max(0, steps - 32), steps - 3):
        for world in range(2):
            key, what = happened(replay, start, world)
            possible.setdefault(key, []).append(what)
    seen = set()
    for i in np.flatnonzero(batch.weight):
        key = batch.obs["image"][i].tobytes() + batch.next_obs["image"][i].tobytes()
        found = batch.action[i], batch.ahead.steps[i], batch.ahead.reward[i]
        assert any(np.allclose(found, one, atol=1e-5) for one in possible[key])
        seen.add(key)
    assert len(seen) > 10 and batch.weight.mean() < 1


def test_exploration_falls_to_its_last_value():
    world = CATCH
    driver_settings = Settings(explore_steps=800, epsilon=0.1)
    program = q_learning.make_program(CONFIG, driver_settings, world)
    at = [float(q_learning.epsilon(program, jnp.int32(n))) for n in (0, 50, 100, 10_000)]
    np.testing.assert_allclose(at, [1, 0.55, 0.1, 0.1], rtol=1e-5)


def test_a_run_is_the_same_every_time_and_one_program_does_all():
    driver = driver_of(CONFIG, Settings(), CATCH)

    def after(seed: int) -> Any:
        return jax.device_get(driver.advance(driver.init(seed), 3, 20, 2)[0].params)

    first, again, other = after(0), after(0), after(1)
    assert jax.tree.all(jax.tree.map(np.array_equal, first, again))
    assert not jax.tree.all(jax.tree.map(np.array_equal, first, other))
    state, _ = driver.advance(driver.init(0), 2, 20, 3)
    assert state.steps == 40 and state.updates == 6 and state.replay.added == 40
    assert driver.advance._cache_size() == 1  # pyright: ignore


def test_each_seed_is_the_agent_that_it_would_be_alone():
    alone = driver_of(CONFIG, Settings(), CATCH)
    both = driver_of(dataclasses.replace(CONFIG, seeds=2), Settings(), CATCH)
    together, _ = both.advance(both.init(0), 2, 12, 2)
    for seed in range(2):
        state, _ = alone.advance(alone.init(seed), 2, 12, 2)
        for a, b in zip(jax.tree.leaves(together.params), jax.tree.leaves(state.params)):
            np.testing.assert_allclose(a[seed], b, atol=2e-4)


def test_the_target_network_is_a_moving_average():
    settings = Settings(target_rate=0.25)
    driver = driver_of(CONFIG, settings, CATCH)
    state, _ = driver.advance(driver.init(0), 1, 20, 0)
    before = jax.device_get(state.target)
    state, _ = driver.advance(state, 1, 1, 1)
    for old, new, params in zip(*map(jax.tree.leaves, (before, state.target, state.params))):
        np.testing.assert_allclose(new, 0.25 * params + 0.75 * old, atol=1e-6)


def test_the_replay_ratio_is_that_of_the_config():
    """Replayed transitions per agent step, without those before learning begins."""
    config = make_config("catch", worlds=8, train_ratio=64)
    driver = driver_of(config, Settings(), CATCH)
    *_, (record, _) = training.train(config, driver, driver.init(0), training.Limits(updates=20))
    collected = record["agent_steps"] - config.worlds * (config.steps_before_learning - 1)
    assert record["updates"] * config.batch * config.length == 64 * collected


def test_it_learns_catch():
    """Every ball can be caught; a random player catches a fifth."""
    config = make_config("catch")
    driver = driver_of(config, Settings(), CATCH)
    limits = training.Limits(updates=350)
    records = [r for r, _ in training.train(config, driver, driver.init(0), limits)]
    assert records[0]["return_mean"] < 0.4
    assert records[-1]["return_mean"] > 0.9
    assert 0.2 < records[-1]["q"] < 1


def test_what_it_cannot_do_is_one_sentence():
    with pytest.raises(ValueError, match="pendulum has continuous actions: Q-learning needs"):
        driver_of(make_config("pendulum"), Settings(), worlds.make("pendulum"))
    with pytest.raises(ValueError, match="n_step is 9: it must lie between 1 and length = 8"):
        driver_of(CONFIG, Settings(n_step=9), CATCH)
