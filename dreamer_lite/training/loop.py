"""The loop: act, store, sample, learn, as one jitted program; and a generator of progress records.

For environments in JAX everything, the environment included, runs inside one compiled and donated
program (`make_driver`). `train` calls it again and again and yields a record of what happened; the
caller draws a bar, a curve, or saves. Put together in notebook 08.
"""

import contextlib
import functools
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from dreamer_lite.agent import learner as learning
from dreamer_lite.agent.agent import Params, act, initial_carry
from dreamer_lite.agent.learner import Learner, Metrics, make_learner
from dreamer_lite.config import Config
from dreamer_lite.training import hosts, sharding
from dreamer_lite.training import replay as rp
from dreamer_lite.training.progress import (
    Limits,
    check_finite,
    check_returns,
    keep_score,
    make_record,
)
from dreamer_lite.training.state import EPISODES, EnvState, RunState
from dreamer_lite.training.xla import compiler_options
from dreamer_lite.worlds.base import TimeStep, next_timestep

LAST = 2**31 - 1  # the last step of an environment, and the last update, that a run can number


class Program(NamedTuple):
    """What a run is computed with: no arrays, closed over by jitted functions."""

    config: Config
    learner: Learner
    world: Any  # a World, or a HostedWorld
    mesh: Mesh | None = None  # devices that one agent's batch is spread over


class Progress(NamedTuple):
    """What `train` yields: a record, and the run as it stands."""

    record: dict[str, Any]  # plain numbers, see `make_record`
    state: RunState  # donated when the generator goes on: save it before, or never touch it


class Driver(NamedTuple):
    """The two functions that move a run."""

    init: Callable[[int], RunState]  # seed -> state
    # (state, times, steps, updates) -> (state, metrics): `times` times, collect `steps` steps and
    # then learn `updates` times. One program for every count. The state is donated.
    advance: Callable[[RunState, int, int, int], tuple[RunState, Metrics]]
    close: Callable[[], None] = lambda: None  # let go of environments on the host


def make_program(config: Config, world: Any, mesh: Mesh | None = None) -> Program:
    """The program of a run in this world. Raises ValueError as `make_agent` does."""
    learner = make_learner(config, world.obs_space, world.action_space)
    return Program(config, learner, world, mesh)


def make_driver(config: Config, world: Any, mesh: Mesh | None = None) -> Driver:
    """The fused driver: one program that acts in a JAX environment and learns from it.

    With `seeds` = N > 1 it is mapped over N agents, each of which does what it would do alone.
    With a mesh, see `sharding.make_mesh`, the work is spread over its devices.

    Raises:
      ValueError: as `make_agent`.
    """
    program = make_program(config, world, mesh if config.seeds == 1 else None)
    begin, step = functools.partial(first_state, program), functools.partial(advance, program)
    return fuse(config, program.learner.graph.init, begin, step, mesh)


def fuse(
    config: Config,
    parameters: Callable[[int], Any],
    begin: Callable[..., Any],
    step: Callable[..., tuple[Any, Metrics]],
    mesh: Mesh | None = None,
) -> Driver:
    """A driver from pure functions: two compiled programs, mapped over `config.seeds` agents.

    Args:
      parameters: seed -> the parameters of the networks, drawn on the host.
      begin: (what `parameters` returned, key) -> the state of one agent. The key is consumed.
      step: (state, counts...) -> (state, metrics); its state is donated.
    """

    def begin_one(networks, seed):
        return begin(networks, jax.random.key(seed))

    def step_all(state, *counts):
        return jax.vmap(lambda one: step(one, *counts))(state)

    many = config.seeds > 1
    # One program to begin with, for speed of starting; and no two outputs share a buffer.
    places = sharding.of_state(config, mesh)
    begin_all = jax.jit(
        jax.vmap(begin_one) if many else begin_one,
        out_shardings=places,
        compiler_options=compiler_options(runs_once=True) if mesh is None else None,
    )
    advance_all = jax.jit(
        step_all if many else step,
        donate_argnums=0,
        out_shardings=None if mesh is None else (places, sharding.spread(mesh, None)),
        compiler_options=compiler_options() if mesh is None else None,
    )

    def init(seed: int) -> Any:
        agents = [(parameters(s), np.int32(s)) for s in range(seed, seed + config.seeds)]
        return begin_all(*(jax.tree.map(lambda *x: np.stack(x), *agents) if many else agents[0]))

    return Driver(init, advance_all)


