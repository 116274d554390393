"""Notebook 04: the world model's losses."""

import jax
import jax.numpy as jnp

from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.world_model import kl_with_free_nats
from dreamer_lite.course.checks.inputs import flags, normal, uniform
from dreamer_lite.course.compare import Function, Part, compare, gradient, on


def cont_target(mine: Function) -> Function:
    """`mine(is_last, is_terminal, discount)`: (T, B) bool twice -> (T, B) float32 (SPEC 7.3)."""

    def oracle(is_last: jax.Array, is_terminal: jax.Array, discount: float) -> jax.Array:
        return (1.0 - is_terminal) * discount

    is_last, is_terminal = flags("00010001", "00000100"), flags("00010000", "00000100")
    return compare(
        mine,
        oracle,
        [on("3 ends in 2 sequences of 8 rows, one of them cut off", is_last, is_terminal, 0.99)],
        {
            "you use is_last: where time is up, the game would have gone on. Only is_terminal "
            "means that no reward can follow.": lambda last, end, d: oracle(last, last, d),
            "the discount is missing: the head learns the product.": (
                lambda last, end, d: oracle(last, end, 1.0)
            ),
            "yes and no are swapped: a true end gives 0.": (
                lambda last, end, d: oracle(last, ~end, d)
            ),
            "at a true end the target is exactly 0: nothing counts after it.": (
                lambda last, end, d: jnp.where(end, 1 - d, d)
            ),
        },
        "the two losses that tie the guesses together.",
    )


def two_sides(mine: Function) -> Function:
    """`mine(post, prior)`: ln p (..., S, C) twice -> (dyn, rep), KLs per group (..., S) (SPEC 5.7).

    Both are KL(post || prior). dyn has no gradient for post, rep none for prior.
    """
    sg = jax.lax.stop_gradient

    def kl(post: jax.Array, prior: jax.Array) -> jax.Array:
        return OneHot(post).kl(OneHot(prior))

    def oracle(post: jax.Array, prior: jax.Array) -> tuple[jax.Array, jax.Array]:
        return kl(sg(post), prior), kl(post, sg(prior))

    def slopes(function: Function) -> tuple[jax.Array, ...]:
        def totals(post: jax.Array, prior: jax.Array) -> tuple[jax.Array, ...]:
            logs = jax.nn.log_softmax(post), jax.nn.log_softmax(prior)
            return tuple(jnp.sum(side) for side in function(*logs))

        dyn, rep = jax.jacrev(totals, (0, 1))(normal(17, 5, 2, 3), normal(18, 5, 2, 3))
        return (*dyn, *rep)

    logs = [jax.nn.log_softmax(2 * normal(seed, 6, 4, 3)) for seed in (19, 20)]
    return compare(
        mine,
        oracle,
        [
            on("24 pairs of categoricals with 3 classes", *logs),
            Part("the gradients of dyn and of rep, for post and for prior", slopes),
        ],
        {
            "the KL is the wrong way round: weigh the difference by the POSTERIOR's odds.": (
                lambda post, prior: oracle(prior, post)
            ),
            "the sign is wrong: a KL is never negative.": (
                lambda post, prior: tuple(-side for side in oracle(post, prior))
            ),
            "the two sides are swapped: in dyn the posterior stands still, in rep the prior.": (
                lambda post, prior: oracle(post, prior)[::-1]
            ),
            "there are no stop-gradients: dyn must not move the posterior, rep not the prior.": (
                lambda post, prior: (kl(post, prior), kl(post, prior))
            ),
            "no gradient is left at all: stop only one side in each.": (
                lambda post, prior: (sg(kl(post, prior)), sg(kl(post, prior)))
            ),
        },
        "how much of it is free.",
    )


def free_nats(mine: Function) -> Function:
    """`mine(kl, free)`: KLs per group (..., S) -> (...), their sum, at least `free` (SPEC 5.7)."""

    def total(kl: jax.Array, free: float) -> jax.Array:
        return jnp.maximum(free, kl.sum(-1))

    def oracle(kl: jax.Array, free: float) -> jax.Array:
        # The package takes distributions: a sure class, to which the prior gives the odds exp(-kl).
        post = jnp.stack([jnp.zeros_like(kl), jnp.full_like(kl, -1e9)], -1)
        return kl_with_free_nats(OneHot(post), OneHot(jnp.stack([-kl, -kl], -1)), free)

    kl = jnp.array([[0.1, 0.2], [0.9, 0.9], [0.0, 0.0], [0.3, 2.0], [0.4, 0.5]], jnp.float32)
    return compare(
        mine,
        oracle,
        [
            on("5 steps with 2 groups, 1 nat free", kl, 1.0),
            on("shape (3, 4, 5), 0.5 nats free", uniform(21, 3, 4, 5) / 4, 0.5),
            gradient("the gradient for the KLs", kl, 1.0),
        ],
        {
            "you clip every group: add the groups first, the nats are free for all together.": (
                lambda kl, free: jnp.maximum(free, kl).sum(-1)
            ),
            "you subtract: the loss stays at `free` below it, it does not become 0.": (
                lambda kl, free: total(kl, free) - free
            ),
            "that is a ceiling: free nats are a floor, the larger of the two counts.": (
                lambda kl, free: jnp.minimum(free, kl.sum(-1))
            ),
            "below the floor there must be no gradient: take the maximum itself.": (
                lambda kl, free: kl.sum(-1) + jax.lax.stop_gradient(total(kl, free) - kl.sum(-1))
            ),
            "nothing is clipped.": lambda kl, free: kl.sum(-1),
        },
        "the sum of all losses.",
    )


def total_loss(mine: Function) -> Function:
    """`mine(losses, scales)`: {name: (T, B)}, {name: weight}, 1 where none is given -> ().

    The sum over names of weight times mean (SPEC 8).
    """

    def oracle(losses: dict[str, jax.Array], scales: dict[str, float]) -> jax.Array:
        parts = [scales.get(name, 1.0) * x.mean() for name, x in losses.items()]
        return sum(parts, jnp.zeros(()))

    names = ("image", "reward", "cont", "dyn", "rep")
    losses = {name: uniform(22 + i, 4, 3) for i, name in enumerate(names)}
    scales = {"reward": 2.0, "cont": 0.5, "dyn": 1.0, "rep": 0.1}
    return compare(
        mine,
        oracle,
        [on("5 losses of shape (4, 3), 4 of them with a weight", losses, scales)],
        {
            "you add up the steps: take the mean over (T, B), so that the learning rate does not "
            "depend on the size of a batch.": lambda x, s: 12.0 * oracle(x, s),
            "the weights are missing.": lambda x, s: oracle(x, {}),
            "a loss without a weight counts once, the picture's too: scales.get(name, 1.0).": (
                lambda x, s: oracle({name: x[name] for name in s}, s)
            ),
            "you divide by the number of losses: add them up.": (
                lambda x, s: oracle(x, s) / len(x)
            ),
        },
        "train a world model with it.",
    )
