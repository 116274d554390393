"""Checkpoints: all of a run on disk, in numbered folders that Orbax writes arrays into.

A checkpoint is written beside its place and renamed into it, so that a killed process leaves the
one before intact. Its files and folders are on the disk before `save` returns. A SHA-256 of every
file detects damage; files that file managers leave there do not matter. Nothing is ever pickled.

Numbering, renaming and retention are ours because Orbax's `CheckpointManager` renames a step before
our checksums could be part of it, and never waits until the rename is on the disk (`fsync`).
After a crash, the newest step could therefore be incomplete without a way to notice it.
Read with notebook 09.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite import files
from dreamer_lite.runs import disk
from dreamer_lite.runs.errors import MALFORMED, CheckpointError, explained, in_short, reason
from dreamer_lite.training import hosts
from dreamer_lite.training.state import RunState

FORMAT = 1  # of checkpoints and agent files; a higher one is refused
KEEP = 2  # checkpoints that stay
PARAMS = "learner.params."  # prefix of the names of an agent's parameters in a RunState
_NAMES_ON_DISK = {
    "envs": "actors",
    "carry": "mind",
    "steps": "rows",
    "timesteps": "rows",
    "timestep": "row",
}
Result = TypeVar("Result")
_NOT_OURS = re.compile(r"\..*|.*~|Thumbs\.db|desktop\.ini|Icon\r")  # left by file managers and NFS


# Writing


def save(folder: Path, state: RunState, meta: Mapping[str, Any]) -> Path:
    """Write the next checkpoint into `folder`, remove all but the latest two, return its path.

    Time steps of the replay that are still empty are left out. The state stays usable. `meta` is
    plain JSON: "config" of the run, "summary" of its progress, and for several agents "agents",
    the numbers of the summary that each agent has of its own ({name: [N values]}).

    Raises:
      OSError: one sentence; earlier checkpoints are untouched.
      FloatingPointError: a number is not finite, so that no run could continue from it.
    """
    rings, rest = split_rings(state)
    used = max(1, min(int(rest["replay.added"].max()), ring_length(state)))
    filled = (*(slice(None),) * time_axis(state), slice(used))
    arrays = rest | {name: x[filled] for name, x in rings.items()}
    for name, x in arrays.items():
        floats = jnp.issubdtype(x.dtype, jnp.floating) and x.size > 0
        # The least and the greatest number suffice, and need no memory, unlike a mask.
        if floats and not (np.isfinite(x.min()) and np.isfinite(x.max())):
            raise FloatingPointError(
                f"A number in {name} was not finite at update {int(np.max(state.updates))}."
            )
    return write(folder, arrays, meta)


def write(folder: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> Path:
    """`save` for arrays by name, without the empty time steps of the replay."""
    earlier = _listing(folder)
    place = folder / f"{int(earlier[-1].name) + 1 if earlier else 1:06d}"
    partial = folder / "partial"
    agent = {name: x for name, x in arrays.items() if name.startswith(PARAMS)}
    rest = {name: x for name, x in arrays.items() if name not in agent}
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, exist_ok=True)
        _check_room(partial / "room", sum(x.nbytes for x in arrays.values()))
        with _orbax() as orbax:
            orbax.save(partial.absolute() / "agent", agent)
            orbax.save(partial.absolute() / "run", rest)
        disk.write(partial / "meta.json", json.dumps(meta, indent=2).encode())
        manifest = {"format": FORMAT, "files": _checksums(partial)}
        disk.write(partial / "manifest.json", json.dumps(manifest, indent=2).encode())
        for inner in (partial, *(p for p in partial.rglob("*") if p.is_dir())):
            disk.sync_folder(inner)
        partial.rename(place)
        disk.sync_folder(folder)
    except Exception as error:  # the libraries below have no common class for a full disk
        shutil.rmtree(partial, ignore_errors=True)
        raise OSError(
            f"Could not save a checkpoint in {folder} ({reason(error)}): make room there, then "
            "type the same command again; earlier checkpoints are intact."
        ) from error
    for old in earlier[: 1 - KEEP]:
        with contextlib.suppress(OSError):  # it stays, and the next save tries again
            gone = folder / "removed"  # what is half removed must not look like a checkpoint
            shutil.rmtree(gone, ignore_errors=True)
            old.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
    return place


def _check_room(file: Path, size: int) -> None:
    """Raise OSError if `size` bytes, before compression, do not fit on the disk.

    Orbax would also find out, but with many pages of tracebacks.
    """
    with file.open("wb") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        elif shutil.disk_usage(file.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    file.unlink()


def _orbax() -> Any:
    """Orbax's writer and reader, imported late because the import takes 0.4 s."""
    with files.without_current_folder():
        import orbax.checkpoint

    logging.getLogger("absl").setLevel(logging.ERROR)  # its warnings need no action
    if not hosts.several():
        handler = orbax.checkpoint.PyTreeCheckpointHandler(use_zarr3=True)
        return orbax.checkpoint.Checkpointer(handler)
    # The first process alone writes and reads; Orbax would otherwise wait for the others.
    alone = orbax.checkpoint.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix="dreamer_lite"
    )
    handler = orbax.checkpoint.PyTreeCheckpointHandler(
        use_zarr3=True, multiprocessing_options=alone
    )
    return orbax.checkpoint.Checkpointer(handler, multiprocessing_options=alone)


