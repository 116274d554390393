"""A class is graded: nbgrader's own commands give every submission its points.

Three students hand in three notebooks: one solved all, one changed nothing, and one made a mistake
in some exercises and deleted a check.
"""

import ast
import csv
import dis
import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import CodeType

import jax
import nbformat
import pytest
from nbformat import NotebookNode

from dreamer_lite.course import checks, compare

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "notebooks"))

import build  # noqa: E402

SOURCES = build.sources()
NAMES = [source.stem for source in SOURCES]
PAGE = (ROOT / "notebooks" / "INSTRUCTORS.md").read_text(encoding="utf-8")


def points() -> dict[str, int]:
    """{"02": 2}: points of each notebook, as the page for instructors has them."""
    heads, numbers = (
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in re.findall(r"^\| (?:notebook \| \d\d|points) \|.*\n", PAGE, re.M)
    )
    return {head: int(number) for head, number in zip(heads[1:], numbers[1:])}


POINTS = points()
assert sum(n for name, n in POINTS.items() if name != "all") == POINTS["all"]

GRADED = ["02_worlds_and_replay", "03_predicting_anything", "04_rssm"]
# A plausible mistake in the body of an exercise, and words of the check's hint.
MISTAKES = {
    "mask_reset": ("return state, action", "nothing was set to zero"),
    "symexp": ("return jnp.exp(x)", "wrong numbers"),
    "unimix": ("return jax.nn.log_softmax(logits)", "unimix"),
    "gru": ("return deter", "wrong numbers"),
}
DELETED = "check_two_hot"
FOLD = r"\n<details><summary>Solution</summary>.*?</details>"  # a class gets none