def advance(
    program: Program, state: RunState, times: jax.Array, steps: jax.Array, updates: jax.Array
) -> tuple[RunState, Metrics]:
    """`times` times: collect `steps` steps, learn `updates` times. Mean metrics of the updates.

    Pure; numbers of repetitions may be traced.
    """
    collect_once = functools.partial(collect, program)
    learn_once = functools.partial(learn, program)
    return interleave(collect_once, learn_once, state, times, steps, updates)


def interleave(
    collect_once: Callable[[Any], Any],
    learn_once: Callable[[Any], tuple[Any, Metrics]],
    state: Any,
    times: jax.Array,
    steps: jax.Array,
    updates: jax.Array,
) -> tuple[Any, Metrics]:
    """`times` times: collect `steps` times, then learn `updates` times. Mean metrics of all."""
    learn_once = jax.jit(learn_once)  # traced once for both uses

    def once(_, carry):
        state, sums = carry
        state = jax.lax.fori_loop(0, steps, lambda _, s: collect_once(s), state)
        return learn_times(learn_once, (state, sums), updates)

    state, sums = jax.lax.fori_loop(0, times, once, (state, zero_metrics(learn_once, state)))
    return state, jax.tree.map(lambda x: x / jnp.maximum(1, times * updates), sums)


def collect(program: Program, state: RunState) -> RunState:
    """One time step of all W environments: act, store, step."""
    envs, params = state.envs, state.learner.params
    state, action, world_key = policy_step(program, params, state, envs.timestep)
    keys = jax.random.split(world_key, program.config.worlds)
    worlds, timestep = jax.vmap(next_timestep, (None, 0, 0, 0, 0))(
        program.world, envs.world, envs.timestep, action, keys
    )
    return state._replace(envs=keep_score(state.envs._replace(world=worlds, timestep=timestep)))


def policy_step(
    program: Program, params: Params, state: RunState, timestep: TimeStep
) -> tuple[RunState, jax.Array, jax.Array]:
    """Choose an action for a time step of W environments and store both.

    Returns the state, the actions as environments take them, and a key for their own sampling.
    """
    key = jax.random.fold_in(jax.random.fold_in(state.key, 0), state.steps)
    act_key, world_key = jax.random.split(key)
    agent = program.learner.graph.merge(params)
    action, carry = act(agent, state.envs.carry, timestep, program.world.action_space, act_key)
    replay = rp.add(state.replay, timestep, action, carry)
    envs = state.envs._replace(carry=carry)
    return state._replace(replay=replay, envs=envs, steps=state.steps + 1), action, world_key


def learn(program: Program, state: RunState) -> tuple[RunState, Metrics]:
    """Sample a batch from the replay, make one update, and store the fresh latents."""
    key = jax.random.fold_in(jax.random.fold_in(state.key, 1), state.updates)
    sample_key, learn_key = jax.random.split(key)
    replay, chosen = rp.sample(state.replay, program.config, sample_key)
    batch = rp.gather(replay, chosen, program.config, program.world.action_space)
    with sharding.over(program.mesh):
        batch = sharding.shard_batch(batch, program.mesh)
        learner, out = learning.update(program.learner, state.learner, batch, learn_key)
    replay = rp.write_latents(replay, chosen, out.states, program.config)
    state = state._replace(learner=learner, replay=replay, updates=state.updates + 1)
    return state, out.metrics


def learn_times(
    learn_once: Callable[[Any], tuple[Any, Metrics]],
    carry: tuple[Any, Metrics],
    times: jax.typing.ArrayLike,
) -> tuple[Any, Metrics]:
    """Learn `times` times, adding the metrics up; carry: (state, sums so far)."""

    def once(_, carry):
        state, metrics = learn_once(carry[0])
        return state, jax.tree.map(jnp.add, carry[1], metrics)

    return jax.lax.fori_loop(0, times, once, carry)


