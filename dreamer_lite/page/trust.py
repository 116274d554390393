"""How far to trust an imagined step: a probability from the model alone, fitted and measured.

While one steers an imagined rollout there is no reality to compare it with. The model itself has
signs of doubt (`doubts`): the entropy of the prior; how much its own prediction, encoded again,
would surprise it; and how far the sample's prediction is from the prior's mean. `calibrate` records
episodes, imagines beside them, and fits a logistic regression that turns these signs into the
probability that an imagined frame is good: that it errs at most half as much as the mean frame of
all that was recorded does, by the measure of `evaluation.dreams`. How well it works is measured on
environments that the fit has not seen, beside a fit that knows the number of steps only.
"""

import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.agent.agent import Agent, Params, embed_action, make_agent
from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.rssm import State, where
from dreamer_lite.config import Config
from dreamer_lite.evaluation.dreams import ages, choose
from dreamer_lite.evaluation.open_loop import decode, numbers
from dreamer_lite.evaluation.players import Trace, random_action
from dreamer_lite.training import streams
from dreamer_lite.worlds import AnyWorld, is_hosted, next_timestep
from dreamer_lite.worlds.base import Space, World

ROLLOUTS, HORIZON = 256, 20  # imagined rollouts, and steps of each
MOST_NUMBERS = 20_000_000  # in all observations together: fewer rollouts, if these are large
GOOD = 0.5  # an imagined frame is good if it errs at most half as much as the mean frame does
NEW = 0.3  # probability that a held action is drawn anew
FEWEST = 20  # good frames, and bad ones, below which no AUC is given
RIDGE = 1.0  # of the squared weights, against a sum over all steps
ITERATIONS = 30  # of Newton's method


class Trust(NamedTuple):
    """The fit, of D inputs, and what it is worth. Plain numbers."""

    weights: list[float]  # (D,)
    bias: float
    mean: list[float]  # (D,) of the inputs
    scale: list[float]  # (D,) their standard deviation
    auc: float | None  # area under the ROC curve on other environments; None if not measured
    auc_steps: float | None  # of a fit that knows only the number of steps
    good: float  # fraction of imagined frames that were good
    frames: int  # on which the areas were measured


def calibrate(config: Config, params: Params, world: AnyWorld, trace: Any, seed: int) -> Trust:
    """Fit on every other environment of a recorded `Trace` (T, W, ...), measure on the rest.

    Raises:
      ValueError: no episode is long enough.
    """
    age, left = ages(trace.timestep.is_first, trace.timestep.is_last)
    size = sum(space.size for space in world.obs_space.values())
    count = max(32, min(ROLLOUTS, MOST_NUMBERS // (HORIZON * size)))
    times, places, used = choose(age, left, streams.generator("trust", seed), count)
    found = jax.jit(imagine_beside, static_argnums=(0, 1))(
        config, world, params, trace, times, places, streams.key("trust", seed)
    )
    doubt, dream, real, going = jax.device_get(found)
    recorded = np.arange(1, HORIZON + 1)[:, None] <= left[times, places]
    valid = used & (recorded if is_hosted(world) else going)
    observed = np.asarray(numbers(trace.timestep.obs, world.obs_space))
    mean, start = observed.mean((0, 1)), observed[times, places]
    good, inputs = is_good(mean, dream, real, start, valid), evidence(doubt)
    group = places if places.any() else np.arange(len(places))  # one environment: by rollout
    fit, test = valid & (group % 2 == 0), valid & (group % 2 == 1)
    chosen = logistic(inputs[fit], good[fit])
    by_steps = logistic(inputs[fit][:, -1:], good[fit])
    return Trust(
        *(x.tolist() for x in chosen),
        auc=auc(probability(chosen, inputs[test]), good[test]),
        auc_steps=auc(probability(by_steps, inputs[test][:, -1:]), good[test]),
        good=float(good[valid].mean()),
        frames=int(test.sum()),
    )


def imagine_beside(
    config: Config, world: AnyWorld, params: Params, trace: Trace, times, places, key: jax.Array
):
    """Imagined rollouts from moments (M,), and reality under the same actions.

    An environment in JAX is set to each moment. There, half of the rollouts take random actions
    that are held for a while, as a reader's hand would; the rest, and all others, the recorded
    ones. Returns the signs of doubt (H, M, 4), the decoded and the real observations (H, M, n), and
    whether the real episode still goes on or has just ended (H, M).
    """
    dream_key, plan_key, real_key = jax.random.split(key, 3)
    agent = make_agent(config, world.obs_space, world.action_space).merge(params)
    ahead = jnp.minimum(times[None] + jnp.arange(HORIZON + 1)[:, None], len(trace.action) - 1)
    at = jax.tree.map(lambda x: jnp.asarray(x)[ahead, places], trace._replace(frame=None))
    plan, real, going = at.action[:-1], at.timestep.obs, jnp.ones(ahead.shape, bool)
    if not is_hosted(world):
        plan = half_held(plan, world.action_space, plan_key)
        real, going = real_under(cast(World, world), at, plan, real_key)
    start = jax.tree.map(lambda x: x[0], at.state)
    states = agent.model.open_loop(start, embed_action(plan, world.action_space), dream_key)

    def judge(state: State):
        means = decode(agent, state)
        return doubts(agent, state, means, world.obs_space), numbers(means, world.obs_space)

    doubt, dream = jax.lax.map(judge, states)
    after = {name: x[1:] for name, x in real.items()}
    return doubt, dream, numbers(after, world.obs_space), going[1:]


def half_held(plan: jax.Array, space: Space, key: jax.Array) -> jax.Array:
    """Plans (H, M, ...) of which every other one is replaced by random actions that are held."""
    new_key, action_key = jax.random.split(key)
    random = random_action(space, jnp.zeros(plan.shape[:2], bool).ravel(), action_key)
    random = random.reshape(plan.shape)
    new = jax.random.bernoulli(new_key, NEW, plan.shape[:2]).at[0].set(True)
    drawn_at = jnp.maximum.accumulate(jnp.where(new, jnp.arange(len(plan))[:, None], 0))
    held = random[drawn_at, jnp.arange(plan.shape[1])]
    return where(jnp.broadcast_to(jnp.arange(plan.shape[1]) % 2 == 1, plan.shape[:2]), held, plan)


def real_under(world: World, at: Trace, plan: jax.Array, key: jax.Array):
    """Observations (H+1, M, ...) of an environment from its moments on, under plans (H, M, ...).

    And whether its episode goes on or has just ended, (H+1, M).
    """
    begin = jax.tree.map(lambda x: x[0], (at.world, at.timestep))
    follow: Any = jax.vmap(functools.partial(next_timestep, world))

    def step(carry, inputs):
        action, key = inputs
        keys = jax.random.split(key, len(action))
        own, timestep = follow(*carry[:2], action, keys)
        going = carry[2] & ~carry[1].is_last
        return (own, timestep, going), (timestep.obs, going)

    first = (*begin, jnp.ones(plan.shape[1], bool))
    _, (obs, going) = jax.lax.scan(step, first, (plan, jax.random.split(key, len(plan))))
    obs = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), begin[1].obs, obs)
    return obs, jnp.concatenate([first[2][None], going])


