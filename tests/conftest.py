"""What every test runs under: the CPU, a compilation cache between runs, and --verification."""

import os
import platform
import zlib
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported; child processes inherit it

import jax
import pytest
import small_run
from verification import pytest_addoption, pytest_configure  # noqa: F401

from dreamer_lite import runs, worlds
from dreamer_lite.training import Driver, make_driver

ROOT = Path(__file__).resolve().parents[1]


def processor() -> str:
    """A name that differs between processors whose compiled code must not be shared."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text().partition("flags")[2].partition("\n")[0] if info.exists() else ""
    return f"{platform.machine()}-{zlib.crc32(flags.encode()):08x}"


# Only this process: a test that kills a child must not leave half a file in the shared cache.
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".pytest_cache" / "jax" / processor()))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="module")
def driver() -> Driver:
    """The loop of the small run, compiled once for all tests of a file."""
    return make_driver(small_run.config(), worlds.make("catch"))


@pytest.fixture
def same_driver(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are driven by the file's own `driver`, which need not be compiled again."""
    monkeypatch.setattr(runs, "make_driver", lambda *_: driver)
