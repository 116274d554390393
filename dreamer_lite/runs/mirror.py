"""A copy of a run in a folder that may vanish from one moment to the next, such as Google Drive.

    DIR/slot-0, slot-1     all of the run but its replay: the newer and the one before
    DIR/replay-0000, ...   rows of the replay, each written once
    DIR/metrics.jsonl      the progress records

Such a folder is slow, uploads when it likes, and keeps what is deleted in a trash that counts: so
rows are written once, files are overwritten in place and few, and what arrived whole is told by
checksums. A slot that did not arrive leaves the one before. A folder that is not there, because its
disk is not mounted, is never made on another disk: `check` makes the last part of its path and a
file in it, and `push` refuses a folder without that file. What a run goes on from is a checkpoint
on the local disk, which `fetch` makes; only stored latents are older there than they were, so such
a run is as good as the one that was cut off, but not equal bit for bit. Read with notebook 08.
"""

import errno
import hashlib
import itertools
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamer_lite import files
from dreamer_lite.runs import checkpoints, records
from dreamer_lite.runs.checkpoints import CheckpointError
from dreamer_lite.training.state import RunState

CHUNK = 2**28  # bytes; rows of a file of replay
_DIGEST = 64  # characters of a SHA-256, which a slot begins with


class Slot(NamedTuple):
    """What a slot says."""

    number: int  # of the push that wrote it
    meta: dict[str, Any]  # as in a checkpoint
    ring: list[int]  # [rows of a full ring, axis of time]
    chunks: list[dict[str, Any]]  # rows [first, end) of every stream in a file; see `_write_rows`
    arrays: dict[str, np.ndarray]  # all but the rings


