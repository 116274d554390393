"""Rules of form for notebooks; every function returns sentences, none if all is well."""

import ast
import re
from pathlib import Path

from nbformat import NotebookNode

TAGS = {"badges", "bootstrap", "parameters", "setup", "exercise", "check", "signature", "panel"}
CODE_LINES, TEXT_WORDS = 45, 260

# (what, how it is recognised: a tag, or a pattern in a text cell), in the order of the anatomy.
ANATOMY = [
    ("the badge row", "badges"),
    ("one title", r"^# \S"),
    ("a table of reading and running time", r"^\|.*Minutes to read.*Minutes to run"),
    ("what you will be able to do", r"^\*\*You will be able to\*\*"),
    ("the agent diagram", r"figure:agent_|^!\[The agent's blocks"),
    ("the bootstrap", "bootstrap"),
    ("the parameters", "parameters"),
    ("an exercise", "exercise"),
    ("a check", "check"),
    ("the signature result", "signature"),
    ("a quiz", r"^## Quiz"),
    ("a summary", r"^## Summary"),
    ("references", r"^## References"),
    ("what comes next", r"^## Next"),
]  # fmt: skip


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
        *headings(nb), *images(nb), *anatomy(nb), *tags(nb), *lengths(nb), *exercises(nb),
        *links(nb, path.parents[1]),
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


def builds_nothing(nb: NotebookNode) -> bool:
    """Whether the table at the top says that the notebook adds nothing to the agent."""
    table = r"^\|.*Adds to the agent \|\n\|[-|]+\|\n\|.*\| nothing \|$"
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
    unknown = sorted({tag for cell in nb.cells for tag in tags_of(cell)} - TAGS)
    return [f"the tag {tag!r} is none of {', '.join(sorted(TAGS))}" for tag in unknown]


def lengths(nb: NotebookNode) -> list[str]:
    """Cells that can be read at one glance."""
    found = []
    for cell in nb.cells:
        first = (cell.source.strip().splitlines() or [""])[0][:50]
        if cell.cell_type == "code" and cell.source.count("\n") >= CODE_LINES:
            found.append(f"the code cell {first!r} has more than {CODE_LINES} lines")
        text = re.sub(r"\(data:\S+\)|\$\$.*?\$\$", "", cell.source, flags=re.S)
        if cell.cell_type == "markdown" and len(text.split()) > TEXT_WORDS:
            found.append(f"the text cell {first!r} has more than {TEXT_WORDS} words")
        if cell.cell_type == "code" and not cell.source.strip():
            found.append("a code cell is empty")
    return found


def exercises(nb: NotebookNode) -> list[str]:
    """An exercise has a typed stub with a docstring, two hints before it, a check right below."""
    found = []
    code = codes(nb)
    for cell, following in zip(code, [*code[1:], None]):
        if "exercise" not in tags_of(cell):
            continue
        functions = [f for f in ast.walk(ast.parse(cell.source)) if isinstance(f, ast.FunctionDef)]
        mine = [f for f in functions if f.name.startswith("my_")]
        name = mine[0].name if mine else cell.source.strip().splitlines()[0]
        if not mine or any(
            f.returns is None
            or not ast.get_docstring(f)
            or any(not a.annotation for a in f.args.args)
            for f in mine
        ):
            found.append(f"the exercise {name!r} needs a typed function my_... with a docstring")
        if following is None or "check" not in tags_of(following):
            found.append(f"the exercise {name!r} has no check right below")
        around = nb.cells[max(0, nb.cells.index(cell) - 1)].source
        if around.count("<details>") < 2:
            found.append(f"the exercise {name!r} has fewer than two folded hints above it")
    return found


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
