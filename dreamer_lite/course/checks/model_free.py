"""Notebook 11: agents without a world model, PPO and Q-learning."""

import jax
import jax.numpy as jnp

from dreamer_lite.baselines import ppo, q_learning
from dreamer_lite.course.checks.exercise import check, flags, normal, previous
from dreamer_lite.course.compare import Exercise, Part, gradient, on

# Two ends: a terminal state after three actions, and in the second environment a time limit.
LAST = flags("0001000", "0010000", "0000000", "0000001")
TERMINAL = flags("0001000", "0000000", "0000000", "0000001")
ONE = flags("0010010"), flags("0000010")  # in one environment: a time limit, a terminal state


@check
def advantages() -> Exercise:
    """`mine(reward, is_last, is_terminal, value, discount, lam)`: (T+1, W) four times -> (T, W).

    Results at a last time step, whose action was ignored, are not compared.
    Source: Schulman et al. 2016, Eq. 16; `ppo.advantages`.
    """

    def part(what: str, last: jax.Array, terminal: jax.Array, *numbers: float) -> Part:
        inputs = normal(60, *last.shape).round(1), last, terminal, normal(61, *last.shape).round(1)
        counts = 1.0 - last[:-1]

        def measure(function):
            found = function(*inputs, *numbers)
            same = getattr(found, "shape", None) == counts.shape
            return jnp.where(counts > 0, found, 0.0) if same else found

        return Part(what, measure, (*inputs, *numbers))

    def scanned(delta, decay, later):
        """The sum of decayed errors (T, W), from the last one to the first."""
        found = []
        for d, k in reversed(list(zip(delta, decay))):
            found.append(later := d + k * later)
        return jnp.stack(found[::-1])

    def errors(r, end, v, discount):
        return r[1:] + discount * (1.0 - end[1:]) * v[1:] - v[:-1]

    def from_value(r, last, end, v, d, lam):
        return scanned(errors(r, end, v, d), d * lam * (1.0 - last[1:]), v[-1])

    def forward(r, last, end, v, d, lam):
        decay = d * lam * (1.0 - last[1:])
        return scanned(errors(r, end, v, d)[::-1], decay[::-1], 0 * v[0])[::-1]

    def no_discount(r, last, end, v, d, lam):
        return scanned(errors(r, end, v, d), lam * (1.0 - last[1:]), 0 * v[0])

    def masks_of_state(r, last, end, *rest):
        return right(r, previous(last), previous(end), *rest)

    right, never = ppo.advantages, jnp.zeros_like
    return Exercise(
        right,
        [
            part("1 environment, its last time steps do not count", *ONE, 0.9, 0.5),
            part(
                "7 steps of 4 environments, two ends and a time limit, lambda 0.95",
                LAST,
                TERMINAL,
                0.99,
                0.95,
            ),
            part("lambda 0.5, discount 0.9", LAST, TERMINAL, 0.9, 0.5),
        ],
        backwards=lambda *x: right(*x)[::-1],
        forward=forward,
        across_ends=lambda r, last, *rest: right(r, never(last), *rest),
        only_terminal=lambda r, last, end, *rest: right(r, end, end, *rest),
        time_limit=lambda r, last, end, *rest: right(r, last, last, *rest),
        value_after_end=lambda r, last, end, *rest: right(r, last, never(end), *rest),
        masks_of_state=masks_of_state,
        reward_of_state=lambda r, *rest: right(previous(r), *rest),
        returns=lambda r, last, end, v, *rest: right(r, last, end, v, *rest) + v[:-1],
        no_baseline=lambda r, last, end, v, d, lam: scanned(
            errors(r, end, v, d) + v[:-1], d * lam * (1.0 - last[1:]), 0 * v[0]
        ),
        from_value=from_value,
        no_lambda=lambda r, last, end, v, d, lam: right(r, last, end, v, d, 1.0),
        no_discount=no_discount,
    )


@check
def clipped_loss() -> Exercise:
    """`mine(log_prob, old_log_prob, advantage, clip)`: (n,) three times, a number -> (n,).

    Source: Schulman et al. 2017, Eq. 7; `ppo.clipped_loss`.
    """
    old = -1.0 + 0.3 * normal(64, 30)
    inputs = old + 0.4 * normal(65, 30), old, normal(66, 30)

    def plain(log_prob, old, advantage, clip):
        return -jnp.exp(log_prob - old) * advantage

    def bounded(log_prob, old, advantage, clip):
        return -jnp.clip(jnp.exp(log_prob - old), 1 - clip, 1 + clip) * advantage

    def of_ratio(ratio, a, clip):
        return -jnp.minimum(ratio * a, jnp.clip(ratio, 1 - clip, 1 + clip) * a)

    def of_ratios(new, old, a, clip):
        ratio = jnp.exp(new - old)
        return -jnp.minimum(ratio, jnp.clip(ratio, 1 - clip, 1 + clip)) * a

    right = ppo.clipped_loss
    before = jnp.log(jnp.array([0.2, 0.3, 0.4, 0.5]))
    ratios, four = jnp.array([1.5, 1.5, 0.5, 0.5]), jnp.array([2.0, -2.0, 2.0, -2.0])
    return Exercise(
        right,
        [
            on("ratios 1.5 and 0.5", before + jnp.log(ratios), before, four, 0.2),
            on("30 actions, clip 0.2", *inputs, 0.2),
            gradient("its gradient for log_prob", *inputs, 0.2),
            on("clip 0.05", *inputs, 0.05),
        ],
        not_clipped=plain,
        always_clipped=bounded,
        wrong_sign=lambda *x: -right(*x),
        maximum=lambda *x: jnp.minimum(plain(*x), bounded(*x)),
        upside_down=lambda new, old, a, clip: right(2 * old - new, old, a, clip),
        ratio_only=of_ratios,
        around_zero=lambda new, old, a, clip: (
            -jnp.minimum(jnp.exp(new - old) * a, jnp.clip(jnp.exp(new - old), -clip, clip) * a)
        ),
        ratio_of_logs=lambda new, old, *rest: of_ratio(new / old, *rest),
        no_exp=lambda new, old, *rest: of_ratio(new - old, *rest),
    )


@check
def q_target() -> Exercise:
    """`mine(reward, is_terminal, online, target, discount)`: (B,), (B,), (B, A), (B, A) -> (B,).

    Source: van Hasselt et al. 2016, Eq. 4; `q_learning.q_target`.
    """
    reward, terminal = normal(67, 5).round(1), jnp.array([0.0, 0.0, 1.0, 0.0, 1.0])
    online, target = (normal(seed, 5, 3).round(1) for seed in (68, 69))
    right = q_learning.q_target

    return Exercise(
        right,
        [
            on("5 transitions, 3 actions, discount 0.9", reward, terminal, online, target, 0.9),
            on("discount 0.5", reward, terminal, online, target, 0.5),
        ],
        one_network=lambda r, end, on, target, d: right(r, end, target, target, d),
        no_target=lambda r, end, on, target, d: right(r, end, on, on, d),
        swapped=lambda r, end, on, target, d: right(r, end, target, on, d),
        beyond_end=lambda r, end, on, target, d: right(r, 0 * end, on, target, d),
        reward_lost=lambda r, end, *rest: (1 - end) * right(r, end, *rest),
        no_discount=lambda r, end, on, target, d: right(r, end, on, target, 1.0),
        no_reward=lambda r, *rest: right(0 * r, *rest),
    )
