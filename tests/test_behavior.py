"""Actor and critic: returns against brute force, dreams against loops, and two tiny problems."""

import dataclasses
import math
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from golden_cases import VECTORS

from dreamer_lite.agent import behavior, learner
from dreamer_lite.agent.behavior import Actor, Critic, ReturnRange
from dreamer_lite.agent.distributions import BoundedNormal, OneHot, TwoHot, scalar
from dreamer_lite.agent.rssm import State
from dreamer_lite.agent.world_model import Batch, WorldModel
from dreamer_lite.config import Config
from dreamer_lite.worlds.base import Space

CONFIG = Config(
    deter=6, hidden=5, stoch=3, classes=4, blocks=2, units=7, bins=41, encoder_layers=1,
    image_blocks=1, decoder_layers=1, prior_layers=1, policy_layers=1, value_layers=1,
)  # fmt: skip
RANGE = ReturnRange(jnp.float32(0), jnp.float32(0))


def floats(*values) -> list[jax.Array]:
    return [jnp.array(value, jnp.float32) for value in values]


def test_lambda_returns_golden() -> None:
    case = VECTORS["lambda_imag"]
    reward, cont, value = floats(case["rew"], case["con"], case["val"])
    found = behavior.lambda_returns(reward, cont, jnp.full(4, case["lam"]), value)
    np.testing.assert_allclose(found, case["ret"], rtol=1e-6)


@pytest.mark.parametrize("end", ["plain", "trunc_at_2", "term_at_2"])
def test_replay_returns_golden(end: str) -> None:
    case = VECTORS[f"lambda_replay_{end}"]
    reward, boot = floats(*(VECTORS["lambda_replay_plain"][key] for key in ("rew", "boot")))
    last, term = (jnp.array(case.get(key, [0] * 4), bool) for key in ("last", "term"))
    found = behavior.replay_returns(reward, last, term, boot, Config())
    np.testing.assert_allclose(found, case["ret"], rtol=1e-6)


@pytest.mark.parametrize("end", ["plain", "trunc_at_2", "term_at_2"])
def test_last_steps_do_not_count_in_the_replay_value_loss(end: str) -> None:
    case = VECTORS[f"lambda_replay_{end}"]
    reward, boot = floats(*(VECTORS["lambda_replay_plain"][key] for key in ("rew", "boot")))
    last, term = (jnp.array(case.get(key, [0] * 4), bool)[:, None] for key in ("last", "term"))
    batch = SimpleNamespace(reward=reward[:, None], is_last=last, is_terminal=term)
    states = State(jnp.zeros((4, 1, 2)), jnp.zeros((4, 1, 1, 2)))
    critic = lambda feature: Squared(feature[..., 0])  # noqa: E731
    slow = lambda feature: Squared(feature[..., 0] + 3)  # noqa: E731
    found = behavior.replay_value_loss(critic, slow, states, batch, boot[:, None], Config())
    expected = np.array(case["loss_weight"]) * (np.array(case["ret"]) ** 2 + 9)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)


def test_lambda_returns_are_the_weighted_sum_of_n_step_returns() -> None:
    """R_t = (1 - lam) sum_n lam^(n-1) R^n_t + the rest on the longest; two sequences at once."""
    rng = np.random.default_rng(0)
    n, lam = 6, 0.8
    reward, value = rng.normal(size=(2, n, 2))
    live = rng.uniform(0.3, 1, (n, 2))

    def steps(t: int, count: int) -> np.ndarray:
        """The return of `count` real steps after t, and then the value."""
        total, alive = 0.0, 1.0
        for k in range(t + 1, t + count + 1):
            total, alive = total + alive * reward[k], alive * live[k]
        return total + alive * value[t + count]

    expected = []
    for t in range(n - 1):
        longest = n - 1 - t
        mixed = sum((1 - lam) * lam ** (k - 1) * steps(t, k) for k in range(1, longest))
        expected.append(mixed + lam ** (longest - 1) * steps(t, longest))
    found = behavior.lambda_returns(*floats(reward, live, np.full((n, 2), lam), value))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_return_range() -> None:
    config, found = Config(), RANGE
    for row in VECTORS["retnorm"]:
        step = (row["p95"] - row["p5"]) / 9  # 5 % and 95 % of eleven evenly spaced numbers
        returns = row["p5"] - step / 2 + step * jnp.arange(11.0)
        found = behavior.update_range(found, returns.reshape(11, 1), config)
        np.testing.assert_allclose(found, (row["lo"], row["hi"]), rtol=1e-5)
        scale = behavior.return_scale(found, config.return_limit)
        assert scale == pytest.approx(row["scale"], rel=1e-5)


class Squared(NamedTuple):
    """Stands in for a value: a plain number with a squared error."""

    logits: jax.Array

    def mean(self) -> jax.Array:
        return self.logits

    def loss(self, target: jax.Array) -> jax.Array:
        return (self.logits - target) ** 2


