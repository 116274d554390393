"""Run by test_distributed in one process or several: 50 updates, then losses and parameters.

python hosts_child.py OUT.npz WORLD COORDINATOR PROCESSES PROCESS [float64]
"""

import json
import sys
import time

import devices_child
import jax
import numpy as np
import small_run
import wide

from dreamer_lite import worlds
from dreamer_lite.runs import process
from dreamer_lite.runs import run as runs
from dreamer_lite.training import hosts
from dreamer_lite.training import loop as training
from dreamer_lite.training.progress import Limits

UPDATES = 50


def main(
    out: str, name: str, coordinator: str, processes: str, number: str, precision: str = ""
) -> None:
    if precision == "float64":
        wide.compute_in_float64()
    if processes != "1":
        hosts.connect(coordinator, int(processes), int(number))
    process.enable_compilation_cache()
    config = small_run.config(**devices_child.SETTINGS)
    config = type(config)(**vars(config) | {"world": name})
    begun = time.time()
    driver = runs.make_driver(config, worlds.make(name), all_devices=True)
    progress = training.train(config, driver, driver.init(3), Limits(updates=UPDATES))
    with hosts.noticing_deaths():
        news = list(progress)
        records = [record for record, _ in news]
        state = hosts.whole(news[-1].state)
    driver.close()
    found = {
        "devices": jax.device_count(),
        "local": jax.local_device_count(),
        "seconds": time.time() - begun,
        "losses": [record["loss/total"] for record in records],
        "returns": [record["return_mean"] for record in records],
    }
    if hosts.is_first():
        np.savez(out, about=np.array(json.dumps(found)), **small_run.arrays(state))


if __name__ == "__main__":
    main(*sys.argv[1:])
