"""`train`: make or continue a run, show its progress, and say how it went."""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

from dreamer_lite.commands.agents import NO_EPISODE, typed, with_error
from dreamer_lite.commands.output import Refused, note, refusing, say, write_out
from dreamer_lite.commands.settings import settings

# After 100 updates, three seeds of Catch still catch 0.08 ± 0.02 of the balls, as random play does.
UNTRAINED = 100
SECONDS_BETWEEN_LINES = 30.0  # if stderr is no terminal, which could show a bar
AT_ONCE = "Stopped at once; the run continues from its last checkpoint."
COMPILING = "Compiling: about 20 s, or a few seconds if this was compiled before ..."

Record = dict[str, Any]


def train(args: argparse.Namespace) -> int:
    """Make or continue a run, with a progress bar; in one process, or together with others."""
    from dreamer_lite.training import gpu_settings, hosts

    together = (args.coordinator, args.processes, args.process)
    if args.deterministic:
        with refusing():
            gpu_settings.be_deterministic()
    try:
        if args.devices == "all" or any(x is not None for x in together):
            with refusing():
                hosts.connect(*together)
        if not hosts.asked_for():
            return make_or_continue(args)
        with hosts.noticing_deaths():
            return make_or_continue(args)
    except hosts.HostError as error:
        leave_the_others(str(error))


def leave_the_others(sentence: str) -> NoReturn:
    """End this process at once; JAX would wait for the processes that are gone."""
    with contextlib.suppress(OSError):
        write_out()
    note(f"dreamer-lite: {sentence}")
    os._exit(1)


def make_or_continue(args: argparse.Namespace) -> int:
    """`train` after the processes of the run, if there are several, have found each other."""
    from dreamer_lite import presets, worlds
    from dreamer_lite.agent import devices
    from dreamer_lite.runs import agents, places, process
    from dreamer_lite.runs import run as runs
    from dreamer_lite.training import gpu_settings, hosts
    from dreamer_lite.training.progress import Limits

    with refusing():
        devices.first()
        first = hosts.is_first()
        worlds.make(args.world)
        settled = presets.make_config(args.world, args.size, **settings(args.set))
        settled = dataclasses.replace(settled, seed=args.seed, seeds=args.seeds)
        gpu_settings.use_precision(settled.precision)
    folder = args.run or places.home() / places.name(settled)
    if folder.suffix == agents.SUFFIX:
        raise Refused(f"{folder} is the name of an agent file: choose another folder with --run.")
    limits = Limits(args.minutes, args.steps, args.updates)
    if first and args.minutes is args.steps is args.updates is None:
        note("No limit given: training until you press Ctrl-C, which saves.")
    process.enable_compilation_cache()
    with process.stop_on_signals(again=leave) as stop:
        with refusing():
            began = args.origin and runs.Origin(args.origin, agents.load(args.origin).params)
            records = runs.run(
                settled,
                folder,
                limits,
                stop=stop,
                elapsed=process.age_of_process(),
                all_devices=args.devices == "all" or hosts.several(),
                mirror_folder=args.mirror,
                origin=began,
                tell=lambda sentence: note(f"dreamer-lite: {sentence}"),
            )
        if hosts.first_does(lambda: runs.finished(folder, limits)):
            if not first:
                return 0
            note(f"{folder} has reached this limit already: a higher limit would continue it.")
            return report(folder, args.world)
        try:
            follow(records, limits, quiet=not first)
        except FloatingPointError as error:
            raise FloatingPointError(
                f"{error} Training stopped; {folder} keeps the last good checkpoint. The same "
                "settings would fail again: start another run with a smaller --set learning_rate."
            ) from error
    if not first:
        return 128 + stop.signal if stop.signal else 0
    if not stop.signal:
        return report(folder, args.world)
    for tell in (lambda: report(folder, args.world), write_out):
        with contextlib.suppress(OSError):  # the terminal may have been closed
            tell()
    return 128 + stop.signal


