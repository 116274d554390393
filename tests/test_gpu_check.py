"""Compiling for cards that are not here: what is counted, what is refused, and the real thing."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
import small_run

from dreamer_lite import worlds
from dreamer_lite.agent import devices
from dreamer_lite.course import planner
from dreamer_lite.tools import bench, gpu_cards, gpu_check, launches
from dreamer_lite.tools.gpu_check import Compiled, Result

# As XLA writes it for a T4, shortened: a loop of 5 turns in a loop whose turns are not known.
HLO = """HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[4]{0})->f32[4]{0}}

%fused_tanh (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %tanh.1 = f32[4]{0} tanh(%p)
}

%inner_body.1 (a: (s32[], f32[4])) -> (s32[], f32[4]) {
  %a = (s32[], /*index=1*/f32[4]{0}) parameter(0)
  %x = f32[4]{0} get-tuple-element(%a), index=1
  %tanh.2 = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused_tanh
  %gemm = (f32[4]{0}, s8[64]{0}) custom-call(%tanh.2), custom_call_target="__cublas$gemm"
  ROOT %t = (s32[], f32[4]{0}) tuple(%i, %y)
}

%inner_condition (a: (s32[], f32[4])) -> pred[] {
  ROOT %less = pred[] fusion(%i), kind=kLoop, calls=%compare
}

%branch_small (b: f32[4]) -> f32[4] {
  ROOT %copy.1 = f32[4]{0} copy(%b)
}

%branch_large (b: f32[4]) -> f32[4] {
  %copy.2 = f32[4]{0} copy(%b)
  ROOT %copy.3 = f32[4]{0} copy(%copy.2)
}

%outer_body (a: (s32[], f32[4])) -> (s32[], f32[4]) {
  %w = (s32[], f32[4]{0}) while(%a), condition=%inner_condition, body=%inner_body.1, KNOWN
  %c = f32[4]{0} conditional(%i, %x, %x), branch_computations={%branch_small, %branch_large}
  ROOT %t = (s32[], f32[4]{0}) tuple(%i, %c)
}

%outer_condition (a: (s32[], f32[4])) -> pred[] {
  ROOT %less.1 = pred[] fusion(%i), kind=kLoop, calls=%compare
}

ENTRY %main.5 (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %start = (s32[], f32[4]{0}) tuple(%zero, %x)
  %while.1 = (s32[], f32[4]{0}) while(%start), condition=%outer_condition, body=%outer_body
  ROOT %out = f32[4]{0} get-tuple-element(%while.1), index=1
}
""".replace("KNOWN", 'backend_config={"known_trip_count":{"n":"5"}}')


def test_launches_by_hand() -> None:
    """Of one outer turn: 5 times two in the inner loop, the larger branch, the outer condition."""
    found = launches.count(HLO)
    assert found.kinds == {"fusion": 5 + 1, "__cublas$gemm": 5, "copy": 2}
    assert found.total == 13
    assert found.loops == [launches.Loop(None, 13), launches.Loop(5, 10)]
    assert not found.is_complete
    known = HLO.replace(
        "body=%outer_body\n", 'body=%outer_body, backend_config={"known_trip_count":{"n":"3"}}\n'
    )
    found = launches.count(known)
    assert found.is_complete and found.total == 3 * 12, "no kernel has to compare any more"


def test_a_text_of_something_else() -> None:
    with pytest.raises(ValueError, match=r"^This is no text of an HLO module: it has no ENTRY"):
        launches.count("hello")


def test_a_program_compiled_here_launches_more_in_a_longer_loop() -> None:
    """The whole path from a function to its launches, with this machine's CPU as the device."""

    def compiled(turns: int) -> Compiled:
        def step(x, y):
            return jax.lax.scan(lambda x, _: (jnp.tanh(x @ y), None), x, None, turns)[0]

        x = jax.ShapeDtypeStruct((64, 64), jnp.float32)
        return gpu_check.compile_step(step, (x, x), jax.devices()[0])

    short, long, size = compiled(20), compiled(40), 4 * 64 * 64
    assert (20, 40) == (short.launches.loops[0].turns, long.launches.loops[0].turns)
    assert long.launches.total - short.launches.total == short.launches.loops[0].launches > 0
    assert 2 * size <= short.held < 8 * size and short.temporary < short.held


def result(held: int) -> Result:
    found = launches.count(HLO)
    programs = {name: Compiled(held, 10**9, found) for name in ("update", "acting")}
    return Result("walker 1m", "T4", "float32", 4, 10**7, 2 * 10**9, programs)


def test_a_preset_that_does_not_fit_says_so() -> None:
    assert result(11 * 10**9).complaint == ""
    assert result(12 * 10**9).complaint == (
        "walker 1m does not fit into the memory of a T4: it needs 12.0 GB, of which 2.0 GB are "
        "replay, and JAX takes 11.9 GB of 15.8 GB."
    )
    cells = result(6 * 10**9).row().strip("| ").split(" | ")
    assert cells == [
        *("walker 1m", "T4", "float32", "10 MB", "2,000 MB", "1,000 MB", "51 %", "13", "13"),
        "3.25",
    ]
    assert len(cells) == gpu_check.HEAD.splitlines()[0].count(" | ") + 1


@pytest.fixture(autouse=True)
def nothing_is_cached() -> Iterator[None]:
    """A program that comes from the cache leaves no text to count in."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = jax.config.values[name]
    jax.config.update(name, 1e9)
    yield
    jax.config.update(name, before)


@pytest.fixture
def cpu_as_t4(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU stands for the absent card, whose memory is small."""
    monkeypatch.setattr(gpu_check, "absent_device", lambda card: jax.devices()[0])
    small = gpu_cards.CARDS["T4"]._replace(memory=10_000_000)
    monkeypatch.setitem(gpu_cards.CARDS, "T4", small)
    whole = gpu_check.make_config
    monkeypatch.setattr(
        gpu_check, "make_config", lambda world, size: whole(world, size, **small_run.SETTINGS)
    )


