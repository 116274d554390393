"""Players: functions that act in W environments, with an agent's policy or at random.

For JAX environments, environments and player run inside one compiled scan. For those on the host,
only the choice of actions is compiled. Used by `rollouts` and `dreams`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.agent.agent import Agent, Params, PolicyCarry, act, initial_carry, make_agent
from dreamer_lite.agent.rssm import State
from dreamer_lite.config import Config
from dreamer_lite.training import streams
from dreamer_lite.training.hosted import EnvPool
from dreamer_lite.worlds import AnyWorld, is_hosted
from dreamer_lite.worlds.base import Space, TimeStep, World, next_timestep
from dreamer_lite.worlds.hosted import HostedWorld

LONGEST = 100_000  # time steps after which an episode counts as endless


class RolloutState(NamedTuple):
    """W environments in progress, and what their player carries."""

    world: Any  # (W, ...) the environments' own states
    timestep: TimeStep  # (W, ...) the time step that was not yet acted on
    carry: PolicyCarry | None  # None for the random player
    key: jax.Array  # never changes; every time step folds its own number in
    steps: jax.Array  # () int32, time steps acted on


class Trace(NamedTuple):
    """Time steps of W environments, the actions taken, and the posterior states."""

    timestep: TimeStep  # (T, W, ...)
    action: jax.Array  # (T, W) int32 or (T, W, A) float32, 0 at is_last
    state: State | None  # (T, W, ...) posterior after the step; None for the random player
    frame: np.ndarray | None = None  # (T, W, h, w, 3) uint8, what an environment on the host drew
    world: Any = None  # (T, W, ...) the environments' own states at the step; None on the host


class Player(NamedTuple):
    """Compiled functions that act; with `params` None at random."""

    start: Callable[..., RolloutState]  # (params, seed, W, use="play"); see `streams` for uses
    play: Callable[
        [Params | None, RolloutState, int], tuple[RolloutState, Trace]
    ]  # (params, stage, T)
    score: Callable[[Params | None, RolloutState], tuple[Any, Any]]  # first returns (W,), ended


# (params, stage) -> (the stage after one time step, the trace of that step)
Step = Callable[[Params | None, RolloutState], tuple[RolloutState, Trace]]


@functools.lru_cache(maxsize=16)
def make_player(config: Config, world: AnyWorld, film: bool = False) -> Player:
    """The player of this config in this world; made once for each combination.

    With `film` its traces hold what a world on the host looks like, at watchable size; JAX worlds
    are drawn from what they observe.

    Raises:
      ValueError: as `make_agent`, from the first call with parameters.
    """
    agent = LateAgent(config, world)
    if is_hosted(world):
        choose = jax.jit(functools.partial(choose_action, agent, world.action_space))
        step = functools.partial(step_hosted, choose, film)
        return Player(
            functools.partial(start_hosted, agent, world),
            functools.partial(play_hosted, step),
            functools.partial(score_hosted, step),
        )
    world = cast(World, world)
    step = functools.partial(step_all, agent, world)
    return Player(
        jax.jit(functools.partial(start, agent, world), static_argnums=(2, 3)),
        jax.jit(functools.partial(play, step), static_argnums=2),
        jax.jit(functools.partial(score, step)),
    )


class LateAgent:
    """An agent's structure that is built when it is first needed: random play needs no network."""

    def __init__(self, config: Config, world: AnyWorld) -> None:
        self.build = functools.cache(
            lambda: make_agent(config, world.obs_space, world.action_space)
        )

    def merge(self, params: Params) -> Agent:
        return self.build().merge(params)

    def carry(self, params: Params | None, space: Space, worlds: int) -> PolicyCarry | None:
        """What the policy carries at the start; None for the random player."""
        return None if params is None else initial_carry(self.merge(params), space, worlds)


def choose_action(
    agent: LateAgent,
    space: Space,
    params: Params | None,
    carry: PolicyCarry | None,
    timestep: TimeStep,
    key: jax.Array,
) -> tuple[jax.Array, PolicyCarry | None]:
    """Actions for W environments, and the carry after them. The key is consumed."""
    if carry is None or params is None:
        return random_action(space, timestep.is_last, key), None
    return act(agent.merge(params), carry, timestep, space, key)


def random_action(space: Space, is_last: jax.Array, key: jax.Array) -> jax.Array:
    """Uniform over the actions, or over [-1, 1]; 0 where is_last (W,). The key is consumed."""
    if space.is_discrete:
        return jnp.where(is_last, 0, jax.random.randint(key, is_last.shape, 0, space.classes))
    action = jax.random.uniform(key, (*is_last.shape, *space.shape), minval=-1.0)
    return jnp.where(is_last[:, None], 0.0, action)


