"""The commands of `dreamer-lite`: train, evaluate, dream, record, export, worlds, plot, bench.

Exit status 0: done. 1: training broke (NaN, full disk); the last checkpoint is good. 2: something
asked for cannot be; one sentence says what is valid. 129, 130 and 143: stopped by SIGHUP (its
terminal was closed), Ctrl-C or SIGTERM, after saving. Modules are imported where they are needed,
to keep the way to a first update short.
"""

from dreamer_lite import files

if __name__ == "__main__":  # `python -m` looks for modules in the current folder first
    files.forget_current_folder()

import argparse
import contextlib
import dataclasses
import json
import os
import shlex
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

from dreamer_lite import notices

VIDEOS = (".mp4", ".gif")
MARK = "dreamer-lite dream"  # in the picture that `dream` writes, to know it again
DREAM_FPS, RECORD_FPS = 5, 10
# After 100 updates three seeds of Catch still catch 0.08 ± 0.02 of the balls, as random play does.
UNTRAINED = 100
SECONDS_BETWEEN_LINES = 30.0  # where there is no terminal for a bar
PATIENCE = 10.0  # seconds that a finished process waits for threads of its environments
OWN_WORLD = "the agent's own world gym/MODULE:ID: only what is named here is imported"
AT_ONCE = "Stopped at once; a run goes on from its last checkpoint."
NO_EPISODE = "no episode has ended yet"
COMPILING = "Compiling: about 20 s, a few seconds when this was compiled before ..."


Record = dict[str, Any]


class Refused(Exception):
    """What was asked for cannot be done; the message is one sentence."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    commands: list[str]

    def error(self, message: str) -> NoReturn:
        raise Refused(f"{message} (see {self.prog} --help).")


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """What is wrong with the input is the user's to know; anything else keeps its traceback."""
    try:
        yield
    except ValueError as error:
        raise Refused(str(error)) from error


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Without `argv` the process is its own."""
    if argv is None:
        files.forget_current_folder()
    notices.print_anything()
    with warnings.catch_warnings():
        notices.say_plainly(lambda sentence: note(f"dreamer-lite: {sentence}"))
        return run(sys.argv[1:] if argv is None else argv, whole_process=argv is None)


def run(argv: list[str], whole_process: bool) -> int:
    """Run one command; what goes wrong is one sentence and an exit status."""
    try:
        parser = make_parser()
        if argv and argv[0] not in parser.commands and not argv[0].startswith("-"):
            known = ", ".join(parser.commands)
            raise Refused(f"There is no command {argv[0]!r}: valid are {known}.")
        args = parser.parse_args(argv)
        with own_output(whole_process):
            status = args.function(args)
            write_out()
        return status
    except Refused as error:
        return complain(str(error), 2)
    except (FloatingPointError, world_error()) as error:
        return complain(str(error), 1)
    except OSError as error:
        return complain(what_failed(error), 1)
    except KeyboardInterrupt:
        return complain(AT_ONCE, 130)


OUTPUT: list[Any] = []  # the last one, if there is one, is where `say` prints


@contextlib.contextmanager
def own_output(whole_process: bool) -> Iterator[None]:
    """Inside, stdout is for `say` alone: what environments and packages print goes to stderr.

    For the process of a command this holds to its end, also for what is printed by C code, by
    child processes or when Python ends.
    """
    OUTPUT.append(sys.stdout)
    if whole_process:
        with contextlib.suppress(OSError, AttributeError):  # stdout or stderr was closed from start
            sys.stdout.flush()
            own = os.dup(sys.stdout.fileno())
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            OUTPUT[-1] = open(  # noqa: SIM115
                own, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors
            )
        sys.stdout = sys.stderr  # to the end
        yield
    else:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        finally:
            OUTPUT.pop()


def leave(number: int, _frame: Any) -> None:
    """End the process here and now. A run is safe from kills; threads that save might object."""
    with contextlib.suppress(OSError):
        os.write(2, f"\ndreamer-lite: {AT_ONCE}\n".encode())
    os._exit(128 + number)


def write_out() -> None:
    """Raise OSError if what was printed cannot be written: a full disk."""
    out = OUTPUT[-1] if OUTPUT else sys.stdout
    if out is None:  # closed from start
        return
    try:
        out.flush()
    except OSError as error:  # given up, or Python would try again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        raise OSError(error.errno, error.strerror) from error


def what_failed(error: OSError) -> str:
    """One sentence."""
    if error.filename:
        return f"{error.filename}: {error.strerror}."
    if error.strerror:
        with contextlib.suppress(OSError):
            write_out()  # it may be what failed
        return f"Cannot write what was made ({error.strerror})."
    return str(error)


def world_error() -> type[RuntimeError]:
    """What an environment that breaks raises. Imported only once something was raised."""
    from dreamer_lite.worlds.hosted import WorldError

    return WorldError


def complain(sentence: str, status: int) -> int:
    """Say it on one line, without control characters, for it may have a stranger's words in it."""
    sentence = "".join(x if x.isprintable() else " " for x in sentence)
    note(f"dreamer-lite: {sentence}")
    return status


