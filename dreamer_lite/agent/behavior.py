"""Actor and critic, learned from imagined rollouts. Built in notebook 07.

The actor acts inside the world model, the critic predicts the return of each imagined state, and
the actor makes actions more likely whose return exceeded that prediction. Sources: Hafner et al.
2025, "Critic learning" and "Actor learning"; `imag_loss`, `repl_loss` and `lambda_return` in the
released code (dreamerv3/agent.py).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from dreamer_lite.agent import devices
from dreamer_lite.agent.distributions import BoundedNormal, OneHot, Scalar, outputs_of, scalar
from dreamer_lite.agent.fast_gpu import fewer_launches_on_gpu
from dreamer_lite.agent.layers import Head, Linear, Mlp, Rng
from dreamer_lite.agent.rssm import State, scan_states
from dreamer_lite.agent.transforms import percentile_range
from dreamer_lite.agent.world_model import Batch, WorldModel
from dreamer_lite.config import Config
from dreamer_lite.worlds.base import Space

sg = jax.lax.stop_gradient


class Actor(nnx.Module):
    """The policy: a state's feature (..., F) to a distribution over actions."""

    def __init__(self, action_space: Space, config: Config, rng: Rng):
        feature = config.deter + config.stoch * config.classes
        self.config = config
        self.mlp = Mlp(feature, config.units, config.policy_layers, rng)
        self.discrete = action_space.is_discrete
        if self.discrete:
            self.logits = Linear(config.units, action_space.classes, rng, 0.01)
        else:
            self.center = Linear(config.units, action_space.shape[0], rng, 0.01)
            self.spread = Linear(config.units, action_space.shape[0], rng, 0.01)

    def __call__(self, feature: jax.Array) -> OneHot | BoundedNormal:
        config = self.config
        x = self.mlp(feature)
        if self.discrete:
            # The released code does not apply this 1 %; the paper and we do.
            return OneHot.mix(self.logits(x), config.policy_unimix)
        return BoundedNormal.bound(self.center(x), self.spread(x), config.min_std, config.max_std)


class Critic(nnx.Module):
    """The value: a state's feature (..., F) to the return expected from it, a `Scalar` (...)."""

    def __init__(self, config: Config, rng: Rng):
        feature = config.deter + config.stoch * config.classes
        outputs = outputs_of(config.scalars, config.bins)
        self.kind = config.scalars
        self.head = Head(feature, config.units, config.value_layers, outputs, 0.0, rng)

    def __call__(self, feature: jax.Array) -> Scalar:
        return scalar(self.kind, self.head(feature))


class ReturnRange(NamedTuple):
    """Moving 5th and 95th percentile of the returns; advantages are divided by their distance."""

    low: jax.Array  # ()
    high: jax.Array  # ()


def imagine(
    model: WorldModel, actor: Actor, start: State, horizon: int, key: jax.Array
) -> tuple[State, jax.Array]:
    """Let the actor act inside the model for `horizon` steps. The key is consumed.

    start (N, ...) -> states (H+1, N, ...), the first being `start`, and actions (H, N, A), the
    one taken in each state but the last.
    """
    start = devices.spread_leading_axis(start)
    noise_key, action_key = jax.random.split(key)
    start = start.astype(model.rssm.dtype)
    u = jax.random.uniform(noise_key, (horizon, *start.stoch.shape[:-1]))

    def step(state, inputs):
        action_key, u = inputs
        action = actor(state.feature).sample(action_key)
        following = model.rssm.imagine_step(state, action, u)
        return following, action

    states, actions = scan_states(step, start, (jax.random.split(action_key, horizon), u))
    states = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, states)
    return states, actions


@fewer_launches_on_gpu
def lambda_returns(
    reward: jax.Array, live: jax.Array, lam: jax.Array, value: jax.Array
) -> jax.Array:
    """λ-returns (Hafner et al. 2025, "Critic learning"; `lambda_return` in the released code).

        Rₜ = rₜ₊₁ + cₜ₊₁ ((1 - λₜ₊₁) vₜ₊₁ + λₜ₊₁ Rₜ₊₁),    R_last = v_last

    All arguments (n, ...): reward that arrives with a state; `live` c, the discount if the episode
    continues from there (else 0); λ (0 where the sequence is cut); value. Returns (n-1, ...);
    reward[0] is unused.
    """

    assert reward.ndim and reward.shape == live.shape == lam.shape == value.shape

    def step(later, inputs):
        reward, live, lam, value = inputs
        now = reward + live * ((1 - lam) * value + lam * later)
        return now, now

    steps = jax.tree.map(lambda x: x[1:], (reward, live, lam, value))
    return jax.lax.scan(step, value[-1], steps, reverse=True)[1]


def replay_returns(
    reward: jax.Array, is_last: jax.Array, is_terminal: jax.Array, value: jax.Array, config: Config
) -> jax.Array:
    """λ-returns along replayed sequences (`repl_loss`); all (T, B) -> (T-1, B)."""
    live = (1.0 - is_terminal) * config.discount
    return lambda_returns(reward, live, (1.0 - is_last) * config.lam, value)


def update_range(old: ReturnRange, returns: jax.Array, config: Config) -> ReturnRange:
    """Move the percentiles towards those of `returns`, any shape ("Actor learning")."""
    low, high = config.return_low, config.return_high
    return ReturnRange(*percentile_range(returns, low, high, old, config.return_rate))


def return_scale(range_: ReturnRange, limit: float) -> jax.Array:
    """S = max(limit, high - low): large returns are scaled down, small ones never up."""
    return jnp.maximum(limit, range_.high - range_.low)


def actor_loss(
    policy: OneHot | BoundedNormal, actions: jax.Array, advantage: jax.Array, entropy_scale: float
) -> jax.Array:
    """-(sg(A) ln π(a) + η H[π]) ("Actor learning"); (H, N, ...) -> (H, N), before weights.

    REINFORCE for discrete and continuous actions: actions and advantages are constants.
    """
    log_prob = policy.log_prob(sg(actions))
    assert log_prob.shape == advantage.shape, (log_prob.shape, advantage.shape)
    return -(log_prob * sg(advantage) + entropy_scale * policy.entropy())


def critic_loss(value: Scalar, slow: Scalar, returns: jax.Array, slow_scale: float) -> jax.Array:
    """-ln p(R) - slow_scale ln p(v_slow) ("Critic learning"); (...), before weights.

    The slow critic is an exponential moving average of the critic, used as a regulariser. It is
    not a target network: returns bootstrap from the critic itself.
    """
    return value.loss(sg(returns)) + slow_scale * value.loss(sg(slow.mean()))


def replay_value_loss(
    critic: Critic, slow: Critic, states: State, batch: Batch, returns: jax.Array, config: Config
) -> jax.Array:
    """The critic's loss on replayed sequences, (T, B) -> (T-1, B). The model learns from it too.

    Its targets are lambda-returns of the real rewards that bootstrap from `returns` (T, B), those
    of the imagined rollouts that start at each step. Steps that end an episode do not count. In
    the released code only (`repl_loss` in agent.py).
    """
    feature = states.feature[:-1]
    target = replay_returns(batch.reward, batch.is_last, batch.is_terminal, returns, config)
    loss = critic_loss(critic(feature), slow(sg(feature)), target, config.slow_scale)
    return (1.0 - batch.is_last[:-1]) * loss
