"""Solutions and wrong answers of notebook 08, for `test_checks`."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def clip_gradient(grad, param, clip, floor):
    limit = clip * jnp.maximum(floor, jnp.sqrt(jnp.sum(param**2)))
    size = jnp.sqrt(jnp.sum(grad**2))
    return jnp.where(size > limit, grad * limit / size, grad)


def rms_momentum(grad, v, m, t, decay, momentum):
    v = v + (1 - decay) * (grad * grad - v)
    scaled = grad / (jnp.sqrt(v / (1 - decay**t)) + 1e-20)
    m = m + (1 - momentum) * (scaled - m)
    return m / (1 - momentum**t), v, m


def schedule(train_ratio, batch, length, worlds):
    rows, updates = batch * length * 1000, round(train_ratio * 1000) * worlds
    common = math.gcd(rows, updates)
    return rows // common, updates // common


def fresh_windows(ticket, added, length, worlds):
    turn = ticket // worlds
    start = turn * (length + 1) + 1
    return start, ticket - turn * worlds, start + length < added


def write_latents(ring, states, start, world):
    for t in range(states.shape[0]):
        for b in range(states.shape[1]):
            ring = ring.at[(start[b] + 1 + t) % ring.shape[0], world[b]].set(states[t, b])
    return ring


SOLUTIONS: dict[str, Callable] = {
    f.__name__: f for f in (clip_gradient, rms_momentum, schedule, fresh_windows, write_latents)
}


def adam(grad, v, m, t, decay, momentum):
    v, m = decay * v + (1 - decay) * grad**2, momentum * m + (1 - momentum) * grad
    return m / (1 - momentum**t) / jnp.sqrt(v / (1 - decay**t)), v, m


def windows(ticket, added, length, worlds, size=1, first=1, early=0):
    start = first + ticket // worlds * (length + size)
    return start, ticket % worlds, start + length + size - 1 < added + early


WRONG: list[tuple[str, Callable, str]] = [
    ("clip_gradient", lambda g, p, c, f: g, "nothing is clipped"),
    (
        "clip_gradient",
        lambda g, p, c, f: g / jnp.linalg.norm(g) * c * jnp.maximum(f, jnp.linalg.norm(p)),
        "small gradient must stay",
    ),
    (
        "clip_gradient",
        lambda g, p, c, f: jnp.clip(g, -c * jnp.linalg.norm(p), c * jnp.linalg.norm(p)),
        "keeps its direction",
    ),
    (
        "clip_gradient",
        lambda g, p, c, f: jax.vmap(lambda g, p: clip_gradient(g, p, c, f))(g, p),
        "row by row",
    ),
    ("clip_gradient", lambda g, p, c, f: clip_gradient(g, p, c, 0.0), "never move"),
    ("clip_gradient", lambda g, p, c, f: clip_gradient(g, p, 0.5, f), "wrong numbers"),
    ("rms_momentum", adam, "as Adam does"),
    ("rms_momentum", lambda g, v, m, t, d, k: rms_momentum(g, v, m, 1000, d, k), "wrong numbers"),
    (
        "rms_momentum",
        lambda g, v, m, t, d, k: (
            (-rms_momentum(g, v, m, t, d, k)[0],) + rms_momentum(g, v, m, t, d, k)[1:]
        ),
        "sign is wrong",
    ),
    (
        "rms_momentum",
        lambda g, v, m, t, d, k: (
            (rms_momentum(g, v, m, t, d, k)[2],) + rms_momentum(g, v, m, t, d, k)[1:]
        ),
        "momentum is not corrected",
    ),
    ("rms_momentum", lambda g, v, m, t, d, k: rms_momentum(g, v, m, t - 1, d, k), "0 / 0"),
    ("schedule", lambda *a: schedule(*a)[::-1], "swapped"),
    ("schedule", lambda r, b, t, w: schedule(r, b, t, 1), "all environments collect"),
    ("schedule", lambda r, b, t, w: schedule(r, b, 1, w), "batch times length"),
    ("schedule", lambda r, b, t, w: (10 * b * t, int(10 * r * w)), "smallest whole"),
    ("schedule", lambda r, b, t, w: schedule(r, b, t, w)[0], "wrong shape: (6,)"),
    ("fresh_windows", lambda *a: windows(*a, size=0), "T + 1 time steps"),
    ("fresh_windows", lambda *a: windows(*a, first=0), "starts at time step 1"),
    ("fresh_windows", lambda *a: windows(*a, early=1), "not complete yet"),
    (
        "fresh_windows",
        lambda k, n, t, w: (1 + k % w * (t + 1), k // w, fresh_windows(k, n, t, w)[2]),
        "take turns",
    ),
    ("fresh_windows", lambda *a: fresh_windows(*a)[:2], "2 arrays where 3"),
    ("fresh_windows", lambda *a: (*windows(*a)[:2], ~windows(*a)[2]), "swapped"),
    ("write_latents", lambda r, x, s, w: write_latents(r, x, s - 1, w), "time step 0 of a window"),
    ("write_latents", lambda r, x, s, w: r, "nothing was written"),
    (
        "write_latents",
        lambda r, x, s, w: r.at[s + 1 + jnp.arange(3)[:, None], w].set(x),
        "wraps around",
    ),
    (
        "write_latents",
        lambda r, x, s, w: r.at[(s + 1 + jnp.arange(3)[:, None]) % 9, w].add(x),
        "set, not add",
    ),
    ("write_latents", lambda r, x, s, w: write_latents(r, x, s + 1, w), "wrong numbers"),
]