# What can be typed


def make_parser() -> Parser:
    """All commands and flags."""
    parser = Parser(prog="dreamer-lite", description="DreamerV3 in JAX: learn, then dream.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Any, text: str) -> argparse.ArgumentParser:
        name = function.__name__.removesuffix("_")
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(function=function)
        return sub

    sub = command(train, "train an agent, or go on with a run that was stopped")
    sub.add_argument("--world", required=True, help="a name from `dreamer-lite worlds`")
    sub.add_argument("--size", help="of the networks: tiny, 1m, 12m, ...; default: by the world")
    sub.add_argument("--seed", type=whole(0), default=0)
    sub.add_argument(
        "--seeds",
        type=whole(1),
        default=1,
        metavar="N",
        help="train N agents in one program, with seeds SEED, SEED+1, ...; limits count the steps "
        "and updates of each",
    )
    limit = sub.add_mutually_exclusive_group()
    limit.add_argument("--minutes", type=positive, help="wall time; limits count earlier starts")
    limit.add_argument("--steps", type=whole(1), help="agent steps")
    limit.add_argument(
        "--updates", type=whole(1), help="without a limit: until Ctrl-C, which saves"
    )
    sub.add_argument(
        "--devices",
        type=one_of("all", "1"),
        default="1",
        metavar="{all,1}",
        help="all: share out the work (JAX worlds)",
    )
    sub.add_argument("--run", type=Path, help="folder; default: runs/WORLD-SIZE-sSEED[-nN]")
    sub.add_argument(
        "--mirror",
        type=Path,
        metavar="DIR",
        help="keep a copy there, as on Google Drive, and go on from it where the run is gone",
    )
    sub.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any setting; repeatable"
    )

    sub = command(evaluate, "play whole episodes and give the mean return")
    add_player(sub)
    sub.add_argument("--episodes", type=whole(1), default=20)

    sub = command(dream, "film the agent's dream beside reality, and measure it")
    add_agent(sub)
    sub.add_argument("--world", help=OWN_WORLD)
    sub.add_argument("--out", type=Path, help="an .mp4 or .gif file; default: dream.mp4")

    sub = command(record, "film the agent as it plays")
    add_player(sub)
    sub.add_argument("--episodes", type=whole(1), default=1)
    sub.add_argument("--out", type=Path, help="an .mp4 or .gif file; default: record.mp4")

    sub = command(export, "write an agent as one .safetensors file, and a .json that describes it")
    sub.add_argument("--agent", required=True, metavar="RUN", help="a run folder DIR, or DIR@SEED")
    sub.add_argument("--world", help=OWN_WORLD)
    sub.add_argument("--out", type=Path, required=True, help="a .safetensors file")

    command(worlds, "list the worlds")

    sub = command(doctor, "say what this machine has, and what to do about what is missing")
    sub.add_argument("--json", action="store_true", help="print only a JSON list")

    sub = command(bench, "measure how fast updates are here")
    sub.add_argument("preset", nargs="*", help="a world and perhaps a size: walker 1m")
    sub.add_argument("--json", action="store_true", help="print only a JSON list")
    shown = sub.add_mutually_exclusive_group()
    shown.add_argument("--profile", action="store_true", help="what takes how long in an update")
    shown.add_argument("--growth", type=Path, metavar="FILE", help="time by sizes, as a .png")

    sub = command(plot, "draw the curves of runs")
    sub.add_argument("--run", type=Path, nargs="+", required=True, metavar="DIR")
    sub.add_argument("--out", type=Path, required=True, help="a .png, .svg or .csv file")
    parser.commands = list(commands.choices)
    return parser


