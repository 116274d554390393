"""Stored trainings of the single-file agent: all its metrics, healthy and with planted bugs.

    python -m dreamer_lite.course.stories own --out assets/curves/breakout_own.json
    python -m dreamer_lite.course.stories bugs --out assets/curves/catch_bugs.json

`own` trains `notebooks/dreamer.py` on Breakout, `bugs` trains it on Catch: as it is, and with each
bug of `bugs.LOOP`. Seeds are trained one after the other. Notebook 08 shows the curves.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from dreamer_lite import assets
from dreamer_lite.course import bugs, curves, parts
from dreamer_lite.course.own_run import EVERY, OwnRun
from dreamer_lite.show.plots import decorate, style

HEALTHY = "healthy"
LEFT_OUT = ("seconds", "updates_per_second", "return_stderr")


class Study(NamedTuple):
    """What is trained, and for how long."""

    world: str
    updates: int
    planted: tuple[bugs.Bug, ...] = ()


STUDIES = {
    "own": Study("minatar/breakout", 2000),
    "bugs": Study("catch", 600, bugs.LOOP),
}


class Story(NamedTuple):
    """n records of S seeds of one agent."""

    updates: np.ndarray  # (n,)
    agent_steps: np.ndarray  # (n,)
    seconds: np.ndarray  # (n,) CPU seconds, the mean of the seeds; compilation included
    values: dict[str, np.ndarray]  # {metric: (n, S)}, such as "return_mean" and "loss/dyn"


class Stored(NamedTuple):
    """The stories of a study by the name of the agent: HEALTHY, or that of its bug."""

    stories: dict[str, Story]
    about: dict[str, Any]  # command, world, seeds, processor, versions, wall_seconds


def tell(
    dreamer: Any, world: str, updates: int, seeds: int, say: Callable[..., None] = print
) -> Story:
    """Train so many seeds. Where a loss is no longer finite, a seed ends, and the rest is NaN."""
    count, found, clocks = updates // EVERY, [], []
    first = OwnRun(dreamer, world, updates)
    _ = first.measure  # so that all seeds share what is compiled
    for seed in range(seeds):
        own, clock, began = first.anew(seed), [], time.process_time()
        try:
            for record in own.records():
                clock.append(time.process_time() - began)
                if not record["updates"] % 200:
                    news = (f"{k} {x:.3g}" for k, x in record.items() if isinstance(x, float))
                    say(f"seed {seed}, update {record['updates']}:", *news, flush=True)
        except FloatingPointError as error:
            say(f"seed {seed}: {error}", flush=True)
        found.append(own.history)
        clocks.append(np.array(clock + [np.nan] * (count - len(clock))))
    names = [k for k, x in found[0][0].items() if isinstance(x, float) and k not in LEFT_OUT]

    def column(name: str) -> np.ndarray:
        rows = ([r[i][name] if i < len(r) else np.nan for r in found] for i in range(count))
        return np.array(list(rows), np.float64)

    every, steps = EVERY * np.arange(1.0, count + 1), np.nanmax(column("agent_steps"), 1)
    return Story(every, steps, np.nanmean(clocks, 0), {name: column(name) for name in names})


def measure(name: str, seeds: int, updates: int | None = None) -> Stored:
    """The stories of a study, with the course's own parts."""
    study, began = STUDIES[name], time.time()
    updates = updates or study.updates
    texts = {HEALTHY: {}} | {bug.name: bugs.plant(bug) for bug in study.planted}
    stories = {}
    for who, planted in texts.items():
        print(who, flush=True)
        stories[who] = tell(parts.assemble(planted), study.world, updates, seeds)
    about = {
        "command": f"python -m dreamer_lite.course.stories {name} --seeds {seeds} "
        f"--updates {updates}",
        "world": study.world,
        "seeds": list(range(seeds)),
        **curves.machine(),
        "wall_seconds": round(time.time() - began),
    }
    return Stored(stories, about)


