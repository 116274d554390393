"""Every exercise check passes on a solution and fails, each in its own words, on wrong answers.

The solutions here are written apart from the package, as a reader would write them.
"""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_lite import checks
from dreamer_lite.compare import Failed

sg = jax.lax.stop_gradient


# Solutions


def keep_mask(is_last):
    return jnp.stack([0.0 * is_last[0], *(1.0 - is_last[:-1].astype(jnp.float32))])


def previous_action(action, is_first, count):
    rows = [jnp.zeros((action.shape[1], count))]
    for t in range(1, len(action)):
        rows.append(jnp.where(is_first[t][:, None], 0.0, jnp.eye(count)[action[t - 1]]))
    return jnp.stack(rows)


def symlog(x):
    return jnp.where(x < 0, -jnp.log1p(-x), jnp.log1p(x))


def symexp(x):
    return jnp.where(x < 0, -jnp.expm1(-x), jnp.expm1(x))


def two_hot(y, bins):
    bins = jnp.asarray(bins)
    y = jnp.clip(y, bins[0], bins[-1])
    above = jnp.clip(jnp.searchsorted(bins, y), 1, len(bins) - 1)
    weight = (y - bins[above - 1]) / (bins[above] - bins[above - 1])
    low, high = (jax.nn.one_hot(i, len(bins)) for i in (above - 1, above))
    return (1 - weight)[..., None] * low + weight[..., None] * high


def symmetric_mean(probs, bins):
    terms = (probs - probs[..., ::-1]) * bins
    half = len(bins) // 2
    return terms[..., len(bins) - half :].sum(-1)


def unimix(logits, share):
    return jnp.log((1 - share) * jax.nn.softmax(logits) + share / logits.shape[-1])


def block_gru(deter, x, kernel, bias):
    blocks, size = kernel.shape[:2]
    new = []
    for k in range(blocks):
        here = slice(k * size, (k + 1) * size)
        gates = x[..., here] @ kernel[k] + bias[3 * k * size : 3 * (k + 1) * size]
        reset, candidate, update = jnp.split(gates, 3, -1)
        update = jax.nn.sigmoid(update - 1)
        candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
        new.append(update * candidate + (1 - update) * deter[..., here])
    return jnp.concatenate(new, -1)


def sample_latent(raw, u):
    probs = 0.99 * jax.nn.softmax(raw) + 0.01 / raw.shape[-1]
    passed = jnp.cumsum(probs, -1) > u[..., None]
    sample = jax.nn.one_hot(jnp.argmax(passed.at[..., -1].set(True), -1), raw.shape[-1])
    return sg(sample - probs) + probs


def forget(deter, stoch, action, is_first):
    keep = 1.0 - is_first
    return deter * keep[:, None], stoch * keep[:, None, None], action * keep[:, None]


def cont_target(is_last, is_terminal, discount):
    return jnp.where(is_terminal, 0.0, discount)


def two_sides(post, prior):
    def kl(a, b):
        return jnp.einsum("...c,...c->...", jnp.exp(a), a - b)

    return kl(sg(post), prior), kl(post, sg(prior))


def free_nats(kl, free):
    total = jnp.einsum("...s->...", kl)
    return jnp.where(total > free, total, free)


def total_loss(losses, scales):
    total = losses["image"].mean()
    for name in scales:
        total += scales[name] * jnp.average(losses[name])
    return total


# Compiled as a whole, which is quicker than op by op.
SOLUTIONS: dict[str, Callable] = {
    function.__name__: jax.jit(function, static_argnums=(2,) if function is previous_action else ())
    for function in (
        keep_mask, previous_action, symlog, symexp, two_hot, symmetric_mean, unimix, block_gru,
        sample_latent, forget, cont_target, two_sides, free_nats, total_loss,
    )
}  # fmt: skip

