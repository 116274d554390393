"""A copy of a run in a folder that may vanish from one moment to the next, such as Google Drive.

    DIR/slot-0, slot-1     the run without its replay: the newest copy and the one before
    DIR/replay-0000, ...   time steps of the replay, each written once
    DIR/metrics.jsonl      the progress records
    DIR/agent.safetensors  the newest agent, with agent.json; and summary.json

Such a folder is slow, uploads at any time, and moves deleted files to a trash that uses up the
quota. Therefore each time step is written once, files are few and overwritten in place, and
checksums show which of them arrived whole. If a slot did not arrive, the one before remains. If the
disk of the folder is not mounted, the folder is never made on another disk: `check` makes the last
part of its path and a file in it, and `push` refuses a folder without that file. A run continues
from a checkpoint on the local disk, which `fetch` makes. Its stored latents are older than those of
the interrupted run, so the two are not equal bit for bit. Read with notebook 09.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamer_lite import files
from dreamer_lite.config import Config
from dreamer_lite.runs import checkpoints, disk, records
from dreamer_lite.runs.description import check_settings
from dreamer_lite.runs.errors import CheckpointError, RunError, explained, reason
from dreamer_lite.training.state import RunState

CHUNK = 2**28  # bytes of replay in a file
_DIGEST = 64  # characters of a SHA-256, the start of a slot


class Slot(NamedTuple):
    """The content of a slot."""

    number: int  # of the push that wrote it
    meta: dict[str, Any]  # as in a checkpoint
    ring: list[int]  # [time steps of a full ring, axis of time]
    chunks: list[dict[str, Any]]  # which file holds which time steps; see `_write_steps`
    arrays: dict[str, np.ndarray]  # all but the rings


def push(folder: Path, state: RunState, meta: Mapping[str, Any], metrics: Path) -> None:
    """Bring the copy in `folder` up to date, after `check` has been called.

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
        chunks = _write_steps(folder, rings, ring, int(arrays["replay.added"].max()), slots)
        number = 1 + max((slot.number for slot in slots), default=0)
        about = dict(number=number, meta=meta, ring=ring, chunks=chunks)
        data = _to_bytes(arrays, {"about": json.dumps({"format": checkpoints.FORMAT} | about)})
        _overwrite(folder / "metrics.jsonl", metrics.read_bytes())
        _overwrite(folder / f"slot-{number % 2}", _digest(data).encode() + data)
    except (OSError, CheckpointError) as error:
        raise OSError(
            f"Could not copy the run to {folder} ({reason(error)}): make sure that it can be "
            "written and has room, or leave --mirror out; the run itself is intact."
        ) from error


def add(folder: Path, run: Path, names: Iterable[str]) -> None:
    """Copy files of the run folder, such as its agent and films, into the mirror, in place.

    Raises OSError if they cannot be written; one sentence.
    """
    try:
        _check_mounted(folder)
        for name in names:
            _overwrite(folder / name, (run / name).read_bytes())
    except OSError as error:
        raise OSError(
            f"Could not copy {', '.join(names)} to {folder} ({reason(error)}): make sure that it "
            "can be written and has room; the run itself is intact."
        ) from error


def check(folder: Path) -> None:
    """Make the last part of the path if it is missing.

    Raises:
      RunError: nothing can be written there.
    """
    failed, remedy = f"Cannot write a copy in {folder}", "choose another folder with --mirror"
    with explained(OSError, RunError, lambda why: f"{failed} ({why}): {remedy}, or leave it out."):
        _check_mounted(folder)
        try:
            folder.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            missing = f"there is no folder {folder.parent}: make it, or mount its disk"
            raise FileNotFoundError(errno.ENOENT, missing) from error
        (folder / "metrics.jsonl").open("ab").close()  # a file for a test would go to the trash


