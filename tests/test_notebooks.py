"""The notebooks: built, well-formed, and true; and the factory refuses bad ones in a sentence."""

import dataclasses
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import nbformat
import numpy as np
import pytest
import small_run
from matplotlib.figure import Figure
from nbclient import NotebookClient
from PIL import Image

from dreamer_lite import worlds
from dreamer_lite.agent.agent import make_agent
from dreamer_lite.course import notebook
from dreamer_lite.course.notebook import live
from dreamer_lite.presets import make_config
from dreamer_lite.runs import agents
from dreamer_lite.runs import run as runs
from dreamer_lite.training import loop as training
from dreamer_lite.worlds import rendering

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
sys.path.insert(0, str(NOTEBOOKS))

import build  # noqa: E402
import lint  # noqa: E402

SOURCES = build.sources()
NAMES = [source.stem for source in SOURCES]


@pytest.fixture(autouse=True)
def no_runs(monkeypatch, tmp_path_factory):
    """Notebook 10 takes the newest agent of the clone: none of a developer's runs."""
    monkeypatch.setenv("DREAMER_LITE_RUNS", str(tmp_path_factory.getbasetemp() / "runs"))


SMALL = '''# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown] tags=["badges"]
# (bar)

# %% [markdown]
# # Small
#
# **A claim.**
#
# ![](figure:agent_rssm)
#
# | Minutes to read | to write | to run |
# |---|---|---|
# | 1 | 1 | 1 |
#
# **You will be able to** do nothing.

# %% tags=["bootstrap"]
x = 1

# %% tags=["parameters"]
y = 2  # @param

# %% [markdown]
# ## Doubling
#
# <details><summary>Hint 1</summary>one</details>
# <details><summary>Hint 2</summary>two</details>
# <details><summary>Hint 3</summary>three</details>

# %% tags=["exercise"]
def my_double(x: int) -> int:
    """Twice x."""
    # BEGIN SOLUTION
    return 2 * x
    # END SOLUTION

# %% tags=["check"]
double = checks.double(my_double)

# %% tags=["signature"]
double

# %% [markdown]
# ## Quiz
# ## Summary
# ## References
# ## Next
'''


def small(folder: Path, text: str = SMALL) -> Path:
    """A source in a folder of its own."""
    path = folder / "src" / "08_small.py"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def complaints(path: Path) -> str:
    return "\n".join(lint.source(path) + lint.notebook(build.build(path, True), path))


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_what_is_built_is_up_to_date(source):
    assert build.stale(source) == []


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_notebooks_are_well_formed(source):
    assert lint.source(source) + lint.notebook(build.build(source, True), source) == []
    assert lint.notebook(build.build(source, False), source) == []


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_solutions_were_executed_and_are_small(source):
    path = build.places(source)[1][0]
    notebook = nbformat.read(path, 4)
    assert path.stat().st_size <= build.LARGEST
    assert any(cell.get("outputs") for cell in notebook.cells), f"run build.py run {source.stem}"
    assert lint.errors_in_outputs(notebook) == []
    assert "widgets" not in notebook.metadata
    assert all("execution" not in cell.metadata for cell in notebook.cells)


def test_the_small_notebook_is_fine(tmp_path):
    assert complaints(small(tmp_path)) == ""


# (what is replaced, by what, what lint says)
FAULTS = [
    ("# # Small", "# Small", "0 headings of the first level"),
    ("# ## Doubling", "# # Doubling", "2 headings of the first level"),
    ("# ## Doubling", "# #### Doubling", "'Doubling' skips a level"),
    ("# ## Quiz", "# ## Quiz\n# ![](nothing.png)", "no alt text: nothing.png"),
    ("# ## Quiz", '# ## Quiz\n# <img src="a.png">', "no alt text: <img"),
    ("# ## Quiz", "# ## Quiz\n# ![A dog](dog.png)", "dog.png is not embedded"),
    ("Minutes to read", "Hours to read", "a table of minutes is missing"),
    ("# ![](figure:agent_rssm)", "# no picture", "the main picture, open is missing"),
    ("# ## References\n", "", "references is missing"),
    ("# ## Quiz\n# ## Summary", "# ## Summary\n#\n\n# %% [markdown]\n# ## Quiz", "comes before"),
    ('tags=["signature"]', 'tags=["highlight"]', "'highlight' is none of"),
    ("x = 1", "x = 1\n" * 60, "more than 45 lines"),
    ("do nothing.", "do nothing. " * 200, "more than 260 words"),
    ("x: int) -> int", "x) -> int", "'my_double' needs a typed function"),
    ('    """Twice x."""\n', "", "'my_double' needs a typed function with a docstring"),
    ('tags=["check"]', 'tags=["panel"]', "'my_double' has no check right below"),
    ("# <details><summary>Hint 3</summary>three</details>\n", "", "fewer than three folded hints"),
    ("\ndouble\n", "\n" + "double\n" * 16, "shows more than 15 lines"),
    ("<summary>Hint 3<", "<summary>Hint `3`<", "write <code> and <em> in the fold 'Hint `3`'"),
    ("# ## Next", "# ## Next\n# [on](06_nowhere.ipynb)", "06_nowhere.ipynb leads nowhere"),
    ("# ## Next", "# ## Next\n# [on](http://example.org)", "is not https"),
    ("x = 1", "# %matplotlib inline\nx = 1", "magics"),
    ("#     text_representation:", "#     representation:", "header with text_representation"),
]


@pytest.mark.parametrize(("old", "new", "words"), FAULTS, ids=[words[-25:] for *_, words in FAULTS])
def test_lint_says_what_is_wrong(tmp_path, old, new, words):
    assert SMALL.count(old) == 1
    found = complaints(small(tmp_path, SMALL.replace(old, new)))
    assert words in found and found.startswith("08_small.py: ")


def test_a_notebook_that_builds_nothing_needs_no_exercise(tmp_path):
    nothing = SMALL.replace(
        "to run |\n# |---|---|---|\n# | 1 | 1 | 1 |",
        "to run | Adds to your agent |\n# |---|---|---|---|\n# | 1 | 1 | 1 | nothing |",
    )
    bare = re.sub(r'# %% tags=\["(exercise|check)"\]\n', "# %%\n", nothing)
    assert complaints(small(tmp_path / "a", bare)) == ""
    words = complaints(small(tmp_path / "b", bare.replace("| nothing |", "| a block |")))
    assert "an exercise is missing" in words and "a check is missing" in words


