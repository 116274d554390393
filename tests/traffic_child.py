"""Run by test_traffic on two simulated devices: what compiled updates send between them."""

import functools
import json
import re
import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

import devices_child
import jax
import numpy as np
import small_run

from dreamer_lite import worlds
from dreamer_lite.agent import devices
from dreamer_lite.config import Config
from dreamer_lite.tools import bench, traffic
from dreamer_lite.training import loop as training
from dreamer_lite.training import sharding

# An image agent whose update compiles in seconds.
SMALL = dict(
    length=5, batch=4, worlds=2, depth=4, deter=64, hidden=16, units=16, precision="float32"
)
# The plain forms of layers are compiled, not those for CPUs, which gather activations.
ACCELERATOR = SimpleNamespace(platform="tpu", device_kind="an accelerator")


def compiled_update(config: Config, world: Any) -> tuple[str, Any]:
    """The update on all devices as HLO text, and the parameters."""
    mesh = sharding.make_mesh(config)
    program = training.make_program(config, world, mesh)
    places, params = sharding.of_state(config, mesh), program.learner.graph.init(0)
    state = jax.eval_shape(
        functools.partial(training.first_state, program), params, jax.random.key(0)
    )
    learn = jax.jit(
        functools.partial(training.learn, program),
        in_shardings=(places,),
        out_shardings=(places, None if mesh is None else sharding.spread(mesh, None)),
    )
    return str(learn.lower(state).compile().as_text()), params


def numbers(shapes: str) -> int:
    """How many float32 numbers arrays of these shapes have."""
    found = re.findall(r"f32\[([\d,]*)\]", shapes)
    return sum(int(np.prod([int(n) for n in shape.split(",") if n])) for shape in found)


def summed_in_loops(text: str) -> int:
    """Numbers that are summed over the devices in each step of a loop."""
    body, total = "", 0
    for line in text.splitlines():
        if head := re.match(r"^(ENTRY )?%?[\w.\-]+ .*\{$", line):
            body = head[0]
        found = re.search(r"= (.*?) all-reduce(-start)?\(", line)
        if found and not body.startswith("ENTRY") and "main" not in body:
            total += numbers(found[1])
    return total


def gathered(text: str) -> dict[str, int]:
    """Numbers that every device receives from the others, by the operation that needs them."""
    by_operation: Counter[str] = Counter()
    for line in text.splitlines():
        if found := re.search(r"= (.*?) all-gather(-start)?\(", line):
            name = re.search(r'op_name="[^"]*?(\w+)"', line)
            by_operation[name[1] if name else "unknown"] += numbers(found[1])
    return dict(by_operation)


def main(what: str) -> None:
    if what == "summed":
        config = small_run.config(**devices_child.SETTINGS)
        text, params = compiled_update(config, worlds.make("catch"))
        model = traffic.count(traffic.observing(params))
        found = {"in_loops": summed_in_loops(text), "model": model}
    else:
        case = bench.problem(what, **SMALL)
        with devices.compiling_for(ACCELERATOR):
            text, _ = compiled_update(case.config, case.world)
        frames = case.config.length * case.config.batch
        pixels = frames * case.world.obs_space["image"].size
        found = {"gathered": gathered(text), "pixels": pixels}
    print(json.dumps({"devices": len(jax.devices())} | found))


if __name__ == "__main__":
    main(sys.argv[1])
