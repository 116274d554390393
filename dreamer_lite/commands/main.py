"""Runs one command: errors become one sentence and an exit status (see `__init__.py`)."""

import contextlib
import os
import sys
import threading
import warnings

from dreamer_lite import files, heap, notices
from dreamer_lite.commands.output import Refused, complain, note, own_output, write_out
from dreamer_lite.commands.parser import make_parser
from dreamer_lite.commands.train import AT_ONCE

PATIENCE = 10.0  # seconds that a finished process waits for threads that environments left behind


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status. Without `argv` the process is the command's."""
    if argv is None:
        files.forget_current_folder()
    notices.print_anything()
    with warnings.catch_warnings():
        notices.say_plainly(lambda sentence: note(f"dreamer-lite: {sentence}"))
        return run(sys.argv[1:] if argv is None else argv, whole_process=argv is None)


def run(argv: list[str], whole_process: bool) -> int:
    """Parse and run one command; an error becomes one sentence and an exit status."""
    try:
        parser = make_parser()
        if argv and argv[0] not in parser.commands and not argv[0].startswith("-"):
            known = ", ".join(parser.commands)
            raise Refused(f"There is no command {argv[0]!r}: valid are {known}.")
        args = parser.parse_args(argv)
        with own_output(whole_process):
            status = args.function(args)
            write_out()
        return status
    except Refused as error:
        return complain(str(error), 2)
    except (FloatingPointError, world_error()) as error:
        return complain(str(error), 1)
    except OSError as error:
        return complain(what_failed(error), 1)
    except KeyboardInterrupt:
        return complain(AT_ONCE, 130)


def what_failed(error: OSError) -> str:
    """One sentence."""
    if error.filename:
        return f"{error.filename}: {error.strerror}."
    if error.strerror:
        with contextlib.suppress(OSError):
            write_out()  # writing to stdout may be what failed
        return f"Cannot write the output ({error.strerror})."
    return str(error)


def world_error() -> type[RuntimeError]:
    """The error of an environment that breaks; imported only after something was raised."""
    from dreamer_lite.worlds.hosted import WorldError

    return WorldError


def entry() -> int:
    """`main` for a process of its own: has large pages and standard streams, and ends."""
    heap.use_large_pages()
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:  # closed, as by 2>&-: the next file opened would take its number and
            os.open(os.devnull, os.O_RDWR)  # receive what is printed; open takes the lowest number
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")
    status = main()
    end = threading.Timer(PATIENCE, os._exit, (status,))
    end.daemon = True
    end.start()
    return status