def zero_metrics(learn_once: Callable[[Any], tuple[Any, Metrics]], state: Any) -> Metrics:
    """Sums of metrics before the first update."""
    metrics = jax.eval_shape(learn_once, state)[1]
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), metrics)


def first_state(program: Program, params: Params, key: jax.Array) -> RunState:
    """New parameters, all environments reset, an empty replay. The key is consumed."""
    world_key, run_key = jax.random.split(key)
    keys = jax.random.split(world_key, program.config.worlds)
    worlds, timestep = jax.vmap(program.world.reset)(keys)
    state = blank_state(program, params, run_key)
    return state._replace(envs=state.envs._replace(world=worlds, timestep=timestep))


def blank_state(program: Program, params: Params, key: jax.Array) -> RunState:
    """The state before the first time step, without environments."""
    config, world = program.config, program.world
    agent = program.learner.graph.merge(params)
    carry = initial_carry(agent, world.action_space, config.worlds)
    zero = jnp.int32(0)
    envs = EnvState(None, None, carry, jnp.zeros(config.worlds), jnp.zeros(EPISODES), zero)
    replay = rp.init(config, world.obs_space, world.action_space)
    learner = learning.begin(program.learner, params)
    return RunState(learner, replay, envs, key, zero, zero)


def train(
    config: Config, driver: Driver, state: RunState, limits: Limits, seconds: float = 0.0
) -> Iterator[Progress]:
    """Train on from `state` until a limit is reached, yielding a record about every K updates.

    The first yield comes after the first update. Calls end at the same numbers of updates however
    often a run is stopped and resumed, so a resumed run computes exactly what the other would have.
    A run that has come to LAST ends too.
    `seconds` is the wall time of earlier starts. Raises FloatingPointError when a loss is no longer
    finite, or a reward was not; the state that came with the last yield is then the last good one.
    """
    start = time.perf_counter() - seconds
    steps_each, updates_each = config.schedule
    steps, learnt = (int(x.flat[0]) for x in jax.device_get((state.steps, state.updates)))
    begun_at = learnt

    def passed() -> float:
        return hosts.agree(time.perf_counter() - start)

    while not limits.reached(passed(), steps * config.worlds, learnt):
        if max(steps + steps_each, learnt + updates_each) > LAST:
            return
        with without_collector() if learnt == begun_at else contextlib.nullcontext():
            if steps < config.steps_before_learning - steps_each:
                waiting = config.steps_before_learning - steps_each - steps
                state, _ = driver.advance(state, 1, waiting, 0)
                steps += waiting
            before = time.perf_counter()
            times = calls_until_record(config, limits, steps, learnt)
            state, metrics = driver.advance(state, times, steps_each, updates_each)
        metrics = jax.device_get(metrics)
        steps, learnt = steps + times * steps_each, learnt + times * updates_each
        speed = times * updates_each / (time.perf_counter() - before)
        check_finite(metrics, learnt, config)
        check_returns(state.envs, learnt, config)
        record = make_record(config, state, metrics, time.perf_counter() - start, speed)
        yield Progress(record, state)


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Inside, Python does not search for garbage.

    Tracing makes hundreds of thousands of objects that stay, and each search reads all of them:
    a fifth of the time that an update takes to be traced and lowered.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def calls_until_record(config: Config, limits: Limits, steps: int, updates: int) -> int:
    """Repetitions of the schedule up to the next multiple of K updates, or to a limit."""
    steps_each, updates_each = config.schedule
    if updates == 0:
        return 1  # the first update alone: somebody has waited for a sign of life
    ends = [-(-(config.updates_per_call - updates % config.updates_per_call) // updates_each)]
    if limits.updates is not None:
        ends.append(-(-(limits.updates - updates) // updates_each))
    if limits.steps is not None:
        ends.append(-(-(limits.steps - steps * config.worlds) // (steps_each * config.worlds)))
    ends += [(LAST - steps) // steps_each, (LAST - updates) // updates_each]
    return max(1, min(ends))
