"""The reader's own agent: parts are kept in my_dreamer.py, and nothing of it is lost or trusted."""

import ast
import linecache
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_lite import assets
from dreamer_lite.course import marks, parts
from dreamer_lite.course.checks import exercise
from dreamer_lite.course.compare import Exercise, Failed, on

ROOT = Path(__file__).resolve().parents[1]

SYMLOG = '''def symlog(x: jax.Array) -> jax.Array:
    """The sign of x times ln(1 + |x|)."""
    # in my own words
    size = jnp.log1p(jnp.abs(x))
    return jnp.where(x < 0, -size, size)'''

LOG_PROB = '''def log_prob(self, onehot: jax.Array) -> jax.Array:
    """ln p of one-hot values."""
    return (onehot * self.logp).sum(-1)  # mine'''

X = jnp.array([-2.0, 0.5, 3.0])


def cell(text: str, **names: Any) -> Callable[..., Any]:
    """A function as a notebook cell defines it: its source can be found."""
    name = f"<cell {hash(text)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space = {"jax": jax, "jnp": jnp, **names}
    exec(compile(text, name, "exec"), space)
    (function,) = ast.parse(text).body
    assert isinstance(function, ast.FunctionDef)
    return space[function.name]


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[..., Any]]:
    """Checks of two parts: a function and a method."""
    monkeypatch.delenv("DREAMER_LITE_STRICT", raising=False)
    monkeypatch.setattr(exercise, "CHECKS", {})
    monkeypatch.setattr(
        exercise, "messages", lambda: {n: {"next": "more."} for n in ("symlog", "log_prob")}
    )

    def symlog() -> Exercise:
        return Exercise(exercise.solved("symlog"), [on("three numbers", X)])

    def log_prob() -> Exercise:
        policy = exercise.solved_agent().Categorical(jnp.log(jnp.array([0.25, 0.75])))
        right = exercise.solved("Categorical.log_prob")
        return Exercise(right, [on("two classes", policy, jnp.array([0.0, 1.0]))])

    return {
        "symlog": exercise.part("symlog")(symlog),
        "Categorical.log_prob": exercise.part("Categorical.log_prob")(log_prob),
    }


@pytest.fixture
def both(checks: dict, no_parts: Path, capsys: pytest.CaptureFixture) -> Path:
    """A file with two parts that passed."""
    checks["Categorical.log_prob"](cell(LOG_PROB))
    checks["symlog"](cell(SYMLOG))
    assert capsys.readouterr().out.count("Kept as") == 2
    return no_parts / parts.FILE


def test_a_wrong_answer_leaves_the_earlier_right_one_in_the_file(checks, both, capsys) -> None:
    kept = both.read_text(encoding="utf-8")
    checks["symlog"](cell("def symlog(x):\n    return x"))
    assert f"{parts.FILE} keeps your earlier one, which passed." in capsys.readouterr().out
    assert both.read_text(encoding="utf-8") == kept


def test_a_message_says_where_the_file_is(monkeypatch, tmp_path) -> None:
    assert parts.place() == ""  # the tests choose the folder
    monkeypatch.delenv("DREAMER_LITE_PARTS")
    monkeypatch.setattr(parts.files, "DRIVE", str(tmp_path))
    assert parts.place() == ", in the folder of this notebook"
    (tmp_path / "MyDrive").mkdir()
    assert parts.place() == ", in dreamer_lite on your Google Drive"


def change(path: Path, old: str, new: str) -> None:
    """Edit the file by hand."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def copies(path: Path) -> list[str]:
    """The contents of the copies that were made beside the file."""
    return [file.read_text("utf-8") for file in sorted(path.parent.glob("my_dreamer.*.py"))]


def loaded(capsys: pytest.CaptureFixture) -> tuple[Any, list[str]]:
    """The module, and what `load` said before the line about whose parts there are."""
    capsys.readouterr()
    module = parts.load()
    *sentences, last = capsys.readouterr().out.splitlines()
    assert "parts are yours" in last
    return module, sentences


# Cutting a file into parts


def test_the_pieces_of_the_single_file_make_up_its_text() -> None:
    text = parts.solution_text()
    assert marks.join(marks.split(text)) == text
    assert len(parts.names()) == len(set(parts.names())) > 40
    for chunk in parts.solution():
        if chunk.name:
            (function,) = ast.parse(textwrap.dedent(chunk.text)).body
            assert isinstance(function, ast.FunctionDef)
            assert function.name == chunk.name.rpartition(".")[2], chunk.name
            assert chunk.text.splitlines()[-1].strip(), "no blank lines at its end"


TRICKY = '''"""Head."""


# ---- [02] One ----


# [02] one
@jax.jit
def one(
    x,
):
    """Doc.

