"""One update of everything: world model, actor and critic, from one batch of replayed sequences.

`loss` is the whole objective of DreamerV3 on one screen, `update` the step that follows from it.
Both are pure and not jitted: the caller adds `jax.jit`, `jax.vmap` over seeds and buffer donation.
Put together in notebook 08.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dreamer_lite.agent import behavior
from dreamer_lite.agent.agent import Graph, Params, make_agent
from dreamer_lite.agent.behavior import ReturnRange
from dreamer_lite.agent.fast_gpu import fewer_launches_on_gpu
from dreamer_lite.agent.optimizer import make_optimizer, norms
from dreamer_lite.agent.rssm import State
from dreamer_lite.agent.world_model import Batch
from dreamer_lite.config import Config
from dreamer_lite.worlds.base import Space

sg = jax.lax.stop_gradient
Metrics = dict[str, jax.Array]


class LearnerState(NamedTuple):
    """All that learning changes."""

    params: Params
    slow_critic: Params  # exponential moving average of params["critic"]
    optimizer: Any
    returns: ReturnRange


class Learner(NamedTuple):
    """What an update is made with: no arrays, closed over by jitted functions."""

    config: Config
    graph: Graph
    optimizer: optax.GradientTransformation


class Outputs(NamedTuple):
    """What one pass over a batch gives besides its loss."""

    losses: Metrics  # unscaled, per replayed step: (T, B) or the last `starts` steps of it
    states: State  # (T, B, ...) posterior states
    returns: ReturnRange
    metrics: Metrics  # scalars


def make_learner(config: Config, obs_space: dict[str, Space], action_space: Space) -> Learner:
    """The learner of an agent with these spaces. Raises ValueError as `make_agent` does."""
    return Learner(config, make_agent(config, obs_space, action_space), make_optimizer(config))


def init(learner: Learner, seed: int) -> LearnerState:
    """The state before the first update, with parameters drawn on the host: not for jit."""
    return jax.jit(functools.partial(begin, learner))(learner.graph.init(seed))


def begin(learner: Learner, params: Params) -> LearnerState:
    """The state before the first update, from new parameters.

    For jit: each of its operations alone would be a program to compile.
    """
    slow = jax.tree.map(jnp.copy, params["critic"])  # a copy: aliases cannot be donated
    zero = jnp.zeros(())
    return LearnerState(params, slow, learner.optimizer.init(params), ReturnRange(zero, zero + 0.0))


def update(
    learner: Learner, state: LearnerState, batch: Batch, key: jax.Array
) -> tuple[LearnerState, Outputs]:
    """One gradient step on `loss`, then the slow critic follows: s ← (1 - rate) s + rate v.

    The slow critic is an exponential moving average that regularises the critic, not a target
    network.

    Batch (T, B, ...). The key is consumed. The metrics gain `grad_norm`, before clipping.
    """
    gradient, out = jax.grad(loss, has_aux=True)(state.params, learner, state, batch, key)
    steps, optimizer = learner.optimizer.update(gradient, state.optimizer, state.params)
    params: Any = optax.apply_updates(state.params, steps)
    rate = learner.config.slow_rate
    slow = jax.tree.map(
        lambda fast, slow: rate * fast + (1 - rate) * slow, params["critic"], state.slow_critic
    )
    grad_norm = optax.tree.norm(norms(gradient))  # of the norms by which tensors are clipped
    out = out._replace(metrics=out.metrics | {"grad_norm": grad_norm})
    return LearnerState(params, slow, optimizer, out.returns), out


def loss(
    params: Params, learner: Learner, state: LearnerState, batch: Batch, key: jax.Array
) -> tuple[jax.Array, Outputs]:
    """The objective of DreamerV3 (Hafner et al. 2025, "Learning algorithm").

    L = Σ scaleₖ mean(lossₖ): `Agent.loss` of the released code (dreamerv3/agent.py).

    World model, actor and critic share one sum, yet each learns from its own terms only: imagined
    rollouts are made with parameters that carry no gradient, and neither actions nor returns do.
    `params` is what is differentiated; the other arguments are as for `update`.
    """
    config, graph = learner.config, learner.graph
    agent, frozen = graph.merge(params), graph.merge(sg(params))
    slow = graph.merge_critic(state.slow_critic)
    model_key, imagine_key = jax.random.split(key)

    # World model: predict observation, reward and continuation; posterior and prior meet (KL).
    recon, losses, states, metrics = agent.model.loss(batch, model_key)

    # Imagination: H steps from the last `starts` states of each sequence (0: from all of them).
    last, real = jax.tree.map(lambda x: x[-config.starts :], (states, batch._replace(context=None)))
    start = jax.tree.map(lambda x: sg(x).reshape(-1, *x.shape[2:]), last)  # (N, ...)
    imagined, actions = behavior.imagine(
        frozen.model, frozen.actor, start, config.horizon, imagine_key
    )
    feature = imagined.feature  # (H+1, N, F)
    reward, cont = frozen.model.reward(feature).mean(), frozen.model.cont(feature).mean()
    weight = jnp.cumprod(cont, 0)[:-1]  # w_t = c_0 c_1 ... c_t; the discount is part of c

    # Returns: R_t = r_t+1 + c_t+1 ((1 - lambda) v_t+1 + lambda R_t+1), and their scale.
    value = agent.critic(feature[:-1])  # the last state only bootstraps
    baseline = sg(value.mean())
    values = jnp.concatenate([baseline, frozen.critic(feature[-1:]).mean()])
    returns = behavior.lambda_returns(reward, cont, jnp.full_like(cont, config.lam), values)
    return_range = behavior.update_range(state.returns, returns, config)
    scale = behavior.return_scale(return_range, config.return_limit)

    # Actor: REINFORCE with the scaled advantage, and an entropy bonus.
    policy, advantage = agent.actor(feature[:-1]), (returns - baseline) / scale
    actor_loss = weight * behavior.actor_loss(policy, actions, advantage, config.entropy)

    # Critic: towards the returns and towards the slow critic, on imagined and on real sequences.
    critic_loss = weight * behavior.critic_loss(
        value, slow(feature[:-1]), returns, config.slow_scale
    )
    lead = last.deter.shape[:2]
    losses["policy"], losses["value"] = (x.mean(0).reshape(lead) for x in (actor_loss, critic_loss))
    losses["replay_value"] = behavior.replay_value_loss(
        agent.critic, slow, last, real, returns[0].reshape(lead), config
    )

    # The weighted sum, and what is worth watching.
    metrics |= {
        "entropy": policy.entropy(),
        "dream_reward": reward[1:],
        "dream_return": returns,
        "dream_value": baseline,
        "advantage": advantage,
        "weight": weight,
    }
    recon_means, loss_means, metrics = means((recon, losses, metrics))
    scales = loss_scales(config)
    total = config.recon_scale * sum((recon_means[name] for name in recon), jnp.zeros(()))
    total += sum(scales[name] * loss_means[name] for name in losses)
    metrics |= {f"loss/{name}": x for name, x in (recon_means | loss_means).items()}
    metrics |= {"loss/total": total, "return_scale": scale, "advantage_std": advantage.std()}
    return total, Outputs(recon | losses, sg(states), return_range, metrics)


@fewer_launches_on_gpu
def means(tree: Any) -> Any:
    """The mean of each array, in a tree of the same structure."""
    return jax.tree.map(jnp.mean, tree)


def loss_scales(config: Config) -> dict[str, float]:
    """Weight of each loss; reconstructions have `recon_scale`."""
    names = ("reward", "cont", "dyn", "rep", "policy", "value", "replay_value")
    return {name: getattr(config, f"{name}_scale") for name in names}
