"""The notebook factory: src/NN_name.py -> NN_name.ipynb (student) and solutions/NN_name.ipynb.

    python notebooks/build.py build          write both notebooks of every source
    python notebooks/build.py check          say what is not up to date; exit status 1 if anything
    python notebooks/build.py lint           rules of form (lint.py); exit status 1 if any is broken
    python notebooks/build.py run 02 03      execute these solutions in full and keep their outputs
    python notebooks/build.py course DIR 02  nbgrader's course folder, an assignment a notebook

Sources are jupytext py:percent and run as scripts. What all notebooks share is stamped here: the
bootstrap (bootstrap.py), bars to the neighbours, Colab badges, metadata, cell ids, and figures:
`![](figure:NAME)` becomes the picture assets/figures/NAME.png with the alt text it carries, as data
inside the cell, because Colab shows neither attachments nor SVG in text cells. Exercises and checks
carry nbgrader's metadata: a check is worth one point, whatever it asks for.

An exercise tagged `part:RSSM.prior` is a part of the reader's agent: `build` writes its solution
into dreamer.py, the single-file agent. A fold below the hints of each exercise has its solution;
the copies for a graded class do not have these folds.
"""

import argparse
import base64
import copy
import hashlib
import itertools
import os
import re
import sys
import tempfile
import textwrap
import time
import tomllib
from pathlib import Path

import jupytext
import lint
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))  # the library of this clone, also where another is installed

from dreamer_lite.course import marks  # noqa: E402

FOLDED = {"bootstrap", "setup", "plumbing"}  # code that a page does not show at first
LARGEST = 1_000_000  # bytes of a notebook with outputs

BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"
NO_OUTPUTS = "has no outputs of its present code: run build.py run {}."
STUB = "raise NotImplementedError  # your lines here"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    # With these `jupyter nbconvert --to script` writes a .py; kernels add the rest.
    "language_info": {
        "name": "python",
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
    "colab": {"provenance": [], "toc_visible": True},
}
COURSE = f'''\
# How nbgrader grades Dreamer Lite: written by `notebooks/build.py course`, yours to change.
import os

# Where nbgrader runs a notebook, a failed check raises, which costs its point.
os.environ["DREAMER_LITE_FAST"] = "1"  # it trains for seconds; the checks are the same
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # a word from a compiler would cost a point too
c = get_config()
c.CourseDirectory.course_id = "dreamer_lite"
c.ClearSolutions.code_stub = {{"python": "{STUB}"}}
c.Execute.timeout = 600  # seconds a cell; nbgrader's own 30 are too few to compile in
c.OverwriteCells.add_missing_cells = True  # a check that was deleted is run all the same
'''


class BadSource(ValueError):
    """A source that cannot be built; the message is one sentence."""


def sources(here: Path = HERE, wanted: list[str] | None = None) -> list[Path]:
    """The sources, all or those whose names begin with one of `wanted`. Raises BadSource."""
    every = sorted((here / "src").glob("[0-9][0-9]_*.py"))
    chosen = [path for path in every if not wanted or path.stem.startswith(tuple(wanted))]
    if not chosen:
        names = ", ".join(path.stem for path in every) or "none"
        raise BadSource(
            f"No source begins with {' or '.join(wanted or ['NN_'])}: there are {names}."
        )
    return chosen


