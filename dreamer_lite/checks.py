"""Exercise checks: the reader's function against the package's, on fixed random inputs.

`symlog = checks.symlog(my_symlog)` says what was compared, the largest difference and what to do
next. It returns the reader's function if that passed, else the package's, and says which, so that a
notebook goes on either way. With DREAMER_LITE_STRICT=1 a failure raises.

To add an exercise, write an oracle from the package, the mistakes worth a hint of their own, and a
function that calls `compare`. tests/test_checks.py proves each of them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite import transforms
from dreamer_lite.checks_07 import (  # noqa: F401
    clip_gradient,
    fresh_windows,
    rms_momentum,
    schedule,
    write_latents,
)
from dreamer_lite.compare import Function, Part, compare, gradient, on
from dreamer_lite.distributions import OneHot
from dreamer_lite.networks import block_product
from dreamer_lite.world_model import kl_with_free_nats


def _normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def _uniform(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).random(shape), jnp.float32)


# Notebook 01: rows and masks


def _flags(*rows: str) -> jax.Array:
    """Flags (T, B) from one word per sequence, such as "1000"."""
    return jnp.array([[letter == "1" for letter in row] for row in rows]).T


def keep_mask(mine: Function) -> Function:
    """`mine(is_last)`: (T, B) bool -> (T, B) float32, 0 where the memory must be wiped."""

    def oracle(is_last: jax.Array) -> jax.Array:
        first = jnp.concatenate([jnp.ones_like(is_last[:1]), is_last[:-1]])
        return 1.0 - first.astype(jnp.float32)

    def at_the_end(is_last: jax.Array) -> jax.Array:
        return 1.0 - is_last.astype(jnp.float32)

    def start_kept(is_last: jax.Array) -> jax.Array:
        return oracle(is_last).at[0].set(1.0)

    return compare(
        mine,
        oracle,
        [on("4 episode ends in 3 sequences of 8 rows", _flags("00010000", "00100100", "00000001"))],
        {
            "you wipe at the row where an episode ends, but that row still belongs to it: the "
            "memory must go one row later, at the reset.": at_the_end,
            "you keep the memory at row 0: nothing came before it, so there it is 0.": start_kept,
            "0 and 1 are swapped: keep is 1 where the memory goes on.": lambda x: 1 - oracle(x),
        },
        "the previous action, which needs the same mask.",
    )


def previous_action(mine: Function) -> Function:
    """`mine(action, is_first, count)`: (T, B) int, (T, B) bool -> (T, B, count) float32.

    Row t gets the one-hot action of row t - 1, or zeros at is_first and at row 0.
    """

    def oracle(action: jax.Array, is_first: jax.Array, count: int) -> jax.Array:
        return shifted(action, count) * (1.0 - is_first[..., None])

    def shifted(action: jax.Array, count: int) -> jax.Array:
        onehot = jax.nn.one_hot(action, count)
        return jnp.concatenate([jnp.zeros_like(onehot[:1]), onehot[:-1]])

    def action_zero(action: jax.Array, is_first: jax.Array, count: int) -> jax.Array:
        before = jnp.concatenate([jnp.zeros_like(action[:1]), action[:-1]])
        return jax.nn.one_hot(jnp.where(is_first, 0, before), count)

    action = jnp.array(np.random.default_rng(0).integers(0, 3, (8, 3)), jnp.int32)
    is_first = _flags("10001000", "00010010", "00000000")
    return compare(
        mine,
        oracle,
        [on("3 sequences of 8 rows with 4 resets, 3 actions", action, is_first, 3)],
        {
            "you gave each row its own action: it leads to the NEXT row. Shift by one.": (
                lambda a, f, n: jax.nn.one_hot(a, n) * (1.0 - f[..., None])
            ),
            "the action before a reset leaks into the new episode: multiply by 1 - is_first.": (
                lambda a, f, n: shifted(a, n)
            ),
            "at a reset you give one-hot action 0, which is a real action: give all zeros.": (
                action_zero
            ),
        },
        "cut windows from the replay with it.",
    )


# Notebook 02: predicting anything

_NUMBERS = jnp.array(
    [[-1e4, -20, -1, -0.5], [-0.01, 0, 0.001, 0.01], [0.5, 1, 20, 1e4]], jnp.float32
)


def symlog(mine: Function) -> Function:
    """`mine(x)`: sign(x) ln(1 + |x|), elementwise."""
    return compare(
        mine,
        transforms.symlog,
        [on("12 numbers from -10,000 to 10,000, shape (3, 4)", _NUMBERS)],
        {
            "you forgot the sign: symlog(-1) is -0.693.": lambda x: jnp.log1p(jnp.abs(x)),
            "the 1 in ln(1 + |x|) is missing.": (
                lambda x: jnp.sign(x) * jnp.log(jnp.maximum(jnp.abs(x), 1e-30))
            ),
            "that is a logarithm to base 10: take the natural one.": (
                lambda x: transforms.symlog(x) / jnp.log(10.0)
            ),
        },
        "its inverse.",
    )


def symexp(mine: Function) -> Function:
    """`mine(x)`: sign(x) (exp(|x|) - 1), elementwise."""
    x = jnp.array([[-9.0, -3.0, -1.0, -0.1, 0.0], [0.1, 0.15748, 1.0, 5.0, 9.0]], jnp.float32)
    small = Part("1e6 times symexp of 1e-6", lambda f: 1e6 * f(jnp.full((2, 5), 1e-6)))
    return compare(
        mine,
        transforms.symexp,
        [on("10 numbers from -9 to 9, shape (2, 5)", x), small],
        {
            "you forgot the sign: symexp(-1) is -1.718.": lambda x: jnp.expm1(jnp.abs(x)),
            "the - 1 is missing: symexp(0) is 0.": lambda x: jnp.sign(x) * jnp.exp(jnp.abs(x)),
            "take |x| in the exponent: for negative x yours goes to -1.": jnp.expm1,
            "exp(x) - 1 loses its digits near 0 in float32: there is a function for it, "
            "jnp.expm1.": lambda x: jnp.sign(x) * (jnp.exp(jnp.abs(x)) - 1),
        },
        "bins between which any reward can lie.",
        tolerance=1e-3,
    )


def two_hot(mine: Function) -> Function:
    """`mine(y, bins)`: (...), (N,) -> (..., N), the weights on the two neighbouring bins."""
    bins = transforms.symexp_bins(255)
    numbers = jnp.array([-900.0, -21.0, -1.0, -0.1, 0.1, 0.5, 1.0, 20.0, 900.0], jnp.float32)
    exact = jnp.asarray(bins[[100, 126, 127, 128, 200]])
    ends = jnp.array([-1e9, 1e9, bins[0], bins[-1]], jnp.float32)

    def one_bin(y: jax.Array, bins: np.ndarray) -> jax.Array:
        return jax.nn.one_hot(jnp.argmin(jnp.abs(bins - y[..., None]), -1), len(bins))

    def swapped(y: jax.Array, bins: np.ndarray) -> jax.Array:
        right = transforms.two_hot(y, bins)
        total = jnp.sum(jnp.where(right > 0, jnp.arange(len(bins)), 0), -1, keepdims=True)
        mirrored = jnp.clip(total - jnp.arange(len(bins)), 0, len(bins) - 1)
        single = (right > 0).sum(-1, keepdims=True) == 1
        return jnp.where(single, right, jnp.take_along_axis(right, mirrored, -1))

    def in_symlog(y: jax.Array, bins: np.ndarray) -> jax.Array:
        squashed = np.asarray(transforms.symlog(jnp.asarray(bins)))
        return transforms.two_hot(transforms.symlog(y), squashed)

    return compare(
        mine,
        transforms.two_hot,
        [
            on("9 numbers between the bins", numbers, bins),
            on("9 numbers on bins and beyond the ends", jnp.concatenate([exact, ends]), bins),
            on("shape (2, 3)", _normal(1, 2, 3), bins),
        ],
        {
            "you use one bin: put weight on both neighbours, so that weights @ bins gives y.": (
                one_bin
            ),
            "the two weights are swapped: the NEARER bin gets the larger one.": swapped,
            "you measure distances in symlog space: then weights @ bins is not y. Take them in "
            "reward space.": in_symlog,
        },
        "decode it again, without losing the small numbers.",
    )


def symmetric_mean(mine: Function) -> Function:
    """`mine(probs, bins)`: (..., N), (N,) -> (...), the expected bin value, summed in pairs."""
    bins = transforms.symexp_bins(255)
    uniform = jnp.full((3, 255), 1 / 255, jnp.float32)
    peaked = jax.nn.softmax(_normal(2, 4, 255) - 0.5 * (jnp.arange(255) - 127.0) ** 2)
    few = transforms.symexp_bins(8)

    def left_to_right(probs: jax.Array, bins: np.ndarray) -> jax.Array:
        return jnp.asarray(np.cumsum(np.asarray(probs * bins), -1, np.float32)[..., -1])

    return compare(
        mine,
        transforms.two_hot_mean,
        [
            on("uniform probabilities, 255 bins", uniform, bins),
            on("probabilities near the middle, 255 bins", peaked, bins),
            on("8 bins, an even count without a middle", jax.nn.softmax(_normal(3, 2, 8)), few),
        ],
        {
            "summed left to right: terms of two million must cancel and leave dust. Add each bin "
            "to its mirror image first.": left_to_right,
            "a plain sum leaves dust of terms of two million. Add each bin to its mirror image "
            "first.": lambda p, b: jnp.sum(p * b, -1),
            "that is a plain product p @ bins: add each bin to its mirror image first.": (
                lambda p, b: p @ jnp.asarray(b)
            ),
        },
        "one net for rewards of every size.",
    )


def unimix(mine: Function) -> Function:
    """`mine(logits, share)`: (..., C) -> (..., C), ln of softmax with a share of uniform."""
    logits = jnp.array([[10.0, 0, 0, 0], [100.0, 0, 0, 0], [2.0, 1, 0, -1]], jnp.float32)
    return compare(
        mine,
        transforms.unimix,
        [
            on("3 rows of logits, 1 % uniform", logits, 0.01),
            on("shape (2, 3, 5), 10 %", _normal(4, 2, 3, 5), 0.1),
        ],
        {
            "nothing was mixed in: that is the plain log-softmax.": (
                lambda x, s: jnp.maximum(jax.nn.log_softmax(x), -1e30)
            ),
            "return ln p, not p.": lambda x, s: jnp.exp(transforms.unimix(x, s)),
            "the uniform share is spread over C classes: divide it by C.": (
                lambda x, s: jnp.log((1 - s) * jax.nn.softmax(x) + s)
            ),
            "the softmax must give way: multiply it by 1 - share, so that p sums to 1.": (
                lambda x, s: jnp.log(jax.nn.softmax(x) + s / x.shape[-1])
            ),
        },
        "the summary; notebook 03 uses it for every latent.",
    )


# Notebook 03: the RSSM


def _gru(inner: Function, split_inside: bool = True) -> Function:
    """A block GRU `f(deter, x, kernel, bias)` from its last formula, inner(reset, cand, up, h)."""

    def step(deter: jax.Array, x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        flat = block_product(x, kernel) + bias
        blocks = kernel.shape[0] if split_inside else 1
        gates = flat.reshape(*x.shape[:-1], blocks, 3, -1)
        reset, candidate, update = (gates[..., i, :].reshape(deter.shape) for i in range(3))
        return inner(reset, candidate, update, deter)

    return step


def _blend(weight: jax.Array, candidate: jax.Array, deter: jax.Array) -> jax.Array:
    return weight * candidate + (1 - weight) * deter


def _right(reset, candidate, update, deter):
    sigmoid = jax.nn.sigmoid
    return _blend(sigmoid(update - 1), jnp.tanh(sigmoid(reset) * candidate), deter)


def block_gru(mine: Function) -> Function:
    """`mine(deter, x, kernel, bias)`: the block GRU's gates (SPEC 5.3).

    deter (..., D), x (..., D), kernel (g, D/g, 3D/g), bias (3D,) -> the new deter (..., D).
    """
    sigmoid = jax.nn.sigmoid
    sizes = (_normal(5, 7, 8), _normal(6, 7, 8), _normal(7, 2, 4, 12), _normal(8, 24))
    single = (_normal(9, 3, 5, 6), _normal(10, 3, 5, 6), _normal(11, 1, 6, 18), _normal(12, 18))
    return compare(
        mine,
        _gru(_right),
        [on("2 blocks, D = 8, shape (7, 8)", *sizes), on("1 block, D = 6, (3, 5, 6)", *single)],
        {
            "you cut all 3D numbers in three: each BLOCK's output is cut in three. Reshape to "
            "(..., g, 3, D/g).": _gru(_right, split_inside=False),
            "the update gate is sigmoid(update - 1): it starts out mostly closed.": _gru(
                lambda r, c, u, h: _blend(sigmoid(u), jnp.tanh(sigmoid(r) * c), h)
            ),
            "the two parts are swapped: the update gate lets the NEW candidate in.": _gru(
                lambda r, c, u, h: _blend(1 - sigmoid(u - 1), jnp.tanh(sigmoid(r) * c), h)
            ),
            "the reset gate is missing: it multiplies the candidate inside the tanh.": _gru(
                lambda r, c, u, h: _blend(sigmoid(u - 1), jnp.tanh(c), h)
            ),
            "the reset gate belongs inside the tanh, on the candidate.": _gru(
                lambda r, c, u, h: _blend(sigmoid(u - 1), sigmoid(r) * jnp.tanh(c), h)
            ),
            "the order in a block is reset, candidate, update.": _gru(
                lambda r, c, u, h: _right(r, u, c, h)
            ),
        },
        "the two guesses of z that hang on it.",
    )


SHARE = 0.01  # of uniform, in notebook 03's latents


def sample_latent(mine: Function) -> Function:
    """`mine(raw, u)`: logits (..., S, C), noise (..., S) in [0, 1) -> a sample (..., S, C).

    One-hot forward, the gradient of the mixed probabilities backward (SPEC 5.5).
    """

    def oracle(raw: jax.Array, u: jax.Array) -> jax.Array:
        dist = OneHot.mix(raw, SHARE)
        return transforms.straight_through(dist.quantile(u), dist.probs)

    def unmixed(raw: jax.Array, u: jax.Array) -> jax.Array:
        dist = OneHot.mix(raw)
        return transforms.straight_through(dist.quantile(u), dist.probs)

    def unmixed_gradient(raw: jax.Array, u: jax.Array) -> jax.Array:
        sample = OneHot.mix(raw, SHARE).quantile(u)
        return transforms.straight_through(sample, OneHot.mix(raw).probs)

    def likeliest(raw: jax.Array, u: jax.Array) -> jax.Array:
        dist = OneHot.mix(raw, SHARE)
        return transforms.straight_through(dist.mode(), dist.probs)

    raw, u = 2 * _normal(13, 6, 5, 4), _uniform(14, 6, 5)
    sure = jnp.array([[30.0, 0, 0, 0]], jnp.float32)
    return compare(
        mine,
        oracle,
        [
            on("30 draws from 4 classes", raw, u),
            on("a sure latent and noise of 0.999", sure, jnp.array([0.999], jnp.float32)),
            gradient("the gradient for the logits", raw, u),
        ],
        {
            "you return the probabilities: draw one class and make it one-hot.": (
                lambda r, u: OneHot.mix(r, SHARE).probs
            ),
            "no gradient comes through: add probs - stop_gradient(probs).": (
                lambda r, u: jax.lax.stop_gradient(oracle(r, u))
            ),
            "you always take the likeliest class: let u decide, the first class whose cumulated "
            "probability is above u.": likeliest,
            "the 1 % of uniform is missing.": unmixed,
            "the gradient must be that of the MIXED probabilities.": unmixed_gradient,
        },
        "a state that forgets when an episode begins.",
    )


def forget(mine: Function) -> Function:
    """`mine(deter, stoch, action, is_first)` -> the three, zeroed where is_first (SPEC 5.2).

    deter (B, D), stoch (B, S, C), action (B, A) embedded, is_first (B,) bool.
    """

    def masked(mask: jax.Array, *arrays: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), 0.0, x) for x in arrays)

    def oracle(deter, stoch, action, is_first):
        return masked(is_first, deter, stoch, action)

    def action_kept(deter, stoch, action, is_first):
        return (*masked(is_first, deter, stoch), action)

    def first_action(deter, stoch, action, is_first):
        zero = jax.nn.one_hot(jnp.zeros(len(action), jnp.int32), action.shape[-1])
        deter, stoch = masked(is_first, deter, stoch)
        return deter, stoch, jnp.where(is_first[:, None], zero, action)

    inputs = (_normal(15, 5, 6), _normal(16, 5, 2, 3), jax.nn.one_hot(jnp.arange(5) % 3, 3))
    return compare(
        mine,
        oracle,
        [on("5 states, 2 of them at a reset", *inputs, jnp.array([1, 0, 0, 1, 0], bool))],
        {
            "the previous action must go too: it belongs to the old episode.": action_kept,
            "you give one-hot action 0, which is a real action: give all zeros.": first_action,
            "yes and no are swapped: zero where is_first is True.": (
                lambda d, s, a, f: masked(~f, d, s, a)
            ),
            "nothing was zeroed.": lambda d, s, a, f: (d, s, a),
        },
        "scan it along a sequence.",
    )


# Notebook 04: the world model's losses


def cont_target(mine: Function) -> Function:
    """`mine(is_last, is_terminal, discount)`: (T, B) bool twice -> (T, B) float32 (SPEC 7.3)."""

    def oracle(is_last: jax.Array, is_terminal: jax.Array, discount: float) -> jax.Array:
        return (1.0 - is_terminal) * discount

    is_last, is_terminal = _flags("00010001", "00000100"), _flags("00010000", "00000100")
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

        dyn, rep = jax.jacrev(totals, (0, 1))(_normal(17, 5, 2, 3), _normal(18, 5, 2, 3))
        return (*dyn, *rep)

    logs = [jax.nn.log_softmax(2 * _normal(seed, 6, 4, 3)) for seed in (19, 20)]
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
            on("shape (3, 4, 5), 0.5 nats free", _uniform(21, 3, 4, 5) / 4, 0.5),
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
    losses = {name: _uniform(22 + i, 4, 3) for i, name in enumerate(names)}
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
