"""Every command and option, and how their values are read."""

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from dreamer_lite.commands import bench, dream, export, machine, page, play, plot, sweep, train
from dreamer_lite.commands.output import Refused

OWN_WORLD = "the agent's environment gym/MODULE:ID; a module is imported only if it is named here"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence each."""

    commands: list[str]

    def error(self, message: str) -> NoReturn:
        raise Refused(f"{message} (see {self.prog} --help).")


def make_parser() -> Parser:
    """The parser of `dreamer-lite`; `args.function(args)` runs the command."""
    about = "DreamerV3 in JAX: train agents, and compare their imagined rollouts with reality."
    parser = Parser(prog="dreamer-lite", description=about)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Callable[..., int], text: str) -> argparse.ArgumentParser:
        name = function.__name__
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(function=function)
        return sub

    add_train(command(train.train, "train an agent, or continue a run that was stopped"))

    sub = command(play.evaluate, "play whole episodes and print the mean return")
    add_player(sub)
    sub.add_argument("--episodes", type=whole(1), default=20)

    text = "film an imagined rollout (a dream) beside the real episode, and measure its errors"
    sub = command(dream.dream, text)
    add_agent(sub)
    sub.add_argument("--world", help=OWN_WORLD)
    sub.add_argument("--out", type=Path, help="an .mp4 or .gif file; default: dream.mp4")

    text = "write the dream as one HTML file, to be steered in a browser, without a network"
    sub = command(page.page, text)
    add_agent(sub)
    sub.add_argument("--world", help=OWN_WORLD)
    sub.add_argument("--out", type=Path, help="an .html file; default: dream.html")

    sub = command(play.record, "film the agent while it plays")
    add_player(sub)
    sub.add_argument("--episodes", type=whole(1), default=1)
    sub.add_argument("--out", type=Path, help="an .mp4 or .gif file; default: record.mp4")

    text = "write an agent as one .safetensors file, and a .json file that describes it"
    sub = command(export.export, text)
    sub.add_argument("--agent", required=True, metavar="RUN", help="a run folder DIR, or DIR@SEED")
    sub.add_argument("--world", help=OWN_WORLD)
    sub.add_argument("--out", type=Path, required=True, help="a .safetensors file")

    command(machine.worlds, "list the environments")

    sub = command(machine.doctor, "check this machine, and say how to install what is missing")
    sub.add_argument("--json", action="store_true", help="print only a JSON list")

    sub = command(bench.bench, "measure the speed of updates on this machine")
    sub.add_argument("preset", nargs="*", help="an environment and perhaps a size: walker 1m")
    sub.add_argument("--json", action="store_true", help="print only JSON")
    shown = sub.add_mutually_exclusive_group()
    shown.add_argument("--profile", action="store_true", help="time of each part of an update")
    text = "plot the time of an update against batch size, horizon and starts, as a .png or .svg"
    shown.add_argument("--growth", type=Path, metavar="FILE", help=text)
    text = "bytes that devices exchange in an update with `train --devices all`, for each size"
    shown.add_argument("--devices", action="store_true", help=text)

    sub = command(plot.plot, "plot the training curves of runs, or of the settings of a sweep")
    drawn = sub.add_mutually_exclusive_group(required=True)
    drawn.add_argument("--run", type=Path, nargs="+", metavar="DIR")
    text = "one band for each setting over its seeds, and a table of them (also as a .json file)"
    drawn.add_argument("--sweep", type=Path, metavar="DIR", help=text)
    sub.add_argument("--out", type=Path, required=True, help="a .png, .svg or .csv file")
    add_sweep(command(sweep.sweep, "train a grid of settings and seeds, here or on Slurm"))
    parser.commands = list(commands.choices)
    return parser


def add_train(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--world", required=True, help="a name from `dreamer-lite worlds`")
    text = "of the networks: tiny, 1m, 12m, ...; the default depends on the environment"
    sub.add_argument("--size", help=text)
    sub.add_argument("--seed", type=whole(0), default=0)
    text = (
        "train N agents in one program, with seeds SEED, SEED+1, ...; limits count the steps and "
        "updates of each"
    )
    sub.add_argument("--seeds", type=whole(1), default=1, metavar="N", help=text)
    limit = sub.add_mutually_exclusive_group()
    text = "wall-clock time; each limit includes what the run did before it was continued"
    limit.add_argument("--minutes", type=positive, help=text)
    limit.add_argument("--steps", type=whole(1), help="agent steps")
    text = "gradient updates; without a limit, training continues until Ctrl-C, which saves"
    limit.add_argument("--updates", type=whole(1), help=text)
    text = "all: split the work over all devices, and in Slurm's srun over those of all tasks"
    sub.add_argument("--devices", choices=("all", "1"), default="1", help=text)
    text = "train in several processes, on any machines: the address of the first of them"
    sub.add_argument("--coordinator", metavar="HOST:PORT", help=text)
    sub.add_argument("--processes", type=whole(1), metavar="N", help="how many there are")
    sub.add_argument("--process", type=whole(0), metavar="I", help="the number of this one, from 0")
    text = "on a GPU: equal runs are bit-equal, and slower; on a CPU they always are"
    sub.add_argument("--deterministic", action="store_true", help=text)
    sub.add_argument("--run", type=Path, help="folder; default: runs/WORLD-SIZE-sSEED[-nN]")
    text = "begin a new run with the networks of this agent: a run folder, a file, a shipped agent"
    sub.add_argument("--from", dest="origin", metavar="AGENT", help=text)
    text = "keep a copy of the run there, as on Google Drive, and restore a missing run from it"
    sub.add_argument("--mirror", type=Path, metavar="DIR", help=text)
    text = "any hyperparameter or other setting; repeatable"
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=text)


def add_sweep(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--world", required=True, help="a name from `dreamer-lite worlds`")
    sub.add_argument("--size", help="of the networks")
    sub.add_argument("--seeds", default="0", metavar="0-9", help="a range, or a list: 0,3,5-7")
    text = "a setting and its values; with several --set, every combination is trained"
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE,VALUE", help=text)
    limit = sub.add_mutually_exclusive_group(required=True)
    limit.add_argument("--minutes", type=positive, help="wall-clock time of each run")
    limit.add_argument("--steps", type=whole(1), help="agent steps of each run")
    limit.add_argument("--updates", type=whole(1), help="gradient updates of each run")
    text = "a folder for sweep.json and a run folder for each run; the same command goes on there"
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help=text)
    text = "local: processes of this machine; slurm: jobs, by submitit"
    sub.add_argument("--executor", choices=("local", "slurm"), default="local", help=text)
    text = "runs at a time; default: one for each GPU or core, and on Slurm as many as it takes"
    sub.add_argument("--parallel", type=whole(1), metavar="N", help=text)
    text = "a parameter of the jobs, such as partition=gpu, gpus_per_node=1, cpus_per_task=4"
    sub.add_argument(
        "--slurm", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help=text
    )
    text = "what Ctrl-C does with the runs, which save first; default: leave on Slurm, else cancel"
    sub.add_argument("--on-stop", choices=("cancel", "leave"), help=text)
    sub.add_argument("--retry", action="store_true", help="try runs again that failed")
    sub.add_argument("--yes", action="store_true", help="admit more than 1,000 runs")


def add_agent(sub: argparse.ArgumentParser, more: str = "") -> None:
    text = "a run folder (DIR@SEED: one seed of several), a .safetensors file, or the name of a "
    sub.add_argument("--agent", required=True, help=f"{text}shipped agent{more}")
    sub.add_argument("--seed", type=whole(0), default=0)
    sub.add_argument("--json", action="store_true", help="print only a JSON object")


def add_player(sub: argparse.ArgumentParser) -> None:
    add_agent(sub, "; or `random`, with --world")
    sub.add_argument("--world", help=f"where `random` plays; else: {OWN_WORLD}")


def whole(least: int) -> Callable[[str], int]:
    """An argument type: a whole number of at least `least`."""

    def parse(text: str) -> int:
        with contextlib.suppress(ValueError):
            if least <= (value := int(text)) < 2**31:
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")

    return parse


def positive(text: str) -> float:
    """An argument type: a number above 0."""
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
