"""What is known of a run while it trains: its limits, its returns, and progress records."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.agent.learner import Metrics
from dreamer_lite.config import Config
from dreamer_lite.training import hosts
from dreamer_lite.training.state import COUNTED, EPISODES, EnvState, RunState


class Limits(NamedTuple):
    """When training stops: totals that include earlier starts; None means no limit."""

    minutes: float | None = None  # wall time
    steps: int | None = None  # agent steps
    updates: int | None = None

    def reached(self, seconds: float, steps: int, updates: int) -> bool:
        return (
            (self.minutes is not None and seconds >= 60 * self.minutes)
            or (self.steps is not None and steps >= self.steps)
            or (self.updates is not None and updates >= self.updates)
        )


def keep_score(envs: EnvState) -> EnvState:
    """Add the new time step's reward; move finished episodes' returns into the ring."""
    timestep = envs.timestep
    score = jnp.where(timestep.is_first, 0.0, envs.score) + timestep.reward
    place = (envs.episodes + jnp.cumsum(timestep.is_last) - 1) % EPISODES
    place = jnp.where(timestep.is_last, place, EPISODES)  # out of range: dropped
    episodes = envs.episodes + timestep.is_last.sum(dtype=jnp.int32)
    # Back by whole rounds of the ring, whose next place this number also gives.
    excess = EPISODES * -(-jnp.maximum(0, episodes - COUNTED) // EPISODES)
    return envs._replace(
        score=score,
        scores=envs.scores.at[place].set(score, mode="drop"),
        episodes=episodes - excess,
    )


def check_finite(
    metrics: Mapping[str, jax.typing.ArrayLike], updates: int, config: Config | None = None
) -> None:
    """Raise FloatingPointError that names the first loss that is not finite, and whose it is."""
    for name, values in metrics.items():
        for agent, value in enumerate(np.ravel(values)):
            if name.startswith("loss/") and not np.isfinite(value):
                whose = f" of seed {config.seed + agent}" if config and config.seeds > 1 else ""
                raise FloatingPointError(f"{name}{whose} became {value} before update {updates}.")


def check_returns(envs: EnvState, updates: int, config: Config) -> None:
    """Raise FloatingPointError if a world gave a reward that is not finite: its return tells.

    An infinite reward need not show in a loss, but it would stay in the replay and in checkpoints.
    """
    for name in ("score", "scores"):
        values = np.asarray(hosts.whole(getattr(envs, name)))
        for agent in np.argwhere(~np.isfinite(values))[:1, 0]:
            whose = f" of seed {config.seed + agent}" if config.seeds > 1 else ""
            raise FloatingPointError(
                f"A reward of {config.world}{whose} was not finite before update {updates}."
            )


def make_record(
    config: Config, state: RunState, metrics: Metrics, seconds: float, speed: float
) -> dict[str, Any]:
    """One line of `metrics.jsonl`: counters, the return of the latest episodes, mean metrics.

    Of several agents, each number is the mean, `return_stderr` the standard error of that mean, and
    "seeds" has every agent's own: {name: [N numbers]}. Steps and updates are those of one agent.
    """
    counters = jax.device_get((state.steps, state.updates, state.envs.episodes))
    steps, updates, episodes = (np.ravel(x) for x in counters)
    rings = np.asarray(state.envs.scores).reshape(-1, EPISODES)
    latest = [ring[: min(count, EPISODES)] for ring, count in zip(rings, episodes)]
    means, errors = map(list, zip(*map(mean_and_error, latest)))
    scored = np.array(means)[episodes > 0]  # a seed whose first episode goes on has no return
    mean, error = mean_and_error(scored) if config.seeds > 1 else (means[0], errors[0])
    record = {
        "updates": int(updates[0]),
        "agent_steps": int(steps[0]) * config.worlds,
        "episodes": round(float(episodes.mean())),
        "return_mean": mean,
        "return_stderr": error,
        "seconds": seconds,
        "updates_per_second": speed,
        **{name: float(np.mean(x)) for name, x in metrics.items()},
    }
    if config.seeds > 1:
        own = {"episodes": episodes.tolist(), "return_mean": means, "return_stderr": errors}
        record["seeds"] = own | {name: np.asarray(x).tolist() for name, x in metrics.items()}
    return record


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of values (n,); 0 where there are too few."""
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return float(values.mean()) if len(values) else 0.0, float(error)
