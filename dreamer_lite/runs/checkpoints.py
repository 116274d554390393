"""Runs and agents on disk: a run as a checkpoint folder (Orbax), an agent as one file to pass on.

A checkpoint is written beside its place and renamed into it, so that a killed process leaves the
one before intact; it is on the disk, files and folders, before `save` returns. A checksum of every
file tells a damaged one; files that others leave there, as file managers do, do not matter. Nothing
is ever pickled. `runs` decides when to save and what a run folder is. Read with notebook 08.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite import files, worlds
from dreamer_lite.agent import devices
from dreamer_lite.agent.agent import Params, make_agent
from dreamer_lite.config import Config, from_dict, to_dict
from dreamer_lite.training.state import RunState

FORMAT = 1  # of checkpoints and agent files; a higher one is refused
KEEP = 2  # checkpoints that stay
LONGEST_JSON = 2**20  # bytes of what describes an agent
_NAMES_ON_DISK = {"envs": "actors", "carry": "mind"}
_AGENT = "learner.params."  # where the parameters are in a RunState
Result = TypeVar("Result")
_NOT_OURS = re.compile(r"\..*|.*~|Thumbs\.db|desktop\.ini|Icon\r")  # left by file managers and NFS


class CheckpointError(ValueError):
    """A checkpoint or agent file that cannot be used; one sentence says what and what to do."""


class LoadedAgent(NamedTuple):
    """A trained agent, ready to act and to dream."""

    config: Config
    params: Params
    info: dict[str, Any]  # return_mean, return_stderr, episodes, updates, ... of its training


# Whole runs


def save(folder: Path, state: RunState, meta: Mapping[str, Any]) -> Path:
    """Write the next checkpoint into `folder`, remove all but the latest two, return its path.

    Rows of the replay that are still empty are left out. The state stays usable. `meta` is plain
    JSON with the keys "config", of the run, "summary", how far it is, and, of several agents,
    "agents", what of the summary is each one's own ({name: [N values]}).

    Raises:
      OSError: one sentence; earlier checkpoints are untouched.
      FloatingPointError: a number in it is not finite, so that no run could go on from it.
    """
    rings, rest = split_rings(state)
    used = max(1, int(min(state.replay.added.max(), ring_length(state))))
    filled = (*(slice(None),) * time_axis(state), slice(used))
    arrays = rest | {name: x[filled] for name, x in rings.items()}
    for name, x in arrays.items():
        if not _is_finite(x):
            raise FloatingPointError(
                f"A number in {name} was not finite at update {int(np.max(state.updates))}."
            )
    return write(folder, arrays, meta)


def _is_finite(array: np.ndarray) -> bool:
    """Of floats their least and greatest tell, which takes no memory, unlike a mask."""
    if not jnp.issubdtype(array.dtype, jnp.floating) or not array.size:
        return True
    return bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def write(folder: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> Path:
    """`save` for arrays by name, rings without their empty rows."""
    earlier = _listing(folder)
    place = folder / f"{int(earlier[-1].name) + 1 if earlier else 1:06d}"
    partial = folder / "partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, exist_ok=True)
        _make_sure_of_room(partial / "room", sum(x.nbytes for x in arrays.values()))
        agent = {name: x for name, x in arrays.items() if name.startswith(_AGENT)}
        with _orbax() as orbax:
            orbax.save(partial.absolute() / "agent", agent)
            orbax.save(
                partial.absolute() / "run", {n: x for n, x in arrays.items() if n not in agent}
            )
        _write(partial / "meta.json", json.dumps(meta, indent=2).encode())
        manifest = {"format": FORMAT, "files": _checksums(partial)}
        _write(partial / "manifest.json", json.dumps(manifest, indent=2).encode())
        for inner in (partial, *(p for p in partial.rglob("*") if p.is_dir())):
            sync_folder(inner)
        partial.rename(place)
        sync_folder(folder)
    except Exception as error:  # the libraries below have no common class for a full disk
        shutil.rmtree(partial, ignore_errors=True)
        raise OSError(
            f"Could not save a checkpoint in {folder} ({_reason(error)}): make room there, then "
            "type the same command again; earlier checkpoints are intact."
        ) from error
    for old in earlier[: 1 - KEEP]:
        with contextlib.suppress(OSError):  # it stays, and the next save tries again
            _remove(old)
    return place


def _remove(place: Path) -> None:
    """Remove a folder; what is half removed must not look like a checkpoint."""
    gone = place.with_name("removed")
    shutil.rmtree(gone, ignore_errors=True)
    place.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def exists(folder: Path) -> bool:
    """Whether `folder` holds a checkpoint."""
    return bool(_listing(folder))


def read_meta(folder: Path) -> dict[str, Any]:
    """The `meta` of the newest checkpoint, every file of which is checked.

    Raises:
      CheckpointError: one sentence; it is missing, damaged, foreign or newer.
    """
    return _steadily(folder, lambda: _verified(folder)[1])


def restore(folder: Path, like: RunState) -> tuple[RunState, dict[str, Any]]:
    """The newest checkpoint in `folder`, as (state, meta).

    `like` is a fresh state of the same run, which gives structure, shapes and dtypes.

    Raises:
      CheckpointError: as `read_meta`; also if it is not a state like `like`.
    """
    place, meta = _verified(folder)
    arrays = _read(place, "agent") | _read(place, "run")
    return _rebuild(arrays, like, f"Checkpoint {place}"), meta


def newest_agent(folder: Path, seed: int | None = None) -> LoadedAgent:
    """Only the agent of the newest checkpoint; of several, that of `seed`, else the first.

    Its config and info are as if it had been trained alone. The folder may be a stranger's, or that
    of a run that is going on.

    Raises:
      CheckpointError: as `restore`; also if no agent of this run has this seed, or as `load_agent`
        if its world would import a module.
    """
    return _steadily(folder, lambda: _newest_agent(folder, seed))


def _newest_agent(folder: Path, seed: int | None) -> LoadedAgent:
    place, meta = _verified(folder)
    what = f"Checkpoint {place}"
    try:
        settings, info = dict(meta["config"]), dict(meta["summary"])
        config = _config(settings, what)
        first, count = config.seed, config.seeds
        seed = first if seed is None else seed
        if not first <= seed < first + count:
            valid = ", ".join(map(str, range(first, first + count)))
            raise CheckpointError(
                f"The run in {folder.parent} has no seed {seed}: valid behind @ are {valid}."
            )
        if count > 1:
            config = dataclasses.replace(config, seed=seed, seeds=1)
            info |= {name: values[seed - first] for name, values in meta["agents"].items()}
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{what} is damaged: its meta.json is none.") from error
    shapes = _shapes(config, what)  # before the arrays, for it may be a stranger's
    arrays = {name.removeprefix(_AGENT): x for name, x in _read(place, "agent").items()}
    if count > 1:
        arrays = {name: x[seed - first] for name, x in arrays.items()}
    return LoadedAgent(config, _rebuild(arrays, shapes, what), info)


def _steadily(folder: Path, read: Callable[[], Result]) -> Result:
    """read(), and again where a run that goes on has removed what was the newest checkpoint."""
    while True:
        newest = _listing(folder)[-1:]
        try:
            return read()
        except CheckpointError:
            if all(place.exists() for place in newest):
                raise


def _verified(folder: Path) -> tuple[Path, dict[str, Any]]:
    """(place, meta) of the newest checkpoint, if every file of it is as it was written."""
    found = _listing(folder)
    if not found:
        raise CheckpointError(
            f"There is no checkpoint in {folder}: train first, or name another folder."
        )
    place = found[-1]
    after = f"go on from the earlier {found[-2].name}" if len(found) > 1 else "train anew"
    way_out = f"move the folder {place} elsewhere to {after}"
    odd = ["manifest.json"]
    try:
        text = _of_file(place / "manifest.json", lambda stream: stream.read())
        if text is None and not any(place.iterdir()):
            raise CheckpointError(f"Checkpoint {place} is empty: {way_out}.")
        manifest = json.loads(text or b"")
        check_format(manifest["format"], f"Checkpoint {place}")
        then = manifest["files"]
        odd = _changed(place, then) if "meta.json" in then else odd
        if not odd:
            return place, json.loads(files.read_regular(place / "meta.json"))
    except CheckpointError:
        raise
    except OSError as error:
        raise _unreadable(place, error) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise CheckpointError(
        f"Checkpoint {place} is damaged or incomplete ({in_short(odd[0], 80)} is not as it was "
        f"written): {way_out}."
    )


def split_rings(state: RunState) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Every array by name, on the host: (rings of the replay, all others). On a CPU no copies."""
    rings, rest = {}, {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        host = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        (rings if _is_ring(path, host, time_axis(state)) else rest)[_name(path)] = host
    return rings, rest


def time_axis(state: RunState) -> int:
    """The axis of time in a ring: 0, or 1 behind the axis of several agents."""
    return state.rows.ndim


def ring_length(state: RunState) -> int:
    """Rows that the replay holds of each world when it is full."""
    return state.replay.deter.shape[time_axis(state)]


def _make_sure_of_room(file: Path, size: int) -> None:
    """Raise OSError if `size` bytes, before compression, do not fit on the disk.

    The storage library would find out too, but not without many pages of tracebacks.
    """
    with file.open("wb") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        elif shutil.disk_usage(file.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    file.unlink()


def _rebuild(arrays: Mapping[str, np.ndarray], like: Any, what: str) -> Any:
    """A tree like `like` with these arrays, which must agree in names, shapes and dtypes."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    axis = time_axis(like) if isinstance(like, RunState) else 0
    odd = sorted({_name(path) for path, _ in leaves} ^ set(arrays))
    rebuilt = []
    for path, leaf in leaves if not odd else []:
        saved, wanted = arrays[_name(path)], jax.random.key_data(leaf) if _is_key(leaf) else leaf
        if _is_ring(path, saved, axis) and saved.ndim == wanted.ndim:
            empty = [(0, 0)] * saved.ndim
            empty[axis] = (0, max(0, wanted.shape[axis] - saved.shape[axis]))
            saved = np.pad(saved, empty)
        if saved.shape != wanted.shape or saved.dtype != wanted.dtype:
            odd = [_name(path)]
            break
        array = jnp.array(saved)  # a copy: memory that numpy owns cannot be donated
        array = jax.random.wrap_key_data(array) if _is_key(leaf) else array
        spread = isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1
        rebuilt.append(jax.device_put(array, leaf.sharding) if spread else array)
    if odd:
        raise CheckpointError(
            f"{what} does not fit this program ({in_short(odd[0], 80)} differs in name, shape or "
            "type): use the version of Dreamer Lite that wrote it, or train anew."
        )
    return tree.unflatten(rebuilt)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _is_ring(path: tuple, array: np.ndarray, axis: int) -> bool:
    return _name(path[:1]) == "replay" and array.ndim > axis


def _name(path: tuple) -> str:
    """The name of an array on disk. Fields keep the name that they had in the first version."""
    names = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
    return ".".join([*(_NAMES_ON_DISK.get(name, name) for name in names[:2]), *names[2:]])


def _orbax() -> Any:
    """Imported as late as here: 0.4 s that a first update need not wait for."""
    with files.without_current_folder():
        import orbax.checkpoint

    logging.getLogger("absl").setLevel(logging.ERROR)  # it warns of what needs no action
    return orbax.checkpoint.Checkpointer(orbax.checkpoint.PyTreeCheckpointHandler(use_zarr3=True))


def _read(place: Path, part: str) -> dict[str, np.ndarray]:
    for file in (place / part).rglob("*"):
        if not (file.is_file() or file.is_dir()):  # a pipe would be waited for
            raise CheckpointError(f"Checkpoint {place} is damaged: {file} is no file.")
    try:
        with _orbax() as orbax:
            return orbax.restore(place.absolute() / part)
    except Exception as error:  # the files are as written, so it is the libraries that differ
        raise CheckpointError(
            f"Checkpoint {place} cannot be read ({_reason(error)}): use the version of Dreamer "
            "Lite and of orbax-checkpoint that wrote it."
        ) from error


def _listing(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first."""
    try:
        found = [p for p in folder.iterdir() if re.fullmatch(r"\d{6}", p.name) and p.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted(found)


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


def _of_file(file: Path, read: Callable[[BufferedReader], Any]) -> Any:
    """What `read` makes of a regular file; None where there is none.

    Raises:
      CheckpointError: it is there, but cannot be read.
    """
    try:
        with files.open_regular(file) as stream:
            return read(stream)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EINVAL):  # a link to itself; a pipe, a device
            return None
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"Cannot read {file} ({error.strerror}): it may be whole, so see that it can be read, and "
        "type the same command again."
    )


def check_format(found: Any, what: str) -> None:
    if found != FORMAT:
        raise CheckpointError(
            f"{what} has format {in_short(found)}, and this version of Dreamer Lite reads format "
            f"{FORMAT}: use the version that wrote it."
        )


def _reason(error: Exception) -> str:
    """The short first line of what another library had to say."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0][:160].rstrip(".: ")


# Agents to pass on


def save_agent(path: Path, params: Params, config: Config, info: Mapping[str, Any]) -> None:
    """Write `path` (.safetensors) and beside it the same name with .json, which describes it.

    `info` is plain JSON: returns, and how it was trained.

    Raises:
      OSError: the folder cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    data = to_bytes({_name(p): np.ascontiguousarray(x) for p, x in leaves})
    about = {"format": FORMAT, "world": config.world, **info, "config": to_dict(config)}
    about["checksum"] = _sign(hashlib.sha256(data), about)
    path.parent.mkdir(parents=True, exist_ok=True)
    for file, content in (
        (path, data),
        (path.with_suffix(".json"), json.dumps(about, indent=2).encode()),
    ):
        replace(file, content)


def load_agent(path: Path) -> LoadedAgent:
    """Read what `save_agent` wrote. The files may be a stranger's.

    Nothing in them is run or imported, and memory is taken only for what its settings need.

    Raises:
      CheckpointError: one sentence; a file is missing, damaged, foreign or newer, or the world of
        the agent would import a module, see `worlds.make_read`.
    """
    what = f"Agent {path}"
    try:
        with files.open_regular(path) as stream:
            about = _read_about(path.with_suffix(".json"), what)
            digest = hashlib.file_digest(stream, "sha256")
        if about.pop("checksum") != _sign(digest, about):
            raise ValueError("the checksum differs")
        settings = about.pop("config")
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(
            f"Cannot read {error.filename} ({error.strerror}): an agent is a .safetensors file and "
            "a .json file of the same name beside it."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(what) from error
    config = _config(settings, what)
    shapes = _shapes(config, what)
    params = _rebuild(_read_arrays(path, shapes, what), shapes, what)
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(params)):
        raise CheckpointError(f"{what} holds numbers that are not finite: export it anew.")
    return LoadedAgent(config, params, about)


def describes_agent(content: bytes) -> bool:
    """Whether this is the .json of an agent, and not some other one."""
    try:
        return {"format", "world", "config", "checksum"} <= json.loads(content).keys()
    except (ValueError, AttributeError, RecursionError):
        return False


def _read_about(file: Path, what: str) -> dict[str, Any]:
    """What the .json of an agent says; any of several exceptions if it is none."""
    with files.open_regular(file) as stream:
        text = stream.read(LONGEST_JSON + 1)
    if len(text) > LONGEST_JSON:
        raise ValueError("too long")
    about = json.loads(text)
    check_format(about["format"], what)
    return about


def _read_arrays(path: Path, shapes: Params, what: str) -> dict[str, np.ndarray]:
    """The arrays of a .safetensors file that cannot hold much more than arrays of these shapes."""
    with files.without_current_folder():
        from safetensors.numpy import load as from_bytes

    leaves = jax.tree.leaves(shapes)
    most = sum(x.nbytes + 1000 for x in leaves) + LONGEST_JSON  # names and offsets take some too
    try:
        with files.open_regular(path) as stream:
            data = stream.read(most + 1)
        if len(data) > most:
            raise ValueError("too long")
        return from_bytes(data)
    except Exception as error:  # whatever the library makes of what a stranger wrote
        raise _damaged(what) from error


def _damaged(what: str) -> CheckpointError:
    return CheckpointError(
        f"{what} or the .json beside it is damaged, or no agent of Dreamer Lite: copy or export "
        "both files again."
    )


def _sign(digest: Any, about: Mapping[str, Any]) -> str:
    """One SHA-256 over both files, so that they cannot be mixed up or changed apart.

    `digest` is that of the .safetensors file.
    """
    digest.update(json.dumps(about, sort_keys=True).encode())
    return digest.hexdigest()


def _config(settings: Mapping[str, Any], what: str) -> Config:
    try:
        return from_dict(settings)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{what} was written by another version of Dreamer Lite, use that one: "
            f"{in_short(error)}."
        ) from error


