"""Imagined rollouts (dreams) beside reality: open loop, under the actions that reality took.

How fast does the error grow? `compare` measures it at many moments, against two predictors that
know nothing of the environment's rules: repeat the last frame, and the mean of all frames.
`frames` shows a few of the moments. Used in notebooks 06 and 10.

How it is measured. The agent acts; its posterior after a real time step is where a dream starts.
* Moments are drawn by seed among all time steps, once the agent has observed OBSERVED steps of the
  episode. Horizon h counts at a moment only while its real episode, last step included, goes on.
* Only cells that change: those (pixel and channel) that differ from the last frame seen at any
  counted horizon of that moment. The set is the same for all horizons and all predictors. Cells
  that rest all the time would make every error look small; cells that change at just this
  horizon would make repeating the last frame wrong everywhere by construction.
* Squared error, as it is proper: a dream that gives the ball 70 % here and 30 % there scores best
  by saying just that. Images count in [0, 1], vectors in symlog, classes as one-hot.
* The dream is the decoder's mean of ONE sampled dream per moment, never the best of several. A
  single sample must commit where the environment is stochastic, so far ahead even a perfect model
  errs up to twice as much as the mean frame; `average`, the mean over several dreams, does not.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from dreamer_lite.agent.agent import Params
from dreamer_lite.config import Config
from dreamer_lite.evaluation.open_loop import SHOWN_IMAGINED, SHOWN_OBSERVED, Signals, make_dreamer
from dreamer_lite.evaluation.players import make_player
from dreamer_lite.evaluation.rollouts import action_name, start_as_many
from dreamer_lite.show import images
from dreamer_lite.training import streams
from dreamer_lite.worlds import AnyWorld

WORLDS, STEPS = 16, 384  # environments, and time steps that the agent acts in each
OBSERVED = 5  # time steps of its episode that the agent has observed before the open loop
MOMENTS, HORIZON = 256, 15  # moments, steps ahead
CLIPS = 4  # moments in the film
HOLD = 4  # frames for which a clip stands still before the next


class Clips(NamedTuple):
    """K moments to look at, L time steps each: observed, then imagined. Numpy arrays."""

    step: np.ndarray  # (L,) steps of the open loop; observed up to 0
    valid: np.ndarray  # (L, K) bool, the step belongs to the moment's episode
    is_first: np.ndarray  # (L, K) bool, the episode begins here
    action: np.ndarray  # (L, K, ...) what led to the step, in reality and dream alike
    obs: dict[str, np.ndarray]  # (L, K, ...) reality
    seen: dict[str, np.ndarray]  # (L, K, ...) decoder's mean: reconstruction, then dream
    real: Signals  # (L, K)
    dream: Signals  # (L, K)


class Comparison(NamedTuple):
    """Dream against reality, H horizons at M moments. Numpy arrays; errors as the module says."""

    horizon: np.ndarray  # (H,) 1 to H
    moments: np.ndarray  # (H,) how many count: their episode still went on
    model: np.ndarray  # (H,) mean squared error of a dream on the cells that change
    average: np.ndarray  # (H,) of the mean of several dreams
    copy_last: np.ndarray  # (H,) of the last frame seen
    mean_frame: np.ndarray  # (H,) of the mean of all real frames, these moments' included
    valid: np.ndarray  # (H, M) bool, this horizon counts at this moment
    real: Signals  # (H, M)
    dream: Signals  # (H, M)
    clips: Clips

    def as_json(self) -> dict[str, list]:
        """The errors at every horizon that some moment reached, as plain numbers."""
        reached = self.moments > 0
        names = ("horizon", "model", "copy_last", "mean_frame")
        return {name: getattr(self, name)[reached].tolist() for name in names}


def compare(
    config: Config,
    params: Params,
    world: AnyWorld,
    seed: int,
    moments: int = MOMENTS,
    horizon: int = HORIZON,
) -> Comparison:
    """Let the agent act, then imagine from `moments` of its real moments, `horizon` steps each.

    Raises:
      ValueError: `moments` or `horizon` below 1, or no episode is longer than OBSERVED steps.
    """
    if min(moments, horizon) < 1:
        raise ValueError(f"moments={moments} and horizon={horizon} must both be at least 1.")
    player, dreamer = make_player(config, world), make_dreamer(config, world)
    stage = start_as_many(player, params, seed, WORLDS, "compare")
    _, trace = player.play(params, stage, STEPS)
    age, left = ages(np.asarray(trace.timestep.is_first), np.asarray(trace.timestep.is_last))
    times, places, used = choose(age, left, streams.generator("moments", seed), moments)
    ahead = left[times, places]
    valid = used & (np.arange(1, horizon + 1)[:, None] <= ahead)
    measure_key, film_key = streams.key("measure", seed), streams.key("film", seed)
    errors, real, dream = jax.device_get(
        dreamer.measure(params, trace, times, places, valid, measure_key)
    )
    clips = choose_clips(age[times, places], ahead, places, used)
    step = np.arange(1 - SHOWN_OBSERVED, SHOWN_IMAGINED + 1)
    film = jax.device_get(dreamer.film(params, trace, times[clips], places[clips], film_key))
    within = (step[:, None] >= -age[times, places][clips]) & (step[:, None] <= ahead[clips])
    return Comparison(
        horizon=np.arange(1, horizon + 1),
        moments=valid.sum(1),
        **errors,
        valid=valid,
        real=real,
        dream=dream,
        clips=Clips(step, within, *film),
    )


def ages(is_first: np.ndarray, is_last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps of its episode before, and after, each step of a trace; (T, W) bool -> (T, W) int."""
    steps = np.arange(len(is_first))[:, None]
    began = np.maximum.accumulate(np.where(is_first, steps, 0))
    ends = np.minimum.accumulate(np.where(is_last, steps, len(is_last) - 1)[::-1])[::-1]
    return steps - began, ends - steps