def test_losses_of_one_dream_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights include c_0, advantages are divided by S, returns come from the fast critic."""
    case = VECTORS["lambda_imag"]
    reward, cont, value = (np.array(case[key]) for key in ("rew", "con", "val"))
    number = lambda feature: feature[..., 0].astype(int)  # noqa: E731
    states = State(jnp.arange(4.0).reshape(4, 1, 1), jnp.zeros((4, 1, 1, 1)))
    actions = jnp.array([[[1.0, 0]], [[0, 1.0]], [[1.0, 0]]])
    monkeypatch.setattr(behavior, "imagine", lambda *_: (states, actions))
    look = lambda table: lambda feature: Squared(jnp.array(table, jnp.float32)[number(feature)])  # noqa: E731
    start = State(jnp.zeros((1, 1, 1)), jnp.zeros((1, 1, 1, 1)))
    world_model_loss = lambda batch, key: ({}, {}, start, {})  # noqa: E731
    model = SimpleNamespace(reward=look(reward), cont=look(cont), loss=world_model_loss)
    raw = np.array([[0.3, -0.4], [1.0, 0.2], [0.0, 0.0]], np.float32)
    policy = lambda feature: OneHot.mix(jnp.array(raw)[number(feature)])  # noqa: E731
    agent = SimpleNamespace(model=model, critic=look(value), actor=policy)
    graph = SimpleNamespace(merge=lambda _: agent, merge_critic=lambda _: look(value + 2))
    zeros = jnp.zeros((1, 1))
    batch = Batch({}, zeros, zeros, zeros, zeros, zeros[..., None], None)
    old = ReturnRange(jnp.float32(-40), jnp.float32(0))
    parts = learner.Learner(Config(horizon=3), graph, None)
    state = learner.LearnerState({}, {}, None, old)
    monkeypatch.setattr(
        behavior, "replay_value_loss", lambda *args: firsts.append(args[4]) or zeros
    )
    firsts = []
    _, (losses, _, new, metrics) = learner.loss({}, parts, state, batch, jax.random.key(0))
    returns, weight = np.array(case["ret"]), np.array(case["weight"])[:3]
    np.testing.assert_allclose(firsts[0], [[returns[0]]], rtol=1e-5)
    low, high = 0.99 * -40 + 0.01 * np.percentile(returns, 5), 0.01 * np.percentile(returns, 95)
    np.testing.assert_allclose(new, (low, high), rtol=1e-5)
    log_p = raw - np.log(np.exp(raw).sum(-1, keepdims=True))
    entropy = -(np.exp(log_p) * log_p).sum(-1)
    advantage = (returns - value[:3]) / (high - low)
    policy = -weight * (log_p[range(3), [0, 1, 0]] * advantage + 3e-4 * entropy)
    np.testing.assert_allclose(losses["policy"], [[policy.mean()]], rtol=1e-4)
    values = weight * ((value[:3] - returns) ** 2 + 2.0**2)
    np.testing.assert_allclose(losses["value"], [[values.mean()]], rtol=1e-4)
    assert metrics["weight"] == pytest.approx(weight.mean(), rel=1e-5)
    assert metrics["return_scale"] == pytest.approx(high - low, rel=1e-5)


@pytest.mark.parametrize("space", [Space((), "int32", 3), Space((2,), "float32")])
def test_imagine_is_repeated_steps(space: Space) -> None:
    rng = np.random.default_rng(0)
    size = space.classes or space.shape[0]
    model = WorldModel({"v": Space((2,), "float32")}, size, CONFIG, rng)
    actor = Actor(space, CONFIG, rng)
    start = State(jnp.array(rng.normal(size=(5, 6)), jnp.float32), jnp.zeros((5, 3, 4)))
    key = jax.random.key(3)
    states, actions = jax.jit(lambda s, k: behavior.imagine(model, actor, s, 4, k))(start, key)
    assert states.deter.shape == (5, 5, 6) and actions.shape == (4, 5, size)
    noise_key, action_key = jax.random.split(key)
    u = jax.random.uniform(noise_key, (4, 5, 3))
    keys = jax.random.split(action_key, 4)

    @jax.jit
    def step(state, key, u):
        action = actor(state.feature).sample(key)
        return action, model.rssm.imagine_step(state, action, u)

    state = start
    for t in range(4):
        np.testing.assert_allclose(states.deter[t], state.deter, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(states.stoch[t], state.stoch)
        action, state = step(state, keys[t], u[t])
        np.testing.assert_allclose(actions[t], action, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(states.deter[4], state.deter, rtol=1e-5, atol=1e-6)
    assert len(np.unique(np.asarray(actions).reshape(-1, size), axis=0)) > 1


def test_actor_starts_near_uniform_and_critic_at_zero() -> None:
    """At the start: entropy ln A or 1.3055 nats per dimension, value exactly 0."""
    rng, feature = np.random.default_rng(0), jnp.ones((2, 18))
    assert Actor(Space((), "int32", 6), CONFIG, rng)(feature).entropy()[0] == pytest.approx(
        math.log(6), abs=1e-3
    )
    policy = Actor(Space((4,), "float32"), CONFIG, rng)(feature)
    assert policy.entropy()[0] == pytest.approx(4 * 1.30545, abs=0.05)
    np.testing.assert_array_equal(Critic(CONFIG, rng)(feature).mean(), np.zeros(2))


def test_discrete_policy_keeps_one_percent_everywhere() -> None:
    actor = Actor(Space((), "int32", 5), CONFIG, np.random.default_rng(0))
    actor.logits.bias[...] = np.array([99, 0, 0, 0, 0], np.float32)
    np.testing.assert_allclose(actor(jnp.ones(18)).probs, [0.992] + [0.002] * 4, rtol=1e-4)


def test_actor_makes_better_actions_likelier() -> None:
    """A bandit: action 1 was better than expected, action 2 worse."""
    actions = jnp.eye(3)[jnp.array([1, 2])]

    def loss(logits, advantage, entropy):
        policy = OneHot.mix(jnp.broadcast_to(logits, (2, 3)))
        return behavior.actor_loss(policy, actions, advantage, entropy).sum()

    logits = jnp.array([0.4, 0.0, -0.3])
    down = -jax.grad(loss)(logits, jnp.array([1.0, -1.0]), 0.0)
    assert down[1] > 0 > down[2] and abs(down[0]) < 1e-6
    flatter = -jax.grad(loss)(logits, jnp.zeros(2), 1.0)
    assert flatter[0] < 0 < flatter[2], "without advantage the entropy bonus evens out"
    to_actions = jax.grad(
        lambda a: behavior.actor_loss(OneHot.mix(jnp.ones((2, 3))), a, a.sum(-1), 1.0).sum()
    )(actions)
    np.testing.assert_array_equal(to_actions, np.zeros((2, 3)))

    def continuous(center, spread):
        policy = BoundedNormal.bound(center, spread, 0.1, 1.0)
        return behavior.actor_loss(policy, jnp.array([0.5, -0.5]), jnp.array(2.0), 0.0)

    down = [-x for x in jax.grad(continuous, (0, 1))(jnp.zeros(2), jnp.full(2, -9.0))]
    assert down[0][0] > 0 > down[0][1] and (down[1] > 0).all(), "towards the action, and wider"


def test_critic_loss_pulls_towards_returns_and_slow_critic() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 2, 41)).astype(np.float32)
    value, slow = TwoHot(jnp.array(logits[0])), TwoHot(jnp.array(logits[1] * 3))
    returns = jnp.array([1.5, -20.0])
    found = behavior.critic_loss(value, slow, returns, 0.7)
    np.testing.assert_allclose(
        found, value.loss(returns) + 0.7 * value.loss(slow.mean()), rtol=1e-6
    )
    to_slow = jax.grad(lambda x: behavior.critic_loss(value, TwoHot(x), returns, 1.0).sum())(
        slow.logits
    )
    np.testing.assert_array_equal(to_slow, np.zeros((2, 41)))


@pytest.mark.parametrize("kind", ["symlog", "plain"])
def test_without_two_hot_the_critic_learns_from_returns_alone(kind: str) -> None:
    value, slow = (scalar(kind, jnp.array([[x], [2.0]])) for x in (0.5, 1.0))
    returns = jnp.array([1.5, -20.0])

    def loss(guess, returns, slow):
        value = type(slow)(guess)
        return behavior.critic_loss(value, slow, returns, 0.5).sum()

    to_prediction, to_returns, to_slow = jax.grad(loss, (0, 1, 2))(value.prediction, returns, slow)
    assert to_prediction[0] < 0 < to_prediction[1]
    assert (to_returns == 0).all() and (to_slow.prediction == 0).all()


@pytest.mark.parametrize("kind", ["two-hot", "symlog", "plain"])
def test_a_critic_learns_values_of_any_size(kind: str) -> None:
    """A probe: three states worth 0.2, -3 and 400 are told apart in 500 steps."""
    critic = Critic(dataclasses.replace(CONFIG, scalars=kind), np.random.default_rng(0))
    graph, params = nnx.split(critic)
    feature = jnp.array(np.random.default_rng(1).normal(size=(3, 18)), jnp.float32)
    worth = jnp.array([0.2, -3.0, 400.0])
    optimizer = optax.adam(0.03)

    def loss(params):
        return nnx.merge(graph, params)(feature).loss(worth).sum()

    def step(_, carry):
        params, state = carry
        steps, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, steps), state

    params = jax.jit(lambda p: jax.lax.fori_loop(0, 500, step, (p, optimizer.init(p)))[0])(params)
    np.testing.assert_allclose(nnx.merge(graph, params)(feature).mean(), worth, rtol=0.1, atol=0.05)
