"""Learning to act inside a fixed world model: the loop and the measurements of notebook 07.

`dreamer` is the reader's agent as a module, `parts.load()`, and `c` its `Config`. A world model is
the dictionary of the parameters of MODEL, a behavior those of the actor and the critic with all
that changes while they learn.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from dreamer_lite.course import data
from dreamer_lite.training.xla import compiler_options
from dreamer_lite.worlds.base import Space, World, next_timestep

MODEL = ("encoder", "rssm", "decoder", "reward", "cont")
STARTS = 64  # imagined rollouts of an update
CHUNK = 20  # updates in one call


class Behavior(NamedTuple):
    """All that changes while an actor learns inside a fixed world model."""

    params: Any  # "actor" and "critic"
    slow: Any  # the critic's, as an exponential moving average
    range: jax.Array  # (2,) percentiles of the returns
    memory: Any  # the optimizer's


def split(params: dict) -> tuple[dict, dict]:
    """An agent's parameters as (world model, actor and critic)."""
    model = {name: params[name] for name in MODEL}
    return model, {name: params[name] for name in ("actor", "critic")}


def new_agent(dreamer: Any, c: Any, world: World, seed: int) -> tuple[Any, dict]:
    """(structure, parameters) of an agent that has learned nothing."""
    graph, params = nnx.split(dreamer.Dreamer(c, world, seed))
    return graph, nnx.to_pure_dict(params)


def begin(params: dict, optimizer: Any) -> Behavior:
    """A behavior before its first update."""
    params = split(params)[1]
    slow = jax.tree.map(jnp.copy, params["critic"])
    return Behavior(params, slow, jnp.zeros(2), optimizer.init(params))


def heated(model: dict, temperature: float | jax.Array) -> dict:
    """The model with the prior's logits divided by a temperature, for imagination.

    The logits are linear in the parameters of the prior network's last layer, so it is these that
    are divided. At 1 nothing changes; towards 0 the most likely class is always sampled.
    """
    net = model["rssm"]["prior_net"]
    net = net | {"out": jax.tree.map(lambda x: x / temperature, net["out"])}
    return model | {"rssm": model["rssm"] | {"prior_net": net}}


def observer(dreamer: Any, c: Any, graph: Any) -> Callable:
    """observe(params, play, key) -> posterior states (T, N, ...) of windows without a past.

    Compiled once. The key is consumed.
    """

    @jax.jit
    def observe(params: dict, play: data.Play, key: jax.Array) -> Any:
        agent, batch = nnx.merge(graph, params), data.as_batch(dreamer, c, play)
        embed = agent.encoder.embed(batch.steps.obs)
        inputs = embed, batch.action, batch.steps.is_first
        return agent.rssm.observe(batch.start, *inputs, key)[0]

    return observe


def objective(dreamer: Any, c: Any, graph: Any) -> Callable:
    """loss(params, model, slow, old_range, start, key, temperature, shift) -> (number, extra).

    The extra are the new range and the mean return. Imagination begins in `start` (N, ...). With a
    `shift` of 1 each action is credited with the outcome of its neighbour's rollout: the negative
    control.
    """

    def loss(params, model, slow, old_range, start, key, temperature=1.0, shift=0):
        agent = nnx.merge(graph, model | params)
        dreaming = nnx.merge(graph, heated(model, temperature) | params)
        slow = nnx.merge(nnx.graphdef(agent.critic), slow)
        states, actions = dreamer.imagine(dreaming, start, c.horizon, key)
        actions = jnp.roll(actions, shift, 1)
        losses, returns, new = dreamer.dream_losses(agent, slow, c, states, actions, old_range)
        return losses["policy"].mean() + losses["value"].mean(), (new, returns[0].mean())

    return loss


def trainer(dreamer: Any, loss: Callable, optimizer: Any) -> Callable:
    """learn(behavior, model, starts, key, *extra) -> (behavior, returns): CHUNK updates.

    Compiled once. `loss` is of the form that `objective` returns; `starts` (n, ...) are the states
    to draw from.
    """

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def learn(behavior: Behavior, model: dict, starts: Any, key: jax.Array, *extra: Any) -> tuple:
        def update(old: Behavior, key: jax.Array) -> tuple:
            start_key, key = jax.random.split(key)
            index = jax.random.randint(start_key, (STARTS,), 0, len(starts.deter))
            start = jax.tree.map(lambda x: x[index], starts)
            params, memory, (new_range, news) = dreamer.train_step(
                loss, optimizer, old.params, old.memory, model, old.slow, old.range, start, key,
                *extra,
            )  # fmt: skip
            slow = jax.tree.map(lambda s, p: 0.98 * s + 0.02 * p, old.slow, params["critic"])
            return Behavior(params, slow, new_range, memory), news

        return jax.lax.scan(update, behavior, jax.random.split(key, CHUNK))

    return learn


