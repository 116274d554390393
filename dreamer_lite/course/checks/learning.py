"""Notebook 08: optimiser, train ratio, online queue, latent write-back."""

from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from dreamer_lite.agent.optimizer import clip_by_parameter_norm
from dreamer_lite.agent.rssm import State
from dreamer_lite.config import Config
from dreamer_lite.course.checks.exercise import check, normal
from dreamer_lite.course.compare import Exercise, Function, Part, on
from dreamer_lite.presets import make_config
from dreamer_lite.training import replay as rp


@check
def clip_gradient() -> Exercise:
    """`mine(grad, param, clip, floor)`: adaptive gradient clipping of one tensor.

    grad and param have one shape, that of the result. Source: `clip_by_agc` of the released code
    (embodied/jax/opt.py).
    """
    norm = jnp.linalg.norm

    def oracle(grad, param, clip, floor):
        agc = clip_by_parameter_norm(clip, floor)
        return cast(Any, agc.update(grad, agc.init(param), param)[0])

    def limit(param, clip, floor):
        return clip * jnp.maximum(floor, norm(param.ravel()))

    def per_row(grad, param, clip, floor):
        if grad.ndim < 2:
            return oracle(grad, param, clip, floor)
        return jnp.stack([oracle(g, p, clip, floor) for g, p in zip(grad, param)])

    weights, settings = normal(31, 4, 3), (0.3, 1e-3)
    large, small = 10 * normal(32, 4, 3), 0.01 * normal(33, 4, 3)
    return Exercise(
        oracle,
        [
            on("a gradient that is too large, shape (4, 3)", large, weights, *settings),
            on("a small gradient, which stays", small, weights, *settings),
            on("a bias that is all zeros", normal(34, 5), jnp.zeros(5), *settings),
        ],
        small_grows=lambda g, p, c, floor: g * limit(p, c, floor) / norm(g.ravel()),
        not_clipped=lambda g, p, c, floor: g,
        per_number=lambda g, p, c, floor: jnp.clip(g, -limit(p, c, floor), limit(p, c, floor)),
        per_row=per_row,
        no_floor=lambda g, p, c, _: g / jnp.maximum(1, norm(g.ravel()) / limit(p, c, 1e-12)),
    )


@check
def rms_momentum() -> Exercise:
    """`mine(grad, v, m, t, decay, momentum)` -> (step, v, m): RMS normalisation, then momentum.

    grad, v, m and step have one shape; t = 1, 2, ... The step is yet to be multiplied by -rate.
    Source: `scale_by_rms` and `scale_by_momentum` of the released code (embodied/jax/opt.py).
    """
    eps = 1e-20

    def five_steps(function):
        """Five steps from zeros: all steps (5, 6), and the last v and m."""
        v, m, steps = jnp.zeros(6), jnp.zeros(6), []
        for t, size in enumerate((1.0, 0.1, 30.0, 0.1, 1.0)):
            found = function(size * normal(35 + t, 6), v, m, t + 1, 0.99, 0.9)
            if found is None:
                return None
            step, v, m = found
            steps.append(step)
        return jnp.stack(steps), v, m

    def variant(adam=False, fix_v=True, fix_m=True, root=True) -> Function:
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

    def wrong_sign(*arguments):
        step, v, m = oracle(*arguments)
        return -step, v, m

    return Exercise(
        oracle,
        [Part("5 steps with gradients from 0.1 to 30", five_steps)],
        tolerance=1e-3,
        adam=variant(adam=True),
        v_not_corrected=variant(fix_v=False),
        m_not_corrected=variant(fix_m=False),
        no_root=variant(root=False),
        wrong_sign=wrong_sign,
    )


@check
def schedule() -> Exercise:
    """`mine(train_ratio, batch, length, worlds)` -> (steps, updates), whole numbers.

    So many updates follow so many time steps of each environment, where train_ratio is the number
    of replayed time steps per collected one. Source: `Config.schedule`.
    """
    cases = [
        (1, 16, 8, 128), (32, 16, 64, 16), (256, 16, 64, 1), (1024, 16, 64, 4), (0.5, 16, 8, 128),
        (3, 16, 8, 32),
    ]  # fmt: skip

    def oracle(train_ratio, batch, length, worlds):
        settings = dict(train_ratio=train_ratio, batch=batch, length=length, worlds=worlds)
        return make_config("catch", **settings, starts=0).schedule

    def table(function):
        found = [function(*case) for case in cases]
        return None if any(pair is None for pair in found) else jnp.array(found, jnp.int32)

    return Exercise(
        oracle,
        [Part("6 settings, among them Breakout's and Atari's", table)],
        swapped=lambda *case: oracle(*case)[::-1],
        one_world=lambda ratio, b, t, w: oracle(ratio, b, t, 1),
        no_length=lambda ratio, b, t, w: oracle(ratio * t, b, t, w),
        not_reduced=lambda ratio, b, t, w: (10 * b * t, int(10 * ratio * w)),  # 10: whole numbers
    )