# JAX environments


def start(
    agent: LateAgent,
    world: World,
    params: Params | None,
    seed: int,
    worlds: int,
    use: str = "play",
) -> RolloutState:
    """W environments, reset."""
    world_key, key = jax.random.split(streams.key(use, seed))
    states, timestep = jax.vmap(world.reset)(jax.random.split(world_key, worlds))
    carry = agent.carry(params, world.action_space, worlds)
    return RolloutState(states, timestep, carry, key, jnp.int32(0))


def step_all(
    agent: LateAgent, world: World, params: Params | None, stage: RolloutState
) -> tuple[RolloutState, Trace]:
    """One time step of every environment: act, step."""
    act_key, world_key = jax.random.split(jax.random.fold_in(stage.key, stage.steps))
    action, carry = choose_action(
        agent, world.action_space, params, stage.carry, stage.timestep, act_key
    )
    state = None if carry is None else carry.state
    trace = Trace(stage.timestep, action, state, world=stage.world)
    keys = jax.random.split(world_key, stage.timestep.is_last.shape[0])
    worlds, timestep = jax.vmap(next_timestep, (None, 0, 0, 0, 0))(
        world, stage.world, stage.timestep, action, keys
    )
    return RolloutState(worlds, timestep, carry, stage.key, stage.steps + 1), trace


def play(
    step: Step, params: Params | None, stage: RolloutState, steps: int
) -> tuple[RolloutState, Trace]:
    """So many time steps."""
    return jax.lax.scan(lambda stage, _: step(params, stage), stage, None, steps)


def score(step: Step, params: Params | None, stage: RolloutState) -> tuple[jax.Array, jax.Array]:
    """Play until every environment has ended its first episode; its return, and whether it did."""

    def unfinished(carry):
        stage, _, ended = carry
        return ~jnp.all(ended) & (stage.steps < LONGEST)

    def once(carry):
        stage, total, ended = carry
        total = total + jnp.where(ended, 0.0, stage.timestep.reward)
        ended = ended | stage.timestep.is_last
        return step(params, stage)[0], total, ended

    nothing = jnp.zeros_like(stage.timestep.reward)
    _, total, ended = jax.lax.while_loop(unfinished, once, (stage, nothing, nothing > 0))
    return total, ended


# Environments on the host. A stage holds the running environments themselves: playing on from the
# same stage twice plays on.


def start_hosted(
    agent: LateAgent,
    world: HostedWorld,
    params: Params | None,
    seed: int,
    worlds: int,
    use: str = "play",
) -> RolloutState:
    """W environments, reset."""
    pool = EnvPool(world, worlds)
    pool.begin(streams.host_seed(use, seed))
    carry = agent.carry(params, world.action_space, worlds)
    return RolloutState(pool, pool.timestep, carry, streams.key(use, seed), jnp.int32(0))


def step_hosted(
    choose: Callable[..., tuple[jax.Array, PolicyCarry | None]],
    film: bool,
    params: Params | None,
    stage: RolloutState,
) -> tuple[RolloutState, Trace]:
    """One time step of every environment: act, step. With `film` the trace has their images."""
    key = jax.random.fold_in(stage.key, stage.steps)
    action, carry = choose(params, stage.carry, stage.timestep, key)
    frame = stage.world.stepper.frames() if film else None
    trace = Trace(stage.timestep, action, None if carry is None else carry.state, frame)
    stage.world.step(np.asarray(action))
    after = stage._replace(timestep=stage.world.timestep, carry=carry, steps=stage.steps + 1)
    return after, trace


def play_hosted(
    step: Step, params: Params | None, stage: RolloutState, steps: int
) -> tuple[RolloutState, Trace]:
    """So many time steps."""
    traces = []
    for _ in range(steps):
        stage, trace = step(params, stage)
        traces.append(trace)
    return stage, jax.tree.map(lambda *parts: np.stack(parts), *traces)


def score_hosted(
    step: Step, params: Params | None, stage: RolloutState
) -> tuple[np.ndarray, np.ndarray]:
    """Play until every environment has ended its first episode; its return, and whether it did."""
    total = np.zeros_like(stage.timestep.reward)
    ended = np.zeros_like(stage.timestep.is_last)
    while True:
        total += np.where(ended, 0, stage.timestep.reward)
        ended |= stage.timestep.is_last
        if ended.all() or stage.steps >= LONGEST:
            stage.world.close()
            return total, ended
        stage, _ = step(params, stage)
