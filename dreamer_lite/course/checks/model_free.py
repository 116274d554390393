"""Notebook 10: PPO, an agent without a model."""

import jax
import jax.numpy as jnp

from dreamer_lite.baselines import ppo
from dreamer_lite.course.checks.inputs import flags, normal
from dreamer_lite.course.compare import Function, Part, compare, gradient, on

# Two ends: a true one after three actions, and in the second world a time limit after two.
LAST = flags("0001000", "0010000", "0000000", "0000001")
TERMINAL = flags("0001000", "0000000", "0000000", "0000001")


def advantages(mine: Function) -> Function:
    """`mine(reward, is_last, is_terminal, value, discount, lam)`: (T+1, W) four times -> (T, W).

    What it says of a last row, whose action was ignored, is not compared.
    """
    counts = 1.0 - LAST[:-1]

    def part(what: str, *numbers: float) -> Part:
        inputs = normal(60, 7, 4), LAST, TERMINAL, normal(61, 7, 4)

        def measure(function: Function):
            found = function(*inputs, *numbers)
            same = getattr(found, "shape", None) == counts.shape
            return jnp.where(counts > 0, found, 0.0) if same else found

        return Part(what, measure)

    def shifted(x: jax.Array) -> jax.Array:
        """Puts x at t where the right formula looks for x at t + 1."""
        return jnp.concatenate([x[:1], x[:-1]])

    right, never = ppo.advantages, jnp.zeros_like(LAST)
    return compare(
        mine,
        right,
        [
            part("7 rows of 4 worlds with two ends and a time limit, lambda 0.95", 0.99, 0.95),
            part("lambda 0.5, discount 0.9", 0.9, 0.5),
        ],
        {
            "something runs back across the end of an episode: cut lambda where t + 1 is last.": (
                lambda r, last, end, v, d, lam: right(r, never, end, v, d, lam)
            ),
            "a time limit is no end: only is_terminal takes the value away.": (
                lambda r, last, end, v, d, lam: right(r, last, last, v, d, lam)
            ),
            "after a true end there is no value: multiply it by 1 - is_terminal.": (
                lambda r, last, end, v, d, lam: right(r, last, never, v, d, lam)
            ),
            "you take the reward of the row itself: r at t + 1 is what the action earns.": (
                lambda r, last, end, v, d, lam: right(shifted(r), last, end, v, d, lam)
            ),
            "these are returns: an advantage is what is left when the value is taken off.": (
                lambda r, last, end, v, d, lam: right(r, last, end, v, d, lam) + v[:-1]
            ),
            "lambda is missing: the later advantage counts discount times LAMBDA.": (
                lambda r, last, end, v, d, lam: right(r, last, end, v, d, 1.0)
            ),
        },
        "which of them count.",
    )


def normalise(mine: Function) -> Function:
    """`mine(advantage, weight)`: (n,) twice -> (n,), mean 0 and deviation 1 where weight is 1."""
    advantage, weight = 3 + 2 * normal(62, 40), (normal(63, 40) < 0.5).astype(jnp.float32)

    def everywhere(advantage, weight):
        return (advantage - advantage.mean()) / (advantage.std() + 1e-8)

    return compare(
        mine,
        ppo.normalise,
        [
            on("40 advantages, some of which do not count", advantage, weight),
            on("all count", advantage, jnp.ones_like(weight)),
        ],
        {
            "what does not count moves your mean: weigh the sums, divide by the sum of weights.": (
                lambda a, w: w * everywhere(a, w)
            ),
            "what does not count must come out as 0, and must not move the mean.": everywhere,
            "divide by the deviation, the root of the mean square.": (
                lambda a, w: (
                    ppo.normalise(a, w)
                    / jnp.sqrt(ppo.weighted_mean((a - ppo.weighted_mean(a, w)) ** 2, w))
                )
            ),
            "take the mean off first.": (
                lambda a, w: (
                    w * a / jnp.sqrt(ppo.weighted_mean((a - ppo.weighted_mean(a, w)) ** 2, w))
                )
            ),
        },
        "how far a step may go.",
    )


def clipped_loss(mine: Function) -> Function:
    """`mine(log_prob, old_log_prob, advantage, clip)`: (n,) three times, a number -> (n,)."""
    old = -1.0 + 0.3 * normal(64, 30)
    log_prob, advantage = old + 0.4 * normal(65, 30), normal(66, 30)

    def plain(log_prob, old, advantage, clip):
        return -jnp.exp(log_prob - old) * advantage

    def bounded(log_prob, old, advantage, clip):
        return -jnp.clip(jnp.exp(log_prob - old), 1 - clip, 1 + clip) * advantage

    right = ppo.clipped_loss
    return compare(
        mine,
        right,
        [
            on("30 actions, clip 0.2", log_prob, old, advantage, 0.2),
            gradient("its gradient for log_prob", log_prob, old, advantage, 0.2),
            on("clip 0.05", log_prob, old, advantage, 0.05),
        ],
        {
            "nothing is clipped: that is the plain ratio times the advantage.": plain,
            "clipping alone lets go of mistakes: take the minimum of both products.": bounded,
            "the sign is wrong: a loss goes DOWN where what turned out well becomes likelier.": (
                lambda *x: -right(*x)
            ),
            "that is the maximum: of the two products the SMALLER one counts.": (
                lambda *x: jnp.minimum(plain(*x), bounded(*x))
            ),
            "the ratio is upside down: new probability over old.": (
                lambda new, old, a, clip: right(2 * old - new, old, a, clip)
            ),
            "that is the difference of logarithms: the ratio is its exponential.": (
                lambda new, old, a, clip: (
                    -jnp.minimum((new - old) * a, jnp.clip(new - old, 1 - clip, 1 + clip) * a)
                )
            ),
        },
        "put them together.",
    )
