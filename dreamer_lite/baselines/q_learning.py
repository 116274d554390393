"""Q-learning with a replay buffer, a model-free off-policy agent for discrete actions: notebook 11.

It is a deep Q-network (Mnih et al. 2015) with double Q-learning (van Hasselt et al. 2016,
arXiv:1509.06461), n-step returns as in Rainbow (Hessel et al. 2018, arXiv:1710.02298), and a target
network that is an exponential moving average. Environments, widths, the buffer's capacity, the
replayed steps of an update (B * T) and the replay ratio (`train_ratio`) are those of `Config`, so
that it replays exactly as much as a Dreamer of the same settings does.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from dreamer_lite.agent.agent import Params
from dreamer_lite.agent.layers import Linear, Mlp, Rng
from dreamer_lite.agent.networks import Encoder, Observation
from dreamer_lite.baselines import common
from dreamer_lite.config import Config
from dreamer_lite.training.loop import Driver, fuse, interleave
from dreamer_lite.training.state import EnvState
from dreamer_lite.worlds.base import Space, TimeStep, World

Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The agent's own hyperparameters; everything that Dreamer has too stands in `Config`."""

    n_step: int = 3  # rewards that a target sums before it bootstraps
    learning_rate: float = 1e-3
    discount: float = 0.99
    target_rate: float = 0.01  # of the moving average, per update
    explore_steps: int = 5_000  # agent steps in which ε falls from 1 to `epsilon`
    epsilon: float = 0.01  # probability of a uniformly random action afterwards
    max_norm: float = 10.0  # of the whole gradient


class QNetwork(nnx.Module):
    """An encoder, and on it one action value per action."""

    def __init__(self, obs_space: dict[str, Space], action_space: Space, config: Config, rng: Rng):
        self.encoder = Encoder(obs_space, config, rng)
        self.mlp = Mlp(self.encoder.size, config.units, config.value_layers, rng)
        self.values = Linear(config.units, action_space.classes, rng, 0.01)

    def __call__(self, obs: Observation) -> jax.Array:
        """Observations (...) to action values (..., A)."""
        return self.values(self.mlp(self.encoder(obs)))


def q_target(
    reward: jax.Array,
    is_terminal: jax.Array,
    online: jax.Array,
    target: jax.Array,
    discount: float | jax.Array,
) -> jax.Array:
    """The target of double Q-learning; (B,), (B,), (B, A), (B, A) -> (B,).

        y = r + γ (1 - terminal) Q_target(s', a*),  a* = argmax_a Q_online(s', a)

    van Hasselt et al. 2016, Eq. 4. After n steps, r is the sum of n discounted rewards, s' the
    state n steps later and γ the discount factor to the power of n.
    """
    assert reward.shape == is_terminal.shape == online.shape[:-1] == target.shape[:-1]
    best = jnp.argmax(online, -1)
    value = jnp.take_along_axis(target, best[..., None], -1)[..., 0]
    return reward + discount * (1.0 - is_terminal) * value


class Return(NamedTuple):
    """The rewards of up to n steps, and what they are bootstrapped from; all (B,)."""

    reward: jax.Array  # their discounted sum
    is_terminal: jax.Array  # 1 if a terminal state was reached: there is nothing to bootstrap from
    discount: jax.Array  # of the value after the last of them
    steps: jax.Array  # int32, how many they are: n, or fewer if the episode ended


def n_step_return(
    reward: jax.Array, is_last: jax.Array, is_terminal: jax.Array, discount: float
) -> Return:
    """Rewards after time step 0 of sequences (n+1, B), as far as its episode goes.

        R = Σ_k γ^(k-1) r_k,  k = 1 ... m,  m = n or the first k that is a last time step

    A time limit (last, not terminal) ends the sum too, and is bootstrapped from its observation.
    """
    powers = discount ** jnp.arange(len(reward) - 1)[:, None]
    running = jnp.cumprod(jnp.concatenate([jnp.ones_like(reward[:1]), 1.0 - is_last[1:-1]]), 0)
    steps = running.sum(0).astype(jnp.int32)
    ended = (running * is_terminal[1:]).sum(0)
    return Return((powers * running * reward[1:]).sum(0), ended, discount**steps, steps)


