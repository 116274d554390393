"""A sweep: a grid of settings and seeds, each an ordinary run, in one folder.

    DIR/sweep.json        what was asked               DIR/NAME/             a run folder (`run`)
    DIR/logs/NAME.log     what its command printed     DIR/logs/NAME.failed  why it failed

Every run is a `dreamer-lite train` of its own, in a process of its own: on this machine
(`sweep_local`) or as a job of Slurm (`sweep_slurm`). The state of a run is read from its files, so
nothing has to be kept in memory: the same command goes on after anything.
"""

import contextlib
import itertools
import json
import os
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dreamer_lite import files
from dreamer_lite.runs import disk, process
from dreamer_lite.runs import run as runs
from dreamer_lite.runs.errors import MALFORMED, RunError, explained
from dreamer_lite.training.progress import Limits

# Of a run. A `stopped` run has begun and can go on; `waiting` also means not yet begun.
WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"
POLL = 0.2  # seconds between two looks at the runs
TAIL = 2**16  # bytes at the end of a metrics.jsonl in which its last record lies
NEEDED = {"seconds", "updates", "agent_steps", "updates_per_second", "episodes", "return_mean"}
Record = dict[str, Any]


class Request(NamedTuple):
    """What a sweep was asked for; all values as they are typed."""

    world: str
    size: str | None
    seeds: list[int]
    settings: dict[str, list[str]]  # of each setting one value or several
    limit: dict[str, float]  # one of minutes, steps, updates

    @property
    def limits(self) -> Limits:
        limit: dict[str, Any] = self.limit
        return Limits(**limit)

    def points(self) -> list[dict[str, str]]:
        """Every combination of the values of the settings."""
        values = itertools.product(*self.settings.values())
        return [dict(zip(self.settings, point)) for point in values]


class Run(NamedTuple):
    """One run of a sweep."""

    name: str  # of its folder
    setting: str  # the values in which settings of the sweep differ, as in "entropy=3e-4 horizon=5"
    seed: int
    words: list[str]  # the arguments of its `dreamer-lite`


class Sweep:
    """A sweep in its folder."""

    def __init__(self, request: Request, folder: Path):
        self.request, self.folder, self.logs = request, folder, folder / "logs"
        self.runs = [self._run(point, seed) for point in request.points() for seed in request.seeds]
        self.settings = list(dict.fromkeys(run.setting for run in self.runs))

    def _run(self, point: Mapping[str, str], seed: int) -> Run:
        varied = [f"{n}={v}" for n, v in point.items() if len(self.request.settings[n]) > 1]
        name = "_".join([*varied, f"s{seed}"])
        words = ["train", "--world", self.request.world, "--seed", str(seed)]
        words += ["--size", self.request.size] if self.request.size else []
        words += [word for n, v in point.items() for word in ("--set", f"{n}={v}")]
        words += [word for n, v in self.request.limit.items() for word in (f"--{n}", f"{v:.12g}")]
        return Run(
            name,
            " ".join(varied) or self.request.world,
            seed,
            [*words, "--run", str((self.folder / name).absolute())],
        )

    def claim(self) -> None:
        """Make the folder this sweep's; a higher or lower limit is the same sweep.

        Raises:
          RunError: it belongs to another sweep, holds other files, or cannot be written.
        """
        file, another = self.folder / "sweep.json", "choose another folder with --out."
        with explained(
            OSError, RunError, lambda why: f"Cannot write in {self.folder} ({why}): {another}"
        ):
            if file.exists():
                check_same(read_request(self.folder), self.request, self.folder)
            elif self.folder.exists() and any(self.folder.iterdir()):
                raise RunError(f"{self.folder} holds files that are of no sweep: {another}")
            self.logs.mkdir(parents=True, exist_ok=True)
            disk.replace_json(file, {"format": 1} | self.request._asdict())

    def command(self, run: Run) -> list[str]:
        """The command that makes or continues a run."""
        return [sys.executable, "-m", "dreamer_lite", *run.words]

    def log(self, run: Run) -> Path:
        return self.logs / f"{run.name}.log"

    def failure(self, run: Run) -> Path:
        """The file that says why a run failed."""
        return self.logs / f"{run.name}.failed"

    def ended(self, run: Run, status: int) -> None:
        """Write down how the command of a run ended; a process that was killed did not fail."""
        if 0 < status < 128:
            said = self.log(run).read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line for line in reversed(said) if line.strip()), "")
            disk.replace(self.failure(run), f"exit status {status}: {last}\n".encode())

    def forgive(self) -> None:
        """Forget which runs failed, so that they are tried again."""
        for run in self.runs:
            self.failure(run).unlink(missing_ok=True)

    def state(self, run: Run) -> str:
        """The state of a run by its files."""
        folder = self.folder / run.name
        if runs.finished(folder, self.request.limits):
            return DONE
        if process.is_locked(folder):
            return RUNNING
        if self.failure(run).exists():
            return FAILED
        return STOPPED if (folder / "metrics.jsonl").exists() else WAITING