def test_the_table_and_its_failure(cpu_as_t4: None, capsys, monkeypatch) -> None:
    """A run of Catch fits into 7.5 MB of a card, and not into 75 kB."""
    assert gpu_check.main(["catch", "--card", "T4"]) == 0
    out, _ = capsys.readouterr()
    head, rule, row = out.splitlines()
    assert head.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| catch | T4 | float32 | ")
    tiny = gpu_cards.CARDS["T4"]._replace(memory=100_000)
    monkeypatch.setitem(gpu_cards.CARDS, "T4", tiny)
    monkeypatch.setattr(gpu_check, "compile_step", lambda *_: result(10**6).programs["update"])
    assert gpu_check.main(["catch", "--card", "T4"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("catch does not fit into the memory of a T4: it needs 0.0 GB")


def test_a_program_that_does_not_compile(cpu_as_t4: None, capsys, monkeypatch) -> None:
    def refuse(*_):
        raise RuntimeError("UNIMPLEMENTED: no such kernel\nand a stack")

    monkeypatch.setattr(gpu_check, "compile_step", refuse)
    assert gpu_check.main(["catch", "--card", "T4"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == (
        "catch: the program 'update' does not compile for a T4: UNIMPLEMENTED: no such kernel"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--card", "T5"], "Unknown card 'T5'. Valid: A100, L4, T4."),
        (["--card", "T4", "chess"], "Unknown preset 'chess'. Valid: catch, "),
    ],
)
def test_bad_use(words: list[str], sentence: str, capsys, monkeypatch) -> None:
    monkeypatch.setattr(gpu_cards.topologies, "get_topology_desc", lambda **_: fake_topology())
    monkeypatch.setenv("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    assert gpu_check.main(words) == 2
    out, error = capsys.readouterr()
    assert sentence in error and error.count("\n") == 1 and out == ""


def fake_topology() -> SimpleNamespace:
    return SimpleNamespace(devices=[SimpleNamespace(platform="gpu", compute_capability="7.5")])


def test_no_compiler_for_cards(capsys, monkeypatch) -> None:
    """As in the tests' own environment."""
    monkeypatch.setenv("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")

    def missing(**_):
        raise NotImplementedError("Unknown platform cuda")

    monkeypatch.setattr(gpu_cards.topologies, "get_topology_desc", missing)
    assert gpu_check.main(["--card", "T4"]) == 2
    error = capsys.readouterr().err
    assert "JAX has no compiler for NVIDIA cards here: `make gpu-check` installs it" in error


def test_what_the_course_runs_on_a_gpu_is_checked() -> None:
    """The size that notebook 09 tries first, and every environment written in JAX."""
    configs = [bench.problem(preset).config for preset in gpu_check.COURSE]
    checked = {(config.world, config.size) for config in configs}
    names = [config.world for config in configs]
    assert {(name, planner.sizes(name, "gpu")[0]) for name in names} <= checked
    assert {name.split("/")[0] for name in worlds.names()} <= {x.split("/")[0] for x in names}


def test_a_program_is_made_for_the_card_and_not_for_this_cpu() -> None:
    t4 = SimpleNamespace(platform="gpu", compute_capability="7.5", device_kind="Tesla T4")
    l4 = SimpleNamespace(platform="gpu", compute_capability="8.9", device_kind="NVIDIA L4")
    for device, dtype in ((t4, jnp.float32), (l4, jnp.bfloat16)):
        with devices.compiling_for(device):
            assert devices.first() is device and devices.compute_dtype("auto") == dtype
    assert devices.first() is jax.devices()[0]
    with pytest.raises(KeyError), devices.compiling_for(t4):
        raise KeyError
    assert devices.first() is jax.devices()[0], "also after an error"


def test_the_compiler_is_that_of_colab() -> None:
    text = (small_run.ROOT / "tests" / "gpu-requirements.txt").read_text(encoding="utf-8")
    colab = (small_run.ROOT / "tests" / "colab-constraints.txt").read_text(encoding="utf-8")
    assert "jax==" in colab and "://" not in text
    version = colab.split("\njax==")[1].split()[0]
    assert f"\njax-cuda12-plugin=={version}\n" in text and "\n-c colab-constraints.txt\n" in text


PYTHON = Path(os.environ.get("DREAMER_LITE_GPU", small_run.ROOT / ".venv/gpu/bin/python"))


@pytest.mark.slow
def test_breakout_compiles_for_a_t4() -> None:
    """Its launches are those of assets/speed.md, and no more than our goal."""
    if shutil.which(str(PYTHON)) is None:
        pytest.skip(f"there is no {PYTHON}: `make gpu-check` makes it")
    command = [str(PYTHON), "-m", "dreamer_lite.tools.gpu_check", "--card", "T4"]
    done = subprocess.run(
        [*command, "minatar/breakout"], cwd=small_run.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    row = done.stdout.splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("| ").split("|")]
    assert cells[:3] == ["minatar/breakout", "T4", "float32"]
    table = (small_run.ROOT / "assets" / "speed.md").read_text(encoding="utf-8")
    (written,) = (
        x for x in table.splitlines() if x.startswith("| `minatar/breakout tiny` | 2,048")
    )
    *_, counted, goal = (int(x.replace(",", "")) for x in written.strip("| ").split(" | ")[1:])
    launches = int(cells[7].replace(",", ""))
    assert launches == pytest.approx(counted, rel=0.02) and launches <= goal
