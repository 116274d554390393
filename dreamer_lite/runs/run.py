"""A run folder: open it, train into it, save it.

    DIR/config.json     all settings            DIR/metrics.jsonl   one progress record per line
    DIR/summary.json    progress and results    DIR/state/          checkpoints (`checkpoints`)
    DIR/lock            held while a process trains here

A mirror (`mirror`) is a copy elsewhere, for disks that vanish, as those of Colab do.

If the process dies between two writes, or the whole machine does, the files on disk are still
consistent because of their order: first the record, then the checkpoint, then the summary, which
can be rebuilt from the checkpoint. Each is on the disk before the next is written. The checkpoint
stores a checksum of the records up to it; later records are dropped when the run continues (see
`records`). Read with notebook 09.
"""

import contextlib
import json
import os
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import numpy as np

from dreamer_lite import worlds
from dreamer_lite.agent.agent import Params
from dreamer_lite.config import Config, to_dict
from dreamer_lite.runs import agents, checkpoints, disk, mirror, places, process, records
from dreamer_lite.runs.description import RESULTS, check_settings, compare_versions, make_summary
from dreamer_lite.runs.errors import MALFORMED, RunError, explained
from dreamer_lite.runs.records import Log, Record
from dreamer_lite.training import hosted, hosts, memory, replay, sharding
from dreamer_lite.training import loop as training
from dreamer_lite.training.loop import Driver, train
from dreamer_lite.training.progress import Limits
from dreamer_lite.training.state import RunState
from dreamer_lite.worlds import AnyWorld, World, WorldError

SAVE_EVERY = 60.0  # seconds
MIRROR_EVERY = 300.0  # seconds at least
LONG_SAVE = 2.0  # seconds; a save that takes n times as long comes n times less often
Tell = Callable[[str], object]  # called with a sentence for the user


class Origin(NamedTuple):
    """An agent that a new run begins from, instead of networks with random numbers."""

    name: str  # as it was typed
    params: Params


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
    origin: Origin | None = None,
    driver: Driver | None = None,
    watch: Callable[[RunState], None] = lambda state: None,
    tell: Tell = warnings.warn,
) -> Generator[Record, None, None]:
    """Train in `folder` until a limit, from its checkpoint if it has one; yields progress records.

    Errors in the arguments are raised at once, before the first record is asked for. A run that has
    reached its limits yields no records. Checkpoints come with the first record, then every
    `save_every` seconds, and at the end: at a limit, when `stop()` turns true, or when the caller
    closes the iterator. `elapsed` is the time in seconds that this process took before the call.
    `all_devices` shards the work over all devices, those of other processes included (`hosts`); a
    run may continue with another number of devices and processes.
    `mirror_folder` gets a copy of the run now and then and at the end. Where that copy is ahead of
    `folder`, as on a new machine, the run continues from it. If a copy fails, `tell` is called and
    the next copy tries again; only the copy at the end must succeed.
    `origin` is the agent that a new run begins from: its networks, with an empty replay and a new
    optimiser. A run that continues ignores it.
    `driver` replaces that of `make_driver`. `watch` is called with the state before each record is
    yielded, and must not keep it. `tell` is called with a sentence for the user where the run can
    continue: records that were dropped, a copy that failed.

    Raises:
      RunError: a folder, or that of the mirror, is in use, cannot be written, belongs to a run of
        another config, or has lost its checkpoints; or the networks of `origin` have other shapes.
      CheckpointError: the folder's checkpoint is damaged, foreign or newer.
      OSError: the disk is full, or the last copy failed; one sentence.
      FloatingPointError: a loss is no longer finite; the last good checkpoint stays.
    """
    started = time.perf_counter() - elapsed
    if mirror_folder is not None:
        mirror.keep_apart(mirror_folder, folder)
    with contextlib.ExitStack() as opened:

        def claim() -> tuple[dict[str, Any], bool]:
            opened.enter_context(process.lock_folder(folder, tell))
            if mirror_folder is not None:
                mirror.check(mirror_folder)
                mirror.take_home(mirror_folder, config, folder, tell)
            return _claim(config, folder, tell), finished(folder, limits)

        summary, done = hosts.first_does(claim)
        if done:
            return (record for record in ())
        world, driver, state = _start(config, folder, bool(summary), all_devices, driver, origin)
        lock = opened.pop_all()  # from here on, `records` closes the lock
    started -= summary.get("wall_seconds", 0.0)
    first = summary.get("first_update_seconds", 0.0)
    repeat = getattr(world, "repeat", 1)  # environments in JAX repeat no action
    name = summary.get("from", origin.name if origin and not summary else "")
    files = _Files(config, folder, started, repeat, mirror_folder, tell, first, name)
    return _records(files, lock, driver, state, limits, stop, save_every, watch)