def examiner(dreamer: Any, c: Any, graph: Any, world: World, length: int) -> Callable:
    """examine(params, key, count) -> (real, imagined) returns (count,) from the same first steps.

    Real: the sum of rewards of `count` episodes of at most `length` actions. Imagined: the model
    observes the first time step only, the actor acts in it for `length` steps, and each predicted
    reward is weighted with the predicted probability that the episode still goes on. Neither is
    discounted. The key is consumed.
    """

    def begin(params: dict, world_key: jax.Array, key: jax.Array, count: int) -> tuple:
        agent = nnx.merge(graph, params)
        state, steps = jax.vmap(world.reset)(jax.random.split(world_key, count))
        size = world.action_space.classes or world.action_space.shape[0]
        action = jnp.zeros((count, size))
        latent, action = dreamer.act(agent, agent.rssm.initial(count), action, steps, key)
        return agent, state, steps, latent, action

    @functools.partial(jax.jit, static_argnums=2, compiler_options=compiler_options())
    def examine(params: dict, key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
        world_key, act_key, dream_key, key = jax.random.split(key, 4)
        agent, state, steps, latent, action = begin(params, world_key, act_key, count)

        def step(carry: tuple, key: jax.Array) -> tuple:
            state, steps, latent, action, going, total = carry
            step_key, act_key = jax.random.split(key)
            choice = action.argmax(-1) if world.action_space.is_discrete else action
            move = jax.vmap(functools.partial(next_timestep, world))
            state, steps = move(state, steps, choice, jax.random.split(step_key, count))
            total += going * steps.reward
            going = going & ~steps.is_last
            latent, action = dreamer.act(agent, latent, action, steps, act_key)
            return (state, steps, latent, action, going, total), None

        carry = state, steps, latent, action, jnp.ones(count, bool), jnp.zeros(count)
        real = jax.lax.scan(step, carry, jax.random.split(key, length))[0][-1]
        states, _ = dreamer.imagine(agent, latent, length, dream_key)
        reward, alive = outlook(dreamer, c, agent, jax.tree.map(lambda x: x[1:], states))
        before = jnp.concatenate([jnp.ones_like(alive[:1]), alive[:-1]])
        return real, jnp.sum(before * reward, 0)

    return examine


def outlook(dreamer: Any, c: Any, agent: Any, states: Any) -> tuple[jax.Array, jax.Array]:
    """Of imagined states (H, N, ...): predicted rewards, and probabilities to be alive after each.

    The continue head predicts the discount as well: it is divided out.
    """
    feat = dreamer.feature(states)
    cont = jax.nn.sigmoid(agent.cont(feat)[..., 0]) / c.discount
    return dreamer.two_hot_mean(agent.reward(feat)), jnp.cumprod(jnp.minimum(1.0, cont), 0)


def interval(values: Any) -> tuple[float, float]:
    """(mean, half of the 95 % confidence interval) of independent numbers: 1.96 standard errors."""
    values = np.asarray(values, np.float64)
    return float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(values.size))


def aim(
    dreamer: Any, c: Any, loss: Callable, target: float, entropy: float, seed: int = 0
) -> jax.Array:
    """Mean and standard deviation (400, 2) of a Gaussian policy that is paid best at `target`.

    The reward of an action a is -(a - target)^2, its mean over a batch the baseline. `loss` is of
    the form of `actor_loss`; an actor in one state, an update with Adam for each of 400 batches.
    """
    space = Space((1,), "float32")
    graph, weights = nnx.split(dreamer.Actor(c, space, 4, np.random.default_rng(seed)))
    feat, optimizer = jnp.ones((64, 4)), optax.adam(0.02)
    params = nnx.to_pure_dict(weights)

    def update(carry: tuple, key: jax.Array) -> tuple:
        params, memory = carry
        policy = nnx.merge(graph, params).policy(feat)
        action = policy.sample(key)
        reward = -((action[:, 0] - target) ** 2)

        def mean_loss(params: Any) -> jax.Array:
            policy = nnx.merge(graph, params).policy(feat)
            return loss(policy, action, reward - reward.mean(), entropy).mean()

        step, memory = optimizer.update(jax.grad(mean_loss)(params), memory, params)
        now = jnp.concatenate([policy.mean[0], policy.std[0]])
        return (optax.apply_updates(params, step), memory), now

    keys = jax.random.split(jax.random.key(seed), 400)
    start = params, optimizer.init(params)
    return jax.jit(lambda keys: jax.lax.scan(update, start, keys)[1])(keys)
