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
import builtins
import copy
import functools
import hashlib
import inspect
import itertools
import linecache
import os
import re
import symtable
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dreamer_lite import assets, files
from dreamer_lite.course import marks
from dreamer_lite.course.marks import Chunk

FILE = "my_dreamer.py"
EDITION = "Dreamer Lite, second edition"
HEADER = f'''"""My DreamerV3, written in the notebooks of Dreamer Lite.

Each part below a mark such as `# [04] RSSM.prior · mine` is mine, and passed its check. A mark
without text is a part that I have not written yet. The digits behind `mine` are a digest of the
text: a part that was changed since is checked again. Written for: {EDITION}.
"""
'''


@functools.cache
def solution() -> tuple[Chunk, ...]:
    """The pieces of `notebooks/dreamer.py`.

    Raises:
      ValueError: the notebooks are not there, because pip installed the library alone.
    """
    return tuple(marks.split(solution_text()))


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


def place() -> str:
    """Words for the end of a sentence that says where `my_dreamer.py` is; empty if you chose it."""
    if os.environ.get("DREAMER_LITE_PARTS"):
        return ""
    here = folder() == Path()
    return ", in the folder of this notebook" if here else ", in dreamer_lite on your Google Drive"


def stamp(text: str) -> str:
    """A short digest of a part's text: what passed its check is not checked again."""
    plain = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return hashlib.sha256(plain.encode()).hexdigest()[:8]


class Mine(NamedTuple):
    """What was found in the reader's file."""

    texts: dict[str, str]  # the parts that can be used, without indentation
    refused: dict[str, str]  # name -> one sentence; "" for the file as a whole


def read(path: Path | None = None) -> Mine:
    """The reader's parts. Never raises: what cannot be used is in `refused`, in one sentence.

    A part whose text changed since it passed is checked again.
    """
    path = path or folder() / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Mine({}, {})
    except (OSError, ValueError) as error:
        return Mine({}, {"": f"{path} cannot be read ({type(error).__name__})."})
    if not any(chunk.name for chunk in marks.split(text)):
        return Mine({}, {"": f"{path} is not a file of this course: it has no marks of parts."})
    texts: dict[str, str] = {}
    refused = {}
    if EDITION not in text:
        refused[""] = f"{path} was written for another edition: its parts are checked again."
    for name, part in written_by_reader(text).items():
        problem = trouble(name, part.text)
        if not problem and stamp(part.text) not in part.note:
            problem = _check_again(name, part.text)
        if problem:
            refused[name] = f"Your part {name} in {path.name} {problem}"
        else:
            texts[name] = part.text
    return Mine(texts, refused)


def written_by_reader(text: str) -> dict[str, Chunk]:
    """The parts in a file that are not just the course's, without indentation.

    What another edition has checked bears no stamp.
    """
    course = {chunk.name: marks.shift(chunk.text, -len(chunk.indent)) for chunk in solution()}
    found = {}
    for chunk in marks.split(text):
        part = marks.shift(chunk.text, -len(chunk.indent)).strip("\n")
        mine = chunk.note.startswith("mine")
        if chunk.name and part and (mine or part != course.get(chunk.name)):
            note = chunk.note if EDITION in text else ""
            found[chunk.name] = chunk._replace(text=part, note=note)
    return found


def trouble(name: str, text: str) -> str:
    """Why a part cannot be used, without running it; empty if it can."""
    wanted = next((chunk.text for chunk in solution() if name and chunk.name == name), None)
    if wanted is None:
        return "is no part of this edition."
    try:
        compile(text, name, "exec")
    except (SyntaxError, ValueError) as error:
        return f"is no Python in its line {getattr(error, 'lineno', 1)}: {error.args[0]}."
    found = ast.parse(text).body
    if len(found) != 1 or not isinstance(found[0], ast.FunctionDef):
        return "must be one function, with helpers inside it."
    right = _signature(ast.parse(textwrap.dedent(wanted)).body[0])
    if _signature(found[0]) != right:
        return f"must begin with `{right}`."
    if strange := sorted(_names_read(text) - _names_there()):
        if strange == ["dreamer"]:
            return "names `dreamer`, the file in which it will stand itself: leave out `dreamer.`."
        return (
            f"uses `{'`, `'.join(strange)}`, which your notebook may have, but not the file: "
            "define or import that inside the function."
        )
    return ""


def _signature(function: ast.stmt) -> str:
    """`def prior(self, deter)`: without annotations."""
    assert isinstance(function, ast.FunctionDef)
    arguments = copy.deepcopy(function.args)
    for node in ast.walk(arguments):
        if isinstance(node, ast.arg):
            node.annotation = None
    return f"def {function.name}({ast.unparse(arguments)})"


def _names_read(text: str) -> set[str]:
    """The names that code takes from the module around it."""
    tables = [symtable.symtable(text, "part", "exec")]
    found = set()
    for table in tables:
        tables += table.get_children()
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            outside = not symbol.is_assigned() if top else symbol.is_global()
            if symbol.is_referenced() and outside:
                found.add(symbol.get_name())
    return found


