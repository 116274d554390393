"""Worlds that run on the host: the loop that learns in them, and the player that only plays.

The counterparts of `training.make_fused_driver` and of the player in `rollouts` for Atari, DMC and
Gymnasium, whose steps no program can be compiled from. Acting and storing are one small compiled
call; the updates are another, which the device works on while the host steps the worlds.

A checkpoint cannot hold such a world. A run that goes on starts its worlds anew: the stream of the
replay then has an `is_first` row without an end before it, which `replay.gather` knows.
"""

import functools
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite import rollouts, training
from dreamer_lite.agent import Mind, Params, act, blank_mind, make_agent
from dreamer_lite.config import Config
from dreamer_lite.learner import Metrics, make_learner
from dreamer_lite.rollouts import Player, Stage, Trace
from dreamer_lite.training import Driver, RunState
from dreamer_lite.worlds.base import Row
from dreamer_lite.worlds.hosted import HostedWorld, Stepper


class Troupe:
    """W running worlds and the row that was not yet acted on. They end with this object."""

    stepper: Stepper
    row: Row

    def __init__(self, world: HostedWorld, worlds: int):
        self.world, self.worlds = world, worlds
        self._end: Callable[[], Any] | None = None

    def begin(self, seed: int) -> None:
        """Start the worlds if they do not run yet."""
        if self._end is None:
            self.stepper = self.world.start(self.worlds, seed)
            self._end = weakref.finalize(self, self.stepper.close)
            self.row = self.stepper.reset()

    def step(self, action: jax.Array) -> None:
        """Move all worlds on by one action (W, ...)."""
        self.row = self.stepper.step(np.asarray(action))

    def close(self) -> None:
        """End the worlds; `begin` would start new ones."""
        if self._end is not None:
            self._end()
        self._end = None


def seed_from(*numbers: int) -> int:
    """A seed in [0, 2^31) that differs for different numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 1)


def make_hosted_driver(config: Config, world: HostedWorld) -> Driver:
    """The driver for worlds on the host; see `training.Driver`. Rows per call are at least 1.

    Raises:
      ValueError: as `make_agent`. Its `advance` raises `worlds.hosted.WorldError`.
    """
    spaces = world.obs_space, world.action_space
    graph, learner = make_agent(config, *spaces), make_learner(config, *spaces)
    learn = training.make_learn(config, learner, world.action_space)
    troupe = Troupe(world, config.worlds)
    options = training.compiler_options()

    @jax.jit
    def begin(learning, key: jax.Array) -> RunState:
        return training.first_state(config, graph, learning, spaces, key)

    def init(seed: int) -> RunState:
        return begin(learner.init(seed), jax.random.key(seed))

    @functools.partial(jax.jit, donate_argnums=1, compiler_options=options)
    def look(params: Params, state: RunState, row: Row) -> tuple[RunState, jax.Array]:
        """Count, act and store. `state` comes without its learner, which stays as it is."""
        actors = training.keep_score(state.actors._replace(row=row))
        state = state._replace(actors=actors._replace(row=None))
        state, action, _ = training.look_and_act(
            config, graph, world.action_space, params, state, row
        )
        return state, action

    @functools.partial(jax.jit, donate_argnums=(0, 1), compiler_options=options)
    def learn_often(state: RunState, sums: Metrics, updates: int) -> tuple[RunState, Metrics]:
        return training.learn_times(learn, (state, sums), updates)

    def advance(state: RunState, times: int, rows: int, updates: int) -> tuple[RunState, Metrics]:
        troupe.begin(seed_from(config.seed, int(state.rows)))
        sums = training.no_metrics(learn, state)
        for _ in range(times):
            for left in reversed(range(rows)):
                learning = state.learner
                state, action = look(learning.params, state._replace(learner=None), troupe.row)
                state = state._replace(learner=learning)
                action.block_until_ready()
                if updates and not left:  # the device learns while the host steps the worlds
                    state, sums = learn_often(state, sums, updates)
                troupe.step(action)
        return state, {name: x / max(1, times * updates) for name, x in sums.items()}

    return Driver(init, advance, troupe.close)


def make_hosted_player(config: Config, world: HostedWorld, film: bool) -> Player:
    """The player for worlds on the host; see `rollouts.make_player`. `film` fills `Trace.frame`.

    A stage holds the running worlds themselves: playing on from the same stage twice plays on.
    """
    graph = make_agent(config, world.obs_space, world.action_space)

    def start(params: Params | None, seed: int, worlds: int) -> Stage:
        troupe = Troupe(world, worlds)
        troupe.begin(seed_from(seed))
        mind = None
        if params is not None:
            mind = blank_mind(graph.merge(params), world.action_space, worlds)
        return Stage(troupe, troupe.row, mind, jax.random.key(seed), jnp.int32(0))

    @jax.jit
    def look(
        params: Params | None, mind: Mind | None, row: Row, key: jax.Array, rows: jax.Array
    ) -> tuple[jax.Array, Mind | None]:
        key = jax.random.fold_in(key, rows)
        if mind is None or params is None:
            return rollouts.random_action(world.action_space, row.is_last, key), None
        return act(graph.merge(params), mind, row, world.action_space, key)

    def live(params: Params | None, stage: Stage) -> tuple[Stage, Trace]:
        """One row of every world: look, act, step."""
        action, mind = look(params, stage.mind, stage.row, stage.key, stage.rows)
        frame = stage.world.stepper.frames() if film else None
        trace = Trace(stage.row, action, None if mind is None else mind.state, frame)
        stage.world.step(action)
        return stage._replace(row=stage.world.row, mind=mind, rows=stage.rows + 1), trace

    def play(params: Params | None, stage: Stage, rows: int) -> tuple[Stage, Trace]:
        traces = []
        for _ in range(rows):
            stage, trace = live(params, stage)
            traces.append(trace)
        return stage, jax.tree.map(lambda *parts: np.stack(parts), *traces)

    def score(params: Params | None, stage: Stage) -> tuple[jax.Array, jax.Array]:
        total = np.zeros_like(stage.row.reward)
        ended = np.zeros_like(stage.row.is_last)
        while True:
            total += np.where(ended, 0, stage.row.reward)
            ended |= stage.row.is_last
            if ended.all() or stage.rows >= rollouts.LONGEST:
                stage.world.close()
                return total, ended
            stage, _ = live(params, stage)

    return Player(start, play, score)
