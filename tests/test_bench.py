"""The bench: its count of arithmetic on hand-computed cases, presets, parts, and its command."""

import functools
import json
import subprocess
import sys
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_lite.__main__ import main
from dreamer_lite.agent import learner as learning
from dreamer_lite.tools import bench, growth, profile
from dreamer_lite.tools import flops as arithmetic
from dreamer_lite.tools.flops import Product


def counted(function: Any, *shapes: tuple[int, ...]) -> Counter[Product]:
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return arithmetic.products(jax.make_jaxpr(function)(*args).jaxpr)


def test_products_of_matrices() -> None:
    assert counted(jnp.matmul, (2, 3), (3, 5)) == {Product(1, 2, 3, 5): 1}
    assert Product(1, 2, 3, 5).flops == 60
    assert counted(jnp.matmul, (7, 2, 3), (7, 3, 5)) == {Product(7, 2, 3, 5): 1}
    found = counted(lambda x, w: jnp.einsum("abi,io->abo", x, w), (7, 2, 3), (3, 5))
    assert arithmetic.flops(found) == 2 * 7 * 2 * 3 * 5


def test_a_gradient_has_two_products_more() -> None:
    found = counted(jax.grad(lambda x, w: jnp.sum((x @ w) ** 2), (0, 1)), (2, 3), (3, 5))
    assert arithmetic.flops(found) == 3 * 60


def test_a_scan_counts_each_step_and_nested_ones_multiply() -> None:
    def steps(x, w, length):
        return jax.lax.scan(lambda x, _: (x @ w, None), x, None, length=length)[0]

    assert counted(lambda x, w: steps(x, w, 11), (2, 3), (3, 3)) == {Product(1, 2, 3, 3): 11}

    def nested(x, w):
        return jax.lax.scan(lambda x, _: (steps(x, w, 11), None), x, None, length=4)[0]

    assert counted(jax.jit(nested), (2, 3), (3, 3)) == {Product(1, 2, 3, 3): 44}


def test_a_convolution_is_the_product_of_all_patches_with_the_kernel() -> None:
    def convolve(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)

    found = counted(convolve, (2, 6, 8, 3), (5, 5, 3, 7))
    assert found == {Product(1, 2 * 6 * 8, 5 * 5 * 3, 7): 1}


SMALL: dict[str, Any] = dict(
    deter=8, hidden=4, units=4, bins=15, stoch=2, classes=3, batch=2, length=4, starts=2, horizon=3,
    encoder_layers=1, decoder_layers=1, prior_layers=1, policy_layers=1, value_layers=1,
)  # fmt: skip


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> bench.Problem:
    case = bench.problem("catch tiny", **SMALL)
    for module in (bench, profile):
        monkeypatch.setattr(module, "problem", lambda preset, **_: case)
    return case


def test_presets_are_what_they_say() -> None:
    walker = bench.problem("walker 1m")
    config = walker.config
    assert (config.size, config.batch, config.length, config.horizon) == ("1m", 16, 64, 15)
    assert {key: space.shape for key, space in walker.world.obs_space.items()} == {
        "height": (), "orientations": (14,), "velocity": (9,),
    }  # fmt: skip
    assert walker.world.action_space.shape == (6,)
    pong, pixels = bench.problem("pong 1m"), bench.problem("pixels-cpu")
    assert pong.spaces == pixels.spaces == (bench.PIXELS, bench.Space((), "int32", 6))
    assert (pong.config.image_net, pixels.config.image_net) == ("conv", "patch")
    assert bench.problem("minatar/breakout").config.size == "tiny"
    assert bench.problem("catch 12m").config.deter == 2048


@pytest.mark.parametrize("preset", ["walker 1m", "pixels-cpu", "minatar/breakout tiny"])
def test_a_made_up_batch_fits_the_learner(preset: str) -> None:
    case = bench.problem(preset)
    batch, config = bench.made_up_batch(case), case.config
    for key, space in case.world.obs_space.items():
        assert batch.obs[key].shape == (config.length, config.batch, *space.shape)
        assert batch.obs[key].dtype == space.dtype
        assert np.asarray(batch.obs[key]).std() > 0
    learner = bench.make_learner(config, *case.spaces)
    state = learning.init(learner, 0)
    update = functools.partial(learning.update, learner)
    after, _ = jax.eval_shape(update, state, batch, jax.random.key(0))
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)