def setting(root: Path = ROOT) -> tuple[str, str]:
    """(repository, ref) from [tool.dreamer_lite] in pyproject.toml; both empty if not published.

    Raises BadSource for an address that a student cannot fetch without a key.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    table = project["tool"]["dreamer_lite"]
    repository = table["repository"].rstrip("/")
    if repository and not repository.startswith("https://"):
        raise BadSource(f"repository is {repository!r} in pyproject.toml: it must be https://...")
    return (repository, table.get("ref") or "main") if repository else ("", "")


def build(
    source: Path,
    solved: bool,
    figures: bool = True,
    marked: bool = False,
    addresses: bool = True,
) -> NotebookNode:
    """The notebook of a source, without outputs. Raises BadSource in one sentence.

    A marked one keeps the regions of solutions and their marks, for nbgrader to clear. Without
    `addresses`, relative links stay so, also where a repository is set: for a site of its pages.
    """
    notebook = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    names = [path.stem for path in sources(source.parents[1])]
    seen: dict[str, int] = {}
    if not marked:
        add_folds(notebook, source)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        about = grading(cell.source, tags, source)
        cell.metadata = nbformat.from_dict(({"tags": tags} if tags else {}) | about)
        if cell.cell_type == "markdown":
            if "badges" in tags:
                cell.source = bar(source.stem, names, solved)
            cell.source = absolute(cell.source, solved) if addresses else cell.source
            cell.source = embed(cell.source, source) if figures else cell.source
        else:
            cell.outputs, cell.execution_count = [], None
            if "bootstrap" in tags:
                cell.source = f"{bootstrap()}\n{cell.source}"
            if "parameters" in tags or FOLDED.intersection(tags):
                cell.metadata["cellView"] = "form"
            if FOLDED.intersection(tags):
                cell.metadata["jupyter"] = {"source_hidden": True}
            if not marked:
                edition = solution if solved else student
                cell.source = edition(cell.source, source)
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    notebook.metadata = nbformat.from_dict(copy.deepcopy(METADATA))
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return notebook


def grading(code: str, tags: list[str], source: Path) -> dict[str, dict]:
    """What nbgrader must know of a cell: an exercise is a solution, a check is worth one point.

    The ids come from the check, `checks.gru(my_gru)`: `gru` and `check_gru`. Raises BadSource.
    """
    exercise, check = "exercise" in tags, "check" in tags
    if not exercise and not check:
        return {}
    pattern = r"^def (\w+)" if exercise else r"\bchecks\.(\w+)\((\w+)\)"
    names = re.findall(pattern, code, re.M)
    if not names or (check and len(names) > 1):
        what = "an exercise defines a function" if exercise else "a check is checks.NAME(function)"
        raise BadSource(f"{source.name}: {what}, in the cell of: {code.strip().splitlines()[0]}")
    name = part_of(tags) or names[0] if exercise else names[0][0]
    about: dict = {"schema_version": 3, "grade": check, "solution": exercise, "locked": check}
    name = re.sub(r"\W", "_", name)
    about |= {"grade_id": name if exercise else f"check_{name}", "task": False}
    return {"nbgrader": about | ({"points": 1} if check else {})}


def part_of(tags: list[str]) -> str:
    """The part of the reader's agent that an exercise is tagged with, or ""."""
    return next((tag.removeprefix("part:") for tag in tags if tag.startswith("part:")), "")


def add_folds(notebook: NotebookNode, source: Path) -> None:
    """Below the hints of each exercise, its solution in a fold."""
    for text, cell in itertools.pairwise(notebook.cells):
        if "exercise" in lint.tags_of(cell) and text.cell_type == "markdown":
            code = solution(cell.source, source).strip()
            fold = f"<details><summary>Solution</summary>\n\n```python\n{code}\n```\n\n</details>"
            text.source = f"{text.source.rstrip()}\n{fold}"


def solved_parts(source: Path) -> dict[str, str]:
    """{part: the text of its solution} of the exercises of a source. Raises BadSource."""
    notebook = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    found = {}
    for cell in notebook.cells:
        if name := part_of(lint.tags_of(cell)):
            found[name] = solution(cell.source, source).strip()
    return found


def single_file() -> str:
    """dreamer.py with the solutions of the notebooks in the places of its parts.

    Raises BadSource for a part that has no place there, or whose notebook is another.
    """
    chunks = marks.split((HERE / "dreamer.py").read_text(encoding="utf-8"))
    places = {chunk.name: chunk.notebook for chunk in chunks if chunk.name}
    solved = {}
    for source in sources():
        for name, text in solved_parts(source).items():
            if places.get(name) != source.stem[:2]:
                raise BadSource(f"{source.name}: dreamer.py has no part {name} of this notebook.")
            solved[name] = text
    return marks.join(
        c._replace(text=marks.shift(solved[c.name], len(c.indent))) if c.name in solved else c
        for c in chunks
    )