def add_agent(sub: argparse.ArgumentParser, more: str = "") -> None:
    help = "a run folder (DIR@SEED: one seed of several), a .safetensors file, or the name of a "
    sub.add_argument("--agent", required=True, help=f"{help}shipped agent{more}")
    sub.add_argument("--seed", type=whole(0), default=0)
    sub.add_argument("--json", action="store_true", help="print only a JSON object")


def add_player(sub: argparse.ArgumentParser) -> None:
    add_agent(sub, "; or `random`, with --world")
    sub.add_argument("--world", help=f"where `random` plays; else: {OWN_WORLD}")


def whole(least: int) -> Any:
    """A type of argument: a whole number of at least `least`."""

    def parse(text: str) -> int:
        with contextlib.suppress(ValueError):
            if least <= (value := int(text)) < 2**31:
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")

    return parse


def one_of(*words: str) -> Any:
    """A type of argument: one of these words. `choices` says so differently in each Python."""

    def parse(text: str) -> str:
        if text in words:
            return text
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(words)}")

    return parse


def positive(text: str) -> float:
    """A type of argument: a number above 0."""
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")


def settings(pairs: list[str]) -> dict[str, Any]:
    """The `--set name=value` pairs as settings of the right types.

    Raises:
      ValueError: no such setting, or a value that is none; one sentence.
    """
    from dreamer_lite.config import Config, check_name

    fields = {field.name: field for field in dataclasses.fields(Config)}
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair} is not of the form NAME=VALUE.")
        if name in ("world", "size", "seed", "seeds"):
            raise ValueError(f"Choose the {name} by --{name}, not by --set.")
        check_name("setting", name, fields)
        try:
            found[name] = parse(fields[name].type, text)
        except (ValueError, KeyError):
            usual = fields[name].default
            raise ValueError(
                f"--set {pair} is no value for {name}, whose default is {usual}."
            ) from None
    return found


def parse(kind: Any, text: str) -> Any:
    """`text` as a value of a field's type. Raises ValueError or KeyError."""
    if kind is bool:
        return {"true": True, "false": False}[text.lower()]
    if kind is int or kind is str:
        return kind(text)
    if kind is float:
        return int(text) if text.strip("+-").isdigit() else float(text)
    return tuple(int(part) for part in text.split(","))


def check_second(out: Path, suffix: str, is_ours: Callable[[bytes], bool]) -> Path:
    """Where the file goes that a command writes beside `out`, whose name nobody typed.

    Raises Refused if it is there and `is_ours` does not know it as one that was written like this.
    """
    second = out.with_suffix(suffix)
    check_out(second, suffix)
    try:
        content = files.read_regular(second)
    except FileNotFoundError:
        return second
    except OSError as error:
        raise Refused(f"Cannot write {second} ({error.strerror}): choose another file.") from error
    if not is_ours(content):
        raise Refused(
            f"{second} would be overwritten, for it is written beside {out}: move it, or choose "
            "another --out."
        )
    return second


