"""How fast an update is, what share of the machine's matrix-product rate that is, and why not more.

An update is timed on made-up rows: the arithmetic does not depend on what they show. Nothing else
in the package imports this module.
"""

import functools
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite import worlds
from dreamer_lite.agent import learner as learning
from dreamer_lite.agent.agent import PolicyCarry, act, action_size
from dreamer_lite.agent.behavior import imagine, replay_value_loss
from dreamer_lite.agent.learner import LearnerState, make_learner
from dreamer_lite.agent.optimizer import make_optimizer
from dreamer_lite.agent.rssm import State
from dreamer_lite.agent.world_model import Batch
from dreamer_lite.config import SIZES, Config, check_name, make_config
from dreamer_lite.training import replay
from dreamer_lite.training.loop import make_driver
from dreamer_lite.training.xla import compiler_options
from dreamer_lite.worlds.base import Space, TimeStep

try:
    import resource
except ImportError:  # Windows
    resource = None

STANDARD = ("minatar/breakout tiny", "walker 1m", "pong 1m", "pixels-cpu")
PIXELS = {"image": Space((64, 64, 3), "uint8")}
# Worlds outside JAX, by what goes in and out: their simulators need not be installed here.
OUTSIDE = {
    "walker": (
        {
            "height": Space((), "float32"),
            "orientations": Space((14,), "float32"),
            "velocity": Space((9,), "float32"),
        },
        Space((6,), "float32"),
        "dmc/walker-walk",
    ),
    "pong": (PIXELS, Space((), "int32", 6), "atari/pong"),
}
Note = Callable[[str], None]


class Problem(NamedTuple):
    """What is measured."""

    preset: str
    config: Config
    obs_space: dict[str, Space]
    action_space: Space
    world: Any  # a JAX world, or None

    @property
    def spaces(self) -> tuple[dict[str, Space], Space]:
        return self.obs_space, self.action_space


def problem(preset: str, **changes: Any) -> Problem:
    """The problem of a preset: a world and perhaps a size, as in "walker 1m".

    Raises:
      ValueError: no such world or size; one sentence.
    """
    name, _, size = preset.partition(" ")
    known = {*OUTSIDE, *worlds.names(), *STANDARD[3:]}
    check_name("preset", name, known)
    if name == "pixels-cpu":
        name, size = "pong", "pixels-cpu"
    if name not in OUTSIDE:
        world = worlds.make(name)
        config = make_config(name, size or None, **changes)
        return Problem(preset, config, world.obs_space, world.action_space, world)
    obs_space, action_space, full_name = OUTSIDE[name]
    config = make_config(full_name, size or "1m", **{"capacity": 20_000} | changes)
    return Problem(preset, config, obs_space, action_space, None)


def split_presets(words: list[str]) -> list[str]:
    """Presets from what was typed, quoted or not: walker 1m catch -> ["walker 1m", "catch"].

    Raises:
      ValueError: a size before any world.
    """
    found: list[str] = []
    for word in " ".join(words).split():
        if word not in SIZES or word in STANDARD:
            found.append(word)
        elif not found or " " in found[-1]:
            raise ValueError(f"{word!r} is a size: name a world before it, as in 'walker 1m'.")
        else:
            found[-1] += f" {word}"
    return found


def made_up_batch(problem: Problem) -> Batch:
    """T steps of B sequences that look like rows of this world to the program."""
    config, rng = problem.config, np.random.default_rng(0)
    lead = (config.length, config.batch)

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
    obs: Any = {key: observe(space) for key, space in problem.obs_space.items()}
    reward: Any = rng.standard_normal(lead, np.float32)
    action: Any = rng.standard_normal((*lead, action_size(problem.action_space)), np.float32)
    return jax.device_put(Batch(obs, reward, first, last, last, action, context))


# Arithmetic


class Product(NamedTuple):
    """`groups` matrix products of (rows, inner) by (inner, columns)."""

    groups: int
    rows: int
    inner: int
    columns: int
    dtype: str = "float32"

    @property
    def flops(self) -> int:
        return 2 * math.prod(self[:4])


