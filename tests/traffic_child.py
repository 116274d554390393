"""Run by test_traffic on two simulated devices: what the compiled update sums between them."""

import functools
import json
import re

import devices_child
import jax
import small_run

from dreamer_lite import worlds
from dreamer_lite.tools import traffic
from dreamer_lite.training import loop as training
from dreamer_lite.training import sharding


def main() -> None:
    config, world = small_run.config(**devices_child.SETTINGS), worlds.make("catch")
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
    body, in_loops = "", 0
    for line in learn.lower(state).compile().as_text().splitlines():
        if head := re.match(r"^(ENTRY )?%?[\w.\-]+ .*\{$", line):
            body = head[0]
        found = re.search(r"= (.*?) all-reduce(-start)?\(", line)
        if found and not body.startswith("ENTRY") and "main" not in body:
            for shape in re.findall(r"f32\[([\d,]*)\]", found[1]):
                in_loops += functools.reduce(lambda n, x: n * int(x), shape.split(","), 1)
    model = traffic.count(traffic.observing(params))
    print(json.dumps({"devices": len(jax.devices()), "in_loops": in_loops, "model": model}))


if __name__ == "__main__":
    main()
