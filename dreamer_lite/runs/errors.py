"""The errors of run folders and agent files: one sentence says what is wrong and what to do."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

# Reading JSON of unknown content can raise any of these.
MALFORMED = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError,
)  # fmt: skip


class RunError(ValueError):
    """A run folder that cannot be used as asked."""


class CheckpointError(ValueError):
    """A checkpoint or an agent file that cannot be used."""


@contextlib.contextmanager
def explained(
    caught: type[Exception] | tuple[type[Exception], ...],
    raised: type[Exception],
    sentence: str | Callable[[str], str],
) -> Iterator[None]:
    """Inside `with`, raise `raised` with this sentence instead of the exceptions `caught`.

    A sentence that gives the reason is a function of it. RunError and CheckpointError are such
    sentences already, so they pass unchanged.
    """
    try:
        yield
    except (RunError, CheckpointError):
        raise
    except caught as error:
        text = sentence if isinstance(sentence, str) else sentence(reason(error))
        raise raised(text) from error


def reason(error: Exception) -> str:
    """The first line of an error of another library, or the words of the operating system."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return in_short((str(error).splitlines() or [type(error).__name__])[0])


def in_short(words: Any, most: int = 400) -> str:
    """One line without control characters, because the words may come from an untrusted file."""
    text = "".join(x if x.isprintable() else " " for x in str(words)[:most]).rstrip(".: ")
    return text + ("..." if len(str(words)) > most else "")
