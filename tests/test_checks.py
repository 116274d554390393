"""Every exercise check passes on a solution and fails, each in its own words, on wrong answers.

The solutions here are written apart from the library, as a reader would write them.
"""

import functools
import inspect
import re
from collections.abc import Callable
from types import ModuleType

import answers_01
import answers_02
import answers_03
import answers_04
import answers_05
import jax
import jax.numpy as jnp
import judging_answers
import learning_answers
import model_free_answers
import numpy as np
import pytest

from dreamer_lite.course import checks
from dreamer_lite.course.checks import exercise
from dreamer_lite.course.compare import Failed

sg = jax.lax.stop_gradient


# Solutions


def open_loop(step, start, actions, noise):
    states = [start]
    for action, u in zip(actions, noise):
        states.append(step(states[-1], action, u))
    return jax.tree.map(lambda *parts: jnp.stack(parts), *states[1:])


def dream_on(step, policy, start, keys, noise):
    states, actions = [start], []
    for key, u in zip(keys, noise):
        actions.append(policy(states[-1], key))
        states.append(step(states[-1], actions[-1], u))
    return jax.tree.map(lambda *parts: jnp.stack(parts), *states), jnp.stack(actions)


def mean_and_band(errors, valid):
    count = jnp.einsum("hm->h", valid.astype(jnp.float32))
    mean = jnp.einsum("hm,hm->h", errors, valid) / count
    square = jnp.einsum("hm,hm->h", errors**2, valid) / count
    return mean, 1.96 * jnp.sqrt((square - mean**2) / (count - 1))


def lambda_returns(reward, cont, value, lam):
    returns = [value[-1]]
    for t in reversed(range(len(reward) - 1)):
        mixed = (1 - lam) * value[t + 1] + lam * returns[0]
        returns.insert(0, reward[t + 1] + cont[t + 1] * mixed)
    return jnp.stack(returns[:-1])


def dream_weights(cont):
    return jnp.exp(jnp.cumsum(jnp.log(cont), 0))[:-1]


def return_scale(low, high, returns):
    low = low + 0.01 * (jnp.quantile(returns, 0.05) - low)
    high = high + 0.01 * (jnp.quantile(returns, 0.95) - high)
    return low, high, jnp.where(high - low > 1, high - low, 1.0)


def actor_loss(log_prob, entropy, advantage, weight, eta):
    return -sg(weight) * log_prob * sg(advantage) - sg(weight) * eta * entropy


def normal_log_prob(x, center, std):
    return jax.scipy.stats.norm.logpdf(x, center, std).sum(-1)


STATIC = {open_loop: (0,), dream_on: (0, 1)}

# Compiled as a whole, which is quicker than op by op.
SOLUTIONS: dict[str, Callable] = {
    function.__name__: jax.jit(function, static_argnums=STATIC.get(function, ()))
    for function in (
        open_loop, dream_on,
        mean_and_band, lambda_returns, dream_weights, return_scale, actor_loss, normal_log_prob,
    )
}  # fmt: skip

