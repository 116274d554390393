"""The text of an agent's file, cut at its marks into chunks, and joined again.

A comment such as `# [04] RSSM.prior` is a mark: a part follows, the function or method of that
name. Between the parts stands given code. `dreamer.py` and the reader's `my_dreamer.py` are both
files of this form.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterable
from typing import NamedTuple

MARK = re.compile(r"^( *)# \[(\d\d)\] ([A-Za-z_][\w.]*)(?: · (.*))?$")
SECTION = re.compile(r"^# ---- \[(\d\d)\]")


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
    section, at = "", 0
    lines, ends = text.splitlines(), _ends(text)

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
            indent, notebook, name, note = (group or "" for group in mark.groups())
            end = _end_of_part(lines, at + 1, len(indent), ends)
            body = "\n".join(lines[at + 1 : end])
            method = name.rpartition(".")[2]
            if not note.startswith("mine") and not re.search(rf"^ *def {method}\b", body, re.M):
                end, body = at + 1, ""  # nothing is written: what follows is given code
            chunks.append(Chunk(name, notebook, body, indent, note))
            at = end
        else:
            given.append(lines[at])
            at += 1
    close()
    return chunks


def _ends(text: str) -> dict[int, int]:
    """{line of a function's start: line after its end}, counted from 0; empty if it is no Python.

    Only this knows that a line inside a string is no code.
    """
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):
        return {}
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    return {min(x.lineno for x in (f, *f.decorator_list)) - 1: f.end_lineno or 0 for f in functions}


def _end_of_part(lines: list[str], start: int, indent: int, ends: dict[int, int]) -> int:
    """The line after a function that begins at `start`, blank lines behind it not included."""
    at = end = start
    begun = False
    while at < len(lines):
        line = lines[at]
        code = line.strip()
        if code and len(line) - len(line.lstrip()) <= indent:
            opening = not begun and code.startswith(("def ", "@", "#"))
            closing = begun and code.startswith(")")
            if MARK.match(line) or SECTION.match(line) or not (opening or closing):
                break
            begun = begun or at in ends or code.startswith("def ")
        at = ends.get(at, at + 1) if begun else at + 1
        end = at if code else end
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


def shift(text: str, columns: int) -> str:
    """Code with more indentation, or with less; the insides of strings stay as they are.

    Docstrings move with the code.
    """
    fixed: set[int] = set()  # lines that begin inside a string
    begins = True  # whether the next token begins a statement: such a string has no effect
    try:
        for token in tokenize.generate_tokens(io.StringIO(text + "\n").readline):
            name = tokenize.tok_name[token.type]
            if name in ("STRING", "FSTRING_MIDDLE", "TSTRING_MIDDLE") and not begins:
                fixed |= set(range(token.start[0], token.end[0]))
            if name not in ("COMMENT", "NL"):
                begins = name in ("NEWLINE", "INDENT", "DEDENT", "ENCODING")
    except (tokenize.TokenError, SyntaxError):
        pass  # no Python; compiling it will say so
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if at not in fixed and line.strip():
            depth = len(line) - len(line.lstrip())
            lines[at] = " " * columns + line if columns > 0 else line[min(depth, -columns) :]
    return "\n".join(lines)