def doubts(
    agent: Agent, state: State, means: dict[str, jax.Array], spaces: dict[str, Space]
) -> jax.Array:
    """Signs of doubt at imagined states (M, ...) whose decoded observations are `means`; (M, 4).

    The prior's entropy; KL(q' || p) and -ln q'(z), where q' is the posterior of the decoded
    observation; and the mean squared distance to what is decoded from the prior's probabilities.
    """
    model = agent.model
    prior = model.rssm.prior(state.deter)
    again = model.rssm.posterior(state.deter, model.encoder(as_observed(means, spaces)))
    expected = decode(agent, State(state.deter, prior.probs))
    parts = [(means[k] - expected[k]).reshape(len(state.deter), -1) for k in sorted(means)]
    return jnp.stack(
        [
            prior.entropy().sum(-1),
            again.kl(prior).sum(-1),
            -OneHot(again.logits).log_prob(state.stoch).sum(-1),
            (jnp.concatenate(parts, -1) ** 2).mean(-1),
        ],
        -1,
    )


def as_observed(means: dict[str, jax.Array], spaces: dict[str, Space]) -> dict[str, Any]:
    """Decoded observations in the form of real ones, so that they can be encoded again."""

    def form(x: jax.Array, space: Space) -> jax.Array:
        if space.is_discrete:
            return jnp.argmax(x, -1)
        return 255 * x if space.is_image else x

    return {key: form(x, spaces[key]) for key, x in means.items()}


def evidence(doubt: np.ndarray) -> np.ndarray:
    """Inputs of the fit (H, M, D) from signs of doubt (H, M, 4): logarithms of 1 + the signs now,
    their sums so far, and the number of steps."""
    steps = np.broadcast_to(np.arange(1.0, len(doubt) + 1)[:, None, None], (*doubt.shape[:2], 1))
    doubt = np.maximum(doubt, 0)  # rounding may leave -1e-7
    return np.log1p(np.concatenate([doubt, np.cumsum(doubt, 0), steps], -1))


def is_good(
    mean: np.ndarray, dream: np.ndarray, real: np.ndarray, start: np.ndarray, valid: np.ndarray
) -> np.ndarray:
    """Whether each imagined frame errs at most GOOD times as much as the mean frame (n,); (H, M).

    Squared errors count in the cells that differ from the frame at the start at any valid step of
    the rollout, as in `evaluation.dreams`. dream, real (H, M, n); start (M, n); valid (H, M).
    """
    counted = (valid[..., None] & (real != start)).any(0)  # (M, n)
    error = (np.square(dream - real) * counted).sum(-1)
    return error <= GOOD * (np.square(mean - real) * counted).sum(-1)


Fit = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # weights, bias, mean, scale


def logistic(x: np.ndarray, y: np.ndarray) -> Fit:
    """Logistic regression of y (N,) bool on standardised x (N, D), with a small ridge."""
    mean, scale = x.mean(0), x.std(0) + 1e-6
    design = np.concatenate([(x - mean) / scale, np.ones((len(x), 1))], -1)
    ridge = RIDGE * np.eye(design.shape[1])
    ridge[-1, -1] = 1e-3  # the bias; 0 would diverge where all are of one class
    weights = np.zeros(design.shape[1])
    for _ in range(ITERATIONS):
        p = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (p - y) + ridge @ weights
        curvature = (design * (p * (1 - p))[:, None]).T @ design + ridge
        weights = weights - np.linalg.solve(curvature, slope)
    return weights[:-1], weights[-1], mean, scale


def probability(fit: Fit, x: np.ndarray) -> np.ndarray:
    weights, bias, mean, scale = fit
    return 1 / (1 + np.exp(-((x - mean) / scale @ weights + bias)))


def auc(score: np.ndarray, good: np.ndarray) -> float | None:
    """Probability that a good frame scores above a bad one; 0.5 is guessing; ties count half.

    None if there are fewer than FEWEST of either.
    """
    if min(good.sum(), (~good).sum()) < FEWEST:
        return None
    _, rank, count = np.unique(score, return_inverse=True, return_counts=True)
    above = np.cumsum(count) - (count - 1) / 2  # mean rank of each score
    ranks, n = above[rank], int(good.sum())
    return float((ranks[good].sum() - n * (n + 1) / 2) / (n * (len(good) - n)))
