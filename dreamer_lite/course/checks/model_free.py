"""Notebook 11: agents without a world model, PPO and Q-learning."""

import jax.numpy as jnp

from dreamer_lite.baselines import ppo, q_learning
from dreamer_lite.course.checks.exercise import check, flags, normal, previous
from dreamer_lite.course.compare import Exercise, Part, gradient, on

# Two ends: a terminal state after three actions, and in the second environment a time limit.
LAST = flags("0001000", "0010000", "0000000", "0000001")
TERMINAL = flags("0001000", "0000000", "0000000", "0000001")


@check
def advantages() -> Exercise:
    """`mine(reward, is_last, is_terminal, value, discount, lam)`: (T+1, W) four times -> (T, W).

    Results at a last time step, whose action was ignored, are not compared.
    Source: Schulman et al. 2016, Eq. 16; `ppo.advantages`.
    """
    counts = 1.0 - LAST[:-1]

    def part(what: str, *numbers: float) -> Part:
        inputs = normal(60, 7, 4), LAST, TERMINAL, normal(61, 7, 4)

        def measure(function):
            found = function(*inputs, *numbers)
            same = getattr(found, "shape", None) == counts.shape
            return jnp.where(counts > 0, found, 0.0) if same else found

        return Part(what, measure)

    right, never = ppo.advantages, jnp.zeros_like(LAST)
    return Exercise(
        right,
        [
            part("7 steps of 4 environments, two ends and a time limit, lambda 0.95", 0.99, 0.95),
            part("lambda 0.5, discount 0.9", 0.9, 0.5),
        ],
        across_ends=lambda r, last, end, *rest: right(r, never, end, *rest),
        time_limit=lambda r, last, end, *rest: right(r, last, last, *rest),
        value_after_end=lambda r, last, end, *rest: right(r, last, never, *rest),
        reward_of_state=lambda r, *rest: right(previous(r), *rest),
        returns=lambda r, last, end, v, *rest: right(r, last, end, v, *rest) + v[:-1],
        no_lambda=lambda r, last, end, v, d, lam: right(r, last, end, v, d, 1.0),
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

    def no_exp(new, old, a, clip):
        return -jnp.minimum((new - old) * a, jnp.clip(new - old, 1 - clip, 1 + clip) * a)

    right = ppo.clipped_loss
    return Exercise(
        right,
        [
            on("30 actions, clip 0.2", *inputs, 0.2),
            gradient("its gradient for log_prob", *inputs, 0.2),
            on("clip 0.05", *inputs, 0.05),
        ],
        not_clipped=plain,
        always_clipped=bounded,
        wrong_sign=lambda *x: -right(*x),
        maximum=lambda *x: jnp.minimum(plain(*x), bounded(*x)),
        upside_down=lambda new, old, a, clip: right(2 * old - new, old, a, clip),
        no_exp=no_exp,
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
