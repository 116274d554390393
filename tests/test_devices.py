"""Which numbers a device computes in, and whether a replay fits; on fakes of devices."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from dreamer_lite.agent import devices
from dreamer_lite.training import memory


@dataclasses.dataclass
class Fake:
    platform: str
    compute_capability: str = ""
    device_kind: str = "Fake"
    stats: dict[str, int] | None = None

    def memory_stats(self) -> dict[str, int] | None:
        return self.stats


T4 = Fake("gpu", "7.5", "Tesla T4")
A100, L4, H100 = Fake("gpu", "8.0"), Fake("gpu", "8.9"), Fake("gpu", "9.0")
BLACKWELL = Fake("gpu", "10.0")  # as text, "10.0" sorts before "8.0"
CPU, TPU = Fake("cpu"), Fake("tpu")


@pytest.mark.parametrize("device", [A100, L4, H100, BLACKWELL, TPU])
def test_bfloat16_where_the_hardware_has_it(device: Any) -> None:
    assert devices.compute_dtype("auto", device) == jnp.bfloat16
    assert devices.compute_dtype("float32", device) == jnp.float32


@pytest.mark.parametrize("device", [T4, CPU])
def test_float32_elsewhere(device: Any) -> None:
    assert devices.compute_dtype("auto", device) == jnp.float32


def test_bfloat16_on_a_t4_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Tesla T4 \(compute capability 7\.5\).*float32 or auto"):
        devices.compute_dtype("bfloat16", T4)
    assert devices.compute_dtype("bfloat16", CPU) == jnp.bfloat16  # slow, but for comparison
    assert devices.compute_dtype("bfloat16", A100) == jnp.bfloat16


def test_room_for_the_replay() -> None:
    device = Fake("gpu", "8.0", stats={"bytes_limit": 10 * 2**30, "bytes_in_use": 2 * 2**30})
    assert memory.free_bytes(device) == 8 * 2**30
    memory.check_room(7 * 2**30, 1000, device)
    with pytest.raises(ValueError, match=r"1,000 steps takes 16\.0 GiB, but 8\.0.*most 450 steps"):
        memory.check_room(16 * 2**30, 1000, device)
    memory.check_room(2**60, 1000, Fake("gpu", "8.0"))  # it does not tell


def test_this_machine_tells_its_memory() -> None:
    free = memory.free_bytes(jax.devices("cpu")[0])
    assert free is not None and 2**26 < free < 2**46


@pytest.mark.parametrize(
    ("capability", "has"),
    [("gfx942", True), ("gfx90a:sramecc+:xnack-", True), ("gfx1100", True), ("gfx906", False),
     ("gfx1030", False), ("unheard-of", False), ("", False), (None, False)],
)  # fmt: skip
def test_gpus_of_other_makers_are_no_error(capability: Any, has: bool) -> None:
    """AMD's have names in place of a number; whatever is unknown computes in float32."""
    device = Fake("gpu", capability, "Another GPU")
    assert devices.compute_dtype("auto", device) == (jnp.bfloat16 if has else jnp.float32)
    assert devices.compute_dtype("float32", device) == jnp.float32
    if not has:
        with pytest.raises(ValueError, match=r"has no units for it: choose float32 or auto\.$"):
            devices.compute_dtype("bfloat16", device)
