"""What an update with `--devices all` sends between devices: a model, from the shapes alone.

The batch is spread over N devices, and the gradients are summed: 4 P bytes for P parameters, if
each is summed once. XLA for CPUs sums those of the RSSM after each of the T steps that it goes
backwards through a sequence:

    bytes per update = 4 (P + (T - 1) P_observe)

P_observe are the parameters that a step of `Rssm.observe` uses, all of the RSSM but its prior. The
sums in the loop agree with the compiled program (tests/test_traffic.py). A ring sends 2 (N - 1) / N
of these bytes from every device. Left out are activations, which also move.
"""

from typing import Any

import jax

from dreamer_lite.agent.learner import make_learner
from dreamer_lite.presets import SIZES
from dreamer_lite.tools.bench import problem

# Bytes per second that one device can send, as their makers say; what is reached is less.
LINKS = {"1 Gbit/s": 0.125e9, "10 Gbit/s": 1.25e9, "PCIe 3 x16": 16e9, "NVLink 4": 450e9}


def measure(preset: str) -> list[dict[str, Any]]:
    """A record for each size with this preset's environment, or for the size that it names.

    Raises:
      ValueError: there is no such environment or size; one sentence.
    """
    world, _, size = preset.partition(" ")
    if world == "pixels-cpu":
        return [of_size(preset, preset)]
    return [of_size(f"{world} {name}", name) for name in ([size] if size else SIZES)]


def of_size(preset: str, size: str) -> dict[str, Any]:
    """The parameters and bytes of one size."""
    case = problem(preset)
    params = make_learner(case.config, *case.spaces).graph.shapes()
    once, often = count(params), count(observing(params))
    return {
        "size": size,
        "parameters": once,
        "of_a_step": often,
        "length": case.config.length,
        "bytes_summed_once": 4 * once,
        "bytes_per_update": 4 * (once + (case.config.length - 1) * often),
    }


def observing(params: Any) -> dict[str, Any]:
    """The parameters that each step of observing a sequence uses."""
    rssm = params["model"]["rssm"]
    return {name: x for name, x in rssm.items() if not name.startswith("prior")}


def count(params: Any) -> int:
    return sum(x.size for x in jax.tree.leaves(params))


def seconds(bytes_per_update: float, link: str, devices: int) -> float:
    """How long a ring of devices takes for them, each sending at the rate of its link."""
    return 2 * (devices - 1) / devices * bytes_per_update / LINKS[link]


def efficiency(update: float, bytes_per_update: float, link: str, devices: int) -> float:
    """Fraction of N times one device's speed, if nothing is sent while devices compute.

    `update` is the time of an update on one device, in seconds; N devices need 1/N of it.
    """
    sending = seconds(bytes_per_update, link, devices)
    return (update / devices) / (update / devices + sending)


def in_words(found: list[dict[str, Any]]) -> str:
    """A table: bytes of an update, and how long two devices take for those summed once."""
    head = f"  {'size':10} {'parameters':>12} {'MB, at least':>13} {'MB, on CPUs':>12}"
    lines = [head + "".join(f"{name:>13}" for name in LINKS)]
    for x in found:
        once, often = x["bytes_summed_once"], x["bytes_per_update"]
        times = (seconds(once, link, 2) for link in LINKS)
        sums = f"{once / 1e6:13.1f} {often / 1e6:12.1f}"
        lines.append(
            f"  {x['size']:10} {x['parameters']:12,} {sums}"
            + "".join(f"{1000 * t:10.3g} ms" for t in times)
        )
    return "\n".join(lines)