def _shapes(config: Config, what: str) -> Params:
    """Shapes of the parameters: numpy arrays that take no memory.

    The config may be a stranger's: its world may not bring in a module that nobody asked for.
    """
    devices.first()  # says so if there is none, which is no fault of the file
    try:
        world = worlds.make_read(config.world)
    except worlds.ImportNeeded as error:
        raise CheckpointError(
            f"{what} is not loaded, for {in_short(error)}, which runs code: if you trust that "
            f"module, {_how_to_name(config.world)}."
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"{what} needs a world that is not here: {in_short(error)}."
        ) from error
    try:
        return make_agent(config, world.obs_space, world.action_space).shapes()
    except ValueError as error:
        raise CheckpointError(f"{what} does not fit its world: {in_short(error)}.") from error


def _how_to_name(world: str) -> str:
    """What to type for a world; a name that could fool a reader or a shell is not offered."""
    if not re.fullmatch(r"[\w./:-]{1,200}", world, re.ASCII):
        return "name the world"
    return f"name the world, by --world {shlex.quote(world)} or by worlds.make({world!r}) before"


def in_short(words: Any, most: int = 400) -> str:
    """As one line without control characters, for words that may be a stranger's."""
    text = "".join(x if x.isprintable() else " " for x in str(words)[:most]).rstrip(". ")
    return text + ("..." if len(str(words)) > most else "")


def replace(file: Path, content: bytes) -> None:
    """Write a whole file or, if killed or out of disk, leave the old one as it was.

    Raises:
      OSError: with the name of the file.
    """
    partial = file.with_name(file.name + ".partial")
    try:
        _write(partial, content)
        os.replace(partial, file)
        sync_folder(file.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OSError(error.errno, error.strerror, str(file)) from error


def _write(file: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where a system can be asked for that."""
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
