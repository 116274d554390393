"""What every test runs under: the CPU, a compilation cache between runs, and --verification."""

import os
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported; child processes inherit it

import jax
import pytest
import small_run
from verification import pytest_addoption, pytest_configure  # noqa: F401

from dreamer_lite import runs, worlds
from dreamer_lite.training import Driver, make_driver

ROOT = Path(__file__).resolve().parents[1]

# Only this process: a test that kills a child must not leave half a file in the shared cache.
CACHE = ROOT / ".pytest_cache" / "jax" / runs.instruction_set()
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="module")
def driver() -> Driver:
    """The loop of the small run, compiled once for all tests of a file."""
    return make_driver(small_run.config(), worlds.make("catch"))


@pytest.fixture
def same_driver(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are driven by the file's own `driver`, which need not be compiled again."""
    monkeypatch.setattr(runs, "make_driver", lambda *_: driver)