# Reading


def exists(folder: Path) -> bool:
    """Whether `folder` holds a checkpoint."""
    return bool(_listing(folder))


def read_meta(folder: Path) -> dict[str, Any]:
    """The `meta` of the newest checkpoint, every file of which is checked.

    Raises:
      CheckpointError: it is missing, damaged, foreign or newer.
    """
    return while_it_changes(folder, lambda: verified(folder)[1])


def restore(folder: Path, like: RunState) -> tuple[RunState, dict[str, Any]]:
    """The newest checkpoint in `folder`, as (state, meta).

    `like` is a fresh state of the same run, which gives structure, shapes and dtypes.

    Raises:
      CheckpointError: as `read_meta`; also if it is not a state like `like`.
    """
    place, meta = verified(folder)
    arrays = read(place, "agent") | read(place, "run")
    return rebuild(arrays, like, f"Checkpoint {place}"), meta


def restore_on_all(folder: Path, like: RunState) -> RunState:
    """`restore` for a run of several processes: the first one reads, and all get the state."""
    if not hosts.several():
        return restore(folder, like)[0]

    def load() -> dict[str, np.ndarray]:
        place, _ = verified(folder)
        return read(place, "agent") | read(place, "run")

    return rebuild(hosts.share(load), like, f"The checkpoint in {folder}")


def while_it_changes(folder: Path, load: Callable[[], Result]) -> Result:
    """load(), and again if a training process removed the newest checkpoint in the meantime."""
    while True:
        newest = _listing(folder)[-1:]
        try:
            return load()
        except CheckpointError:
            if all(place.exists() for place in newest):
                raise


def verified(folder: Path) -> tuple[Path, dict[str, Any]]:
    """(path, meta) of the newest checkpoint, if every file is as it was written.

    Raises:
      CheckpointError: as `read_meta`.
    """
    found = _listing(folder)
    if not found:
        raise CheckpointError(
            f"There is no checkpoint in {folder}: train first, or name another folder."
        )
    place, changed = found[-1], ["manifest.json"]
    after = f"go on from the earlier {found[-2].name}" if len(found) > 1 else "train anew"
    remedy = f"move the folder {place} elsewhere to {after}"
    try:
        text = _of_file(place / "manifest.json", lambda stream: stream.read())
        if text is None and not any(place.iterdir()):
            raise CheckpointError(f"Checkpoint {place} is empty: {remedy}.")
        manifest = json.loads(text or b"")
        check_format(manifest["format"], f"Checkpoint {place}")
        sums = manifest["files"]
        changed = _changed(place, sums) if "meta.json" in sums else changed
        if not changed:
            changed = ["meta.json"]
            return place, json.loads(_of_file(place / "meta.json", lambda stream: stream.read()))
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(_unreadable(place, reason(error))) from error
    except MALFORMED:
        pass
    raise CheckpointError(
        f"Checkpoint {place} is damaged or incomplete ({in_short(changed[0], 80)} is not as it was "
        f"written): {remedy}."
    )


def read(place: Path, part: str) -> dict[str, np.ndarray]:
    """The arrays of the "agent" or of the rest ("run") of a checkpoint, by name.

    Raises:
      CheckpointError: Orbax cannot read them, although the files are as they were written.
    """
    for file in (place / part).rglob("*"):
        if not (file.is_file() or file.is_dir()):  # reading from a pipe would block
            raise CheckpointError(f"Checkpoint {place} is damaged: {file} is no file.")
    failed = f"Checkpoint {place} cannot be read"
    remedy = "use the version of Dreamer Lite and of orbax-checkpoint that wrote it"
    with (
        explained(Exception, CheckpointError, lambda why: f"{failed} ({why}): {remedy}."),
        _orbax() as orbax,
    ):
        return orbax.restore(place.absolute() / part)


