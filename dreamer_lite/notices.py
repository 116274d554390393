"""How the package speaks: its warnings are plain sentences, and every terminal can print it.

Python prints a warning with the file and the line that caused it. A student in a notebook, or
somebody who typed a command, needs the sentence only. Standard library only.
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
    """From now on pass the text of each UserWarning that this package causes to `say`.

    All other warnings are shown as before.
    """
    usual = warnings.showwarning

    def show(message: Any, category: Any, filename: str, *place: Any, **more: Any) -> None:
        if issubclass(category, UserWarning) and filename.startswith(_PACKAGE):
            say(str(message))
        else:
            usual(message, category, filename, *place, **more)

    warnings.showwarning = show


# Code page 1252, which Windows takes for files and pipes, has no check marks; ASCII has less.
SPELLINGS = {"±": "+/-", "✓": "[ok]", "✗": "[x]"}


def print_anything() -> None:
    """Let stdout and stderr spell out what they cannot encode: a check mark, an odd file name."""
    codecs.register_error("spell-out", spelt_out)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not a notebook's
            stream.reconfigure(errors="spell-out")


def spelt_out(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that cannot be encoded."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(SPELLINGS.get(x, ascii(x)[1:-1]) for x in text), error.end
