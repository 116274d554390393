"""The loop around environments that run on the host: Atari, DMC, Gymnasium.

The counterpart of `loop.make_driver` for environments whose steps cannot be compiled. Acting and
storing are one small compiled call; the updates are another, which the device computes while the
host steps the environments.

On several devices (`sharding`) the batch and the replay are spread as for environments in JAX.
Every process steps its own part of the W environments.

A checkpoint cannot hold such an environment. A run that goes on starts its environments anew: the
stream of the replay then has an `is_first` step without an end before it; see `replay.gather`.
"""

import functools
import weakref
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from dreamer_lite.agent.agent import Params
from dreamer_lite.agent.learner import Metrics
from dreamer_lite.config import Config
from dreamer_lite.training import loop as training
from dreamer_lite.training import sharding
from dreamer_lite.training.loop import Driver
from dreamer_lite.training.progress import keep_score
from dreamer_lite.training.state import RunState
from dreamer_lite.training.xla import compiler_options
from dreamer_lite.worlds.base import TimeStep
from dreamer_lite.worlds.hosted import HostedWorld, Stepper


class EnvPool:
    """W running environments and the time step not yet acted on. They end with this object."""

    stepper: Stepper
    timestep: TimeStep

    def __init__(self, world: HostedWorld, worlds: int):
        self.world, self.worlds = world, worlds
        self._end: Callable[[], Any] | None = None

    def begin(self, seed: int) -> None:
        """Start the environments if they do not run yet."""
        if self._end is None:
            self.stepper = self.world.start(self.worlds, seed)
            self._end = weakref.finalize(self, self.stepper.close)
            self.timestep = self.stepper.reset()

    def step(self, action: np.ndarray) -> None:
        """Step all environments with one action each, (W, ...)."""
        self.timestep = self.stepper.step(action)

    def close(self) -> None:
        """End the environments; `begin` would start new ones, also if ending these raised."""
        end, self._end = self._end, None
        if end is not None:
            end()


def seed_from(seed: int, steps: int, process: int = 0) -> int:
    """A seed in [0, 2^31) for environments of a training that begins, or goes on after `steps`."""
    own = (process,) if process else ()
    return int(np.random.SeedSequence((seed, steps, *own)).generate_state(1)[0] >> 1)


def make_driver(config: Config, world: HostedWorld, mesh: Mesh | None = None) -> Driver:
    """The driver for environments on the host; see `loop.Driver`. At least 1 step per call.

    With a mesh, see `sharding.make_mesh`, the work is spread over its devices.

    Raises:
      ValueError: as `make_agent`. Its `advance` raises `worlds.hosted.WorldError`.
    """
    program = training.make_program(config, world, mesh)
    learn = jax.jit(functools.partial(training.learn, program))
    pool = EnvPool(world, config.worlds // (jax.process_count() if mesh else 1))
    options, quick = (compiler_options(once) if mesh is None else None for once in (False, True))
    places = sharding.of_state(config, mesh)
    of_actions, of_metrics = (mesh and sharding.spread(mesh, axis) for axis in (0, None))

    @functools.partial(jax.jit, out_shardings=places, compiler_options=quick)
    def begin(params: Params, seed: jax.Array) -> RunState:
        # As the fused driver, so that both draw alike.
        _, run_key = jax.random.split(jax.random.key(seed))
        return training.blank_state(program, params, run_key)

    def init(seed: int) -> RunState:
        return begin(program.learner.graph.init(seed), np.int32(seed))

    @functools.partial(
        jax.jit,
        donate_argnums=1,
        out_shardings=None if mesh is None else (places, of_actions),
        compiler_options=options,
    )
    def policy_step(
        params: Params, state: RunState, timestep: TimeStep
    ) -> tuple[RunState, jax.Array]:
        """Count, act and store. `state` comes without its learner, which stays as it is."""
        envs = keep_score(state.envs._replace(timestep=timestep))
        state = state._replace(envs=envs._replace(timestep=None))
        state, action, _ = training.policy_step(program, params, state, timestep)
        return state, action

    @functools.partial(
        jax.jit,
        donate_argnums=(0, 1),
        out_shardings=None if mesh is None else (places, of_metrics),
        compiler_options=options,
    )
    def learn_often(state: RunState, sums: Metrics, updates: int) -> tuple[RunState, Metrics]:
        return training.learn_times(learn, (state, sums), updates)

    def advance(state: RunState, times: int, steps: int, updates: int) -> tuple[RunState, Metrics]:
        pool.begin(seed_from(config.seed, int(state.steps), jax.process_index()))
        sums = training.zero_metrics(learn, state)
        for _ in range(times):
            for left in reversed(range(steps)):
                learner = state.learner
                timestep = sharding.from_hosts(pool.timestep, mesh)
                state, action = policy_step(learner.params, state._replace(learner=None), timestep)
                state = state._replace(learner=learner)
                chosen = sharding.on_this_host(action)
                if updates and not left:  # the device learns while the host steps the environments
                    state, sums = learn_often(state, sums, updates)
                pool.step(chosen)
        sums = jax.device_get(sums)
        return state, {name: x / max(1, times * updates) for name, x in sums.items()}

    return Driver(init, advance, pool.close)