def test_syntax_errors_are_named(tmp_path):
    path = small(tmp_path, SMALL.replace("x = 1", "x = = 1"))
    assert "is no Python" in lint.source(path)[0]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("# END SOLUTION", "", "must alternate"),
        ("# BEGIN SOLUTION", "### BEGIN SOLUTION", "must alternate"),
        ("figure:agent_rssm", "figure:agent_nothing", "there is no agent_nothing.png"),
    ],
)
def test_bad_sources_are_not_built(tmp_path, old, new, words):
    with pytest.raises(build.BadSource, match=words):
        build.build(small(tmp_path, SMALL.replace(old, new)), solved=False)


def test_the_command_ends_with_status_1_and_a_sentence(tmp_path, monkeypatch, capsys):
    small(tmp_path, SMALL.replace("# # Small", "# Small"))
    monkeypatch.setattr(build.sources, "__defaults__", (tmp_path, None))
    assert build.main(["lint"]) == 1
    assert "0 headings" in capsys.readouterr().err
    assert build.main(["check"]) == 1
    assert "missing" in capsys.readouterr().err
    assert build.main(["build"]) == 0
    (tmp_path / "solutions" / "08_small.ipynb").write_text(
        executed(tmp_path / "src" / "08_small.py"), encoding="utf-8"
    )
    assert build.main(["check"]) == 0
    assert build.main(["check", "99"]) == 1
    assert "No source begins with 99" in capsys.readouterr().err


def test_student_and_solution(tmp_path):
    path = small(tmp_path)
    student, solved = build.build(path, False), build.build(path, True)
    code = ["\n".join(cell.source for cell in lint.codes(nb)) for nb in (student, solved)]
    assert "2 * x" not in code[0] and f"    {build.STUB}" in code[0]
    assert "2 * x" in code[1] and "SOLUTION" not in code[1] + code[0]
    assert build.build(path, False) == student  # the same, ids included
    ids = [cell.id for cell in student.cells]
    assert len(set(ids)) == len(ids)
    same = [a.id for a, b in zip(student.cells, solved.cells) if a.source == b.source]
    assert same == [b.id for a, b in zip(student.cells, solved.cells) if a.source == b.source]
    assert student.metadata.kernelspec.name == "python3" and "colab" in student.metadata


def executed(source: Path) -> str:
    """The solution of a source, as if it had been executed."""
    notebook = build.build(source, True)
    for cell in lint.codes(notebook):
        cell.outputs = [nbformat.v4.new_output("stream", text="one")]
    notebook.metadata["executed_code"] = build.code_hash(notebook)
    return nbformat.writes(notebook) + "\n"


def test_outputs_stay_only_while_the_code_is_the_same(tmp_path, monkeypatch, capsys):
    path = small(tmp_path)
    solution = build.places(path)[1][0]
    solution.parent.mkdir()
    solution.write_text(executed(path), encoding="utf-8")
    path.write_text(SMALL.replace("A claim", "A better claim"), encoding="utf-8")
    assert lint.codes(build.with_outputs(build.build(path, True), solution))[0].outputs
    path.write_text(SMALL.replace("y = 2", "y = 3"), encoding="utf-8")
    assert not lint.codes(build.with_outputs(build.build(path, True), solution))[0].outputs
    monkeypatch.setattr(build.sources, "__defaults__", (tmp_path, None))
    lost = "solutions/08_small.ipynb has no outputs of its present code: run build.py run 08.\n"
    assert build.main(["build"]) == 0 and capsys.readouterr().out == lost
    assert build.main(["check"]) == 1 and capsys.readouterr().err == lost


# Parts of the agent, folds, what a page shows.

PLACES = '''"""An agent."""

x = 1


# [04] double
def double(x: int) -> int:
    """Twice x."""
    return x + x


class Box:
    # [04] Box.half
    def half(self, x):
        """Half of x."""
        return x / 2
'''

GIVEN = '# %% tags=["given"]\nx = 1\n\n# %% tags=["plumbing"]\n# @title Plumbing\nz = 1\n\n'
WITH_PART = (
    SMALL.replace('tags=["exercise"]', 'tags=["exercise", "part:double"]')
    .replace("def my_double(x: int) -> int:", "def double(x: int) -> int:")
    .replace("double = checks.double(my_double)", "double = checks.double(double)")
    .replace('# %% tags=["signature"]', f'{GIVEN}# %% tags=["signature"]')
)


@pytest.fixture
def agent_file(tmp_path, monkeypatch) -> Path:
    """A folder with a notebook 04 and a single file with two parts."""
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(build.sources, "__defaults__", (tmp_path, None))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "04_small.py").write_text(WITH_PART, encoding="utf-8")
    shutil.copy(NOTEBOOKS / "bootstrap.py", tmp_path)
    (tmp_path / "dreamer.py").write_text(PLACES, encoding="utf-8")
    return tmp_path / "dreamer.py"


def test_the_solution_of_a_part_is_built_into_the_single_file(agent_file, capsys):
    source = agent_file.parent / "src" / "04_small.py"
    assert build.main(["check"]) == 1
    assert "dreamer.py is not what the notebooks' solutions make" in capsys.readouterr().err
    assert build.main(["build"]) == 0
    assert agent_file.read_text(encoding="utf-8") == PLACES.replace("return x + x", "return 2 * x")
    assert complaints(source) == ""
    text = source.read_text(encoding="utf-8")
    changed = text.replace("part:double", "part:Box.half").replace("double(", "half(")
    source.write_text(changed, encoding="utf-8")
    assert build.main(["build"]) == 0
    assert "    def half(x: int) -> int:\n" in agent_file.read_text(encoding="utf-8")


