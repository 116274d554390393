"""The speed of an update, and its fraction of the machine's rate of matrix products.

An update is timed on random numbers, because its arithmetic does not depend on them. `profile.py`
times the parts of an update, `growth.py` updates of growing size. Nothing but the command imports
these modules.
"""

import functools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite import worlds
from dreamer_lite.agent import learner as learning
from dreamer_lite.agent.agent import action_size
from dreamer_lite.agent.learner import LearnerState, make_learner
from dreamer_lite.agent.rssm import State
from dreamer_lite.agent.world_model import Batch
from dreamer_lite.config import Config, check_name
from dreamer_lite.presets import SIZES, make_config
from dreamer_lite.tools.flops import Product, clock, flops, matmul_rate, products, trials
from dreamer_lite.training import replay
from dreamer_lite.training.loop import make_driver
from dreamer_lite.training.xla import compiler_options
from dreamer_lite.worlds.base import Space, TimeStep, first_timestep

try:
    import resource
except ImportError:  # Windows
    resource = None

STANDARD = ("minatar/breakout tiny", "walker 1m", "pong 1m", "pixels-cpu")
PIXELS = {"image": Space((64, 64, 3), "uint8")}
WALKER = {"height": Space((), "float32"), "orientations": Space((14,), "float32")}
WALKER |= {"velocity": Space((9,), "float32")}
Note = Callable[[str], None]


class Stub:
    """An environment in JAX with the spaces of another one; its steps take no time.

    It stands for simulators outside JAX, which need not be installed for the benchmark.
    """

    def __init__(self, name: str, obs_space: dict[str, Space], action_space: Space) -> None:
        self.name, self.obs_space, self.action_space = name, obs_space, action_space
        self.action_names = ()

    def reset(self, key: jax.Array) -> tuple[tuple, TimeStep]:
        """Starts an episode that never ends; all observations are 0."""
        obs = {name: jnp.zeros(x.shape, x.dtype) for name, x in self.obs_space.items()}
        return (), first_timestep(obs)

    def step(self, state: tuple, action: jax.Array, key: jax.Array) -> tuple[tuple, TimeStep]:
        """The observation again."""
        return (), self.reset(key)[1]._replace(is_first=jnp.array(False))


STUBS = {
    "walker": Stub("dmc/walker-walk", WALKER, Space((6,), "float32")),
    "pong": Stub("atari/pong", PIXELS, Space((), "int32", 6)),
    "road_runner": Stub("atari/road_runner", PIXELS, Space((), "int32", 18)),
}


class Problem(NamedTuple):
    """What is measured."""

    config: Config
    world: Any  # an environment in JAX

    @property
    def spaces(self) -> tuple[dict[str, Space], Space]:
        return self.world.obs_space, self.world.action_space


def problem(preset: str, **changes: Any) -> Problem:
    """The problem of a preset: an environment and perhaps a size, as in "walker 1m".

    Raises:
      ValueError: there is no such environment or size; one sentence.
    """
    name, _, size = preset.partition(" ")
    check_name("preset", name, {*STUBS, *worlds.names(), "pixels-cpu"})
    if name == "pixels-cpu":
        name, size = "pong", "pixels-cpu"
    if name not in STUBS:
        return Problem(make_config(name, size or None, **changes), worlds.make(name))
    changes = {"capacity": 20_000} | changes
    return Problem(make_config(STUBS[name].name, size or "1m", **changes), STUBS[name])


def split_presets(words: list[str]) -> list[str]:
    """Presets from what was typed, quoted or not: walker 1m catch -> ["walker 1m", "catch"].

    `pixels-cpu` is a preset, and a size only in quotes: "road_runner pixels-cpu".

    Raises:
      ValueError: a size comes before any environment.
    """
    found: list[str] = []
    for word in words:
        if word not in SIZES or word in STANDARD:
            found.append(word)
        elif not found or " " in found[-1]:
            raise ValueError(f"{word!r} is a size: name a world before it, as in 'walker 1m'.")
        else:
            found[-1] += f" {word}"
    return found


def made_up_batch(problem: Problem) -> Batch:
    """A batch of B sequences of T random time steps, of this environment's shapes and dtypes."""
    config, (obs_space, action_space) = problem.config, problem.spaces
    rng, lead = np.random.default_rng(0), (config.length, config.batch)

    def observe(space: Space) -> Any:
        shape = (*lead, *space.shape)
        if space.is_image or space.is_discrete:
            return rng.integers(0, space.classes or 256, shape).astype(space.dtype)
        return rng.standard_normal(shape, np.float32)

    first: Any = rng.random(lead) < 0.02
    last: Any = np.roll(first, -1, 0)
    classes = rng.integers(0, config.classes, (config.batch, config.stoch))
    stoch = jax.nn.one_hot(classes, config.classes)
    context = State(jnp.zeros((config.batch, config.deter)), stoch)
    obs: Any = {key: observe(space) for key, space in obs_space.items()}
    reward: Any = rng.standard_normal(lead, np.float32)
    action: Any = rng.standard_normal((*lead, action_size(action_space)), np.float32)
    return jax.device_put(Batch(obs, reward, first, last, last, action, context))