# (check, wrong answer, words of its own message)
WRONG: list[tuple[str, Callable, str]] = [
    ("open_loop", lambda f, s, a, n: shift(s, open_loop(f, s, a, n)), "BEFORE each step"),
    (
        "open_loop",
        lambda f, s, a, n: jax.tree.map(
            lambda *x: jnp.stack(x), *[f(s, *inputs) for inputs in zip(a, n)]
        ),
        "begins at the start again",
    ),
    ("open_loop", lambda f, s, a, n: open_loop(f, s, a, 0 * n + n[0]), "same noise"),
    ("open_loop", lambda f, s, a, n: open_loop(f, s, a, n).deter, "1 arrays where 2"),
    ("open_loop", lambda f, s, a, n: open_loop(f, s, a[::-1], n), "wrong numbers"),
    (
        "dream_on",
        lambda f, p, s, k, n: without_start(dream_on(f, p, s, k, n)),
        "wrong shape: (5, 3, 8)",
    ),
    (
        "dream_on",
        lambda f, p, s, k, n: dream_on(f, p, s, jnp.broadcast_to(k[:1], k.shape), n),
        "same key",
    ),
    ("dream_on", lambda f, p, s, k, n: late(p, k, dream_on(f, p, s, k, n)[0]), "BEFORE the step"),
    (
        "dream_on",
        lambda f, p, s, k, n: dream_on(f, lambda _, key: p(s, key), s, k, n),
        "start all the time",
    ),
    ("mean_and_band", lambda e, v: mean_and_band(e, v | True), "leave out"),
    ("mean_and_band", lambda e, v: mean_and_band(e * v, v | True), "errors of 0"),
    (
        "mean_and_band",
        lambda e, v: (mean_and_band(e, v)[0], mean_and_band(e, v)[1] * jnp.sqrt(v.sum(1))),
        "root of the count",
    ),
    (
        "mean_and_band",
        lambda e, v: (mean_and_band(e, v)[0], mean_and_band(e, v)[1] / 1.96),
        "1.96 of them",
    ),
    (
        "mean_and_band",
        lambda e, v: (jnp.mean(e, 1, where=v), 1.96 * jnp.std(e, 1, where=v) / v.sum(1) ** 0.5),
        "n - 1",
    ),
    ("mean_and_band", lambda e, v: mean_and_band(e.T, v.T), "wrong shape: (6,)"),
    (
        "lambda_returns",
        lambda r, c, v, lam: lambda_returns(jnp.roll(r, 1, 0), c, v, lam),
        "reward of the state itself",
    ),
    (
        "lambda_returns",
        lambda r, c, v, lam: lambda_returns(r, jnp.roll(c, 1, 0), v, lam),
        "continuation of the state itself",
    ),
    ("lambda_returns", lambda r, c, v, lam: lambda_returns(r, c, v, 1 - lam), "swapped"),
    (
        "lambda_returns",
        lambda r, c, v, lam: lambda_returns(r, c, v.at[-1].set(0), lam),
        "not with 0",
    ),
    ("lambda_returns", lambda r, c, v, lam: lambda_returns(r, c, 0 * v, 1), "values are left out"),
    ("lambda_returns", lambda r, c, v, lam: r, "wrong shape: (6, 4)"),
    ("dream_weights", lambda c: c[:-1], "multiply all"),
    ("dream_weights", lambda c: jnp.cumprod(c[1:], 0), "wrong numbers"),
    ("dream_weights", lambda c: jnp.cumprod(c, 0)[1:], "LAST state"),
    ("dream_weights", lambda c: dream_weights(c) / c[:1], "first state's own"),
    ("dream_weights", lambda c: jnp.cumprod(c, 0), "wrong shape: (6, 4)"),
    ("dream_weights", lambda c: jnp.cumsum(c, 0)[:-1], "wrong numbers"),
    (
        "return_scale",
        lambda low, high, x: return_scale(jnp.quantile(x, 0.05), jnp.quantile(x, 0.95), x),
        "forget the old range",
    ),
    (
        "return_scale",
        lambda low, high, x: (*return_scale(low, high, x)[:2], jnp.maximum(1, high - low)),
        "NEW range",
    ),
    (
        "return_scale",
        lambda low, high, x: (*(r := return_scale(low, high, x))[:2], r[1] - r[0]),
        "scaled up",
    ),
    (
        "return_scale",
        lambda low, high, x: (
            a := 0.99 * low + 0.01 * x.min(),
            b := 0.99 * high + 0.01 * x.max(),
            jnp.maximum(1, b - a),
        ),
        "single outlier",
    ),
    ("return_scale", lambda low, high, x: return_scale(low, high, x)[2], "1 arrays where 3"),
    ("actor_loss", lambda *x: -actor_loss(*x), "sign is wrong"),
    ("actor_loss", lambda p, h, a, w, eta: actor_loss(p, -h, a, w, eta), "entropy is rewarded"),
    (
        "actor_loss",
        lambda p, h, a, w, eta: actor_loss(p, h, a, 0 * w + 1, eta),
        "weight is missing",
    ),
    ("actor_loss", lambda p, h, a, w, eta: -w * (p * a + eta * h), "stop_gradient around both"),
    ("actor_loss", lambda *x: sg(actor_loss(*x)), "no gradient reaches"),
    ("actor_loss", lambda *x: actor_loss(*x).mean(), "wrong shape: ()"),
    (
        "normal_log_prob",
        lambda x, m, s: normal_log_prob(jnp.clip(x, -1, 1), m, s),
        "do not clip",
    ),
    (
        "normal_log_prob",
        lambda x, m, s: (-0.5 * ((x - m) / s) ** 2 - jnp.log(s)).sum(-1),
        "constant is missing",
    ),
    (
        "normal_log_prob",
        lambda x, m, s: normal_log_prob(x, m, s) + jnp.log(s).sum(-1),
        "ln std is missing",
    ),
    (
        "normal_log_prob",
        lambda x, m, s: normal_log_prob(m + (x - m) * jnp.sqrt(s), m, s),
        "not a variance",
    ),
    (
        "normal_log_prob",
        lambda x, m, s: jax.scipy.stats.norm.logpdf(x, m, s),
        "wrong shape: (6, 3)",
    ),
]


