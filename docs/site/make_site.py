"""Builds the site: notebooks as executed, LAB, INSTRUCTORS, docs, and a dream to steer.

    python docs/site/make_site.py --out DIR --sphinx PYTHON

Gathers the pages in a temporary folder, in the places that they have in the repository, and runs
the Sphinx of that PYTHON there. Nothing is executed but the agent on the front page. Badges and
links to the code appear where a repository is set (`make publish`); otherwise files of the
repository that are no pages are offered for download.
"""

import argparse
import html
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "notebooks"))

import build  # noqa: E402
import lint  # noqa: E402

AGENT = "minatar-breakout"
FRAME = '<iframe class="dream" title="A dream, to be steered" src="dream.html"></iframe>'
STEER_HERE = (
    "The dream of the course's agent in Breakout, without a kernel "
    '(<a href="../dream.html">a page of its own</a>):\n\n'
    + FRAME.replace('src="dream.html"', 'loading="lazy" src="../dream.html"')
)
# Pages in their order; what else lies in docs/ comes under "Library".
CLASS = ("notebooks/LAB", "docs/algorithm", "docs/sample_report", "notebooks/INSTRUCTORS")
REST = ("CONTRIBUTING", "assets/README", "assets/speed", "assets/paper_to_code")
# The cells that a kernel needs to steer in: the pages of 00 and 10 have the dream after them.
STEERS = re.compile(r"(?m)^steer_in_page\(")
CSS = """\
iframe.dream { width: 100%; height: 900px; border: 0; }
.output img, .content img, .content video { max-width: 100%; }
details { margin: 0.5rem 0; }
"""


def texts() -> list[str]:
    """The pages that are no notebooks, without `.md`."""
    docs = sorted(f"docs/{path.stem}" for path in (ROOT / "docs").glob("*.md"))
    return [*CLASS, *(name for name in docs if name not in CLASS), *REST]


def relinked(text: str, folder: str, stage: Path) -> str:
    """Relative links of a page in `folder` that lead to no page of the site, mended.

    To GitHub if a repository is set; else a file is copied for download, a folder is only named.
    """
    pages = {f"{name}.md" for name in texts()} | {"README.md"}
    place, ref = build.on_github()

    def link(match: re.Match) -> str:
        file, _, anchor = match[2].partition("#")
        path = posixpath.normpath(posixpath.join(folder, file))
        source = ROOT / path
        if not file or path in pages or path.endswith(".ipynb") or not source.exists():
            return match[0].replace("README.md", "index.md") if path == "README.md" else match[0]
        if match[1].startswith("!") or (source.is_file() and not place):
            (stage / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, stage / path)
            return match[0]
        if place:
            kind = "tree" if source.is_dir() else "blob"
            there = f"https://github.com/{place}/{kind}/{ref}/{path}"
            return f"{match[1]}({there}{f'#{anchor}' if anchor else ''})"
        return match[1].strip("[]")

    return re.sub(r"(!?\[[^\]]*\])\(([\w./#-]+)\)", link, text)


def notebook(source: Path, stage: Path) -> None:
    """The page of a notebook: solved, with its stored outputs, and what can be downloaded."""
    name = source.stem
    ((_, _), (solved_path, _)) = build.places(source)
    student = build.build(source, False, addresses=False)
    solved = build.with_outputs(build.build(source, True, addresses=False), solved_path)
    downloads = stage / "extra" / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    build.write(student, downloads / f"{name}.ipynb")
    build.write(solved, downloads / "solved" / f"{name}.ipynb")
    plain = build.build(source, True, figures=False, addresses=False)
    plain.cells = plain.cells[1:]  # without the bar
    (downloads / f"{name}.py").write_text(jupytext.writes(plain, "py:percent"), encoding="utf-8")
    bar = [
        f'<a href="../downloads/{name}.ipynb" download>notebook</a>',
        f'<a href="../downloads/solved/{name}.ipynb" download>solved notebook</a>',
        f'<a href="../downloads/{name}.py" download>script</a>',
    ]
    if folder := build.on_colab(solved=False):
        badge = "https://colab.research.google.com/assets/colab-badge.svg"
        bar.insert(0, f"[![Open in Colab]({badge})]({folder}/{name}.ipynb)")
    solved.cells[0].source = " · ".join(bar)
    for cell in solved.cells:
        if cell.cell_type == "markdown":
            cell.source = relinked(cell.source, "notebooks", stage)
        elif build.FOLDED.intersection(lint.tags_of(cell)):
            cell.metadata["tags"] = [*lint.tags_of(cell), "hide-input"]
        for output in cell.get("outputs", []):
            describe(output)
    for number, cell in enumerate(solved.cells):
        if cell.cell_type == "code" and STEERS.search(cell.source):
            solved.cells.insert(number + 1, nbformat.v4.new_markdown_cell(STEER_HERE))
            break
    build.write(solved, stage / "notebooks" / f"{name}.ipynb")


