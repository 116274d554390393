"""Notebook 07: actor and critic."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dreamer_lite import worlds
from dreamer_lite.course.checks.dreaming import ACTIONS, ROLLOUTS, small_agent
from dreamer_lite.course.checks.exercise import (
    normal,
    part,
    previous,
    solved,
    solved_agent,
    uniform,
)  # fmt: skip
from dreamer_lite.course.compare import Exercise, Part, on

sg = jax.lax.stop_gradient


@part("lambda_returns")
def lambda_returns() -> Exercise:
    """`mine(reward, cont, value, lam)`: (n, N) four times -> (n-1, N).

    Source: Hafner et al. 2025, "Critic learning", with the indices of the released code.
    """
    oracle = solved("lambda_returns")

    def value_of_state(reward, cont, value, lam):
        return oracle(reward, cont, previous(value).at[-1].set(value[-1]), lam)

    reward, cont, value = normal(40, 6, 4), uniform(41, 6, 4), normal(42, 6, 4)
    lam = jnp.full_like(cont, 0.95)
    cut = jnp.full_like(cont, 0.5).at[3].set(0.0)

    def across_a_cut(function: Callable) -> Any:
        """How much the returns before a cut change with the rewards behind it: not at all."""
        other = function(reward.at[4:].add(9.0), cont, value, cut)
        return (function(reward, cont, value, cut) - other)[:3]

    return Exercise(
        oracle,
        [
            on("4 imagined rollouts of 5 steps, lambda 0.95", reward, cont, value, lam),
            on("lambda 0.5, and 0 at time step 3", reward, cont, value, cut),
            Part("rewards behind a cut leave the returns before it as they are", across_a_cut),
        ],
        reward_of_state=lambda r, c, v, lam: oracle(previous(r), c, v, lam),
        value_of_state=value_of_state,
        cont_of_state=lambda r, c, v, lam: oracle(r, previous(c), v, lam),
        swapped=lambda r, c, v, lam: oracle(r, c, v, 1 - lam),
        no_bootstrap=lambda r, c, v, lam: oracle(r, c, v.at[-1].set(0.0), lam),
        no_values=lambda r, c, v, lam: oracle(r, c, 0 * v, jnp.ones_like(lam)),
        lambda_of_state=lambda r, c, v, lam: oracle(r, c, v, previous(lam)),
    )


@part("Actor.policy")
def policy() -> Exercise:
    """`mine(self, feat)`: (..., D + S C) -> Categorical(logp (..., A)), or Gaussian(mean, std).

    Source: Hafner et al. 2025, "Actor learning" (unimix); `bounded_normal` of the released code
    (embodied/jax/heads.py).
    """
    course, c = solved_agent(), small_agent().rssm.c
    inputs = c.deter + c.stoch * c.classes
    discrete = small_agent().actor
    continuous = course.Actor(c, worlds.Space((2,), "float32"), inputs, np.random.default_rng(1))
    continuous.net.out.kernel[...] = 0.5 * normal(43, *continuous.net.out.kernel.shape)
    feat = normal(44, 2, ROLLOUTS, inputs)

    def variant(
        mix: Callable = lambda self, out: course.unimix(out, self.c.policy_unimix),
        mean: Callable = jnp.tanh,
        std: Callable = lambda y: 0.1 + 0.9 * jax.nn.sigmoid(y + 2),
        swap: bool = False,
    ) -> Callable:
        def mistake(self, feat):
            out = self.net(feat)
            if self.discrete:
                return course.Categorical(mix(self, out))
            x, y = jnp.split(out, 2, -1)[:: -1 if swap else 1]
            return course.Gaussian(mean(x), std(y))

        return mistake

    return Exercise(
        solved("Actor.policy"),
        [
            on("6 states, 3 discrete actions", discrete, feat),
            on("6 states, 2 continuous actions", continuous, feat),
        ],
        no_unimix=variant(lambda self, out: jax.nn.log_softmax(out)),
        model_unimix=variant(lambda self, out: course.unimix(out, self.c.unimix)),
        probabilities=variant(lambda self, out: jnp.exp(course.unimix(out, self.c.policy_unimix))),
        swapped=variant(swap=True),
        unbounded_mean=variant(mean=lambda x: x),
        no_floor=variant(std=lambda y: jax.nn.sigmoid(y + 2)),
        no_shift=variant(std=lambda y: 0.1 + 0.9 * jax.nn.sigmoid(y)),
    )


@part("Gaussian.log_prob")
def gaussian_log_prob() -> Exercise:
    """`mine(self, action)`: (..., A) -> (...), the log-density of a Gaussian policy, summed over A.

    `self` has mean and std (..., A).
    """
    Gaussian, oracle = solved_agent().Gaussian, solved("Gaussian.log_prob")
    constant = 0.5 * math.log(2 * math.pi)
    policy = Gaussian(jnp.tanh(normal(50, 6, 3)), 0.1 + 0.9 * uniform(51, 6, 3))

    def variance(self, x):
        return oracle(self, self.mean + (x - self.mean) * jnp.sqrt(self.std))

    return Exercise(
        oracle,
        [on("6 actions of 3 numbers", policy, 2 * normal(49, 6, 3))],
        no_log_std=lambda self, x: oracle(self, x) + jnp.log(self.std).sum(-1),
        variance=variance,
        no_constant=lambda self, x: oracle(self, x) + constant * x.shape[-1],
        one_constant=lambda self, x: oracle(self, x) + constant * (x.shape[-1] - 1),
        clipped=lambda self, x: oracle(self, jnp.clip(x, -1, 1)),
        averaged=lambda self, x: oracle(self, x) / x.shape[-1],
    )


@part("Gaussian.entropy")
def gaussian_entropy() -> Exercise:
    """`mine(self)` -> (...), the entropy of a Gaussian policy in nats, summed over A."""
    Gaussian, oracle = solved_agent().Gaussian, solved("Gaussian.entropy")
    policy = Gaussian(normal(52, 6, 3), 0.1 + 0.9 * uniform(53, 6, 3))
    half = 0.5 * math.log(2 * math.pi)
    return Exercise(
        oracle,
        [on("6 policies over 3 numbers", policy)],
        no_constant=lambda self: jnp.log(self.std).sum(-1),
        no_e=lambda self: (jnp.log(self.std) + half).sum(-1),
        wrong_sign=lambda self: -oracle(self),
        variance=lambda self: oracle(self) + jnp.log(self.std).sum(-1),
        averaged=lambda self: oracle(self) / self.std.shape[-1],
    )


@part("update_range")
def update_range() -> Exercise:
    """`mine(old, returns)`: (2,), (H, N) -> (2,), moving averages of two percentiles.

    Source: Hafner et al. 2025, "Actor learning", return normalisation.
    """
    oracle = solved("update_range")

    def percentiles(x):
        return jnp.percentile(x, jnp.array([5.0, 95.0]))

    old, returns = jnp.array([-3.0, 6.0]), 5 * normal(54, 15, 8)
    return Exercise(
        oracle,
        [
            on("120 returns, old range -3 to 6", old, returns),
            on("small returns, old range 0 to 0", 0 * old, 0.1 * returns),
        ],
        forgetful=lambda old, x: percentiles(x),
        swapped=lambda old, x: 0.01 * old + 0.99 * percentiles(x),
        extremes=lambda old, x: 0.99 * old + 0.01 * jnp.stack([x.min(), x.max()]),
        fractions=lambda old, x: 0.99 * old + 0.01 * jnp.percentile(x, jnp.array([0.05, 0.95])),
        reversed_order=lambda old, x: oracle(old, x)[::-1],
        per_step=lambda old, x: 0.99 * old + 0.01 * percentiles(x.mean(0)),
    )


@part("critic_loss")
def critic_loss() -> Exercise:
    """`mine(logits, slow_logits, returns)`: (..., K), (..., K), (...) -> (...).

    Source: Hafner et al. 2025, "Critic learning".
    """
    course, oracle = solved_agent(), solved("critic_loss")
    loss, mean = course.two_hot_loss, course.two_hot_mean
    inputs = normal(55, 5, 4, 9), normal(56, 5, 4, 9), 3 * normal(57, 5, 4)

    def gradients(function: Callable) -> Any:
        return jax.grad(lambda *x: jnp.sum(function(*x)), (0, 1, 2))(*inputs)

    def soft(logits, slow, returns):
        cross = -jnp.sum(jax.nn.softmax(slow) * jax.nn.log_softmax(logits), -1)
        return loss(logits, returns) + sg(cross)

    return Exercise(
        oracle,
        [
            on("4 imagined rollouts of 5 steps", *inputs),
            Part("the gradients: zero for the slow critic and for the returns", gradients),
        ],
        no_slow=lambda x, slow, r: loss(x, r),
        only_slow=lambda x, slow, r: loss(x, mean(slow)),
        slow_learns=lambda x, slow, r: loss(x, r) + loss(slow, mean(x)),
        little=lambda x, slow, r: loss(x, r) + 0.1 * loss(x, mean(slow)),
        squared=lambda x, slow, r: (mean(x) - sg(r)) ** 2 + (mean(x) - sg(mean(slow))) ** 2,
        soft=soft,
        no_gradient=lambda *x: sg(oracle(*x)),
    )


@part("actor_loss")
def actor_loss() -> Exercise:
    """`mine(policy, action, advantage, entropy)`: a policy, (H, N, A), (H, N), a number -> (H, N).

    Source: Williams 1992 (REINFORCE); Hafner et al. 2025, "Actor learning".
    """
    course, oracle = solved_agent(), solved("actor_loss")
    logits, advantage = normal(58, 5, 4, 3), normal(59, 5, 4)
    action = jax.nn.one_hot(jnp.arange(20).reshape(5, 4) % 3, 3)

    def on_logits(function: Callable, logits, advantage, eta):
        return function(course.Categorical(jax.nn.log_softmax(logits)), action, advantage, eta)

    def gradients(function: Callable) -> Any:
        return jax.grad(lambda x, adv: jnp.sum(on_logits(function, x, adv, 0.5)), (0, 1))(
            logits, advantage
        )

    return Exercise(
        oracle,
        [
            Part("20 actions, eta 0.5", lambda f: on_logits(f, logits, advantage, 0.5)),
            Part("the gradients for logits and advantage", gradients),
        ],
        wrong_sign=lambda *x: -oracle(*x),
        entropy_sign=lambda p, a, adv, eta: oracle(p, a, adv, -eta),
        no_entropy=lambda p, a, adv, eta: oracle(p, a, adv, 0.0),
        no_eta=lambda p, a, adv, eta: oracle(p, a, adv, 1.0),
        no_log=lambda p, a, adv, eta: -(jnp.exp(p.log_prob(a)) * sg(adv) + eta * p.entropy()),
        no_stop=lambda p, a, adv, eta: -(p.log_prob(a) * adv + eta * p.entropy()),
        no_gradient=lambda *x: sg(oracle(*x)),
    )


def _calm(agent: Any) -> Any:
    """The agent with small rewards and values: nearly all probability on the bin of 0."""
    graph, params = nnx.split(agent)
    params = nnx.to_pure_dict(params)
    for name in ("reward", "critic"):
        out = params[name]["out"]
        middle = jnp.abs(jnp.arange(len(out["bias"])) - len(out["bias"]) // 2)
        params[name]["out"] = {"kernel": 0.1 * out["kernel"], "bias": -4.0 * middle}
    return nnx.merge(graph, params)


@functools.cache
def _rollouts(calm: bool = False) -> tuple:
    """What `dream_losses` is called with: agent, slow critic, config, states, actions, range."""
    agent, course = small_agent(), solved_agent()
    agent = _calm(agent) if calm else agent
    c = agent.rssm.c
    lead = c.horizon + 1, ROLLOUTS
    classes = jnp.arange(lead[0] * ROLLOUTS * c.stoch).reshape(*lead, c.stoch) % c.classes
    states = course.State(normal(60, *lead, c.deter), jax.nn.one_hot(classes, c.classes))
    actions = jax.nn.one_hot(jnp.arange(c.horizon * ROLLOUTS).reshape(c.horizon, -1) % 3, ACTIONS)
    graph, params = nnx.split(agent.critic)
    slow = nnx.merge(graph, jax.tree.map(lambda x: x * 0.7, params))
    old = jnp.array([-0.1, 0.1] if calm else [-150.0, 150.0])
    return agent, slow, c, states, actions, old


def _dream_losses(agent, slow, c, states, actions, old, **wrong):
    """`dream_losses` with one thing wrong; `wrong` names it."""
    course = solved_agent()
    learns = {"reward", "cont"} if "model_learns" in wrong else set(wrong)
    feat = course.feature(states) if "states_learn" in wrong else sg(course.feature(states))
    reward = course.two_hot_mean(agent.reward(feat))
    reward = reward if learns & {"reward", "reward_learns"} else sg(reward)
    live = jax.nn.sigmoid(agent.cont(feat)[..., 0])
    cont = live if learns & {"cont", "cont_learns"} else sg(live)
    logits = agent.critic(feat)
    value = sg(course.two_hot_mean(logits))
    bootstrap = sg(course.two_hot_mean(slow(feat))) if "target_network" in wrong else value
    returns = course.lambda_returns(reward, cont, bootstrap, jnp.full_like(cont, c.lam))
    new = course.update_range(old, returns)
    low, high = old if "old_scale" in wrong else new
    scale = high - low if "no_limit" in wrong else jnp.maximum(1.0, high - low)
    scale = 1.0 if "no_scale" in wrong else scale
    baseline = 0.0 if "no_baseline" in wrong else value[:-1]
    baseline = value[1:] if "late_baseline" in wrong else baseline
    weight = jnp.cumprod(live if "weight_learns" in wrong else cont, 0)
    weight = weight[1:] if "late_weight" in wrong else weight[:-1]
    weight = jnp.ones_like(weight) if "no_weight" in wrong else weight
    at = feat[1:] if "late_policy" in wrong else feat[:-1]
    policy = course.actor_loss(
        agent.actor.policy(at), actions, (returns - baseline) / scale, c.entropy
    )
    loss = course.critic_loss(logits[:-1], sg(slow(feat[:-1])), returns)
    weighted = loss if "policy_weighted_only" in wrong else weight * loss
    return {"policy": weight * policy, "value": weighted}, returns, new


MISTAKES = (
    "no_weight", "late_weight", "policy_weighted_only", "no_scale", "no_limit", "old_scale",
    "no_baseline", "late_baseline", "late_policy", "target_network", "model_learns",
    "reward_learns", "cont_learns", "weight_learns", "states_learn",
)  # fmt: skip


@part("dream_losses")
def dream_losses() -> Exercise:
    """`mine(agent, slow, c, states, actions, old_range)` -> ({"policy", "value"}, returns, range).

    states (H+1, N, ...), actions (H, N, A); losses and returns (H, N), the new range (2,).
    Source: Hafner et al. 2025, "Critic learning" and "Actor learning"; `imag_loss` of the released
    code (dreamerv3/agent.py).
    """
    agent, slow, c, states, actions, wide = _rollouts()
    graph, params = nnx.split(agent)
    params = nnx.to_pure_dict(params)
    slow_graph, slow_params = nnx.split(slow)

    def numbers(inputs: tuple, function: Callable) -> Any:
        losses, returns, new = function(*inputs)
        return losses["policy"], losses["value"], returns, new

    def taught(function: Callable) -> Any:
        """The norm of each result's gradient for each module: rows policy, value and returns."""

        def result(name, params, slow_params, states):
            mine = nnx.merge(graph, params), nnx.merge(slow_graph, slow_params)
            losses, returns, _ = function(*mine, c, states, actions, wide)
            return (losses | {"returns": returns})[name].sum()

        rows = []
        for name in ("policy", "value", "returns"):
            slopes, rest, at = jax.grad(functools.partial(result, name), (0, 1, 2))(
                params, slow_params, states
            )
            actor, critic = slopes.pop("actor"), slopes.pop("critic")
            norms = [_norm(x) for x in (slopes, actor, critic, rest, at)]
            rows.append(jnp.stack(norms))
        return jnp.stack(rows)

    where = "gradient norms of policy loss, value loss and returns for the world model, the actor, "
    where += "the critic, the slow critic and the states"
    mistakes: Any = {name: functools.partial(_dream_losses, **{name: True}) for name in MISTAKES}
    return Exercise(
        solved("dream_losses"),
        [
            Part("3 imagined rollouts of 5 steps", functools.partial(numbers, _rollouts())),
            Part("the same with small returns", functools.partial(numbers, _rollouts(calm=True))),
            Part(where, taught),
        ],
        **mistakes,
    )


def _norm(tree: Any) -> jax.Array:
    """The norm of all leaves together; the zero gradient of a norm at 0 is no concern here."""
    return jnp.sqrt(sum(jnp.sum(x.astype(jnp.float32) ** 2) for x in jax.tree.leaves(tree)))