def read_request(folder: Path) -> Request:
    """What the sweep in `folder` was asked for. Raises RunError if there is none to read."""
    file = folder / "sweep.json"
    with explained(OSError, RunError, lambda why: f"Cannot read {file} ({why}): name a sweep."):
        content = files.read_regular(file)
    with explained(MALFORMED, RunError, lambda why: f"{file} is damaged ({why})."):
        found = json.loads(content)
        if (form := found.pop("format")) != 1:
            raise RunError(f"{file} has format {form}: use the version that wrote it.")
        request = Request(**found)
        Sweep(request, folder)  # whatever is malformed inside shows here
        return request


def check_same(old: Request, new: Request, folder: Path) -> None:
    """Raise RunError if two sweeps differ in more than their limits."""
    for name in ("world", "size", "seeds", "settings"):
        if getattr(old, name) != getattr(new, name):
            raise RunError(
                f"{folder} holds a sweep with other {name} ({in_short(getattr(old, name))}): ask "
                "for the same ones, or choose another folder with --out."
            )


def in_short(value: Any) -> str:
    """Seeds, settings or a name as they were typed."""
    if isinstance(value, dict):
        return " ".join(f"{name}={','.join(values)}" for name, values in value.items()) or "none"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def last_record(file: Path) -> Record | None:
    """The last whole record of a metrics.jsonl, None without one."""
    with contextlib.suppress(OSError, *MALFORMED), files.open_regular(file) as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL))
        lines = stream.read().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        record = json.loads(whole[-1]) if whole else None
        return record if isinstance(record, dict) and NEEDED <= record.keys() else None
    return None


# Following a sweep while it runs


class Executor(Protocol):
    """Where runs are executed."""

    parallel: int  # how many runs at once, as far as that is known

    def start(self, chosen: Sequence[Run]) -> None:
        """Queue these runs."""
        ...

    def poll(self) -> dict[str, str]:
        """{name: WAITING or RUNNING} of the runs that have not ended yet. Starts waiting ones."""
        ...

    def cancel(self) -> None:
        """Drop the runs that wait, and ask the running ones to save and end."""
        ...


class Progress(NamedTuple):
    """How far a sweep is: a row for each setting, and one for all."""

    rows: list["Row"]
    total: "Row"


class Row(NamedTuple):
    """A line of the table."""

    setting: str
    states: Counter[str]
    returns: list[float]  # of the runs that have finished an episode
    seconds_left: float | None


def follow(
    sweep: Sweep,
    executor: Executor,
    stop: Callable[[], bool],
    show: Callable[[Progress], None],
    leave: bool = False,
    poll: float = POLL,
) -> Progress:
    """Execute what is not finished, show the progress, and return the last of it.

    When `stop()` turns true, running runs are left as they are if `leave`; else they are asked to
    save, and this returns when they have ended. Runs that failed are not tried again.
    """
    states = {run.name: sweep.state(run) for run in sweep.runs}
    executor.start([run for run in sweep.runs if states[run.name] not in (DONE, FAILED)])
    cancelled = False
    while True:
        active = executor.poll()
        for run in sweep.runs:
            if run.name in active:
                states[run.name] = active[run.name]
            elif states[run.name] not in (DONE, FAILED):
                states[run.name] = sweep.state(run)
        progress = measure(sweep, states, executor.parallel)
        show(progress)
        if not active or (stop() and leave):
            return progress
        if stop() and not cancelled:
            executor.cancel()
            cancelled = True
        time.sleep(poll)