def graded(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The cells that nbgrader knows, by their ids."""
    cells = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    return {cell.metadata.nbgrader.grade_id: cell for cell in cells}


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_the_metadata_is_valid_and_worth_a_point_a_check(source):
    formats = pytest.importorskip("nbgrader.nbgraderformat")
    paths = [path for path, _ in build.places(source)]
    for notebook in (*(nbformat.read(path, 4) for path in paths), build.build(source, True)):
        formats.MetadataValidator().validate_nb(notebook)
        cells = graded(notebook)
        assert len(cells) == sum("nbgrader" in cell.metadata for cell in notebook.cells)
        about = {name: cell.metadata.nbgrader for name, cell in cells.items()}
        points = sum(a["points"] for a in about.values() if a["grade"])
        assert points == POINTS.get(source.stem[:2], 0)
        for name, cell in cells.items():
            tags = cell.metadata.tags
            assert about[name].solution is ("exercise" in tags)
            assert about[name].grade is about[name].locked is ("check" in tags)
            part = build.part_of(tags)
            assert not part or name == part.replace(".", "_")
            function = (part or name).rpartition(".")[2]
            wanted = f"checks.{name[6:]}(" if "check" in tags else f"def {function}("
            assert wanted in cell.source
        tagged = [
            c for c in notebook.cells if {"exercise", "check"} & {*c.metadata.get("tags", [])}
        ]
        assert len(tagged) == len(cells)


def names_of(code: CodeType) -> tuple[set[str], set[str]]:
    """(what a cell binds, all names of the notebook that it or its functions read)."""
    steps = list(dis.get_instructions(code))
    bound = {step.argval for step in steps if step.opname == "STORE_NAME"}
    read = {step.argval for step in steps if step.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            read |= names_of(inner)[1]
    return bound, read


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_a_wrong_answer_costs_its_own_point_only(source):
    """A failed check binds nothing, so the cells that need it fail: no exercise may be of them.

    A part of the agent keeps its name: that of the reader's function, which the check has judged
    among the course's parts, not among the reader's.
    """
    lost: set[str] = set()
    defined: set[str] = set()
    for cell in build.build(source, True, figures=False).cells:
        if cell.cell_type == "code":
            bound, read = names_of(compile(cell.source, source.name, "exec"))
            tags = cell.metadata.get("tags", [])
            if "exercise" in tags or "check" in tags:
                assert not lost & read, f"{lost & read} may be missing in: {cell.source[:60]}"
            if "check" in tags or lost & read:
                lost |= bound - defined
            else:
                lost -= bound
                defined |= bound


def test_a_check_of_two_functions_and_an_exercise_of_none_are_refused(tmp_path):
    source = tmp_path / "src" / "05_small.py"
    source.parent.mkdir()
    for tag, code, words in (
        ("check", "a = checks.symlog(my_symlog)\nb = checks.symexp(my_symexp)", "is checks.NAME"),
        ("exercise", "symlog = None", "defines a function"),
    ):
        source.write_text(f'# %% tags=["{tag}"]\n{code}\n', encoding="utf-8")
        with pytest.raises(build.BadSource, match=words):
            build.build(source, solved=True)


def test_a_course_folder_keeps_what_an_instructor_changed(tmp_path, capsys):
    assert build.main(["course", str(tmp_path), "03"]) == 0
    settings = tmp_path / "nbgrader_config.py"
    notebook = tmp_path / "source" / GRADED[1] / f"{GRADED[1]}.ipynb"
    assert "DREAMER_LITE_FAST" in settings.read_text(encoding="utf-8")
    assert build.BEGIN in notebook.read_text(encoding="utf-8")
    settings.write_text("# mine", encoding="utf-8")
    assert build.main(["course", str(tmp_path), "03"]) == 0  # the same again is no harm
    assert settings.read_text(encoding="utf-8") == "# mine"
    notebook.write_text("mine", encoding="utf-8")
    assert build.main(["course", str(tmp_path), "02", "03"]) == 1
    assert "is there already, and differs" in capsys.readouterr().err
    assert (
        notebook.read_text(encoding="utf-8") == "mine"
        and not (tmp_path / "source" / GRADED[0]).exists()
    )
    assert build.main(["course", str(tmp_path), "00", "09"]) == 1
    assert "no exercises in 00 and 09" in capsys.readouterr().err
    assert build.main(["course"]) == 1 and "Say where" in capsys.readouterr().err


def test_a_failed_check_raises_under_nbgrader_only(monkeypatch, capsys):
    monkeypatch.delenv("DREAMER_LITE_STRICT", raising=False)
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)

    def symlog(x):
        return jax.numpy.tanh(x)

    assert checks.symlog(symlog) is not symlog
    assert "Using the COURSE's function" in capsys.readouterr().out
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")  # as nbgrader does for its kernels
    with pytest.raises(compare.Failed, match="✗ symlog"):
        checks.symlog(symlog)


class Course:
    """A course folder with what three students handed in, and nbgrader at work on it."""

    def __init__(self, folder: Path):
        self.folder = folder
        assert build.main(["course", str(folder), *GRADED]) == 0
        self.nbgrader("generate_assignment")
        for name in GRADED:
            for student in ("correct", "empty", "wrong"):
                # The student notebook of the repository is as good as the released one.
                start = self.released(name) if student == "correct" else ROOT / "notebooks"
                path = folder / "submitted" / student / name / f"{name}.ipynb"
                path.parent.mkdir(parents=True)
                nbformat.write(hand_in(start / f"{name}.ipynb", student), path)
        self.nbgrader("autograde")
        self.nbgrader("generate_feedback")
        self.nbgrader("export", all_of_it=False)

    def released(self, name: str) -> Path:
        return self.folder / "release" / name

    def nbgrader(self, command: str, all_of_it: bool = True) -> None:
        """Run one of nbgrader's commands as an instructor would, on every assignment."""
        environment = os.environ | {
            # nbgrader calls programs of its environment by their names.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),  # pyright: ignore
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        }
        for name in ("DREAMER_LITE_STRICT", "DREAMER_LITE_FAST"):
            environment.pop(name, None)  # the course folder's settings say it
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", command, *(["*"] if all_of_it else [])],
            cwd=self.folder, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]

    def scores(self) -> dict[tuple[str, str], tuple[float, float]]:
        """{(student, notebook): (score, of so many)} from nbgrader's own table."""
        with (self.folder / "grades.csv").open(encoding="utf-8") as table:
            return {
                (row["student_id"], row["assignment"]): (
                    float(row["score"]),
                    float(row["max_score"]),
                )
                for row in csv.DictReader(table)
            }


