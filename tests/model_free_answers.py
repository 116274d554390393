"""Solutions and wrong answers of notebook 11, for `test_checks`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def advantages(reward, is_last, is_terminal, value, discount, lam):
    later, found = jnp.zeros(reward.shape[1]), []
    for t in reversed(range(len(reward) - 1)):
        ahead = jnp.where(is_terminal[t + 1], 0.0, value[t + 1])
        later = jnp.where(is_last[t + 1], 0.0, later)
        later = reward[t + 1] + discount * (ahead + lam * later) - value[t]
        found.append(later)
    return jnp.stack(found[::-1])


def clipped_loss(log_prob, old_log_prob, advantage, clip):
    ratio = jnp.exp(log_prob) / jnp.exp(old_log_prob)
    good = jnp.minimum(ratio, 1 + clip)
    bad = jnp.maximum(ratio, 1 - clip)
    return -advantage * jnp.where(advantage > 0, good, bad)


def q_target(reward, is_terminal, online, target, discount):
    chosen = jax.nn.one_hot(jnp.argmax(online, 1), online.shape[1])
    return jnp.where(is_terminal > 0, reward, reward + discount * (chosen * target).sum(1))


SOLUTIONS: dict[str, Callable] = {f.__name__: f for f in (advantages, clipped_loss, q_target)}


def no_border(reward, is_last, is_terminal, value, discount, lam):
    return advantages(reward, jnp.zeros_like(is_last), is_terminal, value, discount, lam)


def gae(
    reward, is_last, is_terminal, value, discount, lam, decay=None, start=0.0, baseline=1.0,
    masks=slice(1, None), reverse=True,
):  # fmt: skip
    """By a scan, as the hints have it, with a mistake."""
    ahead = discount * (1 - is_terminal[masks]) * value[1:]
    delta = reward[1:] + ahead - baseline * value[:-1]
    decay = (discount * lam if decay is None else decay) * (1 - is_last[masks])

    def step(later, x):
        return (x[0] + x[1] * later,) * 2

    return jax.lax.scan(step, 0 * value[0] + start, (delta, decay), reverse=reverse)[1]


def ratio(new, old, clip):
    return jnp.clip(jnp.exp(new - old), 1 - clip, 1 + clip)


WRONG: list[tuple[str, Callable, str]] = [
    ("advantages", no_border, "across the end of an episode"),
    ("advantages", lambda r, x, e, v, d, k: advantages(r, x, x, v, d, k), "no terminal state"),
    (
        "advantages",
        lambda r, x, e, v, d, k: advantages(r, x, 0 * e, v, d, k),
        "after a terminal state",
    ),
    (
        "advantages",
        lambda r, *x: advantages(jnp.roll(r, 1, 0).at[0].set(r[0]), *x),
        "reward of the time step itself",
    ),
    ("advantages", lambda r, x, e, v, *k: advantages(r, x, e, v, *k) + v[:-1], "are returns"),
    ("advantages", lambda r, x, e, v, d, k: advantages(r, x, e, v, d, 1.0), "lambda is missing"),
    ("advantages", lambda r, x, e, v, d, k: advantages(r, x, e, v, 1.0, k), "wrong numbers"),
    ("advantages", lambda r, *x: jnp.zeros_like(r), "wrong shape: (7, 1)"),
    ("advantages", lambda r, x, e, *k: advantages(r, e, e, *k), "ends the episode as well"),
    ("advantages", lambda *x: jnp.flip(advantages(*x), 0), "order is backwards"),
    ("advantages", lambda *x: gae(*x, reverse=False), "runs forwards"),
    ("advantages", lambda *x: gae(*x, start=x[3][-1]), "begin with 0"),
    ("advantages", lambda *x: gae(*x, masks=slice(None, -1)), "those of t + 1 are meant"),
    ("advantages", lambda r, x, e, v, d, k: gae(r, x, e, v, d, k, k), "by DISCOUNT times"),
    ("advantages", lambda *x: gae(*x, baseline=0.0), "ends with - v_t"),
    ("clipped_loss", lambda n, o, a, c: -jnp.exp(n - o) * a, "nothing is clipped"),
    ("clipped_loss", lambda n, o, a, c: -ratio(n, o, c) * a, "minimum of both products"),
    ("clipped_loss", lambda *x: -clipped_loss(*x), "sign is wrong"),
    (
        "clipped_loss",
        lambda n, o, a, c: jnp.minimum(-jnp.exp(n - o) * a, -ratio(n, o, c) * a),
        "SMALLER one counts",
    ),
    ("clipped_loss", lambda n, o, a, c: clipped_loss(o, n, a, c), "upside down"),
    (
        "clipped_loss",
        lambda n, o, a, c: -jnp.minimum(jnp.exp(n - o), ratio(n, o, c)) * a,
        "two PRODUCTS",
    ),
    (
        "clipped_loss",
        lambda n, o, a, c: jnp.maximum(-jnp.exp(n - o) * a, -jnp.exp(n - o).clip(-c, c) * a),
        "clipped around 1",
    ),
    (
        "clipped_loss",
        lambda n, o, a, c: -jnp.minimum(n / o * a, jnp.clip(n / o, 1 - c, 1 + c) * a),
        "ratio of logarithms",
    ),
    ("clipped_loss", lambda n, o, a, c: clipped_loss(n, o, a, 0.2), "clip 0.05"),
    ("clipped_loss", lambda *x: jax.lax.stop_gradient(clipped_loss(*x)), "its gradient"),
    (
        "q_target",
        lambda r, e, o, t, d: r + d * (1 - e) * t.max(1),
        "chooses and values the action: in",
    ),
    ("q_target", lambda r, e, o, t, d: r + d * (1 - e) * o.max(1), "from the TARGET network"),
    ("q_target", lambda r, e, o, t, d: q_target(r, e, t, o, d), "are swapped"),
    ("q_target", lambda r, e, o, t, d: q_target(r, 0 * e, o, t, d), "bootstrap after a terminal"),
    ("q_target", lambda r, e, *x: jnp.where(e > 0, 0.0, q_target(r, e, *x)), "only the VALUE"),
    ("q_target", lambda r, e, o, t, d: q_target(r, e, o, t, 1.0), "discount factor is missing"),
    ("q_target", lambda r, *x: q_target(0 * r, *x), "reward is missing"),
    ("q_target", lambda r, e, o, t, d: r + d * (1 - e) * t.mean(1), "wrong numbers"),
    ("q_target", lambda r, e, o, t, d: r[:, None] + d * t, "wrong shape"),
]
