"""Notebook 02: resets, and the replay buffer as a ring.

A buffer of L places holds W environments; windows have T + 1 time steps.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.course.checks.exercise import flags, named, normal, part, solved, solved_agent
from dreamer_lite.course.compare import Exercise, Function, Part, on
from dreamer_lite.worlds.base import TimeStep

KEY = jax.random.key(0)


@part("mask_reset")
def mask_reset() -> Exercise:
    """`mine(state, action, is_first)`: State (B, ...) and (B, A), both zero where is_first (B,).

    Source: `RSSM._observe` of the released code (dreamerv3/rssm.py). The last comparison is a
    proof: whatever happened before a reset, nothing after it changes by a bit.
    """
    State, oracle = solved_agent().State, solved("mask_reset")

    def leave_out(what: str) -> Function:
        def mistake(state, action, is_first):
            new, masked = oracle(state, action, is_first)
            new = new if what == "action" else new._replace(**{what: getattr(state, what)})
            return new, action if what == "action" else masked

        return mistake

    def action_zero(state, action, is_first):
        stay = jax.nn.one_hot(0, action.shape[-1])
        return oracle(state, action, is_first)[0], jnp.where(is_first[:, None], stay, action)

    def influence(mine: Function) -> Any:
        """Whether outputs (before the reset, from it on, without a reset) follow a changed past."""
        first = flags("0001000", "0000000")
        # Whole numbers, and halves of them: equal results are equal to the last bit.
        actions, deter, stoch = (jnp.round(9 * normal(i, 7, 2, 2, 3)) for i in (1, 2, 3))
        actions, start = actions[:, 0], State(deter[0, 0], stoch[0])
        past = (jnp.arange(7) < 4)[:, None, None] * 1.0  # the action at 3 led to the old episode

        reset = jax.jit(mine)

        def run(start, actions):
            state, outputs = start, []
            for t in range(7):
                kept, action = reset(state, actions[t], first[t])
                state = State(kept.deter + action, 0.5 * kept.stoch)
                outputs.append((action, *state))
            return jax.tree.map(lambda *x: jnp.stack(x), *outputs)

        other = run(jax.tree.map(lambda x: x + 1, start), actions + past)
        changed = [a != b for a, b in zip(run(start, actions), other)]
        parts = [(x[:3, 0].any(), x[3:, 0].any(), x[:3, 1].any()) for x in changed]
        return tuple(jnp.stack(flag) for flag in zip(*parts))

    small = State(jnp.array([[1.0, 2, 3], [4, 5, 6]]), jnp.array([[[0.0, 1]], [[1, 0]]]))
    large = State(normal(4, 7, 5), normal(5, 7, 3, 2))
    action = jnp.array([[0.0, 1, 0], [0, 0, 1]])
    return Exercise(
        oracle,
        [
            on("2 environments, the second begins an episode", small, action, flags("01")[:, 0]),
            on("7 environments", large, normal(6, 7, 4), flags("0110100")[:, 0]),
            Part("whether a changed past reaches outputs after a reset", influence),
        ],
        action_kept=leave_out("action"),
        stoch_kept=leave_out("stoch"),
        deter_kept=leave_out("deter"),
        swapped=lambda state, action, is_first: oracle(state, action, ~is_first),
        nothing=lambda state, action, is_first: (state, action),
        action_zero=action_zero,
    )


def tiny_ring(added: int) -> Any:
    """3 places of 2 environments that see their own step number; as `add` would have left it."""
    number = jnp.array([[3.0, 3.5], [1, 1.5], [2, 2.5]])
    return solved_agent().Replay(
        steps={"obs": number},
        action=10 + number[..., None],
        deter=20 + number[..., None],
        stoch=jnp.array([[[0], [1]], [[1], [2]], [[2], [0]]], jnp.uint8),
        added=jnp.int32(added),
    )


def ring(capacity: int, worlds: int, added: int) -> Any:
    """L places of W environments, all numbers different: D = 5, S = 2, A = 3."""
    lead = capacity, worlds
    flag = normal(10, 3, *lead) > 0
    steps = TimeStep({"vector": normal(11, *lead, 2)}, normal(12, *lead), *flag)
    classes = np.random.default_rng(13).integers(0, 4, (*lead, 2))
    return solved_agent().Replay(
        steps, normal(14, *lead, 3), normal(15, *lead, 5), jnp.uint8(classes), jnp.int32(added)
    )


def in_order(replay: Any) -> tuple:
    """All arrays of a buffer, with their names; an AttributeError if it is none."""
    fields = "steps", "action", "deter", "stoch", "added"
    return named({field: getattr(replay, field) for field in fields})


@part("add")
def add() -> Exercise:
    """`mine(replay, steps, action, state)`: the buffer with one more time step."""
    State, oracle = solved_agent().State, solved("add")

    def at(choose: Any) -> Function:
        """A buffer that writes at another place."""

        def mistake(replay, *new):
            place = choose(replay.added, replay.action.shape[0])
            written = oracle(replay._replace(added=place), *new)
            return written._replace(added=replay.added + 1)

        return mistake

    def leave_out(*fields: str) -> Function:
        def mistake(replay, *new):
            old = {field: getattr(replay, field) for field in fields}
            return oracle(replay, *new)._replace(**old)

        return mistake

    def not_wrapped(replay, *new):
        inside = oracle(replay, *new)
        lost = replay.added >= replay.action.shape[0]
        kept = jax.tree.map(lambda a, b: jnp.where(lost, a, b), replay, inside)
        return kept._replace(added=replay.added + 1)

    def shifted(replay, *new):
        last = replay.action.shape[0] - 1
        moved = jax.tree.map(lambda x: jnp.roll(x, -1, 0), replay._replace(added=None))
        return oracle(moved._replace(added=last), *new)._replace(added=replay.added + 1)

    def filled(mine: Function) -> Any:
        """Five time steps into a ring of 4 places for 3 environments."""
        replay, mine = ring(4, 3, 0), jax.jit(mine)
        for i in range(5):
            steps = TimeStep({"vector": normal(i, 3, 2)}, normal(i + 5, 3), *(normal(i, 3, 3) > 0))
            classes = jnp.argmax(normal(i + 9, 3, 2, 4), -1)
            state = State(normal(i + 7, 3, 5), jax.nn.one_hot(classes, 4))
            replay = mine(replay, steps, normal(i + 6, 3, 3), state)
        return in_order(replay)

    new = (
        {"obs": jnp.array([4.0, 4.5])},
        jnp.array([[14.0], [14.5]]),
        State(jnp.array([[24.0], [24.5]]), jnp.array([[[1.0, 0, 0]], [[0, 1, 0]]])),
    )
    unwrapped, inputs = (tiny_ring(2), *new), (tiny_ring(4), *new)
    return Exercise(
        oracle,
        [
            Part(
                "time step 2 into a ring of 3 places, 2 environments",
                lambda f: in_order(f(*unwrapped)),
                unwrapped,
            ),
            Part(
                "time step 4 into a ring of 3 places, 2 environments",
                lambda f: in_order(f(*inputs)),
                inputs,
            ),
            Part("5 time steps into a ring of 4 places, 3 environments", filled),
        ],
        not_wrapped=not_wrapped,
        thrown_away=leave_out("steps", "action", "deter", "stoch"),
        steps_kept=leave_out("steps"),
        action_kept=leave_out("action"),
        state_kept=leave_out("deter", "stoch"),
        deter_kept=leave_out("deter"),
        stoch_kept=leave_out("stoch"),
        shifted=shifted,
        one_late=at(lambda added, capacity: (added + 1) % capacity),
        not_counted=lambda replay, *new: oracle(replay, *new)._replace(added=replay.added),
        counted_wrapped=lambda replay, *new: oracle(replay, *new)._replace(
            added=(replay.added + 1) % replay.action.shape[0]
        ),
    )


@part("sample")
def sample() -> Exercise:
    """`mine(replay, batch, length, key)`: places (T+1, B) in the ring, environments (B,), int32.

    Random, so what is compared is what must hold: windows are consecutive and whole, and every
    window and every environment is drawn equally often. Source: `Replay` of the released code.
    """
    length = 3

    def draw(f: Function, capacity: int = 7, added: int = 20, key: jax.Array = KEY) -> Any:
        """(places, environments, number (B,) of each window's first time step), compiled."""
        sampler = jax.jit(f, static_argnums=(1, 2))  # as the agent does
        place, world = sampler(ring(capacity, 2, added), 4000, length, key)
        oldest = max(0, added - capacity)
        return place, world, oldest + (place[0] - oldest) % capacity

    def form(f: Function) -> Any:
        place, world, _ = draw(f)
        inside = (place >= 0) & (place < 7)
        count = (place - place[0]) % 7  # of time steps since the window began: 0, 1, ... T
        inside_worlds = (world >= 0) & (world < 2)
        return named({"places": count, "inside": inside, "environments": inside_worlds})

    def borders(capacity: int, added: int) -> Any:
        def measure(f: Function) -> Any:
            start = draw(f, capacity, added)[2]
            return start.min(), start.max()

        return measure

    def counts(f: Function) -> Any:
        """How many of 2 environments, and of 8 pairs of window and environment, are unequal."""
        _, world, start = draw(f)
        number = jnp.zeros((4, 2)).at[start - 13, world].add(1)  # 500 each, by chance +-21
        return (abs(number.sum(0) - 2000) > 200).sum(), (abs(number - 500) > 120).sum()

    def keys(f: Function) -> Any:
        """Whether the same key gives the same windows, and another key others."""
        first, again, other = (draw(f, key=key)[2] for key in (KEY, KEY, jax.random.key(1)))
        return (first == again).all(), (first != other).any()

    def drawn(low: Any, high: Any, same_key: bool = False, wrap: bool = True) -> Function:
        """A sampler with starts from low(added, L) to high(added, L) inclusive."""

        def mistake(replay, batch, length, key):
            capacity, worlds = replay.action.shape[:2]
            start_key, world_key = (key, key) if same_key else jax.random.split(key)
            first, last = (f(replay.added, capacity) for f in (low, high))
            start = jax.random.randint(start_key, (batch,), first, last + 1)
            world = jax.random.randint(world_key, (batch,), 0, worlds)
            place = start + jnp.arange(length + 1)[:, None]
            return place % capacity if wrap else place, world

        return mistake

    def oldest(added, capacity):
        return jnp.maximum(0, added - capacity)

    def newest(added, capacity):
        return added - (length + 1)

    def fixed(replay, batch, length, key):
        return drawn(oldest, newest)(replay, batch, length, KEY)

    def one_world(replay, batch, length, key):
        place, world = drawn(oldest, newest)(replay, batch, length, key)
        return place, jnp.zeros_like(world)

    return Exercise(
        solved("sample"),
        [
            Part("4,000 windows of T + 1 = 3 + 1 consecutive places, time first, in a ring of 7",
                 form),
            Part("the oldest and the newest time step with which a window begins, in a ring of 7 "
                 "places after 20 time steps", borders(7, 20)),
            Part("the same in a ring of 16 places after 9 time steps", borders(16, 9)),
            Part("of 2 environments, and of 8 pairs of window and environment, how many are drawn "
                 "too rarely or too often", counts),
            Part("same key, same windows; another key, others", keys),
        ],
        same_key=drawn(oldest, newest, same_key=True),
        one_world=one_world,
        not_wrapped=drawn(oldest, newest, wrap=False),
        too_new=drawn(oldest, lambda added, capacity: added - length),
        one_short=drawn(oldest, lambda added, capacity: added - (length + 2)),
        drawn_places=drawn(
            lambda added, capacity: 0, lambda added, capacity: capacity - (length + 1)
        ),
        by_place=drawn(lambda added, capacity: 0, lambda added, capacity: capacity - 1),
        fixed_key=fixed,
    )  # fmt: skip


@part("cut")
def cut() -> Exercise:
    """`mine(replay, place, world, classes)`: a Batch of T time steps from T + 1 of the ring.

    Source: `Replay` and `Agent.train` of the released code: the first time step is context.
    """
    oracle = solved("cut")

    def batch(f: Function, *inputs: Any) -> tuple:
        found = f(*inputs)
        start = {"deter": found.start.deter, "stoch": found.start.stoch}
        return named({"steps": found.steps, "action": found.action, "start": start})

    def own_action(replay, place, world, classes):
        right = oracle(replay, place, world, classes)
        return right._replace(action=replay.action[place[1:], world])

    def start_at(which: int) -> Function:
        def mistake(replay, place, world, classes):
            other = oracle(replay, place[which:], world, classes)
            return oracle(replay, place, world, classes)._replace(start=other.start)

        return mistake

    def context_trained(replay, place, world, classes):
        before = (place[:1] - 1) % replay.action.shape[0]
        early = oracle(replay, jnp.concatenate([before, place[:-1]]), world, classes)
        return oracle(replay, place, world, classes)._replace(steps=early.steps)

    tiny = tiny_ring(5), jnp.array([[2], [0], [1]]), jnp.array([0]), 3
    large = ring(6, 3, 20), jnp.array([[0, 4], [1, 5], [2, 0], [3, 1]]), jnp.array([2, 0]), 4
    return Exercise(
        oracle,
        [
            Part("one window of 2 + 1 time steps", lambda f: batch(f, *tiny), tiny),
            Part("2 windows of 3 + 1 time steps", lambda f: batch(f, *large), large),
        ],
        own_action=own_action,
        start_late=start_at(1),
        start_last=start_at(-1),
        context_trained=context_trained,
    )


@part("write_back")
def write_back() -> Exercise:
    """`mine(replay, place, world, states)`: the buffer with new states (T, B, ...) in a window.

    Source: `Replay.update` of the released code; Hafner et al. 2025, Methods, "Experience replay".
    """
    State, oracle = solved_agent().State, solved("write_back")

    def stored(f: Function) -> tuple:
        return in_order(f(*inputs))

    def early(replay, place, world, states):
        moved = jnp.concatenate([place[:1], place[:-1]])
        return oracle(replay, moved, world, states)

    def all_worlds(replay, place, world, states):
        for w in range(replay.action.shape[1]):
            replay = oracle(replay, place, jnp.full_like(world, w), states)
        return replay

    def leave_out(name: str) -> Function:
        return lambda replay, *rest: oracle(replay, *rest)._replace(**{name: getattr(replay, name)})

    place = jnp.array([[0, 4], [1, 5], [2, 0], [3, 1]])
    classes = jnp.argmax(normal(21, 3, 2, 2, 4), -1)
    states = State(normal(20, 3, 2, 5), jax.nn.one_hot(classes, 4))
    inputs = ring(6, 3, 20), place, jnp.array([2, 0]), states
    return Exercise(
        oracle,
        [Part("states of 2 windows of 3 + 1 time steps, and all else as it was", stored)],
        early=early,
        thrown_away=lambda replay, *rest: replay,
        deter_kept=leave_out("deter"),
        stoch_kept=leave_out("stoch"),
        counted=lambda replay, *rest: oracle(replay, *rest)._replace(added=replay.added + 3),
        all_worlds=all_worlds,
    )