def leave(number: int, _frame: Any) -> None:
    """End the process at once, without waiting for threads that save: a run survives kills."""
    with contextlib.suppress(OSError):
        os.write(2, f"\ndreamer-lite: {AT_ONCE}\n".encode())
    os._exit(128 + number)


def follow(records: Generator[Record, None, None], limits: Any, quiet: bool = False) -> None:
    """Show the records as they come: a bar, or lines where stderr is no terminal."""
    show = (lambda news, _: news) if quiet else bar if sys.stderr.isatty() else lines
    with contextlib.closing(records):  # after an error here, the run is saved and released at once
        for _ in show(records, limits):
            pass


def bar(records: Iterator[Record], limits: Any) -> Iterator[Record]:
    """Pass records on and draw a bar with an estimate of the remaining time."""
    from tqdm import tqdm

    if limits.minutes:
        total, done = round(60 * limits.minutes), "seconds"
    else:
        total, done = limits.steps or limits.updates, "agent_steps" if limits.steps else "updates"
    form = "{percentage:3.0f}% |{bar}| {elapsed}, {remaining} left{postfix}"
    note(COMPILING, end="\r")
    drawn = None
    try:
        for record in records:
            value = record[done] if total is None else min(total, record[done])
            if drawn is None:
                form = form if total else "{elapsed}{postfix}"
                drawn = tqdm(total=total, initial=value, bar_format=form, dynamic_ncols=True)
            drawn.set_postfix_str(in_words(record), refresh=False)
            drawn.update(value - drawn.n)
            yield record
    finally:
        if drawn is not None:
            drawn.close()
        else:
            note(" " * len(COMPILING), end="\r")


def lines(records: Iterator[Record], limits: Any) -> Iterator[Record]:
    """Pass records on and print one every SECONDS_BETWEEN_LINES."""
    note(COMPILING)
    due = 0.0
    for record in records:
        if record["seconds"] >= due:
            note(f"{record['seconds']:.0f} s, {in_words(record)}")
            due = record["seconds"] + SECONDS_BETWEEN_LINES
        yield record


def in_words(record: Record) -> str:
    """Return, updates and speed of a record; of several seeds also the lowest and highest."""
    seeds = record.get("seeds")
    spread = ""
    if seeds:
        returns = seeds["return_mean"]
        spread = f" ({min(returns):.2f} to {max(returns):.2f}, {len(returns)} seeds)"
    counts = seeds["episodes"] if seeds else [record["episodes"]]
    got = f"return {record['return_mean']:.2f}{spread}" if min(counts) else NO_EPISODE
    return f"{got}, update {record['updates']:.0f}, {record['updates_per_second']:.1f} updates/s"


def report(folder: Path, world: str) -> int:
    """Print the state of a run in a few lines, and which command to type next."""
    from dreamer_lite import worlds

    file = folder / "summary.json"
    if not file.exists():
        note("Stopped before the first update: there is nothing to save.")
        return 0
    run = json.loads(file.read_text(encoding="utf-8"))
    of = f" of {run['seeds']} seeds" if "seeds" in run else ""
    if run["episodes"]:
        episodes = min(100, run["episodes"])
        say(f"Return {with_error(run)}{of} over the last {episodes} training episodes,")
    else:
        say("No episode has ended yet,")
    say(
        f"after {run['updates']} updates on {run['agent_steps']} agent steps in "
        f"{run['wall_seconds'] / 60:.1f} minutes; the first update came after "
        f"{run['first_update_seconds']:.1f} s. Saved in {folder}."
    )
    if run["updates"] <= UNTRAINED:
        say(
            "So few updates teach nothing yet: the agent plays and predicts as if untrained. The "
            "same command with a higher limit goes on from here (`make demo MINUTES=...` too)."
        )
    agent, own = typed(folder), f" --world {typed(world)}" if worlds.module_needed(world) else ""
    say(f"Next: dreamer-lite dream --agent {agent}{own}     an imagined rollout beside reality")
    say(f"      dreamer-lite record --agent {agent}{own}    a film of an episode")
    if of:
        say(f"      both use the first seed; {typed(f'{folder}@SEED')} names one")
    return 0
