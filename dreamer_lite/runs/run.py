"""A run folder: train into it, be interrupted, go on; and find the agent that somebody names.

    DIR/config.json     all settings            DIR/metrics.jsonl   one progress record a line
    DIR/summary.json    how it stands           DIR/state/          checkpoints (`checkpoints`)
    DIR/lock            held while a process trains here

A mirror (`mirror`) is a copy elsewhere, for disks that vanish, as Colab's.

The order of writing makes a kill at any moment harmless, also that of the whole machine: first the
line of metrics, then the checkpoint, then the summary, which can be made again from the checkpoint;
each is on the disk before the next is written. The checkpoint knows the rows up to it by a
checksum. What metrics.jsonl has beyond them is dropped when the run goes on, and how many rows that
were is told; see `records`. Read with notebook 08.
"""

import contextlib
import errno
import json
import os
import platform
import shlex
import signal
import stat
import sys
import threading
import time
import warnings
import weakref
import zlib
from collections.abc import Callable, Generator, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, cast

import jax

from dreamer_lite import __version__, assets, worlds
from dreamer_lite.config import Config, complete, from_dict, to_dict
from dreamer_lite.presets import make_config
from dreamer_lite.runs import checkpoints, mirror, records
from dreamer_lite.runs.checkpoints import LoadedAgent
from dreamer_lite.runs.records import Log
from dreamer_lite.training import hosted, memory, replay, sharding
from dreamer_lite.training import loop as training
from dreamer_lite.training.loop import Driver, train
from dreamer_lite.training.progress import Limits
from dreamer_lite.training.state import RunState
from dreamer_lite.worlds import AnyWorld, World, WorldError

try:
    import fcntl
except ImportError:  # Windows: runs work, but two processes in one folder are not noticed
    fcntl = None

SUFFIX = ".safetensors"  # of an agent file; never of a run folder
SAVE_EVERY = 60.0  # seconds
MIRROR_EVERY = 300.0  # seconds at least
TWICE = 1.0  # seconds in which a second SIGTERM is the same request
LONG_SAVE = 2.0  # seconds; a save that takes n times as long comes n times less often
Record = dict[str, Any]  # see `progress.make_record`
RESULTS = ("return_mean", "return_stderr", "episodes")


class RunError(ValueError):
    """A run folder that cannot be used as asked; one sentence says what and what to do."""


def run(
    config: Config,
    folder: Path,
    limits: Limits,
    *,
    stop: Callable[[], bool] = lambda: False,
    save_every: float = SAVE_EVERY,
    elapsed: float = 0.0,
    all_devices: bool = False,
    mirror_folder: Path | None = None,
    driver: Driver | None = None,
    watch: Callable[[RunState], None] = lambda state: None,
    tell: Callable[[str], object] = warnings.warn,
) -> Generator[Record, None, None]:
    """Train in `folder` until a limit, going on from its checkpoint if it has one.

    What can be refused is refused at once, before the first record is asked for. A run that has
    reached its limits gives no records. Checkpoints come with the first record, then every
    `save_every` seconds, and at the end: at a limit, when `stop()` turns true, or when the caller
    closes the iterator. `elapsed` is how long this process took before the call, in seconds.
    `all_devices` spreads the work over all local ones; a run may go on with another number of them.
    `mirror_folder` gets a copy of the run now and then and at the end; where that copy is further
    than `folder`, as on a new machine, the run goes on from it. A copy that cannot be written is
    told and tried again when the next is due; only that of the end must succeed.
    `driver` replaces the package's own, and `watch` is shown the state before each record is given;
    it must not keep it. `tell` is called with a sentence about what a user should know although the
    run goes on: rows that were dropped, a copy that failed.

    Raises:
      RunError: a folder, or that of the mirror, is in use, cannot be written, belongs to a run of
        another config, or has lost its checkpoints.
      CheckpointError: the folder's checkpoint is damaged, foreign or newer.
      OSError: the disk is full, or the last copy failed; one sentence.
      FloatingPointError: a loss is no longer finite; the last good checkpoint stays.
    """
    started = time.perf_counter() - elapsed
    if mirror_folder is not None:
        _keep_apart(mirror_folder, folder)
    lock = _lock(folder, tell)
    try:
        if mirror_folder is not None:
            _check_mirror(mirror_folder)
            _take_from(mirror_folder, config, folder, tell)
        summary = _claim(config, folder, tell)
        if finished(folder, limits):
            lock.close()
            return (record for record in ())
        world, driver, state = _start(config, folder, bool(summary), all_devices, driver)
    except BaseException:
        lock.close()
        raise
    repeat = getattr(world, "repeat", 1)  # JAX worlds repeat no action
    started -= summary.get("wall_seconds", 0.0)
    going_on = _Run(config, folder, summary, started, repeat, mirror_folder, tell)
    return going_on.records(lock, driver, state, limits, stop, save_every, watch)


