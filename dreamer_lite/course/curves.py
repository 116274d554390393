"""Reference curves: the return of an agent against agent steps, updates and time, in one file.

    taskset -c 0 python -m dreamer_lite.course.curves ppo --out ppo.json
    python -m dreamer_lite.course.curves dreamer --sweep DIR --out dreamer.json

`AGENTS` names the agents that notebook 11 compares, and ablations. A curve of PPO or Q-learning is
one training of several seeds in one program, timed in CPU seconds of the process. One of Dreamer is
made of a finished sweep, a run for each seed, timed in wall-clock seconds; `sweep_command` says how
to get it. On one core that nothing else uses, which `taskset` chooses, both clocks agree. The time
includes compilation, from an empty cache and once for all seeds.
"""

import argparse
import json
import math
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.axes import Axes

from dreamer_lite import assets, worlds
from dreamer_lite.baselines import ppo, q_learning
from dreamer_lite.config import Config, to_dict
from dreamer_lite.presets import make_config
from dreamer_lite.runs import sweep as sweeps
from dreamer_lite.training import loop as training


class Agent(NamedTuple):
    """An agent whose curve is measured."""

    updates: int = 4000  # gradient steps of each seed
    changes: Mapping[str, Any] = {}  # of the environment's preset
    model_free: ppo.Settings | q_learning.Settings | None = None  # None: Dreamer, by a sweep


AGENTS = {
    "dreamer": Agent(),
    # each step is replayed 16 times as often, from fewer environments: for expensive steps
    "dreamer_thrifty": Agent(4000, dict(worlds=8, train_ratio=64)),
    "ppo": Agent(12_000, {}, ppo.Settings()),
    # the same for PPO: it learns after every 1,024 agent steps, not 4,096
    "ppo_thrifty": Agent(4_000, dict(worlds=8), ppo.Settings(length=128, minibatches=4)),
    # the two replay ratios of Dreamer, and its numbers of environments, without a model
    "q_learning": Agent(5_000, {}, q_learning.Settings()),
    "q_learning_thrifty": Agent(4_000, dict(worlds=8, train_ratio=64), q_learning.Settings()),
    # Ablations of Dreamer, one change each
    **{f"horizon_{steps}": Agent(4000, dict(horizon=steps)) for steps in (1, 5, 15, 30)},
    "no_free_nats": Agent(4000, dict(free_nats=0.0)),
    "no_unimix": Agent(4000, dict(unimix=0.0, policy_unimix=0.0)),
    "no_normaliser": Agent(4000, dict(return_rate=0.0)),  # the scale of returns stays 1
    "no_two_hot": Agent(4000, dict(scalars="symlog")),
    "no_symlog": Agent(4000, dict(scalars="plain")),  # and no two-hot
    **{f"train_ratio_{ratio}": Agent(4000, dict(train_ratio=ratio)) for ratio in (1, 16)},
}


class Curve(NamedTuple):
    """n records of S seeds; all numbers are those of one agent, except `seconds`."""

    agent: str  # a name in AGENTS
    updates: np.ndarray  # (n,)
    agent_steps: np.ndarray  # (n,)
    seconds: np.ndarray  # (n,) of one core, of all S agents together, compilation included
    returns: np.ndarray  # (n, S) mean of each seed's latest 100 training episodes
    about: dict[str, Any]  # command, world, seeds, cores, processor, versions


def load(name: str) -> Curve:
    """A stored curve, such as load("breakout_ppo"). Raises ValueError if there is none."""
    values = json.loads(assets.path(f"curves/{name}.json").read_text(encoding="utf-8"))
    points = {key: np.array(column, np.float64) for key, column in values.pop("points").items()}
    return Curve(values["agent"], **points, about=values)


def when(curve: Curve, level: float) -> tuple[float, float]:
    """(agent steps, seconds) of one agent until the mean return of the seeds first reaches `level`.

    Both are NaN if it never does. One agent's time is the run's time divided by the seeds.
    """
    there = np.flatnonzero(curve.returns.mean(1) >= level)
    if not len(there):
        return math.nan, math.nan
    return float(curve.agent_steps[there[0]]), float(seconds_of_one(curve)[there[0]])


