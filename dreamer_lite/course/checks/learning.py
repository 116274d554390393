"""Notebook 07: optimiser, train ratio, online queue, latent write-back."""

from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from dreamer_lite.agent.optimizer import clip_by_parameter_norm
from dreamer_lite.agent.rssm import State
from dreamer_lite.config import Config, make_config
from dreamer_lite.course.checks.inputs import normal
from dreamer_lite.course.compare import Function, Part, compare, on
from dreamer_lite.training import replay as rp


def clip_gradient(mine: Function) -> Function:
    """`mine(grad, param, clip, floor)`: adaptive gradient clipping of one tensor (SPEC 10).

    grad and param have one shape, that of the result.
    """
    norm = jnp.linalg.norm

    def oracle(grad: jax.Array, param: jax.Array, clip: float, floor: float) -> jax.Array:
        agc = clip_by_parameter_norm(clip, floor)
        return cast(Any, agc.update(grad, agc.init(param), param)[0])

    def limit(param: jax.Array, clip: float, floor: float) -> jax.Array:
        return clip * jnp.maximum(floor, norm(param.ravel()))

    def rows(grad: jax.Array, param: jax.Array, clip: float, floor: float) -> jax.Array:
        if grad.ndim < 2:
            return oracle(grad, param, clip, floor)
        return jnp.stack([oracle(g, p, clip, floor) for g, p in zip(grad, param)])

    weights, settings = normal(31, 4, 3), (0.3, 1e-3)
    return compare(
        mine,
        oracle,
        [
            on("a gradient that is too large, shape (4, 3)", 10 * normal(32, 4, 3), weights,
               *settings),
            on("a small gradient, which stays", 0.01 * normal(33, 4, 3), weights, *settings),
            on("a bias that is all zeros", normal(34, 5), jnp.zeros(5), *settings),
        ],
        {
            "a small gradient must stay as it is: divide by at least 1.": (
                lambda g, p, c, f: g * limit(p, c, f) / norm(g.ravel())
            ),
            "nothing is clipped.": lambda g, p, c, f: g,
            "you cut every number for itself: shrink the whole tensor, so that it keeps its "
            "direction.": lambda g, p, c, f: jnp.clip(g, -limit(p, c, f), limit(p, c, f)),
            "you take the norms row by row: they are of the whole tensor.": rows,
            "without the floor a tensor of zeros could never move.": (
                lambda g, p, c, f: g / jnp.maximum(1, norm(g.ravel()) / limit(p, c, 1e-12))
            ),
        },
        "what size the step then has.",
    )  # fmt: skip


def rms_momentum(mine: Function) -> Function:
    """`mine(grad, v, m, t, decay, momentum)` -> (step, v, m): RMS, then momentum (SPEC 10).

    grad, v, m and step have one shape; t = 1, 2, ... The step is yet to be multiplied by -rate.
    """
    eps = 1e-20

    def along(function: Function) -> tuple[jax.Array, ...]:
        """Five steps from zeros: all steps (5, 6), and the last v and m."""
        v, m, steps = jnp.zeros(6), jnp.zeros(6), []
        for t, size in enumerate((1.0, 0.1, 30.0, 0.1, 1.0)):
            found = function(size * normal(35 + t, 6), v, m, t + 1, 0.99, 0.9)
            if found is None:
                return cast(Any, None)
            step, v, m = found
            steps.append(step)
        return jnp.stack(steps), v, m

    def variant(
        adam: bool = False, fix_v: bool = True, fix_m: bool = True, root: bool = True
    ) -> Function:
        def step(grad, v, m, t, decay, momentum):
            v = decay * v + (1 - decay) * grad**2
            mean = v / (1 - decay**t) if fix_v else v
            scale = (jnp.sqrt(mean) if root else mean) + eps
            m = momentum * m + (1 - momentum) * (grad if adam else grad / scale)
            found = m / (1 - momentum**t) if fix_m else m
            return (found / scale if adam else found), v, m

        return step

    def oracle(grad, v, m, t, decay, momentum):
        rms: Any = optax.scale_by_rms(decay, eps, eps_in_sqrt=False, bias_correction=True)
        ema: Any = optax.ema(momentum, debias=True)
        scaled, after = rms.update(grad, rms.init(grad)._replace(nu=v, count=jnp.int32(t - 1)))
        step, average = ema.update(scaled, ema.init(grad)._replace(ema=m, count=jnp.int32(t - 1)))
        return step, after.nu, average.ema

    def negative(*arguments):
        step, v, m = oracle(*arguments)
        return -step, v, m

    return compare(
        mine,
        oracle,
        [Part("5 steps with gradients from 0.1 to 30", along)],
        {
            "you average the raw gradient and scale the average, as Adam does: scale first, then "
            "average.": variant(adam=True),
            "v is not corrected: it starts at 0, so divide it by 1 - decay**t.": variant(
                fix_v=False
            ),
            "the momentum is not corrected: divide it by 1 - momentum**t for the step, and keep "
            "it as it is.": variant(fix_m=False),
            "the root is missing: the gradient is divided by the ROOT of the mean square.": variant(
                root=False
            ),
            "the sign is wrong: the step is subtracted later.": negative,
        },
        "how often such a step is made.",
        tolerance=1e-3,
    )  # fmt: skip