def measure(sweep: Sweep, states: Mapping[str, str], parallel: int) -> Progress:
    """The table of a sweep whose runs are in these states."""
    request, found = sweep.request, {}
    for run in sweep.runs:
        found[run.name] = last_record(sweep.folder / run.name / "metrics.jsonl")
    whole = [whole_seconds(request, record) for record in found.values() if record]
    usual = sum(whole) / len(whole) if whole else 60 * request.limit.get("minutes", 0) or None

    def left(run: Run) -> float | None:
        """Seconds until a run is done, by its own speed or that of others; None if unknown."""
        if states[run.name] in (DONE, FAILED):
            return 0.0
        record = found[run.name]
        total = whole_seconds(request, record) if record else usual
        return None if total is None else max(0.0, total - (record["seconds"] if record else 0))

    def row(label: str, chosen: list[Run]) -> Row:
        records = [r for run in chosen if (r := found[run.name]) and r.get("episodes")]
        times = [left(run) for run in chosen]
        known = [t for t in times if t is not None]
        enough = len(known) == len(times)
        wait = max(sum(known) / max(1, parallel), max(known, default=0.0)) if enough else None
        states_of = Counter(states[run.name] for run in chosen)
        return Row(label, states_of, [r["return_mean"] for r in records], wait)

    by_setting = {label: [r for r in sweep.runs if r.setting == label] for label in sweep.settings}
    rows = [row(label, chosen) for label, chosen in by_setting.items()]
    return Progress(rows, row(f"all {len(sweep.runs)} runs", sweep.runs))


def whole_seconds(request: Request, record: Record) -> float:
    """How long a run takes from its start to its limit, by its last record; at least one update."""
    (kind, limit), *_ = request.limit.items()
    if kind == "minutes":
        return 60 * limit
    done = record["agent_steps" if kind == "steps" else "updates"]
    each = record["updates"] / (done * record["updates_per_second"])  # without compilation
    return record["seconds"] + max(0.0, limit - done) * each


def as_table(progress: Progress, rows: int | None = None) -> str:
    """The progress as text; of more than `rows` settings, those at work or to come."""
    shown = progress.rows
    if rows is not None and len(shown) > rows:
        busy = [row for row in shown if row.states[RUNNING] or row.states[WAITING]]
        shown = (busy + [row for row in shown if row not in busy])[: max(1, rows)]
    columns = [WAITING, RUNNING, DONE, FAILED]
    columns += [STOPPED] if progress.total.states[STOPPED] else []
    width = max(7, *(len(row.setting) for row in [*shown, progress.total]))
    lines = [f"{'setting':{width}} {' '.join(f'{c:>7}' for c in columns)} {'return':>9}  time left"]
    for row in [*shown, progress.total] if len(progress.rows) > 1 else [progress.total]:
        counts = " ".join(f"{row.states[column]:7}" for column in columns)
        got = f"{sum(row.returns) / len(row.returns):9.2f}" if row.returns else f"{'-':>9}"
        lines.append(f"{row.setting:{width}} {counts} {got}  {in_minutes(row.seconds_left)}")
    return "\n".join(lines)


def in_minutes(seconds: float | None) -> str:
    """A time to wait, in words."""
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def parse_seeds(text: str) -> list[int]:
    """The seeds of "0-9" or "0,3,5-7". Raises ValueError; one sentence."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip())
        if match is None:
            raise ValueError(f"--seeds {shlex.quote(text)} is not of the form 0-9 or 0,3,5-7.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"--seeds {text} is an empty range: {first} is above {last}.")
        seeds += range(first, min(last, first + 10**6) + 1)
    check_different("--seeds", text, seeds)
    return seeds


def check_different(what: str, text: str, values: Sequence[Any]) -> None:
    """Raise ValueError if a value is named twice: two runs would share a folder."""
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"{what} {text} names {twice[0]} twice.")