def seconds_of_one(curve: Curve) -> np.ndarray:
    """Seconds (n,) of one agent on one core: those of all divided by the number of seeds."""
    return curve.seconds / curve.returns.shape[1]


def as_json(curve: Curve) -> str:
    """The text of a file that `load` reads, with rounded numbers; one list for each quantity."""
    points = {
        "updates": [int(x) for x in curve.updates],
        "agent_steps": [int(x) for x in curve.agent_steps],
        "seconds": [round(float(x), 1) for x in curve.seconds],
        "returns": [[round(float(x), 2) for x in row] for row in curve.returns],
    }
    return json.dumps(curve.about | {"points": points}) + "\n"


def follow(agent: Agent, config: Config) -> Iterator[tuple[dict[str, Any], Any]]:
    """Train `config.seeds` model-free agents in a JAX environment; yields (record, state)."""
    world = worlds.make(config.world)
    if worlds.is_hosted(world):
        raise ValueError(f"{config.world} is no environment in JAX: only those have curves.")
    limits = training.Limits(updates=agent.updates)
    if isinstance(agent.model_free, ppo.Settings):
        return ppo.train(config, agent.model_free, world, limits)
    assert agent.model_free is not None
    driver = q_learning.make_driver(q_learning.make_program(config, agent.model_free, world))
    return training.train(config, driver, driver.init(config.seed), limits)


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's name, with family and model where the system tells them."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    found = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.*)", text, re.M))
    if len(found) == 3:
        return f"{found['model name']}, family {found['cpu family']}, model {found['model']}"
    return found.get("model name") or platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """What a stored measurement says of where it was made."""
    return {
        "cores": cores(),
        "processor": processor(),
        "versions": {"python": platform.python_version(), "jax": jax.__version__},
    }


def measure(name: str, world: str, seeds: int, updates: int | None = None) -> Iterator[Curve]:
    """The curve so far of a model-free agent, after every record.

    `updates` replaces the agent's own number. Raises ValueError for Dreamer.
    """
    agent = AGENTS[name]
    if agent.model_free is None:
        raise ValueError(
            f"{name} is Dreamer, which a sweep trains: {sweep_command(name)}; then name its folder "
            "with --sweep."
        )
    agent = agent._replace(updates=updates or agent.updates)
    config = make_config(world, seeds=seeds, **agent.changes)
    about = {
        "agent": name,
        "command": f"python -m dreamer_lite.course.curves {name} --world {world} --seeds {seeds} "
        f"--updates {agent.updates}",
        "world": world,
        "changes": agent.changes,
        "seeds": list(range(config.seed, config.seed + seeds)),
        **machine(),
    }
    for curve, _ in watch(name, follow(agent, config), about):
        yield curve


def sweep_command(name: str) -> str:
    """The command that trains Dreamer with the settings of `name`, three seeds, on one core."""
    agent = AGENTS[name]
    changes = {key: [str(value)] for key, value in agent.changes.items()}
    limit: dict[str, float] = {"updates": agent.updates}
    return as_command(sweeps.Request("minatar/breakout", None, [0, 1, 2], changes, limit), name)


def as_command(request: sweeps.Request, name: str) -> str:
    """A sweep on one core, one run at a time, as it is typed, into a folder of this name."""
    words = ["--world", request.world, *(["--size", request.size] if request.size else [])]
    words += ["--seeds", ",".join(map(str, request.seeds))]
    for key, values in request.settings.items():
        words += ["--set", f"{key}={','.join(values)}"]
    for key, value in request.limit.items():
        words += [f"--{key}", f"{value:.12g}"]
    words += ["--parallel", "1", "--out", f"runs/{name}"]
    return f"taskset -c 0 dreamer-lite sweep {shlex.join(words)}"