def schedule(mine: Function) -> Function:
    """`mine(train_ratio, batch, length, worlds)` -> (rows, updates), whole numbers (SPEC 12)."""
    cases = [
        (1, 16, 8, 128), (32, 16, 64, 16), (256, 16, 64, 1), (1024, 16, 64, 4), (0.5, 16, 8, 128),
        (3, 16, 8, 32),
    ]  # fmt: skip

    def oracle(train_ratio: float, batch: int, length: int, worlds: int) -> tuple[int, int]:
        return make_config(
            "catch", train_ratio=train_ratio, batch=batch, length=length, worlds=worlds, starts=0
        ).schedule

    def table(function: Function) -> Any:
        found = [function(*case) for case in cases]
        if any(pair is None for pair in found):
            return None
        return jnp.array(found, jnp.int32)

    def unreduced(train_ratio: float, batch: int, length: int, worlds: int) -> tuple[int, int]:
        ten = 10  # makes the ratios of the cases whole
        return ten * batch * length, int(ten * train_ratio * worlds)

    return compare(
        mine,
        oracle,
        [Part("6 settings, among them Breakout's and Atari's", table)],
        {
            "the two are swapped: first the rows to live, then the updates.": (
                lambda *case: oracle(*case)[::-1]
            ),
            "all worlds live: a row is a step of each of them.": (
                lambda r, b, t, w: oracle(r, b, t, 1)
            ),
            "an update trains on batch times length steps, not on batch.": (
                lambda r, b, t, w: oracle(r * t, b, t, w)
            ),
            "these are not the smallest whole numbers: divide both by their gcd.": unreduced,
        },
        "which rows an update is made of.",
    )


