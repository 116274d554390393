"""Notebook 07: actor and critic."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dreamer_lite import worlds
from dreamer_lite.course.checks.dreaming import ACTIONS, ROLLOUTS, calm_agent, small_agent
from dreamer_lite.course.checks.exercise import (
    each,
    named,
    norm,
    normal,
    one_hots,
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

    def scanned(reward, cont, value, lam, last):
        """The recursion over arrays (n-1, ...), whatever time steps they are of."""
        returns = [last]
        for r, c, v, k in reversed(list(zip(reward, cont, value, lam))):
            returns.insert(0, r + c * ((1 - k) * v + k * returns[0]))
        return jnp.stack(returns[:-1])

    def small(x):
        return jnp.asarray(x, jnp.float32)

    tiny = small([9, 0, 1, 2]), small([0.9, 0.8, 0.7, 0.6]), small([0.2, 0.4, 0.6, 0.8])
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
            on("1 imagined rollout of 3 steps", *tiny, small([0.5, 0.4, 0.3, 0.2])),
            on("4 imagined rollouts of 5 steps, lambda 0.95", reward, cont, value, lam),
            on("lambda 0.5, and 0 at time step 3", reward, cont, value, cut),
            Part("rewards behind a cut leave the returns before it as they are", across_a_cut),
        ],
        backwards=lambda *x: oracle(*x)[::-1],
        all_of_state=lambda r, c, v, lam: scanned(r[:-1], c[:-1], v[:-1], lam[:-1], v[-1]),
        reward_of_state=lambda r, c, v, lam: oracle(previous(r), c, v, lam),
        value_of_state=lambda r, c, v, lam: scanned(r[1:], c[1:], v[:-1], lam[1:], v[-1]),
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
    course, c = solved_agent(), dataclasses.replace(small_agent().rssm.c, policy_unimix=0.05)
    inputs = c.deter + c.stoch * c.classes

    def actor(space: worlds.Space) -> Any:
        new = course.Actor(c, space, inputs, np.random.default_rng(1))
        new.net.out.kernel[...] = 0.5 * normal(43, *new.net.out.kernel.shape)
        return new

    discrete = actor(worlds.make("catch").action_space)
    continuous = actor(worlds.Space((2,), "float32"))
    feat = normal(44, 2, ROLLOUTS, inputs)

    def variant(
        mix: Callable = lambda self, out: course.unimix(out, self.c.policy_unimix),
        mean: Callable = jnp.tanh,
        std: Callable = lambda y: 0.1 + 0.9 * jax.nn.sigmoid(y + 2),
        cut: Callable = lambda out: jnp.split(out, 2, -1),
    ) -> Callable:
        def mistake(self, feat):
            out = self.net(feat)
            if self.discrete:
                return course.Categorical(mix(self, out))
            x, y = cut(out)
            return course.Gaussian(mean(x), std(y))

        return mistake

    return Exercise(
        solved("Actor.policy"),
        [
            on("6 states, 3 discrete actions", discrete, feat),
            on("6 states, 2 continuous actions", continuous, feat),
        ],
        logits=variant(lambda self, out: out),
        no_unimix=variant(lambda self, out: jax.nn.log_softmax(out)),
        model_unimix=variant(lambda self, out: course.unimix(out, self.c.unimix)),
        constant=variant(lambda self, out: course.unimix(out, 0.01)),
        softmax_first=variant(
            lambda self, out: course.unimix(jax.nn.softmax(out), self.c.policy_unimix)
        ),
        probabilities=variant(lambda self, out: jnp.exp(course.unimix(out, self.c.policy_unimix))),
        swapped=variant(cut=lambda out: jnp.split(out, 2, -1)[::-1]),
        interleaved=variant(cut=lambda out: (out[..., ::2], out[..., 1::2])),
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
    policy = Gaussian(jnp.tanh(normal(50, 2, 3)), 0.1 + 0.9 * uniform(51, 2, 3))

    def variance(self, x):
        return oracle(self, self.mean + (x - self.mean) * jnp.sqrt(self.std))

    return Exercise(
        oracle,
        [on("2 actions of 3 numbers", policy, 2 * normal(49, 2, 3))],
        density=lambda self, x: jnp.exp(oracle(self, x)),
        no_log_std=lambda self, x: oracle(self, x) + jnp.log(self.std).sum(-1),
        half_log_std=lambda self, x: oracle(self, x) + 0.5 * jnp.log(self.std).sum(-1),
        log_std_sign=lambda self, x: oracle(self, x) + 2 * jnp.log(self.std).sum(-1),
        variance=variance,
        no_constant=lambda self, x: oracle(self, x) + constant * x.shape[-1],
        one_constant=lambda self, x: oracle(self, x) + constant * (x.shape[-1] - 1),
        whole_constant=lambda self, x: oracle(self, x) - constant * x.shape[-1],
        clipped=lambda self, x: oracle(self, jnp.clip(x, -1, 1)),
        averaged=lambda self, x: oracle(self, x) / x.shape[-1],
    )


@part("Gaussian.entropy")
def gaussian_entropy() -> Exercise:
    """`mine(self)` -> (...), the entropy of a Gaussian policy in nats, summed over A.

    `self` has mean and std (..., A).
    """
    Gaussian, oracle = solved_agent().Gaussian, solved("Gaussian.entropy")
    policy = Gaussian(normal(52, 2, 3), 0.1 + 0.9 * uniform(53, 2, 3))
    half = 0.5 * math.log(2 * math.pi)
    return Exercise(
        oracle,
        [on("2 policies over 3 numbers", policy)],
        no_constant=lambda self: jnp.log(self.std).sum(-1),
        no_e=lambda self: (jnp.log(self.std) + half).sum(-1),
        one_constant=lambda self: jnp.log(self.std).sum(-1) + half + 0.5,
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
        slopes = jax.grad(lambda *x: jnp.sum(function(*x)), (0, 1, 2))(*inputs)
        return named(dict(zip(("logits", "slow_logits", "returns"), slopes)))

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
    action = one_hots(3, 5, 4)

    def on_logits(function: Callable, logits, advantage, eta):
        return function(course.Categorical(jax.nn.log_softmax(logits)), action, advantage, eta)

    def gradients(function: Callable) -> Any:
        slopes = jax.grad(lambda x, adv: jnp.sum(on_logits(function, x, adv, 0.5)), (0, 1))
        return named(dict(zip(("logits", "advantage"), slopes(logits, advantage))))

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
        stops_log=lambda p, a, adv, eta: -(sg(p.log_prob(a) * adv) + eta * p.entropy()),
        no_gradient=lambda *x: sg(oracle(*x)),
    )


def _rollouts(agent: Any, high: float) -> tuple:
    """What `dream_losses` is called with: agent, slow critic, config, states, actions, range."""
    c = agent.rssm.c
    lead = c.horizon + 1, ROLLOUTS
    stoch = one_hots(c.classes, *lead, c.stoch)
    states = solved_agent().State(normal(60, *lead, c.deter), stoch)
    actions = one_hots(ACTIONS, c.horizon, ROLLOUTS)
    graph, params = nnx.split(agent.critic)
    slow = nnx.merge(graph, jax.tree.map(lambda x: x * 0.7, params))
    return agent, slow, c, states, actions, jnp.array([-high, high])


def _dream_losses(agent, slow, c, states, actions, old, wrong):
    """`dream_losses` with one thing wrong; `wrong` names it."""
    course = solved_agent()
    feat = course.feature(states) if wrong == "states_learn" else sg(course.feature(states))
    reward = course.two_hot_mean(agent.reward(feat))
    reward = reward if wrong in ("reward_learns", "model_learns") else sg(reward)
    live = agent.cont(feat)[..., 0]
    live = live if wrong == "no_sigmoid" else jax.nn.sigmoid(live)
    live = live * c.discount if wrong == "discount_twice" else live
    cont = live if wrong in ("cont_learns", "model_learns") else sg(live)
    logits = agent.critic(feat)
    value = course.two_hot_mean(logits)
    value = value if wrong == "value_learns" else sg(value)
    bootstrap = sg(course.two_hot_mean(slow(feat))) if wrong == "target_network" else value
    returns = course.lambda_returns(reward, cont, bootstrap, jnp.full_like(cont, c.lam))
    new = course.update_range(old, returns)
    low, high = old if wrong == "old_scale" else new
    scale = high - low if wrong == "no_limit" else jnp.maximum(1.0, high - low)
    scale = 1.0 if wrong == "no_scale" else scale
    baseline = 0.0 if wrong == "no_baseline" else value[:-1]
    baseline = value[1:] if wrong == "late_baseline" else baseline
    weight = jnp.cumprod(live if wrong == "weight_learns" else cont, 0)
    weight = weight[1:] if wrong == "late_weight" else weight[:-1]
    weight = weight / sg(cont[0]) if wrong == "weight_from_one" else weight
    weight = jnp.ones_like(weight) if wrong == "no_weight" else weight
    at = feat[1:] if wrong == "late_policy" else feat[:-1]
    policy = course.actor_loss(
        agent.actor.policy(at), actions, (returns - baseline) / scale, c.entropy
    )
    loss = course.critic_loss(logits[:-1], sg(slow(feat[:-1])), returns)
    weighted = loss if wrong == "policy_weighted_only" else weight * loss
    return {"policy": weight * policy, "value": weighted}, returns, new


MISTAKES = (
    "no_sigmoid", "discount_twice", "no_weight", "late_weight", "weight_from_one",
    "policy_weighted_only", "no_scale", "no_limit", "old_scale", "no_baseline", "late_baseline",
    "late_policy", "target_network",
)  # fmt: skip
STOPS = (  # of these only the gradients are wrong
    "model_learns", "reward_learns", "cont_learns", "weight_learns", "states_learn", "value_learns",
)  # fmt: skip
LOSSES = "policy", "value"
MODULES = "world_model", "actor", "critic", "slow_critic", "states"


@part("dream_losses")
def dream_losses() -> Exercise:
    """`mine(agent, slow, c, states, actions, old_range)` -> ({"policy", "value"}, returns, range).

    states (H+1, N, ...), actions (H, N, A); losses and returns (H, N), the new range (2,).
    Source: Hafner et al. 2025, "Critic learning" and "Actor learning"; `imag_loss` of the released
    code (dreamerv3/agent.py).
    """
    usual, small = _rollouts(small_agent(), 150.0), _rollouts(calm_agent(), 0.1)
    agent, slow, c, states, actions, wide = usual
    graph, params = nnx.split(agent)
    params = nnx.to_pure_dict(params)
    slow_graph, slow_params = nnx.split(slow)

    def called(function: Callable, *inputs: Any) -> dict:
        losses, returns, new = function(*inputs)
        if not isinstance(losses, dict) or set(losses) != set(LOSSES):
            raise ValueError('the losses are {"policy": ..., "value": ...}, a dictionary.')
        return {name: losses[name] for name in LOSSES} | {"returns": returns, "range": new}

    def numbers(inputs: tuple, function: Callable) -> Any:
        return named(called(function, *inputs))

    def taught(function: Callable) -> Any:
        """The norm of each result's gradient for each module."""

        def results(params, slow_params, states):
            mine = nnx.merge(graph, params), nnx.merge(slow_graph, slow_params)
            found = called(function, *mine, c, states, actions, wide)
            return {name: x.sum() for name, x in found.items() if name != "range"}

        # compiled: operation by operation it takes a minute for all mistakes
        @jax.jit
        def norms():
            totals, pull = jax.vjp(results, params, slow_params, states)
            found = {}
            for name in totals:
                at = {other: jnp.float32(other == name) for other in totals}
                slopes, rest, start = pull(at)
                own = slopes.pop("actor"), slopes.pop("critic")
                trees = dict(zip(MODULES, (slopes, *own, rest, start)))
                found[name] = {module: norm(tree) for module, tree in trees.items()}
            return found

        return named(norms())

    where = "gradient norms of policy loss, value loss and returns for the world model, the actor, "
    where += "the critic, the slow critic and the states"
    return Exercise(
        solved("dream_losses"),
        [
            Part("3 imagined rollouts of 5 steps", functools.partial(numbers, usual)),
            Part("the same with small returns", functools.partial(numbers, small)),
            Part(where, taught, mistakes=STOPS),
        ],
        **each(lambda name: functools.partial(_dream_losses, wrong=name), *MISTAKES, *STOPS),
    )
