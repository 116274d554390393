"""The progress records of a run: metrics.jsonl, one JSON object per line.

A checkpoint stores the number of records at its time, their bytes and their SHA-256. When a run
continues, one of three cases holds:

    the records up to the checkpoint   later records are dropped; training makes them again
    are there
    they are missing or changed        every readable record is kept, and the file as it was found
                                       stays beside it as metrics.jsonl.damaged
    the checkpoint is of an earlier    it has no checksum, so readable records count as correct
    version

A sentence tells the user what was dropped or damaged. Read with notebook 09.
"""

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from dreamer_lite.runs import disk
from dreamer_lite.runs.errors import explained

Record = dict[str, Any]  # see `progress.make_record`
Known = Mapping[str, Any]  # {"rows", "bytes", "sha256"} of the records up to a checkpoint


class Log:
    """metrics.jsonl while a run trains: records are appended, and hashed as they come."""

    def __init__(self, file: Path):
        self.file = file
        content = _content(file)
        self.stream = file.open("ab", buffering=0)
        self.digest = hashlib.sha256(content)
        self.size, self.rows = len(content), content.count(b"\n")
        disk.sync_folder(file.parent)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def write(self, record: Record) -> None:
        """Append a record, without a buffer."""
        line = (json.dumps(record) + "\n").encode()
        with explained(OSError, OSError, self._failed):
            if self.stream.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.digest.update(line)
        self.size += len(line)
        self.rows += 1

    def sync(self) -> Known:
        """Wait until all records are on the disk; returns their count and checksum."""
        with explained(OSError, OSError, self._failed):
            os.fsync(self.stream.fileno())
        return {"rows": self.rows, "bytes": self.size, "sha256": self.digest.hexdigest()}

    def _failed(self, why: str) -> str:
        return (
            f"Could not write {self.file} ({why}): make room there, then type the same command "
            "again; earlier checkpoints are intact."
        )


def repair(file: Path, updates: int, known: Known | None) -> list[str]:
    """Leave in `file` the records up to `updates`, where the checkpoint is; see above.

    `known` is the result of `Log.sync` that the checkpoint stores. Returns sentences for the user.

    Raises:
      OSError: the file cannot be read or written.
    """
    content = _content(file)
    if _matches(content, known):
        kept, later = content[: known["bytes"]], content[known["bytes"] :]  # type: ignore
    else:
        lines = content.splitlines(keepends=True)
        rows = _rows(content, updates)
        last = max((number for number, line in enumerate(lines) if line in rows), default=-1)
        kept, later = b"".join(rows), b"".join(lines[last + 1 :])
        if known or kept + later != content or (updates and updates not in rows.values()):
            return [_set_aside(file, content, kept, updates, known)]
    if not later:
        return []
    os.truncate(file, len(kept))
    lost = len(later.splitlines())
    where = f"after the checkpoint, update {updates:,}," if updates else "without a checkpoint"
    many = f"{lost} records {where} were" if lost > 1 else f"1 record {where} was"
    return [f"{file}: {many} dropped; training makes such records again."]


def _set_aside(file: Path, content: bytes, kept: bytes, updates: int, known: Known | None) -> str:
    """Keep only these records of a damaged file, and the damaged file under another name."""
    of = f" of its {known['rows']}" if known else ""
    sentence = (
        f"{file} is not as it was written: {len(kept.splitlines())}{of} records up to update "
        f"{updates:,} can be read and are kept"
    )
    if kept != content:
        names = (f"{file.name}.damaged{number if number > 1 else ''}" for number in count(1))
        aside = next(p for name in names if not os.path.lexists(p := file.with_name(name)))
        disk.replace(aside, content)
        disk.replace(file, kept)
        sentence += f"; the file as it was found is {aside.name} beside it"
    return sentence + "."


def best(contents: list[bytes], updates: int, known: Known | None) -> bytes:
    """Of several contents of metrics.jsonl, the one with the most records of a checkpoint."""
    return max(contents, key=lambda x: (_matches(x, known), len(_rows(x, updates))))


def count_records(file: Path) -> int:
    """The number of lines; 0 without a file."""
    return len(_content(file).splitlines())


def _matches(content: bytes, known: Known | None) -> bool:
    """Whether it begins with the records that the checkpoint has a checksum of."""
    if known is None or len(content) < known["bytes"]:
        return False
    return hashlib.sha256(content[: known["bytes"]]).hexdigest() == known["sha256"]


def _rows(content: bytes, updates: int) -> dict[bytes, int]:
    """{line: its updates} for whole lines that can be read, up to `updates`, each once."""
    found = {}
    for line in content.splitlines(keepends=True):
        try:
            made = json.loads(line)["updates"]
            if line.endswith(b"\n") and isinstance(made, int) and made <= updates:
                found[line] = made
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


def _content(file: Path) -> bytes:
    """All of a file; nothing if there is none. Raises OSError, also for what is no regular file."""
    if not os.path.lexists(file):
        return b""
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, f"{file.name} is no regular file", str(file))
    return file.read_bytes()