@pytest.mark.parametrize("old, new", [("04_small", "03_small"), ("part:double", "part:treble")])
def test_a_part_without_a_place_in_the_single_file_is_refused(agent_file, capsys, old, new):
    source = agent_file.parent / "src" / "04_small.py"
    text = source.read_text(encoding="utf-8").replace(old, new)
    source.unlink()
    source.with_stem(source.stem.replace(old, new)).write_text(text, encoding="utf-8")
    assert build.main(["build"]) == 1
    assert "dreamer.py has no part" in capsys.readouterr().err
    assert agent_file.read_text(encoding="utf-8") == PLACES


def test_a_part_has_its_solution_in_a_fold_and_plumbing_is_hidden(agent_file):
    source = agent_file.parent / "src" / "04_small.py"
    student, graded = build.build(source, False), build.build(source, False, marked=True)
    hints = next(cell for cell in student.cells if "Hint 3" in cell.source)
    assert hints.source.endswith("</details>") and "    return 2 * x\n```" in hints.source
    assert "SOLUTION" not in hints.source and hints.source.count("<summary>Solution") == 1
    assert not any("<summary>Solution" in cell.source for cell in graded.cells)
    (plumbing,) = (c for c in student.cells if "plumbing" in c.metadata.get("tags", []))
    assert plumbing.metadata.cellView == "form" and plumbing.metadata.jupyter.source_hidden
    (exercise,) = (c for c in student.cells if "exercise" in c.metadata.get("tags", []))
    assert exercise.metadata.nbgrader.grade_id == "double"


# (what is replaced, by what, what lint says)
PART_FAULTS = [
    ("# @title Plumbing", "# Plumbing", "does not begin with # @title"),
    ('tags=["given"]\nx = 1', 'tags=["given"]\nx = 2', "is not that of dreamer.py"),
    ("# END SOLUTION\n", "# END SOLUTION\n\ndef more(): ...\n", "must be one function"),
]


@pytest.mark.parametrize(("old", "new", "words"), PART_FAULTS, ids=[w for *_, w in PART_FAULTS])
def test_lint_knows_the_rules_of_parts(agent_file, old, new, words):
    source = agent_file.parent / "src" / "04_small.py"
    text = source.read_text(encoding="utf-8")
    assert text.count(old) == 1
    source.write_text(text.replace(old, new), encoding="utf-8")
    assert words in complaints(source)


def test_a_video_needs_a_picture_beside_it():
    video = nbformat.v4.new_output("display_data", {"text/html": "<video src='x'>"})
    picture = nbformat.v4.new_output("display_data", {"image/png": "x"})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("play()")])
    notebook.cells[0].outputs = [video]
    assert "no PNG beside it in 'play()'" in lint.videos_without_pictures(notebook)[0]
    notebook.cells[0].outputs.append(picture)
    assert lint.videos_without_pictures(notebook) == []


def test_badges_and_bootstrap_come_from_one_setting(monkeypatch):
    source = SOURCES[0]
    monkeypatch.setattr(build, "setting", lambda: ("", ""))
    assert "colab" not in build.build(source, False).cells[0].source
    monkeypatch.setattr(build, "setting", lambda: ("https://github.com/some/where.git", "v1"))
    first = build.build(source, False).cells[0].source
    assert f"/github/some/where/blob/v1/notebooks/{source.stem}.ipynb" in first
    assert first.startswith("[![Open in Colab](")
    assert 'REPOSITORY, REF = "https://github.com/some/where.git", "v1"' in build.bootstrap()


# A Python without dreamer_lite: editable installs hook in by path or by finder.
ALONE = """
import sys
sys.path = [p for p in sys.path if not (__import__("pathlib").Path(p) / "dreamer_lite").is_dir()]
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
"""


def run_alone(code: str, folder: Path) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    (folder / "cell.py").write_text(ALONE + code, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "cell.py"], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_a_notebook_alone_in_an_empty_folder_finds_the_package(tmp_path, monkeypatch):
    if not (ROOT / ".git").exists():
        pytest.skip("this copy of the code is no git repository")
    bare, empty = tmp_path / "bare.git", tmp_path / "empty"
    empty.mkdir()
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, bare], check=True)
    subprocess.run(["git", "-C", bare, "tag", "here"], check=True)
    monkeypatch.setattr(build, "setting", lambda: (bare.as_uri(), "here"))
    cells = lint.codes(build.build(SOURCES[0], False))
    code = cells[0].source + "\nimport dreamer_lite; print(dreamer_lite.__file__)"
    # A foreign folder of that name on the path of Python itself is not taken for the library.
    fake(empty, "A game of dreams")
    for _ in range(2):  # the second time the clone is there
        result = run_alone(code, empty)
        assert result.returncode == 0, result.stderr
        assert "device: cpu" in result.stdout
        assert str(empty / "dreamer-lite-code" / "dreamer_lite") in result.stdout


@pytest.mark.parametrize(
    ("repository", "ref", "expected"),
    [("", "main", ("", "")), ("https://a/b/", "", ("https://a/b", "main")),
     ("https://a/b", "v1", ("https://a/b", "v1"))],
)  # fmt: skip
def test_the_branch_is_main_unless_another_is_named(tmp_path, repository, ref, expected):
    text = f'[tool.dreamer_lite]\nrepository = "{repository}"\nref = "{ref}"\n'
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    assert build.setting(tmp_path) == expected


def test_an_address_that_needs_a_key_is_refused(tmp_path, monkeypatch):
    text = '[tool.dreamer_lite]\nrepository = "git@github.com:a/b.git"\nref = "main"\n'
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    with pytest.raises(build.BadSource, match=r"repository is 'git@.*' .* must be https://"):
        build.setting(tmp_path)
    monkeypatch.setattr(build, "setting", lambda: ("https://example.org/a/b", "main"))
    assert "colab" not in build.build(SOURCES[0], False).cells[0].source, "Colab opens GitHub only"


FOUND = "\nprint(next(filter(whole, near)).resolve())"  # and nothing imported


def fake(folder: Path, text: str = "Dreamer Lite", part: str = "worlds") -> Path:
    """A folder that may pass for a clone of ours; importing anything in it ends the process."""
    (folder / "dreamer_lite" / part).mkdir(parents=True)
    for name in ("__init__.py", "colab.py", f"{part}/__init__.py"):
        (folder / "dreamer_lite" / name).write_text(
            f'"""{text}"""\nimport os; os._exit(7)\n', encoding="utf-8"
        )
    return folder


