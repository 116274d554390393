"""The runs of a sweep as processes of this machine, so many at a time."""

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from dreamer_lite.runs.sweep import RUNNING, WAITING, Run, Sweep
from dreamer_lite.training import hosts, memory

ROOM = 3e9  # bytes of memory that a run is reckoned to need, where nobody says how many fit


class Slot(NamedTuple):
    """What one run at a time may use."""

    cores: frozenset[int]  # empty: all
    environment: dict[str, str]


class Local:
    """Executes runs on this machine. They live on if this process ends."""

    def __init__(self, sweep: Sweep, parallel: int | None = None):
        self.sweep, self.slots = sweep, make_slots(parallel)
        self.parallel = len(self.slots)
        self.queue: deque[Run] = deque()
        self.elsewhere: list[Run] = []  # left running by an earlier command
        self.running: dict[str, tuple[Run, subprocess.Popen, Slot]] = {}

    def start(self, chosen: Sequence[Run]) -> None:
        self.elsewhere = [run for run in chosen if self.sweep.state(run) == RUNNING]
        self.queue.extend(run for run in chosen if run not in self.elsewhere)

    def poll(self) -> dict[str, str]:
        for name, (run, child, slot) in list(self.running.items()):
            if (status := child.poll()) is not None:
                del self.running[name]
                self.slots.append(slot)
                self.sweep.ended(run, status)
        self.elsewhere = [run for run in self.elsewhere if self.sweep.state(run) == RUNNING]
        while self.queue and len(self.slots) > len(self.elsewhere):
            self._begin(self.queue.popleft(), self.slots.pop())
        active = dict.fromkeys(self.running, RUNNING) | {r.name: RUNNING for r in self.elsewhere}
        return active | {run.name: WAITING for run in self.queue}

    def cancel(self) -> None:
        self.queue.clear()
        self.elsewhere.clear()
        for _, child, _ in self.running.values():
            child.send_signal(signal.SIGTERM)

    def _begin(self, run: Run, slot: Slot) -> None:
        with self.sweep.log(run).open("ab") as log:
            child = subprocess.Popen(
                self.sweep.command(run),
                env=os.environ | slot.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for the sweep, not for its runs
            )
        if slot.cores:
            with contextlib.suppress(OSError):  # it has ended already
                os.sched_setaffinity(child.pid, slot.cores)
        self.running[run.name] = (run, child, slot)


def make_slots(parallel: int | None) -> list[Slot]:
    """`parallel` slots, or as many as this machine has GPUs, or else as it has cores with room.

    Runs on GPUs get one each, or equal parts of the memory of one. Runs on the CPU share the cores
    out: several programs that each use all cores hinder each other.
    """
    gpus, cores = visible_gpus(), usable_cores()
    if parallel is None:
        free = memory.free_host_bytes()
        fit = max(1, int(free / ROOM)) if free else 1
        parallel = len(gpus) or min(len(cores) or 1, fit)
    slots = []
    for number in range(parallel):
        environment = {}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
            if parallel > len(gpus):  # JAX would take three quarters for the first
                fraction = 0.9 / -(-parallel // len(gpus))
                environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{fraction:.2f}"
        own = cores[number % len(cores) :: parallel] if cores and not gpus and parallel > 1 else ()
        slots.append(Slot(frozenset(own), environment))
    return slots


def usable_cores() -> list[int]:
    """The cores that this process may use; none where the system does not let us choose."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []


def visible_gpus() -> list[str]:
    """The GPUs that JAX would use."""
    cpu = os.environ.get("JAX_PLATFORMS", "").startswith("cpu")
    return [] if cpu else hosts.visible_gpus()