class Replay(NamedTuple):
    """A ring of L time steps for each of W environments; step i of a stream lies at i % L."""

    timesteps: TimeStep  # (L, W, ...)
    action: jax.Array  # (L, W) int32, chosen after this observation
    added: jax.Array  # () int32, time steps ever added to each stream


class Transitions(NamedTuple):
    """What an update learns from, (B, ...)."""

    obs: Observation
    action: jax.Array  # (B,) int32
    ahead: Return
    next_obs: Observation  # `ahead.steps` later
    weight: jax.Array  # (B,) 0 for actions that a reset ignored, else 1


def add(replay: Replay, timestep: TimeStep, action: jax.Array) -> Replay:
    """Append one time step of all W environments and its action."""
    place = replay.added % len(replay.action)
    timesteps = jax.tree.map(lambda ring, x: ring.at[place].set(x), replay.timesteps, timestep)
    return Replay(timesteps, replay.action.at[place].set(action), replay.added + 1)


def sample(replay: Replay, count: int, settings: Settings, key: jax.Array) -> Transitions:
    """`count` transitions, uniformly over the buffer, with replacement. The key is consumed.

    The ring must hold n + 1 time steps.
    """
    length, worlds = replay.action.shape
    start_key, world_key = jax.random.split(key)
    oldest = jnp.maximum(0, replay.added - length)
    start = jax.random.randint(start_key, (count,), oldest, replay.added - settings.n_step)
    world = jax.random.randint(world_key, (count,), 0, worlds)
    index = (start + jnp.arange(settings.n_step + 1)[:, None]) % length
    steps = replay.timesteps
    reward, is_last, is_terminal = (
        x[index, world] for x in (steps.reward, steps.is_last, steps.is_terminal)
    )
    ahead = n_step_return(reward, is_last, is_terminal, settings.discount)
    now, later = index[0], (start + ahead.steps) % length
    obs = jax.tree.map(lambda x: x[now, world], steps.obs)
    next_obs = jax.tree.map(lambda x: x[later, world], steps.obs)
    weight = 1.0 - steps.is_last[now, world]
    return Transitions(obs, replay.action[now, world], ahead, next_obs, weight)


def loss(
    online: QNetwork,
    target: QNetwork,
    batch: Transitions,
    target_of: Callable[..., jax.Array] = q_target,
) -> tuple[jax.Array, Metrics]:
    """Huber loss of the temporal-difference error, and metrics. `target` gets no gradient."""
    q = jnp.take_along_axis(online(batch.obs), batch.action[:, None], -1)[:, 0]
    next_q, ahead = online(batch.next_obs), batch.ahead
    y = target_of(ahead.reward, ahead.is_terminal, next_q, target(batch.next_obs), ahead.discount)
    each = optax.huber_loss(q, jax.lax.stop_gradient(y))
    parts = {"loss/q": each, "q": q, "td_error": jnp.abs(y - q)}
    means = {name: common.weighted_mean(part, batch.weight) for name, part in parts.items()}
    return means["loss/q"], means


class State(NamedTuple):
    """The state of a run. With `seeds` = N > 1 every array has a leading axis (N, ...)."""

    params: Params
    target: Params  # exponential moving average of `params`
    optimizer: Any  # optax's
    replay: Replay
    envs: EnvState  # the environments; the policy has no recurrent state (`carry`)
    key: jax.Array  # constant; every time step and every update folds its own number in
    steps: jax.Array  # () int32, time steps of each environment, as in `RunState`
    updates: jax.Array  # () int32, gradient steps


class Program(NamedTuple):
    """What a run is computed with: no arrays, closed over by jitted functions."""

    config: Config
    settings: Settings
    world: World
    target_of: Callable[..., jax.Array]
    graph: Any  # of a `QNetwork`
    optimizer: optax.GradientTransformation

    def network(self, params: Params) -> QNetwork:
        return nnx.merge(self.graph, params)


