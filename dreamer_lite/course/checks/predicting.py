"""Notebook 03: numbers of any magnitude, and categorical variables."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.course.checks.exercise import normal, part, solved, solved_agent, uniform
from dreamer_lite.course.compare import Exercise, Function, Part, gradient, on

sg = jax.lax.stop_gradient


@part("symlog")
def symlog() -> Exercise:
    """`mine(x)`: sign(x) ln(1 + |x|), elementwise (Hafner et al. 2025, "Robust predictions")."""
    numbers = [[-1e4, -20, -1, -0.5], [-0.01, 0, 0.001, 0.01], [0.5, 1, 20, 1e4]]
    return Exercise(
        solved("symlog"),
        [on("12 numbers from -10,000 to 10,000, shape (3, 4)", jnp.array(numbers, jnp.float32))],
        no_sign=lambda x: jnp.log1p(jnp.abs(x)),
        no_one=lambda x: jnp.sign(x) * jnp.log(jnp.maximum(jnp.abs(x), 1e-30)),
        base_10=lambda x: solved("symlog")(x) / jnp.log(10.0),
    )


@part("symexp")
def symexp() -> Exercise:
    """`mine(x)`: sign(x) (exp(|x|) - 1), elementwise, the inverse of symlog."""
    x = jnp.array([[-9.0, -3.0, -1.0, -0.1, 0.0], [0.1, 0.15748, 1.0, 5.0, 9.0]], jnp.float32)
    small = Part("1e6 times symexp of 1e-6", lambda f: 1e6 * f(jnp.full((2, 5), 1e-6)))
    return Exercise(
        solved("symexp"),
        [on("10 numbers from -9 to 9, shape (2, 5)", x), small],
        tolerance=1e-3,
        no_sign=lambda x: jnp.expm1(jnp.abs(x)),
        no_one=lambda x: jnp.sign(x) * jnp.exp(jnp.abs(x)),
        no_magnitude=jnp.expm1,
        rounding=lambda x: jnp.sign(x) * (jnp.exp(jnp.abs(x)) - 1),
    )


@part("make_bins")
def make_bins() -> Exercise:
    """`mine(count)`: int -> (count,), symexp of an even grid from -20 to 20, exactly symmetric.

    Source: Hafner et al. 2025, "Robust predictions"; `symexp_twohot` of the released code.
    """
    symexp, oracle = solved("symexp"), solved("make_bins")

    def mirror(count: int) -> Part:
        what = f"each of {count} bins plus its mirror image, which is 0"
        return Part(what, lambda f: f(count) + f(count)[::-1])

    def even_count(count):
        half = symexp(jnp.linspace(-20, 20, count)[: count // 2])
        return jnp.concatenate([half, jnp.zeros(count % 2), -half[::-1]])

    return Exercise(
        oracle,
        [on("7 bins", 7), on("255 bins", 255), mirror(255), on("8 bins", 8), mirror(64)],
        even_count=even_count,
        not_squashed=lambda count: jnp.linspace(-20, 20, count),
        even=lambda count: symexp(20.0) * jnp.linspace(-1, 1, count),
        not_mirrored=lambda count: symexp(jnp.linspace(-20, 20, count)),
        backwards=lambda count: oracle(count)[::-1],
    )


@part("two_hot")
def two_hot() -> Exercise:
    """`mine(y, bins)`: (...), (K,) -> (..., K), the weights on the two neighbouring bins.

    Source: Hafner et al. 2025, "Robust predictions".
    """
    oracle, bins = solved("two_hot"), solved("make_bins")(255)
    numbers = jnp.array([-900.0, -21.0, -1.0, -0.1, 0.1, 0.5, 1.0, 20.0, 900.0], jnp.float32)
    on_bins = bins[jnp.array([100, 126, 127, 128, 200])]
    ends = jnp.array([-1e9, 1e9, bins[0], bins[-1]], jnp.float32)

    def swapped(y, bins):
        right = oracle(y, bins)
        index = jnp.arange(len(bins))
        # The other neighbour of the two; a code on a single bin stays.
        other = jnp.sum(jnp.where(right > 0, index, 0), -1, keepdims=True) - index
        inside = (other >= 0) & (other < len(bins))
        taken = jnp.take_along_axis(right, jnp.clip(other, 0, len(bins) - 1), -1)
        single = (right > 0).sum(-1, keepdims=True) == 1
        return jnp.where(single, right, jnp.where(inside, taken, 0))

    def in_symlog(y, bins):
        return oracle(solved("symlog")(y), solved("symlog")(bins))

    few = jnp.array([-10.0, -1, 0, 1, 10])
    return Exercise(
        oracle,
        [
            on("4 numbers, 5 bins", jnp.array([-4.0, 0.25, 1.9, 30]), few),
            on("9 numbers between 255 bins", numbers, bins),
            on("9 numbers on bins and beyond the ends", jnp.concatenate([on_bins, ends]), bins),
            on("shape (2, 3)", normal(1, 2, 3), bins),
        ],
        one_bin=lambda y, b: jax.nn.one_hot(jnp.abs(b - y[..., None]).argmin(-1), len(b)),
        swapped=swapped,
        in_symlog=in_symlog,
    )


@part("two_hot_loss")
def two_hot_loss() -> Exercise:
    """`mine(logits, y)`: (..., K), (...) -> (...), cross entropy with the two-hot code of y.

    The target is a constant (Hafner et al. 2025, "Robust predictions").
    """
    oracle, agent = solved("two_hot_loss"), solved_agent()

    def code_of(logits, y):
        return agent.two_hot(sg(y), agent.make_bins(logits.shape[-1]))

    def target_moves(logits, y):
        code = agent.two_hot(y, agent.make_bins(logits.shape[-1]))
        return -jnp.sum(code * jax.nn.log_softmax(logits), -1)

    def for_target(f: Function) -> Any:
        return jax.grad(lambda y: f(logits, y).sum())(y)

    logits, y = 3 * normal(5, 2, 3, 63), 4 * normal(6, 2, 3)
    return Exercise(
        oracle,
        [
            on("2 numbers, 5 bins", normal(7, 2, 5), jnp.array([-3.0, 700])),
            on("6 numbers, 63 bins", logits, y),
            gradient("the gradient for the logits", logits, y),
            Part("the gradient for the target, which is 0", for_target),
        ],
        no_minus=lambda logits, y: -oracle(logits, y),
        not_normalised=lambda logits, y: -jnp.sum(code_of(logits, y) * logits, -1),
        no_log=lambda logits, y: -jnp.sum(code_of(logits, y) * jax.nn.softmax(logits), -1),
        mean_of_bins=lambda logits, y: oracle(logits, y) / logits.shape[-1],
        twice_squashed=lambda logits, y: oracle(logits, agent.symlog(y)),
        target_moves=target_moves,
    )


@part("two_hot_mean")
def two_hot_mean() -> Exercise:
    """`mine(logits)`: (..., K) -> (...), the expected bin value, summed in mirrored pairs.

    Source of the order: `TwoHot.pred` of the released code (embodied/jax/outs.py).
    """
    bins_of = solved("make_bins")
    peaked = normal(2, 4, 255) - 0.5 * (jnp.arange(255) - 127.0) ** 2
    softmax = jax.nn.softmax

    def left_to_right(logits):
        terms = np.asarray(softmax(logits) * bins_of(logits.shape[-1]))
        return jnp.asarray(np.cumsum(terms, -1, np.float32)[..., -1])

    def no_softmax(logits):
        half = logits.shape[-1] // 2
        pairs = logits[..., -half:] - logits[..., :half][..., ::-1]
        return jnp.sum(pairs * bins_of(logits.shape[-1])[-half:], -1)

    def not_reversed(logits):
        probs, half = softmax(logits), logits.shape[-1] // 2
        return jnp.sum(
            (probs[..., -half:] - probs[..., :half]) * bins_of(logits.shape[-1])[-half:], -1
        )

    def likeliest(logits):
        return bins_of(logits.shape[-1])[jnp.argmax(logits, -1)]

    return Exercise(
        solved("two_hot_mean"),
        [
            on("the probabilities 0.2, 0.3 and 0.5 on 3 bins", jnp.log(jnp.array([0.2, 0.3, 0.5]))),
            on("255 equal logits: exactly 0 without rounding errors", jnp.zeros((3, 255))),
            on("logits with a peak near the middle, 255 bins", peaked),
            on("8 bins, an even count without a middle", normal(3, 2, 8)),
        ],
        left_to_right=left_to_right,
        plain_sum=lambda logits: jnp.sum(softmax(logits) * bins_of(logits.shape[-1]), -1),
        plain_product=lambda logits: softmax(logits) @ bins_of(logits.shape[-1]),
        no_softmax=no_softmax,
        not_reversed=not_reversed,
        likeliest=likeliest,
    )


@part("unimix")
def unimix() -> Exercise:
    """`mine(logits, fraction)`: (..., C) -> (..., C), ln of softmax mixed with uniform.

    Source: Hafner et al. 2025, "World model learning" (1 % uniform).
    """
    oracle, softmax = solved("unimix"), jax.nn.softmax
    logits = jnp.array([[10.0, 0, 0, 0], [100.0, 0, 0, 0], [2.0, 1, 0, -1]], jnp.float32)
    return Exercise(
        oracle,
        [
            on("3 distributions over 4 classes, 1 % uniform", logits, 0.01),
            on("shape (2, 3, 5), 10 %", normal(4, 2, 3, 5), 0.1),
        ],
        not_mixed=lambda x, mix: jnp.maximum(jax.nn.log_softmax(x), -1e30),
        no_log=lambda x, mix: jnp.exp(oracle(x, mix)),
        not_divided=lambda x, mix: jnp.log((1 - mix) * softmax(x) + mix),
        not_scaled=lambda x, mix: jnp.log(softmax(x) + mix / x.shape[-1]),
    )


@part("sample_onehot")
def sample_onehot() -> Exercise:
    """`mine(logp, u)`: (..., C), (...) -> (..., C), one-hot, with the gradient of exp(logp).

    The class is the first whose cumulative probability is above u. Source of straight-through:
    Hafner et al. 2025, "World model learning"; `OneHot.sample` of the released code.
    """
    oracle = solved("sample_onehot")
    logp = jax.nn.log_softmax(2 * normal(8, 50, 6))
    u = jnp.array([0.1, 0.3, 0.6, 0.9])
    few = jnp.log(jnp.broadcast_to(jnp.array([0.2, 0.3, 0.5]), (4, 3)))
    short = jnp.log(jnp.full((2, 3), 0.333, jnp.float32))  # they sum to 0.999, as rounding may do

    def pick(choose: Any) -> Function:
        def mistake(logp, u):
            probs = jnp.exp(logp)
            onehot = jax.nn.one_hot(choose(logp, sg(probs), u), logp.shape[-1])
            return onehot + (probs - sg(probs))

        return mistake

    return Exercise(
        oracle,
        [
            on("4 values of u for the probabilities 0.2, 0.3 and 0.5", few, u),
            on("50 distributions over 6 classes", logp, uniform(9, 50)),
            on(
                "u above the sum of probabilities that rounding left at 0.999",
                short,
                u[:2] + 0.8996,
            ),
            gradient("the gradient for logp", logp, uniform(9, 50)),
        ],
        all_false=pick(lambda logp, p, u: jnp.argmax(jnp.cumsum(p, -1) > u[..., None], -1)),
        probabilities=lambda logp, u: jnp.exp(logp),
        likeliest=pick(lambda logp, p, u: jnp.argmax(logp, -1)),
        falls_off=pick(lambda logp, p, u: jnp.sum(jnp.cumsum(p, -1) <= u[..., None], -1)),
        log_summed=pick(lambda logp, p, u: jnp.sum(jnp.cumsum(logp, -1) <= u[..., None], -1)),
        from_the_end=pick(
            lambda logp, p, u: jnp.sum(jnp.cumsum(p, -1)[..., :-1] <= 1 - u[..., None], -1)
        ),
        no_gradient=lambda logp, u: sg(oracle(logp, u)),
        gradient_of_logp=lambda logp, u: sg(oracle(logp, u)) + (logp - sg(logp)),
        value_changed=lambda logp, u: sg(oracle(logp, u)) + jnp.exp(logp),
    )


@part("binary_cross_entropy")
def binary_cross_entropy() -> Exercise:
    """`mine(logit, target)`: (...), (...) -> (...), -(y ln p + (1 - y) ln(1 - p)), p = sigmoid."""
    oracle = solved("binary_cross_entropy")

    def clipped(logit, target):
        p = jnp.clip(jax.nn.sigmoid(logit), 1e-7, 1 - 1e-7)
        return -(target * jnp.log(p) + (1 - target) * jnp.log(1 - p))

    logit = jnp.array([-2.0, -1, 0, 0.5, 1, 3])
    target = jnp.array([0.0, 1, 0.5, 1, 0, 0.99])
    return Exercise(
        oracle,
        [
            on("6 logits, two of the targets soft", logit, target),
            on("logits of 200", jnp.array([-200.0, -200, 200, 200]), jnp.array([0.0, 1, 0, 1])),
            gradient("the gradient for the logits", logit, target),
        ],
        swapped=lambda logit, target: oracle(logit, 1 - target),
        no_minus=lambda logit, target: -oracle(logit, target),
        one_sided=lambda logit, target: target * jnp.logaddexp(0, -logit),
        not_soft=lambda logit, target: oracle(logit, jnp.round(target)),
        clipped=clipped,
    )


@part("Categorical.log_prob")
def categorical_log_prob() -> Exercise:
    """`mine(self, onehot)`: (..., C) -> (...), ln p of a one-hot value; self.logp (..., C)."""
    oracle = solved("Categorical.log_prob")
    few = solved_agent().Categorical(jnp.log(jnp.array([[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]])))
    many = solved_agent().Categorical(jax.nn.log_softmax(normal(10, 2, 4, 5)))
    taken = jax.nn.one_hot(jnp.argmax(normal(11, 2, 4, 5), -1), 5)
    return Exercise(
        oracle,
        [
            on("the classes 2 and 0 of 2 distributions", few, jax.nn.one_hot(jnp.array([2, 0]), 3)),
            on("shape (2, 4), 5 classes", many, taken),
        ],
        probability=lambda self, onehot: jnp.exp(oracle(self, onehot)),
        no_minus=lambda self, onehot: -oracle(self, onehot),
        whole_rows=lambda self, onehot: self.logp[onehot.argmax(-1)],
        not_summed=lambda self, onehot: onehot * self.logp,
        all_classes=lambda self, onehot: jnp.sum(self.logp, -1),
        mean=lambda self, onehot: jnp.mean(onehot * self.logp, -1),
    )


@part("Categorical.entropy")
def categorical_entropy() -> Exercise:
    """`mine(self)`: -> (...), the entropy in nats; self.logp (..., C)."""
    oracle = solved("Categorical.entropy")
    few = solved_agent().Categorical(jnp.log(jnp.array([[0.25] * 4, [0.97, 0.01, 0.01, 0.01]])))
    many = solved_agent().Categorical(jax.nn.log_softmax(normal(12, 2, 3, 5)))
    return Exercise(
        oracle,
        [on("a uniform distribution and a sure one", few), on("shape (2, 3), 5 classes", many)],
        no_minus=lambda self: -oracle(self),
        bits=lambda self: oracle(self) / jnp.log(2.0),
        unweighted=lambda self: -jnp.sum(self.logp, -1),
        mean=lambda self: oracle(self) / self.logp.shape[-1],
    )