@functools.cache
def _names_there() -> set[str]:
    """What a part can use: the names of the module, and Python's own."""
    found = set(dir(builtins))
    for node in ast.parse(solution_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(a.asname or a.name).partition(".")[0] for a in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {x.id for target in node.targets for x in ast.walk(target)
                      if isinstance(x, ast.Name)}  # fmt: skip
    return found


def _check_again(name: str, text: str) -> str:
    """Run the part's check without output; a sentence's end if it fails."""
    from dreamer_lite.course import checks  # checks store what passes: a circle at import time

    try:
        wrong = checks.trouble_of(name, function(name, text))
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    return f"no longer passes its check: {wrong.splitlines()[0]}" if wrong else ""


def placed(texts: Mapping[str, str]) -> Iterator[Chunk]:
    """The pieces of `notebooks/dreamer.py` with these texts instead of the course's."""
    for chunk in solution():
        if chunk.name in texts:
            chunk = chunk._replace(text=marks.shift(texts[chunk.name], len(chunk.indent)))
        yield chunk


def assemble(texts: Mapping[str, str]) -> types.ModuleType:
    """A module of the whole agent with these parts instead of the course's.

    Raises what the code raises when it is run, for instance a SyntaxError.
    """
    source = marks.join(placed(texts))
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

    `force` puts texts instead of parts without a check, to see what a wrong part does.
    """
    mine = read()
    print(*mine.refused.values(), sep="\n", end="\n" if mine.refused else "")
    texts, strange = mine.texts, {k: textwrap.dedent(v) for k, v in (force or {}).items()}
    try:
        assemble(texts)
    except Exception:
        texts = {name: text for name, text in texts.items() if _runs(name, text)}
        for name in mine.texts.keys() - texts.keys():
            print(f"Your part {name} in {FILE} cannot be run: the course's takes its place.")
    print(whose(texts))
    return assemble(texts | strange)


def _runs(name: str, text: str) -> bool:
    try:
        function(name, text)
    except Exception:
        return False
    return True


def whose(mine: Iterable[str]) -> str:
    """One line: how many parts are the reader's, and which."""
    every, mine = names(), list(mine)
    own = ", ".join(name for name in every if name in mine)
    listed = f": {own}" if own else ""
    return f"{len(mine)} of {len(every)} parts are yours{listed}. The others are the course's."


def source_of(mine: Callable[..., Any]) -> str | None:
    """The text of a function that was defined in a notebook or a script; None if it is unknown."""
    try:
        text = inspect.getsource(mine)
    except (OSError, TypeError):
        return None
    text = marks.shift(text, -(len(text) - len(text.lstrip()))).strip("\n")
    return text if re.search(r"^def ", text, re.M) else None


def store(name: str, text: str) -> Path | None:
    """Put a part that passed into the reader's file; None, with a sentence, if that fails.

    A file that would lose text by this is copied first.
    """
    passed = Chunk(name, "", text, note=f"mine · {stamp(text)}")
    return _rewrite(lambda parts: parts | {name: passed})


def complete() -> Path | None:
    """Write `my_dreamer.py` so that it runs by itself: the course's text for what is missing.

    Nothing else is lost: a file with parts that cannot be used is copied first.
    """
    mine = read()
    print(*mine.refused.values(), sep="\n", end="\n" if mine.refused else "")
    path = _rewrite(lambda parts: {k: v for k, v in parts.items() if k in mine.texts}, True)
    if path:
        print(whose(mine.texts), f"{path} runs by itself.")
    return path


def _rewrite(
    change: Callable[[dict[str, Chunk]], dict[str, Chunk]], whole: bool = False
) -> Path | None:
    """Change the parts in the reader's file; a sentence and None if it cannot be written.

    Text that did not pass a check, and text outside the parts, goes to a copy before it is lost.
    """
    path = folder() / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = path.read_bytes() if path.exists() else b""
        text = raw.decode(errors="replace").replace("\r\n", "\n")
        old = {k: v for k, v in written_by_reader(text).items() if not trouble(k, v.text)}
        new = change(old)
        whole = whole or text == written(old, complete=True)
        unchecked = {k: v for k, v in old.items() if stamp(v.text) not in v.note}
        lost = [k for k, v in unchecked.items() if k not in new or new[k].text != v.text]
        if raw and (lost or text not in (written(old), written(old, complete=True))):
            numbered = (path.with_suffix(f".{i}.py") for i in itertools.count(1))
            kept = next(file for file in numbered if not file.exists())
            kept.write_bytes(raw)
            print(f"{path.name} held text that would have been lost: it was copied to {kept.name}.")
        part = path.with_suffix(".part")
        part.write_text(written(new, whole), encoding="utf-8", newline="\n")
        part.replace(path)
    except (OSError, ValueError) as error:
        print(f"{path} could not be written ({type(error).__name__}): your part is not kept.")
        return None
    return path


def written(parts: Mapping[str, Chunk], complete: bool = False) -> str:
    """The text of `my_dreamer.py`: given code, the reader's parts, marks of what is missing.

    It ends with the section of the last notebook that the reader has a part of. A complete one has
    the course's text for missing parts, and runs by itself.
    """
    texts = {name: part.text for name, part in parts.items()}
    last = max((chunk.notebook for chunk in solution() if chunk.name in parts), default="")
    kept = []
    for chunk in placed(texts):
        if chunk.name in parts:
            kept.append(chunk._replace(note=parts[chunk.name].note or "mine"))
        elif chunk.name and complete:
            kept.append(chunk._replace(note="the course's"))
        elif chunk.name and chunk.notebook <= last:
            kept.append(chunk._replace(text="", note="not written yet"))
        elif not chunk.name and (complete or chunk.notebook <= last):
            kept.append(chunk)
    begin = ast.parse(solution_text()).body[0].end_lineno
    return HEADER + "\n".join(marks.join(kept).splitlines()[begin:]) + "\n"