def keep_apart(folder: Path, run: Path) -> None:
    """Raise RunError if a copy in `folder` would get among the files of a run. Writes nothing."""
    if _inside(folder, run) or _inside(run, folder):
        raise RunError(
            f"The run folder {run} and its copy in {folder} are one folder, or one is in the "
            "other: choose another folder with --mirror, best on another disk."
        )
    if (folder / "config.json").exists():
        raise RunError(f"{folder} is a run folder itself: choose another folder with --mirror.")


def _inside(inner: Path, outer: Path) -> bool:
    """Whether a folder is another or within it, under any of their names."""
    inner, outer = inner.resolve(), outer.resolve()
    for place in (inner, *inner.parents):
        with contextlib.suppress(OSError):
            if place == outer or place.samefile(outer):
                return True
    return False


def _check_mounted(folder: Path) -> None:
    """Raise OSError for a folder on Google Drive, by Colab's path, while Drive is not mounted."""
    place = Path(os.path.abspath(folder))
    inside = Path(files.DRIVE) in (place, *place.parents, *place.resolve().parents)
    if inside and not os.path.ismount(files.DRIVE):
        raise OSError(errno.ENODEV, "Google Drive is not mounted: call colab.drive() first")


def _progress(meta: Mapping[str, Any]) -> tuple[int, int]:
    return meta["summary"]["updates"], meta["summary"]["agent_steps"]