@check
def fresh_windows() -> Exercise:
    """`mine(ticket, added, length, worlds)` -> (start, world, fresh), the online queue.

    ticket (B,) int32, added () int32 time steps of each stream -> (B,) int32 twice, (B,) bool.
    start and world are not compared where fresh is False. Source: `Replay._sample` of the released
    code (embodied/core/replay.py); `replay.sample`.
    """

    def oracle(ticket, added, length, worlds):
        batch = ticket.shape[0]
        ring: Any = jnp.zeros((10_000, 1))
        empty: Any = None
        replay = rp.Replay(empty, empty, ring, ring, jnp.int32(added), ticket[0])
        settings = SimpleNamespace(length=length, batch=batch, worlds=worlds, online_queue=True)
        after, windows = rp.sample(replay, cast(Config, settings), jax.random.key(0))
        return windows.start, windows.world, jnp.arange(batch) < after.queued - ticket[0]

    def wrong(context=1, first=1, early=0, swapped=False, inverted=False) -> Function:
        def windows(ticket, added, length, worlds):
            size = length + context
            fresh = ticket < worlds * jnp.maximum(0, (added - first + early) // size)
            rounds, world = ticket // worlds, ticket % worlds
            rounds, world = (world, rounds) if swapped else (rounds, world)
            return first + rounds * size, world, ~fresh if inverted else fresh

        return windows

    def masked(ticket: jax.Array, added: int, length: int, worlds: int) -> Part:
        def measure(function):
            found = function(ticket, jnp.int32(added), length, worlds)
            if found is None or len(found) != 3:
                return found
            start, world, fresh = found
            return start * fresh, world * fresh, fresh

        where = f"{added} time steps in {worlds} environments, windows of {length + 1}"
        return Part(where, measure)

    return Exercise(
        oracle,
        [
            masked(jnp.arange(10), 13, 5, 3),  # two rounds are complete
            masked(jnp.arange(4, 12), 12, 5, 3),  # the second lacks a time step
            masked(jnp.arange(6), 1, 3, 2),  # nothing yet
        ],
        no_context=wrong(context=0),
        starts_at_0=wrong(first=0),
        no_turns=wrong(swapped=True),
        too_early=wrong(early=1),
        swapped=wrong(inverted=True),
    )


@check
def write_latents() -> Exercise:
    """`mine(ring, states, start, world)` -> ring with fresh latents.

    ring (L, W, D); states (T, B, D) of the time steps 1 to T of windows that start at start (B,)
    in environment world (B,); time step i of a stream is stored at i % L. Source: `Replay.update`
    of the released code (embodied/core/replay.py); `replay.write_latents`.
    """

    def oracle(ring, states, start, world):
        empty: Any = None
        classes: Any = jnp.zeros((*ring.shape[:2], 1), jnp.uint8)
        replay = rp.Replay(empty, empty, ring, classes, jnp.int32(0), jnp.int32(0))
        settings = cast(Config, SimpleNamespace(length=len(states), batch=len(start)))
        fresh = State(states, jnp.zeros((*states.shape[:2], 1, 2)))
        return rp.write_latents(replay, rp.Windows(start, world), fresh, settings).deter

    def at(states, start, offset=1):
        return start + offset + jnp.arange(len(states))[:, None]

    inputs = normal(41, 9, 4, 2), normal(42, 3, 3, 2), jnp.array([0, 16, 5]), jnp.array([1, 3, 0])
    return Exercise(
        oracle,
        [on("3 windows of 1 + 3 steps in a ring of 9 steps, one across its seam", *inputs)],
        at_context=lambda ring, x, s, w: ring.at[at(x, s, 0) % len(ring), w].set(x),
        not_round=lambda ring, x, s, w: ring.at[at(x, s), w].set(x),
        added=lambda ring, x, s, w: ring.at[at(x, s) % len(ring), w].add(x),
        nothing=lambda ring, x, s, w: ring,
        every_world=lambda ring, x, s, w: ring.at[at(x, s)[:, 0] % len(ring)].set(x[:, :1]),
    )