def from_sweep(name: str, folder: Path) -> Curve:
    """The curve of Dreamer from a finished sweep, whose runs had one core, one after another.

    Raises:
      ValueError: `name` is not Dreamer; a run is not finished, or has other settings. One sentence.
    """
    if AGENTS[name].model_free is not None:
        raise ValueError(
            f"{name} is not Dreamer, and sweeps train nothing else: leave --sweep out."
        )
    request = sweeps.read_request(folder)
    sweep, tables = sweeps.Sweep(request, folder), []
    keys = ("updates", "agent_steps", "seconds", "return_mean")
    for run in sweep.runs:
        place = folder / run.name
        if sweep.state(run) != sweeps.DONE:
            raise ValueError(f"{place} is not finished: the command of the sweep goes on.")
        config = make_config(request.world, request.size, seed=run.seed, **AGENTS[name].changes)
        if json.loads((place / "config.json").read_text(encoding="utf-8")) != to_dict(config):
            raise ValueError(f"{place} has other settings than {name}.")
        lines = (place / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        tables.append(
            np.array([[record[key] for key in keys] for record in map(json.loads, lines)])
        )
    if any(len(table) != len(tables[0]) for table in tables):
        raise ValueError(
            f"A run of {folder} was interrupted: its seconds are not those of the others."
        )
    (updates, steps, *_), seconds, returns = tables[0].T, *np.stack(tables)[..., 2:].T
    about = {
        "agent": name,
        "command": as_command(request, name),
        "world": request.world,
        "changes": AGENTS[name].changes,
        "seeds": request.seeds,
        **machine(),
        "cores": 1,
        "wall_seconds": round(float(seconds[-1].sum()), 1),
    }
    return Curve(name, updates, steps, seconds.sum(1), returns, about)


def watch(
    name: str, news: Iterable[tuple[dict[str, Any], Any]], about: dict[str, Any] | None = None
) -> Iterator[tuple[Curve, Any]]:
    """The curve so far of a training that yields (record, state), and the state.

    "wall_seconds" is in `about`.
    """
    points: list[tuple] = []
    for record, state in news:
        own = record.get("seeds", {}).get("return_mean", [record["return_mean"]])
        points.append((record["updates"], record["agent_steps"], time.process_time(), own))
        about = (about or {}) | {"wall_seconds": round(record["seconds"], 1)}
        updates, steps, seconds, returns = (np.array(x, np.float64) for x in zip(*points))
        yield Curve(name, updates, steps, seconds, returns, about), state


def draw(
    axes: Axes,
    curves: Mapping[str, Curve],
    x: Callable[[Curve], np.ndarray],
    styles: Mapping[str, dict[str, Any]],
) -> None:
    """Mean return against `x(curve)` on a log scale; the band goes from lowest to highest seed."""
    for label, curve in curves.items():
        places, (low, high) = x(curve), (curve.returns.min(1), curve.returns.max(1))
        axes.plot(places, curve.returns.mean(1), label=label, **styles[label])
        axes.fill_between(places, low, high, alpha=0.15, color=styles[label]["color"])
    axes.set_xscale("log")
    axes.grid(alpha=0.25)


def main(arguments: list[str] | None = None) -> int:
    """The command at the top of this file; returns the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m dreamer_lite.course.curves", description=__doc__, formatter_class=form
    )
    parser.add_argument("agent", choices=AGENTS)
    parser.add_argument("--sweep", type=Path, help="of Dreamer: the folder of the finished sweep")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    own = parser.add_argument_group("without --sweep")
    own.add_argument("--world", help="default: minatar/breakout")
    own.add_argument("--seeds", type=int, help="how many, default: 3")
    own.add_argument("--updates", type=int, help="gradient steps of each seed")
    options = parser.parse_args(arguments)
    for name in ("world", "seeds", "updates"):
        if options.sweep and getattr(options, name) is not None:
            parser.error(f"--{name} is for a training, and a sweep is trained already: omit it.")
    world = options.world or "minatar/breakout"
    seeds = 3 if options.seeds is None else options.seeds
    try:
        if options.sweep:
            news: Iterable[Curve] = [from_sweep(options.agent, options.sweep)]
        else:
            news = measure(options.agent, world, seeds, options.updates)
        for curve in news:
            if options.out:
                options.out.write_text(as_json(curve), encoding="utf-8")
            counts = f"{curve.updates[-1]:7,.0f}, {curve.agent_steps[-1]:11,.0f} agent steps"
            returns = ", ".join(f"{x:.2f}" for x in curve.returns[-1])
            print(f"update {counts}, {curve.seconds[-1]:6.0f} s: return {returns}", flush=True)
    except (ValueError, OSError) as error:
        print(f"curves: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
