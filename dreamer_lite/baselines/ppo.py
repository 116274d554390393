"""PPO, an agent without a world model, on the same worlds and of the same widths: notebook 10.

It lives some rows, judges each action by what followed, makes a few passes over these rows in
which no action may become much likelier or rarer, and throws the rows away (Schulman et al. 2017,
arXiv:1707.06347).
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
from dreamer_lite.agent.networks import Encoder, Linear, Mlp, Observation
from dreamer_lite.config import Config
from dreamer_lite.training.progress import Limits, keep_score
from dreamer_lite.training.progress import check_finite as check_losses
from dreamer_lite.training.progress import make_record as record_of
from dreamer_lite.training.state import EPISODES, EnvState
from dreamer_lite.training.xla import compiler_options
from dreamer_lite.worlds.base import Space, TimeStep, World, next_timestep

Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is PPO's own; worlds (W), seeds and widths of the networks are those of `Config`."""

    length: int = 32  # rows lived before each learning (T)
    epochs: int = 4  # passes over them
    minibatches: int = 8  # gradient steps of a pass; a divisor of T * W
    learning_rate: float = 1e-3
    discount: float = 0.99
    lam: float = 0.95
    clip: float = 0.2  # how far from 1 the ratio of probabilities may go
    entropy: float = 0.01  # advantage per nat
    value_scale: float = 0.5
    max_norm: float = 0.5  # of the whole gradient


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
        """One observation (...) to the policy and the value (...)."""
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
    """Generalised advantage estimation (Schulman et al. 2016, Eq. 16), all (T+1, W) -> (T, W).

        d_t = r_{t+1} + discount (1 - terminal_{t+1}) v_{t+1} - v_t
        A_t = d_t + discount lam (1 - last_{t+1}) A_{t+1},  A_T = 0

    A row that a time limit cut still has its value; nothing runs back from the episode after it.
    What is returned for a last step means nothing: its action was ignored (`base.next_timestep`).
    """
    assert reward.ndim and reward.shape == is_last.shape == is_terminal.shape == value.shape
    surprise = reward[1:] + discount * (1.0 - is_terminal[1:]) * value[1:] - value[:-1]
    keep = discount * lam * (1.0 - is_last[1:])

    def step(later, inputs):
        surprise, keep = inputs
        now = surprise + keep * later
        return now, now

    return jax.lax.scan(step, jnp.zeros_like(value[-1]), (surprise, keep), reverse=True)[1]