def shift(start, states):
    """The states before each step."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), start, states)


def without_start(dream):
    return jax.tree.map(lambda x: x[1:], dream[0]), dream[1]


def late(policy, keys, states):
    """Actions chosen in the state that they should lead to."""
    after = [jax.tree.map(lambda x, t=t: x[t + 1], states) for t in range(len(keys))]
    return states, jnp.stack([policy(state, key) for state, key in zip(after, keys)])


for answers in (
    answers_01, answers_02, answers_03, answers_04, answers_05, learning_answers, judging_answers,
    model_free_answers,
):  # fmt: skip
    SOLUTIONS |= answers.SOLUTIONS
    WRONG += answers.WRONG


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
    assert out.startswith("✗") and words in out and "COURSE's function" in out
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
        function = functools.partial(function)  # which hides its text from checks of parts
        assert getattr(checks, name)(function) is not function
        out, err = capsys.readouterr()
        assert words in out and err == ""


def test_every_mistake_has_a_hint_and_every_hint_a_mistake(monkeypatch):
    def recorded(mine, asked, messages):
        made.append((asked.mistakes, messages))
        return mine

    made: list = []
    monkeypatch.setattr(exercise, "compare", recorded)
    of_parts = {make.__name__: make for make in exercise.CHECKS.values()}
    for name in SOLUTIONS:
        if name in of_parts:
            made.append((of_parts[name]().mistakes, exercise.messages()[name]))
        else:
            getattr(checks, name)(SOLUTIONS[name])
    assert exercise.messages().keys() == set(SOLUTIONS) and len(made) == len(SOLUTIONS)
    for mistakes, messages in made:
        assert [*mistakes, "next"] == list(messages), "in the same order"
        assert all(text.strip() for text in messages.values())


def test_every_check_has_two_wrong_answers_with_different_messages():
    for name in SOLUTIONS:
        assert len({words for check, _, words in WRONG if check == name}) >= 2, name


def test_every_check_is_tested():
    modules = [module for module in vars(checks).values() if isinstance(module, ModuleType)]
    written = {
        name
        for module in modules
        for name, function in vars(module).items()
        if name[0] != "_" and getattr(function, "__module__", "") == module.__name__
        and inspect.signature(function).parameters.keys() == {"mine"}
    }  # fmt: skip
    assert len(modules) > 5 and written == set(checks.__all__) == set(SOLUTIONS)


def test_strict_raises_and_says_the_same(monkeypatch):
    monkeypatch.setenv("DREAMER_LITE_STRICT", "1")
    with pytest.raises(Failed, match="forgot the sign"):
        checks.symlog(lambda x: jnp.log1p(jnp.abs(x)))
    assert checks.symlog(SOLUTIONS["symlog"]) is SOLUTIONS["symlog"]


def test_warnings_of_the_readers_code_stay_off_stderr(capfd):
    checks.symlog(lambda x: np.sign(x) * np.log(np.asarray(x)))
    assert capfd.readouterr().err == ""


def test_what_is_no_array_is_named(capsys):
    checks.symlog(lambda x: "one")
    assert "returned a str" in capsys.readouterr().out
    checks.symlog(lambda x: {"a": x})
    assert "returned a dict" in capsys.readouterr().out
