"""Rules of form for notebooks; every function returns sentences, none if all is well."""

import ast
import re
from pathlib import Path

from nbformat import NotebookNode

TAGS = {
    "badges", "bootstrap", "parameters", "setup", "exercise", "check", "signature", "panel",
    "given", "plumbing",
}  # fmt: skip
VISIBLE_LINES = 15  # of a code cell that a page of it shows
CODE_LINES, TEXT_WORDS = 45, 260

# (what, how it is recognised: a tag, or a pattern in a text cell), in the order of the anatomy.
# What a page shows first is its main picture.
ANATOMY = [
    ("the badge row", "badges"),
    ("one title", r"^# \S"),
    ("the main picture, open", r"figure:|^!\[.+\]\(data:"),
    ("a table of minutes", r"^\|.*Minutes to read.*to run"),
    ("what you will be able to do", r"^\*\*You will be able to\*\*"),
    ("the bootstrap", "bootstrap"),
    ("the parameters", "parameters"),
    ("an exercise", "exercise"),
    ("a check", "check"),
    ("the signature result", "signature"),
    ("a quiz", r"^## Quiz"),
    ("a summary", r"^## Summary"),
    ("references", r"^## References"),
    ("what comes next", r"^## Next"),
]


def source(path: Path) -> list[str]:
    """What must hold for the script."""
    text = path.read_text(encoding="utf-8")
    found = []
    try:
        ast.parse(text)
    except SyntaxError as error:
        found.append(f"line {error.lineno} is no Python: {error.msg}")
    if "text_representation" not in text:
        found.append("the jupytext header with text_representation is missing")
    if re.search(r"^# *[%!](?!%)\w", text, re.M):
        found.append("magics and ! commands do not run in a script")
    return [f"{path.name}: {sentence}." for sentence in found]


def notebook(nb: NotebookNode, path: Path) -> list[str]:
    """What must hold for the built notebook of the source `path`."""
    found = [
        *headings(nb), *images(nb), *anatomy(nb), *tags(nb), *lengths(nb),
        *exercises(nb), *links(nb, path.parents[1]), *visible(nb), *folds(nb),
        *given(nb, path.parents[1]),
    ]  # fmt: skip
    return [f"{path.name}: {sentence}." for sentence in found]


def texts(nb: NotebookNode) -> list[str]:
    return [cell.source for cell in nb.cells if cell.cell_type == "markdown"]


