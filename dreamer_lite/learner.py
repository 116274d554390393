"""One update of everything: world model, actor and critic from one batch (SPEC 8 to 10).

`make_learner` returns two pure functions, not jitted: the caller adds `jax.jit`, `jax.vmap` over
seeds and buffer donation. Put together in notebook 07.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dreamer_lite import behavior
from dreamer_lite.agent import Agent, Params, make_agent
from dreamer_lite.behavior import Critic, ReturnRange
from dreamer_lite.config import Config
from dreamer_lite.optimizer import make_optimizer
from dreamer_lite.rssm import State
from dreamer_lite.world_model import Batch
from dreamer_lite.worlds.base import Space

sg = jax.lax.stop_gradient
Metrics = dict[str, jax.Array]


class LearnerState(NamedTuple):
    """All that learning changes."""

    params: Params
    slow_critic: Params  # a copy of params["critic"] that follows slowly
    optimizer: Any
    returns: ReturnRange


class Learner(NamedTuple):
    """A pair of pure functions."""

    init: Callable[[int], LearnerState]  # seed -> state, on the host: not for jit
    # (state, batch, key) -> (state, posterior states (T, B, ...), metrics)
    update: Callable[[LearnerState, Batch, jax.Array], tuple[LearnerState, State, Metrics]]


def make_learner(config: Config, obs_space: dict[str, Space], action_space: Space) -> Learner:
    """The learner of an agent with these spaces. Raises ValueError as `make_agent` does."""
    graph = make_agent(config, obs_space, action_space)
    optimizer = make_optimizer(config)

    def init(seed: int) -> LearnerState:
        params = graph.init(seed)
        slow = jax.tree.map(jnp.copy, params["critic"])  # a copy: aliases cannot be donated
        zero = jnp.zeros(())
        return LearnerState(params, slow, optimizer.init(params), ReturnRange(zero, zero + 0.0))

    def loss(params: Params, state: LearnerState, batch: Batch, key: jax.Array):
        return total_loss(
            graph.merge(params),
            graph.merge(sg(params)),
            graph.merge_critic(state.slow_critic),
            state.returns,
            batch,
            config,
            key,
        )

    def update(state: LearnerState, batch: Batch, key: jax.Array):
        grads, (states, returns, metrics) = jax.grad(loss, has_aux=True)(
            state.params, state, batch, key
        )
        steps, opt_state = optimizer.update(grads, state.optimizer, state.params)
        params: Any = optax.apply_updates(state.params, steps)
        rate = config.slow_rate
        slow = jax.tree.map(
            lambda fast, slow: rate * fast + (1 - rate) * slow, params["critic"], state.slow_critic
        )
        metrics["grad_norm"] = optax.tree.norm(grads)
        return LearnerState(params, slow, opt_state, returns), states, metrics

    return Learner(init, update)


def total_loss(
    agent: Agent,
    frozen: Agent,
    slow: Critic,
    returns: ReturnRange,
    batch: Batch,
    config: Config,
    key: jax.Array,
) -> tuple[jax.Array, tuple[State, ReturnRange, Metrics]]:
    """The scaled sum of all losses (SPEC 8), and (posterior states, new return range, metrics).

    `frozen` is the agent without gradients: dreams and their rewards are made with it. The key is
    consumed.
    """
    model_key, dream_key = jax.random.split(key)
    losses, states, metrics = agent.model.loss(batch, model_key)
    # Dreams start at the last steps of each sequence: all of them, unless `starts` says fewer.
    steps = batch._replace(context=None)
    late_states, late = jax.tree.map(lambda x: x[-config.starts :], (states, steps))
    dreamt, dream_returns, returns, dream_metrics = behavior_losses(
        agent, frozen, slow, late_states, returns, config, dream_key
    )
    losses |= dreamt
    losses["replay_value"] = replay_value_loss(
        agent, slow, late_states, late, dream_returns, config
    )
    scales = loss_scales(config)
    means = {name: x.mean() for name, x in losses.items()}
    scaled = [scales.get(name, config.recon_scale) * x for name, x in means.items()]
    total = sum(scaled, jnp.zeros(()))
    metrics |= dream_metrics | {f"loss/{name}": x for name, x in means.items()}
    metrics["loss/total"] = total
    return total, (sg(states), returns, metrics)


def loss_scales(config: Config) -> dict[str, float]:
    """Weight of each loss but the reconstructions, which all share `recon_scale`."""
    return {
        "reward": config.reward_scale,
        "cont": config.cont_scale,
        "dyn": config.dyn_scale,
        "rep": config.rep_scale,
        "policy": config.policy_scale,
        "value": config.value_scale,
        "replay_value": config.replay_value_scale,
    }


def behavior_losses(
    agent: Agent,
    frozen: Agent,
    slow: Critic,
    states: State,
    returns: ReturnRange,
    config: Config,
    key: jax.Array,
) -> tuple[Metrics, jax.Array, ReturnRange, Metrics]:
    """Dream from every posterior state (T, B, ...) and judge the dreams (SPEC 9.1 to 9.4).

    Returns losses (T, B) for policy and value, the return of each dream's start (T, B), the new
    return range, metrics. The key is consumed.
    """
    lead = states.deter.shape[:2]
    start = jax.tree.map(lambda x: sg(x).reshape(-1, *x.shape[2:]), states)
    dream, actions = behavior.imagine(frozen.model, frozen.actor, start, config.horizon, key)
    feature = dream.feature  # (H+1, N, F)
    reward = frozen.model.reward(feature).mean()
    cont = frozen.model.cont(feature).mean()
    early = feature[:-1]  # the H steps that are learnt from; the last one only bootstraps
    value = agent.critic(early)
    baseline = sg(value.mean())
    last_value = frozen.critic(feature[-1:]).mean()
    lam = jnp.full_like(cont, config.lam)
    values = jnp.concatenate([baseline, last_value])
    target = behavior.lambda_returns(reward, cont, lam, values)  # (H, N)
    returns = behavior.update_range(returns, target, config)
    scale = behavior.return_scale(returns, config.return_limit)
    advantage = (target - baseline) / scale
    weight = jnp.cumprod(cont, 0)[:-1]  # chance that the dream is still alive, c_0 included
    policy = agent.actor(early)
    losses = {
        "policy": weight * behavior.actor_loss(policy, actions, advantage, config.entropy),
        "value": weight * behavior.critic_loss(value, slow(early), target, config.slow_scale),
    }
    losses = {name: x.mean(0).reshape(lead) for name, x in losses.items()}
    metrics = {
        "entropy": policy.entropy().mean(),
        "dream_reward": reward[1:].mean(),
        "dream_return": target.mean(),
        "dream_value": baseline.mean(),
        "return_scale": scale,
        "advantage": advantage.mean(),
        "advantage_std": advantage.std(),
        "weight": weight.mean(),
    }
    return losses, target[0].reshape(lead), returns, metrics


def replay_value_loss(
    agent: Agent, slow: Critic, states: State, batch: Batch, boot: jax.Array, config: Config
) -> jax.Array:
    """Ground the critic, and through it the model, on real returns (SPEC 9.6); (T-1, B).

    boot (T, B) is what the dreams that start at each step returned.
    """
    feature = states.feature
    target = behavior.replay_returns(batch.reward, batch.is_last, batch.is_terminal, boot, config)
    value = agent.critic(feature[:-1])
    fixed = slow(sg(feature[:-1]))
    loss = behavior.critic_loss(value, fixed, target, config.slow_scale)
    return (1.0 - batch.is_last[:-1]) * loss
