"""Compiles what the course runs on a GPU for cards that are not here: `make gpu-check`.

For each preset: whether its programs compile, whether they fit into the card's memory together with
the replay and the parameters, and how many kernels an update and an acting step launch. A real card
may choose other algorithms of cuBLAS and cuDNN; kernels and loops are the same.
"""

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from dreamer_lite.agent import devices
from dreamer_lite.presets import make_config
from dreamer_lite.tools import bench, launches
from dreamer_lite.tools.gpu_cards import CARDS, Card, absent_device
from dreamer_lite.tools.launches import Launches
from dreamer_lite.training import loop
from dreamer_lite.training.replay import bytes_of

# What the course runs on a GPU, each with all of its replay.
COURSE = (
    "minatar/breakout tiny", "walker small", "walker 1m", "road_runner pixels-cpu", "pixels-cpu",
    "pong 1m", "catch tiny", "pendulum tiny",
)  # fmt: skip
HEAD = (
    "| preset | card | dtype | learner | replay | temporary | of the memory that JAX takes | "
    "launches: update | acting | per agent step |\n|---|---|---|---|---|---|---|---|---|---|"
)


class Compiled(NamedTuple):
    """A program for a card that is not here."""

    held: int  # bytes while it runs: inputs, results, intermediate results
    temporary: int  # bytes of intermediate results
    launches: Launches  # of one call


class Result(NamedTuple):
    """What compiling a preset for a card has shown."""

    preset: str
    card: str
    dtype: str  # of activations
    worlds: int
    learner: int  # bytes of parameters, optimizer, slow critic
    replay: int  # bytes
    programs: dict[str, Compiled]  # update, acting, and fused, where the environment is in JAX

    @property
    def held(self) -> int:
        """The most bytes that a program needs while it runs; each of them holds the whole run."""
        return max(program.held for program in self.programs.values())

    @property
    def complaint(self) -> str:
        """Why this does not fit, in one sentence, or nothing."""
        card: Card = CARDS[self.card]
        if self.held <= card.usable:
            return ""
        return (
            f"{self.preset} does not fit into the memory of a {self.card}: it needs "
            f"{self.held / 1e9:.1f} GB, of which {self.replay / 1e9:.1f} GB are replay, and JAX "
            f"takes {card.usable / 1e9:.1f} GB of {card.memory / 1e9:.1f} GB."
        )

    def row(self) -> str:
        """A row of the table."""
        update, acting = (self.programs[x].launches.total for x in ("update", "acting"))
        temporary = max(program.temporary for program in self.programs.values())
        sizes = (f"{x / 1e6:,.0f} MB" for x in (self.learner, self.replay, temporary))
        percent = f"{self.held / CARDS[self.card].usable:.0%}".replace("%", " %")
        one = f"{acting / self.worlds:.3g}"
        cells = (self.preset, self.card, self.dtype, *sizes, percent, f"{update:,}", acting, one)
        return f"| {' | '.join(map(str, cells))} |"


def check(preset: str, card: str, device: Any, **changes: Any) -> Result:
    """Compile the programs of this preset, with `changes` of its settings, for a card.

    Raises:
      ValueError: there is no such preset, or a program does not compile; one sentence.
    """
    case = bench.problem(preset)
    config = make_config(case.config.world, case.config.size, **changes)
    compiled = {}
    with devices.compiling_for(device):
        program = loop.make_program(config, case.world)
        state = first_state(program)
        for name, (step, counts) in steps_of(program).items():
            try:
                compiled[name] = compile_step(step, (state, *counts), device)
            except Exception as error:  # whatever the compiler raises
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise ValueError(
                    f"{preset}: the program {name!r} does not compile for a {card}: {reason}"
                ) from error
        dtype = devices.compute_dtype(config.precision).__name__
    sizes = (bytes_of(state.learner), bytes_of(state.replay))
    return Result(preset, card, dtype, config.worlds, *sizes, compiled)


def steps_of(program: loop.Program) -> dict[str, tuple[Callable[..., Any], tuple]]:
    """The functions of a run's state that a GPU computes, by name, each with its further inputs."""
    steps: dict[str, tuple[Callable[..., Any], tuple]] = {
        "update": (functools.partial(loop.learn, program), ()),
        "acting": (functools.partial(loop.collect, program), ()),
    }
    if not isinstance(program.world, bench.Stub):
        steps["fused"] = (functools.partial(loop.advance, program), (jnp.int32(1),) * 3)
    return steps


def first_state(program: loop.Program) -> Any:
    """The shapes of a run that begins."""
    begin = functools.partial(loop.first_state, program)
    return jax.eval_shape(begin, program.learner.graph.init(0), jax.random.key(0))


def compile_step(step: Callable[..., Any], inputs: tuple, device: Any) -> Compiled:
    """Compile a step whose first input is donated, for a device that is not here."""
    there = SingleDeviceSharding(device)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there), inputs)
    traced = jax.jit(step, donate_argnums=0, out_shardings=there).trace(*shapes)
    with tempfile.TemporaryDirectory() as folder:
        options: Any = {"xla_dump_to": folder, "xla_dump_hlo_as_text": True}
        # XLA must time Triton's products on the card, or refuses; cuBLAS stands in for them.
        options["xla_gpu_enable_triton_gemm"] = False
        size: Any = traced.lower().compile(compiler_options=options).memory_analysis()
        (text,) = Path(folder).glob("*pu_after_optimizations.txt")
        found = launches.count(text.read_text(encoding="utf-8"))
    held = size.argument_size_in_bytes + size.temp_size_in_bytes
    held += size.output_size_in_bytes - size.alias_size_in_bytes
    return Compiled(held, size.temp_size_in_bytes, found)


def main(argv: list[str] | None = None) -> int:
    """Print a table, a row for each card and preset; exit status 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="make gpu-check", description=__doc__)
    parser.add_argument("preset", nargs="*", help="an environment and perhaps a size: walker 1m")
    text = "T4, L4 or A100; repeatable, and by default all of them"
    parser.add_argument("--card", action="append", metavar="NAME", help=text)
    args = parser.parse_args(argv)
    try:
        absent = {card: absent_device(card) for card in args.card or CARDS}
        presets = bench.split_presets(args.preset) or list(COURSE)
        for preset in presets:
            bench.problem(preset)
    except ValueError as error:
        print(f"make gpu-check: {error}", file=sys.stderr)
        return 2
    print(HEAD, flush=True)
    wrong = []
    for card, device in absent.items():
        for preset in presets:
            begun = time.monotonic()
            try:
                result = check(preset, card, device)
            except ValueError as error:
                wrong.append(str(error))
                continue
            print(result.row(), flush=True)
            print(f"  {preset}, {card}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
            wrong += filter(None, [result.complaint])
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