def _write_steps(
    folder: Path, rings: dict[str, np.ndarray], ring: list[int], added: int, slots: list[Slot]
) -> list[dict[str, Any]]:
    """Write the time steps that are not there yet; returns the files of all those in the ring.

    "file" and "sha256" are a file and its checksum; "first" and "end" the range of time steps in
    it; "last" is a checksum of the observations, actions and rewards of the last of them.
    """
    length, axis = ring

    def steps(first: int, end: int) -> dict[str, np.ndarray]:
        place = np.arange(first, end) % length
        return {name: x.take(place, axis) for name, x in rings.items()}

    def last(end: int) -> str:  # without latents, because those are written back
        seen = {name: x for name, x in steps(end - 1, end).items() if ".rows." in name}
        return _digest(_to_bytes(seen))

    oldest = max(0, added - length)
    chunks = [chunk for chunk in slots[0].chunks if chunk["end"] > oldest] if slots else []
    if chunks and (chunks[-1]["end"] > added or last(chunks[-1]["end"]) != chunks[-1]["last"]):
        chunks = []  # of another continuation of the same run
    in_use = {chunk["file"] for slot in slots for chunk in slot.chunks}
    each = max(1, CHUNK * length // sum(x.nbytes for x in rings.values()))
    for first in range(chunks[-1]["end"] if chunks else oldest, added, each):
        end = min(first + each, added)
        name = next(n for i in itertools.count() if (n := f"replay-{i:04d}") not in in_use)
        in_use.add(name)
        data = _to_bytes(steps(first, end))
        _overwrite(folder / name, data)
        chunks.append(dict(file=name, sha256=_digest(data), first=first, end=end, last=last(end)))
    return chunks


def exists(folder: Path) -> bool:
    """Whether `folder` holds a copy of a run."""
    return bool(_written(folder))


def _written(folder: Path) -> list[Path]:
    """The files of slots, complete or not."""
    return [file for name in ("slot-0", "slot-1") if (file := folder / name).exists()]


def _damaged(folder: Path) -> str:
    return (
        f"The copy of a run in {folder} is damaged or has not arrived whole: wait until it has "
        "been uploaded, or choose another folder with --mirror."
    )


def take_home(folder: Path, config: Config, run: Path, tell: Callable[[str], object]) -> None:
    """`fetch` the run into the folder `run` if the copy in `folder` is ahead of it.

    Raises:
      RunError: the copy is of a run of another config, or something cannot be read or written.
      CheckpointError: as `fetch`.
    """
    failed = f"Cannot take the run from its copy in {folder}"
    wait = "wait until that folder can be read, or leave --mirror out."
    with explained(OSError, RunError, lambda why: f"{failed} ({why}): {wait}"):
        here = checkpoints.exists(run / "state")
        slots = _slots(folder)
        if slots:
            meta = slots[0].meta
            check_settings(config, meta["config"], folder)
            updates = checkpoints.read_meta(run / "state")["summary"]["updates"] if here else -1
            if meta["summary"]["updates"] > updates:
                fetch(folder, run, tell)
        elif here and len(_written(folder)) == 1:
            tell(f"The first copy in {folder} was cut off: it will be made again.")
        elif exists(folder):
            raise CheckpointError(_damaged(folder))


def fetch(folder: Path, run: Path, tell: Callable[[str], object] = warnings.warn) -> None:
    """Make a checkpoint in the run folder `run` from the copy in `folder`, after its records.

    If the newest slot or a part of its replay did not arrive whole, the slot before is used, and
    `tell` is called. Records that are already in `run` stay if more of them are correct.

    Raises:
      CheckpointError: no slot is complete.
      OSError: something cannot be read or written.
    """
    for slot in (slots := _slots(folder)):
        if (rings := _rings(folder, slot)) is not None:
            break
    else:
        raise CheckpointError(_damaged(folder))
    if slot is not slots[0] or len(slots) < len(_written(folder)):
        tell(
            f"The newest copy in {folder} did not arrive whole: continuing from the one before, "
            f"update {slot.meta['summary']['updates']}."
        )
    logs = [place / "metrics.jsonl" for place in (folder, run)]
    found = [file.read_bytes() for file in logs if file.exists()]
    run.mkdir(parents=True, exist_ok=True)
    if found:  # first, because after the checkpoint the copy would not be fetched again
        known = slot.meta.get("metrics")
        chosen = records.best(found, slot.meta["summary"]["updates"], known)
        disk.replace(run / "metrics.jsonl", chosen)
    checkpoints.write(run / "state", slot.arrays | rings, slot.meta)


def _slots(folder: Path) -> list[Slot]:
    """The complete slots, newest first."""
    from safetensors.numpy import load

    found = []
    for file in _written(folder):
        content = file.read_bytes()
        data = content[_DIGEST:]
        if not data or _digest(data).encode() != content[:_DIGEST]:
            continue
        about = json.loads(_metadata(data)["about"])
        checkpoints.check_format(about.pop("format"), f"The copy of a run in {folder}")
        found.append(Slot(**about, arrays=load(data)))
    return sorted(found, key=lambda slot: -slot.number)


def _rings(folder: Path, slot: Slot) -> dict[str, np.ndarray] | None:
    """The rings of the replay without empty time steps, as in a checkpoint; None if incomplete."""
    from safetensors.numpy import load

    rings: dict[str, np.ndarray] = {}
    length, axis = slot.ring
    used = min(length, slot.chunks[-1]["end"])
    for chunk in slot.chunks:
        file = folder / chunk["file"]
        data = file.read_bytes() if file.exists() else b""
        if _digest(data) != chunk["sha256"]:
            return None
        for name, steps in load(data).items():
            if name not in rings:
                shape = list(steps.shape)
                shape[axis] = used
                rings[name] = np.zeros(shape, steps.dtype)
            place = np.arange(chunk["first"], chunk["end"]) % length
            rings[name][(*(slice(None),) * axis, place)] = steps
    return rings


def _to_bytes(arrays: Mapping[str, np.ndarray], header: dict[str, str] | None = None) -> bytes:
    from safetensors.numpy import save

    return save({name: np.asarray(x, order="C") for name, x in arrays.items()}, header)


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size])["__metadata__"]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _overwrite(file: Path, data: bytes) -> None:
    """Write in place, because a deleted or replaced file would stay in the trash."""
    with file.open("r+b" if file.exists() else "wb") as stream:
        stream.write(data)
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())
