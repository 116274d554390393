"""PPO, a model-free on-policy agent, on the same environments and of the same widths: notebook 11.

It collects a rollout with the current policy, makes a few passes of gradient steps over it, and
then discards the rollout. The clipped ratio keeps the new policy near the old one (Schulman et al.
2017, "Proximal Policy Optimization Algorithms", arXiv:1707.06347).
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from dreamer_lite.agent.agent import Params, action_size
from dreamer_lite.agent.distributions import BoundedNormal, OneHot
from dreamer_lite.agent.layers import Linear, Mlp
from dreamer_lite.agent.networks import Encoder, Observation
from dreamer_lite.baselines import common
from dreamer_lite.baselines.common import make_optimizer, make_step, weighted_mean
from dreamer_lite.config import Config
from dreamer_lite.training.loop import fuse, learn_times, zero_metrics
from dreamer_lite.training.progress import Limits, check_finite, make_record
from dreamer_lite.training.state import EnvState
from dreamer_lite.worlds.base import Space, TimeStep, World

Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Settings:
    """PPO's own hyperparameters; environments (W), seeds and widths are those of `Config`."""

    length: int = 32  # time steps of a rollout (T)
    epochs: int = 4  # passes over a rollout
    minibatches: int = 8  # gradient steps of a pass; a divisor of T * W
    learning_rate: float = 1e-3
    discount: float = 0.99
    lam: float = 0.95
    clip: float = 0.2  # ε, how far from 1 the ratio of probabilities may go
    entropy: float = 0.01  # entropy coefficient, advantage per nat
    value_scale: float = 0.5
    max_norm: float = 0.5  # of the whole gradient

    @property
    def updates(self) -> int:
        """Gradient steps on one rollout."""
        return self.epochs * self.minibatches


class ActorCritic(nnx.Module):
    """What PPO learns: an encoder, and on it a policy and a value."""

    def __init__(
        self,
        obs_space: dict[str, Space],
        action_space: Space,
        config: Config,
        rng: np.random.Generator,
    ):
        self.config, self.discrete = config, action_space.is_discrete
        self.encoder = Encoder(obs_space, config, rng)
        size, outputs = self.encoder.size, action_size(action_space)
        self.actor = Mlp(size, config.units, config.policy_layers, rng)
        self.center = Linear(config.units, outputs, rng, 0.01)  # of discrete actions the logits
        if not self.discrete:
            self.spread = Linear(config.units, outputs, rng, 0.01)
        self.critic = Mlp(size, config.units, config.value_layers, rng)
        self.value = Linear(config.units, 1, rng)

    def __call__(self, obs: Observation) -> tuple[OneHot | BoundedNormal, jax.Array]:
        """Observations (...) to the policy and the value (...)."""
        embed = self.encoder(obs)
        x = self.actor(embed)
        if self.discrete:
            policy = OneHot.mix(self.center(x))
        else:
            bounds = self.config.min_std, self.config.max_std
            policy = BoundedNormal.bound(self.center(x), self.spread(x), *bounds)
        return policy, self.value(self.critic(embed))[..., 0]


def advantages(
    reward: jax.Array,
    is_last: jax.Array,
    is_terminal: jax.Array,
    value: jax.Array,
    discount: float,
    lam: float,
) -> jax.Array:
    """Generalised advantage estimation, all (T+1, W) -> (T, W).

        δ_t = r_{t+1} + γ (1 - terminal_{t+1}) v_{t+1} - v_t
        A_t = δ_t + γ λ (1 - last_{t+1}) A_{t+1},  A_T = 0

    Schulman et al. 2016 (arXiv:1506.02438), Eq. 16, cut after T steps as in Schulman et al. 2017,
    Eqs. 11 and 12. An episode that a time limit cut is bootstrapped from its last value; nothing
    flows back from the episode after it. The result for a last time step has no meaning: its
    action was ignored (`base.next_timestep`).
    """
    assert reward.ndim and reward.shape == is_last.shape == is_terminal.shape == value.shape
    delta = reward[1:] + discount * (1.0 - is_terminal[1:]) * value[1:] - value[:-1]
    decay = discount * lam * (1.0 - is_last[1:])

    def step(later, inputs):
        delta, decay = inputs
        advantage = delta + decay * later
        return advantage, advantage

    return jax.lax.scan(step, jnp.zeros_like(value[-1]), (delta, decay), reverse=True)[1]