def products(jaxpr: Any) -> Counter[Product]:
    """The matrix products that a traced program does, and how often; a scan repeats its body's.

    A convolution counts as the product of all patches with the kernel. Sums and elementwise
    functions are not counted; nor are loops of unknown length, which hold no products here.
    """
    found: Counter[Product] = Counter()
    for eqn in jaxpr.eqns:
        count = {"dot_general": _dot, "conv_general_dilated": _convolution}.get(eqn.primitive.name)
        if count is not None:
            shapes = [x.aval.shape for x in (*eqn.invars, *eqn.outvars)]
            product = count(eqn.params["dimension_numbers"], *shapes)
            found[product._replace(dtype=eqn.invars[0].aval.dtype.name)] += 1
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        for inner in _inner_jaxprs(eqn.params):
            found.update({product: times * n for product, n in products(inner).items()})
    return found


def _dot(numbers: Any, left: tuple, right: tuple, _: tuple) -> Product:
    (left_inner, right_inner), (left_group, right_group) = numbers
    rows = [n for i, n in enumerate(left) if i not in (*left_inner, *left_group)]
    columns = [n for i, n in enumerate(right) if i not in (*right_inner, *right_group)]
    groups, inner = ([left[i] for i in axes] for axes in (left_group, left_inner))
    return Product(math.prod(groups), math.prod(rows), math.prod(inner), math.prod(columns))


def _convolution(numbers: Any, _: tuple, kernel: tuple, out: tuple) -> Product:
    columns = kernel[numbers.rhs_spec[0]]
    return Product(1, math.prod(out) // columns, math.prod(kernel) // columns, columns)


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else [value]:
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item


def flops(found: Counter[Product]) -> int:
    """Floating point operations of these products: 2 for each multiply and add."""
    return sum(product.flops * times for product, times in found.items())


def matmul_rate(found: Counter[Product]) -> float:
    """FLOP/s of these products, done one by one and nothing else, at their own shapes.

    The commonest shapes that make up 95 % of the arithmetic are timed; each counts by its share.
    """
    total, covered, seconds = flops(found), 0, 0.0
    for product, times in sorted(found.items(), key=lambda item: -item[0].flops * item[1]):
        if covered > 0.95 * total:
            break
        covered += product.flops * times
        seconds += times * _seconds_of(product)
    return covered / seconds


def _seconds_of(product: Product, least: float = 0.02, trials: int = 5) -> float:
    """Best time of one product, in a loop long enough for the clock."""
    groups, rows, inner, columns, dtype = product
    x, w = jnp.ones((groups, rows, inner), dtype), jnp.ones((groups, inner, columns), dtype)
    if groups == 1:
        x, w = x[0], w[0]

    @jax.jit
    def loop(x, w, count):
        def body(i, carry):
            x, _ = carry
            x, _ = jax.lax.optimization_barrier((x, i))  # else it would be done once for all
            return x, x @ w

        return jax.lax.fori_loop(0, count, body, (x, x @ w))[1]

    def seconds(count: int, trials: int) -> float:
        return best_of(lambda: loop(x, w, count), trials)

    seconds(1, 1)  # compiles
    count = 1
    while seconds(count, 1) < least:
        count *= 4
    return seconds(count, trials) / count


def best_of(function: Callable[[], Any], trials: int) -> float:
    """Shortest time of a call, seconds."""
    return min(times_of(function, trials))


def times_of(function: Callable[[], Any], trials: int) -> list[float]:
    """Seconds of each call, until its results are there."""
    found = []
    for _ in range(trials):
        before = time.perf_counter()
        jax.block_until_ready(function())
        found.append(time.perf_counter() - before)
    return found


# One update


class Update(NamedTuple):
    """A compiled update, its inputs, and what it consists of."""

    call: Callable[[LearnerState, Batch, jax.Array], Any]  # the state is donated
    state: LearnerState
    batch: Batch
    products: Counter[Product]
    bytes: int  # what XLA says the program will hold: inputs, outputs, intermediate results

    def times(self, trials: int) -> list[float]:
        """Seconds of each of `trials` updates that follow each other, after one to warm up."""
        state, key = jax.tree.map(jnp.copy, self.state), jax.random.key(0)

        def step() -> Any:
            nonlocal state
            state, out = self.call(state, self.batch, key)
            return out.metrics

        return times_of(step, trials + 1)[1:]


def compile_update(problem: Problem) -> Update:
    """The learner's update as `training` compiles it."""
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
    """All figures of a preset, under the keys of `bench --json`; `note` is told what goes on."""
    case = problem(preset)
    note(f"{preset}: first update with an empty cache of compiled programs ...")
    with tempfile.TemporaryDirectory() as cache:
        cold = first_update(preset, cache)
        note(f"{preset}: first update with a full one ...")
        cached = first_update(preset, cache)
    note(f"{preset}: compiling and timing the update ...")
    update = compile_update(case)
    trials = max(7, min(100, round(5 / update.times(1)[0])))
    before = time.process_time()
    times = update.times(trials)
    busy = (time.process_time() - before) / (trials + 1)
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
    """What a new process reports that learns from this preset, compiled programs kept in `cache`.

    Seconds from the start of the process to the end of its first update; agent steps per second
    afterwards; peak memory.
    """
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            "from dreamer_lite.tools import bench; bench.child()",
            preset,
            str(time.time()),
        ],
        env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return json.loads(process.stdout)