class Update(NamedTuple):
    """A compiled update, its inputs, and its arithmetic."""

    call: Callable[[LearnerState, Batch, jax.Array], Any]  # the state is donated
    state: LearnerState
    batch: Batch
    products: Counter[Product]
    bytes: int  # memory that XLA plans: inputs, outputs, intermediate results

    def times(self, count: int) -> list[float]:
        """Seconds of each of `count` updates that follow each other, after one to warm up."""
        state, key = jax.tree.map(jnp.copy, self.state), jax.random.key(0)

        def step() -> Any:
            nonlocal state
            state, out = self.call(state, self.batch, key)
            return out.metrics

        return [clock(step) for _ in range(count + 1)][1:]

    def best(self, budget: float) -> float:
        """Seconds of the fastest of as many updates as fit in about `budget` seconds."""
        return min(self.times(trials(self.times(1)[0], budget)))


def compile_update(problem: Problem) -> Update:
    """The learner's update, compiled as for training."""
    learner = make_learner(problem.config, *problem.spaces)
    state, batch = learning.init(learner, 0), made_up_batch(problem)
    update = functools.partial(learning.update, learner)
    traced = jax.jit(update, donate_argnums=0).trace(state, batch, jax.random.key(0))
    options: Any = compiler_options()
    call = traced.lower().compile(compiler_options=options)
    size: Any = call.memory_analysis()
    held = size.argument_size_in_bytes + size.temp_size_in_bytes
    held += size.output_size_in_bytes - size.alias_size_in_bytes
    return Update(call, state, batch, products(traced.jaxpr.jaxpr), held)


def measure(preset: str, note: Note) -> dict[str, Any]:
    """All figures of a preset, with the keys of `bench --json`; `note` receives the progress."""
    case = problem(preset)
    note(f"{preset}: first update with an empty cache of compiled programs ...")
    with tempfile.TemporaryDirectory() as cache:
        cold = first_update(preset, cache)
        note(f"{preset}: first update with a full cache ...")
        cached = first_update(preset, cache)
    note(f"{preset}: compiling and timing the update ...")
    update = compile_update(case)
    count = trials(update.times(1)[0], 5, least=7)
    before = time.process_time()
    times = update.times(count)
    busy = (time.process_time() - before) / (count + 1)
    seconds = statistics.median(times)
    low, _, high = statistics.quantiles([1 / t for t in times], n=4)
    note(f"{preset}: timing its matrix products alone ...")
    rate = matmul_rate(update.products)
    return {
        "preset": preset,
        "seconds_per_update": seconds,
        "cpu_seconds_per_update": busy,
        "updates_per_second": 1 / seconds,
        "updates_per_second_quartiles": [low, high],
        "share_of_matmul": flops(update.products) / (seconds * rate),
        "flops_per_update": flops(update.products),
        "matmul_gflops": rate / 1e9,
        "agent_steps_per_second": cached["agent_steps_per_second"],
        "first_update_cold_seconds": cold["first_update_seconds"],
        "first_update_cached_seconds": cached["first_update_seconds"],
        "peak_memory_mb": cached["peak_memory_mb"],
        "computed_memory_mb": (update.bytes + replay.bytes_needed(case.config, *case.spaces)) / 1e6,
    }


def first_update(preset: str, cache: str) -> dict[str, float]:
    """What `child` prints in a new process that keeps its compiled programs in `cache`."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    program = "from dreamer_lite.tools import bench; bench.child()"
    process = subprocess.run(
        [sys.executable, "-c", program, preset, str(time.time())],
        env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return json.loads(process.stdout)


def child() -> None:
    """Train in a new process; print seconds to the first update, later agent steps/s, memory.

    The seconds count from the start of the process, and include the steps before learning.
    """
    case, began = problem(sys.argv[1]), float(sys.argv[2])
    config, driver = case.config, make_driver(case.config, case.world)
    steps, updates = config.schedule
    state, _ = driver.advance(driver.init(0), 1, config.steps_before_learning, 0)
    state, metrics = driver.advance(state, 1, steps, 1)
    jax.block_until_ready(metrics)
    first = time.time() - began
    seconds, times = 0.0, 1
    while seconds < 1:
        times *= 2
        before = time.perf_counter()
        state, metrics = driver.advance(state, times, steps, updates)
        jax.block_until_ready(metrics)
        seconds = time.perf_counter() - before
    speed = times * steps * config.worlds / seconds
    found = {"first_update_seconds": first, "agent_steps_per_second": speed}
    print(json.dumps(found | {"peak_memory_mb": peak_memory()}))


def peak_memory() -> float | None:
    """The most memory this process has held so far, in MB; None on Windows."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage counts what the parent held at the start
        held = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        if held:
            return int(held[1]) * 1024 / 1e6
    if resource is None:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / 1e6


def in_words(figures: dict[str, Any]) -> str:
    """The figures of `measure` in a few lines."""
    low, high = figures["updates_per_second_quartiles"]
    giga, seconds = figures["flops_per_update"] / 1e9, figures["seconds_per_update"]
    most = figures["peak_memory_mb"]
    return (
        f"  {figures['updates_per_second']:.3g} updates/s (half of them {low:.3g} to {high:.3g}), "
        f"{figures['agent_steps_per_second']:.0f} agent steps/s\n"
        f"  {giga:.3g} GFLOP in {seconds:.3g} s: {figures['share_of_matmul']:.0%} of the "
        f"{figures['matmul_gflops']:.0f} GFLOP/s that its matrix products alone reach\n"
        f"  first update after {figures['first_update_cold_seconds']:.1f} s, or "
        f"{figures['first_update_cached_seconds']:.1f} s if compiled before"
        + (f"; at most {most:.0f} MB of memory" if most else "")
    )
