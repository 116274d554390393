"""Notebook 06: actor and critic."""

import math

import jax
import jax.numpy as jnp

from dreamer_lite.agent import behavior
from dreamer_lite.agent.behavior import ReturnRange
from dreamer_lite.agent.distributions import BoundedNormal
from dreamer_lite.config import Config
from dreamer_lite.course.checks.inputs import normal, uniform
from dreamer_lite.course.compare import Function, Part, compare, on


def lambda_returns(mine: Function) -> Function:
    """`mine(reward, cont, value, lam)`: (H+1, N) three times, a number -> (H, N) (SPEC 9.2)."""

    def oracle(reward, cont, value, lam):
        return behavior.lambda_returns(reward, cont, jnp.full_like(cont, lam), value)

    def shifted(x: jax.Array) -> jax.Array:
        """Puts x at t where the right formula looks for x at t + 1."""
        return jnp.concatenate([x[:1], x[:-1]])

    def no_boot(reward, cont, value, lam):
        return oracle(reward, cont, value.at[-1].set(0.0), lam)

    inputs = normal(40, 6, 4), uniform(41, 6, 4), normal(42, 6, 4)
    return compare(
        mine,
        oracle,
        [on("4 dreams of 5 steps, lambda 0.95", *inputs, 0.95), on("lambda 0.5", *inputs, 0.5)],
        {
            "you take the reward of the state itself: r at t + 1 is what the action earns.": (
                lambda r, c, v, lam: oracle(shifted(r), c, v, lam)
            ),
            "you take the value of the state itself: the one at t + 1 is meant.": (
                lambda r, c, v, lam: oracle(r, c, shifted(v).at[-1].set(v[-1]), lam)
            ),
            "you take the continuation of the state itself: the one at t + 1 is meant.": (
                lambda r, c, v, lam: oracle(r, shifted(c), v, lam)
            ),
            "lambda and 1 - lambda are swapped: lambda goes on with the later RETURN.": (
                lambda r, c, v, lam: oracle(r, c, v, 1 - lam)
            ),
            "nothing is known of the world after the last state but its value: begin with it, "
            "not with 0.": no_boot,
            "the values are left out: that is the plain discounted sum of rewards.": (
                lambda r, c, v, lam: oracle(r, c, 0 * v, 1.0)
            ),
        },
        "how much a dreamt step counts.",
    )


def dream_weights(mine: Function) -> Function:
    """`mine(cont)`: (H+1, N) -> (H, N), the chance that the dream still goes on (SPEC 9.3)."""

    def oracle(cont: jax.Array) -> jax.Array:
        return jnp.cumprod(cont, 0)[:-1]

    return compare(
        mine,
        oracle,
        [on("4 dreams of 5 steps", uniform(43, 6, 4))],
        {
            "the first state's own chance counts too: a dream may begin at an end.": (
                lambda c: jnp.concatenate([jnp.ones_like(c[:1]), jnp.cumprod(c[1:], 0)[:-1]])
            ),
            "that is the chance at one step: multiply all up to it.": lambda c: c[:-1],
            "the LAST state is not learnt from, the first is.": lambda c: jnp.cumprod(c, 0)[1:],
        },
        "the scale of the returns.",
    )


def return_scale(mine: Function) -> Function:
    """`mine(low, high, returns)`: (), (), (H, N) -> new low, new high, scale (SPEC 9.7)."""
    config = Config()

    def oracle(low, high, returns, config: Config = config):
        new = behavior.update_range(ReturnRange(low, high), returns, config)
        return (*new, behavior.return_scale(new, config.return_limit))

    def forgetful(low, high, returns):
        new = jnp.percentile(returns, jnp.array([5.0, 95.0]))
        return new[0], new[1], jnp.maximum(1.0, new[1] - new[0])

    def swapped(low, high, returns):
        new = jnp.percentile(returns, jnp.array([5.0, 95.0]))
        low, high = 0.99 * new[0] + 0.01 * low, 0.99 * new[1] + 0.01 * high
        return low, high, jnp.maximum(1.0, high - low)

    def no_limit(low, high, returns):
        low, high, _ = oracle(low, high, returns)
        return low, high, high - low

    def old_scale(low, high, returns):
        return (*oracle(low, high, returns)[:2], jnp.maximum(1.0, high - low))

    zero, returns = jnp.float32(0), 5 * normal(44, 15, 8)
    extremes = Config(return_low=0, return_high=100)
    return compare(
        mine,
        oracle,
        [
            on("120 returns, old range -3 to 6", zero - 3, zero + 6, returns),
            on("small returns, old range 0 to 0", zero, zero, 0.1 * returns),
        ],
        {
            "you forget the old range: move only 1 % of the way to the new one.": forgetful,
            "99 % of the OLD range stay, 1 % of the new one comes in.": swapped,
            "take the 5th and the 95th percentile: one lucky dream must not set the scale.": (
                lambda low, high, x: oracle(low, high, x, extremes)
            ),
            "small returns must not be blown up: the scale is at least 1.": no_limit,
            "the scale comes from the NEW range: update, then read.": old_scale,
        },
        "the actor's loss.",
    )


