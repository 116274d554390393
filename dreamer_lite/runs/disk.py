"""Writing files so that a killed process, a full disk or a power failure leaves no half of one."""

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any


def replace(file: Path, content: bytes) -> None:
    """Write a whole file; if the process is killed or the disk is full, the old file stays.

    Raises:
      OSError: with the name of the file.
    """
    partial = file.with_name(file.name + ".partial")
    try:
        write(partial, content)
        os.replace(partial, file)
        sync_folder(file.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OSError(error.errno, error.strerror, str(file)) from error


def replace_json(file: Path, values: dict[str, Any]) -> None:
    """`replace` with a JSON object."""
    replace(file, (json.dumps(values, indent=2) + "\n").encode())


def write(file: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system offers that."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
