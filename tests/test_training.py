"""The loop: what is stored, what is counted, when news come, and that a run can go on."""

import dataclasses
import gc
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_lite.agent import behavior
from dreamer_lite.agent.agent import act, initial_carry, make_agent
from dreamer_lite.config import Config
from dreamer_lite.training import loop as training
from dreamer_lite.training import xla
from dreamer_lite.training.loop import make_driver, train
from dreamer_lite.training.progress import Limits, keep_score
from dreamer_lite.training.state import COUNTED, EPISODES, EnvState, RunState
from dreamer_lite.training.xla import compiler_options
from dreamer_lite.worlds.base import Space, TimeStep, first_timestep

CONFIG = Config(
    worlds=3, batch=3, length=4, capacity=100, train_ratio=8, deter=4, hidden=3, stoch=2, classes=2,
    blocks=2, image_blocks=1, units=4, bins=5, encoder_layers=1, decoder_layers=1, prior_layers=1,
    policy_layers=1, value_layers=1, horizon=2, updates_per_call=5, warmup=0, learning_rate=1e-3,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Dice:
    """Throws a die each step; a one ends the episode, a two cuts it off; action 1 doubles it."""

    name = "dice"
    obs_space = {"x": Space((2,), "float32")}  # noqa: RUF012
    action_space = Space((), "int32", 2)
    action_names = ("keep", "double")

    def reset(self, key: jax.Array):
        state = jax.random.uniform(key)
        return state, first_timestep({"x": jnp.stack([state, jnp.float32(0)])})

    def step(self, state, action, key):
        die = jax.random.randint(key, (), 1, 13).astype(jnp.float32)
        obs = {"x": jnp.stack([state, die])}
        return state + 1, TimeStep(obs, die * (1 + action), jnp.array(False), die <= 2, die == 1)

    def render(self, obs):
        raise NotImplementedError


WORLD = Dice()


@pytest.fixture(scope="module")
def driver():
    return make_driver(CONFIG, WORLD)


def host(tree):
    """Every leaf as numpy, keys as numbers; safe from donation."""

    def copy(x):
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.array(jax.random.key_data(x) if is_key else x)

    return jax.tree.map(copy, tree)


def assert_same(left, right) -> None:
    jax.tree.map(np.testing.assert_array_equal, host(left), host(right))


def go(driver, limits: Limits, state: RunState | None = None):
    """Train to the limits: (records, final state)."""
    records = []
    state = driver.init(3) if state is None else state
    for record, state in train(CONFIG, driver, state, limits):  # noqa: B007, B020
        records.append(record)
    return records, state


def test_schedule_of_this_file() -> None:
    assert CONFIG.schedule == (1, 2) and CONFIG.steps_before_learning == 8


def test_stored_rows_are_those_of_worlds_stepped_by_hand(driver) -> None:
    """Also the agent's part: its actions and latents follow from the rows alone."""
    count = 14
    state = driver.init(3)
    begun = host(state.envs)
    params, key = host(state.learner.params), state.key.copy()
    state, _ = driver.advance(state, 1, count, 0)
    replay = host(state.replay)
    assert replay.added == state.steps == count and state.updates == 0

    agent = make_agent(CONFIG, WORLD.obs_space, WORLD.action_space).merge(params)
    carry = initial_carry(agent, WORLD.action_space, 3)
    look = jax.jit(lambda carry, row, key: act(agent, carry, row, WORLD.action_space, key))
    reset, step = jax.jit(WORLD.reset), jax.jit(WORLD.step)
    worlds = [jax.tree.map(lambda x, w=w: x[w], (begun.world, begun.timestep)) for w in range(3)]
    endings = 0
    for t in range(count):
        stored = jax.tree.map(lambda ring, t=t: ring[t], replay.timesteps)
        act_key, world_key = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 0), t))
        action, carry = look(carry, stored, act_key)
        np.testing.assert_array_equal(replay.action[t], action)
        np.testing.assert_allclose(replay.deter[t], carry.state.deter, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(replay.stoch[t], carry.state.stoch.argmax(-1))
        keys = jax.random.split(world_key, 3)
        for w, (inner, row) in enumerate(worlds):
            jax.tree.map(lambda x, y, w=w: np.testing.assert_array_equal(x[w], y), stored, row)
            assert not (row.is_last and action[w]), "the action after the end is 0"
            assert (carry.action[w] == 0).all() == bool(row.is_last)
            endings += int(row.is_last)
            worlds[w] = reset(keys[w]) if row.is_last else step(inner, action[w], keys[w])
    assert endings > 3 and replay.timesteps.is_first[1:].any()
    np.testing.assert_array_equal(replay.timesteps.is_first[1:], replay.timesteps.is_last[:-1])
    assert (replay.timesteps.reward[replay.timesteps.is_first] == 0).all()
    assert driver.init(3).envs.timestep.is_first.all()
    jax.tree.map(
        lambda x, *rows: np.testing.assert_array_equal(x, np.stack(rows)),
        host(state.envs.timestep), *[row for _, row in worlds],
    )  # fmt: skip


def test_news_come_after_the_first_update_and_then_every_k(driver) -> None:
    records, state = go(driver, Limits(updates=17))
    assert [r["updates"] for r in records] == [2, 6, 10, 16, 18]
    # 8 rows before learning, then one row and two updates each time
    assert [r["agent_steps"] // 3 for r in records] == [7 + r["updates"] // 2 for r in records]
    assert (int(state.updates), int(state.steps)) == (18, 16)
    assert int(state.replay.added) == 16 and int(state.envs.episodes) == records[-1]["episodes"]
    assert all(math.isfinite(x) for record in records for x in record.values())
    seconds = [r["seconds"] for r in records]
    assert seconds == sorted(seconds) and min(seconds) > 0
    finished = np.asarray(state.envs.scores)[: records[-1]["episodes"]]
    assert records[-1]["return_mean"] == pytest.approx(finished.mean(), rel=1e-5)
    error = finished.std(ddof=1) / math.sqrt(len(finished))
    assert records[-1]["return_stderr"] == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize(
    ("limits", "updates"),
    [
        (Limits(updates=6), [2, 6]),
        (Limits(steps=3 * 12), [2, 6, 10]),
        (Limits(steps=3 * 12 - 1, updates=100), [2, 6, 10]),
        (Limits(minutes=0), []),
        (Limits(minutes=60, updates=2), [2]),
    ],
)
def test_limits(driver, limits: Limits, updates: list[int]) -> None:
    records, _ = go(driver, limits)
    assert [r["updates"] for r in records] == updates


def test_limits_are_totals(driver) -> None:
    assert not list(train(CONFIG, driver, driver.init(3), Limits(minutes=1), seconds=60.0))
    _, state = go(driver, Limits(updates=4))
    assert go(driver, Limits(updates=4), state)[0] == []
    with_time = train(CONFIG, driver, state, Limits(updates=5), seconds=1000.0)
    assert 1000 < next(with_time).record["seconds"] < 1100


@pytest.mark.parametrize("stop", [2, 9, 10])
def test_a_resumed_run_is_the_same_bit_for_bit(driver, stop: int) -> None:
    through, state = go(driver, Limits(updates=20))
    _, half = go(driver, Limits(updates=stop))
    resumed, final = go(driver, Limits(updates=20), half)
    assert_same(state, final)
    news = [r for r in through if r["updates"] > stop + 1]
    timing = ("seconds", "updates_per_second")
    for left, right in zip(reversed(news), reversed(resumed)):
        same = {k for k in left if k not in timing and left[k] == right[k]}
        if left["updates"] > 10:  # calls end at the same numbers again
            assert same == left.keys() - set(timing)


def test_training_changes_everything_that_learns(driver) -> None:
    start = host(driver.init(3))
    _, state = go(driver, Limits(updates=2))
    state = host(state)
    moved = jax.tree.map(lambda a, b: (a != b).any(), start.learner.params, state.learner.params)
    assert np.mean(jax.tree.leaves(moved)) > 0.9
    assert_same(start.key, state.key)
    fresh = driver.init(3)
    fresh, _ = driver.advance(fresh, 1, 8, 0)
    refreshed = (host(fresh).replay.deter != state.replay.deter).any((1, 2))
    assert refreshed.any(), "new latents were written back"


def test_one_program_for_every_count(driver) -> None:
    state = driver.init(5)
    for counts in ((1, 7, 0), (1, 1, 2), (3, 1, 2), (0, 0, 0)):
        state, metrics = driver.advance(state, *counts)
    assert driver.advance._cache_size() == 1
    assert all(float(x) == 0 for x in metrics.values())
    assert (int(state.steps), int(state.updates)) == (11, 8)


def test_metrics_are_means_over_the_call(driver) -> None:
    def begun():
        return driver.advance(driver.init(5), 1, 9, 0)[0]

    _, mean = driver.advance(begun(), 2, 1, 2)
    mean = host(mean)
    state, parts = begun(), []
    for rows, updates in ((1, 1), (0, 1), (1, 1), (0, 1)):
        state, metrics = driver.advance(state, 1, rows, updates)
        parts.append(host(metrics))
    for name in mean:
        expected = np.mean([part[name] for part in parts])
        np.testing.assert_allclose(mean[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)


def test_broken_numbers_stop_the_run(driver) -> None:
    _, state = go(driver, Limits(updates=2))
    head = state.learner.params["model"]["cont_head"]["out"]
    head["bias"] = jnp.full_like(head["bias"], jnp.nan)
    with pytest.raises(FloatingPointError, match=r"^loss/cont became nan before update 6\.$"):
        go(driver, Limits(updates=20), state)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_bad_loss_is_named(bad: float) -> None:
    metrics = {"entropy": bad, "loss/a": 1.0, "loss/b": bad, "loss/c": math.nan}
    with pytest.raises(FloatingPointError, match=rf"^loss/b became {bad} before update 7\.$"):
        training.check_finite(metrics, 7)
    training.check_finite({"loss/a": 1.0}, 7)


def test_scores_are_the_returns_of_finished_episodes_in_order() -> None:
    """Against plain lists: several worlds end at once, and the ring goes round."""
    count, worlds = 160, 4
    rng = np.random.default_rng(0)
    last = rng.uniform(size=(count, worlds)) < 0.4
    last[60] = True
    first = np.concatenate([np.ones((1, worlds), bool), last[:-1]])
    reward = np.where(first, 0, rng.integers(-3, 9, (count, worlds))).astype(np.float32)
    zero = jnp.int32(0)
    envs = EnvState(None, None, None, jnp.zeros(worlds), jnp.zeros(EPISODES), zero)
    keep = jax.jit(keep_score)
    running, finished = np.zeros(worlds), []
    for t in range(count):
        never = jnp.zeros(worlds, bool)
        row = TimeStep({}, jnp.array(reward[t]), jnp.array(first[t]), jnp.array(last[t]), never)
        envs = keep(envs._replace(timestep=row))
        for w in range(worlds):
            running[w] = reward[t, w] + (0 if first[t, w] else running[w])
            if last[t, w]:
                finished.append(running[w])
        assert envs.episodes == len(finished)
        ring = np.zeros(EPISODES)
        for number, score in enumerate(finished):
            ring[number % EPISODES] = score
        np.testing.assert_array_equal(envs.scores, ring)
        np.testing.assert_array_equal(envs.score, running)
    assert len(finished) > 2 * EPISODES


@pytest.mark.skipif(jax.__version_info__ < (0, 10), reason="its compiler has other settings")
@pytest.mark.parametrize("quickly", [False, True])
def test_xla_is_tuned_unless_jax_is_asked_to_compile_quickly(quickly: bool) -> None:
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", quickly)
    try:
        options = compiler_options()
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
    if quickly:
        assert options is None, "XLA's own, which JAX then turns off"
    else:
        assert options is not None
        assert float(jax.jit(jnp.sin, compiler_options=options)(0.0)) == 0, "names XLA knows"


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("flags", ["", "--xla_cpu_max_isa=AVX2", f"{xla.EXTRA}=xla_cpu_a"])
def test_flags_are_set_before_jax_starts_and_those_of_the_user_stay(started, flags, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(xla.xla_bridge, "backends_are_initialized", lambda: started)
    xla.set_flags()
    ours = "" if started or xla.EXTRA in flags else xla.FLAGS
    assert os.environ["XLA_FLAGS"].split() == [*flags.split(), *ours.split()]


def test_no_search_for_garbage_until_the_first_update(driver) -> None:
    """It would read every object that tracing makes. Afterwards, and after an error, as before."""
    seen = []

    def advance(*arguments):
        seen.append((arguments[1:], gc.isenabled()))
        return driver.advance(*arguments)

    def fail(*_):
        raise RuntimeError

    go(driver._replace(advance=advance), Limits(updates=12))
    assert seen[:2] == [((1, 7, 0), False), ((1, 1, 2), False)], "steps before learning, one update"
    assert len(seen) > 2 and all(enabled for _, enabled in seen[2:])
    with pytest.raises(RuntimeError):
        go(driver._replace(advance=fail), Limits(updates=12))
    assert gc.isenabled()


def test_counters_do_not_overflow() -> None:
    """Episodes are counted up to a bound, and the ring of their returns goes on."""
    row = first_timestep({"x": jnp.zeros((3, 2))})
    last = row._replace(reward=jnp.arange(3.0), is_last=jnp.array([True, False, True]))
    count = COUNTED - 101
    envs = EnvState(None, last, None, jnp.zeros(3), jnp.zeros(EPISODES), jnp.int32(count))
    for _ in range(400):
        envs = keep_score(envs)
        count += 2
        assert 0 < COUNTED - 3 * EPISODES < int(envs.episodes) <= COUNTED
        assert int(envs.episodes) % EPISODES == count % EPISODES
        assert envs.scores[(count - 1) % EPISODES] != 0
    assert count > COUNTED + 500


def test_a_run_ends_before_its_steps_and_updates_cannot_be_numbered(driver, monkeypatch) -> None:
    monkeypatch.setattr(training, "LAST", 41)
    records, state = go(driver, Limits(minutes=10))
    rows, updates = CONFIG.schedule
    assert int(state.updates) <= 41 < int(state.updates) + updates and records
    monkeypatch.setattr(training, "LAST", 20)
    assert not go(driver, Limits(minutes=10), state)[0]


def test_the_loss_refuses_what_does_not_have_one_time_and_batch() -> None:
    flags = jnp.zeros((4, 3))
    with pytest.raises(AssertionError):
        behavior.lambda_returns(flags, flags, flags[:1], flags)
    with pytest.raises(AssertionError):
        behavior.lambda_returns(flags, flags, flags, flags.T)