# [02] two
    """
    y = """
def not_code(): pass
"""
    # last words


# [02] two · not written yet
def given(x):
    return x


class Box:
    # [03] Box.put
    # a comment of mine
    @staticmethod
    def put(x):
        def inner():
            return 1

        return f"""
{x}
"""

    # [03] Box.get · not written yet

    def given(self):
        return 2

# ---- [04] Two ----
'''


def test_strings_decorators_and_comments_stay_in_their_parts() -> None:
    chunks = marks.split(TRICKY)
    assert marks.join(chunks) == TRICKY
    found = {chunk.name: chunk.text for chunk in chunks if chunk.name}
    assert found["one"].startswith("@jax.jit\ndef one(") and found["one"].endswith("# last words")
    assert found["two"] == found["Box.get"] == ""
    assert found["Box.put"].startswith("    # a comment of mine\n    @staticmethod")
    assert found["Box.put"].endswith('{x}\n"""')
    assert [c.notebook for c in chunks if not c.name] == ["", "02", "02", "02", "02", "02", "04"]


def test_a_file_with_a_syntax_error_is_cut_by_its_lines() -> None:
    broken = TRICKY.replace("return x\n", "return x x\n").replace("def not_code(): pass\n", "")
    chunks = marks.split(broken)
    assert marks.join(chunks) == broken
    found = {chunk.name: chunk.text for chunk in chunks if chunk.name}
    assert found["two"] == "" and "return f" in found["Box.put"] and "inner" in found["Box.put"]


def test_indentation_leaves_the_insides_of_strings_alone() -> None:
    text = 'def f():\n    """A\n    docstring."""\n    return """a\n  b\n""" + f"""\n{1}\n"""'
    moved = marks.shift(text, 4)
    assert marks.shift(moved, -4) == text
    assert '    def f():\n        """A\n        docstring."""' in moved
    space: dict[str, Any] = {}
    exec("class Box:\n" + moved.replace("f()", "f(self)"), space)
    assert space["Box"]().f() == "a\n  b\n\n1\n"


# Storing and loading


def test_a_part_that_passes_is_stored_and_used(both: Path, capsys: pytest.CaptureFixture) -> None:
    module, sentences = loaded(capsys)
    assert sentences == []
    assert module.symlog.__doc__ == "The sign of x times ln(1 + |x|)."
    assert np.allclose(module.symlog(X), jnp.sign(X) * jnp.log1p(jnp.abs(X)))
    policy = module.Categorical(jnp.log(jnp.array([0.25, 0.75])))
    assert policy.log_prob.__doc__ == "ln p of one-hot values."
    assert np.isclose(policy.log_prob(jnp.array([1.0, 0.0])), np.log(0.25))
    parts.load()
    count = len(parts.names())
    assert capsys.readouterr().out == (
        f"2 of {count} parts are yours: symlog, Categorical.log_prob. "
        "The others are the course's.\n"
    )