# (check, wrong answer, words of its own message)
WRONG: list[tuple[str, Callable, str]] = [
    ("keep_mask", lambda last: 1.0 - last.astype(jnp.float32), "one row later"),
    ("keep_mask", lambda last: keep_mask(last).at[0].set(1), "row 0"),
    ("keep_mask", lambda last: 1 - keep_mask(last), "swapped"),
    ("keep_mask", lambda last: keep_mask(last) > 0, "wrong dtype: bool"),
    ("previous_action", lambda a, f, n: jax.nn.one_hot(a, n) * (1.0 - f[..., None]), "Shift by"),
    ("previous_action", lambda a, f, n: previous_action(a, jnp.zeros_like(f), n), "leaks"),
    (
        "previous_action",
        lambda a, f, n: jnp.where(
            (f | (jnp.arange(len(a)) == 0)[:, None])[..., None],
            jax.nn.one_hot(0, n),
            previous_action(a, f, n),
        ),
        "one-hot action 0",
    ),
    ("previous_action", lambda a, f, n: previous_action(a, f, n)[1:], "wrong shape: (7, 3, 3)"),
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
    ("two_hot", lambda y, b: jnp.eye(len(b))[jnp.abs(b - y[..., None]).argmin(-1)], "one bin"),
    ("two_hot", lambda y, b: two_hot(symlog(y), symlog(jnp.asarray(b))), "symlog space"),
    (
        "two_hot",
        lambda y, b: jnp.where(
            two_hot(y, b) == 1, 1.0, jnp.where(two_hot(y, b) > 0, 1 - two_hot(y, b), 0)
        ),
        "NEARER",
    ),
    ("two_hot", lambda y, b: two_hot(y, b).T, "wrong shape: (255, 9)"),
    ("symmetric_mean", lambda p, b: jnp.sum(p * b, -1), "dust"),
    (
        "symmetric_mean",
        lambda p, b: jnp.float32(np.cumsum(np.asarray(p * b), -1)[..., -1]),
        "left to right",
    ),
    ("symmetric_mean", lambda p, b: jnp.argmax(p, -1).astype(jnp.float32), "wrong numbers"),
    ("unimix", lambda x, s: jnp.log(jax.nn.softmax(x)), "a log of 0"),
    ("unimix", lambda x, s: jax.nn.log_softmax(x), "nothing was mixed in"),
    ("unimix", lambda x, s: jnp.exp(unimix(x, s)), "not p"),
    ("unimix", lambda x, s: jnp.log((1 - s) * jax.nn.softmax(x) + s), "divide it by C"),
    ("unimix", lambda x, s: jnp.log(jax.nn.softmax(x) + s / x.shape[-1]), "1 - share"),
    (
        "block_gru",
        lambda h, x, k, b: gru(h, x, k, b, inside=False),
        "each BLOCK's output",
    ),
    ("block_gru", lambda h, x, k, b: gru(h, x, k, b, shift=0), "update - 1"),
    ("block_gru", lambda h, x, k, b: h + x - block_gru(h, x, k, b), "wrong numbers"),
    ("block_gru", lambda h, x, k, b: block_gru(h, x, k, b)[..., :-1], "wrong shape"),
    ("block_gru", lambda h, x, k, b: x @ k, "it stopped in the line"),
    ("sample_latent", lambda r, u: 0.99 * jax.nn.softmax(r) + 0.01 / 4, "draw one class"),
    ("sample_latent", lambda r, u: sg(sample_latent(r, u)), "no gradient"),
    ("sample_latent", lambda r, u: sample_latent(r, 0 * u + 0.5), "wrong numbers"),
    ("sample_latent", lambda r, u: jax.nn.one_hot(r.argmax(-1), 4), "likeliest"),
    ("forget", lambda d, s, a, f: (*forget(d, s, a, f)[:2], a), "previous action must go"),
    ("forget", lambda d, s, a, f: forget(d, s, a, ~f), "swapped"),
    ("forget", lambda d, s, a, f: (d, s, a), "nothing was zeroed"),
    ("forget", lambda d, s, a, f: forget(d, s, a, f)[:2], "returned 2 arrays where 3"),
    ("cont_target", lambda last, end, d: (1.0 - last) * d, "is_last"),
    ("cont_target", lambda last, end, d: 1.0 - end, "discount is missing"),
    ("cont_target", lambda last, end, d: end * d, "swapped"),
    ("cont_target", lambda last, end, d: jnp.where(end, 1 - d, d), "exactly 0"),
    ("cont_target", lambda last, end, d: ~end, "wrong dtype: bool"),
    ("two_sides", lambda post, prior: two_sides(prior, post), "POSTERIOR's odds"),
    ("two_sides", lambda post, prior: two_sides(post, prior)[::-1], "sides are swapped"),
    (
        "two_sides",
        lambda post, prior: (jnp.sum(jnp.exp(post) * (post - prior), -1),) * 2,
        "no stop-gradients",
    ),
    (
        "two_sides",
        lambda post, prior: (jnp.sum(jnp.exp(post) * (prior - post), -1),) * 2,
        "never negative",
    ),
    ("two_sides", lambda post, prior: sg(two_sides(post, prior)), "no gradient is left"),
    ("two_sides", lambda post, prior: two_sides(post, prior)[0], "1 arrays where 2"),
    ("two_sides", lambda p, q: tuple(x.sum(-1) for x in two_sides(p, q)), "wrong shape: (6,)"),
    ("free_nats", lambda kl, free: jnp.maximum(kl, free).sum(-1), "clip every group"),
    ("free_nats", lambda kl, free: jnp.maximum(kl.sum(-1) - free, 0), "subtract"),
    ("free_nats", lambda kl, free: jnp.clip(kl.sum(-1), 0, free), "ceiling"),
    ("free_nats", lambda kl, free: kl.sum(-1), "nothing is clipped"),
    ("free_nats", lambda kl, free: jnp.maximum(kl.sum(-1).mean(), free), "wrong shape: ()"),
    (
        "free_nats",
        lambda kl, free: kl.sum(-1) + sg(free_nats(kl, free) - kl.sum(-1)),
        "no gradient",
    ),
    ("total_loss", lambda x, s: 12 * total_loss(x, s), "take the mean"),
    ("total_loss", lambda x, s: sum(loss.mean() for loss in x.values()), "weights are missing"),
    ("total_loss", lambda x, s: sum(s[k] * x[k].mean() for k in s), "without a weight"),
    ("total_loss", lambda x, s: total_loss(x, s) / 5, "number of losses"),
    ("total_loss", lambda x, s: sum(s[k] * x[k].mean() for k in x), "KeyError"),
]


