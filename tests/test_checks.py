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
import answers_06
import answers_07
import answers_08
import jax.numpy as jnp
import judging_answers
import model_free_answers
import numpy as np
import pytest

from dreamer_lite.course import checks
from dreamer_lite.course.checks import exercise
from dreamer_lite.course.compare import Exercise, Failed, judge, on

SOLUTIONS: dict[str, Callable] = {}
WRONG: list[tuple[str, Callable, str]] = []  # (check, wrong answer, words of its own message)
for answers in (
    answers_01, answers_02, answers_03, answers_04, answers_05, answers_06, answers_07,
    answers_08, judging_answers, model_free_answers,
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


def test_what_the_courses_functions_give_is_computed_once():
    def oracle(x):
        calls.append("oracle")
        return 2 * x

    def mistake(x):
        calls.append("mistake")
        return 3 * x

    calls: list[str] = []
    asked = Exercise(oracle, [on("a number", jnp.float32(1))], three=mistake)
    for _ in range(2):
        trouble, _ = judge(lambda x: 3 * x, asked, {"three": "it is twice."})
        assert trouble.startswith("it is twice.")
    assert calls == ["oracle", "mistake"]


def test_the_comparisons_of_an_exercise_have_names_of_their_own():
    for name, make in exercise.CHECKS.items():
        whats = [part.what for part in make().parts]
        assert len(set(whats)) == len(whats), name
