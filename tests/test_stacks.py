"""Every notebook, opened alone, and as a script, on Colab's versions and on the newest ones."""

import contextlib
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import small_run
import stacks
from stacks import Stack, say

sys.path.insert(0, str(stacks.ROOT / "notebooks"))

import build
import lint

SOURCES = build.sources()
NAMES = [source.stem for source in SOURCES]
STACKS = {stack.name: stack for stack in stacks.stacks()}
EXECUTE = "from nbclient.cli import main; main()"
SECONDS = 1800  # a whole notebook in fast mode, on a busy machine

of_a_notebook = pytest.mark.parametrize("source", SOURCES, ids=NAMES)
on_each_stack = pytest.mark.parametrize("stack", STACKS.values(), ids=list(STACKS))


def test_the_constraints_are_those_that_the_metadata_admits():
    """The versions in `test_house.COLAB` and those of the stack are the same."""
    import test_house

    pins = dict(line.split("==") for line in STACKS["colab"].wanted)
    assert {name: pins[name] for name in test_house.COLAB} == test_house.COLAB


def test_an_interpreter_that_does_not_run_is_none(tmp_path, monkeypatch):
    elsewhere = "3.12" if sys.version_info[:2] == (3, 13) else "3.13"
    shim = tmp_path / f"python{elsewhere}"
    shim.write_text("#!/bin/sh\necho command not found >&2; exit 127\n", encoding="utf-8")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    stacks.interpreter.cache_clear()
    assert stacks.interpreter(elsewhere) is None
    assert "no Python 3.13 runs here" in stacks.why_not(STACKS["colab"])
    here = ".".join(map(str, sys.version_info[:2]))
    (tmp_path / f"python{here}").symlink_to(sys.executable)
    stacks.interpreter.cache_clear()
    assert stacks.interpreter(here) == tmp_path / f"python{here}"
    stacks.interpreter.cache_clear()


def test_what_moved_is_seen():
    before = {"jax": "1", "numpy": "2", "flax": "3"}
    assert stacks.moved(before, before | {"mediapy": "1"}) == {}
    assert stacks.moved(before, {"jax": "1", "numpy": "3"}) == {
        "numpy": ("2", "3"),
        "flax": ("3", None),
    }


def test_a_newcomer_brings_nothing_along(tmp_path, monkeypatch):
    for name in ("PYTHONPATH", "JAX_PLATFORMS", "DREAMER_LITE_STRICT", "VIRTUAL_ENV", "MAKEFLAGS"):
        monkeypatch.setenv(name, "x")
    found = stacks.clean(tmp_path / "home")
    assert not {"PYTHONPATH", "JAX_PLATFORMS", "VIRTUAL_ENV", "MAKEFLAGS"} & set(found)
    assert found["HOME"] == str(tmp_path / "home") and not any("DREAMER" in n for n in found)


@pytest.fixture
def base(stack: Stack) -> Path:
    """The stack's environment; skips where it cannot be built."""
    reason = stacks.why_not(stack)
    if reason:
        pytest.skip(reason)
    return stacks.environment(stack)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> str:
    """The address of a bare clone."""
    return stacks.bare_clone(tmp_path_factory.mktemp("repository") / "dreamer-lite.git")


def published(path: Path, to: Path, repository: str) -> nbformat.NotebookNode:
    """The notebook at `path`, alone in the new folder `to`, with the repository's address in it."""
    notebook = nbformat.read(path, 4)
    blank = r'REPOSITORY, REF = ".*", ".*"'
    (cell,) = (cell for cell in lint.codes(notebook) if re.search(blank, cell.source))
    cell.source = re.sub(blank, f'REPOSITORY, REF = "{repository}", "stranger"', cell.source)
    for other in lint.codes(notebook):
        other.outputs = []
    to.mkdir()
    nbformat.write(notebook, to / path.name)
    return notebook


