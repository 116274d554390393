"""Says the package's own warnings as plain sentences, for those who did not write the code.

Python prints a warning with the file and the line that caused it. A student in a notebook, or
somebody who typed a command, needs the sentence only. Standard library only.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PACKAGE = str(Path(__file__).resolve().parent)


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