def as_json(stored: Stored) -> str:
    """The text of a file that `load` reads: four significant digits, null for NaN."""

    def short(x: np.ndarray) -> Any:
        if x.ndim > 1:
            return [short(row) for row in x]
        return [None if np.isnan(v) else float(f"{v:.4g}") for v in x]

    stories = {
        who: {
            "updates": [int(x) for x in story.updates],
            "agent_steps": [int(x) for x in story.agent_steps],
            "seconds": short(story.seconds),
            "values": {name: short(x) for name, x in story.values.items()},
        }
        for who, story in stored.stories.items()
    }
    return json.dumps(stored.about | {"stories": stories}) + "\n"


def load(name: str) -> Stored:
    """Stored stories, such as load("breakout_own"). Raises ValueError if there are none."""
    about = json.loads(assets.path(f"curves/{name}.json").read_text(encoding="utf-8"))

    def read(x: dict[str, Any]) -> Story:
        values = {k: np.array(v, np.float64) for k, v in x["values"].items()}
        columns = {k: np.array(x[k], np.float64) for k in ("updates", "agent_steps", "seconds")}
        return Story(**columns, values=values)

    return Stored({who: read(x) for who, x in about.pop("stories").items()}, about)


# What tells a healthy agent from one with a bug: {what it is called: its values (n, S)}.
EVIDENCE: dict[str, Callable[[dict[str, np.ndarray]], np.ndarray]] = {
    "return": lambda values: values["return_mean"],
    "imagined return": lambda values: values["imagined_return"],
    "imagined rewards": lambda values: values["imagined_rewards"],
    "critic - imagined return": lambda values: values["critic"] - values["imagined_return"],
    "KL at the second time step": lambda values: values["kl_second"],
    "reward loss": lambda values: values["loss/reward"],
}


def draw(stored: Stored, who: str, label: str) -> Figure:
    """The evidence of one agent beside that of the healthy one; bands from lowest to highest."""
    figure = Figure(figsize=(9.6, 5.0), layout="constrained")
    for axes, (name, of) in zip(figure.subplots(2, 3).flat, EVIDENCE.items()):
        for number, (word, story) in enumerate(
            {HEALTHY: stored.stories[HEALTHY], label: stored.stories[who]}.items()
        ):
            x, look = of(story.values), style(number, len(story.updates))
            axes.plot(story.updates, x.mean(1), label=word, **look)
            low, high = x.min(1), x.max(1)
            axes.fill_between(story.updates, low, high, alpha=0.2, color=look["color"])
        if name == "reward loss":
            axes.set_yscale("log")
        elif max(abs(of(stored.stories[x].values)).max() for x in (HEALTHY, who)) > 10:
            axes.set_yscale("symlog", linthresh=1)
        decorate(axes, "updates", name)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def at_the_end(story: Story) -> dict[str, np.ndarray]:
    """The evidence (S,): means over the last quarter of the training."""
    return {
        name: of(story.values)[-(len(story.updates) // 4) :].mean(0)
        for name, of in EVIDENCE.items()
    }


def describe(stored: Stored, who: str, label: str) -> str:
    """The same in words: means of the seeds over the last quarter of the training."""
    words = []
    last = {HEALTHY: at_the_end(stored.stories[HEALTHY]), label: at_the_end(stored.stories[who])}
    for name in EVIDENCE:
        words.append(f"{name}: {', '.join(f'{k} {x[name].mean():.3g}' for k, x in last.items())}")
    return "Means of the last quarter. " + "; ".join(words) + "."


def main(arguments: list[str] | None = None) -> int:
    """The commands at the top of this file; returns the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m dreamer_lite.course.stories", description=__doc__, formatter_class=form
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, help=f"of each seed, a multiple of {EVERY}")
    options = parser.parse_args(arguments)
    try:
        stored = measure(options.study, options.seeds, options.updates)
        if options.out:
            options.out.write_text(as_json(stored), encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"stories: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