def make_program(
    config: Config,
    settings: Settings,
    world: World,
    target_of: Callable[..., jax.Array] = q_target,
) -> Program:
    """The program of a run. `target_of` replaces `q_target`: notebook 11 passes its reader's.

    Raises:
      ValueError: continuous actions, or more steps in a target than the config's `length`.
    """
    if not world.action_space.is_discrete:
        raise ValueError(f"{world.name} has continuous actions: Q-learning needs discrete ones.")
    if not 1 <= settings.n_step <= config.length:
        raise ValueError(
            f"n_step is {settings.n_step}: it must lie between 1 and length = {config.length}."
        )
    graph = nnx.graphdef(QNetwork(world.obs_space, world.action_space, config, None))
    return Program(config, settings, world, target_of, graph, common.make_optimizer(settings))


def make_driver(program: Program) -> Driver:
    """One compiled, donated program, for `training.loop.train`.

    It collects and learns by `config.schedule`: `train_ratio` is the replay ratio.
    """
    spaces = program.world.obs_space, program.world.action_space

    def parameters(seed: int) -> Params:
        network = QNetwork(*spaces, program.config, np.random.default_rng(seed))
        return nnx.to_pure_dict(nnx.state(network))

    def advance(state: State, times: jax.Array, steps: jax.Array, updates: jax.Array):
        collect_once = functools.partial(collect, program)
        learn_once = functools.partial(learn, program)
        return interleave(collect_once, learn_once, state, times, steps, updates)

    return fuse(program.config, parameters, functools.partial(begin, program), advance)


def begin(program: Program, params: Params, key: jax.Array) -> State:
    """All environments reset, an empty buffer, a target network that is a copy."""
    config, zero = program.config, jnp.int32(0)
    world_key, run_key = jax.random.split(key)
    envs = common.reset(program.world, config, world_key)
    length = config.capacity // config.worlds
    ring = jax.tree.map(lambda x: jnp.zeros((length, *x.shape), x.dtype), envs.timestep)
    replay = Replay(ring, jnp.zeros((length, config.worlds), jnp.int32), zero)
    optimizer = program.optimizer.init(params)
    return State(
        params, jax.tree.map(jnp.copy, params), optimizer, replay, envs, run_key, zero, zero
    )


def epsilon(program: Program, steps: jax.Array) -> jax.Array:
    """Probability of a random action after `steps` time steps of each environment; a scalar."""
    done = steps * (program.config.worlds / program.settings.explore_steps)
    return jnp.maximum(program.settings.epsilon, 1 - (1 - program.settings.epsilon) * done)


def collect(program: Program, state: State) -> State:
    """One time step of all W environments: act ε-greedily, store, step."""
    timestep = state.envs.timestep
    key = jax.random.fold_in(jax.random.fold_in(state.key, 0), state.steps)
    explore_key, action_key, world_key = jax.random.split(key, 3)
    greedy = jnp.argmax(program.network(state.params)(timestep.obs), -1).astype(jnp.int32)
    uniform = jax.random.randint(action_key, greedy.shape, 0, program.world.action_space.classes)
    explores = jax.random.uniform(explore_key, greedy.shape) < epsilon(program, state.steps)
    action = jnp.where(explores, uniform, greedy)
    envs = common.step(program.world, state.envs, action, world_key)
    replay = add(state.replay, timestep, action)
    return state._replace(envs=envs, replay=replay, steps=state.steps + 1)


def learn(program: Program, state: State) -> tuple[State, Metrics]:
    """One gradient step on a batch from the buffer; the target network follows."""
    config, settings = program.config, program.settings
    key = jax.random.fold_in(jax.random.fold_in(state.key, 1), state.updates)
    batch = sample(state.replay, config.batch * config.length, settings, key)
    target = program.network(state.target)
    gradient, metrics = jax.grad(
        lambda params: loss(program.network(params), target, batch, program.target_of), has_aux=True
    )(state.params)
    params, optimizer = common.make_step(program.optimizer, gradient, state.optimizer, state.params)
    average = optax.incremental_update(params, state.target, settings.target_rate)
    state = state._replace(params=params, target=average, optimizer=optimizer)
    return state._replace(updates=state.updates + 1), metrics