def push(folder: Path, state: RunState, meta: Mapping[str, Any], metrics: Path) -> None:
    """Bring the copy in `folder`, which `check` has seen, up to date.

    `meta` as in `checkpoints.save`.

    Raises:
      OSError: one sentence; the copy of the push before is untouched.
    """
    try:
        _check_mounted(folder)
        if not (folder / "metrics.jsonl").exists():
            raise FileNotFoundError(errno.ENOENT, "the folder is gone or is another one")
        slots = _slots(folder)
        if slots and _progress(slots[0].meta) == _progress(meta):
            return  # two slots that are the same would be no help
        rings, arrays = checkpoints.split_rings(state)
        ring = [checkpoints.ring_length(state), checkpoints.time_axis(state)]
        chunks = _write_rows(folder, rings, ring, int(state.replay.added.max()), slots)
        number = 1 + max((slot.number for slot in slots), default=0)
        about = dict(number=number, meta=meta, ring=ring, chunks=chunks)
        data = _to_bytes(arrays, {"about": json.dumps({"format": checkpoints.FORMAT} | about)})
        _overwrite(folder / "metrics.jsonl", metrics.read_bytes())
        _overwrite(folder / f"slot-{number % 2}", _digest(data).encode() + data)
    except (OSError, CheckpointError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(
            f"Could not copy the run to {folder} ({reason}): see that it can be "
            "written and has room, or leave --mirror out; the run itself is intact."
        ) from error


def check(folder: Path) -> None:
    """Make the last part of the path if need be; raise OSError if nothing can be written there."""
    _check_mounted(folder)
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        what = f"there is no folder {folder.parent}: make it, or mount its disk"
        raise FileNotFoundError(errno.ENOENT, what) from error
    with (folder / "metrics.jsonl").open("ab"):  # made here; a file to try with would fill a trash
        pass


def _check_mounted(folder: Path) -> None:
    """Raise OSError for a folder on Google Drive, by Colab's path, while Drive is not mounted."""
    place = Path(os.path.abspath(folder))
    inside = Path(files.DRIVE) in (place, *place.parents, *place.resolve().parents)
    if inside and not os.path.ismount(files.DRIVE):
        raise OSError(errno.ENODEV, "Google Drive is not mounted: call colab.drive() first")


def _progress(meta: Mapping[str, Any]) -> tuple[int, int]:
    return meta["summary"]["updates"], meta["summary"]["agent_steps"]


def _write_rows(
    folder: Path, rings: dict[str, np.ndarray], ring: list[int], added: int, slots: list[Slot]
) -> list[dict[str, Any]]:
    """Write the rows that are not there yet; returns where all rows of the ring are.

    {"file", "sha256"}: a file and its checksum; {"first", "end"}: the rows of each stream in it;
    {"last"}: a checksum of what was seen in the last of them.
    """
    length, axis = ring

    def rows(first: int, end: int) -> dict[str, np.ndarray]:
        place = np.arange(first, end) % length
        return {name: x.take(place, axis) for name, x in rings.items()}

    def last(end: int) -> str:  # latents are refreshed, so they are not part of it
        seen = {name: x for name, x in rows(end - 1, end).items() if ".rows." in name}
        return _digest(_to_bytes(seen))

    oldest = max(0, added - length)
    chunks = [chunk for chunk in slots[0].chunks if chunk["end"] > oldest] if slots else []
    if chunks and (chunks[-1]["end"] > added or last(chunks[-1]["end"]) != chunks[-1]["last"]):
        chunks = []  # rows of another past, in which the same agent lived on from elsewhere
    in_use = {chunk["file"] for slot in slots for chunk in slot.chunks}
    step = max(1, CHUNK * length // sum(x.nbytes for x in rings.values()))
    for first in range(chunks[-1]["end"] if chunks else oldest, added, step):
        end = min(first + step, added)
        name = next(n for i in itertools.count() if (n := f"replay-{i:04d}") not in in_use)
        in_use.add(name)
        data = _to_bytes(rows(first, end))
        _overwrite(folder / name, data)
        chunks.append(dict(file=name, sha256=_digest(data), first=first, end=end, last=last(end)))
    return chunks


def exists(folder: Path) -> bool:
    """Whether somebody has pushed a run into `folder`."""
    return any((folder / name).exists() for name in ("slot-0", "slot-1"))


def was_cut_off(folder: Path) -> bool:
    """Whether there is only a first slot, and it is not whole: nothing was ever copied."""
    one = (folder / "slot-0").exists() != (folder / "slot-1").exists()
    return one and not _slots(folder)


def read_meta(folder: Path) -> dict[str, Any]:
    """The `meta` of the newest slot that is whole.

    Raises:
      CheckpointError: one sentence; there is none.
    """
    slots = _slots(folder)
    if not slots:
        raise CheckpointError(_damaged(folder))
    return slots[0].meta


def _damaged(folder: Path) -> str:
    return (
        f"The copy of a run in {folder} is damaged or has not arrived whole: wait until it has "
        "been uploaded, or choose another folder with --mirror."
    )


def fetch(folder: Path, run: Path, tell: Callable[[str], object] = warnings.warn) -> None:
    """Make a checkpoint in the run folder `run` from the copy in `folder`; its records come first.

    Where the newest slot did not arrive whole, or rows that it needs, the slot before is taken,
    which `tell` is called to say. Records that are here already stay if more of them are right.

    Raises:
      CheckpointError: one sentence; no slot is whole.
      OSError: something cannot be read or written.
    """
    for slot in (slots := _slots(folder)):
        rows = _rows(folder, slot)
        if rows is not None:
            break
    else:
        raise CheckpointError(_damaged(folder))
    written = [(folder / name).exists() for name in ("slot-0", "slot-1")]
    if slot is not slots[0] or len(slots) < sum(written):
        tell(
            f"The newest copy in {folder} did not arrive whole: going on from the one before, "
            f"update {slot.meta['summary']['updates']}."
        )
    files = [place / "metrics.jsonl" for place in (folder, run)]
    found = [file.read_bytes() for file in files if file.exists()]
    run.mkdir(parents=True, exist_ok=True)
    if found:  # first, for a checkpoint that is as far as the copy would not be fetched again
        known = slot.meta.get("metrics")
        chosen = records.best(found, slot.meta["summary"]["updates"], known)
        checkpoints.replace(run / "metrics.jsonl", chosen)
    checkpoints.write(run / "state", slot.arrays | rows, slot.meta)


def _slots(folder: Path) -> list[Slot]:
    """The slots that are whole, newest first."""
    from safetensors.numpy import load

    found = []
    for file in (folder / "slot-0", folder / "slot-1"):
        content = file.read_bytes() if file.exists() else b""
        data = content[_DIGEST:]
        if not data or _digest(data).encode() != content[:_DIGEST]:
            continue
        about = json.loads(_header(data)["about"])
        checkpoints.check_format(about["format"], f"The copy of a run in {folder}")
        about.pop("format")
        found.append(Slot(**about, arrays=load(data)))
    return sorted(found, key=lambda slot: -slot.number)


def _rows(folder: Path, slot: Slot) -> dict[str, np.ndarray] | None:
    """The rings of the replay as a checkpoint has them, without empty rows; None if incomplete."""
    from safetensors.numpy import load

    rings: dict[str, np.ndarray] = {}
    length, axis = slot.ring
    used = min(length, slot.chunks[-1]["end"])
    for chunk in slot.chunks:
        file = folder / chunk["file"]
        data = file.read_bytes() if file.exists() else b""
        if _digest(data) != chunk["sha256"]:
            return None
        for name, rows in load(data).items():
            if name not in rings:
                shape = list(rows.shape)
                shape[axis] = used
                rings[name] = np.zeros(shape, rows.dtype)
            place = np.arange(chunk["first"], chunk["end"]) % length
            rings[name][(*(slice(None),) * axis, place)] = rows
    return rings


def _to_bytes(arrays: Mapping[str, np.ndarray], header: dict[str, str] | None = None) -> bytes:
    from safetensors.numpy import save

    return save({name: np.asarray(x, order="C") for name, x in arrays.items()}, header)


def _header(data: bytes) -> dict[str, str]:
    """The words that a safetensors file carries."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size])["__metadata__"]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _overwrite(file: Path, data: bytes) -> None:
    """Write in place, for what is deleted or renamed away would fill a trash."""
    with file.open("r+b" if file.exists() else "wb") as stream:
        stream.write(data)
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())
