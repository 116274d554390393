"""Solutions and wrong answers of notebook 03, for `test_checks`."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

sg = jax.lax.stop_gradient


def symlog(x):
    return jnp.where(x < 0, -jnp.log1p(-x), jnp.log1p(x))


def symexp(x):
    return jnp.where(x < 0, -jnp.expm1(-x), jnp.expm1(x))


def make_bins(count):
    # The positive bins; an even count has two bins at 0, one in each half.
    steps = np.linspace(0, 20, (count + 1) // 2, dtype=np.float32)[count % 2 :]
    upper = symexp(jnp.asarray(steps))
    return jnp.concatenate([-upper[::-1], jnp.zeros(count % 2), upper])


def two_hot(y, bins):
    y = jnp.clip(y, bins[0], bins[-1])
    above = jnp.clip(jnp.searchsorted(bins, y), 1, len(bins) - 1)
    weight = (y - bins[above - 1]) / (bins[above] - bins[above - 1])
    low, high = (jax.nn.one_hot(i, len(bins)) for i in (above - 1, above))
    return (1 - weight)[..., None] * low + weight[..., None] * high


def two_hot_loss(logits, y):
    code = two_hot(sg(y), make_bins(logits.shape[-1]))
    return jax.nn.logsumexp(logits, -1) - jnp.einsum("...k,...k->...", code, logits)


def two_hot_mean(logits):
    count, probs = logits.shape[-1], jax.nn.softmax(logits)
    terms = (probs - probs[..., ::-1]) * make_bins(count)
    return terms[..., count - count // 2 :].sum(-1)


def linear(self, x):
    kernel, bias = self.kernel[...], self.bias[...]
    blocks = kernel if kernel.ndim == 3 else kernel[None]
    parts = jnp.split(x, len(blocks), -1)
    return jnp.concatenate([part @ block for part, block in zip(parts, blocks)], -1) + bias


def normalize(self, x):
    square = jnp.einsum("...n,...n->...", x, x) / x.shape[-1]
    return self.scale[...] * x / jnp.sqrt(square + 1e-4)[..., None]


def mlp(self, x):
    for i in range(len(self.linears)):
        y = self.norms[i].normalize(self.linears[i](x))
        x = y * jax.nn.sigmoid(y)
    return self.out(x) if self.out else x


def unimix(logits, fraction):
    uniform = jnp.full_like(logits, 1 / logits.shape[-1])
    return jnp.log(fraction * uniform + (1 - fraction) * jax.nn.softmax(logits))


def categorical_log_prob(self, onehot):
    return jnp.take_along_axis(self.logp, onehot.argmax(-1)[..., None], -1)[..., 0]


def categorical_entropy(self):
    return jax.scipy.special.entr(jnp.exp(self.logp)).sum(-1)


def sample_onehot(logp, u):
    probs = jnp.exp(logp)
    passed = jnp.cumsum(probs, -1) > u[..., None]
    sample = jax.nn.one_hot(jnp.argmax(passed.at[..., -1].set(True), -1), logp.shape[-1])
    return sg(sample - probs) + probs


def binary_cross_entropy(logit, target):
    return target * jax.nn.softplus(-logit) + (1 - target) * jax.nn.softplus(logit)


# `partial` hides a function's text, so that a check neither compares its name nor keeps it.
SOLUTIONS: dict[str, Callable] = {
    f.__name__: functools.partial(f)
    for f in (
        symlog, symexp, make_bins, two_hot, two_hot_loss, two_hot_mean, linear, normalize, mlp,
        unimix, categorical_log_prob, categorical_entropy, sample_onehot, binary_cross_entropy,
    )
}  # fmt: skip


def code_of(logits, y):
    return two_hot(sg(y), make_bins(logits.shape[-1]))


def expected(logits, of=jax.nn.softmax):
    return jnp.sum(of(logits) * make_bins(logits.shape[-1]), -1)


def blocks_of(self, x):
    """The kernel as blocks (g, i, o), and x cut into g parts (..., g, i)."""
    kernel = self.kernel[...]
    kernel = kernel if kernel.ndim == 3 else kernel[None]
    return kernel, x.reshape(*x.shape[:-1], len(kernel), -1)


def one_matrix(self, x):
    kernel, parts = blocks_of(self, x)
    return (parts @ kernel[0]).reshape(*x.shape[:-1], -1) + self.bias[...]


def every_nth(self, x):
    kernel, _ = blocks_of(self, x)
    parts = [x[..., i :: len(kernel)] @ kernel[i] for i in range(len(kernel))]
    return jnp.concatenate(parts, -1) + self.bias[...]


def network(*steps, end=lambda y: y):
    """An MLP whose layers apply these functions (linear, norm, x) -> x one after the other."""

    def wrong(self, x):
        for linear, norm in zip(self.linears, self.norms):
            for step in steps:
                x = step(linear, norm, x)
        return end(self.out(x)) if self.out else x

    return wrong


def lin(linear, norm, x):
    return linear(x)


def nrm(linear, norm, x):
    return norm.normalize(x)


def act(linear, norm, x):
    return jax.nn.silu(x)


def index_by(choose):
    """A sampler of the class choose(probs, u), with the right gradient."""

    def wrong(logp, u):
        probs = jnp.exp(logp)
        return jax.nn.one_hot(choose(sg(probs), u), logp.shape[-1]) + probs - sg(probs)

    return wrong


def from_probability(logit, y, tiny):
    p = jnp.clip(jax.nn.sigmoid(logit), tiny, 1 - tiny)
    return -(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))


WRONG: list[tuple[str, Callable, str]] = [
    ("symlog", lambda x: jnp.log1p(jnp.abs(x)), "forgot the sign"),
    ("symlog", lambda x: jnp.sign(x) * jnp.log10(1 + jnp.abs(x)), "base 10"),
    ("symlog", lambda x: jnp.sign(x) * jnp.log(jnp.abs(x)), "a log of 0"),
    ("symlog", lambda x: jnp.log(1 + x), "a log of 0"),
    ("symlog", lambda x: np.sign(x) * np.log1p(np.abs(np.float64(x))), "wrong dtype: float64"),
    ("symlog", lambda x: jnp.sqrt(jnp.abs(x)) * jnp.sign(x), "wrong numbers"),
    ("symexp", lambda x: jnp.expm1(jnp.abs(x)), "forgot the sign"),
    ("symexp", lambda x: jnp.sign(x) * jnp.exp(jnp.abs(x)), "- 1 is missing"),
    ("symexp", lambda x: jnp.expm1(x), "goes to -1"),
    ("symexp", lambda x: jnp.sign(x) * (jnp.exp(jnp.abs(x)) - 1), "expm1"),
    ("make_bins", lambda n: jnp.linspace(-20.0, 20.0, n), "apply symexp to them"),
    ("make_bins", lambda n: jnp.linspace(-1.0, 1.0, n) * jnp.expm1(20.0), "even in symlog space"),
    ("make_bins", lambda n: symexp(jnp.linspace(-20.0, 20.0, n)), "exact mirror images"),
    (
        "make_bins",
        lambda n: jnp.concatenate(
            [
                symexp(jnp.linspace(-20.0, 20.0, n)[: n // 2]),
                jnp.zeros(n % 2),
                -symexp(jnp.linspace(-20.0, 20.0, n)[: n // 2])[::-1],
            ]
        ),
        "0 appears twice",
    ),
    ("make_bins", lambda n: make_bins(n)[::-1], "must increase"),
    ("make_bins", lambda n: make_bins(n + 1), "wrong shape: (8,)"),
    ("two_hot", lambda y, b: jnp.eye(len(b))[jnp.abs(b - y[..., None]).argmin(-1)], "one bin"),
    ("two_hot", lambda y, b: two_hot(symlog(y), symlog(b)), "symlog space"),
    (
        "two_hot",
        lambda y, b: jnp.where(
            two_hot(y, b) == 1, 1.0, jnp.where(two_hot(y, b) > 0, 1 - two_hot(y, b), 0)
        ),
        "NEARER",
    ),
    ("two_hot", lambda y, b: two_hot(y, b).T, "wrong shape: (5, 4)"),
    ("two_hot_loss", lambda x, y: -two_hot_loss(x, y), "never negative"),
    ("two_hot_loss", lambda x, y: -jnp.sum(code_of(x, y) * x, -1), "not log-probabilities yet"),
    (
        "two_hot_loss",
        lambda x, y: -jnp.sum(code_of(x, y) * jax.nn.softmax(x), -1),
        "take the logarithm",
    ),
    ("two_hot_loss", lambda x, y: two_hot_loss(x, y) / x.shape[-1], "do not average"),
    ("two_hot_loss", lambda x, y: two_hot_loss(x, symlog(y)), "y is not squashed"),
    (
        "two_hot_loss",
        lambda x, y: -jnp.sum(two_hot(y, make_bins(x.shape[-1])) * jax.nn.log_softmax(x), -1),
        "stop_gradient",
    ),
    ("two_hot_loss", lambda x, y: two_hot_loss(x, y).mean(), "wrong shape: ()"),
    ("two_hot_mean", expected, "rounding errors"),
    (
        "two_hot_mean",
        lambda x: jnp.float32(
            np.cumsum(np.asarray(jax.nn.softmax(x) * make_bins(x.shape[-1])), -1)[..., -1]
        ),
        "left to right",
    ),
    ("two_hot_mean", lambda x: make_bins(x.shape[-1])[x.argmax(-1)], "the mode"),
    (
        "two_hot_mean",
        lambda x: jnp.sum(
            (
                jax.nn.softmax(x)[..., -(x.shape[-1] // 2) :]
                - jax.nn.softmax(x)[..., : x.shape[-1] // 2]
            )
            * make_bins(x.shape[-1])[-(x.shape[-1] // 2) :],
            -1,
        ),
        "reverse it",
    ),
    (
        "two_hot_mean",
        lambda x: ((x - x[..., ::-1]) * make_bins(x.shape[-1]))[..., -(x.shape[-1] // 2) :].sum(-1),
        "apply jax.nn.softmax",
    ),
    ("two_hot_mean", lambda x: jnp.argmax(x, -1).astype(jnp.float32), "wrong numbers"),
    ("linear", lambda s, x: x @ s.kernel[...].T + s.bias[...], "not transposed here"),
    ("linear", lambda s, x: linear(s, x) - s.bias[...], "the bias is missing"),
    ("linear", lambda s, x: linear(s, x) - 2 * s.bias[...], "not subtracted"),
    ("linear", one_matrix, "each part has its own"),
    ("linear", every_nth, "CONSECUTIVE"),
    ("linear", lambda s, x: x @ s.kernel[...] + s.bias[...], "wrong shape: (2, 3, 2)"),
    ("linear", lambda s, x: s.kernel[...] @ x + s.bias[...], "TypeError"),
    ("normalize", lambda s, x: normalize(s, x) / s.scale[...], "scale is missing"),
    (
        "normalize",
        lambda s, x: s.scale[...] * x / (jnp.mean(x**2, -1, keepdims=True) + 1e-4),
        "ROOT",
    ),
    (
        "normalize",
        lambda s, x: s.scale[...] * x / jnp.sqrt(jnp.sum(x**2, -1, keepdims=True) + 1e-4),
        "not their sum",
    ),
    ("normalize", lambda s, x: s.scale[...] * x / jnp.sqrt(jnp.mean(x**2) + 1e-4), "last axis"),
    ("normalize", lambda s, x: normalize(s, x - x.mean(-1, keepdims=True)), "LayerNorm"),
    (
        "normalize",
        lambda s, x: s.scale[...] * x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True)),
        "0.0001 is missing",
    ),
    (
        "normalize",
        lambda s, x: s.scale[...] * x / (jnp.sqrt(jnp.mean(x**2, -1, keepdims=True)) + 1e-4),
        "inside the root",
    ),
    ("mlp", network(lin, act), "norm is missing"),
    ("mlp", network(lin, nrm), "activation is missing"),
    ("mlp", network(lin, act, nrm), "the norm after SiLU"),
    ("mlp", network(lin, nrm, lambda linear, norm, x: jnp.maximum(x, 0)), "ReLU"),
    ("mlp", network(lin, nrm, act, end=jax.nn.silu), "no activation behind it"),
    ("mlp", lambda s, x: s.out(mlp(s, x)) if s.out else mlp(s, x), "it stopped in the line"),
    ("unimix", lambda x, s: jnp.log(jax.nn.softmax(x)), "a log of 0"),
    ("unimix", lambda x, s: jax.nn.log_softmax(x), "nothing was mixed in"),
    ("unimix", lambda x, s: jnp.exp(unimix(x, s)), "not p"),
    ("unimix", lambda x, s: jnp.log((1 - s) * jax.nn.softmax(x) + s), "divide it by C"),
    ("unimix", lambda x, s: jnp.log(jax.nn.softmax(x) + s / x.shape[-1]), "1 - fraction"),
    (
        "categorical_log_prob",
        lambda s, a: jnp.exp(categorical_log_prob(s, a)),
        "that is the probability",
    ),
    ("categorical_log_prob", lambda s, a: -categorical_log_prob(s, a), "a loss"),
    ("categorical_log_prob", lambda s, a: s.logp.sum(-1), "selects one of them"),
    ("categorical_log_prob", lambda s, a: (s.logp * a).mean(-1), "do not average"),
    ("categorical_log_prob", lambda s, a: s.logp * a, "sum over the last axis is missing"),
    ("categorical_log_prob", lambda s, a: s.logp[a.argmax(-1)], "an index on the FIRST axis"),
    ("categorical_log_prob", lambda s, a: s.logp[a], "Indexer must have integer"),
    ("categorical_entropy", lambda s: -categorical_entropy(s), "never negative"),
    ("categorical_entropy", lambda s: categorical_entropy(s) / np.log(2), "in bits"),
    ("categorical_entropy", lambda s: -s.logp.sum(-1), "weight each ln p"),
    ("categorical_entropy", lambda s: -(s.logp * jnp.exp(s.logp)).mean(-1), "do not average"),
    ("categorical_entropy", lambda s: -s.logp.mean(-1), "wrong numbers"),
    ("sample_onehot", lambda logp, u: jnp.exp(logp), "sample one class"),
    ("sample_onehot", lambda logp, u: sg(sample_onehot(logp, u)), "no gradient comes through"),
    ("sample_onehot", index_by(lambda p, u: p.argmax(-1)), "likeliest"),
    (
        "sample_onehot",
        index_by(lambda p, u: jnp.argmax(jnp.cumsum(p, -1) > u[..., None], -1)),
        "all-False row is 0",
    ),
    (
        "sample_onehot",
        index_by(lambda p, u: (jnp.cumsum(p, -1) <= u[..., None]).sum(-1)),
        "does not exist",
    ),
    (
        "sample_onehot",
        index_by(lambda p, u: (jnp.cumsum(p, -1)[..., :-1] <= 1 - u[..., None]).sum(-1)),
        "compare with 1 - u",
    ),
    (
        "sample_onehot",
        index_by(lambda p, u: (jnp.cumsum(jnp.log(p), -1) <= u[..., None]).sum(-1)),
        "over probabilities",
    ),
    (
        "sample_onehot",
        lambda logp, u: sg(sample_onehot(logp, u)) + jnp.exp(logp),
        "no longer one-hot",
    ),
    (
        "sample_onehot",
        lambda logp, u: sg(sample_onehot(logp, u) - logp) + logp,
        "not of the log-probabilities",
    ),
    ("sample_onehot", lambda logp, u: sample_onehot(logp, 0 * u + 0.3), "wrong numbers"),
    ("binary_cross_entropy", lambda x, y: binary_cross_entropy(x, 1 - y), "targets are swapped"),
    ("binary_cross_entropy", lambda x, y: -binary_cross_entropy(x, y), "never negative"),
    ("binary_cross_entropy", lambda x, y: y * jax.nn.softplus(-x), "term for y = 0"),
    (
        "binary_cross_entropy",
        lambda x, y: binary_cross_entropy(x, jnp.where(y > 0.5, 1.0, 0.0)),
        "do not round it",
    ),
    ("binary_cross_entropy", lambda x, y: from_probability(x, y, 1e-7), "from the logit"),
    ("binary_cross_entropy", lambda x, y: from_probability(x, y, 0), "a log of 0"),
]
WRONG = [(name, functools.partial(f), words) for name, f, words in WRONG]
