"""`sweep`: a grid of runs, on this machine or on Slurm, with a table of their progress."""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

from dreamer_lite.commands.agents import typed
from dreamer_lite.commands.output import Refused, note, refusing, say
from dreamer_lite.commands.settings import settings

MANY = 1000  # runs, from which on `--yes` is wanted
SECONDS_BETWEEN_TABLES = 60.0  # at most, if stderr is no terminal; sooner when states change
LEAST_BETWEEN_TABLES = 10.0


def sweep(args: argparse.Namespace) -> int:
    """Make or continue a sweep; exit status 1 if a run has failed or is not finished."""
    with refusing():
        request = make_request(args)
    from dreamer_lite.runs import process
    from dreamer_lite.runs import sweep as sweeps

    with refusing():
        found = sweeps.Sweep(request, args.out)
        if len(found.runs) > MANY and not args.yes:
            raise Refused(f"These are {len(found.runs):,} runs: add --yes if they are meant.")
        if args.executor == "local" and args.slurm:
            raise Refused("--slurm is for --executor slurm.")
        executor = make_executor(args, found)
        found.claim()
    if args.retry:
        found.forgive()
    leave = (args.on_stop or ("leave" if args.executor == "slurm" else "cancel")) == "leave"
    what = "leaving the runs at work" if leave else "the runs save and end"
    asked = f"\nStopping: {what}; once more stops at once.\n".encode()
    show = Screen() if sys.stderr.isatty() else lines()
    with process.stop_on_signals(asked, again=leave_at_once) as stop, refusing():
        progress = sweeps.follow(found, executor, stop, show, leave)
    say(sweeps.as_table(progress))
    states = progress.total.states
    if states[sweeps.FAILED]:
        failed = next(run for run in found.runs if found.failure(run).exists())
        why = found.failure(failed).read_text(encoding="utf-8", errors="replace").strip()
        note(f"{failed.name} failed with {why}")
        note(f"What it printed is in {found.log(failed)}; --retry tries failed runs again.")
    if stop.signal:
        note("The same command goes on.")
        return 128 + stop.signal
    if states[sweeps.DONE] < len(found.runs):
        note("Not all runs are done: the same command goes on with those that were stopped.")
        return 1
    say(f"Next: dreamer-lite plot --sweep {typed(args.out)} --out sweep.png")
    return 0


def make_request(args: argparse.Namespace) -> Any:
    """What was asked, after every point of the grid has been tried as a config.

    Raises:
      ValueError: an unknown setting, a value out of range, an empty grid; one sentence.
    """
    from dreamer_lite import worlds
    from dreamer_lite.presets import make_config
    from dreamer_lite.runs import sweep as sweeps

    limit = {n: x for n in ("minutes", "steps", "updates") if (x := getattr(args, n)) is not None}
    grid: dict[str, list[str]] = {}
    for pair in args.set:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair} is not of the form NAME=VALUE,VALUE,...")
        if name in grid:
            raise ValueError(f"--set {name} is given twice: list its values in one, as in a=1,2.")
        # A setting that is itself a list has commas of its own.
        values = [v.strip() for v in text.split(";" if name == "multipliers" else ",") if v.strip()]
        if not values:
            raise ValueError(f"--set {pair} names no value, so the grid is empty.")
        parsed = [settings([f"{name}={value}"])[name] for value in values]
        sweeps.check_different("--set", pair, parsed)
        grid[name] = values
    request = sweeps.Request(args.world, args.size, sweeps.parse_seeds(args.seeds), grid, limit)
    worlds.make(args.world)
    for point in request.points()[: MANY + 1]:
        make_config(args.world, args.size, **settings([f"{n}={v}" for n, v in point.items()]))
    return request


def make_executor(args: argparse.Namespace, found: Any) -> Any:
    """Where the runs are executed. Raises ValueError; one sentence."""
    if args.executor == "local":
        from dreamer_lite.runs.sweep_local import Local

        return Local(found, args.parallel)
    try:
        from dreamer_lite.runs import sweep_slurm
    except ModuleNotFoundError as error:
        if error.name != "submitit":
            raise
        raise Refused("--executor slurm needs submitit: pip install submitit.") from error
    return sweep_slurm.Slurm(found, sweep_slurm.parse_parameters(args.slurm), args.parallel)


def leave_at_once(number: int, _frame: Any) -> None:
    """End this process; the runs have been asked to save already, or are left as they are."""
    os._exit(128 + number)


class Screen:
    """Draws the table over the one before, on a terminal."""

    def __init__(self) -> None:
        self.height, self.due = 0, 0.0

    def __call__(self, progress: Any) -> None:
        from dreamer_lite.runs.sweep import as_table

        if time.monotonic() < self.due:
            return
        self.due = time.monotonic() + 1
        size = shutil.get_terminal_size()
        table = as_table(progress, size.lines - 4).split("\n")
        up = f"\x1b[{self.height}A" if self.height else ""
        note(up + "".join(f"{line[: size.columns - 1]}\x1b[K\n" for line in table) + "\x1b[J", "")
        self.height = len(table)


def lines() -> Callable[[Any], None]:
    """Prints the table when states change, or now and then."""
    from dreamer_lite.runs.sweep import as_table

    last, printed = None, 0.0

    def show(progress: Any) -> None:
        nonlocal last, printed
        states, passed = dict(progress.total.states), time.monotonic() - printed
        wait = SECONDS_BETWEEN_TABLES if states == last else LEAST_BETWEEN_TABLES
        if last is None or passed > wait:
            note(as_table(progress))
            last, printed = states, time.monotonic()

    return show