def describe(output: nbformat.NotebookNode) -> None:
    """An image as HTML, for Sphinx drops the alt text that the output carries."""
    if "image/png" in output.get("data", {}) and "text/html" not in output.data:
        alt = html.escape(output.metadata.get("image/png", {}).get("alt", ""), quote=True)
        data = "".join(output.data.pop("image/png").split())
        output.data["text/html"] = f'<img alt="{alt}" src="data:image/png;base64,{data}">'


def front(stage: Path, names: list[str]) -> None:
    """The front page: the README with the dream instead of its film, and the list of pages."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text, count = re.subn(r"(?s)!\[Film: .*?\)\n\n", lambda _: f"{FRAME}\n\n", text, count=1)
    text, notes = re.subn(r"(?s)\*The film: .*?\*\n\n", "", text, count=1)
    if (count, notes) != (1, 1):
        raise build.BadSource("README.md has no film and line about it: the dream replaces them.")
    trees = {
        "Notebooks": [f"notebooks/{name}" for name in names],
        "Class": list(CLASS),
        "Library": [name for name in texts() if name not in CLASS],
    }
    for caption, pages in trees.items():
        listed = "\n".join(pages)
        text += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"
    (stage / "index.md").write_text(relinked(text, "", stage), encoding="utf-8")


def dream(path: Path) -> None:
    """The page of the shipped agent."""
    from dreamer_lite import page
    from dreamer_lite.runs import agents, process

    process.enable_compilation_cache()
    path.write_text(page.html(page.collect(agents.load(AGENT))), encoding="utf-8")


def gather(stage: Path) -> None:
    """Write all sources of the site into a folder. Raises BadSource."""
    sources = build.sources()
    for source in sources:
        notebook(source, stage)
    for name in texts():
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        text = relinked(text, posixpath.dirname(name), stage)
        (stage / f"{name}.md").write_text(text, encoding="utf-8")
    front(stage, [source.stem for source in sources])
    shutil.copy(Path(__file__).with_name("conf.py"), stage)
    (stage / "static").mkdir()
    (stage / "static" / "site.css").write_text(CSS, encoding="utf-8")
    dream(stage / "extra" / "dream.html")


def make(out: Path, sphinx: str) -> str:
    """Build the site into `out`, a new or an empty folder; returns a sentence. Raises BadSource."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise build.BadSource(f"{out} is there already: OUT must be a new or an empty folder.")
    with tempfile.TemporaryDirectory() as folder:
        stage, trees = Path(folder, "pages"), Path(folder, "trees")
        stage.mkdir()
        gather(stage)
        command = [sphinx, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", trees, stage, out]
        result = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if result.returncode:
            raise build.BadSource(f"Sphinx refuses the pages:\n{result.stderr.strip()}")
    (out / ".nojekyll").touch()  # GitHub's Pages would leave out folders such as _static
    pages = len(list(out.rglob("*.html")))
    return f"{out}: {pages} pages. They need no network; open {out / 'index.html'}."


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", default="", help="a new or an empty folder")
    parser.add_argument("--sphinx", default=sys.executable, help="the Python that has Sphinx")
    options = parser.parse_args(arguments)
    try:
        if not options.out:
            raise build.BadSource("Say where: OUT=DIR, a new or an empty folder.")
        print(make(Path(options.out), options.sphinx))
    except build.BadSource as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