def check_out(out: Path, *suffixes: str) -> None:
    """Raise Refused unless a file of such a name can be written. Done before long work."""
    if out.suffix not in suffixes:
        raise Refused(f"{out} must end in {' or '.join(suffixes)}.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        new = not out.exists()
        out.open("ab").close()
        if new:
            out.unlink()
    except OSError as error:
        raise Refused(f"Cannot write {out} ({error.strerror}): choose another file.") from error


# The commands


def train(args: argparse.Namespace) -> int:
    """Make or continue a run, with a progress bar."""
    if args.minutes is args.steps is args.updates is None:
        note("No limit given: training until you press Ctrl-C, which saves.")
    from dreamer_lite import config, worlds
    from dreamer_lite.agent import devices
    from dreamer_lite.runs import run as runs
    from dreamer_lite.training.progress import Limits

    with refusing():
        devices.first()
        worlds.make(args.world)
        settled = config.make_config(args.world, args.size, **settings(args.set))
        settled = dataclasses.replace(settled, seed=args.seed, seeds=args.seeds)
    name = f"{args.world.replace('/', '-')}-{settled.size}-s{settled.seed}"
    many = f"-n{settled.seeds}" if settled.seeds > 1 else ""
    folder = args.run or Path("runs") / (name + many)
    if folder.suffix == runs.SUFFIX:
        raise Refused(f"{folder} is the name of an agent file: choose another folder with --run.")
    limits = Limits(args.minutes, args.steps, args.updates)
    runs.enable_compilation_cache()
    with runs.stop_on_signals(again=leave) as stop:
        with refusing():
            records = runs.run(
                settled,
                folder,
                limits,
                stop=stop,
                elapsed=runs.age_of_process(),
                all_devices=args.devices == "all",
                mirror_folder=args.mirror,
                tell=lambda sentence: note(f"dreamer-lite: {sentence}"),
            )
        if runs.finished(folder, limits):
            note(f"{folder} has reached this limit already: a higher one would go on.")
            return report(folder, args.world)
        try:
            follow(records, limits)
        except FloatingPointError as error:
            raise FloatingPointError(
                f"{error} Training stopped; {folder} keeps the last good checkpoint. The same "
                "settings would break again: start another run with a smaller --set learning_rate."
            ) from error
    if not stop.signal:
        return report(folder, args.world)
    for tell in (lambda: report(folder, args.world), write_out):
        with contextlib.suppress(OSError):  # a terminal that was closed cannot be told
            tell()
    return 128 + stop.signal


def follow(records: Generator[Record, None, None], limits: Any) -> None:
    """Show the records as they come: a bar, or lines where stderr is no terminal."""
    show = bar if sys.stderr.isatty() else lines
    with contextlib.closing(records):  # after an error here, the run is saved and let go at once
        for _ in show(records, limits):
            pass


def bar(records: Iterator[Record], limits: Any) -> Iterator[Record]:
    """Pass records on and draw a bar with an estimate of the time that is left."""
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
    """Pass records on and print one now and then."""
    note(COMPILING)
    due = 0.0
    for record in records:
        if record["seconds"] >= due:
            note(f"{record['seconds']:.0f} s, {in_words(record)}")
            due = record["seconds"] + SECONDS_BETWEEN_LINES
        yield record


def in_words(record: Record) -> str:
    speed = f"{record['updates_per_second']:.1f} updates/s"
    spread = ""
    if "seeds" in record:
        returns = record["seeds"]["return_mean"]
        spread = f" ({min(returns):.2f} to {max(returns):.2f}, {len(returns)} seeds)"
    counts = record["seeds"]["episodes"] if "seeds" in record else [record["episodes"]]
    got = f"return {record['return_mean']:.2f}{spread}" if min(counts) else NO_EPISODE
    return f"{got}, update {record['updates']:.0f}, {speed}"


def report(folder: Path, world: str) -> int:
    """How the run stands, in a few plain lines, and what to type next."""
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
            "So few updates teach nothing yet: it plays and dreams as if untrained. The same "
            "command with a higher limit goes on from here (`make demo MINUTES=...` too)."
        )
    agent, own = typed(folder), f" --world {typed(world)}" if worlds.module_needed(world) else ""
    say(f"Next: dreamer-lite dream --agent {agent}{own}     its dream beside reality")
    say(f"      dreamer-lite record --agent {agent}{own}    a film of an episode")
    if of:
        say(f"      both take the first seed; {typed(f'{folder}@SEED')} names one")
    return 0


def typed(name: object) -> str:
    """A name as it is typed behind an option: quoted for the shell, and not taken for an option."""
    return shlex.quote(f"./{name}" if str(name).startswith("-") else str(name))


def with_error(found: dict[str, Any]) -> str:
    return f"{found['return_mean']:.2f} ± {found['return_stderr']:.2f}"


def evaluate(args: argparse.Namespace) -> int:
    """Play whole episodes."""
    config, params, world = load_player(args.agent, args.world)
    from dreamer_lite.evaluation import rollouts

    with refusing():
        scores = rollouts.evaluate(config, params, world, args.episodes, args.seed)
    spread = scores.std(ddof=1) / len(scores) ** 0.5 if len(scores) > 1 else 0.0
    found = {
        "return_mean": float(scores.mean()),
        "return_stderr": float(spread),
        "episodes": len(scores),
    }
    say(
        json.dumps(found)
        if args.json
        else f"Return {with_error(found)} over {len(scores)} episodes."
    )
    return 0


