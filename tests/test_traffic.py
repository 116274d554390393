"""The model of what devices exchange, on hand-computed cases and beside the compiled program."""

import json
import os

import pytest
import small_run

from dreamer_lite.__main__ import main
from dreamer_lite.tools import traffic


def test_a_ring_and_its_efficiency() -> None:
    assert traffic.seconds(1.25e9, "10 Gbit/s", 1) == 0
    assert traffic.seconds(1.25e9, "10 Gbit/s", 2) == 1
    assert traffic.seconds(1.25e9, "10 Gbit/s", 4) == 1.5
    assert traffic.efficiency(2.0, 1.25e9, "10 Gbit/s", 2) == 0.5
    assert traffic.efficiency(2.0, 1.25e9, "10 Gbit/s", 1) == 1


def test_the_command_lists_every_size(capsys: pytest.CaptureFixture) -> None:
    assert main(["bench", "--devices", "walker", "catch tiny", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    sizes = {x["size"]: x for x in found["walker"]}
    assert sizes["1m"]["parameters"] == 640_867 and sizes["1m"]["length"] == 64
    one = sizes["1m"]
    assert one["bytes_per_update"] == 4 * (one["parameters"] + 63 * one["of_a_step"])
    assert one["bytes_summed_once"] == 4 * one["parameters"]
    assert 0 < one["of_a_step"] < one["parameters"]
    assert [x["size"] for x in found["catch tiny"]] == ["tiny"]
    assert main(["bench", "--devices", "walker 1m"]) == 0
    assert "1m              640,867" in capsys.readouterr().out
    assert main(["bench", "--devices", "walker 2m"]) == 2


def on_two_devices(what: str) -> dict:
    """What tests/traffic_child.py finds in a compiled update."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = {"XLA_FLAGS": flags, "PYTHONPATH": str(small_run.ROOT)}
    child = small_run.start(["tests/traffic_child.py", what], **environment)
    out, err = child.communicate(timeout=900)
    assert child.returncode == 0, err
    found = json.loads(out)
    assert found["devices"] == 2
    return found


@pytest.mark.slow
def test_the_compiled_program_sums_the_same_in_its_loops() -> None:
    found = on_two_devices("summed")
    assert found["in_loops"] == found["model"] > 0


@pytest.mark.parametrize("preset", ["pixels-cpu", pytest.param("pong 1m", marks=pytest.mark.slow)])
def test_images_and_activations_stay_on_their_device(preset: str) -> None:
    """Patches and convolutions, in the forms for accelerators: what the replay stores moves."""
    found = on_two_devices(preset)
    assert 0 < sum(found["gathered"].values()) < found["pixels"] / 20, found["gathered"]
