"""Solutions and wrong answers of notebook 02, for `test_checks`."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dreamer_lite.course.checks.exercise import solved_agent

State, Batch = solved_agent().State, solved_agent().Batch


def mask_reset(state, action, is_first):
    def clear(x):
        return jnp.where(is_first.reshape(-1, *[1] * (x.ndim - 1)), 0.0, x)

    return State(clear(state.deter), clear(state.stoch)), clear(action)


def add(replay, steps, action, state):
    size = len(replay.action)
    here = jnp.arange(size) == replay.added - size * (replay.added // size)
    state = state.deter, jnp.argmax(state.stoch, -1).astype(jnp.uint8)
    rings = replay.steps, replay.action, replay.deter, replay.stoch

    def put(ring, new):
        return jnp.where(here.reshape(-1, *[1] * new.ndim), new[None], ring)

    filled = jax.tree.map(put, rings, (steps, action, *state))
    return replay._replace(
        **dict(zip(("steps", "action", "deter", "stoch"), filled)), added=replay.added + 1
    )


def sample(replay, batch, length, key):
    size, worlds = replay.action.shape[:2]
    first, second = jax.random.split(key)
    whole = jnp.minimum(replay.added, size) - length  # windows that are whole in the ring
    back = jax.random.randint(first, (batch,), 0, whole)  # counted from the newest one
    start = replay.added - (length + 1) - back
    world = jax.random.choice(second, worlds, (batch,))
    return jnp.stack([(start + t) % size for t in range(length + 1)]), world


def cut(replay, place, world, classes):
    window = [jax.tree.map(lambda ring, p=p: ring[p, world], replay.steps) for p in place[1:]]
    action = jnp.stack([replay.action[p, world] for p in place[:-1]])
    start = State(replay.deter[place[0], world], jnp.eye(classes)[replay.stoch[place[0], world]])
    return Batch(jax.tree.map(lambda *x: jnp.stack(x), *window), action, start)


def write_back(replay, place, world, states):
    deter, stoch = replay.deter, replay.stoch
    for t in range(len(place) - 1):
        classes = states.stoch[t].argmax(-1).astype(jnp.uint8)
        deter = deter.at[place[t + 1], world].set(states.deter[t])
        stoch = stoch.at[place[t + 1], world].set(classes)
    return replay._replace(deter=deter, stoch=stoch)


# `partial` hides a function's text, so that a check neither compares its name nor keeps it.
SOLUTIONS: dict[str, Callable] = {
    f.__name__: functools.partial(f) for f in (mask_reset, add, sample, cut, write_back)
}


def cut_with(**changes: Any) -> Callable:
    """`cut` with fields of another window: the places from `at` on, or its own actions."""

    def wrong(replay, place, world, classes):
        right = cut(replay, place, world, classes)
        if "own" in changes:
            return right._replace(action=replay.action[place[1:], world])
        return right._replace(start=cut(replay, place[changes["at"] :], world, classes).start)

    return wrong


def sample_from(low: Callable, high: Callable) -> Callable:
    """A sampler of starts from low(added, size) to high(added, size, length), both inclusive."""

    def wrong(replay, batch, length, key):
        size, worlds = replay.action.shape[:2]
        a, b = jax.random.split(key)
        first, last = low(replay.added, size), high(replay.added, size, length)
        start = jax.random.randint(a, (batch,), first, last + 1)
        world = jax.random.randint(b, (batch,), 0, worlds)
        return (start + jnp.arange(length + 1)[:, None]) % size, world

    return wrong


def one_key(replay, batch, length, key):
    size, worlds = replay.action.shape[:2]
    low = jnp.maximum(0, replay.added - size)
    start = jax.random.randint(key, (batch,), low, replay.added - length)
    world = jax.random.randint(key, (batch,), 0, worlds)
    return (start + jnp.arange(length + 1)[:, None]) % size, world


def added_late(replay, steps, action, state):
    written = add(replay._replace(added=replay.added + 1), steps, action, state)
    return written._replace(added=replay.added + 1)


def lost_when_full(replay, steps, action, state):
    state = state.deter, jnp.argmax(state.stoch, -1).astype(jnp.uint8)
    rings = replay.steps, replay.action, replay.deter, replay.stoch
    put = [
        jax.tree.map(lambda ring, new: ring.at[replay.added].set(new), *pair)
        for pair in zip(rings, (steps, action, *state))
    ]
    return type(replay)(*put, replay.added + 1)


def rolled(replay, *new):
    moved = jax.tree.map(lambda x: jnp.roll(x, -1, 0), replay._replace(added=None))
    written = add(moved._replace(added=jnp.int32(len(replay.action) - 1)), *new)
    return written._replace(added=replay.added + 1)


def leaks_from_the_first(state, action, is_first):
    new, masked = mask_reset(state, action, is_first)
    return new._replace(deter=new.deter + 1e-3 * state.deter[:1]), masked


def kept_by(name: str, *fields: str) -> Callable:
    """A solution that leaves some fields of the ring as they were."""

    def wrong(replay, *rest):
        old = {field: getattr(replay, field) for field in fields}
        return globals()[name](replay, *rest)._replace(**old)

    return wrong


def three_values(state, action, is_first):
    new, masked = mask_reset(state, action, is_first)
    return new.deter, new.stoch, masked


def set_by_mask(state, action, is_first):
    cleared = (x.at[is_first].set(0) for x in (*state, action))
    deter, stoch, action = cleared
    return State(deter, stoch), action


def one_axis_short(state, action, is_first):
    keep = 1.0 - is_first[:, None]
    new, masked = mask_reset(state, action, is_first)
    return new._replace(stoch=state.stoch * keep), masked


def along_worlds(replay, steps, action, state):
    place = replay.added % len(replay.action)
    written = add(replay, steps, action, state)
    return written._replace(action=replay.action.at[:, place].set(action))


WRONG: list[tuple[str, Callable, str]] = [
    ("mask_reset", lambda s, a, f: (mask_reset(s, a, f)[0], a), "action must be set to zero"),
    ("mask_reset", lambda s, a, f: mask_reset(s, a, ~f), "swapped"),
    ("mask_reset", lambda s, a, f: (s, a), "nothing was set"),
    (
        "mask_reset",
        lambda s, a, f: (mask_reset(s, a, f)[0]._replace(stoch=s.stoch), mask_reset(s, a, f)[1]),
        "stochastic state z still",
    ),
    (
        "mask_reset",
        lambda s, a, f: (mask_reset(s, a, f)[0]._replace(deter=s.deter), mask_reset(s, a, f)[1]),
        "deterministic state h still",
    ),
    (
        "mask_reset",
        lambda s, a, f: (mask_reset(s, a, f)[0], jnp.where(f[:, None], jnp.eye(a.shape[1])[0], a)),
        "a real action",
    ),
    ("mask_reset", leaks_from_the_first, "wrong numbers"),
    ("mask_reset", lambda s, a, f: mask_reset(s, a, f)[0], "returned 2 arrays where 3"),
    ("mask_reset", three_values, "(array, array, array) where (State, array)"),
    ("mask_reset", set_by_mask, "use jnp.where, or multiply"),
    ("mask_reset", one_axis_short, "expected for `stoch`"),
    ("add", along_worlds, "at[:, place]"),
    ("add", kept_by("add", "steps", "action", "deter", "stoch"), "returns a NEW array"),
    ("add", kept_by("add", "steps"), "`steps` is as it was"),
    ("add", kept_by("add", "action"), "`action` is as it was"),
    ("add", kept_by("add", "deter", "stoch"), "the state must be stored"),
    ("add", kept_by("add", "deter"), "`deter` is as it was"),
    ("add", kept_by("add", "stoch"), "`stoch` is as it was"),
    (
        "add",
        lambda r, *new: (right := add(r, *new))._replace(action=right.action + 1),
        " of `action` at index",
    ),
    ("add", lost_when_full, "new time steps are lost"),
    ("add", added_late, "one place too late"),
    ("add", rolled, "copies all of it"),
    ("add", lambda r, *new: add(r, *new)._replace(added=r.added), "must grow by 1"),
    (
        "add",
        lambda r, *new: add(r, *new)._replace(added=(r.added + 1) % len(r.action)),
        "only the place",
    ),
    ("add", lambda r, *new: tuple(add(r, *new)), "AttributeError: 'tuple' object"),
    (
        "sample",
        lambda *x: (sample(*x)[0][1:], sample(*x)[1]),
        "wrong shape: (3, 4000) where (4, 4000)",
    ),
    ("sample", lambda *x: sample(*x)[0], "ValueError"),
    (
        "sample",
        sample_from(lambda n, size: jnp.maximum(0, n - size), lambda n, size, t: n - t),
        "newest window must end",
    ),
    (
        "sample",
        sample_from(lambda n, size: jnp.maximum(0, n - size), lambda n, size, t: n - t - 2),
        "never drawn",
    ),
    (
        "sample",
        sample_from(lambda n, size: 0, lambda n, size, t: n - t - 1),
        "across the write head",
    ),
    ("sample", sample_from(lambda n, size: 0, lambda n, size, t: size - 1), "Draw the NUMBER"),
    ("sample", sample_from(lambda n, size: 0, lambda n, size, t: size - t - 1), "you drew places"),
    (
        "sample",
        sample_from(lambda n, size: jnp.maximum(0, n - size + 1), lambda n, size, t: n - t - 1),
        "wrong numbers",
    ),
    ("sample", one_key, "split the key in two"),
    ("sample", lambda r, b, t, key: sample(r, b, t, jax.random.key(7)), "use `key`"),
    ("sample", lambda *x: (sample(*x)[0], 0 * sample(*x)[1]), "come from one environment"),
    ("cut", cut_with(own=True), "its own action"),
    ("cut", cut_with(at=1), "state of the first of"),
    (
        "cut",
        lambda r, p, w, c: cut(r, p, w, c)._replace(
            start=State(r.deter[p[-1], w], jnp.eye(c)[r.stoch[p[-1], w]])
        ),
        "state of the FIRST",
    ),
    (
        "cut",
        lambda r, p, w, c: cut(r, p, w, c)._replace(steps=cut(r, p - 1, w, c).steps),
        "context only",
    ),
    (
        "cut",
        lambda r, p, w, c: cut(r, p, w, c)._replace(
            start=State(r.deter[p[0], w], r.stoch[p[0], w])
        ),
        "wrong shape",
    ),
    ("write_back", lambda r, p, w, s: write_back(r, p, w, s)._replace(deter=r.deter), "`deter`"),
    ("write_back", lambda r, p, w, s: write_back(r, p, w, s)._replace(stoch=r.stoch), "`stoch`"),
    (
        "write_back",
        lambda r, p, w, s: write_back(r, p, w, s)._replace(added=r.added + len(p) - 1),
        "nothing was added",
    ),
    (
        "write_back",
        lambda r, p, w, s: write_back(r, jnp.concatenate([p[:1], p[:-1]]), w, s),
        "last T of the T + 1",
    ),
    ("write_back", lambda r, p, w, s: r, "returns a NEW array"),
    (
        "write_back",
        lambda r, p, w, s: write_back(r, p, w, s._replace(stoch=-s.stoch)),
        " of `stoch` at index",
    ),
]
WRONG = [(name, functools.partial(f), words) for name, f, words in WRONG]