def check_format(found: Any, what: str) -> None:
    """Raise CheckpointError unless this version can read the format of `what`."""
    if found != FORMAT:
        raise CheckpointError(
            f"{what} has format {in_short(found)}, and this version of Dreamer Lite reads format "
            f"{FORMAT}: use the version that wrote it."
        )


def _listing(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first."""
    with explained(OSError, CheckpointError, lambda why: _unreadable(folder, why)):
        try:
            found = list(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(p for p in found if re.fullmatch(r"\d{6}", p.name) and p.is_dir())


def _unreadable(file: Path, why: str) -> str:
    return (
        f"Cannot read {file} ({why}): it may be intact, so make it readable, and type the same "
        "command again."
    )


# Checksums


def _checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of ours below `folder`, by name."""
    names = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    ours = sorted(n.as_posix() for n in names if not any(map(_NOT_OURS.fullmatch, n.parts)))
    return {name: found for name in ours if (found := _checksum(folder, name))}


def _changed(folder: Path, sums: Mapping[str, str]) -> list[str]:
    """The files, of those with a checksum, that are not as they were written."""
    return sorted(name for name in sums if _checksum(folder, name) != sums[name])


def _checksum(folder: Path, name: str) -> str | None:
    """SHA-256 of a file in `folder`, None if there is none."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    digest = _of_file(folder / name, lambda file: hashlib.file_digest(file, "sha256"))
    return digest and digest.hexdigest()


def _of_file(file: Path, use: Callable[[BufferedReader], Any]) -> Any:
    """use(stream) of a regular file; None where there is none.

    Raises:
      CheckpointError: it exists, but cannot be read.
    """
    with explained(OSError, CheckpointError, lambda why: _unreadable(file, why)):
        try:
            with files.open_regular(file) as stream:
                return use(stream)
        except OSError as error:  # the last two: a link to itself; a pipe or a device
            missing = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL)
            if error.errno not in missing:
                raise
    return None


# Arrays by name


def split_rings(state: RunState) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Every array by name, on the host: (rings of the replay, all others). On a CPU no copies."""
    rings, rest = {}, {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        host = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        (rings if _is_ring(path, host, time_axis(state)) else rest)[name_on_disk(path)] = host
    return rings, rest


def time_axis(state: RunState) -> int:
    """The axis of time in a ring: 0, or 1 after the axis of several agents."""
    return state.steps.ndim


def ring_length(state: RunState) -> int:
    """Time steps of each environment that the replay holds when it is full."""
    return state.replay.deter.shape[time_axis(state)]


def rebuild(arrays: Mapping[str, np.ndarray], like: Any, what: str) -> Any:
    """A tree like `like` with these arrays.

    Raises:
      CheckpointError: they differ from `like` in names, shapes or dtypes.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    axis = time_axis(like) if isinstance(like, RunState) else 0
    odd = sorted({name_on_disk(path) for path, _ in leaves} ^ set(arrays))
    rebuilt = []
    for path, leaf in leaves if not odd else []:
        saved = arrays[name_on_disk(path)]
        wanted = jax.random.key_data(leaf) if _is_key(leaf) else leaf
        if _is_ring(path, saved, axis) and saved.ndim == wanted.ndim:
            empty = [(0, 0)] * saved.ndim
            empty[axis] = (0, max(0, wanted.shape[axis] - saved.shape[axis]))
            saved = np.pad(saved, empty)
        if saved.shape != wanted.shape or saved.dtype != wanted.dtype:
            odd = [name_on_disk(path)]
            break
        sharded = isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1
        if sharded and not leaf.is_fully_addressable:
            rebuilt.append(hosts.place(saved, leaf))
            continue
        array = jnp.array(saved)  # a copy: memory that numpy owns cannot be donated
        array = jax.random.wrap_key_data(array) if _is_key(leaf) else array
        rebuilt.append(jax.device_put(array, leaf.sharding) if sharded else array)
    if odd:
        raise CheckpointError(
            f"{what} does not fit this program ({in_short(odd[0], 80)} differs in name, shape or "
            "type): use the version of Dreamer Lite that wrote it, or train anew."
        )
    return tree.unflatten(rebuilt)


def name_on_disk(path: tuple) -> str:
    """The name of an array on disk. Renamed fields keep the name of the first version."""
    names = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
    return ".".join([*(_NAMES_ON_DISK.get(name, name) for name in names[:2]), *names[2:]])


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _is_ring(path: tuple, array: np.ndarray, axis: int) -> bool:
    return name_on_disk(path[:1]) == "replay" and array.ndim > axis
