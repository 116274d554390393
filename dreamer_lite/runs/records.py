"""The progress records of a run, metrics.jsonl: a JSON object a line, and what became of them.

A checkpoint knows how many rows there were when it was written, their bytes and their SHA-256. So a
run that goes on can tell three cases apart:

    the rows up to the checkpoint are there   what is behind them is dropped: training makes it anew
    they are not, or not as they were         every row that can be read is kept, and the file as it
                                              was found stays beside it as metrics.jsonl.damaged
    a checkpoint of an earlier version        has no checksum: rows that can be read count as right

Whatever is dropped or damaged is told in a sentence. Read with notebook 08.
"""

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from dreamer_lite.runs.checkpoints import replace, sync_folder

Known = Mapping[str, Any]  # {"rows", "bytes", "sha256"} of the rows up to a checkpoint


class Log:
    """metrics.jsonl while a run goes on: rows are appended, and hashed as they come."""

    def __init__(self, file: Path):
        self.file = file
        content = _content(file)
        self.stream = file.open("ab", buffering=0)
        self.digest = hashlib.sha256(content)
        self.size, self.rows = len(content), content.count(b"\n")
        sync_folder(file.parent)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def write(self, record: dict[str, Any]) -> None:
        """Append a row; there is no buffer, so it is on its way to the disk at once."""
        line = (json.dumps(record) + "\n").encode()
        try:
            if self.stream.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise self._in_a_sentence(error) from error
        self.digest.update(line)
        self.size += len(line)
        self.rows += 1

    def sync(self) -> Known:
        """Wait until all rows are on the disk; returns what a checkpoint is to know of them."""
        try:
            os.fsync(self.stream.fileno())
        except OSError as error:
            raise self._in_a_sentence(error) from error
        return {"rows": self.rows, "bytes": self.size, "sha256": self.digest.hexdigest()}

    def _in_a_sentence(self, error: OSError) -> OSError:
        return OSError(
            f"Could not write {self.file} ({error.strerror}): make room there, then type the same "
            "command again; earlier checkpoints are intact."
        )


def repair(file: Path, updates: int, known: Known | None) -> list[str]:
    """Leave in `file` the rows up to `updates`, those of the checkpoint; see above.

    `known` is what the checkpoint knows of them. Returns what is to be told, a sentence each.

    Raises:
      OSError: the file cannot be read or written.
    """
    content = _content(file)
    if _matches(content, known):
        kept, behind = content[: known["bytes"]], content[known["bytes"] :]  # type: ignore
    else:
        lines = content.splitlines(keepends=True)
        rows = _rows(content, updates)
        last = max((number for number, line in enumerate(lines) if line in rows), default=-1)
        kept, behind = b"".join(rows), b"".join(lines[last + 1 :])
        if known or kept + behind != content or (updates and updates not in rows.values()):
            return [_keep_rows(file, content, kept, updates, known)]
    if not behind:
        return []
    os.truncate(file, len(kept))
    lost = len(behind.splitlines())
    where = f"beyond the checkpoint, update {updates:,}," if updates else "without a checkpoint"
    many = f"{lost} rows {where} were" if lost > 1 else f"1 row {where} was"
    return [f"{file}: {many} dropped; training makes such rows again."]


def _keep_rows(file: Path, content: bytes, kept: bytes, updates: int, known: Known | None) -> str:
    """Keep only these rows of a damaged file, and the file as it is under another name."""
    of = f" of its {known['rows']}" if known else ""
    said = (
        f"{file} is not as it was written: {len(kept.splitlines())}{of} rows up to update "
        f"{updates:,} can be read and are kept"
    )
    if kept != content:
        names = (f"{file.name}.damaged{number if number > 1 else ''}" for number in count(1))
        aside = next(p for name in names if not os.path.lexists(p := file.with_name(name)))
        replace(aside, content)
        replace(file, kept)
        said += f"; the file as it was found is {aside.name} beside it"
    return said + "."


def best(contents: list[bytes], updates: int, known: Known | None) -> bytes:
    """Of several contents of metrics.jsonl that with the most rows of a checkpoint."""
    return max(contents, key=lambda x: (_matches(x, known), len(_rows(x, updates))))


def rows_in(file: Path) -> int:
    """How many lines there are; 0 without a file."""
    return len(_content(file).splitlines())


def _matches(content: bytes, known: Known | None) -> bool:
    """Whether it begins with the rows that the checkpoint knows."""
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