def finished(folder: Path, limits: Limits) -> bool:
    """Whether the run in `folder` has reached one of these limits, by its summary.

    A missing or damaged summary counts as that of a run that has not: `run` writes it anew.
    """
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        return limits.reached(summary["wall_seconds"], summary["agent_steps"], summary["updates"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


class _Run:
    """A run that is going on, and the files it writes."""

    def __init__(
        self, config: Config, folder: Path, summary: dict[str, Any], started: float, repeat: int,
        mirror_folder: Path | None, tell: Callable[[str], object] = warnings.warn,
    ):  # fmt: skip
        self.config, self.folder, self.started, self.repeat = config, folder, started, repeat
        self.mirror_folder, self.mirror_due = mirror_folder, time.perf_counter() + MIRROR_EVERY
        self.first_update_seconds: float = summary.get("first_update_seconds", 0.0)
        self.tell = tell

    def records(
        self,
        lock: IO,
        driver: Driver,
        state: RunState,
        limits: Limits,
        stop: Callable[[], bool],
        save_every: float,
        watch: Callable[[RunState], None],
    ) -> Generator[Record, None, None]:
        """Train, write and save as `run` says. Holds the lock until it ends or is closed."""
        record, due = {}, 0.0
        whole = False  # is the state whole, or was it handed over to the next call?
        with lock, Log(self.folder / "metrics.jsonl") as log:
            broke = True  # then that is what the user must know
            try:
                news = train(self.config, driver, state, limits, self.seconds())
                for record, state in news:
                    self.first_update_seconds = self.first_update_seconds or self.seconds()
                    log.write(record)
                    if (begun := time.perf_counter()) >= due:
                        meta = self.save(state, record, log)
                        if time.perf_counter() >= self.mirror_due:
                            self.copy(state, meta, True)
                        ended = time.perf_counter()
                        # A large replay takes seconds to write, so it is written less often.
                        due = ended + save_every * max(1.0, (ended - begun) / LONG_SAVE)
                    whole = True
                    watch(state)
                    yield record
                    if stop():
                        break
                    whole = False
                else:
                    whole = bool(record)
                broke = False
            finally:
                try:
                    if whole:
                        self.copy(state, self.save(state, record, log), broke)
                finally:
                    with contextlib.suppress(WorldError) if broke else contextlib.nullcontext():
                        driver.close()

    def seconds(self) -> float:
        """Wall time of the run, earlier starts included."""
        return time.perf_counter() - self.started

    def save(self, state: RunState, record: Record, log: Log) -> dict[str, Any]:
        """Rows first, then the checkpoint, then the summary; returns the checkpoint's `meta`.

        A state that is no longer finite is not saved.
        """
        summary = make_summary(record, self.seconds(), self.first_update_seconds, self.repeat)
        if (used := len(state.updates.sharding.device_set)) > 1:
            summary["devices"] = used
        meta = {"config": to_dict(self.config), "summary": summary, "metrics": log.sync()}
        if self.config.seeds > 1:
            summary["seeds"] = self.config.seeds
            meta["agents"] = {name: record["seeds"][name] for name in RESULTS}
        checkpoints.save(self.folder / "state", state, meta)
        _write_json(self.folder / "summary.json", summary)
        return meta

    def copy(self, state: RunState, meta: dict[str, Any], go_on: bool) -> None:
        """Bring the mirror up to date, if there is one. To `go_on`, a failure is only told."""
        if self.mirror_folder is None:
            return
        try:
            mirror.push(self.mirror_folder, state, meta, self.folder / "metrics.jsonl")
        except OSError as error:
            if not go_on:
                raise
            self.tell(f"{error} It will be tried again when the next copy is due.")
        self.mirror_due = time.perf_counter() + MIRROR_EVERY


def make_summary(
    record: Record, seconds: float, first_update_seconds: float, repeat: int
) -> dict[str, Any]:
    """What summary.json holds; `repeat` is environment frames per agent step."""
    counters = ("return_mean", "return_stderr", "episodes", "agent_steps")
    device = jax.devices()[0]
    packages = ("dreamer_lite", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {
        **{name: record[name] for name in counters},
        "env_frames": record["agent_steps"] * repeat,
        "updates": record["updates"],
        "wall_seconds": round(seconds, 3),
        "first_update_seconds": round(first_update_seconds, 3),
        "versions": {"python": platform.python_version()} | {n: _version(n) for n in packages},
        "device": f"{len(jax.devices())} x {device.device_kind}"
        + (f", {os.cpu_count()} cores" if device.platform == "cpu" else ""),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a clone that is not installed, as on Colab
        return __version__


def load(agent: str) -> LoadedAgent:
    """The agent of a run folder, of a .safetensors file, or a shipped one by its name.

    A run of several seeds gives its first agent; "DIR@2" names the one with seed 2. All of them may
    be a stranger's: a world that would import a module is refused, unless `worlds.make` was asked
    for it before in this process.

    Raises:
      ValueError: there is none, or it cannot be used; one sentence.
    """
    if Path(agent).suffix == SUFFIX:
        return checkpoints.load_agent(Path(agent))
    if found := find_run(agent):
        folder, seed = found
        return checkpoints.newest_agent(folder / "state", seed)
    if agent in assets.agents():
        return checkpoints.load_agent(assets.path(f"agents/{agent}.safetensors"))
    shipped = ", ".join(assets.agents()) or "none yet"
    raise ValueError(
        f"There is no agent {agent!r}: name a run folder, a .safetensors file or a shipped agent "
        f"({shipped})."
    )


def find_run(agent: str | Path) -> tuple[Path, int | None] | None:
    """(folder, seed) of a run that is named DIR or DIR@SEED; None if it names no folder.

    What ends in .safetensors is an agent file, whatever lies there.

    Raises:
      ValueError: what follows the @ is no number.
    """
    path = Path(agent)
    folder, _, seed = str(agent).rpartition("@")
    if SUFFIX in (path.suffix, Path(folder).suffix):
        return None
    if path.is_dir():
        return path, None
    if not folder or not Path(folder).is_dir():
        return None
    if not seed.isdecimal():
        example = shlex.quote(f"{folder}@0")
        raise ValueError(f"{agent} names no seed: write a number behind the @, as in {example}.")
    return Path(folder), int(seed)


def export(agent: str | Path, out: Path) -> dict[str, Any]:
    """Write the agent of a run, DIR or DIR@SEED, as `out` (.safetensors) and a .json.

    Returns what the .json says of its training.

    Raises:
      ValueError: as `load`. OSError: `out` cannot be written.
    """
    found = find_run(agent)
    if found is None:
        raise ValueError(f"There is no run folder {agent}.")
    folder, seed = found
    config, params, summary = checkpoints.newest_agent(folder / "state", seed)
    whole = from_dict(checkpoints.read_meta(folder / "state")["config"])
    summary = dict(summary)
    try:
        results = {name: float(summary.pop(name)) for name in RESULTS}
        results["episodes"] = int(results["episodes"])
        info = {**results, "trained": {"command": command(whole, summary["updates"]), **summary}}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"The run in {folder} does not say how its agent was trained.") from error
    checkpoints.save_agent(out, params, config, info)
    return info


def command(config: Config, updates: int) -> str:
    """What to type to repeat a run of so many updates."""
    usual, mine = to_dict(make_config(config.world, config.size)), to_dict(config)
    words = ["dreamer-lite", "train", "--world", config.world, "--size", config.size]
    words += ["--seed", str(config.seed)]
    words += ["--seeds", str(config.seeds)] if config.seeds > 1 else []
    words += ["--updates", str(updates)]
    changes = [n for n in mine if mine[n] != usual[n] and n not in ("seed", "seeds")]
    return shlex.join(words + [w for n in changes for w in ("--set", f"{n}={as_text(mine[n])}")])


def as_text(value: Any) -> str:
    """A setting as it is typed behind `--set name=`."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def make_driver(config: Config, world: AnyWorld, all_devices: bool = False) -> Driver:
    """The loop for this world: fused with it if it is written in JAX, else around it.

    Raises:
      ValueError: as `make_agent` and `sharding.make_mesh`; several seeds or devices for a world
        that is not written in JAX.
    """
    if not worlds.is_hosted(world):
        mesh = sharding.make_mesh(config) if all_devices else None
        return training.make_driver(config, cast(World, world), mesh)
    outside = f"{config.world} does not run inside the program that learns"
    if config.seeds > 1:
        raise ValueError(
            f"seeds is {config.seeds}, but {outside}: train its seeds one by one, or choose one of "
            f"{', '.join(worlds.names())}."
        )
    if all_devices:
        raise ValueError(
            f"--devices all needs a world in JAX, but {outside}: use --devices 1, or choose one of "
            f"{', '.join(worlds.names())}."
        )
    return hosted.make_driver(config, world)


# Opening a run folder


_locks: "weakref.WeakSet[IO]" = weakref.WeakSet()  # those that this process holds


def _let_go() -> None:
    """In a process that an environment has forked, which must not hold the lock of a dead run."""
    for lock in list(_locks):
        with contextlib.suppress(OSError):
            lock.close()
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _lock(folder: Path, tell: Callable[[str], object]) -> IO:
    """Make the folder and keep other processes out of it until the returned file is closed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _open_lock(folder / "lock")
    except OSError as error:
        raise RunError(
            f"Cannot write in {folder} ({error.strerror}): choose another folder with --run."
        ) from error
    try:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise RunError(
            f"{folder} is in use by process {owner}: wait for it, stop it, or choose another "
            "folder with --run."
        ) from error
    except OSError as error:
        tell(
            f"The file system of {folder} has no locks ({error.strerror}): see to it that no other "
            "process trains there at the same time."
        )
    try:
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
    except OSError as error:
        with contextlib.suppress(OSError):
            lock.close()
        raise RunError(
            f"Cannot write in {folder} ({error.strerror}): make room or choose another folder "
            "with --run."
        ) from error
    _locks.add(lock)
    return lock


def _open_lock(file: Path) -> IO:
    """Open or make a file that is only ours, for its content is overwritten.

    Raises:
      RunError: it is a link to another file, or no regular file.
    """
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):  # not there on Windows
        flags |= getattr(os, name, 0)
    odd = RunError(
        f"{file} is a link or no regular file, and what it names is not ours to write: remove it, "
        "or choose another folder with --run."
    )
    try:
        handle = os.open(file, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV):
            raise odd from error
        raise
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(handle)
        raise odd
    return os.fdopen(handle, "r+", encoding="utf-8")


def _keep_apart(mirror_folder: Path, folder: Path) -> None:
    """Raise RunError if a copy would get among the files of a run. Nothing was written so far."""
    if _inside(mirror_folder, folder) or _inside(folder, mirror_folder):
        raise RunError(
            f"The run folder {folder} and its copy in {mirror_folder} are one folder, or one is in "
            "the other: choose another folder with --mirror, best on another disk."
        )
    if (mirror_folder / "config.json").exists():
        raise RunError(
            f"{mirror_folder} is a run folder itself: choose another folder with --mirror."
        )


def _inside(inner: Path, outer: Path) -> bool:
    """Whether a folder is another or within it, by whatever names they go."""
    inner, outer = inner.resolve(), outer.resolve()
    for place in (inner, *inner.parents):
        with contextlib.suppress(OSError):
            if place == outer or place.samefile(outer):
                return True
    return False


def _check_mirror(mirror_folder: Path) -> None:
    """Raise RunError if no copy can be written there: now, and not when the first one is due."""
    try:
        mirror.check(mirror_folder)
    except OSError as error:
        raise RunError(
            f"Cannot write a copy in {mirror_folder} ({error.strerror}): choose another folder "
            "with --mirror, or leave it out."
        ) from error


def _take_from(
    mirror_folder: Path, config: Config, folder: Path, tell: Callable[[str], object]
) -> None:
    """Bring the run here from its mirror if it is further there."""
    here = checkpoints.exists(folder / "state")
    try:
        if not mirror.exists(mirror_folder):
            return
        if here and mirror.was_cut_off(mirror_folder):
            tell(f"The first copy in {mirror_folder} was cut off: it will be made anew.")
            return
        meta = mirror.read_meta(mirror_folder)
        _refuse_another(config, meta["config"], mirror_folder)
        updates = checkpoints.read_meta(folder / "state")["summary"]["updates"] if here else -1
        if meta["summary"]["updates"] > updates:
            mirror.fetch(mirror_folder, folder, tell)
    except OSError as error:
        raise RunError(
            f"Cannot take the run from its copy in {mirror_folder} ({error.strerror or error}): "
            "wait until that folder can be read, or leave --mirror out."
        ) from error


def _claim(config: Config, folder: Path, tell: Callable[[str], object]) -> dict[str, Any]:
    """Make the folder this run's; returns how far its checkpoint is, {} if there is none."""
    meta: dict[str, Any] = {"summary": {}}
    if checkpoints.exists(folder / "state"):
        meta = checkpoints.read_meta(folder / "state")
        _refuse_another(config, meta["config"], folder)
    elif (folder / "metrics.jsonl").exists() and not (folder / "config.json").exists():
        raise RunError(
            f"{folder} holds a metrics.jsonl that is of no run: choose another folder with --run."
        )
    summary = meta["summary"]
    try:
        # A summary comes after a checkpoint, and a second row after the first checkpoint.
        if not summary and (
            os.path.lexists(folder / "summary.json")
            or records.rows_in(folder / "metrics.jsonl") > 1
        ):
            raise RunError(
                f"{folder} has lost its checkpoints, the folders in {folder / 'state'}: bring them "
                "back from a copy, or choose another folder with --run to train anew."
            )
        _write_json(folder / "config.json", to_dict(config))
        updates, known = summary.get("updates", 0), meta.get("metrics")
        for sentence in records.repair(folder / "metrics.jsonl", updates, known):
            tell(sentence)
        if summary:  # the process may have been killed between checkpoint and summary
            _write_json(folder / "summary.json", summary)
            _compare_versions(summary, folder, tell)
    except OSError as error:
        raise RunError(
            f"Cannot write in {folder} ({error.strerror}): make room or choose another folder "
            "with --run."
        ) from error
    return summary


def _compare_versions(summary: dict[str, Any], folder: Path, tell: Callable[[str], object]) -> None:
    """Tell if other versions compute now, for then a run need not go on bit for bit."""
    then = summary.get("versions", {})
    for name in ("jax", "jaxlib"):
        if name in then and then[name] != (now := _version(name)):
            tell(
                f"{folder} was last trained with {name} {then[name]} and goes on with {now}: its "
                "numbers may differ from those of an uninterrupted run in their last digits."
            )
            return


def _refuse_another(config: Config, saved: dict[str, Any], folder: Path) -> None:
    """Raise RunError if the run in `folder` has other settings."""
    mine, saved = to_dict(config), complete(saved)
    names = [name for name in mine | saved if mine.get(name) != saved.get(name)]
    if names:
        shown = [
            f"{n}={as_text(saved.get(n, 'unknown'))} (asked: {as_text(mine.get(n, 'unknown'))})"
            for n in names[:4]
        ]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        shown = checkpoints.in_short(", ".join(shown))
        raise RunError(
            f"{folder} holds a run with {shown}{more}: ask for the same settings, or "
            "choose another folder with --run."
        )


def _start(
    config: Config, folder: Path, resume: bool, all_devices: bool, driver: Driver | None
) -> tuple[AnyWorld, Driver, RunState]:
    """The world, its driver, and the state to go on from."""
    try:
        world = worlds.make(config.world)
        needed = replay.bytes_needed(config, world.obs_space, world.action_space)
        memory.check_room(config.seeds * needed, config.capacity)
        driver = driver or make_driver(config, world, all_devices)
    except ValueError as error:
        raise RunError(str(error)) from error
    state = driver.init(config.seed)
    if resume:
        state, _ = checkpoints.restore(folder / "state", state)
    return world, driver, state


def _write_json(file: Path, values: dict[str, Any]) -> None:
    checkpoints.replace(file, (json.dumps(values, indent=2) + "\n").encode())


# The process


def enable_compilation_cache() -> None:
    """Let JAX keep compiled programs in ~/.cache/dreamer-lite, so that later starts are quick.

    Call it before anything is compiled. A folder chosen by JAX_COMPILATION_CACHE_DIR is kept, and
    where nothing can be written programs are compiled anew.
    """
    if jax.config.values["jax_compilation_cache_dir"]:
        return
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "dreamer-lite" / "jax" / instruction_set()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        # An entry that cannot be read or written costs time and nothing else.
        warnings.filterwarnings("ignore", message=r"Error (reading|writing) persistent compilation")


def instruction_set() -> str:
    """Differs between processors, whose compiled programs must not be mixed up."""
    info = Path("/proc/cpuinfo")
    flags = (
        info.read_text(encoding="utf-8").partition("flags")[2].partition("\n")[0]
        if info.exists()
        else ""
    )
    return f"{platform.machine()}-{zlib.crc32(flags.encode()):08x}"


def age_of_process() -> float:
    """Seconds since this process started, imports included; 0 where /proc does not tell."""
    try:
        ticks = int(
            Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        )
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return 0.0


class Stop:
    """Whether somebody asked to stop; call it."""

    signal: int = 0  # number of the signal that asked

    def __call__(self) -> bool:
        return self.signal != 0


@contextlib.contextmanager
def stop_on_signals(
    note: bytes = b"\nStopping: finishing this step and saving; once more stops at once.\n",
    again: Callable[[int, Any], Any] | None = None,
) -> Iterator[Stop]:
    """Inside, Ctrl-C, SIGTERM and SIGHUP only set a flag, so that the run can save.

    A second one does what it did before: Ctrl-C raises. `note` is what the first one writes to
    stderr, `again` a handler for the second. Where a terminal is closed, or by `timeout`, a process
    gets several at once, so SIGHUP never counts as a second one, nor SIGTERM within a second. A
    SIGHUP that is ignored, as under nohup, stays so.

    A KeyboardInterrupt can be swallowed inside JAX. Python allows handlers in the main thread
    only: in another one the flag stays unset.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    hangup = getattr(signal, "SIGHUP", None)  # none on Windows
    numbers = [signal.SIGINT, signal.SIGTERM, *([hangup] if hangup else [])]
    before = {number: signal.getsignal(number) for number in numbers}
    if before.get(hangup) == signal.SIG_IGN:  # type: ignore
        del before[hangup]  # type: ignore
    since, owner = 0.0, os.getpid()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, _frame: Any) -> None:
        nonlocal since
        now = time.monotonic()
        if os.getpid() != owner:  # a process that an environment has forked, which has nothing to
            if number == signal.SIGTERM:  # save; Ctrl-C in a terminal is for the one that has
                restore()
                signal.raise_signal(number)
        elif not stop.signal:
            stop.signal, since = number, now
            if sys.__stderr__ is not None:  # else the number 2 is that of some file
                with contextlib.suppress(OSError):  # nobody reads it, as in a closed terminal
                    os.write(2, note)
        elif number == signal.SIGINT or (number == signal.SIGTERM and now > since + TWICE):
            restore()
            if again is not None:
                again(number, _frame)
            else:
                signal.raise_signal(number)

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()
