"""What the page holds of an agent: its numbers, its starting moments, and its trust meter."""

import base64
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dreamer_lite import worlds
from dreamer_lite.agent.agent import Params
from dreamer_lite.config import Config
from dreamer_lite.evaluation.dreams import ages
from dreamer_lite.evaluation.players import make_player
from dreamer_lite.evaluation.rollouts import start_as_many
from dreamer_lite.page import trust
from dreamer_lite.runs.agents import LoadedAgent
from dreamer_lite.training import streams
from dreamer_lite.worlds import AnyWorld, is_hosted

WORLDS, STEPS = 16, 256  # environments, and time steps that the agent acts in each
MOMENTS = 8  # at which a dream may start
OBSERVED = 5  # time steps of its episode that the agent has observed there; fewer in short episodes
AHEAD = 30  # recorded steps after a moment, where the page has no rules of the environment
MOST_BYTES = 5_000_000  # of recorded observations: fewer moments, if they are larger


def collect(agent: LoadedAgent, seed: int = 0) -> dict[str, Any]:
    """All data of the page, as plain JSON. The agent acts for a while to find starting moments.

    Raises:
      ValueError: no episode is long enough to start from; one sentence.
      WorldError: an environment breaks.
    """
    config, params, info = agent
    world = worlds.make_read(config.world)
    player = make_player(config, world)
    stage = start_as_many(player, params, seed, WORLDS, "page")
    _, trace = player.play(params, stage, STEPS)
    trace: Any = jax.device_get(trace)  # a `Trace` of numpy arrays, time first
    return {
        "title": f"The dream of an agent trained in {config.world}",
        "world": config.world,
        "score": score(info),
        "action_names": list(world.action_names),
        **settings(config, world),
        **weights(params),
        "moments": moments(trace, world, seed),
        "ranges": ranges(trace, world),
        "used": action_frequencies(trace, world),
        "trust": trust.calibrate(config, params, world, trace, seed)._asdict(),
    }


def score(info: Mapping[str, Any]) -> dict[str, float] | None:
    """Mean return in training and its standard error, if the agent's description has them."""
    found = {name: info.get(name) for name in ("return_mean", "return_stderr")}
    finite = all(isinstance(x, int | float) and math.isfinite(x) for x in found.values())
    return {name: float(x) for name, x in found.items() if x is not None} if finite else None


def weights(params: Params) -> dict[str, Any]:
    """All parameters as one base64 text of float32, and a table of [path, shape] in its order."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    numbers = [np.asarray(x, np.float32) for _, x in leaves]
    return {
        "parameters": [
            [[str(step.key) for step in path], list(x.shape)]
            for (path, _), x in zip(leaves, numbers, strict=True)
        ],
        "weights": encoded(np.concatenate([x.ravel() for x in numbers])),
    }


def encoded(x: np.ndarray) -> str:
    """The bytes of an array, little-endian, in base64."""
    return base64.b64encode(x.astype(x.dtype.newbyteorder("<")).tobytes()).decode()


def settings(config: Config, world: AnyWorld) -> dict[str, Any]:
    """The settings that the networks in the page need, and the spaces of the environment."""
    names = (
        "deter stoch classes blocks unimix policy_unimix min_std max_std scalars image_net kernel "
        "depth multipliers"
    )
    about = {name: getattr(config, name) for name in names.split()}
    return {
        "config": {**about, "discount": config.discount},
        "obs_space": {key: stored(space) for key, space in world.obs_space.items()},
        "action_space": stored(world.action_space),
    }


def stored(space: Any) -> dict[str, Any]:
    """A space as JSON; classes are stored as int32."""
    about = dataclasses.asdict(space)
    return about | {"dtype": "int32"} if space.is_discrete else about


def moments(trace: Any, world: AnyWorld, seed: int) -> list[dict[str, Any]]:
    """Moments of the trace to start from, of different environments as far as there are enough.

    Those with the most steps ahead come first. Where the page has no rules of the environment, the
    recorded steps that follow come with each.
    """
    first, last = trace.timestep.is_first, trace.timestep.is_last
    age, left = ages(first, last)
    least = min(OBSERVED, int((age + left).max()) // 4)
    most = AHEAD if is_hosted(world) else 0
    ahead = np.minimum(left, AHEAD)
    size = (most + 1) * sum(x[0, 0].nbytes for x in trace.timestep.obs.values())
    count = max(3, min(MOMENTS, MOST_BYTES // size))
    times, places = np.nonzero((age >= least) & (left >= 1))
    if not len(times):
        raise ValueError("No episode is long enough to start a dream in it.")
    order = streams.generator("page moments", seed).permutation(len(times))
    order = order[np.argsort(-ahead[times[order], places[order]], kind="stable")]
    _, one_each = np.unique(places[order], return_index=True)  # the best of each environment
    order = np.concatenate([order[np.sort(one_each)], np.delete(order, one_each)])
    chosen = [(int(times[i]), int(places[i])) for i in order[:count]]
    return [moment(trace, world, t, w, min(most, int(left[t, w]))) for t, w in chosen]


def moment(trace: Any, world: AnyWorld, t: int, w: int, ahead: int) -> dict[str, Any]:
    """One moment: the model's state, the environment's own, and the step with `ahead` more."""
    found, own = trace.timestep, None
    if trace.world is not None:  # a NamedTuple of numbers and small arrays
        at = {name: np.asarray(x[t, w]) for name, x in trace.world._asdict().items()}
        own = {name: x.ravel().tolist() if x.ndim else x.item() for name, x in at.items()}
    steps = [
        {
            "obs": {
                key: encoded(as_stored(x[s, w], world.obs_space[key]))
                for key, x in found.obs.items()
            },
            "reward": float(found.reward[s, w]),
            "is_last": bool(found.is_last[s, w]),
            "is_terminal": bool(found.is_terminal[s, w]),
            "action": in_short(trace.action[s, w]),
        }
        for s in range(t, t + ahead + 1)
    ]
    return {
        "deter": encoded(np.asarray(trace.state.deter[t, w], np.float32)),
        "stoch": np.argmax(trace.state.stoch[t, w], -1).tolist(),
        "world": own,
        "steps": steps,
    }


def in_short(action: np.ndarray) -> Any:
    """An action as JSON, with the fewest digits that give the same float32."""
    return [float(str(x)) for x in action] if action.ndim else int(action)


def as_stored(x: np.ndarray, space: Any) -> np.ndarray:
    return x.astype(stored(space)["dtype"])


def ranges(trace: Any, world: AnyWorld) -> list[list[float]]:
    """[lowest, highest] of each number of an observation, for those that are drawn as gauges."""
    if any(space.is_image for space in world.obs_space.values()):
        return []
    from dreamer_lite.show.images import as_numbers

    flat = as_numbers(trace.timestep.obs, dict(sorted(world.obs_space.items())))
    flat = flat.reshape(-1, flat.shape[-1])
    return np.stack([flat.min(0), flat.max(0)], -1).astype(float).tolist()


def action_frequencies(trace: Any, world: AnyWorld) -> list[float]:
    """How often the agent took each discrete action; none for continuous ones."""
    if not world.action_space.is_discrete:
        return []
    taken = trace.action[~trace.timestep.is_last]
    counts = np.bincount(taken, minlength=world.action_space.classes)
    return (counts / counts.sum()).tolist()