def refuses(code: str, folder: Path, *words: str) -> None:
    """The cell ends in an ImportError with one sentence that has these words."""
    result = run_alone(code, folder)
    last = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1 and last.startswith("ImportError: "), result.stderr
    assert all(word in last for word in words), last


def cell(repository: str = "", ref: str = "main") -> str:
    """The bootstrap cell for this address."""
    text = (NOTEBOOKS / "bootstrap.py").read_text(encoding="utf-8")
    return text.replace('REPOSITORY, REF = "", ""', f'REPOSITORY, REF = "{repository}", "{ref}"')


def test_without_a_repository_it_says_what_to_do(tmp_path):
    refuses(cell(), tmp_path, "clone its repository, run `make lab` there.")


def test_only_our_own_library_is_found_above_a_notebook(tmp_path):
    """Not a folder of the same name, not half a clone, and nothing far away."""
    ours = fake(tmp_path / "ours")
    here = ours / "notebooks" / "solutions"
    here.mkdir(parents=True)
    assert run_alone(cell() + FOUND, here).stdout.strip() == str(ours)
    fake(here, "A game of dreams")  # nearer, on the path of Python itself, and foreign
    assert run_alone(cell() + FOUND, here).stdout.strip() == str(ours)
    far = here / "a" / "b"
    far.mkdir(parents=True)
    refuses(cell(), far, "dreamer_lite is not here")
    for number, (text, part) in enumerate([("A game", "worlds"), ("Dreamer Lite", "widgets")]):
        refuses(cell(), fake(tmp_path / str(number), text, part), "dreamer_lite is not here")
    (tmp_path / "name" / "dreamer_lite").mkdir(parents=True)  # Python takes it for a package
    refuses(cell(), tmp_path / "name", "dreamer_lite is not here")


def test_a_clone_that_is_not_whole_is_refused(tmp_path):
    address = fake(tmp_path / "nowhere").as_uri()
    half = fake(tmp_path / "here" / "dreamer-lite-code", part="widgets")
    refuses(cell(address), tmp_path / "here", str(half), "is no whole clone: delete it")


def test_what_git_says_is_passed_on(tmp_path, monkeypatch):
    refuses(cell((tmp_path / "gone").as_uri()), tmp_path, "Cannot fetch file://", "gone")
    assert not list(tmp_path.glob("dreamer-lite-code*"))
    monkeypatch.setenv("PATH", str(tmp_path))
    refuses(cell("https://example.org/a"), tmp_path, "To fetch https://example.org/a, install git")


def test_the_kernel_of_another_python_is_one_sentence(tmp_path):
    hide = "import sys; sys.modules['jax'] = None\n"
    for lines in (hide, "import sys; sys.version_info = (3, 10)\n"):
        refuses(lines + cell(), tmp_path, "choose the kernel of the clone's .venv", "`make lab`")


def test_every_notebook_is_a_python_script_to_jupyters_exporter(tmp_path):
    (source,) = build.sources(wanted=["03"])
    path = shutil.copy(build.places(source)[0][0], tmp_path)
    command = [sys.executable, "-m", "nbconvert", "--to", "script", "--log-level=WARN", path]
    subprocess.run(command, check=True, capture_output=True)
    (script,) = tmp_path.glob("*.py")
    text = script.read_text(encoding="utf-8")
    compile(text, str(script), "exec")
    assert "# # 03 · Predicting anything" in text


def test_a_live_picture_says_in_a_script_how_far_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DREAMER_LITE_FIGURES", str(tmp_path))
    draw = live()
    draw(Figure(), "a line, update 1 of 2")
    assert capsys.readouterr().out == "[picture] a line, update 1 of 2\n"
    assert not list(tmp_path.iterdir())  # only the last one has a name
    draw(Figure(), "a line, update 2 of 2", "curve")
    assert Image.open(tmp_path / "curve.png").info["Description"] == "a line, update 2 of 2"