def run(command: list[str], folder: Path, words: dict[str, str]) -> subprocess.CompletedProcess:
    """Run in `folder` with the variables `words` alone; AssertionError with the end of stderr."""
    start = time.monotonic()
    result = subprocess.run(
        command, cwd=folder, env=words, capture_output=True, text=True, timeout=SECONDS,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    say(f"{folder.name}: status {result.returncode} after {time.monotonic() - start:.0f} s")
    tail = re.sub(r"\x1b\[[\d;]*m", "", f"{result.stdout[-1500:]}\n{result.stderr[-3500:]}")
    if result.returncode:
        say(tail)  # now, not after hours
    assert result.returncode == 0, tail
    return result


def open_alone(
    place: Path, folder: Path, name: str, words: dict[str, str]
) -> nbformat.NotebookNode:
    """Execute the notebook NAME.ipynb in `folder` by the environment `place`; its outputs."""
    command = [stacks.python(place), "-c", EXECUTE, f"{name}.ipynb", "--inplace"]
    run([*command, f"--timeout={SECONDS}", "--kernel_name=python3"], folder, words)
    executed = nbformat.read(folder / f"{name}.ipynb", 4)
    assert (folder / "dreamer-lite-code" / "dreamer_lite").is_dir(), "the bootstrap cell clones"
    assert lint.errors_in_outputs(executed) == []
    return executed


def said(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in lint.codes(notebook) for output in cell.outputs]
    return "".join(output.get("text", "") for output in outputs)


@pytest.mark.slow
@on_each_stack
@of_a_notebook
def test_a_student_opens_it_alone(stack, base, source, repository, tmp_path, record_property):
    name = source.stem
    folder = tmp_path / f"{stack.name}-{name}"
    notebook = published(build.places(source)[0][0], folder, repository)
    words = stacks.fast(tmp_path / "home", stack)
    if stack.is_colab:
        words = stacks.as_colab(tmp_path / "home", words)
    before = stacks.versions(base)
    with stacks.copy(base) as place:
        executed = open_alone(place, folder, name, words)
        after = stacks.versions(place)
    text = said(executed)
    assert f"jax {before['jax']}, flax {before['flax']}" in text
    assert stacks.moved(before, after) == {}
    if stack.is_colab:
        assert "Installing" in text and "mediapy" in after and "mediapy" not in before
        assert before["ipywidgets"] == "7.7.1"
    else:
        assert after == before
    stubs = sum(cell.source.count(build.STUB) for cell in notebook.cells)
    assert text.count("still the stub") == text.count("the COURSE's function") == stubs
    outputs = [output for cell in lint.codes(executed) for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    for picture in pictures:
        assert len(picture.metadata["image/png"]["alt"]) > 20, "a picture says what it shows"
    record_property(f"{stack.name} stack", f"Python {stack.python}, {stacks.in_words(before)}")


@pytest.mark.slow
@pytest.mark.parametrize("stack", [STACKS["colab"]], ids=["colab"])
def test_a_full_run_is_copied_to_drive(stack, base, repository, tmp_path):
    """Notebook 09 with a small agent, and Drive as a folder of the fake."""
    (source,) = build.sources(wanted=["09"])
    folder = tmp_path / "drive-08"
    notebook = published(build.places(source)[0][0], folder, repository)
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    parameters.source += (
        f"\nsize, changes, updates, use_drive = 'tiny', {small_run.SETTINGS!r}, 20, True"
    )
    nbformat.write(notebook, folder / f"{source.stem}.ipynb")
    home = tmp_path / "home"
    with stacks.copy(base) as place:
        open_alone(place, folder, source.stem, stacks.as_colab(home, stacks.fast(home, stack)))
    (mirror,) = (home / "drive" / "MyDrive" / "dreamer-lite").iterdir()
    names = {file.name for file in mirror.iterdir()}
    assert {"metrics.jsonl", "replay-0000"} < names and names & {"slot-0", "slot-1"}
    assert {"agent.safetensors", "agent.json", "summary.json", "episode.mp4"} < names


INSTALL = (
    "from dreamer_lite.course import colab; "
    "colab.install(colab.requirements('atari', 'dmc', 'gym'))"
)


@pytest.fixture(scope="module")
def furnish(tmp_path_factory):
    """A function: the stack with what a notebook's set-up adds to it, one for all scripts."""
    made = {}
    with contextlib.ExitStack() as kept:

        def furnished(stack: Stack, base: Path) -> Path:
            if stack.name not in made:
                made[stack.name] = kept.enter_context(stacks.copy(base))
                words = stacks.clean(tmp_path_factory.mktemp("home"))
                run([stacks.python(made[stack.name]), "-c", INSTALL], stacks.ROOT, words)
            return made[stack.name]

        yield furnished


@pytest.mark.slow
@on_each_stack
def test_what_is_installed_for_scripts_moves_nothing(stack, base, furnish):
    before, after = stacks.versions(base), stacks.versions(furnish(stack, base))
    assert stacks.moved(before, after) == {}
    assert {"mediapy", "mujoco", "dm-control", "pygame"} <= set(after)


@pytest.mark.slow
@on_each_stack
@pytest.mark.parametrize("solved", [False, True], ids=["student", "solution"])
@of_a_notebook
def test_it_runs_as_a_script(stack, base, source, solved, furnish, repository, tmp_path):
    """`jupytext --to py`, then plain `python`, in an empty folder."""
    place, name = furnish(stack, base), source.stem
    folder = tmp_path / f"{stack.name}-{name}{'-solution' * solved}.py"
    path = build.places(source)[solved][0]
    notebook = published(path, folder, repository)
    words = stacks.fast(tmp_path / "home", stack)
    if solved:
        words["DREAMER_LITE_STRICT"] = "1"
    export = ["-m", "jupytext", "--quiet", "--to", "py", f"{name}.ipynb"]
    run([stacks.python(place), *export], folder, words)
    result = run([stacks.python(place), f"{name}.py"], folder, words)
    assert "[picture]" in result.stdout and result.stderr == ""
    stubs = sum(cell.source.count(build.STUB) for cell in notebook.cells)
    assert result.stdout.count("still the stub") == stubs
    assert not solved or "✗" not in result.stdout
