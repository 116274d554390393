"""All that a run is while it trains, as one tree of arrays: what a checkpoint holds."""

from typing import Any, NamedTuple

import jax

from dreamer_lite.agent.learner import LearnerState
from dreamer_lite.training.replay import Replay

EPISODES = 100  # `return_mean` is over this many of the latest training episodes
COUNTED = 2_000_000_000  # episodes beyond these are not counted: a counter has 32 bits


class EnvState(NamedTuple):
    """W environments in progress, what the policy carries, and the returns so far."""

    world: Any  # (W, ...) the environments' own states; None where they are on the host
    timestep: Any  # TimeStep (W, ...) not yet acted on; None where environments are on the host
    carry: Any  # PolicyCarry; None for an agent without memory
    score: jax.Array  # (W,) return of the running episodes so far
    scores: jax.Array  # (EPISODES,) ring of the latest finished episodes' returns
    episodes: jax.Array  # () int32, finished episodes, up to COUNTED


class RunState(NamedTuple):
    """All that a run is: save it and the run can go on from here, bit for bit.

    With `seeds` = N > 1 every array has a leading axis (N, ...), one agent each.
    """

    learner: LearnerState
    replay: Replay
    envs: EnvState
    key: jax.Array  # never changes; every step folds its own number in
    steps: jax.Array  # () int32, time steps of each environment
    updates: jax.Array  # () int32