def fresh_windows(mine: Function) -> Function:
    """`mine(ticket, added, length, worlds)` -> (start, world, fresh), the online queue (SPEC 11).

    ticket (B,) int32, added () int32 rows of each stream -> (B,) int32 twice, (B,) bool. What start
    and world say where fresh is False does not count.
    """

    def oracle(ticket: jax.Array, added: jax.Array, length: int, worlds: int):
        batch = ticket.shape[0]
        ring: Any = jnp.zeros((10_000, 1))
        empty: Any = None
        replay = rp.Replay(empty, empty, ring, ring, jnp.int32(added), ticket[0])
        settings = SimpleNamespace(length=length, batch=batch, worlds=worlds, online_queue=True)
        after, places = rp.sample(replay, cast(Config, settings), jax.random.key(0))
        return places.start, places.world, jnp.arange(batch) < after.queued - ticket[0]

    def wrong(window: int = 1, first: int = 1, early: int = 0, swapped: bool = False) -> Function:
        def windows(ticket: jax.Array, added: jax.Array, length: int, worlds: int):
            size = length + window
            fresh = ticket < worlds * jnp.maximum(0, (added - first + early) // size)
            rounds, world = ticket // worlds, ticket % worlds
            rounds, world = (world, rounds) if swapped else (rounds, world)
            return first + rounds * size, world, fresh

        return windows

    def masked(ticket: jax.Array, added: int, length: int, worlds: int) -> Part:
        def measure(function: Function) -> Any:
            found = function(ticket, jnp.int32(added), length, worlds)
            if found is None or len(found) != 3:
                return found
            start, world, fresh = found
            return start * fresh, world * fresh, fresh

        return Part(f"{added} rows in {worlds} worlds, windows of {length + 1}", measure)

    return compare(
        mine,
        oracle,
        [
            masked(jnp.arange(10), 13, 5, 3),  # two rounds are whole
            masked(jnp.arange(4, 12), 12, 5, 3),  # the second lacks a row
            masked(jnp.arange(6), 1, 3, 2),  # nothing yet
        ],
        {
            "a window has T + 1 rows: one more than is trained on, as context.": wrong(window=0),
            "the first window starts at row 1, not 0.": wrong(first=0),
            "the worlds take turns: ticket j is of world j % W, in round j // W.": wrong(
                swapped=True
            ),
            "the last window is not whole yet: round r ends with row (r + 1)(T + 1).": wrong(
                early=1
            ),
            "yes and no are swapped: fresh is True where a window is whole.": (
                lambda *a: (*wrong()(*a)[:2], ~wrong()(*a)[2])
            ),
        },
        "what is given back to the rows that were trained on.",
    )  # fmt: skip


def write_latents(mine: Function) -> Function:
    """`mine(ring, states, start, world)` -> ring with fresh latents (SPEC 11).

    ring (L, W, D); states (T, B, D) of rows 1 to T of windows that start at start (B,) in world
    (B,); row i of a stream lies at i % L.
    """

    def oracle(ring: jax.Array, states: jax.Array, start: jax.Array, world: jax.Array) -> jax.Array:
        empty: Any = None
        classes: Any = jnp.zeros((*ring.shape[:2], 1), jnp.uint8)
        replay = rp.Replay(empty, empty, ring, classes, jnp.int32(0), jnp.int32(0))
        settings = cast(Config, SimpleNamespace(length=len(states), batch=len(start)))
        fresh = State(states, jnp.zeros((*states.shape[:2], 1, 2)))
        return rp.write_latents(replay, rp.Windows(start, world), fresh, settings).deter

    def places(ring: jax.Array, states: jax.Array, start: jax.Array, offset: int) -> jax.Array:
        return start + offset + jnp.arange(len(states))[:, None]

    ring, states = normal(41, 9, 4, 2), normal(42, 3, 3, 2)
    return compare(
        mine,
        oracle,
        [
            on("3 windows of 1 + 3 rows in a ring of 9 rows, one across its seam", ring, states,
               jnp.array([0, 16, 5]), jnp.array([1, 3, 0])),
        ],
        {
            "row 0 of a window is context: what you got are the states of rows 1 to T.": (
                lambda r, x, s, w: r.at[places(r, x, s, 0) % len(r), w].set(x)
            ),
            "the ring is round: take the place modulo its length.": (
                lambda r, x, s, w: r.at[places(r, x, s, 1), w].set(x)
            ),
            "the new latents replace the old ones: set, not add.": (
                lambda r, x, s, w: r.at[places(r, x, s, 1) % len(r), w].add(x)
            ),
            "nothing was written: `ring.at[...].set(...)` returns the new ring.": (
                lambda r, x, s, w: r
            ),
            "you write into every world: only into the window's own.": (
                lambda r, x, s, w: r.at[places(r, x, s, 1)[:, 0] % len(r)].set(x[:, :1])
            ),
        },
        "put all parts into one loop.",
    )  # fmt: skip