def weighted_mean(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean of x (...) by weights (...), a scalar; 0 where all weights are 0."""
    return jnp.sum(weight * x) / jnp.maximum(1.0, jnp.sum(weight))


def normalise(advantage: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean 0 and deviation 1 among those of weight 1, 0 elsewhere; (...) twice -> (...)."""
    centred = advantage - weighted_mean(advantage, weight)
    deviation = jnp.sqrt(weighted_mean(centred**2, weight))
    return weight * centred / (deviation + 1e-8)


def clipped_loss(
    log_prob: jax.Array, old_log_prob: jax.Array, advantage: jax.Array, clip: float
) -> jax.Array:
    """-min(ratio A, clip(ratio, 1 - clip, 1 + clip) A), ratio = pi / pi_old (Eq. 7); (...)."""
    ratio = jnp.exp(log_prob - old_log_prob)
    bounded = jnp.clip(ratio, 1 - clip, 1 + clip)
    return -jnp.minimum(ratio * advantage, bounded * advantage)


class Samples(NamedTuple):
    """What one learning is done on: a number per action taken, (n, ...)."""

    obs: Observation
    action: jax.Array  # (n, A) as sampled: one-hot or vector
    log_prob: jax.Array  # (n,) when it was sampled
    advantage: jax.Array  # (n,)
    returns: jax.Array  # (n,)
    weight: jax.Array  # (n,) 0 for actions that a reset ignored, else 1


def loss(agent: ActorCritic, samples: Samples, settings: Settings) -> tuple[jax.Array, Metrics]:
    """PPO's loss, with entropy bonus and squared error of the value (Eq. 9); and its parts."""
    policy, value = agent(samples.obs)
    advantage = normalise(samples.advantage, samples.weight)
    log_prob = policy.log_prob(samples.action)
    surrogate = clipped_loss(log_prob, samples.log_prob, advantage, settings.clip)
    parts = {
        "loss/policy": surrogate,
        "loss/value": 0.5 * (value - samples.returns) ** 2,
        "entropy": policy.entropy(),
        "clipped": jnp.abs(jnp.exp(log_prob - samples.log_prob) - 1) > settings.clip,
    }
    means = {name: weighted_mean(part, samples.weight) for name, part in parts.items()}
    total = means["loss/policy"] + settings.value_scale * means["loss/value"]
    return total - settings.entropy * means["entropy"], means


def make_optimizer(settings: Settings) -> optax.GradientTransformation:
    """Adam behind a limit on the norm of the whole gradient; one vector, as it compiles sooner."""
    return optax.flatten(
        optax.chain(
            optax.clip_by_global_norm(settings.max_norm),
            optax.adam(settings.learning_rate, eps=1e-5),
        )
    )


class State(NamedTuple):
    """All of a run. With `seeds` = N > 1 every array has a leading axis (N, ...)."""

    params: Params
    optimizer: Any  # optax's
    envs: EnvState  # the worlds in progress; there is no memory (`carry`)
    key: jax.Array  # never changes; every row and every learning folds its own number in
    rows: jax.Array  # () int32, rows lived by each world
    updates: jax.Array  # () int32, gradient steps


class Ppo(NamedTuple):
    """The functions that make up an agent in a world."""

    init: Callable[[int], State]  # seed -> state
    advance: Callable[[State, int], tuple[State, Metrics]]  # so many rounds; donates the state
    merge: Callable[[Params], ActorCritic]  # of one seed


def make_ppo(config: Config, settings: Settings, world: World) -> Ppo:
    """PPO in a JAX world as one compiled, donated program, mapped over `config.seeds` agents.

    A round lives T rows of all W worlds, then learns from them. Raises ValueError if the
    minibatches do not divide T * W.
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

    def begin(params: Params, key: jax.Array) -> State:
        world_key, run_key = jax.random.split(key)
        states, row = jax.vmap(world.reset)(jax.random.split(world_key, config.worlds))
        zero = jnp.int32(0)
        envs = EnvState(states, row, None, jnp.zeros(config.worlds), jnp.zeros(EPISODES), zero)
        return State(params, optimizer.init(params), envs, run_key, zero, zero)

    def once(state: State, _: None) -> tuple[State, Metrics]:
        agent = nnx.merge(graph, state.params)
        state, samples = live(agent, state, world, settings)
        return learn(lambda params: nnx.merge(graph, params), optimizer, state, samples, settings)

    def advance(state: State, rounds: jax.Array) -> tuple[State, Metrics]:
        def more(_, carry):
            state, metrics = once(carry[0], None)
            return state, jax.tree.map(jnp.add, carry[1], metrics)

        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape), jax.eval_shape(once, state, None)[1])
        state, sums = jax.lax.fori_loop(0, rounds, more, (state, zeros))
        return state, jax.tree.map(lambda x: x / jnp.maximum(1, rounds), sums)

    many = config.seeds > 1
    starting = jax.jit(jax.vmap(begin) if many else begin)
    going = jax.jit(
        jax.vmap(advance, (0, None)) if many else advance,
        donate_argnums=0,
        compiler_options=compiler_options(),
    )

    def init(seed: int) -> State:
        begun = [
            (nnx.to_pure_dict(nnx.state(build(s))), jax.random.key(s))
            for s in range(seed, seed + config.seeds)
        ]
        return starting(*(jax.tree.map(lambda *x: jnp.stack(x), *begun) if many else begun[0]))

    return Ppo(init, going, lambda params: nnx.merge(graph, params))


def live(
    agent: ActorCritic, state: State, world: World, settings: Settings
) -> tuple[State, Samples]:
    """T rows of every world under one policy, and what each of its actions was worth."""
    worlds = len(state.envs.score)

    def step(state: State, _: None):
        row = state.envs.row
        key = jax.random.fold_in(jax.random.fold_in(state.key, 0), state.rows)
        act_key, world_key = jax.random.split(key)
        policy, value = agent(row.obs)
        sample = policy.sample(act_key)
        discrete = world.action_space.is_discrete
        action = jnp.argmax(sample, -1).astype(jnp.int32) if discrete else sample
        keys = jax.random.split(world_key, worlds)
        following, new = jax.vmap(next_timestep, (None, 0, 0, 0, 0))(
            world, state.envs.world, row, action, keys
        )
        envs = keep_score(state.envs._replace(world=following, row=new))
        state = state._replace(envs=envs, rows=state.rows + 1)
        return state, (row, value, sample, policy.log_prob(sample))

    state, (rows, value, action, log_prob) = jax.lax.scan(step, state, length=settings.length)
    last: TimeStep = state.envs.row
    row, value = jax.tree.map(
        lambda before, end: jnp.concatenate([before, end[None]]),
        (rows._replace(obs={}), value), (last._replace(obs={}), agent(last.obs)[1]),
    )  # fmt: skip
    advantage = advantages(
        row.reward, row.is_last, row.is_terminal, value, settings.discount, settings.lam
    )
    weight = 1.0 - rows.is_last
    samples = Samples(rows.obs, action, log_prob, advantage, advantage + value[:-1], weight)
    return state, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples)


def learn(
    merge: Callable[[Params], ActorCritic],
    optimizer: optax.GradientTransformation,
    state: State,
    samples: Samples,
    settings: Settings,
) -> tuple[State, Metrics]:
    """A few passes over the samples in shuffled minibatches; the state and mean metrics."""
    steps = settings.epochs * settings.minibatches
    key = jax.random.fold_in(jax.random.fold_in(state.key, 1), state.updates)
    count = len(samples.weight)
    order = jnp.concatenate(
        [jax.random.permutation(k, count) for k in jax.random.split(key, settings.epochs)]
    )

    def step(carry, places):
        params, optimizer_state = carry
        part = jax.tree.map(lambda x: x[places], samples)
        slope, metrics = jax.grad(lambda p: loss(merge(p), part, settings), has_aux=True)(params)
        change, optimizer_state = optimizer.update(slope, optimizer_state, params)
        return (jax.tree.map(jnp.add, params, change), optimizer_state), metrics

    carry = state.params, state.optimizer
    (params, moved), metrics = jax.lax.scan(step, carry, order.reshape(steps, -1))
    state = state._replace(params=params, optimizer=moved, updates=state.updates + steps)
    return state, jax.tree.map(jnp.mean, metrics)


def train(
    config: Config, settings: Settings, world: World, limits: Limits, rounds: int = 5
) -> Iterator[tuple[dict[str, Any], State]]:
    """Train until a limit is reached; after the first round and then every `rounds`, a record.

    Records are those of `progress.make_record`. The state is donated when the generator goes on.
    Raises FloatingPointError when a loss is no longer finite.
    """
    ppo, start = make_ppo(config, settings, world), time.perf_counter()
    state, lived, updates, times = ppo.init(config.seed), 0, 0, 1
    each = settings.epochs * settings.minibatches
    while not limits.reached(time.perf_counter() - start, lived * config.worlds, updates):
        before = time.perf_counter()
        state, metrics = ppo.advance(state, times)
        metrics = jax.device_get(metrics)
        lived, updates = lived + times * settings.length, updates + times * each
        speed = times * each / (time.perf_counter() - before)
        check_losses(metrics, updates, config)
        state_of_run: Any = state  # has the counters that a record is made of
        seconds = time.perf_counter() - start
        yield record_of(config, state_of_run, metrics, seconds, speed), state
        left = [rounds]
        if limits.updates is not None:
            left.append(-(-(limits.updates - updates) // each))
        if limits.steps is not None:
            left.append(-(-(limits.steps // config.worlds - lived) // settings.length))
        times = max(1, min(left))