def dream(args: argparse.Namespace) -> int:
    """Film and measure the dream."""
    out = args.out or beside(args.agent, "dream.mp4")
    check_out(out, *VIDEOS)
    curve = check_second(out, ".png", lambda content: MARK.encode() in content[:2000])
    config, params, world = load(args.agent, args.world)
    from dreamer_lite.evaluation import dream_plots, dreams
    from dreamer_lite.show import video

    with refusing():  # an agent whose episodes are all too short to dream of
        comparison = dreams.compare(config, params, world, args.seed)
    video.write(out, dreams.frames(comparison, world), fps=DREAM_FPS)
    dream_plots.horizon_errors(comparison).savefig(curve, dpi=150, metadata={"Software": MARK})
    if args.json:
        say(json.dumps({**comparison.as_json(), "video": str(out)}))
    else:
        say(dream_plots.describe_horizon(comparison))
        say(f"The dream beside reality: {out}; these errors drawn: {curve}")
    return 0


def record(args: argparse.Namespace) -> int:
    """Film whole episodes."""
    out = args.out or beside(args.agent, "record.mp4")
    check_out(out, *VIDEOS)
    config, params, world = load_player(args.agent, args.world)
    from dreamer_lite.evaluation import rollouts
    from dreamer_lite.show import video
    from dreamer_lite.worlds import is_hosted

    with refusing():  # what does not fit in memory
        found = rollouts.record(config, params, world, args.seed, args.episodes)
        frames = rollouts.annotated_frames(world, found)
    video.write(out, frames, fps=RECORD_FPS)
    returns = found.score[found.is_last].tolist()
    if found.frame is None and is_hosted(world):
        note(f"{world.name} was not drawn: the film shows its observations.")
    if args.json:
        say(json.dumps({"returns": returns, "video": str(out)}))
    else:
        say(f"Return {', '.join(map(rollouts.in_short, returns))}. Watch it: {out}")
    return 0


def export(args: argparse.Namespace) -> int:
    """Write an agent to pass on."""
    check_out(args.out, ".safetensors")
    from dreamer_lite.runs import checkpoints
    from dreamer_lite.runs import run as runs

    about = check_second(args.out, ".json", checkpoints.describes_agent)

    if args.world is not None:
        load_agent(args.agent, args.world)
    with refusing():
        info = runs.export(args.agent, args.out)
    say_which(args.agent, info["trained"])
    got = f"return {with_error(info)} in training" if info["episodes"] else NO_EPISODE
    say(f"Wrote {args.out} and {about}: {got}.")
    return 0


def worlds(args: argparse.Namespace) -> int:
    """One line for each JAX world, and one for each family of hosted worlds."""
    from dreamer_lite import worlds

    for name in worlds.names():
        world = worlds.make(name)
        seen = ", ".join(f"{k} {'x'.join(map(str, s.shape))}" for k, s in world.obs_space.items())
        say(f"{name:18} sees {seen}; does {', '.join(world.action_names)}")
    for family in worlds.families():
        missing = "" if family.installed else f"; not installed: {family.remedy}"
        say(f"{family.prefix + '...':18} {family.about}, such as {family.example}{missing}")
    return 0


def doctor(args: argparse.Namespace) -> int:
    """Look at the machine; exit status 1 if something is missing."""
    from dreamer_lite.tools import doctor

    findings = doctor.examine()
    if args.json:
        say(json.dumps([finding._asdict() for finding in findings]))
    else:
        say(doctor.as_text(findings))
    return 0 if all(finding.good for finding in findings) else 1


def bench(args: argparse.Namespace) -> int:
    """Measure updates: their speed, what they consist of, or how their time grows."""
    if args.growth:
        check_out(args.growth, ".png", ".svg")
    from dreamer_lite.agent import devices
    from dreamer_lite.tools import bench as measuring

    with refusing():
        devices.first()
        presets = measuring.split_presets(args.preset) or list(measuring.STANDARD)
        for preset in presets:
            measuring.problem(preset)
    if args.growth:
        grown = measuring.growth(presets[0], note)
        measuring.plot_growth(grown, presets[0]).savefig(args.growth, dpi=150)
        say(json.dumps(grown) if args.json else measuring.growth_in_words(grown))
        return 0
    tell: Any = measuring.profile if args.profile else measuring.measure
    in_words: Any = measuring.profile_in_words if args.profile else measuring.in_words
    found = {}
    for preset in presets:
        found[preset] = tell(preset, note)
        if not args.json:
            say(f"{preset}\n{in_words(found[preset])}", flush=True)
    if args.json:
        say(json.dumps(found if args.profile else list(found.values())))
    return 0


