"""Notebook 05: the world model's losses."""

import jax
import jax.numpy as jnp

from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.world_model import kl_with_free_nats
from dreamer_lite.course.checks.exercise import check, flags, normal, uniform
from dreamer_lite.course.compare import Exercise, Part, gradient, on

sg = jax.lax.stop_gradient


@check
def cont_target() -> Exercise:
    """`mine(is_last, is_terminal, discount)`: (T, B) bool twice -> (T, B) float32.

    The target of the continuation head. Source: `Agent.loss` of the released code, `contdisc`.
    """

    def oracle(is_last, is_terminal, discount):
        return (1.0 - is_terminal) * discount

    inputs = flags("00010001", "00000100"), flags("00010000", "00000100"), 0.99
    return Exercise(
        oracle,
        [on("3 ends in 2 sequences of 8 time steps, one of them a time limit", *inputs)],
        time_limit=lambda last, end, d: oracle(last, last, d),
        no_discount=lambda last, end, d: oracle(last, end, 1.0),
        swapped=lambda last, end, d: oracle(last, ~end, d),
        not_zero=lambda last, end, d: jnp.where(end, 1 - d, d),
    )


@check
def two_sides() -> Exercise:
    """`mine(post, prior)`: ln p (..., S, C) twice -> (dyn, rep), KLs per group (..., S).

    Both are KL(post || prior). dyn has no gradient for post, rep none for prior
    (Hafner et al. 2025, Eq. 3).
    """

    def kl(post, prior):
        return OneHot(post).kl(OneHot(prior))

    def oracle(post, prior):
        return kl(sg(post), prior), kl(post, sg(prior))

    def gradients(function):
        def totals(post, prior):
            logs = jax.nn.log_softmax(post), jax.nn.log_softmax(prior)
            return tuple(jnp.sum(side) for side in function(*logs))

        return jax.jacrev(totals, (0, 1))(normal(17, 5, 2, 3), normal(18, 5, 2, 3))

    logs = [jax.nn.log_softmax(2 * normal(seed, 6, 4, 3)) for seed in (19, 20)]
    return Exercise(
        oracle,
        [
            on("24 pairs of categorical distributions over 3 classes", *logs),
            Part("the gradients of dyn and of rep, for post and for prior", gradients),
        ],
        wrong_way=lambda post, prior: oracle(prior, post),
        wrong_sign=lambda post, prior: tuple(-side for side in oracle(post, prior)),
        swapped=lambda post, prior: oracle(post, prior)[::-1],
        no_stop=lambda post, prior: (kl(post, prior), kl(post, prior)),
        no_gradient=lambda post, prior: (sg(kl(post, prior)), sg(kl(post, prior))),
    )


@check
def free_nats() -> Exercise:
    """`mine(kl, free)`: KLs per group (..., S) -> (...), their sum, but at least `free`.

    Source: Hafner et al. 2025, Eq. 3, max(1, KL).
    """

    def total(kl, free):
        return jnp.maximum(free, kl.sum(-1))

    def oracle(kl, free):
        # The library takes distributions: post has one class, whose prior probability is exp(-kl).
        post = jnp.stack([jnp.zeros_like(kl), jnp.full_like(kl, -1e9)], -1)
        return kl_with_free_nats(OneHot(post), OneHot(jnp.stack([-kl, -kl], -1)), free)

    kl = jnp.array([[0.1, 0.2], [0.9, 0.9], [0.0, 0.0], [0.3, 2.0], [0.4, 0.5]], jnp.float32)
    return Exercise(
        oracle,
        [
            on("5 time steps with 2 groups, 1 nat free", kl, 1.0),
            on("shape (3, 4, 5), 0.5 nats free", uniform(21, 3, 4, 5) / 4, 0.5),
            gradient("the gradient for the KLs", kl, 1.0),
        ],
        per_group=lambda kl, free: jnp.maximum(free, kl).sum(-1),
        subtracted=lambda kl, free: total(kl, free) - free,
        ceiling=lambda kl, free: jnp.minimum(free, kl.sum(-1)),
        gradient_below=lambda kl, free: kl.sum(-1) + sg(total(kl, free) - kl.sum(-1)),
        not_clipped=lambda kl, free: kl.sum(-1),
    )


@check
def total_loss() -> Exercise:
    """`mine(losses, scales)`: {name: (T, B)}, {name: weight}, 1 where none is given -> ().

    The sum over names of weight times mean (Hafner et al. 2025, Eq. 2).
    """

    def oracle(losses, scales):
        parts = [scales.get(name, 1.0) * x.mean() for name, x in losses.items()]
        return sum(parts, jnp.zeros(()))

    names = ("image", "reward", "cont", "dyn", "rep")
    losses = {name: uniform(22 + i, 4, 3) for i, name in enumerate(names)}
    scales = {"reward": 2.0, "cont": 0.5, "dyn": 1.0, "rep": 0.1}
    return Exercise(
        oracle,
        [on("5 losses of shape (4, 3), 4 of them with a weight", losses, scales)],
        summed=lambda x, scales: 12.0 * oracle(x, scales),
        no_weights=lambda x, scales: oracle(x, {}),
        default_left_out=lambda x, scales: oracle({name: x[name] for name in scales}, scales),
        divided=lambda x, scales: oracle(x, scales) / len(x),
    )