def normalise(advantage: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean 0 and deviation 1 among those of weight 1, 0 elsewhere; (...) twice -> (...)."""
    centred = advantage - weighted_mean(advantage, weight)
    deviation = jnp.sqrt(weighted_mean(centred**2, weight))
    return weight * centred / (deviation + 1e-8)


def clipped_loss(
    log_prob: jax.Array, old_log_prob: jax.Array, advantage: jax.Array, clip: float
) -> jax.Array:
    """The clipped surrogate objective, negated (Schulman et al. 2017, Eq. 7); all (...).

    -L = -min(ρ A, clip(ρ, 1 - ε, 1 + ε) A),  ρ = π(a|s) / π_old(a|s)
    """
    ratio = jnp.exp(log_prob - old_log_prob)
    bounded = jnp.clip(ratio, 1 - clip, 1 + clip)
    return -jnp.minimum(ratio * advantage, bounded * advantage)


class Samples(NamedTuple):
    """A rollout as PPO learns from it: one entry per action, (n, ...)."""

    obs: Observation
    action: jax.Array  # (n, A) as sampled: one-hot or vector
    log_prob: jax.Array  # (n,) when it was sampled
    advantage: jax.Array  # (n,)
    returns: jax.Array  # (n,)
    weight: jax.Array  # (n,) 0 for actions that a reset ignored, else 1


class Rules(NamedTuple):
    """The two functions that make it PPO; notebook 11 passes those that its reader wrote."""

    advantages: Callable[..., jax.Array] = advantages
    clipped_loss: Callable[..., jax.Array] = clipped_loss


RULES = Rules()


def loss(
    agent: ActorCritic, samples: Samples, settings: Settings, rules: Rules = RULES
) -> tuple[jax.Array, Metrics]:
    """PPO's loss, -L^CLIP + c_1 L^VF - c_2 S (Schulman et al. 2017, Eq. 9), and its parts."""
    policy, value = agent(samples.obs)
    advantage = normalise(samples.advantage, samples.weight)
    log_prob = policy.log_prob(samples.action)
    parts = {
        "loss/policy": rules.clipped_loss(log_prob, samples.log_prob, advantage, settings.clip),
        "loss/value": 0.5 * (value - samples.returns) ** 2,
        "entropy": policy.entropy(),
        "clipped": jnp.abs(jnp.exp(log_prob - samples.log_prob) - 1) > settings.clip,
    }
    means = {name: weighted_mean(part, samples.weight) for name, part in parts.items()}
    total = means["loss/policy"] + settings.value_scale * means["loss/value"]
    return total - settings.entropy * means["entropy"], means


class State(NamedTuple):
    """The state of a run. With `seeds` = N > 1 every array has a leading axis (N, ...)."""

    params: Params
    optimizer: Any  # optax's
    envs: EnvState  # the environments; a PPO policy has no recurrent state (`carry`)
    key: jax.Array  # constant; every time step and every update folds its own number in
    steps: jax.Array  # () int32, time steps of each environment, as in `RunState`
    updates: jax.Array  # () int32, gradient steps


class Ppo(NamedTuple):
    """The functions of an agent in an environment."""

    init: Callable[[int], State]  # seed -> state
    advance: Callable[[State, int], tuple[State, Metrics]]  # so many rounds; donates the state
    merge: Callable[[Params], ActorCritic]  # of one seed


def make_ppo(config: Config, settings: Settings, world: World, rules: Rules = RULES) -> Ppo:
    """PPO in a JAX world as one compiled, donated program, mapped over `config.seeds` agents.

    A round collects T time steps of all W environments, then learns from them.

    Raises:
      ValueError: the minibatches do not divide T * W.
    """
    count = settings.length * config.worlds
    if count % settings.minibatches:
        raise ValueError(
            f"minibatches is {settings.minibatches}: it must divide length * worlds = {count}."
        )
    optimizer = make_optimizer(settings)

    def build(seed: int) -> ActorCritic:
        rng = np.random.default_rng(seed)
        return ActorCritic(world.obs_space, world.action_space, config, rng)

    graph = nnx.graphdef(build(0))

    def merge(params: Params) -> ActorCritic:
        return nnx.merge(graph, params)

    def begin(params: Params, key: jax.Array) -> State:
        world_key, run_key = jax.random.split(key)
        envs, zero = common.reset(world, config, world_key), jnp.int32(0)
        return State(params, optimizer.init(params), envs, run_key, zero, zero)

    def one_round(state: State) -> tuple[State, Metrics]:
        state, samples = collect(merge(state.params), state, world, settings, rules)
        return learn(merge, optimizer, state, samples, settings, rules)

    def advance(state: State, rounds: jax.Array) -> tuple[State, Metrics]:
        carry = state, zero_metrics(one_round, state)
        state, sums = learn_times(one_round, carry, rounds)
        return state, jax.tree.map(lambda x: x / jnp.maximum(1, rounds), sums)

    driver: Any = fuse(
        config, lambda seed: nnx.to_pure_dict(nnx.state(build(seed))), begin, advance
    )
    return Ppo(driver.init, driver.advance, merge)


def collect(
    agent: ActorCritic, state: State, world: World, settings: Settings, rules: Rules = RULES
) -> tuple[State, Samples]:
    """A rollout of T time steps in every environment, with advantages and returns."""
    discrete = world.action_space.is_discrete

    def step(state: State, _: None):
        timestep = state.envs.timestep
        key = jax.random.fold_in(jax.random.fold_in(state.key, 0), state.steps)
        act_key, world_key = jax.random.split(key)
        policy, value = agent(timestep.obs)
        sample = policy.sample(act_key)
        action = jnp.argmax(sample, -1).astype(jnp.int32) if discrete else sample
        envs = common.step(world, state.envs, action, world_key)
        state = state._replace(envs=envs, steps=state.steps + 1)
        return state, (timestep, value, sample, policy.log_prob(sample))

    state, (timesteps, value, action, log_prob) = jax.lax.scan(step, state, length=settings.length)
    last: TimeStep = state.envs.timestep
    ends = [timesteps.reward, timesteps.is_last, timesteps.is_terminal, value]
    final = [last.reward, last.is_last, last.is_terminal, agent(last.obs)[1]]
    whole = (jnp.concatenate([x, y[None]]) for x, y in zip(ends, final))
    advantage = rules.advantages(*whole, settings.discount, settings.lam)
    weight = 1.0 - timesteps.is_last
    samples = Samples(timesteps.obs, action, log_prob, advantage, advantage + value, weight)
    return state, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples)