def plot(args: argparse.Namespace) -> int:
    """Draw the curves of return and losses, or write the returns as a table."""
    check_out(args.out, ".png", ".svg", ".csv")
    curves = [(folder.absolute().name, read_metrics(folder)) for folder in args.run]
    from dreamer_lite.show import plots

    if args.out.suffix == ".csv":
        args.out.write_text(plots.as_csv(curves), encoding="utf-8", errors="surrogateescape")
    else:
        plots.curves(curves).savefig(args.out, dpi=150)
    say(plots.describe_curves(curves))
    say(f"The curves: {args.out}")
    return 0


def read_metrics(folder: Path) -> list[Record]:
    """The records of a run; the last line may be half written."""
    from dreamer_lite.show import plots

    file = folder / "metrics.jsonl"
    try:
        lines = files.read_regular(file).splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith(b"\n")]
    except OSError as error:
        raise Refused(f"Cannot read {file} ({error.strerror}): name a run folder.") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{file} is damaged: {error}.") from error
    for number, record in enumerate(records, 1):
        if not plots.is_record(record, records[0]):
            raise Refused(f"{file} is damaged: line {number} is no progress record.")
    if not records:
        raise Refused(f"{file} holds no records yet.")
    return records


# What several commands need


def load(agent: str, own: str | None) -> tuple[Any, Any, Any]:
    """(config, params, world) of the agent that was named; `own` is its world, if typed."""
    from dreamer_lite import worlds

    config, params, info = load_agent(agent, own)
    with refusing():
        world = worlds.make(config.world)
    say_which(agent, info)
    return config, params, world


def load_agent(agent: str, own: str | None) -> Any:
    """The agent that was named. A module for its world is imported only if `own` asks for it."""
    from dreamer_lite import worlds
    from dreamer_lite.runs import run as runs

    if own is not None and not own.startswith("gym/"):
        raise Refused(
            "An agent has its own world: --world is for `random` in `evaluate` and `record`, or "
            "names a world of your own, gym/MODULE:ID."
        )
    runs.enable_compilation_cache()
    with refusing():
        if own is not None:
            worlds.make(own)
        found = runs.load(agent)
    if own not in (None, found.config.world):
        raise Refused(f"--world is {own}, but the agent is of {found.config.world}: leave it out.")
    return found


def load_player(agent: str, world: str | None) -> tuple[Any, Any, Any]:
    """The same as `load`; no parameters for `random`, who plays in the world that was named."""
    from dreamer_lite import config as configs

    if agent != "random":
        return load(agent, world)
    if world is None:
        raise Refused("--agent random needs --world (see `dreamer-lite worlds`).")
    made = make_world(world)
    return configs.make_config(world), None, made


def say_which(agent: str, info: dict[str, Any]) -> None:
    """Tell that the first of several agents was taken, if nobody named one."""
    if "seeds" in info and Path(agent).is_dir():
        name = typed(f"{agent}@SEED")
        note(f"{agent} holds {info['seeds']} agents: this is the first; {name} names one.")


def make_world(name: str) -> Any:
    from dreamer_lite import worlds
    from dreamer_lite.runs import run as runs

    runs.enable_compilation_cache()
    with refusing():
        return worlds.make(name)


def beside(agent: str, name: str) -> Path:
    """`name` in the run folder, or here if the agent is none; with the seed if one was named."""
    from dreamer_lite.runs import run as runs

    with refusing():
        folder, seed = runs.find_run(agent) or (Path(), None)
    return folder / (name if seed is None else name.replace(".", f"-s{seed}."))


def say(text: str, flush: bool = False) -> None:
    """Print what the command was asked for; see `own_output`."""
    print(text, file=OUTPUT[-1] if OUTPUT else sys.stdout, flush=flush)


def note(line: str, end: str = "\n") -> None:
    """Print to stderr; what nobody can read any more is no reason to end."""
    try:
        print(line, end=end, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def entry() -> int:
    """`main` as a program: with all three streams, and with an end."""
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:  # closed, as by 2>&-: the next file would take its number, and what is
            os.open(os.devnull, os.O_RDWR)  # printed; this one takes the lowest that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")
    status = main()
    # Threads that an environment has left behind would keep the finished process alive.
    end = threading.Timer(PATIENCE, os._exit, (status,))
    end.daemon = True
    end.start()
    return status


if __name__ == "__main__":
    sys.exit(entry())
