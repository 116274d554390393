"""One run on several devices: what one device computes, only shared out."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_run
from flax import nnx
from jax.sharding import Mesh

from dreamer_lite import worlds
from dreamer_lite.__main__ import main
from dreamer_lite.agent import devices, networks
from dreamer_lite.tools import bench
from dreamer_lite.training import sharding

FOUR = {
    "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4",
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": str(small_run.ROOT),
}


def on_four_devices(words: list[str]) -> tuple[str, str, int]:
    child = small_run.start(words, **FOUR)
    out, err = child.communicate(timeout=550)
    return out, err, child.returncode


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="one agent"),
        pytest.param({"seeds": 4}, marks=pytest.mark.slow, id="four agents"),
    ],
)
def test_four_devices_compute_what_one_does(tmp_path: Path, settings: dict[str, int]) -> None:
    child = ["tests/devices_child.py", str(tmp_path / "run"), json.dumps(settings)]
    out, err, status = on_four_devices(child)
    assert status == 0, err
    found = json.loads(out)
    assert found["devices"] == 4 and found["difference"] < 1, "floats differ in the last digits"
    one, four = found["losses"]
    np.testing.assert_allclose(four, one, rtol=1e-3)
    assert len(set(one)) == len(one) > 1
    shared = (0, 0, 0) if settings else (1, 0, None)
    for (name, (whole, part)), axis in zip(found["parts"].items(), shared, strict=True):
        expected = [n // 4 if i == axis else n for i, n in enumerate(whole)]
        assert part == expected, f"{name} lies on every device as it should"
    assert found["donated"]
    once, finally_ = found["traces"]
    assert once == finally_ > 0, "compiled once"
    if not settings:
        assert found["resumed"] == [True] and found["summary"] == 4


def test_what_cannot_be_shared_out_is_refused(tmp_path: Path) -> None:
    words = ["-m", "dreamer_lite", "train", *small_run.FLAGS, "--devices", "all", "--updates", "2"]
    words += ["--run", str(tmp_path / "run"), "--set", "batch=6"]
    out, err, status = on_four_devices(words)
    assert (out, status) == ("", 2)
    assert err == (
        "dreamer-lite: 4 devices cannot share batch=6 evenly: choose multiples of 4, or "
        "--devices 1.\n"
    )


def mesh_of_one() -> Mesh:
    """A mesh of one device: what a program does differently in a mesh, without a second device."""
    return Mesh(np.array(jax.devices()[:1]), (sharding.AXIS,))


@pytest.mark.parametrize("lead", [(), (6,), (2, 3), (1, 2, 3)], ids=str)
def test_time_and_batch_as_one_axis_and_back(lead: tuple[int, ...]) -> None:
    x = jnp.arange(np.prod(lead) * 20).reshape(*lead, 4, 5)
    for mesh in (None, mesh_of_one()):
        with sharding.over(mesh):
            flat = devices.as_batch(x, lead)
            np.testing.assert_array_equal(devices.from_batch(flat, lead), x)
        if mesh is not None and len(lead) == 2:
            np.testing.assert_array_equal(flat[: lead[0]], x[:, 0])  # all of the first sequence
        else:
            np.testing.assert_array_equal(flat, x.reshape(-1, 4, 5))


def test_in_a_mesh_images_and_their_gradients_are_the_same() -> None:
    case = bench.problem("pixels-cpu", depth=4, deter=64, hidden=16, units=16)
    config, (spaces, _) = case.config, case.spaces
    rng = np.random.default_rng(0)
    encoder, decoder = networks.Encoder(spaces, config, rng), networks.Decoder(spaces, config, rng)
    image = rng.integers(0, 256, (2, 3, 64, 64, 3), np.uint8)
    deter = jnp.array(rng.normal(size=(2, 3, 64)), jnp.float32)
    stoch = jnp.array(rng.normal(size=(2, 3, config.stoch, config.classes)), jnp.float32)

    def total(networks):
        embed = networks[0]({"image": image})
        loss = networks[1](deter, stoch)["image"].loss(image)
        assert embed.shape[:2] == loss.shape[:2] == (2, 3)
        weights = jnp.arange(6.0).reshape(2, 3)  # no two images count alike
        return (weights * (embed.sum(-1) + loss)).sum(), (embed, loss)

    with sharding.over(mesh_of_one()):
        spread = nnx.value_and_grad(total, has_aux=True)([encoder, decoder])
    plain = nnx.value_and_grad(total, has_aux=True)([encoder, decoder])
    for a, b in zip(jax.tree.leaves(spread), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(jnp.abs(b).max()))


def test_one_device_is_no_mesh(capsys: pytest.CaptureFixture) -> None:
    assert sharding.make_mesh(small_run.config(batch=3, worlds=7)) is None
    assert main(["train", "--world", "catch", "--devices", "2"]) == 2
    assert "invalid choice: '2'" in capsys.readouterr().err
    assert not worlds.is_hosted(worlds.make("catch"))