def child() -> None:
    """The process that `first_update` starts; prints its figures."""
    case, began = problem(sys.argv[1]), float(sys.argv[2])
    learn = _train(case) if case.world else _learn_outside(case)
    next(learn)
    first = time.time() - began
    steps = next(learn)
    found = {"first_update_seconds": first, "agent_steps_per_second": steps}
    print(json.dumps(found | {"peak_memory_mb": peak_memory()}))


def peak_memory() -> float | None:
    """The most memory this process has held so far, in MB; None on Windows, which is not asked."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage counts what the parent held at the start
        held = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        if held:
            return int(held[1]) * 1024 / 1e6
    if resource is None:
        return None
    held_most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held_most / 1e6 if sys.platform == "darwin" else held_most * 1024 / 1e6


def _train(case: Problem) -> Iterator[float]:
    """Live in a JAX world and learn, as `train` does: yield after the first update, then speed."""
    config = case.config
    driver = make_driver(config, case.world)
    state = driver.init(0)
    rows, updates = config.schedule
    state, _ = driver.advance(state, 1, config.steps_before_learning, 0)
    state, metrics = driver.advance(state, 1, rows, updates)
    jax.block_until_ready(metrics)
    yield 0.0
    seconds, times = 0.0, 1
    while seconds < 1:
        times *= 2
        before = time.perf_counter()
        state, metrics = driver.advance(state, times, rows, updates)
        jax.block_until_ready(metrics)
        seconds = time.perf_counter() - before
    yield times * rows * config.worlds / seconds


def _learn_outside(case: Problem) -> Iterator[float]:
    """Learn, and act in W worlds that take no time: yield after the first update, then speed.

    The replay lies in memory, but what is learnt from is one made-up batch.
    """
    config = case.config
    ring = jax.block_until_ready(replay.init(config, *case.spaces))
    learner = make_learner(config, *case.spaces)
    state, batch, key = learning.init(learner, 0), made_up_batch(case), jax.random.key(0)
    update = functools.partial(learning.update, learner)
    update = jax.jit(update, donate_argnums=0, compiler_options=compiler_options())
    state, out = update(state, batch, key)
    jax.block_until_ready(out.metrics)
    yield 0.0
    row, carry = first_rows(case, batch)
    merge = learner.graph.merge
    look = jax.jit(lambda params: act(merge(params), carry, row, case.action_space, key))
    jax.block_until_ready(look(state.params))
    acting = best_of(lambda: look(state.params), 5)
    before = time.perf_counter()
    for _ in range(3):
        state, out = update(state, batch, key)
    jax.block_until_ready((out.metrics, ring))
    seconds = (time.perf_counter() - before) / 3
    rows, updates = config.schedule
    yield rows * config.worlds / (rows * acting + updates * seconds)


def first_rows(case: Problem, batch: Batch) -> tuple[TimeStep, PolicyCarry]:
    """One row of W worlds, cut from a batch, and the mind before it."""
    index = np.arange(case.config.worlds) % batch.reward.size
    rows = TimeStep(batch.obs, batch.reward, batch.is_first, batch.is_last, batch.is_terminal)
    row, action = jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:])[index], (rows, batch.previous_action)
    )
    state = jax.tree.map(lambda x: x[index % len(x)], batch.context)
    return row, PolicyCarry(state, action)


def in_words(figures: dict[str, Any]) -> str:
    """The figures of `measure` in a few lines."""
    low, high = figures["updates_per_second_quartiles"]
    giga, seconds = figures["flops_per_update"] / 1e9, figures["seconds_per_update"]
    return (
        f"  {figures['updates_per_second']:.3g} updates/s (half of them {low:.3g} to {high:.3g}), "
        f"{figures['agent_steps_per_second']:.0f} agent steps/s\n"
        f"  {giga:.3g} GFLOP in {seconds:.3g} s: "
        f"{figures['share_of_matmul']:.0%} of {figures['matmul_gflops']:.0f} GFLOP/s, "
        "the rate of its matrix products alone\n"
        f"  first update after {figures['first_update_cold_seconds']:.1f} s, "
        f"{figures['first_update_cached_seconds']:.1f} s if compiled before"
        + (f"; {most:.0f} MB at most" if (most := figures["peak_memory_mb"]) else "")
    )


# Where the time goes


def profile(preset: str, note: Note) -> list[tuple[str, float, float]]:
    """(part, seconds, seconds of its forward pass alone) of an update, the whole update last.

    Each part is compiled and timed alone, on the inputs that it has within an update, gradients
    included. Parts that cannot stand alone are differences: the heads are the world model's loss
    without encoder and observing; actor and critic are all losses without the other parts.
    So a part may come out a little larger or smaller than it is inside the whole.
    """
    case = problem(preset)
    seconds: dict[str, tuple[float, float]] = {}
    for name, forward, args in parts(case):
        note(f"{preset}: timing {name} ...")
        seconds[name] = _seconds(_with_gradient(forward), args), _seconds(forward, args)

    def less(name: str, *others: str) -> tuple[float, float]:
        both, forward = seconds[name]
        return (
            both - sum(seconds[other][0] for other in others),
            forward - sum(seconds[other][1] for other in others),
        )

    dreams = seconds["imagine"][1]  # nothing learns through the dreams themselves
    seconds["imagine"] = dreams, dreams
    note(f"{preset}: timing the optimiser and the whole update ...")
    optimiser = _seconds(*optimizer_step(case))
    update = compile_update(case)
    whole = min(update.times(max(5, min(100, round(2 / update.times(1)[0])))))
    return [
        ("encoder", *seconds["encoder"]),
        ("observing: scan over T", *seconds["observe"]),
        ("decoder, reward, continue, KL", *less("world model", "encoder", "observe")),
        ("dreaming: scan over H", dreams, dreams),
        (
            "actor and critic on dreams",
            *less("all losses", "world model", "imagine", "replay value"),
        ),
        ("critic on replay", *seconds["replay value"]),
        ("optimiser, slow critic", optimiser, optimiser),
        ("the whole update", whole, whole),
    ]


def parts(case: Problem) -> Iterator[tuple[str, Callable[..., Any], tuple]]:
    """(name, forward pass, its inputs) of the parts of an update that learn, or dream."""
    config, key = case.config, jax.random.key(0)
    learner, batch = make_learner(config, *case.spaces), made_up_batch(case)
    state = learning.init(learner, 0)
    params, graph = state.params, learner.graph
    slow = graph.merge_critic(state.slow_critic)

    def observe(params, embed):
        rssm = graph.merge(params).model.rssm
        return rssm.observe(batch.context, embed, batch.previous_action, batch.is_first, key)

    def dream(_, start):
        agent = graph.merge(params)
        return imagine(agent.model, agent.actor, start, config.horizon, key)

    def everything(params):
        return learning.loss(params, learner, state, batch, key)[0]

    def replay_value(params, states):
        returns = jnp.zeros_like(late.reward)
        critic = graph.merge(params).critic
        return replay_value_loss(critic, slow, states, late, returns, config)

    def encode(params):
        return graph.merge(params).model.encoder(batch.obs)

    embed = jax.jit(encode)(params)
    states, _ = jax.jit(observe)(params, embed)
    states, late = jax.tree.map(
        lambda x: x[-config.starts :], (states, batch._replace(context=None))
    )
    start = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), states)
    yield "encoder", encode, (params,)
    yield "observe", observe, (params, embed)
    yield "world model", lambda params: graph.merge(params).model.loss(batch, key), (params,)
    yield "imagine", dream, (params, start)
    yield "all losses", everything, (params,)
    yield "replay value", replay_value, (params, states)


def optimizer_step(case: Problem) -> tuple[Callable[..., Any], tuple]:
    """What follows the gradient in an update, and inputs for it."""
    config = case.config
    state = learning.init(make_learner(config, *case.spaces), 0)
    optimizer = make_optimizer(config)

    def step(params, optimizer_state, slow):
        steps, after = optimizer.update(params, optimizer_state, params)  # as large as a gradient
        params = jax.tree.map(jnp.add, params, steps)
        slow = jax.tree.map(lambda a, b: a + config.slow_rate * (b - a), slow, params["critic"])
        return params, after, slow

    return step, (state.params, state.optimizer, state.slow_critic)


def _with_gradient(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The forward pass, then its gradient with respect to all inputs."""

    def both(*args):
        out, back = jax.vjp(forward, *args)
        return out, back(jax.tree.map(jnp.ones_like, out))

    return both


