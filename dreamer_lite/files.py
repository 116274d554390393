"""Reading untrusted files, and keeping Python away from untrusted modules.

This module imports only what Python loads when it starts: see `forget_current_folder`.
"""

import errno
import io
import os
import stat
import sys

DRIVE = "/content/drive"  # where Colab mounts Google Drive


def open_regular(path: str | os.PathLike) -> io.BufferedReader:
    """Open a regular file, or a link to one, for reading.

    Reading from a pipe without a writer would block, and a device may never end.

    Raises:
      OSError: it is a folder, a pipe, a device or a socket, or it cannot be opened.
    """
    check_kind(path, os.stat(path).st_mode)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        check_kind(path, os.fstat(file.fileno()).st_mode)  # it may have been replaced since
    except OSError:
        file.close()
        raise
    return file


def read_regular(path: str | os.PathLike) -> bytes:
    """The content of a regular file. Raises OSError as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def check_kind(path: str | os.PathLike, mode: int) -> None:
    """Raise OSError unless `mode` is that of a regular file."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


def forget_current_folder() -> None:
    """Remove the current folder from `sys.path`, where `python -m` puts it first."""
    sys.path[:] = [place for place in sys.path if not is_current_folder(place)]


def is_current_folder(place: str) -> bool:
    """Whether an entry of sys.path is the current folder, by whatever name."""
    try:
        return os.path.samefile(place or ".", ".")
    except OSError:
        return not place


class without_current_folder:
    """Inside `with`, Python imports nothing from the current folder, as it would in a notebook."""

    def __enter__(self) -> None:
        self.removed = [x for x in enumerate(sys.path) if is_current_folder(x[1])]
        forget_current_folder()

    def __exit__(self, *_: object) -> None:
        for index, place in self.removed:
            sys.path.insert(index, place)
