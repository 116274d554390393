"""The reader's own agent: parts that passed their checks, kept in `my_dreamer.py`.

`notebooks/dreamer.py` is the whole agent in one file. A comment such as `# [04] RSSM.prior` marks a
*part*: a function or method that notebook 04 asks its reader to write. When a check passes, the
reader's source takes the place of that part in `my_dreamer.py`, which stands in the notebook's
folder, or on Google Drive if it is mounted. A part that the reader has not written, or that does
not pass, is filled by the course's solution, and `load` says so.

    dreamer = parts.load()     # a module: the reader's parts, and the course's for what is missing
    dreamer.RSSM               # a class made of both

Nothing in a file is run before its text was read and compared; the file is the reader's own code.
"""

import ast
import functools
import hashlib
import inspect
import linecache
import os
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dreamer_lite import assets, files

FILE = "my_dreamer.py"
EDITION = "Dreamer Lite, second edition"
MARK = re.compile(r"^( *)# \[(\d\d)\] ([A-Za-z_][\w.]*)(?: · (.*))?$")
SECTION = re.compile(r"^# ---- \[(\d\d)\]")
HEADER = f'''"""My DreamerV3, written in the notebooks of Dreamer Lite.

Each part below a mark such as `# [04] RSSM.prior · mine` is mine, and passed its check. A mark
without text is a part that I have not written yet. Written for: {EDITION}.
"""
'''


class Chunk(NamedTuple):
    """A piece of a file: a part, or, with an empty name, the code around the parts."""

    name: str  # "RSSM.prior", or "" for code that is given
    notebook: str  # "04"; of given code the number of its section, "" before the first
    text: str  # lines with their indentation, without the mark
    indent: str = ""
    note: str = ""  # what the mark says behind the name


def split(text: str) -> list[Chunk]:
    """Cut the text of a file at its marks. The pieces, marks included, make up the text again."""
    chunks: list[Chunk] = []
    given: list[str] = []
    section = ""
    lines = text.splitlines()
    at = 0

    def close() -> None:
        if given:
            chunks.append(Chunk("", section, "\n".join(given)))
            given.clear()

    while at < len(lines):
        if new := SECTION.match(lines[at]):
            close()
            section = new[1]
        if mark := MARK.match(lines[at]):
            close()
            end = _end_of_part(lines, at + 1, len(mark[1]))
            method = mark[3].rpartition(".")[2]
            if not re.search(rf"^ *def {method}\b", "\n".join(lines[at + 1 : end]), re.M):
                end = at + 1  # what follows is given code
            body = "\n".join(lines[at + 1 : end])
            chunks.append(Chunk(mark[3], mark[2], body, mark[1], mark[4] or ""))
            at = end
        else:
            given.append(lines[at])
            at += 1
    close()
    return chunks


def _end_of_part(lines: list[str], start: int, indent: int) -> int:
    """The line after a function that begins at `start`, blank lines behind it not included."""
    end, begun = start, False
    for at in range(start, len(lines)):
        line = lines[at]
        depth = len(line) - len(line.lstrip())
        if line.strip() and depth <= indent:
            opening = re.match(r" *(?:def |@)", line) is not None
            comment = line.lstrip().startswith("#")
            if MARK.match(line) or SECTION.match(line):
                break
            if begun and not line.lstrip().startswith(")"):
                break
            if not begun and not (opening or comment):
                break
            begun = begun or line.lstrip().startswith("def ")
        if line.strip():
            end = at + 1
    return end


def join(chunks: Iterable[Chunk]) -> str:
    """The text of a file from its pieces."""
    lines = []
    for chunk in chunks:
        if chunk.name:
            note = f" · {chunk.note}" if chunk.note else ""
            lines.append(f"{chunk.indent}# [{chunk.notebook}] {chunk.name}{note}")
        if chunk.text or not chunk.name:
            lines.append(chunk.text)
    return "\n".join(lines) + "\n"


def solution() -> list[Chunk]:
    """The pieces of `notebooks/dreamer.py`.

    Raises:
      ValueError: the notebooks are not there, because pip installed the library alone.
    """
    return split(solution_text())


@functools.cache
def solution_text() -> str:
    """The text of `notebooks/dreamer.py`. Raises ValueError as `solution`."""
    clone = assets.clone()
    if clone is None:
        raise ValueError("The notebooks need a clone of the repository, not only the package.")
    return (clone / "notebooks" / "dreamer.py").read_text(encoding="utf-8")