def _seconds(function: Callable[..., Any], args: tuple) -> float:
    """Best time of a compiled call, for about a second."""
    call = jax.jit(function, compiler_options=compiler_options())
    jax.block_until_ready(call(*args))
    once = best_of(lambda: call(*args), 2)
    return min(once, best_of(lambda: call(*args), max(3, min(50, round(1 / once)))))


def profile_in_words(table: list[tuple[str, float, float]]) -> str:
    """The table of `profile`, and what its parts add up to."""
    *rows, (_, whole, _) = table
    rows.append(("sum of these parts", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    lines = [f"  {'part':32}  forward and backward      forward"]
    for name, seconds, forward in rows:
        share = f"({seconds / whole:4.0%})"
        lines.append(f"  {name:32}  {1e3 * seconds:9.1f} ms {share}  {1e3 * forward:9.1f} ms")
    lines.append(f"  {'the whole update':32}  {1e3 * whole:9.1f} ms")
    lines.append("  Each part compiled and timed alone; best of several calls.")
    return "\n".join(lines)


# Growth


def growth(preset: str, note: Note) -> dict[str, dict[int, tuple[float, float]]]:
    """{setting: {value: (seconds per update, MB that XLA plans for it)}} over three doublings."""
    config = problem(preset).config
    length = max(16, config.length)
    doublings = {
        "batch": (config.batch, {}),
        "horizon": (5, {}),
        "starts": (length // 8, {"length": length}),
    }
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for name, (least, others) in doublings.items():
        found[name] = {}
        for value in (least, 2 * least, 4 * least, 8 * least):
            note(f"{preset}: timing {name} = {value} ...")
            update = compile_update(problem(preset, **others, **{name: value}))
            trials = max(5, min(100, round(3 / update.times(1)[0])))
            found[name][value] = min(update.times(trials)), update.bytes / 1e6
    return found


def plot_growth(found: dict[str, dict[int, tuple[float, float]]], preset: str) -> Any:
    """A matplotlib figure of `growth`: time against each setting, with the best straight line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        x = np.array(list(points), float)
        y = 1e3 * np.array([seconds for seconds, _ in points.values()])
        slope, start = np.polyfit(x, y, 1)
        axes.plot(x, start + slope * x, color="0.5", label="straight line")
        axes.plot(x, y, "o", color="#0072b2", label="measured")
        axes.set(xlabel=name, ylim=(0, None), xticks=x)
    figure.axes[0].set_ylabel("ms per update")
    figure.axes[0].legend(frameon=False)
    figure.suptitle(preset, parse_math=False)
    return figure


def growth_in_words(found: dict[str, dict[int, tuple[float, float]]]) -> str:
    """One line for each setting."""
    lines = []
    for name, points in found.items():
        told = (f"{x}: {1e3 * t:.1f} ms, {mb:.0f} MB" for x, (t, mb) in points.items())
        lines.append(f"{name:8} {'; '.join(told)}")
    return "\n".join(lines)
