"""The runs of a sweep as jobs of Slurm, by submitit (the extra `sweep`).

A job starts the run's command as a child process and waits for it. Before Slurm takes the machine
away (preemption, or the job's time is over), submitit calls `Job.checkpoint`: the child saves and
ends, the job is queued again, and its next start goes on from that checkpoint.

DIR/logs/NAME.job holds the number of a run's latest job. The states of jobs come from `squeue`,
because not every cluster keeps the accounts that submitit would ask.
"""

import contextlib
import getpass
import io
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit  # pyright: ignore[reportMissingImports]
from submitit.core.utils import FailedJobError  # pyright: ignore[reportMissingImports]
from submitit.helpers import Checkpointable  # pyright: ignore[reportMissingImports]

from dreamer_lite.runs import disk
from dreamer_lite.runs.errors import RunError, in_short
from dreamer_lite.runs.sweep import RUNNING, WAITING, Run, Sweep

SPARE_MINUTES = 15  # of a job's time, for starting, compiling and saving
LONG = 24 * 60  # minutes of a job whose run has no limit of time
REQUEUES = 1000  # how often a job may come to the end of its time; its run has a limit of its own
ARRAY = 1000  # jobs in one array, as many as Slurm admits by default
ASK_EVERY = 5.0  # seconds between two calls of squeue
AT_WORK = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED"}


class Job(Checkpointable):
    """What a job does. It is pickled, so it holds plain values only."""

    def __init__(self, sweep: Sweep, run: Run):
        self.sweep, self.run = sweep, run
        self.child: subprocess.Popen | None = None

    def __call__(self) -> None:
        """Make or continue the run. Raises RuntimeError if its command fails, for Slurm's log."""
        with self.sweep.log(self.run).open("ab") as log:
            self.child = subprocess.Popen(
                self.sweep.command(self.run),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=leave_signals_to_the_job,
            )
        status = self.child.wait()
        self.sweep.ended(self.run, status)
        if status:
            raise RuntimeError(
                f"exit status {status} of {self.run.name}: see {self.sweep.log(self.run)}"
            )

    def checkpoint(self, *_: Any, **__: Any) -> submitit.helpers.DelayedSubmission:
        """Let the run save and end; returns the job that continues it."""
        if self.child is not None:
            # Slurm may have sent SIGTERM to all processes already. A second one would end the child
            # at once, but SIGHUP only ever asks for the first time.
            self.child.send_signal(signal.SIGHUP)
            # This is a signal handler: `__call__` may hold the lock of `child.wait` already.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(Job(self.sweep, self.run))


