"""How a GPU is used: what is decided for which card, and `train --deterministic`; without a GPU."""

import os
from pathlib import Path
from typing import Any

import jax
import pytest
import small_run
from test_devices import A100, CPU, L4, T4, TPU, Fake

from dreamer_lite.__main__ import main
from dreamer_lite.agent import devices
from dreamer_lite.tools import doctor
from dreamer_lite.training import gpu_settings


def decided(device: Any, **environment: str) -> dict[str, str]:
    """Values by name; each has a reason."""
    found = gpu_settings.decide(device, environment)
    assert all(setting.reason for setting in found)
    return {setting.name: setting.value for setting in found}


def test_memory_is_taken_at_the_start_unless_told_otherwise() -> None:
    assert decided(T4)["memory"] == "a fraction of 0.75 is taken at the start"
    asked = decided(T4, XLA_PYTHON_CLIENT_PREALLOCATE="false")
    assert asked["memory"] == "taken as it is needed"
    for name in ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        assert decided(T4, **{name: ".45"})["memory"] == "a fraction of .45 is taken at the start"


def test_float32_is_exact_where_it_is_asked_for() -> None:
    """Ampere and later round the factors of float32 products to TF32 by default."""
    amd = Fake("gpu", "gfx942", "Instinct MI300X")
    assert [devices.has_tf32(x) for x in (A100, L4, T4, CPU, TPU, amd)] == [True] * 2 + [False] * 4
    assert decided(A100)["float32 products"].startswith("in TF32; exact with `train --set")
    assert decided(T4)["float32 products"] == decided(amd)["float32 products"] == "exact"
    asked = gpu_settings.matmul_precision
    assert asked("float32", A100) == asked("float32", L4) == "highest"
    assert asked("auto", A100) is asked("bfloat16", A100) is asked("float32", T4) is None
    assert asked("float32", CPU) is asked("float32", TPU) is asked("float32", amd) is None


@pytest.fixture
def precision() -> Any:
    """JAX's setting, put back afterwards."""
    before = jax.config.values["jax_default_matmul_precision"]
    yield lambda: jax.config.values["jax_default_matmul_precision"]
    jax.config.update("jax_default_matmul_precision", before)


def test_jax_is_told_the_precision(precision: Any) -> None:
    with devices.compiling_for(A100):
        gpu_settings.use_precision("auto")
        assert precision() is None
        jax.config.update("jax_default_matmul_precision", "bfloat16")
        gpu_settings.use_precision("float32")
        assert precision() == "bfloat16", "what the user said stays"
        jax.config.update("jax_default_matmul_precision", None)
        gpu_settings.use_precision("float32")
        assert precision() == "highest"


def test_the_flags_are_shown() -> None:
    name = "XLA's flags"
    assert decided(T4)[name] == "none"
    flags = "--xla_cpu_use_xnnpack=false --xla_gpu_autotune_level=0"
    assert decided(T4, XLA_FLAGS=flags)[name] == "--xla_gpu_autotune_level=0"
    with_ours = f"{flags} {gpu_settings.DETERMINISTIC}"
    (setting,) = (s for s in gpu_settings.decide(T4, {"XLA_FLAGS": with_ours}) if s.name == name)
    assert "bit-equal" in setting.reason and "--deterministic" not in setting.reason


def test_the_doctor_prints_them() -> None:
    with devices.compiling_for(L4):
        lines = [finding.found for finding in doctor.gpu()]
    assert len(lines) == 4 and lines[0].startswith("memory: a fraction of 0.75")
    assert all(line.endswith(")") for line in lines)
    (finding,) = doctor.gpu()
    assert finding.good and "none" in finding.found


# --deterministic


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_use_xnnpack=false")
    return lambda: os.environ["XLA_FLAGS"]


@pytest.mark.parametrize("started", [True, False])
def test_deterministic_without_a_gpu_is_refused(
    started: bool, flags: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu_settings.xla_bridge, "backends_are_initialized", lambda: started)
    words = ["train", *small_run.FLAGS, "--updates", "1", "--run", str(tmp_path / "run")]
    assert main([*words, "--deterministic"]) == 2
    error = capsys.readouterr().err
    assert "--deterministic is for GPUs, but JAX computes on a CPU here: leave it out." in error
    assert error.count("\n") == 1 and not (tmp_path / "run").exists()
    assert flags() == "--xla_cpu_use_xnnpack=false", "as it was"


def test_deterministic_adds_xlas_flag_before_jax_starts(
    flags: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = f"--xla_cpu_use_xnnpack=false {gpu_settings.DETERMINISTIC}"
    seen = []
    bridge = gpu_settings.xla_bridge
    monkeypatch.setattr(bridge, "backends_are_initialized", lambda: False)
    monkeypatch.setattr(devices, "first", lambda: seen.append(flags()) or T4)
    gpu_settings.be_deterministic()
    gpu_settings.be_deterministic()
    assert seen == [both] * 2 and flags() == both, "once, and before JAX is asked for devices"


def test_deterministic_after_jax_has_started(flags: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    jax.devices()
    assert gpu_settings.xla_bridge.backends_are_initialized()
    with devices.compiling_for(T4):
        with pytest.raises(ValueError, match=r"too late, because JAX has started its devices: set"):
            gpu_settings.be_deterministic()
        assert flags() == "--xla_cpu_use_xnnpack=false"
        monkeypatch.setenv("XLA_FLAGS", gpu_settings.DETERMINISTIC)
        gpu_settings.be_deterministic()  # was set in time
