"""Run by test_devices_all on several simulated devices: one program on all of them, and on one."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import small_run

from dreamer_lite import worlds
from dreamer_lite.runs import checkpoints, process
from dreamer_lite.runs import run as runs
from dreamer_lite.training import loop as training
from dreamer_lite.training import sharding
from dreamer_lite.training.progress import Limits

# Small nets compile fast; `rms_eps`: see test_seeds.
NETS = dict.fromkeys(
    ("encoder_layers", "decoder_layers", "policy_layers", "value_layers", "prior_layers"), 1
)
SETTINGS = NETS | {"rms_eps": 0.1, "warmup": 0, "learning_rate": 1e-3, "worlds": 4, "batch": 4}
LIMITS = Limits(updates=14)


def trace_counter() -> list[int]:
    """A list that grows whenever the loop is traced, that is, compiled anew."""
    traces, keep_score = [], training.keep_score
    training.keep_score = lambda envs: traces.append(1) or keep_score(envs)
    return traces


def difference(left, right) -> float:
    """The largest difference, in units of what floats may differ: 1 is the most that is fine."""
    worst = 0.0
    a, b = small_run.arrays(left), small_run.arrays(right)
    for name in a:
        tolerance = (1e-3 if "optimizer" in name else 1e-4) + 1e-3 * np.abs(a[name])
        worst = max(worst, float((np.abs(a[name].astype(float) - b[name]) / tolerance).max()))
    return worst


def go(config, driver) -> tuple[list[dict], training.RunState]:
    news = list(training.train(config, driver, driver.init(3), Limits(updates=4)))
    return [record for record, _ in news], news[-1].state


def compare(folder: Path, **settings: int) -> dict:
    """What training on all devices gives beside training on one."""
    config = small_run.config(**SETTINGS, **settings)
    world = worlds.make("catch")
    mesh = sharding.make_mesh(config)
    records, one = go(config, training.make_driver(config, world))
    traces = trace_counter()
    driver = training.make_driver(config, world, mesh)
    first = driver.init(3)
    held = first.replay.deter
    first, _ = driver.advance(first, 1, 1, 0)
    once, size = len(traces), driver.advance._cache_size()
    spread, all_of_them = go(config, driver)
    found = {
        "devices": len(jax.devices()),
        "difference": difference(one, all_of_them),
        "losses": [[r["loss/total"] for r in x] for x in (records, spread)],
        "parts": {
            name: [x.shape, x.sharding.shard_shape(x.shape)]
            for name, x in (
                ("ring", all_of_them.replay.deter),
                ("score", all_of_them.envs.score),
                ("kernel", all_of_them.learner.params["actor"]["logits"]["kernel"]),
            )
        },
        "donated": held.is_deleted(),
        "traces": [once, len(traces)],
        "cache": [size, driver.advance._cache_size()],
    }
    if not settings:
        runs.make_driver = lambda *_: driver
        list(runs.run(config, folder, Limits(updates=3)))
        list(runs.run(config, folder, LIMITS))
        list(runs.run(config, folder.with_name("whole"), LIMITS))
        parts, whole = (
            checkpoints.restore(place / "state", driver.init(0))[0]
            for place in (folder, folder.with_name("whole"))
        )
        small_run.assert_same(parts, whole)
        found["resumed"] = [parts.replay.deter.sharding == whole.replay.deter.sharding]
        found["summary"] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))[
            "devices"
        ]
    return found


if __name__ == "__main__":
    process.enable_compilation_cache()
    print(json.dumps(compare(Path(sys.argv[1]), **json.loads(sys.argv[2]))))
