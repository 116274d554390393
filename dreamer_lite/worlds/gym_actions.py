"""How Gymnasium's action spaces become the agent's, and its actions the environment's."""

import itertools
import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamer_lite.worlds import hosted
from dreamer_lite.worlds.base import Space
from dreamer_lite.worlds.gym_options import GUIDE, NO_OPTIONS, Options
from dreamer_lite.worlds.gym_spaces import MOST_INPUTS, discrete_limits

MOST_ACTIONS = 1000  # combinations of several discrete actions


def agent_space(name: str, space: spaces.Space) -> Space:
    """The agent's own space of actions.

    Raises:
      ValueError: a space that is not supported; one sentence with a way out.
    """
    limits = discrete_limits(space)
    if limits is not None:
        count = math.prod(int(x) + 1 for x in np.ravel(limits[1] - limits[0]))
        most = MOST_INPUTS if isinstance(space, spaces.Discrete) else MOST_ACTIONS
        if limits[0].size and count <= most:
            return Space((), "int32", classes=count)
        raise ValueError(
            f"{name}: its {type(space).__name__} space has {count} actions; from 1 to {most} are "
            f"supported. {GUIDE} shows a wrapper that offers fewer."
        )
    if isinstance(space, spaces.Box) and math.prod(space.shape):
        if np.isnan(space.low).any() or np.isnan(space.high).any():
            raise ValueError(f"{name}: its actions have bounds that are not numbers.")
        return Space((math.prod(space.shape),), "float32")
    shape = f" of shape {space.shape}" if isinstance(space, spaces.Box) else ""
    raise ValueError(
        f"{name}: its actions are a {type(space).__name__} space{shape}; supported are Box, "
        f"Discrete, MultiDiscrete and MultiBinary. {GUIDE} shows a wrapper for others."
    )


def check_options(name: str, space: spaces.Space, options: Options) -> None:
    """Warns of the range that the agent chooses from where an action has no bounds.

    Raises:
      ValueError: bounds were named for actions that have none, or outside of the space.
    """
    if not isinstance(space, spaces.Box):
        if any(key == "action" for key, _, _ in options.bounds):
            raise ValueError(f"{name}: its actions are no Box, so they have no bounds.")
        return
    low, high = bounds(space, options)
    if (low > high).any():
        raise ValueError(f"{name}: no action of {space} lies within these bounds.")
    opened = (low <= -hosted.FAR) | (high >= hosted.FAR)
    if opened.any():
        first = int(np.argmax(opened))
        least, most = hosted.usable_bounds(low, high)
        warnings.warn(
            f"{name}: action {first} of {low.size} may lie between {low[first]:g} and "
            f"{high[first]:g}; the agent chooses between {least[first]:g} and {most[first]:g}. "
            f"{name}@action=LOW..HIGH gives it other bounds.",
            stacklevel=2,
        )


def bounds(space: spaces.Box, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """The bounds (A,) between which the agent chooses, as float64."""
    low, high = space.low.reshape(-1).astype(float), space.high.reshape(-1).astype(float)
    for key, least, most in options.bounds:
        if key == "action":
            low, high = np.maximum(low, least), np.minimum(high, most)
    return low, high


def action_map(space: spaces.Space, options: Options = NO_OPTIONS) -> Callable[[np.ndarray], Any]:
    """The function from the agent's action, () int32 or (A,) in [-1, 1], to the environment's.

    Its result lies in the space, whatever the agent's action is.
    """
    dtype: Any = np.dtype(space.dtype)
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return lambda action: dtype.type(int(action) + start)
    limits = discrete_limits(space)
    if limits is not None:
        table = [np.array(x, dtype).reshape(space.shape) for x in combinations(*limits)]
        return lambda action: table[int(action)].copy()
    assert isinstance(space, spaces.Box)
    to_bounds = hosted.bounds_map(*bounds(space, options), integers=dtype.kind != "f")
    shape, low, high = space.shape, space.low, space.high
    # Clipped again to the bounds as they are declared, because casting rounds.
    return lambda action: np.clip(to_bounds(action).astype(dtype).reshape(shape), low, high)


def combinations(low: np.ndarray, high: np.ndarray) -> list[tuple[int, ...]]:
    """All combinations of integers between two arrays, the last of them changing fastest."""
    ranges = [range(int(a), int(b) + 1) for a, b in zip(np.ravel(low), np.ravel(high))]
    return list(itertools.product(*ranges))


def apart(name: str) -> str:
    """Atari's `downleftfire` as `down left fire`; other names stay as they are."""
    moves = re.findall("up|down|left|right|fire", name)
    return " ".join(moves) if "".join(moves) == name else name


def action_names(space: spaces.Space, ours: Space, meanings: Any) -> tuple[str, ...]:
    """The environment's names of its actions (as Atari has them), else their numbers."""
    count = ours.classes or ours.shape[0]
    if isinstance(meanings, list | tuple) and len(meanings) == count:
        return tuple(apart(" ".join(str(word).lower().split()))[:40] for word in meanings)
    limits = discrete_limits(space)
    if limits is not None and not isinstance(space, spaces.Discrete):
        return tuple(" ".join(map(str, numbers)) for numbers in combinations(*limits))
    return tuple(map(str, range(count)))