def bootstrap() -> str:
    """The lines of bootstrap.py with repository and ref filled in."""
    text = (HERE / "bootstrap.py").read_text(encoding="utf-8")
    repository, ref = setting()
    return text.replace('REPOSITORY, REF = "", ""', f'REPOSITORY, REF = "{repository}", "{ref}"')


def bar(name: str, names: list[str], solved: bool) -> str:
    """Colab's badge, if the repository is set and on GitHub, and links to the notebooks beside."""
    links = []
    if folder := on_colab(solved):
        badge = "https://colab.research.google.com/assets/colab-badge.svg"
        links.append(f"[![Open in Colab]({badge})]({folder}/{name}.ipynb)")
    here = names.index(name)
    if here > 0:
        links.append(f"[← {names[here - 1]}]({names[here - 1]}.ipynb)")
    if solved:
        links.append("solutions")
    if here + 1 < len(names):
        links.append(f"[{names[here + 1]} →]({names[here + 1]}.ipynb)")
    return " · ".join(links)


def on_colab(solved: bool) -> str:
    """Where Colab opens the notebooks; empty without a repository on GitHub: it opens no others."""
    place, ref = on_github()
    folder = "notebooks/solutions" if solved else "notebooks"
    return f"https://colab.research.google.com/github/{place}/blob/{ref}/{folder}" if place else ""


def on_github() -> tuple[str, str]:
    """(OWNER/NAME, ref) of the repository that is set, or two empty strings."""
    repository, ref = setting()
    if not repository.startswith("https://github.com/"):
        return "", ""
    return re.sub(r"^https://github\.com/|\.git$", "", repository), ref


def absolute(text: str, solved: bool) -> str:
    """The text with links to files as addresses, for on Colab no files lie beside a notebook.

    A notebook opens on Colab, anything else on GitHub. Without a repository there, no change.
    """
    place, ref = on_github()

    def address(match: re.Match) -> str:
        file, anchor = match[1], match[2]
        if not (HERE / file).exists():  # code that looks like a link
            return match[0]
        if file.endswith(".ipynb"):
            return f"]({on_colab(solved)}/{file}{anchor})"
        path = os.path.relpath(HERE / file, ROOT).replace(os.sep, "/")
        return f"](https://github.com/{place}/blob/{ref}/{path}{anchor})"

    return re.sub(r"\]\(([\w./-]+)((?:#[\w-]*)?)\)", address, text) if place else text


def embed(text: str, source: Path, folder: Path = ROOT / "assets" / "figures") -> str:
    """Replace ![](figure:NAME) by the picture itself, with its alt text. Raises BadSource."""

    def picture(match: re.Match) -> str:
        file = folder / f"{match[1]}.png"
        if not file.exists():
            raise BadSource(f"{source.name} shows figure:{match[1]}, but there is no {file.name}.")
        alt = Image.open(file).info.get("Description", "")
        if not alt:
            raise BadSource(f"{file.name} carries no alt text.")
        return f"![{alt}](data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()})"

    return re.sub(r"!\[\]\(figure:([\w-]+)\)", picture, text)