def hand_in(path: Path, student: str) -> NotebookNode:
    """The notebook as this student hands it in."""
    notebook = nbformat.read(path, 4)
    (source,) = build.sources(wanted=[path.stem])
    solved = graded(build.build(source, True, figures=False))
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += "\nupdates = collected = 60"  # a student may; only checks count
    if student == "empty":
        return notebook
    cells = graded(notebook)
    for name, cell in cells.items():
        if cell.metadata.nbgrader.solution:
            cell.source = solved[name].source
            for mistaken, (body, _) in MISTAKES.items():
                if student == "wrong" and f"def {mistaken}(" in cell.source:
                    cell.source = with_body(cell.source, mistaken, body)
    if student == "wrong":
        notebook.cells = [c for c in notebook.cells if c is not cells.get(DELETED)]
    return notebook


def with_body(code: str, name: str, body: str) -> str:
    """The code with another body, of one line, in the function `name`."""
    tree = ast.parse(code)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            node.body = [node.body[0], *ast.parse(f"def f():\n    {body}").body[0].body]  # pyright: ignore
    return ast.unparse(tree)


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_solutions_are_in_folds_of_the_readers_copy_only(source):
    reader, marked = (build.build(source, False, False, marked=m) for m in (False, True))
    exercises = sum("exercise" in c.metadata.get("tags", []) for c in reader.cells)
    folds = sum(c.source.count("<summary>Solution</summary>") for c in reader.cells)
    assert folds == exercises or not build.lint.second(source)
    assert "<summary>Solution</summary>" not in nbformat.writes(marked)
    texts = [[c for c in n.cells if c.cell_type == "markdown"] for n in (reader, marked)]
    plain = [re.sub(FOLD, "", c.source, flags=re.S) for c in texts[0]]
    assert plain == [c.source for c in texts[1]]


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Course:
    if shutil.which("alembic", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("nbgrader is not installed here")
    return Course(tmp_path_factory.mktemp("course"))


@pytest.mark.slow
def test_what_nbgrader_releases_is_the_student_notebook(course):
    for name in GRADED:
        released = nbformat.read(course.released(name) / f"{name}.ipynb", 4)
        student = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)
        assert [(c.cell_type, c.source) for c in released.cells] == [
            (c.cell_type, re.sub(FOLD, "", c.source, flags=re.S)) for c in student.cells
        ]
        assert "<summary>Solution</summary>" not in nbformat.writes(released)
        for ours, theirs in zip(student.cells, released.cells):
            added = {"deletable", "editable"}
            assert {k: v for k, v in theirs.metadata.items() if k not in {*added, "nbgrader"}} == {
                k: v for k, v in ours.metadata.items() if k != "nbgrader"
            }
            kept = ours.metadata.get("nbgrader", {})
            assert kept.items() <= theirs.metadata.get("nbgrader", {}).items()


@pytest.mark.slow
def test_the_right_points_come_out(course):
    scores = course.scores()
    assert len(scores) == 9
    for name in GRADED:
        full = POINTS[name[:2]]
        text = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        mistakes = sum(f"def {mistaken}(" in text for mistaken in MISTAKES)
        assert scores["correct", name] == (full, full)
        assert scores["empty", name] == (0, full)
        assert scores["wrong", name] == (full - mistakes, full) and mistakes


@pytest.mark.slow
def test_feedback_says_what_was_wrong(course):
    for name in GRADED:
        pages = {
            who: html.unescape(
                (course.folder / "feedback" / who / name / f"{name}.html").read_text(
                    encoding="utf-8"
                )
            )
            for who in ("correct", "empty", "wrong")
        }
        assert "agrees with the course's solution" in pages["correct"]
        assert "✗" not in pages["correct"]
        assert "still the stub" in pages["empty"]
        source = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        for mistaken, (_, words) in MISTAKES.items():
            if f"def {mistaken}(" in source:
                assert f"✗ {mistaken}" in pages["wrong"] and words in pages["wrong"]