def actor_loss(mine: Function) -> Function:
    """`mine(log_prob, entropy, advantage, weight, eta)`: (H, N) four times -> (H, N) (SPEC 9.3).

    Advantages and weights are constants.
    """
    sg = jax.lax.stop_gradient

    def loss(log_prob, entropy, advantage, weight, eta):
        return -weight * (log_prob * advantage + eta * entropy)

    def oracle(log_prob, entropy, advantage, weight, eta):
        return loss(log_prob, entropy, sg(advantage), sg(weight), eta)

    inputs = -uniform(45, 5, 4), uniform(46, 5, 4), normal(47, 5, 4), uniform(48, 5, 4)

    def slopes(function: Function) -> tuple[jax.Array, ...]:
        def total(*inputs: jax.Array) -> jax.Array:
            return jnp.sum(function(*inputs, 0.5))

        return jax.grad(total, (0, 1, 2, 3))(*inputs)

    return compare(
        mine,
        oracle,
        [
            on("4 dreams of 5 steps, eta 0.5", *inputs, 0.5),
            Part("the gradients for all four", slopes),
        ],
        {
            "the sign is wrong: a loss goes DOWN where what turned out well becomes likelier.": (
                lambda *x: -oracle(*x)
            ),
            "entropy is a gain: it has the same sign as the advantage.": (
                lambda p, h, a, w, eta: oracle(p, h, a, w, -eta)
            ),
            "the weight is missing: steps after a dreamt end must not count.": (
                lambda p, h, a, w, eta: oracle(p, h, a, jnp.ones_like(w), eta)
            ),
            "the weight is for both terms: after the end, entropy does not count either.": (
                lambda p, h, a, w, eta: -(sg(w) * p * sg(a) + eta * h)
            ),
            "advantage and weight are constants here: put stop_gradient around both.": loss,
            "nothing teaches the actor: its log-probability must keep its gradient.": (
                lambda *x: sg(oracle(*x))
            ),
        },
        "train in a frozen dream.",
    )


def normal_log_prob(mine: Function) -> Function:
    """`mine(x, center, std)`: (..., A) three times -> (...), the log density, summed (SPEC 9.8)."""

    def oracle(x, center, std):
        return BoundedNormal(center, std).log_prob(x)

    constant = 0.5 * math.log(2 * math.pi)
    x, center = 2 * normal(49, 6, 3), jnp.tanh(normal(50, 6, 3))
    return compare(
        mine,
        oracle,
        [on("6 actions of 3 numbers", x, center, 0.1 + 0.9 * uniform(51, 6, 3))],
        {
            "ln std is missing: a wide bell is a low one.": (
                lambda x, m, s: oracle(x, m, s) + jnp.log(s).sum(-1)
            ),
            "the std is no variance: divide by it first, then square.": (
                lambda x, m, s: oracle(m + (x - m) * jnp.sqrt(s), m, s)
            ),
            "the constant is missing: half of ln 2 pi for each of the A numbers.": (
                lambda x, m, s: oracle(x, m, s) + constant * x.shape[-1]
            ),
            "do not clip the action: the world does, the density is that of the raw sample.": (
                lambda x, m, s: oracle(jnp.clip(x, -1, 1), m, s)
            ),
            "densities multiply, so their logarithms are added: take the sum, not the mean.": (
                lambda x, m, s: oracle(x, m, s) / x.shape[-1]
            ),
        },
        "swing a pendulum with it.",
    )
