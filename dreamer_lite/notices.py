"""Warnings as plain sentences, and output that every terminal can print.

Python prints a warning with the file and the line that caused it. A student in a notebook, or a
user of a command, needs the sentence only. This module uses the standard library only.
"""

import codecs
import io
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

_PACKAGE = os.path.join(os.path.dirname(__file__), "")


def say_plainly(say: Callable[[str], Any]) -> None:
    """From now on, call `say` with the text of each UserWarning that this package causes.

    Other warnings are shown as before.
    """
    usual = warnings.showwarning

    def show(message: Any, category: Any, filename: str, *place: Any, **more: Any) -> None:
        if issubclass(category, UserWarning) and filename.startswith(_PACKAGE):
            say(str(message))
        else:
            usual(message, category, filename, *place, **more)

    warnings.showwarning = show


# Code page 1252, which Windows uses for files and pipes, has no check marks; ASCII has less.
SPELLINGS = {"±": "+/-", "✓": "[ok]", "✗": "[x]"}


def print_anything() -> None:
    """Let stdout and stderr spell out characters that they cannot encode, as in odd file names."""
    codecs.register_error("spell-out", spelt_out)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not a notebook's
            stream.reconfigure(errors="spell-out")


def spelt_out(error: UnicodeError) -> tuple[str, int]:
    """The replacement for characters that cannot be encoded."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(SPELLINGS.get(x, ascii(x)[1:-1]) for x in text), error.end