def names() -> list[str]:
    """The names of all parts, in the order of the file."""
    return [chunk.name for chunk in solution() if chunk.name]


def folder() -> Path:
    """Where `my_dreamer.py` lies: DREAMER_LITE_PARTS, else Google Drive if mounted, else here."""
    if place := os.environ.get("DREAMER_LITE_PARTS"):
        return Path(place)
    drive = Path(files.DRIVE) / "MyDrive"
    return drive / "dreamer_lite" if drive.is_dir() else Path()


def stamp(text: str) -> str:
    """A short digest of a part's text: what passed its check is not checked again."""
    plain = "\n".join(line.rstrip() for line in textwrap.dedent(text).strip().splitlines())
    return hashlib.sha256(plain.encode()).hexdigest()[:8]


class Mine(NamedTuple):
    """What was found in the reader's file."""

    texts: dict[str, str]  # the parts that can be used, without indentation
    refused: dict[str, str]  # name -> one sentence; "" for the file as a whole
    foreign: bool  # the file holds text that would be lost if it were written anew


def read(path: Path | None = None, checked: bool = True) -> Mine:
    """The reader's parts. Never raises: what cannot be used is in `refused`, in one sentence.

    A part whose text changed since it passed is checked again, unless `checked` is False.
    """
    path = path or folder() / FILE
    if not path.exists():
        return Mine({}, {}, False)
    try:
        chunks = split(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        return Mine({}, {"": f"{path} cannot be read ({type(error).__name__})."}, True)
    parts = {c.name: c for c in chunks if c.name and c.text.strip()}
    if not any(c.name for c in chunks):
        return Mine(
            {}, {"": f"{path} is not a file of this course: it has no marks of parts."}, True
        )
    old = not any(EDITION in c.text for c in chunks)
    texts: dict[str, str] = {}
    refused = {}
    if old:
        refused[""] = f"{path} was written for another edition: its parts are checked again."
    for name, chunk in parts.items():
        text = textwrap.dedent(chunk.text).strip("\n")
        problem = trouble(name, text)
        if not problem and checked and (old or stamp(text) not in chunk.note):
            problem = _check_again(name, text)
        if problem:
            refused[name] = f"Your part {name} in {path.name} {problem}"
        else:
            texts[name] = text
    return Mine(texts, refused, old or bool(refused))


def trouble(name: str, text: str) -> str:
    """Why a part cannot be used, without running it; empty if it can."""
    known = {chunk.name: chunk for chunk in solution() if chunk.name}
    if name not in known:
        return "is no part of this edition."
    try:
        functions = ast.parse(text).body
    except SyntaxError as error:
        return f"is no Python in its line {error.lineno}: {error.msg}."
    if len(functions) != 1 or not isinstance(functions[0], ast.FunctionDef):
        return "must be one function, with helpers inside it."
    wanted = ast.parse(textwrap.dedent(known[name].text)).body[0]
    assert isinstance(wanted, ast.FunctionDef)
    found = functions[0]
    if found.name != wanted.name or _arguments(found) != _arguments(wanted):
        return f"must begin with `def {wanted.name}({', '.join(_arguments(wanted))})`."
    return ""


def _arguments(function: ast.FunctionDef) -> list[str]:
    every = function.args
    stars = [f"*{every.vararg.arg}"] if every.vararg else []
    return [x.arg for x in every.args] + stars + [x.arg for x in every.kwonlyargs]


def _check_again(name: str, text: str) -> str:
    """Run the part's check without output; a sentence's end if it fails."""
    from dreamer_lite.course import checks  # checks store what passes: a circle at import time

    try:
        wrong = checks.trouble_of(name, function(name, text))
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    return f"no longer passes its check: {wrong}" if wrong else ""


def assemble(texts: Mapping[str, str]) -> types.ModuleType:
    """A module of the whole agent with these parts in place of the course's.

    Raises what the code raises when it is run, for instance a SyntaxError.
    """
    chunks = [
        c._replace(text=textwrap.indent(texts[c.name], c.indent)) if c.name in texts else c
        for c in solution()
    ]
    source = join(chunks)
    module = types.ModuleType("my_dreamer")
    name = f"<my_dreamer {stamp(source)}>"
    module.__file__ = name
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    sys.modules["my_dreamer"] = module  # dataclasses look their module up
    exec(compile(source, name, "exec"), module.__dict__)
    return module


def find(module: types.ModuleType, name: str) -> Callable[..., Any]:
    """The function of a part, "prior" or "RSSM.prior", in an assembled module."""
    owner, _, method = name.rpartition(".")
    return (
        inspect.getattr_static(getattr(module, owner), method) if owner else getattr(module, method)
    )


def function(name: str, text: str) -> Callable[..., Any]:
    """The reader's function as it will run: in the file, without the rest of the notebook."""
    return find(assemble({name: text}), name)


def load(force: Mapping[str, str] | None = None) -> types.ModuleType:
    """The agent as a module: the reader's parts, the course's for the rest. Says whose they are.

    `force` puts texts in place of parts without a check, to see what a wrong part does.
    """
    mine = read()
    for sentence in mine.refused.values():
        print(sentence)
    texts = dict(mine.texts)
    try:
        module = assemble(texts)
    except Exception:
        texts = {name: text for name, text in texts.items() if _runs(name, text)}
        for name in mine.texts.keys() - texts.keys():
            print(f"Your part {name} in {FILE} cannot be run: the course's takes its place.")
        module = assemble(texts)
    print(whose(texts))
    return assemble(texts | {k: textwrap.dedent(v) for k, v in force.items()}) if force else module


def _runs(name: str, text: str) -> bool:
    try:
        function(name, text)
    except Exception:
        return False
    return True


def whose(mine: Iterable[str], upto: str = "99") -> str:
    """One line: how many parts are the reader's, and which."""
    every, mine = names(), list(mine)
    own = ", ".join(name for name in every if name in mine)
    listed = f": {own}" if own else ""
    return f"{len(mine)} of {len(every)} parts are yours{listed}. The others are the course's."


def source_of(mine: Callable[..., Any]) -> str | None:
    """The text of a function that was defined in a notebook or a script; None if it is unknown."""
    try:
        text = textwrap.dedent(inspect.getsource(mine)).strip("\n")
    except (OSError, TypeError):
        return None
    return text if re.search(r"^def ", text, re.M) else None


def store(name: str, text: str) -> Path | None:
    """Put a part that passed into the reader's file; None, with a sentence, if that fails.

    A file that would lose text by this is copied first.
    """
    path = folder() / FILE
    old = read(path, checked=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if old.foreign:
            copy = next(
                p for i in range(1, 1000) if not (p := path.with_suffix(f".{i}.py")).exists()
            )
            copy.write_bytes(path.read_bytes())
            print(
                f"{path.name} held text that does not belong there: it was copied to {copy.name}."
            )
        part = path.with_suffix(".part")
        part.write_text(written(old.texts | {name: text}), encoding="utf-8", newline="\n")
        part.replace(path)
    except OSError as error:
        print(f"{path} could not be written ({error.strerror}): your part is not kept.")
        return None
    return path


def written(texts: Mapping[str, str], complete: bool = False) -> str:
    """The text of `my_dreamer.py`: given code, the reader's parts, marks of what is missing.

    It ends with the section of the last notebook that the reader has a part of. A complete one has
    the course's text for missing parts, and runs by itself.
    """
    chunks = solution()
    last = max((c.notebook for c in chunks if c.name in texts), default="")
    kept = []
    for chunk in chunks:
        if not complete and chunk.notebook > last:
            continue
        if not chunk.name:
            kept.append(chunk)
        elif chunk.name in texts:
            text = textwrap.indent(texts[chunk.name], chunk.indent)
            kept.append(chunk._replace(text=text, note=f"mine · {stamp(texts[chunk.name])}"))
        else:
            note = "the course's" if complete else "not written yet"
            kept.append(chunk._replace(text=chunk.text if complete else "", note=note))
    lines = join(kept).splitlines()
    return HEADER + "\n".join(lines[ast.parse(solution_text()).body[0].end_lineno :]) + "\n"


def complete() -> Path | None:
    """Write `my_dreamer.py` so that it runs by itself: the course's text for what is missing."""
    mine = read()
    for sentence in mine.refused.values():
        print(sentence)
    path = folder() / FILE
    path.write_text(written(mine.texts, complete=True), encoding="utf-8", newline="\n")
    print(whose(mine.texts), f"{path} runs by itself.")
    return path