def learn(
    merge: Callable[[Params], ActorCritic],
    optimizer: optax.GradientTransformation,
    state: State,
    samples: Samples,
    settings: Settings,
    rules: Rules = RULES,
) -> tuple[State, Metrics]:
    """A few passes over the samples in shuffled minibatches; the state and mean metrics."""
    key = jax.random.fold_in(jax.random.fold_in(state.key, 1), state.updates)
    keys = jax.random.split(key, settings.epochs)
    order = jnp.concatenate([jax.random.permutation(k, len(samples.weight)) for k in keys])

    def loss_of(params, batch):
        return loss(merge(params), batch, settings, rules)

    def step(carry, indices):
        params, optimizer_state = carry
        batch = jax.tree.map(lambda x: x[indices], samples)
        grads, metrics = jax.grad(loss_of, has_aux=True)(params, batch)
        return make_step(optimizer, grads, optimizer_state, params), metrics

    carry = state.params, state.optimizer
    carry, metrics = jax.lax.scan(step, carry, order.reshape(settings.updates, -1))
    params, optimizer_state = carry
    updates = state.updates + settings.updates
    state = state._replace(params=params, optimizer=optimizer_state, updates=updates)
    return state, jax.tree.map(jnp.mean, metrics)


def train(
    config: Config,
    settings: Settings,
    world: World,
    limits: Limits,
    rounds: int = 5,
    rules: Rules = RULES,
) -> Iterator[tuple[dict[str, Any], State]]:
    """Trains until a limit is reached; yields a record after the first round, then every `rounds`.

    Records are those of `progress.make_record`. The state is donated when the generator goes on.
    Raises FloatingPointError when a loss is no longer finite.
    """
    ppo, start = make_ppo(config, settings, world, rules), time.perf_counter()
    state, timesteps, updates, count = ppo.init(config.seed), 0, 0, 1
    while not limits.reached(time.perf_counter() - start, timesteps * config.worlds, updates):
        before = time.perf_counter()
        state, metrics = ppo.advance(state, count)
        metrics = jax.device_get(metrics)
        timesteps, updates = timesteps + count * settings.length, updates + count * settings.updates
        speed = count * settings.updates / (time.perf_counter() - before)
        check_finite(metrics, updates, config)
        counters: Any = state  # has the counters that a record is made of
        seconds = time.perf_counter() - start
        yield make_record(config, counters, metrics, seconds, speed), state
        count = rounds
        if limits.updates is not None:
            count = min(count, -(-(limits.updates - updates) // settings.updates))
        if limits.steps is not None:
            left = limits.steps // config.worlds - timesteps
            count = min(count, -(-left // settings.length))
        count = max(1, count)