def test_the_file_is_python_that_imports_the_environments_only(both: Path) -> None:
    text = both.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert "# in my own words" in text and "# mine" in text  # comments are kept
    assert parts.EDITION in str(ast.get_docstring(tree))
    assert text.index("symlog · mine") < text.index("log_prob · mine"), "in the order of the course"
    assert "# [03] symexp · not written yet\n" in text and "def symexp" not in text
    assert "class RSSM" not in text, "what later notebooks add is not there yet"
    imports = [
        f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert [name for name in imports if "dreamer_lite" in name] == ["dreamer_lite.worlds"]
    compile(tree, str(both), "exec")
    assert np.allclose(parts.load().symlog(X), jnp.sign(X) * jnp.log1p(jnp.abs(X)))


RESTART = """
from dreamer_lite.course import parts
dreamer = parts.load()
print(dreamer.symlog.__doc__)
"""


def test_after_a_restart_and_on_another_machine_the_file_is_enough(
    both: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(both, elsewhere)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DREAMER_LITE_PARTS": str(elsewhere)}
    shown = subprocess.run(
        [sys.executable, "-c", RESTART], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "2 of" in shown and shown.endswith("The sign of x times ln(1 + |x|).\n")


def test_cells_may_run_twice_and_out_of_order(
    both: Path, checks: dict, capsys: pytest.CaptureFixture
) -> None:
    before = both.read_bytes()
    checks["symlog"](cell(SYMLOG))
    mine = checks["Categorical.log_prob"](cell(LOG_PROB))
    assert both.read_bytes() == before
    checks["Categorical.log_prob"](mine)  # the check's own result: the exercise was not run again
    assert both.read_bytes() == before and copies(both) == []
    checks["symlog"](cell(SYMLOG.replace("in my own words", "in better words")))
    assert "# in better words" in both.read_text("utf-8") and copies(both) == []
    assert "✗" not in capsys.readouterr().out


def test_the_course_s_function_is_never_taken_for_the_reader_s(
    checks: dict, no_parts: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = cell("def symlog(x: jax.Array) -> jax.Array:\n    raise NotImplementedError\n")
    given = checks["symlog"](wrong)
    assert "still the stub" in capsys.readouterr().out and given is exercise.solved("symlog")
    assert checks["symlog"](given) is given  # the cell of the check was run once more
    assert "✗ symlog: this is the course's function." in capsys.readouterr().out
    assert not (no_parts / parts.FILE).exists()
    monkeypatch.setenv("DREAMER_LITE_STRICT", "1")
    with pytest.raises(Failed):
        checks["symlog"](wrong)


def test_a_function_without_source_passes_but_is_not_kept(
    checks: dict, no_parts: Path, capsys: pytest.CaptureFixture
) -> None:
    space: dict[str, Any] = {"jax": jax, "jnp": jnp}
    exec(SYMLOG, space)
    assert checks["symlog"](space["symlog"]) is space["symlog"]
    assert "its text cannot be found: define it in a cell" in capsys.readouterr().out
    assert not (no_parts / parts.FILE).exists()


# A reader's own helpers, and other code that cannot stand in the file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SYMLOG.replace("jnp.log1p(jnp.abs(x))", "helper(x)"), "uses `helper`, which your noteb"),
        (SYMLOG.replace("x: jax.Array", "x: Numbers"), "uses `Numbers`, which your notebook may"),
        ("@compiled\n" + SYMLOG, "uses `compiled`, which your notebook may have"),
        (SYMLOG.replace("jnp.log1p", "dreamer.log1p"), "leave out `dreamer.`"),
        (SYMLOG.replace("symlog(x:", "symlog(x, y:"), "must begin with `def symlog(x)`"),
        (SYMLOG.replace("def symlog", "def my_symlog"), "must begin with `def symlog(x)`"),
        (SYMLOG.replace("x: jax.Array", "x: jax.Array = 1"), "must begin with `def symlog(x)`"),
    ],
)
def test_what_cannot_stand_in_the_file_is_refused(
    text: str, words: str, checks: dict, no_parts: Path, capsys: pytest.CaptureFixture
) -> None:
    names = {"helper": lambda x: jnp.log1p(jnp.abs(x)), "Numbers": jax.Array, "compiled": jax.jit}
    checks["symlog"](cell(text, **names))
    out = capsys.readouterr().out
    assert out.startswith("✗ symlog: ") and words in out and not (no_parts / parts.FILE).exists()


def test_helpers_and_imports_inside_a_part_are_fine() -> None:
    inside = SYMLOG.replace(
        "    size = ", "    from math import pi\n\n    def f(x): return x\n\n    size = 0 * pi + "
    )
    assert parts.trouble("symlog", inside) == ""
    assert parts.trouble("symlog", "@jax.jit\n" + SYMLOG) == ""
    assert (
        parts.trouble("clip_gradient", "def clip_gradient(gradient, param, clip=0.30): pass") == ""
    )
    assert "clip=0.3" in parts.trouble(
        "clip_gradient", "def clip_gradient(gradient, param, clip): 1"
    )
    for name in parts.names():
        (text,) = (chunk.text for chunk in parts.solution() if chunk.name == name)
        assert parts.trouble(name, textwrap.dedent(text)) == "", name


# Files that were changed by hand, or are others: one sentence each, and nothing is lost


def test_a_part_that_no_longer_passes_is_refused_and_kept(
    both: Path, checks: dict, capsys: pytest.CaptureFixture
) -> None:
    change(both, "jnp.where(x < 0, -size, size)", "size")
    edited = both.read_text("utf-8")
    module, sentences = loaded(capsys)
    (sentence,) = sentences
    assert "Your part symlog in my_dreamer.py no longer passes its check: wrong numbers" in sentence
    assert module.symlog(X)[0] < 0 and "mirror" not in sentence
    assert both.read_text("utf-8") == edited
    checks["Categorical.log_prob"](cell(LOG_PROB.replace("# mine", "# new")))  # another is stored
    assert both.read_text("utf-8") == edited.replace(
        LOG_PROB.splitlines()[-1], LOG_PROB.splitlines()[-1].replace("# mine", "# new")
    ).replace(parts.stamp(LOG_PROB), parts.stamp(LOG_PROB.replace("# mine", "# new")))
    assert len(loaded(capsys)[1]) == 1, "storing another part has not made it right"
    before = both.read_text("utf-8")
    checks["symlog"](cell(SYMLOG))  # it takes the place of what was edited by hand
    assert copies(both) == [before]
    assert "would have been lost: it was copied to my_dreamer.1.py" in capsys.readouterr().out
    assert loaded(capsys)[1] == []


def test_a_part_that_was_improved_by_hand_is_checked_and_used(
    both: Path, capsys: pytest.CaptureFixture
) -> None:
    change(both, "# in my own words", "# in better words")
    change(
        both,
        "# [03] symexp · not written yet\n",
        "# [03] symexp\ndef symexp(x):\n    return jnp.sign(x) * jnp.expm1(jnp.abs(x))\n",
    )
    module, sentences = loaded(capsys)
    assert sentences == [] and module.symlog.__doc__ == "The sign of x times ln(1 + |x|)."
    assert module.symexp.__doc__ is None
    assert sorted(parts.read().texts) == ["Categorical.log_prob", "symexp", "symlog"]


FAULTS = {
    "a syntax error": ("return jnp.where(x <", "return jnp.where((x <", "is no Python in its line"),
    "another signature": ("def symlog(x:", "def symlog(y, x:", "must begin with `def symlog(x)`"),
    "another name": ("def symlog(x:", "def mysymlog(x:", "must begin with `def symlog(x)`"),
    "a part of another edition": (
        "# [03] symlog",
        "# [03] symlogarithm",
        "no part of this edition",
    ),
    "a helper of the notebook": ("size = jnp.log1p", "size = helper", "uses `helper`"),
    "another edition": (parts.EDITION, "Dreamer Lite, first edition", "for another edition"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_file_is_one_sentence_and_a_copy(
    fault: str, both: Path, checks: dict, capsys: pytest.CaptureFixture
) -> None:
    old, new, words = FAULTS[fault]
    change(both, old, new)
    edited = both.read_text("utf-8")
    module, sentences = loaded(capsys)
    (sentence,) = sentences
    assert words in sentence and sentence.count("\n") == 0 and parts.FILE in sentence
    assert np.allclose(module.symlog(X), jnp.sign(X) * jnp.log1p(jnp.abs(X)))
    assert both.read_text("utf-8") == edited and copies(both) == [], "reading changes nothing"
    checks["Categorical.log_prob"](cell(LOG_PROB.replace("# mine", "# new")))
    assert copies(both) == [edited]
    ast.parse(both.read_text("utf-8"))
    assert loaded(capsys)[0].Categorical.log_prob.__doc__ == "ln p of one-hot values."
    checks["Categorical.log_prob"](cell(LOG_PROB))
    assert copies(both) == [edited], "one copy is enough"


def test_parts_of_another_edition_are_not_believed_after_a_new_one_is_stored(
    both: Path, checks: dict, capsys: pytest.CaptureFixture
) -> None:
    wrong = SYMLOG.replace("-size, size", "size, size")
    change(both, SYMLOG.splitlines()[-1], wrong.splitlines()[-1])
    change(both, parts.stamp(SYMLOG), parts.stamp(wrong))  # it passed there
    change(both, parts.EDITION, "another")
    assert len(loaded(capsys)[1]) == 2
    checks["Categorical.log_prob"](cell(LOG_PROB))
    (sentence,) = loaded(capsys)[1]
    assert "Your part symlog in my_dreamer.py no longer passes" in sentence


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"print('mine')\n", "is not a file of this course"),
        (b"\xff\xfe\x00", "cannot be read (UnicodeDecodeError)"),
        (b"", "is not a file of this course"),
    ],
)
def test_a_foreign_file_is_copied_before_it_is_replaced(
    raw: bytes, words: str, no_parts: Path, checks: dict, capsys: pytest.CaptureFixture
) -> None:
    no_parts.mkdir(parents=True)
    (no_parts / parts.FILE).write_bytes(raw)
    (sentence,) = loaded(capsys)[1]
    assert words in sentence
    checks["symlog"](cell(SYMLOG))
    assert [file.read_bytes() for file in no_parts.glob("my_dreamer.*.py")] == [raw] * bool(raw)
    assert "1 of" in parts.whose(parts.read().texts)


def test_notes_between_the_parts_are_not_lost(both: Path, checks: dict) -> None:
    change(both, "\n\nclass State", "\n\n# my notes\n\n\nclass State")
    edited = both.read_text("utf-8")
    checks["symlog"](cell(SYMLOG))
    assert copies(both) == [edited] and "# my notes" not in both.read_text("utf-8")


def test_a_file_from_windows_is_the_same_file(both: Path, checks: dict) -> None:
    both.write_bytes(both.read_bytes().replace(b"\n", b"\r\n"))
    checks["symlog"](cell(SYMLOG))
    assert copies(both) == [] and len(parts.read().texts) == 2


@pytest.mark.parametrize("where", ["a file", "a folder", "no name"])
def test_a_folder_that_cannot_be_used_is_a_sentence(
    where: str, tmp_path: Path, checks: dict, capsys: pytest.CaptureFixture, monkeypatch: Any
) -> None:
    places = {"a file": tmp_path / "x", "a folder": tmp_path, "no name": tmp_path / ("x" * 300)}
    (tmp_path / "x").write_text("", encoding="utf-8")
    (tmp_path / parts.FILE).mkdir()  # a folder of the file's name
    monkeypatch.setenv("DREAMER_LITE_PARTS", str(places[where]))
    (sentence,) = loaded(capsys)[1]
    assert "cannot be read" in sentence
    mine = checks["symlog"](cell(SYMLOG))
    out = capsys.readouterr().out
    assert "could not be written" in out and "Kept" not in out and "✓" in out
    assert mine(X).shape == X.shape
    assert parts.complete() is None and "could not be written" in capsys.readouterr().out


def test_a_part_that_stops_when_it_is_defined_is_left_out(
    both: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = SYMLOG.replace("x: jax.Array", "x: jax.Nonsense")
    texts = {"symlog": broken, "Categorical.log_prob": LOG_PROB}
    monkeypatch.setattr(parts, "read", lambda: parts.Mine(texts, {}))
    module, sentences = loaded(capsys)
    assert sentences == [
        "Your part symlog in my_dreamer.py cannot be run: the course's takes its place."
    ]
    assert module.Categorical.log_prob.__doc__ == "ln p of one-hot values."


# A complete file, Drive, and the library without its notebooks


def test_a_complete_file_has_the_course_s_text_for_what_is_missing(
    both: Path, checks: dict, capsys: pytest.CaptureFixture
) -> None:
    assert parts.complete() == both
    assert "2 of" in capsys.readouterr().out
    text = both.read_text("utf-8")
    assert "# [04] RSSM.prior · the course's\n" in text and "· not written yet" not in text
    assert sorted(parts.read().texts) == ["Categorical.log_prob", "symlog"], (
        "these are the reader's"
    )
    checks["symlog"](cell(SYMLOG.replace("own", "better")))
    assert "in my better words" in both.read_text("utf-8") and copies(both) == []
    assert "# [04] RSSM.prior · the course's\n" in both.read_text("utf-8"), "it stays complete"
    change(both, "-size, size", "size, size")
    edited = both.read_text("utf-8")
    parts.complete()  # what does not pass is replaced by the course's, and copied
    assert copies(both) == [edited] and "no longer passes" in capsys.readouterr().out
    shown = subprocess.run(
        [sys.executable, both, "--help"],
        cwd=both.parent, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "--minutes" in shown.stdout


def test_an_empty_folder_has_the_course_s_parts_only(capsys: pytest.CaptureFixture) -> None:
    module, sentences = loaded(capsys)
    assert sentences == [] and callable(module.update)
    assert parts.whose([]).startswith("0 of ") and parts.whose([]).endswith(
        "parts are yours. The others are the course's."
    )


def test_a_wrong_part_can_be_forced_to_see_what_it_does(
    both: Path, capsys: pytest.CaptureFixture
) -> None:
    module = parts.load(force={"symlog": "    def symlog(x):\n        return 7 * x\n"})
    assert (module.symlog(X) == 7 * X).all()
    assert module.Categorical.log_prob.__doc__ == "ln p of one-hot values."


def test_drive_is_used_where_it_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DREAMER_LITE_PARTS")
    assert parts.folder() == Path()
    (tmp_path / "MyDrive").mkdir()
    monkeypatch.setattr("dreamer_lite.files.DRIVE", str(tmp_path))
    assert parts.folder() == tmp_path / "MyDrive" / "dreamer_lite"


def test_without_the_notebooks_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "clone", lambda: None)
    parts.solution.cache_clear()
    parts.solution_text.cache_clear()
    with pytest.raises(ValueError, match="need a clone of the repository"):
        parts.load()