def test_words_become_presets() -> None:
    words = ["walker 1m", "catch", "pong", "1m", "pixels-cpu"]
    assert bench.split_presets(words) == ["walker 1m", "catch", "pong 1m", "pixels-cpu"]
    assert bench.split_presets([]) == []
    quoted = ["road_runner pixels-cpu", "walker", "1m"]
    assert bench.split_presets(quoted) == ["road_runner pixels-cpu", "walker 1m"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["brekout"], "Unknown preset 'brekout'"),
        (["catch", "2m"], "Unknown preset '2m'"),
        (["1m"], "'1m' is a size: name a world before it"),
        (["catch", "--growth", "x.jpg"], "dreamer-lite: x.jpg must end in .png or .svg"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(words, sentence, capsys) -> None:
    assert main(["bench", *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said and len(said.splitlines()) == 1


def test_updates_are_counted_and_timed(small: bench.Problem) -> None:
    update = bench.compile_update(small)
    assert len(update.times(3)) == 3 == len(update.times(3))  # the state is not used up
    assert min(update.times(3)) > 0 and update.bytes > 0
    dreamt = small.config.horizon * small.config.batch * small.config.starts
    assert any(product.rows == dreamt for product in update.products)
    assert arithmetic.matmul_rate(Counter({Product(1, 64, 64, 64): 3})) > 0


def test_the_rate_weighs_each_shape_by_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = Product(1, 1, 1, 50), Product(1, 10, 10, 10)
    seconds = {slow: 2.0, fast: 5.0}
    monkeypatch.setattr(arithmetic, "_seconds_of", seconds.__getitem__)
    found = Counter({slow: 3, fast: 1})
    assert arithmetic.flops(found) == 3 * 100 + 2000
    assert arithmetic.matmul_rate(found) == pytest.approx(2300 / (3 * 2 + 5))


def test_parts_do_what_the_update_does(small: bench.Problem) -> None:
    """The parts' losses are those of the whole loss, on the same batch and parameters."""
    learner = bench.make_learner(small.config, *small.spaces)
    state, batch = learning.init(learner, 0), bench.made_up_batch(small)
    total, out = jax.jit(
        lambda: learning.loss(state.params, learner, state, batch, jax.random.key(0))
    )()
    found = {name: jax.jit(forward)(*args) for name, forward, args in profile.parts(small)}
    recon, losses, *_ = found["world model"]
    assert {*recon, *losses, "policy", "value", "replay_value"} == out.losses.keys()
    np.testing.assert_allclose(found["all losses"], total, rtol=1e-5)
    assert found["imagine"][0].deter.shape == (4, 4, 8)
    assert found["replay value"].shape == (1, 2)


def test_the_command_prints_the_agreed_keys(small, capsys, monkeypatch) -> None:
    report = {"first_update_seconds": 3.0, "agent_steps_per_second": 5.0, "peak_memory_mb": 7.0}
    monkeypatch.setattr(bench, "first_update", lambda preset, cache: report)
    monkeypatch.setattr(arithmetic, "_seconds_of", lambda product: 1e-6)
    assert main(["bench", "catch", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["preset"] == "catch"
    for key in (
        "seconds_per_update", "updates_per_second", "share_of_matmul",
        "first_update_cold_seconds", "first_update_cached_seconds", "peak_memory_mb",
        "agent_steps_per_second", "flops_per_update", "matmul_gflops",
    ):  # fmt: skip
        assert found[key] > 0, key
    rate = found["flops_per_update"] / found["seconds_per_update"]
    assert found["share_of_matmul"] == pytest.approx(rate / (1e9 * found["matmul_gflops"]))


def test_the_profile_adds_up(monkeypatch: pytest.MonkeyPatch, small: bench.Problem) -> None:
    """Differences are taken so that the parts sum to what was measured."""
    monkeypatch.setattr(profile, "_seconds", lambda function, args: 1.0)
    monkeypatch.setattr(bench.Update, "times", lambda self, trials: [8.0] * trials)
    monkeypatch.setattr(
        profile,
        "compile_update",
        lambda case: bench.Update(*[None] * 5),  # pyright: ignore
    )
    table = profile.profile("catch", lambda text: None)
    assert sum(seconds for _, seconds, _ in table[:-1]) == 2.0  # all losses, and the step
    assert table[-1] == ("the whole update", 8.0, 8.0)
    assert "25%" in profile.in_words(table).splitlines()[-3]


def test_growth_doubles_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def compiled(case):
        asked.append(case.config)
        return bench.Update(*[None] * 4, 10**6)  # pyright: ignore

    monkeypatch.setattr(growth, "compile_update", compiled)
    monkeypatch.setattr(bench.Update, "times", lambda self, trials: [0.25] * trials)
    found = growth.growth("minatar/breakout tiny", lambda text: None)
    assert {name: list(points) for name, points in found.items()} == {
        "batch": [64, 128, 256, 512], "horizon": [5, 10, 20, 40], "starts": [2, 4, 8, 16],
    }  # fmt: skip
    assert [c.horizon for c in asked[4:8]] == [5, 10, 20, 40]
    assert found["starts"][16] == (0.25, 1.0)
    assert len(growth.plot(found, "breakout").axes) == 3
    assert "16: 250.0 ms, 1 MB" in growth.in_words(found)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_the_memory_of_a_process_is_its_own():
    """getrusage would count what the process held that started it."""
    held = b"x" * 800_000_000
    code = "from dreamer_lite.tools.bench import peak_memory as f; x = f(); y = b'x' * 10**8"
    command = [sys.executable, "-c", f"{code}; print(x, f())"]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    before, after = map(float, said.split())
    assert before < 600 and len(held) == 800_000_000
    assert 80 < after - before < 140