def gru(deter, x, kernel, bias, inside=True, shift=-1):
    parts = x.reshape(*x.shape[:-1], kernel.shape[0], -1)
    flat = jnp.einsum("...gi,gio->...go", parts, kernel).reshape(*x.shape[:-1], -1) + bias
    gates = flat.reshape(*x.shape[:-1], kernel.shape[0] if inside else 1, 3, -1)
    reset, candidate, update = (gates[..., i, :].reshape(deter.shape) for i in range(3))
    update = jax.nn.sigmoid(update + shift)
    return update * jnp.tanh(jax.nn.sigmoid(reset) * candidate) + (1 - update) * deter


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_solution_passes_and_is_returned(name, capsys):
    assert getattr(checks, name)(SOLUTIONS[name]) is SOLUTIONS[name]
    out, err = capsys.readouterr()
    assert out.startswith(f"✓ {name} agrees") and "YOUR function" in out and "Next: " in out
    assert float(re.search(r"Largest difference (\S+)\.", out)[1]) < 1e-3
    assert err == ""


@pytest.mark.parametrize(("name", "wrong", "words"), WRONG)
def test_a_wrong_answer_fails_in_its_own_words(name, wrong, words, capsys):
    chosen = getattr(checks, name)(wrong)
    out, err = capsys.readouterr()
    assert out.startswith("✗") and words in out and "PACKAGE's function" in out
    assert err == ""
    assert chosen is not wrong


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_stub_the_empty_and_the_broken_get_their_own_words(name, capsys):
    def stub(*arguments):
        raise NotImplementedError

    def empty(*arguments):
        pass

    def broken(*arguments):
        raise KeyError("deter")

    for function, words in ((stub, "still the stub"), (empty, "None"), (broken, "KeyError: 'det")):
        assert getattr(checks, name)(function) is not function
        out, err = capsys.readouterr()
        assert words in out and err == ""


def test_every_check_has_two_wrong_answers_with_different_messages():
    for name in SOLUTIONS:
        assert len({words for check, _, words in WRONG if check == name}) >= 2, name


def test_every_check_is_tested():
    public = {name for name in vars(checks) if not name.startswith("_")}
    functions = {
        name
        for name in public
        if getattr(vars(checks)[name], "__module__", "") == checks.__name__
        and not isinstance(vars(checks)[name], type)
    }
    functions = {name for name in functions if callable(vars(checks)[name])}
    assert functions == set(SOLUTIONS)


def test_strict_raises_and_says_the_same(monkeypatch):
    monkeypatch.setenv("DREAMER_LITE_STRICT", "1")
    with pytest.raises(Failed, match="forgot the sign"):
        checks.symlog(lambda x: jnp.log1p(jnp.abs(x)))
    assert checks.symlog(symlog) is symlog


def test_warnings_of_the_readers_code_stay_off_stderr(capfd):
    checks.symlog(lambda x: np.sign(x) * np.log(np.asarray(x)))
    assert capfd.readouterr().err == ""


def test_what_is_no_array_is_named(capsys):
    checks.symlog(lambda x: "one")
    assert "returned a str" in capsys.readouterr().out
    checks.symlog(lambda x: {"a": x})
    assert "returned a dict" in capsys.readouterr().out
