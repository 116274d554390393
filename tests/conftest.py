"""What every test runs under: the CPU, a compilation cache between runs, and --verification."""

import contextlib
import ctypes
import gc
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported; child processes inherit it

import jax
import pytest
import small_run
from verification import pytest_addoption, pytest_configure  # noqa: F401

from dreamer_lite import worlds
from dreamer_lite.course import curves
from dreamer_lite.runs import process
from dreamer_lite.runs import run as runs
from dreamer_lite.training import memory
from dreamer_lite.training.loop import Driver, make_driver

ROOT = Path(__file__).resolve().parents[1]

# Only this process: a test that kills a child must not leave half a file in the shared cache.
CACHE = ROOT / ".pytest_cache" / "jax" / process.instruction_set()
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


PROCESS = 3e9  # bytes that a process of the tests takes at most, with those that it starts


def pytest_xdist_auto_num_workers() -> int:
    """How many processes `-n auto` means: one a core, as many as fit into the free memory."""
    free = memory.free_bytes()
    return min(curves.cores(), max(1, int(free / PROCESS)) if free else 1)


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs() -> Iterator[None]:
    """Programs that one file has compiled are of no use to the next, and fill the memory."""
    yield
    jax.clear_caches()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # of glibc: hands free pages back
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(autouse=True)
def no_parts(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody's my_dreamer.py is read or written: each test has a folder of its own for it."""
    folder = tmp_path_factory.getbasetemp() / "parts" / uuid.uuid4().hex  # made by who writes there
    monkeypatch.setenv("DREAMER_LITE_PARTS", str(folder))
    return folder


@pytest.fixture(scope="module")
def driver() -> Driver:
    """The loop of the small run, compiled once for all tests of a file."""
    return make_driver(small_run.config(), worlds.make("catch"))


@pytest.fixture
def same_driver(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are driven by the file's own `driver`, which need not be compiled again."""
    monkeypatch.setattr(runs, "make_driver", lambda *_: driver)