def leave_signals_to_the_job() -> None:
    """Slurm sends its signals to all processes of a job: the warning is for submitit only."""
    signal.signal(getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}"), signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Slurm:
    """Executes runs as jobs of Slurm. They live on if this process ends.

    Raises:
      RunError: there is no Slurm here, it takes no jobs, or a parameter is unknown or malformed.
    """

    def __init__(self, sweep: Sweep, parameters: dict[str, Any], parallel: int | None = None):
        if shutil.which("srun") is None:
            raise RunError(
                "There is no Slurm on this machine (srun is not found): type the command where "
                "jobs are submitted, or choose --executor local."
            )
        self.sweep, self.limit = sweep, parallel
        self.parallel = parallel or 1
        self.jobs: dict[str, str] = {}  # run -> the number of its job
        self.active: dict[str, str] = {}
        self.asked = float("-inf")
        minutes = sweep.request.limit.get("minutes")
        usual: dict[str, Any] = {"job_name": "dreamer-lite"}
        usual["time"] = LONG if minutes is None else int(minutes) + 1 + SPARE_MINUTES
        if parallel is not None:
            usual["array_parallelism"] = parallel
        self.executor = submitit.AutoExecutor(
            sweep.logs / "slurm", cluster="slurm", slurm_max_num_timeout=REQUEUES
        )
        wanted = {f"slurm_{n}": x for n, x in (usual | check_parameters(parameters)).items()}
        try:
            self.executor.update_parameters(**wanted)
        except (NameError, ValueError, TypeError, AssertionError) as error:
            raise RunError(f"--slurm is malformed: {in_short(error)}.") from error

    def start(self, chosen: Sequence[Run]) -> None:
        queued = ask_slurm()
        if queued is None:
            raise RunError("Slurm does not answer (squeue failed): try again when it runs.")
        waiting = []
        for run in chosen:
            job = self._job_of(run)
            if job in queued:
                self.jobs[run.name] = job
            else:
                waiting.append(run)
        for begin in range(0, len(waiting), ARRAY):
            self._submit(waiting[begin : begin + ARRAY])
        self.active = dict.fromkeys(self.jobs, WAITING)

    def _submit(self, chosen: Sequence[Run]) -> None:
        """One array of jobs."""
        try:
            with contextlib.redirect_stderr(io.StringIO()), self.executor.batch():
                made = [self.executor.submit(Job(self.sweep, run)) for run in chosen]
        except FailedJobError as error:
            raise RunError(f"Slurm takes no jobs: {in_short(error)}.") from error
        for run, job in zip(chosen, made):
            self.jobs[run.name] = job.job_id
            disk.replace(self._job_file(run), f"{job.job_id}\n".encode())

    def poll(self) -> dict[str, str]:
        if time.monotonic() < self.asked + ASK_EVERY:
            return self.active
        self.asked = time.monotonic()
        if (states := ask_slurm()) is not None:  # else it is busy: ask again later
            jobs = {name: states[job] for name, job in self.jobs.items() if job in states}
            self.active = {n: RUNNING if x in AT_WORK else WAITING for n, x in jobs.items()}
            running = sum(state == RUNNING for state in self.active.values())
            self.parallel = self.limit or max(1, running)
        return self.active

    def cancel(self) -> None:
        chosen = [self.jobs[name] for name in self.active]
        if chosen:
            subprocess.run(["scancel", *chosen], check=False)

    def _job_file(self, run: Run) -> Path:
        return self.sweep.logs / f"{run.name}.job"

    def _job_of(self, run: Run) -> str | None:
        file = self._job_file(run)
        return file.read_text(encoding="utf-8").strip() if file.exists() else None


def ask_slurm() -> dict[str, str] | None:
    """{job: state} of this user's jobs that have not ended; None if Slurm does not answer."""
    words = ["squeue", "--noheader", "--array", "--format=%i %T", f"--user={getpass.getuser()}"]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    if found.returncode:
        return None
    pairs = (line.split() for line in found.stdout.splitlines())
    return {job: state for job, state in pairs}


def parse_parameters(pairs: Sequence[str]) -> dict[str, Any]:
    """The `--slurm KEY=VALUE` pairs; a value is JSON where it can be, else text.

    Raises:
      ValueError: one is not of this form.
    """
    found = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"--slurm {pair} is not of the form KEY=VALUE.")
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


def check_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters under Slurm's own names. Raises RunError; one sentence."""
    ours = {"timeout_min": "time", "mem_gb": "mem", "tasks_per_node": "ntasks_per_node"}
    valid = submitit.SlurmExecutor._valid_parameters() - {"num_gpus", "use_srun"}
    found = {}
    for key, value in parameters.items():
        if key not in valid | ours.keys():
            names = ", ".join(sorted(valid))
            raise RunError(f"--slurm {key} is no parameter of a job: valid are {names}.")
        if key == "mem_gb":
            value = f"{value}GB"
        found[ours.get(key, key)] = value
    if not isinstance(found.get("time", 1), int):
        raise RunError(f"--slurm time={found['time']}: it is a whole number of minutes.")
    for key in ("nodes", "ntasks_per_node"):
        if found.get(key, 1) != 1:
            raise RunError(
                f"--slurm {key}={found[key]}: a run of a sweep is one process, so it must be 1."
            )
    return found