def _records(
    files: "_Files",
    lock: contextlib.ExitStack,
    driver: Driver,
    state: RunState,
    limits: Limits,
    stop: Callable[[], bool],
    save_every: float,
    watch: Callable[[RunState], None],
) -> Generator[Record, None, None]:
    """Train, write and save as `run` says. Holds the lock until it ends or is closed."""
    record, due = None, 0.0
    with lock, _open_log(files.folder) as log, _closing(driver):
        progress = train(files.config, driver, state, limits, files.seconds())
        for record, state in progress:
            files.first_update_seconds = files.first_update_seconds or files.seconds()
            if log is not None:
                log.write(record)
            if (begun := hosts.agree(time.perf_counter())) >= due:
                files.save(state, record, log, copy=time.perf_counter() >= files.mirror_due)
                ended = time.perf_counter()
                # A large replay takes seconds to write, so it is written less often.
                due = ended + save_every * max(1.0, (ended - begun) / LONG_SAVE)
            try:
                watch(state)
                yield record
                stopping = hosts.any_of(stop())
            except BaseException:  # closed by the caller, or Ctrl-C: the state is whole
                if not hosts.several():  # the others may not be here
                    files.save(state, record, log, copy=True)
                raise
            if stopping:
                break
        # After an error in training this is not reached: the state was donated to the failed step.
        if record is not None:
            files.save(state, record, log, copy=True, must_copy=True)
            hosts.any_of(False)  # no process leaves before the first one has written


def _open_log(folder: Path) -> contextlib.AbstractContextManager[Log | None]:
    """The log of the records; none on a process that writes no files."""
    return Log(folder / "metrics.jsonl") if hosts.is_first() else contextlib.nullcontext()


