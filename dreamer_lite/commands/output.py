"""What commands print: answers to stdout, notes and errors to stderr; and how they refuse."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

OUTPUT: list[Any] = []  # `say` prints to the last one, or to stdout if there is none


class Refused(Exception):
    """The request is invalid; the message is one sentence."""


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """A ValueError inside is an invalid request; any other error keeps its traceback."""
    try:
        yield
    except ValueError as error:
        raise Refused(str(error)) from error


@contextlib.contextmanager
def own_output(whole_process: bool) -> Iterator[None]:
    """Inside, only `say` writes to stdout; what environments and packages print goes to stderr.

    With `whole_process` this holds until the process ends, also for what is printed by C code, by
    child processes, or while Python shuts down.
    """
    OUTPUT.append(sys.stdout)
    if not whole_process:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        finally:
            OUTPUT.pop()
        return
    with contextlib.suppress(OSError, AttributeError):  # stdout or stderr was closed from the start
        sys.stdout.flush()
        own, form = os.dup(sys.stdout.fileno()), sys.stdout
        os.dup2(sys.stderr.fileno(), form.fileno())
        OUTPUT[-1] = os.fdopen(own, "w", encoding=form.encoding, errors=form.errors)
    sys.stdout = sys.stderr
    yield


def say(text: str, flush: bool = False) -> None:
    """Print what the command was asked for; see `own_output`."""
    print(text, file=OUTPUT[-1] if OUTPUT else sys.stdout, flush=flush)


def note(line: str, end: str = "\n") -> None:
    """Print to stderr; if nobody can read it any more, the command goes on."""
    try:
        print(line, end=end, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def complain(sentence: str, status: int) -> int:
    """Print an error on one line and return `status`.

    Control characters are left out, because a message may quote an untrusted file.
    """
    note("dreamer-lite: " + "".join(x if x.isprintable() else " " for x in sentence))
    return status


def write_out() -> None:
    """Raise OSError if what was printed cannot be written, as on a full disk."""
    out = OUTPUT[-1] if OUTPUT else sys.stdout
    if out is None:  # closed from the start
        return
    try:
        out.flush()
    except OSError as error:  # drop the rest, or Python would try again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        raise OSError(error.errno, error.strerror) from error