def test_a_film_has_a_still_picture_and_words(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DREAMER_LITE_FIGURES", str(tmp_path))
    frames = np.zeros((6, 32, 48, 3), np.uint8)
    frames[3:] = (86, 180, 233)
    notebook.show_film(frames, "dark, then blue", "film", columns=2, rows=1)
    assert capsys.readouterr().out == "[picture] dark, then blue\n"
    still = Image.open(tmp_path / "film.png")
    assert still.info["Description"] == "dark, then blue" and still.size == (96, 32)
    colours = still.convert("RGB")
    assert sum(colours.getpixel((10, 10))) < 60 and colours.getpixel((90, 10))[2] > 200
    shown = []
    monkeypatch.setattr(notebook, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda *parts: shown.extend(parts))
    notebook.show_film(frames, "dark & blue", columns=2)
    film, picture = shown
    assert 'aria-label="dark &amp; blue"' in film.data and "data:video/mp4;base64," in film.data
    assert picture.alt == "dark & blue" and picture.data[:4] == b"\x89PNG"


def test_a_picture_has_its_alt_text_as_html_and_is_stored_as_an_image():
    """IPython 7.34, which Colab has, takes `_repr_mimebundle_` too, but knows no Image(alt=...)."""
    data, metadata = notebook.Picture(b"png", "one & two")._repr_mimebundle_()
    assert '<img alt="one &amp; two" src="data:image/png;base64,' in data["text/html"]
    assert metadata == {"image/png": {"alt": "one & two"}}
    cell = nbformat.v4.new_code_cell()
    cell.outputs = [nbformat.v4.new_output("display_data", dict(data), metadata=metadata)]
    executed = nbformat.v4.new_notebook(cells=[cell])
    build.drop_widgets(executed)
    (kept,) = cell.outputs
    assert kept.data == {"image/png": data["image/png"]} and kept.metadata == metadata


def test_a_film_is_also_kept_as_a_picture_that_moves(tmp_path, monkeypatch):
    frames = np.zeros((6, 32, 48, 3), np.uint8)
    frames[3:] = (86, 180, 233)
    monkeypatch.setenv("DREAMER_LITE_FIGURES", str(tmp_path))
    notebook.show_film(frames, "dark, then blue", "still")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["still.png"]
    notebook.show_film(frames, "dark, then blue", "both", fps=4, moving=True)
    moving = Image.open(tmp_path / "both_film.png")
    assert moving.info["Description"] == "dark, then blue" and moving.info["loop"] == 3
    times, last = [], None
    for i in range(moving.n_frames):  # frames that are the same are kept as one that lasts longer
        moving.seek(i)
        times.append(moving.info["duration"])
        last = moving.convert("RGB").getpixel((10, 10))
    assert sum(times) == 6 * 250 and last == (86, 180, 233)


def test_rare_colours_survive_in_pictures_but_not_at_the_cost_of_figures():
    ground = np.random.default_rng(0).integers(0, 40, (200, 200, 3)).astype(np.uint8)
    ground[:3, :3] = (204, 121, 167)
    small = Image.open(io.BytesIO(notebook.with_alt(Image.fromarray(ground), "a", True)))
    r, g, b = small.convert("RGB").getpixel((1, 1))
    assert abs(r - 204) < 20 and abs(g - 121) < 20 and abs(b - 167) < 20
    assert len(small.getcolors()) <= 64


# Where nothing draws Walker, a script says so and goes on; here warnings are errors otherwise.
may_say_not_drawn = pytest.mark.filterwarnings("default:.* is not drawn:UserWarning")


def claims_00(names: dict) -> None:
    model, control, baseline, again = names["lines"].values()
    assert (model < 0.5 * baseline).all()
    assert (control > 1.3 * model).all()
    planes = names["planes"]
    assert (again < 1.3 * model).all() and (again > 0.4 * model).all()
    assert names["least"] > 0.5 * names["found"], "most of the paddle's error is irreducible"
    assert max(planes, key=lambda name: planes[name][-1]) == "paddle"
    assert np.allclose(sum(planes.values()), model, rtol=1e-5)
    assert names["columns"]["all left"] < names["columns"]["all right"] - 4
    assert names["game"].score[names["ends"]].mean() > 3  # random play: 0.4
    assert names["imagined_steps"] / names["real_steps"] == 10
    film = names["film"]  # reality, imagined, difference: the real image changes as well
    assert (film[1, :, : film.shape[2] // 3] != film[5, :, : film.shape[2] // 3]).any()


def claims_01(names: dict) -> None:
    speed = list(names["speed"].values())
    assert speed[0] < 0.3 * speed[1] < 0.3 * speed[2]  # op by op, update by update, all at once
    losses, control = np.array(names["losses"]), np.array(names["control"])
    assert losses[-50:].mean() < 0.1 * names["baseline"]
    assert control[-50:].mean() > 0.8 * names["baseline"]
    assert names["old"].is_deleted() and not names["new"].is_deleted()


def claims_02(names: dict) -> None:
    right = names["right"]
    assert right["with resets"] == (1, 1)
    assert right["no resets"][0] > 0.9 and right["no resets"][1] < 0.3
    assert right["own action"][0] < 0.5 and right["another's actions"][0] < 0.5
    changed = names["changed"]  # of two sequences, the second with a reset at 6
    assert (changed[0] > 0).all() and (changed[1, :6] > 0).all() and (changed[1, 6:] == 0).all()
    ring = names["moments"]
    assert ring["number"].max() > 24  # it was overwritten
    for number, place in zip(ring["number"][4:], ring["place"][4:]):
        assert (np.diff(number[place], axis=0) == 1).all(), "a window across the write head"
    there = {f.example for f in worlds.families() if f.installed} - {"gym/CartPole-v1"}
    assert set(names["filmed"]) == there
    assert names["often"][: names["oldest"]].max() == 0
    assert names["often"][names["oldest"] + 10 : names["newest"]].min() > 8


# (part, a wrong text for it, the accuracy with resets in ordinary and in first time steps)
WRONG_PARTS_02 = [
    (
        "mask_reset",
        "def mask_reset(state, action, is_first):\n    return state, action\n",
        (1, 0.2),
    ),
    (
        "cut",
        "def cut(replay, place, world, classes):\n"
        "    steps = jax.tree.map(lambda ring: ring[place[1:], world], replay.steps)\n"
        "    stoch = jax.nn.one_hot(replay.stoch[place[0], world], classes)\n"
        "    start = State(replay.deter[place[0], world], stoch)\n"
        "    return Batch(steps, replay.action[place[1:], world], start)\n",
        (0.35, 1),
    ),
]


@pytest.mark.slow
@may_say_not_drawn
@pytest.mark.parametrize(("name", "text", "expected"), WRONG_PARTS_02, ids=["mask_reset", "cut"])
def test_notebook_02_measures_the_readers_parts(name, text, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("DREAMER_LITE_FAST", "1")
    (source,) = build.sources(wanted=["02"])
    code = source.read_text(encoding="utf-8")
    forced = f"dreamer = parts.load(force={{{name!r}: {text!r}}})"
    assert code.count("dreamer = parts.load()") == 3
    script = tmp_path / "forced.py"
    script.write_text(code.replace("dreamer = parts.load()", forced), encoding="utf-8")
    names = runpy.run_path(str(script), run_name="__main__")
    assert np.allclose(names["right"]["with resets"], expected, atol=0.1)


def claims_03(names: dict) -> None:
    two_hot, symlog, known, _, control = names["scores"].values()
    assert two_hot[1:].min() > 0.6 and two_hot[1:].min() > known[:3].max()
    assert known[3] > 0.8 and known[:3].max() < 0.5  # the largest task drowns the others
    assert symlog[2:].max() < 0.4  # the mean of logarithms is not the logarithm of the mean
    assert control.max() < 0.1
    parts = names["fractions"]
    assert parts["squared error,\nsizes known"][3] > 0.99 and parts["two-hot"][1:].min() > 0.15
    assert names["pairs"][-1] == 0 and abs(names["running"][-1]) > 0.1
    bias, ends = names["biases"], {k: loss[-1] for k, loss in names["descents"].items()}
    assert 0.1 < bias["straight-through"] < 0.6 and abs(bias["plain sample"] - 1) < 1e-6
    assert ends["straight-through"] < ends["score function"] < ends["plain sample"]
    assert np.ptp(names["descents"]["plain sample"]) < 1e-6  # no learning signal


def claims_04(names: dict) -> None:
    assert names["future"] == names["across"] == 0
    changes, signal, blocked = names["changes"], *list(names["maps_of_signal"].values())[1:]
    assert (changes.diagonal() > 0).all() and (signal.diagonal() > 0).all()
    assert blocked.max() == 0 and np.triu(signal, 1).max() == 0 == signal[10:, :10].max()
    judged = names["judged"]
    assert judged["deterministic only"].right > 0.7
    assert judged["deterministic only"].fullest < 0.65  # blur
    assert judged["stochastic only"].right < 0.2  # forgetting
    assert judged["RSSM"].right > 2 * judged["RSSM, another's state"].right
    assert judged["RSSM"].right > 1.5 * judged["mean image"].right
    surprise = names["surprise"]
    assert surprise[0] > 1.2 and surprise[7] > 0.4  # ln 6 and ln 2
    assert surprise[7] > 1.5 * surprise[[3, 4, 5, 6]].max()
    # The first bug: a reset one step late.
    maps = names["maps"]
    assert maps["healthy: embed"][10, :10].max() == 0 < maps["case 1: embed"][10, :10].max()
    assert names["kl"]["case 1"][11] > names["kl"]["healthy"][11] + 0.5


def claims_05(names: dict) -> None:
    alone, rep, heavy = (path[-1] for path in names["tugs"].values())  # A, B, prior
    assert abs(alone[0] - alone[1]) < 0.05, "without a reconstruction nothing keeps them apart"
    assert rep[0] > 0.97 and rep[1] < 0.03 and abs(rep[2] - 0.5) < 0.02
    assert abs(heavy[0] - 0.57) < 0.03 and abs(heavy[1] - 0.43) < 0.03
    networks, losses = list(names["wm"].NETWORKS), list(names["wm"].LOSSES)
    found = {
        (losses[i], networks[j]) for i, j in np.argwhere(names["stopped"]["each time step alone"])
    }
    assert found == {("dyn", "encoder"), ("dyn", "posterior"), ("rep", "prior")}
    in_time = names["stopped"]["16 time steps in sequence"]
    assert np.argwhere(in_time).tolist() == [[losses.index("rep"), networks.index("prior")]]
    assert (names["maps"]["each time step alone"] == 0).sum() > 3 * len(found), "missing paths"
    every, paddle = (
        {label: mean for label, (mean, _) in lines.items()} for lines in names["wrong"].values()
    )
    assert (every["open loop"] < 0.6 * every["repeat the last frame"]).all()
    assert (every["open loop"][:10] < 0.85 * every["mean image"][:10]).all()
    assert (paddle["another's actions"] > 1.4 * paddle["open loop"]).all()
    assert (paddle["another's actions"] > 0.9).all() and paddle["open loop"][0] < 0.3
    places = names["at"].world
    assert len(places) > 100 and len(set(places)) == len(places), "independent episodes"
    assert names["frames"].shape[0] == 60
    assert names["bug"].name == "own action instead of the previous one"  # of case 1
    yours, theirs = names["yours"], names["theirs"]
    assert yours.taken < 0.7 * yours.others and theirs.taken > 0.8 * theirs.others


def claims_06(names: dict) -> None:
    slopes = {pair: slope for pair, (slope, _) in names["depends"].items()}
    changed = {pair: fraction for pair, (_, fraction) in names["depends"].items()}
    assert slopes["h", "z"] == slopes["action", "z"] == 0 < changed["h", "z"]
    assert slopes["h", "h"] > 0 and slopes["action", "h"] > 0
    rollout, single, last, mean, other = (mean for mean, _ in names["lines"].values())
    assert (rollout[:10] < 0.7 * last[:10]).all() and (rollout[:5] < 0.85 * mean[:5]).all()
    assert (other[:5] > 1.5 * rollout[:5]).all()  # a rollout of this very moment
    assert rollout[-5:].mean() > 1.2 * single[-5:].mean()  # errors compound
    alive = {label: line[-1].mean() for label, line in names["alive"].items()}
    assert abs(alive["imagined, at random"] - alive["real, at random"]) < 0.15
    assert alive["imagined, follows the ball"] > 1.5 * alive["imagined, at random"]
    assert alive["real, follows the ball"] > 3 * alive["real, at random"]
    bars = {label: mean for label, (mean, _) in names["bars"].items()}
    assert bars["by its own rollouts"] > 1.1 * bars["by another moment's rollouts"]
    assert bars["by its own rollouts"] > 1.1 * bars["a plan at random"]
    assert bars["by its own rollouts"] <= bars["the best in hindsight"]
    walls = {label: np.array(values)[:, 0] for label, values in names["by_wall"].items()}
    assert (walls["random play"][1:] > 1.3 * walls["repeat the last frame"][1:]).all()
    assert (walls["both players"][1:] < 0.8 * walls["random play"][1:]).all()
    # the best-looking plan brings less than imagined; how much less takes the full training
    for _, _, (difference, interval) in names["gaps"].values():
        assert difference + interval > 0
    assert sum(difference for _, _, (difference, _) in names["gaps"].values()) > 0


def claims_07(names: dict) -> None:
    assert np.allclose(names["by_hand"], (0.873, 1.54))
    heard = names["heard"]
    assert heard[0.0][0] == 0 < heard[0.8][0] < heard[0.95][0] < heard[1.0][0]
    ends = names["ends"]  # mean and standard deviation by entropy coefficient
    assert abs(ends[0.0][0] - 0.6) < 0.1 and ends[0.0][1] < 0.25 < ends[0.3][1]
    assert names["fixed"]  # the world model
    caught = {label: mean for label, (mean, _) in names["caught"].items()}
    assert caught["imagination"] > 1.5 * caught["random play"]
    assert caught["scrambled actions"] < 1.5 * caught["random play"]
    final = names["final"]  # of the stored curves: (imagined, real)
    assert final["starved"][0] > final["starved"][1] + 0.2
    assert abs(final["well-trained"][0] - final["well-trained"][1]) < 0.1
    assert final["well-trained"][1] > final["starved"][1] + 0.2
    cold, plain, hot = (x.mean(0) for x in names["stored"].by_temperature["starved"][:, None])
    assert hot.mean() < plain.mean() and abs(cold.mean() - plain.mean()) < 0.05
    assert len(names["exploited"]) > 1


def claims_08(names: dict) -> None:
    largest = names["largest"]  # step after the shock, by decay and order
    assert largest[0.5]["Adam"] > 20 > 1.5 > largest[0.5]["LaProp"]
    for beta in (0.99, 0.999):  # the values in use: nearly the same
        assert 0.7 < largest[beta]["Adam"] / largest[beta]["LaProp"] < 1.4
    run = names["training"]
    assert names["dashboard"].state == "finished" and names["dashboard"].records == run.history
    assert run.history[-1]["updates"] == names["updates"]
    assert run.history[-1]["loss/recon"] < 0.6 * run.history[0]["loss/recon"]
    own = names["own"].values["return_mean"]  # stored, three seeds
    assert own.shape[1] == 3 and own[-4:].mean(0).min() > 3.5 > 1 > own[0].max()
    scores = {label: mean for label, (mean, _) in names["scores"].items()}
    assert scores.keys() == {"your agent", "ball hidden", "random play"}
    if names["updates"] >= 1500:
        assert scores["your agent"] > scores["random play"] + 1.5
        assert scores["your agent"] > scores["ball hidden"] + 1
    text = names["path"].read_text(encoding="utf-8")
    assert "def main()" in text and "[08] total_loss · mine" in text
    assert names["trial"].config.horizon == 30 and "horizon=30" in names["trial"].command()
    assert names["bug"].name == "the reward of the state itself instead of the next one"


def claims_09(names: dict) -> None:
    assert names["dashboard"].state == "finished"
    assert names["summary"]["updates"] == names["updates"]
    (plan,) = names["plans"]
    assert plan.updates == int(60 * names["minutes"] / plan.seconds_per_update)
    assert {file.name for file in names["run_folder"].iterdir()} >= {
        "agent.safetensors", "episode.mp4", "metrics.jsonl", "state", "summary.json",
    }  # fmt: skip
    assert names["config"] == plan.config and names["dashboard"].config == plan.config
    assert set(names["returns"]) == {"trained", "untrained", "random"}
    assert np.isfinite(list(names["returns"].values())).all()
    assert names["frames"].shape[0] == 30


def claims_10(names: dict) -> None:
    agent, random = names["returns"].values()
    assert agent.mean() > random.mean() + 4
    lines = {label: line[:, 0] for label, line in names["lines"].items()}
    dream, hedged, other, repeat, mean, again = lines.values()
    assert (dream[:10] < 0.6 * repeat[:10]).all() and (dream[:10] < 0.8 * mean[:10]).all()
    assert (hedged < dream * 1.02).mean() > 0.8  # the mean of several hedges
    assert (other[:10] > 1.5 * dream[:10]).all()
    assert (again > 0.8 * dream).all(), "the environment, run again, differs as much as a dream"
    assert names["steps"] == len(dream)
    assert names["late"][0.0][-1] < names["late"][1.0][-1] < names["late"][2.0][-1]
    misses = names["misses"]
    assert misses["its own dream"] < 0.9 * misses["always the mean"]
    assert misses["its own dream"] < 0.8 * misses["another moment's dream"]
    each = {label: np.median(values) for label, values in names["spread"].items()}
    bad = names["per_moment"][names["worst"]]
    assert bad > 2 * names["per_moment"][names["typical"]]
    assert each["worst"] > 0.8 * bad, "it was not the sampling noise"
    assert each["worst, environment"] < 0.5 * bad, "nor the environment"
    films = {file.stem for file in names["films"].folder.iterdir()}
    assert films == {"play", "beside_recorded", "beside_own", "worst", "median"}


def of_another_agent(source: Path, agent: Path, out: Path, tmp_path: Path) -> dict:
    """Run notebook 10 as a script for an agent of one's own."""
    text = source.read_text(encoding="utf-8")
    assert text.count('agent_name = "latest"') == 1
    text = text.replace('agent_name = "latest"', f"agent_name = {str(agent)!r}")
    text = text.replace('folder = ""', f"folder = {str(out)!r}")
    text = text.replace("episodes = 20 if FAST", "episodes = 2 if FAST")
    text = text.replace("games = 10", "games = 1").replace("count = 100", "count = 40")
    script = tmp_path / "of_another.py"
    script.write_text(text, encoding="utf-8")
    return runpy.run_path(str(script), run_name="__main__")


@pytest.mark.slow
@pytest.mark.parametrize(
    "world, size", [("dmc/walker-walk", "tiny"), ("atari/pong@200m", "pixels-cpu")]
)
def test_dreams_of_walker_and_atari_are_judged_too(world, size, tmp_path, monkeypatch, capsys):
    """Agents that have hardly learnt: every cell works, bodies are drawn from what is dreamt."""
    for family in worlds.families():
        if world.startswith(family.prefix) and not family.installed:
            pytest.skip(f"{world} needs {family.package}")
    if world.startswith("dmc/") and rendering.choose().backend is None:
        pytest.skip("neither EGL nor OSMesa is installed")
    monkeypatch.setenv("DREAMER_LITE_FAST", "1")
    small = dict(small_run.SETTINGS, depth=2, image_blocks=2)
    config = make_config(world, size, **small)
    list(runs.run(config, tmp_path / "run", training.Limits(updates=20)))
    (source,) = build.sources(wanted=["10"])
    names = of_another_agent(source, tmp_path / "run", tmp_path / "films", tmp_path)
    out, err = capsys.readouterr()
    assert "cannot be set to a moment: no film of reality" in out and "✗" not in out and err == ""
    assert names["settable"] is False and "unknown" not in names["table"]
    films = {file.stem for file in (tmp_path / "films").iterdir()}
    assert films == {"play", "beside_recorded", "worst", "median"}
    picture = names["dream"].draw(names["dream"].current.obs)
    assert picture.shape[0] >= 240 and picture.std() > 5, "a body, or a screen, not gauges"


def test_an_agent_whose_world_is_not_installed_is_refused_in_a_sentence(tmp_path, monkeypatch):
    (source,) = build.sources(wanted=["10"])
    monkeypatch.setattr(worlds.Family, "installed", property(lambda self: False))
    monkeypatch.setenv("DREAMER_LITE_FAST", "1")
    world = worlds.make("minatar/breakout")
    config = make_config("minatar/breakout", **small_run.SETTINGS)
    params = make_agent(config, world.obs_space, world.action_space).init(0)
    config = dataclasses.replace(config, world="dmc/walker-walk")
    agents.save_agent(tmp_path / "a.safetensors", params, config, {"updates": 1})
    with pytest.raises(ValueError, match=r"dmc/walker-walk needs the package dm_control: run pip"):
        of_another_agent(source, tmp_path / "a.safetensors", tmp_path / "films", tmp_path)


def claims_11(names: dict) -> None:
    cut, leaking = (line[8] for line in names["estimates"].values())
    assert cut == 0 < 0.4 < leaking < 0.6
    favourite = {k: line[-50:].max(1).mean() for k, line in names["probabilities"].items()}
    assert 0.38 < favourite["clip 0.2"] < 0.45 < favourite["clip 0.5"] < 0.57
    assert favourite["no clip"] > 0.95
    one, two = names["bias"].values()
    np.testing.assert_allclose([one[1], one[-1]], [0.85, 1.82], atol=0.03)
    assert np.abs(two).max() < 0.03
    live = {name: curve.returns[-1] for name, curve in names["live"].items()}
    assert all(len(seeds) == 3 for seeds in live.values())
    for agent in ("PPO", "Q-learning"):
        assert (live[agent] > 1.2).all()  # each of three seeds; random play: 0.4
        assert live[f"{agent}, control"].mean() < 0.8
    assert names["measured"]["slow Breakout"] >= names["STEP"]


CLAIMS = {
    "00_the_dream": claims_00,
    "01_jax": claims_01,
    "02_worlds_and_replay": claims_02,
    "03_predicting_anything": claims_03,
    "04_rssm": claims_04,
    "05_world_model": claims_05,
    "06_imagination": claims_06,
    "07_actor_critic": claims_07,
    "08_dreamer": claims_08,
    "09_full_run": claims_09,
    "10_dreams_vs_reality": claims_10,
    "11_without_a_model": claims_11,
}


@pytest.mark.slow
@may_say_not_drawn
@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_the_source_runs_as_a_script_and_its_claims_hold(source, monkeypatch, capsys):
    monkeypatch.setenv("DREAMER_LITE_FAST", "1")
    monkeypatch.setenv("DREAMER_LITE_STRICT", "1")
    names = runpy.run_path(str(source), run_name="__main__")
    out, err = capsys.readouterr()
    assert "[picture]" in out and "✗" not in out and err == ""
    CLAIMS[source.stem](names)


# Half of what `make test` would take, were the notebooks that train larger models not slow tests.
LIGHT = ("00", "01", "02", "03", "10")


@pytest.mark.parametrize(
    "source",
    [pytest.param(s, marks=[] if s.stem[:2] in LIGHT else pytest.mark.slow) for s in SOURCES],
    ids=NAMES,
)
def test_run_all_on_an_untouched_student_copy_finishes(source, tmp_path):
    path = shutil.copy(build.places(source)[0][0], tmp_path)
    notebook = nbformat.read(path, 4)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "DREAMER_LITE_FAST": "1",
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),  # pyright: ignore
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    environment.pop("DREAMER_LITE_STRICT", None)
    # The script above shows what is learnt; here a few updates show that every cell runs.
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    parameters.source += "\nupdates = behaviour_updates = pendulum_updates = 60"
    if source.stem == "09_full_run":  # its agent is the largest, and an untrained one will do
        changes = f"\nsize, changes, updates = 'tiny', {small_run.SETTINGS!r}, 20"
        parameters.source += changes
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute(env=environment)
    outputs = [output for cell in lint.codes(notebook) for output in cell.outputs]
    said = "".join(output.get("text", "") for output in outputs)
    stubs = sum(cell.source.count(build.STUB) for cell in notebook.cells)
    assert said.count("still the stub") == said.count("the COURSE's function") == stubs
    assert lint.builds_nothing(notebook) == (stubs == 0)
    assert lint.errors_in_outputs(notebook) == []
    cells = lint.codes(notebook)
    images = [sum("image/png" in out.get("data", {}) for out in cell.outputs) for cell in cells]
    assert any(images)
    # A live picture is redrawn in its place.
    assert all(n == 1 for c, n in zip(cells, images) if "= live()" in c.source)


@may_say_not_drawn
@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_student_notebooks_export_to_python(source, tmp_path, monkeypatch, capsys):
    script = tmp_path / "exported.py"
    subprocess.run(
        [sys.executable, "-m", "jupytext", "--quiet", "--to", "py:percent", "-o", script,
         build.places(source)[0][0]],
        check=True,
    )  # fmt: skip
    compile(script.read_text(encoding="utf-8"), str(script), "exec")
    if source.stem == "02_worlds_and_replay":
        monkeypatch.setenv("DREAMER_LITE_FAST", "1")
        monkeypatch.delenv("DREAMER_LITE_STRICT", raising=False)
        runpy.run_path(str(script), run_name="__main__")
        assert re.search(r"still the stub", capsys.readouterr().out)


NO_RENDERER = {"PYOPENGL_PLATFORM": "none", "MUJOCO_GL": "", "DISPLAY": ""}


def test_notebook_02_runs_where_nothing_draws_walker(tmp_path):
    """As on a machine without EGL and OSMesa: one sentence says so, and no film is shown."""
    words = os.environ | NO_RENDERER | {"PYTHONPATH": str(ROOT), "DREAMER_LITE_FAST": "1"}
    words["JAX_COMPILATION_CACHE_DIR"] = str(small_run.cache())
    (source,) = build.sources(wanted=["02"])
    result = subprocess.run(
        [sys.executable, source], cwd=tmp_path, env=words, capture_output=True, text=True
    )
    assert result.returncode == 0 and result.stderr == "", result.stderr
    if "needs the package dm_control" not in result.stdout:
        assert result.stdout.count("dmc/walker-walk is not drawn: No image can be drawn") == 1
        assert "[picture] Walker" not in result.stdout
