"""PPO: advantages against sums, the clipped loss by hand, no step across a reset, and it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_lite import worlds
from dreamer_lite.agent import behavior
from dreamer_lite.agent.distributions import BoundedNormal
from dreamer_lite.baselines import ppo
from dreamer_lite.baselines.ppo import Settings
from dreamer_lite.presets import make_config
from dreamer_lite.training import loop as training

DISCOUNT, LAM = 0.9, 0.8


def timesteps(seed: int, length: int = 12, count: int = 40) -> tuple[np.ndarray, ...]:
    """reward, is_last, is_terminal, value (length + 1, count), with ends of both kinds."""
    rng = np.random.default_rng(seed)
    reward, value = rng.standard_normal((2, length + 1, count))
    is_last = rng.random((length + 1, count)) < 0.25
    return reward, is_last, is_last & (rng.random(is_last.shape) < 0.5), value


def brute_force(reward, is_last, is_terminal, value) -> np.ndarray:
    """A_t = sum over k of lam^(k-1) (1 - lam) (k-step return - v_t), episode by episode.

    The last k, at the end of the episode or of the rollout, has all the weight that is left.
    """
    found = np.full((len(reward) - 1, reward.shape[1]), np.nan)
    for world in range(reward.shape[1]):
        for start in range(len(reward) - 1):
            if is_last[start, world]:
                continue  # its action was ignored
            total, rewards = 0.0, 0.0
            for k in range(1, len(reward) - start):
                now = start + k
                rewards += DISCOUNT ** (k - 1) * reward[now, world]
                still = DISCOUNT**k * value[now, world] * (not is_terminal[now, world])
                ends = is_last[now, world] or now == len(reward) - 1
                weight = LAM ** (k - 1) * (1.0 if ends else 1 - LAM)
                total += weight * (rewards + still)
                if ends:
                    break
            found[start, world] = total - value[start, world]
    return found


def test_advantages_are_the_weighted_sums_of_all_n_step_returns():
    batch = timesteps(0)
    expected = brute_force(*batch)
    got = ppo.advantages(*map(jnp.asarray, batch), DISCOUNT, LAM)
    counts = ~batch[1][:-1]
    assert counts.sum() > 200 and (batch[1] & ~batch[2]).any() and batch[2].any()
    np.testing.assert_allclose(np.asarray(got)[counts], expected[counts], atol=1e-5)


def test_advantages_are_dreamers_lambda_returns_less_the_value():
    reward, is_last, is_terminal, value = map(jnp.asarray, timesteps(1))
    config = make_config("catch", discount_horizon=10, lam=LAM)  # a discount of 0.9
    returns = behavior.replay_returns(reward, 1.0 * is_last, 1.0 * is_terminal, value, config)
    got = ppo.advantages(reward, is_last, is_terminal, value, DISCOUNT, LAM)
    np.testing.assert_allclose(got, returns - value[:-1], atol=1e-5)


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_crosses_an_episode_border(terminal):
    """Neither a reward nor a value after the last time step moves an advantage before it."""

    def before_the_end(later):
        reward = jnp.zeros(6).at[4:].add(later)
        value = jnp.zeros(6).at[4:].add(later)
        last = jnp.arange(6) == 3
        return ppo.advantages(reward, last, last & terminal, value, DISCOUNT, LAM)[:3]

    assert not jax.grad(lambda later: before_the_end(later).sum())(1.0)


def test_a_time_limit_keeps_the_value_and_an_end_does_not():
    reward, value, last = jnp.zeros(3), jnp.array([0.0, 0.0, 5.0]), jnp.array([False, False, True])
    cut = ppo.advantages(reward, last, jnp.zeros(3, bool), value, DISCOUNT, LAM)
    ended = ppo.advantages(reward, last, last, value, DISCOUNT, LAM)
    np.testing.assert_allclose(cut, [DISCOUNT * LAM * 0.9 * 5, 0.9 * 5], rtol=1e-6)
    np.testing.assert_allclose(ended, [0, 0])


# (ratio, advantage, loss, slope for the log-probability), clip 0.2
CLIPPED = [
    (1.0, 2.0, -2.0, -2.0),  # at 1 it is REINFORCE
    (1.0, -2.0, 2.0, 2.0),
    (1.1, 2.0, -2.2, -2.2),
    (1.5, 2.0, -2.4, 0.0),  # clipped
    (1.5, -2.0, 3.0, 3.0),  # not clipped
    (0.5, 2.0, -1.0, -1.0),
    (0.5, -2.0, 1.6, 0.0),  # clipped
]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "slope"), CLIPPED)
def test_clipped_loss_and_its_slope_by_hand(ratio, advantage, loss, slope):
    def of(log_prob):
        return ppo.clipped_loss(log_prob, jnp.float32(-1.3), jnp.float32(advantage), 0.2)

    log_prob = jnp.float32(np.log(ratio) - 1.3)
    np.testing.assert_allclose(of(log_prob), loss, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(of)(log_prob), slope, rtol=1e-5)
    difference = (of(log_prob + 1e-2) - of(log_prob - 1e-2)) / 2e-2
    np.testing.assert_allclose(difference, slope, atol=2e-3)


def test_normalised_advantages_leave_out_what_does_not_count():
    rng = np.random.default_rng(2)
    advantage, weight = rng.standard_normal(50) + 3, (rng.random(50) < 0.7).astype(np.float32)
    got = np.asarray(ppo.normalise(jnp.asarray(advantage), jnp.asarray(weight)))
    kept = advantage[weight > 0]
    np.testing.assert_allclose(got[weight > 0], (kept - kept.mean()) / kept.std(), atol=1e-5)
    assert (got[weight == 0] == 0).all()


CONFIG = make_config("catch", worlds=16)
SETTINGS = Settings(length=16, minibatches=4, epochs=2)
CATCH = worlds.make("catch")


@pytest.fixture(scope="module")
def made() -> ppo.Ppo:
    return ppo.make_ppo(CONFIG, SETTINGS, CATCH)


def collected(made: ppo.Ppo, length: int = 24) -> tuple[ppo.ActorCritic, ppo.State, ppo.Samples]:
    state = made.init(3)
    agent = made.merge(state.params)
    settings = Settings(length=length)
    state, samples = jax.jit(lambda s: ppo.collect(agent, s, CATCH, settings))(state)
    return agent, state, samples


def test_actions_that_a_reset_ignored_teach_nothing(made):
    """Catch has episodes of 9 actions and 10 time steps: each tenth one is a last one."""
    agent, state, samples = collected(made)
    weight = np.asarray(samples.weight).reshape(24, 16)
    ignored = (np.arange(24) % 10) == 9
    assert (weight[ignored] == 0).all() and (weight[~ignored] == 1).all()
    assert state.steps == 24 and state.envs.episodes == 2 * 16

    def total(changes: ppo.Samples):
        return ppo.loss(agent, changes, SETTINGS)[0]

    slope = jax.grad(lambda a: total(samples._replace(returns=a)))(samples.returns)
    assert (np.asarray(slope).reshape(24, 16)[ignored] == 0).all()
    odd = samples._replace(
        advantage=jnp.where(samples.weight > 0, samples.advantage, 1e3),
        log_prob=jnp.where(samples.weight > 0, samples.log_prob, -9.0),
    )
    np.testing.assert_allclose(total(odd), total(samples), rtol=1e-5)


def test_returns_and_advantages_of_catch_by_hand(made):
    """The reward of 1 comes with the last time step, and is discounted back to the first action."""
    state = made.init(3)
    agent = made.merge(state.params)
    _, samples = jax.jit(lambda s: ppo.collect(agent, s, CATCH, Settings(length=10, lam=1.0)))(
        state
    )
    returns = np.asarray(samples.returns).reshape(10, 16)
    first, before_last = returns[0], returns[8]
    assert set(np.round(before_last, 5)) <= {0.0, 1.0}
    np.testing.assert_allclose(first, 0.99**8 * before_last, atol=1e-5)


def test_old_and_new_probabilities_agree_before_the_first_step(made):
    agent, _, samples = collected(made)
    metrics = ppo.loss(agent, samples, SETTINGS)[1]
    assert metrics["clipped"] == 0
    np.testing.assert_allclose(metrics["loss/policy"], 0, atol=1e-5)  # advantages have mean 0
    np.testing.assert_allclose(metrics["entropy"], np.log(3), atol=1e-2)


def test_one_round_is_the_same_every_time_and_one_program_does_all(made):
    def after(seed: int):
        return jax.device_get(made.advance(made.init(seed), 2)[0].params)

    first, again, other = after(0), after(0), after(1)
    assert jax.tree.all(jax.tree.map(np.array_equal, first, again))
    assert not jax.tree.all(jax.tree.map(np.array_equal, first, other))
    made.advance(made.init(0), 3)
    assert made.advance._cache_size() == 1  # pyright: ignore


def test_each_seed_is_the_agent_that_it_would_be_alone(made):
    both = ppo.make_ppo(dataclasses.replace(CONFIG, seeds=2), SETTINGS, CATCH)
    together, _ = both.advance(both.init(0), 1)
    for seed in range(2):
        alone, _ = made.advance(made.init(seed), 1)
        for a, b in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params)):
            np.testing.assert_allclose(a[seed], b, atol=2e-4)
        assert alone.updates == together.updates[seed] == 8


def test_it_learns_catch():
    """Every ball can be caught; a random player catches a fifth."""
    config = make_config("catch")
    records = [r for r, _ in ppo.train(config, Settings(), CATCH, training.Limits(updates=1600))]
    assert records[0]["agent_steps"] == 128 * 32 and records[0]["updates"] == 32
    assert records[0]["return_mean"] < 0.4
    assert records[-1]["return_mean"] > 0.9
    assert records[-1]["entropy"] < records[0]["entropy"]


def test_continuous_actions_have_a_gaussian_policy():
    config, world = make_config("pendulum", worlds=4), worlds.make("pendulum")
    made = ppo.make_ppo(config, Settings(length=8, minibatches=2), world)
    state = made.init(0)
    policy, value = made.merge(state.params)(state.envs.timestep.obs)
    assert isinstance(policy, BoundedNormal) and policy.center.shape == (4, 1)
    assert value.shape == (4,)
    state, metrics = made.advance(state, 1)
    assert np.isfinite(metrics["loss/policy"]) and state.steps == 8


def test_uneven_minibatches_are_refused():
    with pytest.raises(ValueError, match=r"minibatches is 7: it must divide .* = 4096"):
        ppo.make_ppo(make_config("catch"), Settings(minibatches=7), CATCH)
