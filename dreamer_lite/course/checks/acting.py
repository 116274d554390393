"""Notebook 07: actor and critic."""

import math

import jax
import jax.numpy as jnp

from dreamer_lite.agent import behavior
from dreamer_lite.agent.behavior import ReturnRange
from dreamer_lite.agent.distributions import BoundedNormal
from dreamer_lite.config import Config
from dreamer_lite.course.checks.exercise import check, normal, previous, uniform
from dreamer_lite.course.compare import Exercise, Part, on


@check
def lambda_returns() -> Exercise:
    """`mine(reward, cont, value, lam)`: (H+1, N) three times, a number -> (H, N).

    Source: Hafner et al. 2025, Eq. 5; `behavior.lambda_returns`.
    """

    def oracle(reward, cont, value, lam):
        return behavior.lambda_returns(reward, cont, jnp.full_like(cont, lam), value)

    def value_of_state(reward, cont, value, lam):
        return oracle(reward, cont, previous(value).at[-1].set(value[-1]), lam)

    inputs = normal(40, 6, 4), uniform(41, 6, 4), normal(42, 6, 4)
    return Exercise(
        oracle,
        [
            on("4 imagined rollouts of 5 steps, lambda 0.95", *inputs, 0.95),
            on("lambda 0.5", *inputs, 0.5),
        ],
        reward_of_state=lambda r, c, v, lam: oracle(previous(r), c, v, lam),
        value_of_state=value_of_state,
        cont_of_state=lambda r, c, v, lam: oracle(r, previous(c), v, lam),
        swapped=lambda r, c, v, lam: oracle(r, c, v, 1 - lam),
        no_bootstrap=lambda r, c, v, lam: oracle(r, c, v.at[-1].set(0.0), lam),
        no_values=lambda r, c, v, lam: oracle(r, c, 0 * v, 1.0),
    )


@check
def dream_weights() -> Exercise:
    """`mine(cont)`: (H+1, N) -> (H, N), the probability that the rollout has not ended.

    Source: `imag_loss` of the released code (dreamerv3/agent.py), `weight`.
    """

    def oracle(cont):
        return jnp.cumprod(cont, 0)[:-1]

    return Exercise(
        oracle,
        [on("4 imagined rollouts of 5 steps", uniform(43, 6, 4))],
        start_left_out=lambda cont: oracle(cont.at[0].set(1.0)),
        one_step=lambda cont: cont[:-1],
        last_kept=lambda cont: jnp.cumprod(cont, 0)[1:],
    )


@check
def return_scale() -> Exercise:
    """`mine(low, high, returns)`: (), (), (H, N) -> new low, new high, scale.

    Source: Hafner et al. 2025, Eq. 7; `behavior.update_range`.
    """

    def scaled(low, high):
        return low, high, jnp.maximum(1.0, high - low)

    def oracle(low, high, returns, **settings):
        config = Config(**settings)
        new = behavior.update_range(ReturnRange(low, high), returns, config)
        return (*new, behavior.return_scale(new, config.return_limit))

    def percentiles(returns):
        return jnp.percentile(returns, jnp.array([5.0, 95.0]))

    def swapped(low, high, returns):
        new = percentiles(returns)
        return scaled(0.99 * new[0] + 0.01 * low, 0.99 * new[1] + 0.01 * high)

    def no_limit(low, high, returns):
        low, high, _ = oracle(low, high, returns)
        return low, high, high - low

    def old_scale(low, high, returns):
        return (*oracle(low, high, returns)[:2], jnp.maximum(1.0, high - low))

    zero, returns = jnp.float32(0), 5 * normal(44, 15, 8)
    return Exercise(
        oracle,
        [
            on("120 returns, old range -3 to 6", zero - 3, zero + 6, returns),
            on("small returns, old range 0 to 0", zero, zero, 0.1 * returns),
        ],
        forgetful=lambda low, high, x: scaled(*percentiles(x)),
        swapped=swapped,
        extremes=lambda low, high, x: oracle(low, high, x, return_low=0, return_high=100),
        no_limit=no_limit,
        old_scale=old_scale,
    )


@check
def actor_loss() -> Exercise:
    """`mine(log_prob, entropy, advantage, weight, eta)`: (H, N) four times -> (H, N).

    Advantages and weights are constants. Source: Hafner et al. 2025, Eq. 6.
    """
    sg = jax.lax.stop_gradient

    def loss(log_prob, entropy, advantage, weight, eta):
        return -weight * (log_prob * advantage + eta * entropy)

    def oracle(log_prob, entropy, advantage, weight, eta):
        return loss(log_prob, entropy, sg(advantage), sg(weight), eta)

    inputs = -uniform(45, 5, 4), uniform(46, 5, 4), normal(47, 5, 4), uniform(48, 5, 4)

    def gradients(function):
        return jax.grad(lambda *x: jnp.sum(function(*x, 0.5)), (0, 1, 2, 3))(*inputs)

    return Exercise(
        oracle,
        [
            on("4 imagined rollouts of 5 steps, eta 0.5", *inputs, 0.5),
            Part("the gradients for all four", gradients),
        ],
        wrong_sign=lambda *x: -oracle(*x),
        entropy_sign=lambda p, h, a, w, eta: oracle(p, h, a, w, -eta),
        no_weight=lambda p, h, a, w, eta: oracle(p, h, a, jnp.ones_like(w), eta),
        half_weighted=lambda p, h, a, w, eta: -(sg(w) * p * sg(a) + eta * h),
        no_stop=loss,
        no_gradient=lambda *x: sg(oracle(*x)),
    )


@check
def normal_log_prob() -> Exercise:
    """`mine(x, center, std)`: (..., A) three times -> (...), the log-density of a Gaussian policy.

    The log-densities of the A numbers are summed. Source: `distributions.BoundedNormal`.
    """

    def oracle(x, center, std):
        return BoundedNormal(center, std).log_prob(x)

    constant = 0.5 * math.log(2 * math.pi)
    inputs = 2 * normal(49, 6, 3), jnp.tanh(normal(50, 6, 3)), 0.1 + 0.9 * uniform(51, 6, 3)
    return Exercise(
        oracle,
        [on("6 actions of 3 numbers", *inputs)],
        no_log_std=lambda x, m, s: oracle(x, m, s) + jnp.log(s).sum(-1),
        variance=lambda x, m, s: oracle(m + (x - m) * jnp.sqrt(s), m, s),
        no_constant=lambda x, m, s: oracle(x, m, s) + constant * x.shape[-1],
        clipped=lambda x, m, s: oracle(jnp.clip(x, -1, 1), m, s),
        averaged=lambda x, m, s: oracle(x, m, s) / x.shape[-1],
    )