def choose(
    age: np.ndarray, left: np.ndarray, rng: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw `count` different moments at which a rollout may begin: times, places, used, (count,).

    If there are fewer, some are repeated to keep the shape, and `used` is False for those.
    """
    times, places = np.nonzero((age >= OBSERVED - 1) & (left >= 1))
    if not len(times):
        raise ValueError(
            f"No episode went on after its first {OBSERVED} time steps: nothing to imagine."
        )
    order = rng.permutation(len(times))[:count]
    picked = np.resize(order, count)
    return times[picked], places[picked], np.arange(count) < len(order)


def choose_clips(
    age: np.ndarray, left: np.ndarray, places: np.ndarray, used: np.ndarray
) -> np.ndarray:
    """Which moments to show: the first ones drawn that fill a clip, one of each environment.

    Where too few do, those that fill most of one. The error of the dream plays no part.
    """
    filled = np.minimum(left, SHOWN_IMAGINED) + np.minimum(age, SHOWN_OBSERVED - 1)
    order = np.argsort(-filled[used], kind="stable")
    _, first = np.unique(places[order], return_index=True)
    return order[np.sort(first)[:CLIPS]]


def frames(comparison: Comparison, world: AnyWorld) -> np.ndarray:
    """The film: reality, dream and difference side by side; (n, h, w, 3) uint8, even sizes.

    While observing, the middle shows the reconstruction, in a plain green border. In the open loop
    the border is purple and dashed, and the frame is imagined from the actions alone. A clip ends
    with its episode.
    """
    clips = comparison.clips
    draw = images.painter(world, [clips.obs, clips.seen])
    film = []
    for k in range(clips.valid.shape[1]):
        film += [frame(clips, world, draw, int(i), k) for i in np.flatnonzero(clips.valid[:, k])]
        film += [film[-1]] * HOLD
    return np.stack(film)


def frame(
    clips: Clips, world: AnyWorld, draw: Callable[..., np.ndarray], i: int, k: int
) -> np.ndarray:
    """Step i of clip k as one image (h, w, 3) uint8; `draw` makes one of an observation."""
    real, dream = (
        draw({key: x[i, k] for key, x in obs.items()}) for obs in (clips.obs, clips.seen)
    )
    step = int(clips.step[i])
    corner = f"moment {k + 1} of {clips.valid.shape[1]}"
    if not clips.is_first[i, k]:
        corner = f"action {action_name(world, clips.action[i, k])}   {corner}"
    header = f"open loop, step {step}" if step > 0 else f"observing, open loop in {-step}"
    says = f"reward {clips.real.reward[i, k]:g}   "
    says += "goes on" if clips.real.cont[i, k] else "the end"
    return images.triptych(
        panels=[real, dream, images.difference(dream, real)],
        titles=["reality", "imagined" if step > 0 else "reconstruction", "difference"],
        notes=[
            says,
            f"reward {clips.dream.reward[i, k]:z.2f}   goes on: {clips.dream.cont[i, k]:.0%}",
        ],
        observing=step <= 0,
        header=header if step else "observing, then open loop",
        corner=corner,
        done=(i + 1) / len(clips.step),
        closing=SHOWN_OBSERVED / len(clips.step),
    )
