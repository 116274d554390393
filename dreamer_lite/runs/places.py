"""Where runs lie and what they are called: one rule for the commands and the notebooks.

A run is continued from its folder. So a run that a command began is the one that
notebook 09 goes on with, and notebook 10 finds the agents of both.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dreamer_lite import assets
from dreamer_lite.config import Config
from dreamer_lite.runs import checkpoints

AGENT = "agent.safetensors"  # the newest agent of a run, in its folder and in its mirror
FILES = (AGENT, "agent.json")  # the two files of an agent


class Found(NamedTuple):
    """A trained agent on this disk."""

    path: Path  # what `agents.load` takes: a run folder, or an agent file
    changed: float  # seconds since 1970


def name(config: Config) -> str:
    """The name of a run's folder: "dmc-walker-walk-small-s0", with -n3 for three seeds."""
    many = f"-n{config.seeds}" if config.seeds > 1 else ""
    return f"{start(config.world)}{config.size}-s{config.seed}{many}"


def start(world: str) -> str:
    """How the names of all runs of an environment begin."""
    return f"{world.replace('/', '-')}-"


def home() -> Path:
    """The folder of all runs, relative to the current one where that is possible.

    The folder DREAMER_LITE_RUNS, if it is set. Otherwise runs/ at the top of the clone for those
    who are in it, as in notebooks/, and runs/ in the current folder for everybody else.
    """
    if chosen := os.environ.get("DREAMER_LITE_RUNS"):
        return Path(chosen)
    clone, here = assets.clone(), Path.cwd()
    if clone is not None and clone in (here, *here.parents):
        return Path(os.path.relpath(clone / "runs"))
    return Path("runs")


def trained(folders: Iterable[Path]) -> list[Found]:
    """The agents in these folders of runs or of mirrors, newest first.

    Of each run its checkpoint if there is one, otherwise its exported agent.
    """
    found = []
    for folder in folders:
        for run in sorted(folder.glob("*")) if folder.is_dir() else []:
            if checkpoints.exists(run / "state"):
                found.append(Found(run, (run / "metrics.jsonl").stat().st_mtime))
            elif (run / AGENT).is_file():
                found.append(Found(run / AGENT, (run / AGENT).stat().st_mtime))
    return sorted(found, key=lambda agent: -agent.changed)
