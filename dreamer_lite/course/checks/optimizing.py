"""Notebook 08: the optimizer: adaptive gradient clipping, LaProp, and the learning rate."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from dreamer_lite.course.checks.exercise import check, normal, part, solved, solved_agent
from dreamer_lite.course.compare import Exercise, Function, Part, on


@part("clip_gradient")
def clip_gradient() -> Exercise:
    """`mine(gradient, param, clip)`: adaptive gradient clipping of one tensor.

    gradient and param have one shape, that of the result. Source: `clip_by_agc` of the released
    code (embodied/jax/opt.py).
    """
    norm, oracle = jnp.linalg.norm, solved("clip_gradient")

    def limit(param, clip):
        return clip * jnp.maximum(1e-3, norm(param.ravel()))

    def per_row(gradient, param, clip=0.3):
        if gradient.ndim < 2:
            return oracle(gradient, param, clip)
        return jnp.stack([oracle(g, p, clip) for g, p in zip(gradient, param)])

    def inside_jit(what: str, *arguments: Any) -> Part:
        """The optimizer is compiled, where an `if` about an array fails."""
        return Part(what, lambda function: jax.jit(lambda x: function(*x))(arguments), arguments)

    weights, large, small = normal(31, 4, 3), 10 * normal(32, 4, 3), 0.01 * normal(33, 4, 3)
    return Exercise(
        oracle,
        [
            inside_jit("a gradient that is too large, shape (4, 3)", large, weights),
            inside_jit("a small gradient, which stays", small, weights),
            inside_jit("a bias that is all zeros", normal(34, 5), jnp.zeros(5)),
            inside_jit("another limit, clip 0.01", large, weights, 0.01),
        ],
        small_grows=lambda g, p, clip=0.3: g * limit(p, clip) / norm(g.ravel()),
        not_clipped=lambda g, p, clip=0.3: g,
        per_number=lambda g, p, clip=0.3: jnp.clip(g, -limit(p, clip), limit(p, clip)),
        per_row=per_row,
        no_floor=lambda g, p, clip=0.3: (
            g / jnp.maximum(1, norm(g.ravel()) / (clip * jnp.maximum(1e-12, norm(p.ravel()))))
        ),
        fixed=lambda g, p, clip=0.3: oracle(g, p),
    )


@part("laprop")
def laprop() -> Exercise:
    """`mine(gradient, v, m, count, decay, momentum)` -> (step, v, m): RMS first, then momentum.

    gradient, v, m and step have one shape; count = 1, 2, ... The step is yet to be multiplied by
    -rate. Source: `scale_by_rms` and `scale_by_momentum` of the released code
    (embodied/jax/opt.py); Ziyin et al. 2020.
    """
    oracle = solved("laprop")

    def five_steps(function: Function) -> Any:
        """Five steps from zeros: all steps (5, 6), and the last v and m."""
        v, m, steps = jnp.zeros(6), jnp.zeros(6), []
        for count, size in enumerate((1.0, 0.1, 30.0, 0.1, 1.0), 1):
            found = function(size * normal(35 + count, 6), v, m, count, 0.99)
            if found is None:
                return None
            step, v, m = found
            steps.append(step)
        return jnp.stack(steps), v, m

    def rms(mean):
        return jnp.sqrt(mean) + 1e-20

    def variant(adam=False, fix_v=True, fix_m=True, below=rms) -> Function:
        def step(gradient, v, m, count, decay, momentum=0.9):
            v = decay * v + (1 - decay) * gradient**2
            mean = v / (1 - decay**count) if fix_v else v
            scale = below(mean)
            m = momentum * m + (1 - momentum) * (gradient if adam else gradient / scale)
            found = m / (1 - momentum**count) if fix_m else m
            return (found / scale if adam else found), v, m

        return step

    def wrong_sign(*arguments):
        step, v, m = oracle(*arguments)
        return -step, v, m

    def returns_corrected(gradient, v, m, count, decay, momentum=0.9):
        step, v, _ = oracle(gradient, v, m, count, decay, momentum)
        return step, v, step

    first = jnp.array([5.0, -0.1]), jnp.zeros(2), jnp.zeros(2), 1, 0.999
    return Exercise(
        oracle,
        [
            on("the first step, decay 0.999", *first),
            Part("5 steps with gradients from 0.1 to 30", five_steps),
            on("a tiny gradient", jnp.array([1e-12, -1e-14]), jnp.zeros(2), jnp.zeros(2), 1, 0.99),
        ],
        tolerance=1e-3,
        epsilon_inside=variant(below=lambda mean: jnp.sqrt(mean + 1e-20)),
        adam=variant(adam=True),
        v_not_corrected=variant(fix_v=False),
        m_not_corrected=variant(fix_m=False),
        no_root=variant(below=lambda mean: mean + 1e-20),
        wrong_sign=wrong_sign,
        returns_corrected=returns_corrected,
    )


@check
def adam() -> Exercise:
    """`mine(gradient, v, m, count, decay, momentum)` -> (step, v, m): momentum, then RMS.

    Source: Kingma and Ba 2015.
    """

    def right(gradient, v, m, count, decay, momentum=0.9):
        v = decay * v + (1 - decay) * gradient**2
        m = momentum * m + (1 - momentum) * gradient
        step = m / (1 - momentum**count) / (jnp.sqrt(v / (1 - decay**count)) + 1e-20)
        return step, v, m

    def m_not_corrected(gradient, v, m, count, decay, momentum=0.9):
        step, v, m = right(gradient, v, m, count, decay, momentum)
        return step * (1 - momentum**count), v, m

    def v_not_corrected(gradient, v, m, count, decay, momentum=0.9):
        step, v, m = right(gradient, v, m, count, decay, momentum)
        return step / jnp.sqrt(1 - decay**count), v, m

    inputs = normal(42, 6), 1 + normal(43, 6) ** 2, normal(44, 6), 3, 0.99
    return Exercise(
        right,
        [on("the third of several steps", *inputs)],
        laprop=lambda *x: solved("laprop")(*x),
        m_not_corrected=m_not_corrected,
        v_not_corrected=v_not_corrected,
    )


@part("make_optimizer")
def make_optimizer() -> Exercise:
    """`mine(c)` -> an optax optimizer: clipping, then LaProp, times -(learning rate).

    The rate rises linearly from 0 in c.warmup updates; with c.decay it is divided by
    sqrt(1 + updates / c.decay). Source: `_make_opt` of the released code (dreamerv3/agent.py); the
    decay is ours.
    """
    course = solved_agent()
    settings = dict(learning_rate=0.01, warmup=3, rms_decay=0.99)
    params = {"a": normal(40, 4, 3), "b": jnp.zeros(5), "c": 1e-4 * normal(41, 2)}

    def steps(**changes: Any) -> Part:
        """Six updates of three tensors with growing gradients, all steps."""
        c = course.Config(**(settings | changes))

        def measure(function: Function) -> Any:
            optimizer = function(c)
            if optimizer is None:
                return None
            move = jax.jit(optimizer.update)  # as in training
            memory, found = optimizer.init(params), []
            for at in range(6):
                gradient = jax.tree.map(lambda x, at=at: 4.0**at * normal(at, *x.shape), params)
                step, memory = move(gradient, memory, params)
                found.append(jnp.concatenate([x.ravel() for x in jax.tree.leaves(step)]))
            return 100 * jnp.stack(found)

        return Part(f"100 times 6 steps of 3 tensors, warm-up 3, decay {c.decay}", measure)

    def variant(
        warm: Any = lambda count, c: jnp.minimum(1.0, count / c.warmup),
        slow: Any = lambda count, c: jax.lax.rsqrt(1 + count / c.decay) if c.decay else 1.0,
        sign: float = -1.0,
        beta: Any = lambda c: c.rms_decay,
        clipped: bool = True,
    ) -> Function:
        def make(c):
            def scale(gradient, memory, params=None):
                v, m, count = memory
                step, v, m = course.laprop(gradient, v, m, count + 1, beta(c))
                rate = c.learning_rate * warm(count, c) * slow(count, c)
                return sign * rate * step, (v, m, count + 1)

            begin = lambda p: (0.0 * p, 0.0 * p, jnp.int32(0))  # noqa: E731
            transformation: Any = optax.GradientTransformation
            laprops = optax.flatten(transformation(begin, scale))
            clip = optax.stateless_with_tree_map(course.clip_gradient)
            return optax.chain(clip, laprops) if clipped else laprops

        return make

    return Exercise(
        solved("make_optimizer"),
        [steps(decay=0), steps(decay=4)],
        uphill=variant(sign=1.0),
        no_warmup=variant(warm=lambda count, c: 1.0),
        early=variant(warm=lambda count, c: jnp.minimum(1.0, (count + 1) / c.warmup)),
        never_ends=variant(warm=lambda count, c: count / c.warmup),
        no_decay=variant(slow=lambda count, c: 1.0),
        no_root=variant(slow=lambda count, c: 1 / (1 + count / c.decay) if c.decay else 1.0),
        code_beta=variant(beta=lambda c: 0.999),
        rate_decay=variant(beta=lambda c: c.decay),
        not_clipped=variant(clipped=False),
    )