@contextlib.contextmanager
def _closing(driver: Driver) -> Iterator[None]:
    """Close the driver at the end; after another error, an environment's last words are dropped."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(WorldError):
            driver.close()
        raise
    driver.close()


def finished(folder: Path, limits: Limits) -> bool:
    """Whether the run in `folder` has reached one of these limits, by its summary.

    A missing or damaged summary counts as not finished: `run` rewrites it.
    """
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        return limits.reached(summary["wall_seconds"], summary["agent_steps"], summary["updates"])
    except (OSError, *MALFORMED):
        return False


@dataclass
class _Files:
    """The files of a run while it trains."""

    config: Config
    folder: Path
    started: float  # on the clock `perf_counter`, minus the wall time of earlier starts
    repeat: int  # environment frames per agent step
    mirror_folder: Path | None
    tell: Tell
    first_update_seconds: float
    origin: str  # the agent that the run began from, or ""

    def __post_init__(self) -> None:
        self.mirror_due = time.perf_counter() + MIRROR_EVERY

    def seconds(self) -> float:
        """Wall time of the run, earlier starts included."""
        return time.perf_counter() - self.started

    def save(
        self, state: RunState, record: Record, log: Log | None, copy: bool, must_copy: bool = False
    ) -> None:
        """Records first, then the checkpoint, then the summary, then the copy in the mirror.

        The mirror gets the agent as a file, too. A state that is not finite is not saved. If the
        copy fails, the user is told; the error is raised only if `must_copy`. Of several processes,
        all must call this, and one writes.
        """
        used, state = len(state.updates.sharding.device_set), hosts.whole(state)
        if log is None:
            return
        summary = make_summary(record, self.seconds(), self.first_update_seconds, self.repeat)
        if self.origin:
            summary["from"] = self.origin
        if used > 1:
            summary["devices"] = used
        if hosts.several():
            summary["processes"] = jax.process_count()
        meta = {"config": to_dict(self.config), "summary": summary, "metrics": log.sync()}
        if self.config.seeds > 1:
            summary["seeds"] = self.config.seeds
            meta["agents"] = {name: record["seeds"][name] for name in RESULTS}
        checkpoints.save(self.folder / "state", state, meta)
        disk.replace_json(self.folder / "summary.json", summary)
        if self.mirror_folder is None or not copy:
            return
        try:
            mirror.push(self.mirror_folder, state, meta, self.folder / "metrics.jsonl")
            agents.export(self.folder, self.folder / places.AGENT)
            mirror.add(self.mirror_folder, self.folder, [*places.FILES, "summary.json"])
        except OSError as error:
            if must_copy:
                raise
            self.tell(f"{error} The next copy will try again.")
        self.mirror_due = time.perf_counter() + MIRROR_EVERY


def make_driver(config: Config, world: AnyWorld, all_devices: bool = False) -> Driver:
    """The training loop: compiled with the environment if that is written in JAX, else around it.

    Raises:
      ValueError: as `make_agent` and `sharding.make_mesh`; several seeds for an environment that is
        not written in JAX.
    """
    mesh = sharding.make_mesh(config) if all_devices else None
    if not worlds.is_hosted(world):
        return training.make_driver(config, cast(World, world), mesh)
    outside = f"{config.world} does not run inside the compiled training loop"
    choose = f"or choose one of {', '.join(worlds.names())}"
    if config.seeds > 1:
        raise ValueError(
            f"seeds is {config.seeds}, but {outside}: train its seeds one by one, {choose}."
        )
    return hosted.make_driver(config, world, mesh)


# Opening a run folder


def _claim(config: Config, folder: Path, tell: Tell) -> dict[str, Any]:
    """Make the folder this run's; returns the summary of its checkpoint, {} without one."""
    meta: dict[str, Any] = {"summary": {}}
    metrics = folder / "metrics.jsonl"
    if checkpoints.exists(folder / "state"):
        meta = checkpoints.read_meta(folder / "state")
        check_settings(config, meta["config"], folder)
    elif metrics.exists() and not (folder / "config.json").exists():
        raise RunError(
            f"{folder} holds a metrics.jsonl that is of no run: choose another folder with --run."
        )
    summary = meta["summary"]
    remedy = "make room or choose another folder with --run."
    with explained(OSError, RunError, lambda why: f"Cannot write in {folder} ({why}): {remedy}"):
        # A summary comes after a checkpoint, and a second record after the first checkpoint.
        if not summary and (
            os.path.lexists(folder / "summary.json") or records.count_records(metrics) > 1
        ):
            raise RunError(
                f"{folder} has lost its checkpoints, the folders in {folder / 'state'}: bring them "
                "back from a copy, or choose another folder with --run to train anew."
            )
        disk.replace_json(folder / "config.json", to_dict(config))
        for sentence in records.repair(metrics, summary.get("updates", 0), meta.get("metrics")):
            tell(sentence)
        if summary:  # the process may have been killed between checkpoint and summary
            disk.replace_json(folder / "summary.json", summary)
            compare_versions(summary, folder, tell)
    return summary


def _start(
    config: Config,
    folder: Path,
    resume: bool,
    all_devices: bool,
    driver: Driver | None,
    origin: Origin | None,
) -> tuple[AnyWorld, Driver, RunState]:
    """The environment, its driver, and the state to continue from."""
    try:
        world = worlds.make(config.world)
        needed = replay.bytes_needed(config, world.obs_space, world.action_space)
        memory.check_room(config.seeds * needed, config.capacity)
        driver = driver or make_driver(config, world, all_devices)
    except ValueError as error:
        raise RunError(str(error)) from error
    state = driver.init(config.seed)
    if resume:
        state = checkpoints.restore_on_all(folder / "state", state)
    elif origin is not None:
        state = _begin_from(state, origin)
    return world, driver, state


def _begin_from(state: RunState, origin: Origin) -> RunState:
    """A fresh state with the networks of `origin`, the same ones for every seed."""
    old = state.learner.params
    seeds = state.updates.ndim  # 1 if there is an axis of seeds
    shapes = jax.tree.map(lambda x: x.shape[seeds:], old)
    if shapes != jax.tree.map(np.shape, origin.params):
        raise RunError(
            f"{origin.name} cannot begin this run, because its networks have other shapes: choose "
            "the same --size and settings as it was trained with, and an environment of the same "
            "observations and actions."
        )

    def place(new: Any, old: jax.Array) -> jax.Array:  # a buffer of its own: it will be donated
        return jax.device_put(np.broadcast_to(np.asarray(new), old.shape).copy(), old.sharding)

    params = jax.tree.map(place, origin.params, old)
    slow = jax.tree.map(place, origin.params["critic"], state.learner.slow_critic)
    return state._replace(learner=state.learner._replace(params=params, slow_critic=slow))