def codes(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def tags_of(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def headings(nb: NotebookNode) -> list[str]:
    """One H1, and no level skipped on the way down."""
    prose = re.sub(r"```.*?```", "", "\n".join(texts(nb)), flags=re.S)
    found, level = [], 0
    every = re.findall(r"^(#+) +(.*)", prose, re.M)
    if (count := sum(marks == "#" for marks, _ in every)) != 1:
        found.append(f"it has {count} headings of the first level where 1 is right")
    for marks, title in every:
        if len(marks) > level + 1:
            found.append(f"the heading {title!r} skips a level")
        level = len(marks)
    return found


def images(nb: NotebookNode) -> list[str]:
    """Alt text on every image, and none that lies beside the notebook: it may be opened alone."""
    prose = "\n".join(texts(nb))
    pictures = re.findall(r"!\[(.*?)\]\((\S+?)\)", prose)
    bare = [target for alt, target in pictures if not alt.strip()]
    bare += [
        tag for tag in re.findall(r"<img\b[^>]*>", prose) if not re.search(r'alt="[^"]+"', tag)
    ]
    loose = [target for _, target in pictures if not target.startswith(("data:", "https://"))]
    return [f"an image has no alt text: {target[:60]}" for target in bare] + [
        f"the image {target} is not embedded: write ![](figure:NAME)" for target in loose
    ]


def folds(nb: NotebookNode) -> list[str]:
    """The line of a fold is HTML, in which Markdown is not read."""
    lines = re.findall(r"<summary>(.*?)</summary>", "\n".join(texts(nb)))
    marked = [line for line in lines if re.search(r"[`*]", line)]
    return [f"write <code> and <em> in the fold {line[:50]!r}" for line in marked]


def builds_nothing(nb: NotebookNode) -> bool:
    """Whether the table at the top says that the notebook adds nothing to the agent."""
    table = r"^\|.*Adds to (?:the|your) agent \|\n\|[-|]+\|\n\|.*\| nothing \|$"
    return any(re.search(table, text, re.M) for text in texts(nb))


def anatomy(nb: NotebookNode) -> list[str]:
    """Everything in ANATOMY is there, first occurrences in this order.

    A notebook that builds nothing has neither exercises nor checks.
    """
    found, last, before = [], -1, ""
    needed = [x for x in ANATOMY if not (builds_nothing(nb) and x[1] in ("exercise", "check"))]
    for what, sign in needed:
        if sign in TAGS:
            at = [i for i, cell in enumerate(nb.cells) if sign in tags_of(cell)]
        else:
            at = [
                i
                for i, cell in enumerate(nb.cells)
                if cell.cell_type == "markdown" and re.search(sign, cell.source, re.M)
            ]
        if not at:
            found.append(f"{what} is missing")
        elif at[0] < last:
            found.append(f"{what} comes before {before}")
        else:
            last, before = at[0], what
    return found


def tags(nb: NotebookNode) -> list[str]:
    every = {tag for cell in nb.cells for tag in tags_of(cell)}
    unknown = sorted(tag for tag in every - TAGS if not tag.startswith("part:"))
    return [f"the tag {tag!r} is none of {', '.join(sorted(TAGS))}" for tag in unknown]


def visible(nb: NotebookNode) -> list[str]:
    """No code cell that the page shows is longer than VISIBLE_LINES."""
    hidden = {"bootstrap", "parameters", "setup", "plumbing", "exercise", "given"}
    found = []
    for cell in codes(nb):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if not hidden.intersection(tags_of(cell)) and len(lines) > VISIBLE_LINES:
            found.append(f"the code cell {lines[0][:50]!r} shows more than {VISIBLE_LINES} lines")
        if "plumbing" in tags_of(cell) and not cell.source.startswith("# @title"):
            found.append(f"the folded cell {lines[0][:50]!r} does not begin with # @title")
    return found


def given(nb: NotebookNode, here: Path) -> list[str]:
    """Code that is shown as given stands in dreamer.py in the same lines."""
    file = here / "dreamer.py"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    whole = "\n".join(line for line in lines if not line.startswith("# ["))
    found = []
    for cell in codes(nb):
        if "given" in tags_of(cell):
            shown = "\n".join(line.strip() for line in cell.source.splitlines() if line.strip())
            if shown not in whole:
                found.append(f"the given code {shown.splitlines()[0]!r} is not that of dreamer.py")
    return found


def lengths(nb: NotebookNode) -> list[str]:
    """Cells that can be read at one glance."""
    found = []
    for cell in nb.cells:
        first = (cell.source.strip().splitlines() or [""])[0][:50]
        if cell.cell_type == "code" and cell.source.count("\n") >= CODE_LINES:
            found.append(f"the code cell {first!r} has more than {CODE_LINES} lines")
        # neither pictures nor formulas nor the solution that the build folds below the hints
        uncounted = r"!\[[^\]]*\]\(data:\S+\)|\$\$.*?\$\$|<summary>Solution.*?</details>"
        text = re.sub(uncounted, "", cell.source, flags=re.S)
        if cell.cell_type == "markdown" and len(text.split()) > TEXT_WORDS:
            found.append(f"the text cell {first!r} has more than {TEXT_WORDS} words")
        if cell.cell_type == "code" and not cell.source.strip():
            found.append("a code cell is empty")
    return found


def exercises(nb: NotebookNode) -> list[str]:
    """An exercise has a typed stub with a docstring, hints before it, a check right below."""
    found = []
    code = codes(nb)
    for cell, following in zip(code, [*code[1:], None]):
        if "exercise" not in tags_of(cell):
            continue
        functions = [f for f in ast.parse(cell.source).body if isinstance(f, ast.FunctionDef)]
        name = functions[0].name if functions else cell.source.strip().splitlines()[0]
        if not functions or any(
            not ast.get_docstring(f)
            or (f.returns is None and not part_of(cell))
            or any(not a.annotation for a in f.args.args if not part_of(cell))
            for f in functions
        ):
            found.append(f"the exercise {name!r} needs a typed function with a docstring")
        if part_of(cell) and len(functions) != 1:
            found.append(f"the part {name!r} must be one function")
        if following is None or "check" not in tags_of(following):
            found.append(f"the exercise {name!r} has no check right below")
        around = nb.cells[max(0, nb.cells.index(cell) - 1)].source
        around = around.replace("<details><summary>Solution</summary>", "")
        if around.count("<details>") < 3:
            found.append(f"the exercise {name!r} has fewer than three folded hints above it")
    return found


def part_of(cell: NotebookNode) -> bool:
    """Whether a cell is an exercise on a part of the reader's agent."""
    return any(tag.startswith("part:") for tag in tags_of(cell))


def links(nb: NotebookNode, here: Path) -> list[str]:
    """Relative links lead to files, others are https."""
    found = []
    for target in re.findall(r"(?<!!)\]\((\S+?)\)", "\n".join(texts(nb))):
        if target.startswith(("https://", "data:")):
            continue
        file = target.partition("#")[0]
        if "://" in target:
            found.append(f"the link {target} is not https")
        elif file and not (here / file).exists() and not (here / "src" / file).exists():
            source_of = here / "src" / f"{Path(file).stem}.py"  # a notebook yet to be built
            if not source_of.exists():
                found.append(f"the link {target} leads nowhere")
    return found


def videos_without_pictures(nb: NotebookNode) -> list[str]:
    """GitHub does not play videos: a PNG strip must stand beside each."""
    found = []
    for cell in codes(nb):
        data = [output.get("data", {}) for output in cell.outputs]
        video = any("<video" in str(d.get("text/html", "")) for d in data)
        if video and not any("image/png" in d for d in data):
            found.append(f"a video has no PNG beside it in {cell.source.splitlines()[0]!r}")
    return found


def errors_in_outputs(nb: NotebookNode) -> list[str]:
    """Nothing in stderr, nothing raised."""
    noisy = [
        cell.source.splitlines()[0]
        for cell in codes(nb)
        for output in cell.outputs
        if output.output_type == "error" or output.get("name") == "stderr"
    ]
    return [f"there is stderr below {line!r}" for line in noisy]
