"""`make publish`: what the branch `colab` holds; and the workflows that run it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "notebooks"))

import build  # noqa: E402
import lint  # noqa: E402
import publish  # noqa: E402

ADDRESS = "https://github.com/some-one/my.course"
COLAB = "https://colab.research.google.com/github/some-one/my.course/blob/colab/notebooks"
BLOB = "https://github.com/some-one/my.course/blob/colab"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this copy is no clone")


def run_in(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """A Python with the library of this folder."""
    library = os.environ | {"PYTHONPATH": str(folder)}
    line = [sys.executable, "-B", *words]
    return subprocess.run(line, cwd=folder, env=library, capture_output=True, text=True)


def command(*words: str) -> subprocess.CompletedProcess:
    """What `make publish` runs; a test sees to it that this is so."""
    return run_in(ROOT, "notebooks/publish.py", *words)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """The folder that is published, for an address as a browser and git give it."""
    out = tmp_path_factory.mktemp("publish") / "out"
    result = command("--repository", f"{ADDRESS}.git/", "--out", str(out))
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{out} is what the branch colab shall hold.\n"
    return out


def pairs(published: Path) -> list[tuple[nbformat.NotebookNode, nbformat.NotebookNode, bool]]:
    """(ours, published, solved) of every notebook."""
    files = [place for source in build.sources() for place in build.places(source)]
    return [
        (nbformat.read(path, 4), nbformat.read(published / path.relative_to(ROOT), 4), solved)
        for path, solved in files
    ]


@needs_git
def test_badges_bootstrap_and_links_name_the_repository_and_outputs_stay(published):
    kept = 0
    for old, new, solved in pairs(published):
        folder = f"{COLAB}/solutions" if solved else COLAB
        assert f"]({folder}/" in new.cells[0].source and "colab-badge" in new.cells[0].source
        first = lint.codes(new)[0].source
        assert f'REPOSITORY, REF = "{ADDRESS}", "colab"' in first
        outputs = [[cell.outputs for cell in lint.codes(nb)] for nb in (old, new)]
        assert outputs[0] == outputs[1]
        kept += any(outputs[1])
        code = [[cell.source for cell in lint.codes(nb)[1:]] for nb in (old, new)]
        assert code[0] == code[1]
    assert kept > 6, "tests of the notebooks say which have none"


@needs_git
def test_published_notebooks_have_no_relative_links(published):
    seen = set()
    for old, new, _ in pairs(published):
        for before, after in zip(lint.texts(old), lint.texts(new)):
            for link in re.findall(r"\]\(([\w./-]+\.\w+(?:#[\w-]+)?)\)", before):
                assert f"]({link})" not in after, link
        seen |= set(re.findall(r"\]\((https://(?:github|colab)\S*/some-one/\S+?)\)", str(new)))
    assert f"{BLOB}/dreamer_lite/training/replay.py" in {*seen, *links_of(published, "02")}
    for link in seen:
        path = re.sub(r"^https://\S+?/blob/colab/|#.*", "", link)
        assert (published / path).is_file(), link


def links_of(published: Path, number: str) -> list[str]:
    """Links of one published notebook to files on GitHub."""
    (path,) = (published / "notebooks").glob(f"{number}_*.ipynb")
    return re.findall(rf"\(({re.escape(BLOB)}\S+?)\)", str(nbformat.read(path, 4)))


@needs_git
def test_the_published_readme_shows_badges_first(published):
    text = (published / "README.md").read_text(encoding="utf-8")
    first = text[: text.index("## Results")]
    for source in build.sources():
        assert f"]({COLAB}/{source.stem}.ipynb)" in first
    assert first.count("colab-badge.svg") == 1 and "fork this" not in first
    ours = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(publish.PARAGRAPH, ours)) == 1
    assert "workflows under *Actions*" in ours[: ours.index("## Results")]


@needs_git
def test_what_is_published_is_what_git_tracks_without_workflows(published):
    assert not (published / ".github").exists() and not (published / ".git").exists()
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    ours = {name for name in names.stdout.splitlines() if not name.startswith(".github/")}
    theirs = {str(p.relative_to(published)) for p in published.rglob("*") if p.is_file()}
    assert theirs == {name for name in ours if (ROOT / name).exists()}


@needs_git
def test_what_is_published_is_built_from_its_sources_and_passes_its_tests(published):
    check = ("notebooks/build.py", "check")
    assert run_in(published, *check).stderr == run_in(ROOT, *check).stderr
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_notebooks.py")
    result = run_in(published, *tests, "-k", "badges or without_a_repository")
    assert result.returncode == 0, result.stdout + result.stderr


@needs_git
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "REPOSITORY is '': it must be https://github.com/OWNER/NAME, "),
        (("--repository", "git@github.com:a/b.git"), "REPOSITORY is 'git@github.com:a/b.git': it "),
        (("--repository", "https://gitlab.com/a/b"), "REPOSITORY is 'https://gitlab.com/a/b': it "),
        (("--repository", "https://github.com/a"), "REPOSITORY is 'https://github.com/a': it "),
        (("--repository", 'https://github.com/a/b"\nx'), "REPOSITORY is "),
        (("--repository", ADDRESS), "Say where: OUT=DIR, a new or an empty folder."),
        (("--repository", ADDRESS, "--out", "docs"), "docs is there already: OUT must be a new or"),
        (("--repository", ADDRESS, "--out", "Makefile"), "Makefile is there already: OUT must be"),
        (("--repository", ADDRESS, "--ref", "a b"), "REF is 'a b': it must be the name of a "),
    ],
)  # fmt: skip
def test_bad_input_is_answered_by_a_sentence(words, expected):
    result = command(*words)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith(expected) and result.stderr.count("\n") == 1


def test_a_folder_without_git_is_refused(tmp_path):
    with pytest.raises(publish.Refused, match="is no clone: publishing copies what git tracks"):
        publish.publish(tmp_path, ADDRESS, tmp_path / "out")


def test_a_readme_without_its_place_for_badges_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("# Mine\n", encoding="utf-8")
    with pytest.raises(publish.Refused, match=r"README\.md has 0 places that match"):
        publish.replaced(tmp_path / "README.md", publish.PARAGRAPH, "x")


def test_make_runs_this_command(tmp_path):
    (tmp_path / ".ready").touch()
    line = [
        "make",
        "-n",
        "--no-print-directory",
        "publish",
        f"VENV={tmp_path}",
        f"REPOSITORY={ADDRESS}",
        "OUT=x",
    ]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    wanted = f'notebooks/publish.py --repository "{ADDRESS}" --out "x" --ref "colab"'
    assert result.stdout.splitlines()[-1] == f'"{tmp_path}/bin/python" {wanted}'


# The workflows. actionlint, which CI runs, knows more rules; these need no network.


def workflow(path: Path) -> dict:
    text = path.read_text(encoding="utf-8")
    return yaml.load(text, Loader=yaml.BaseLoader)  # as text: YAML takes `on` for true


def steps(path: Path) -> list[dict]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


def test_there_are_three_workflows_with_these_triggers():
    triggers = {path.stem: set(workflow(path)["on"]) for path in WORKFLOWS}
    assert triggers == {
        "tests": {"push", "pull_request"},
        "publish": {"push", "workflow_dispatch"},
        "colab-image": {"workflow_dispatch"},
    }


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_have_the_right_keys(path):
    whole = workflow(path)
    assert {"name", "on", "permissions", "jobs"} <= set(whole)
    assert set(whole) <= {"name", "on", "permissions", "jobs", "concurrency"}
    assert whole["permissions"] == {"contents": "read"}, "a job asks for more where it needs more"
    known = set(
        "name if needs runs-on timeout-minutes permissions environment container steps".split()
    )
    for job in whole["jobs"].values():
        assert {"runs-on", "timeout-minutes", "steps"} <= set(job) <= known
        needs = job.get("needs", [])
        assert ({needs} if isinstance(needs, str) else set(needs)) <= set(whole["jobs"])
        assert job["runs-on"] in ("ubuntu-24.04", "${{ inputs.runner }}")
    for step in steps(path):
        assert ("uses" in step) != ("run" in step)
        assert set(step) <= {"id", "name", "if", "uses", "with", "run", "env", "working-directory"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_use_actions_of_github_by_their_major(path):
    for step in steps(path):
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/x@v1"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_lines_of_workflows_are_bash_and_hold_no_expressions(path):
    """What somebody typed reaches a shell through the environment only, never as part of a line."""
    for step in steps(path):
        if "run" in step:
            assert "${{" not in step["run"], step
            result = subprocess.run(
                ["bash", "-n"], input=step["run"], capture_output=True, text=True
            )
            assert result.returncode == 0, result.stderr
            for word in re.findall(r"^(\.ci/\S+)|(notebooks/\w+\.py)", step["run"], re.M):
                assert all((ROOT / name).exists() for name in word if name)


def test_only_the_default_branch_is_published_and_only_to_colab():
    jobs = workflow(ROOT / ".github/workflows/publish.yml")["jobs"]
    colab = jobs["colab"]
    assert colab["if"] == "github.ref_name == github.event.repository.default_branch"
    assert colab["permissions"] == {"contents": "write"}
    pages = jobs["pages"]
    assert pages["needs"] == "colab" and pages["if"] == "github.event.repository.has_pages"
    assert pages["permissions"] == {"pages": "write", "id-token": "write"}
    lines = "\n".join(step.get("run", "") for step in colab["steps"])
    (target,) = re.findall(r"make publish (.*)", lines)
    assert target.startswith('REPOSITORY="$GITHUB_SERVER_URL/$GITHUB_REPOSITORY" OUT=')
    (pushed,) = re.findall(r"(?s)git push .*?$(?!.*\\\n)", lines)
    assert pushed.split()[-1] == "colab" and "--force" in pushed
    assert (
        "colab" in workflow(ROOT / ".github/workflows/tests.yml")["on"]["push"]["branches-ignore"]
    )