def regions(code: str, source: Path) -> list[tuple[int, int]]:
    """First and last line of every solution region in a cell. Raises BadSource."""
    marks = [(i, line.strip()) for i, line in enumerate(code.splitlines())]
    marks = [(i, line) for i, line in marks if "SOLUTION" in line]
    if [line for _, line in marks] != [BEGIN, END] * (len(marks) // 2):
        raise BadSource(f"{source.name}: {BEGIN!r} and {END!r} must alternate, in the cell of: "
                        f"{code.strip().splitlines()[0]}")  # fmt: skip
    return [(marks[i][0], marks[i + 1][0]) for i in range(0, len(marks), 2)]


def student(code: str, source: Path) -> str:
    """The code with each solution region replaced by the stub."""
    lines = code.splitlines()
    for first, last in reversed(regions(code, source)):
        indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
        lines[first : last + 1] = [indent + STUB]
    return "\n".join(lines)


def solution(code: str, source: Path) -> str:
    """The code without the two marks of each region."""
    regions(code, source)
    lines = [line for line in code.splitlines() if line.strip() not in (BEGIN, END)]
    return "\n".join(lines)


def code_hash(notebook: NotebookNode) -> str:
    """What outputs belong to: all code of a notebook but its bootstrap, which finds the library.

    So a notebook keeps its outputs when the address of the repository is set or changed.
    """
    code = "\0".join(
        "" if "bootstrap" in lint.tags_of(cell) else cell.source for cell in lint.codes(notebook)
    )
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def write_single_file() -> None:
    """Bring dreamer.py up to date; a file that is so already is left alone."""
    path, text = HERE / "dreamer.py", single_file()
    if text != path.read_text(encoding="utf-8"):
        path.write_text(text, encoding="utf-8", newline="\n")


def places(source: Path) -> list[tuple[Path, bool]]:
    """Where the two notebooks of a source lie: [(path, solved)]."""
    here, name = source.parents[1], f"{source.stem}.ipynb"
    return [(here / name, False), (here / "solutions" / name, True)]


def with_outputs(fresh: NotebookNode, path: Path) -> NotebookNode:
    """`fresh` with the outputs that `run` left in the file, if they are of the same code."""
    if not path.exists():
        return fresh
    old = nbformat.read(path, 4)
    if old.metadata.get("executed_code") != code_hash(fresh):
        return fresh
    for cell, executed in zip(lint.codes(fresh), lint.codes(old), strict=True):
        cell.outputs = executed.outputs
    fresh.metadata["executed_code"] = code_hash(fresh)
    return fresh


def write(notebook: NotebookNode, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8", newline="\n")


def has_outputs(path: Path) -> bool:
    """Whether a notebook was executed and keeps what came out."""
    if not path.exists():
        return False
    notebook = nbformat.read(path, 4)
    kept = any(cell.outputs for cell in lint.codes(notebook))
    return kept and notebook.metadata.get("executed_code") == code_hash(notebook)


def stale(source: Path) -> list[str]:
    """One sentence for each notebook that `build` would change, or that lost its outputs."""
    found = []
    for path, solved in places(source):
        fresh = build(source, solved)
        if not path.exists():
            found.append(f"{path.name} is missing in {path.parent.name}/: run build.py build.")
        elif nbformat.writes(with_outputs(fresh, path)) + "\n" != path.read_text(encoding="utf-8"):
            found.append(f"{path.parent.name}/{path.name} is not what {source.name} builds.")
        elif solved and not has_outputs(path):
            found.append(f"{path.parent.name}/{path.name} {NO_OUTPUTS.format(source.stem[:2])}")
    return found


def run(source: Path) -> str:
    """Execute the solution in full mode, keep its outputs, return a sentence. Raises BadSource."""
    notebook = build(source, solved=True, figures=False)  # it will draw some of them
    path = places(source)[1][0]
    figures = ROOT / "assets" / "figures"
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = {"PYTHONPATH": os.pathsep.join(paths), "DREAMER_LITE_FIGURES": str(figures)}
    settings["DREAMER_LITE_PARTS"] = tempfile.mkdtemp()  # nobody's my_dreamer.py is touched
    os.environ |= settings | {"DREAMER_LITE_STRICT": "1"}
    os.environ.setdefault("DREAMER_LITE_RUNS", tempfile.mkdtemp())  # nor are anybody's runs
    os.environ.pop("DREAMER_LITE_FAST", None)
    start = time.perf_counter()
    NotebookClient(
        notebook,
        timeout=3600,  # seconds of one cell: notebook 09 trains for half an hour
        kernel_name="python3",
        store_widget_state=True,  # sliders need it while they run; it is dropped below
        resources={"metadata": {"path": str(HERE)}},
    ).execute()
    minutes = (time.perf_counter() - start) / 60
    drop_widgets(notebook)
    fresh = build(source, solved=True)  # the figures may be new
    for cell, executed in zip(lint.codes(fresh), lint.codes(notebook), strict=True):
        cell.outputs = executed.outputs
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = None  # the same, however often a cell was run
    fresh.metadata["executed_code"] = code_hash(fresh)
    size = len(nbformat.writes(fresh).encode())
    trouble = [*lint.videos_without_pictures(fresh), *lint.errors_in_outputs(fresh)]
    if size > LARGEST:
        trouble.append(f"its outputs make it {size / 1e6:.1f} MB, more than 1")
    if trouble:
        raise BadSource(f"{source.stem} was executed, but {'; '.join(trouble)}: nothing was kept.")
    write(fresh, path)
    return f"{source.stem}: {minutes:.1f} minutes, {size / 1000:.0f} kB"


def course(folder: Path, wanted: list[str]) -> str:
    """Write nbgrader's settings, and source/NAME/NAME.ipynb of each notebook that has exercises.

    Returns a sentence. Raises BadSource, before it writes, if a file of yours is in the way.
    """
    files = {}
    for source in sources(wanted=wanted):
        notebook = build(source, solved=False, marked=True)
        if any("nbgrader" in cell.metadata for cell in notebook.cells):
            path = folder / "source" / source.stem / f"{source.stem}.ipynb"
            files[path] = nbformat.writes(notebook) + "\n"
    if not files:
        raise BadSource(f"There are no exercises in {' and '.join(wanted)}.")
    for path, text in files.items():
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise BadSource(f"{path} is there already, and differs: move it away, then try again.")
    settings = folder / "nbgrader_config.py"
    for path, text in (files if settings.exists() else {settings: COURSE} | files).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return f"{folder}: {', '.join(path.stem for path in files)}"


def drop_widgets(notebook: NotebookNode) -> None:
    """Without the widget's state its view only says that a model is missing.

    Of a dream page only the sentence above it stays: it holds an agent, 1.6 MB in each version. Of
    a picture the image stays, and its copy as HTML goes.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                output
                for output in cell.outputs
                if "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            ]
            for data in (output.get("data", {}) for output in cell.outputs):
                if "image/png" in data:
                    data.pop("text/html", None)
                elif "text/html" in data:
                    data["text/html"] = re.sub(r"(?s)<iframe .*?</iframe>", "", data["text/html"])


def main(arguments: list[str] | None = None) -> int:
    text = textwrap.dedent(__doc__ or "")
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=text, formatter_class=form)
    parser.add_argument("command", choices=["build", "check", "lint", "run", "course"])
    parser.add_argument("notebooks", nargs="*", help="numbers or names; all if left out")
    options = parser.parse_args(arguments)
    try:
        troubles = []
        if options.command == "course":
            if not options.notebooks:
                raise BadSource("Say where: build.py course DIR, then numbers or names.")
            print(course(Path(options.notebooks[0]), options.notebooks[1:]))
            return 0
        if options.command in ("run", "build"):
            write_single_file()
        if options.command == "check" and single_file() != (HERE / "dreamer.py").read_text("utf-8"):
            troubles.append("dreamer.py is not what the notebooks' solutions make: run build.")
        for source in sources(wanted=options.notebooks):
            if options.command == "run":
                print(run(source), flush=True)
            if options.command in ("run", "build"):
                for path, solved in places(source):
                    had = has_outputs(path)
                    write(with_outputs(build(source, solved), path), path)
                    if had and not has_outputs(path):
                        print(f"{path.parent.name}/{path.name}", NO_OUTPUTS.format(source.stem[:2]))
            if options.command == "check":
                troubles += stale(source)
            if options.command == "lint":
                troubles += lint.source(source) + lint.notebook(build(source, True), source)
    except BadSource as error:
        troubles = [str(error)]
    print(*troubles, sep="\n", file=sys.stderr, end="\n" if troubles else "")
    return bool(troubles)


if __name__ == "__main__":
    sys.exit(main())
