"""Memory that a process frees stays with it: the next call needs no new pages."""

import os
import platform
import subprocess
import sys

import pytest

# Each call has matrices of 16 MB as intermediate results. It is long enough that JAX computes it in
# a thread of its own, as an update of Atari.
PROGRAM = """
import resource
from dreamer_lite import heap
{keep}
import jax, jax.numpy as jnp
call = jax.jit(lambda x: jnp.sort(jnp.outer(x, x) @ jnp.outer(x, x), 0).sum())
x = jnp.ones(2048)
call(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    call(x).block_until_ready()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 5)
"""
GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")


def new_pages(keep: str, **variables: str) -> float:
    """Pages that the kernel hands out during a call, in a new process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(keep=keep)],
        env=kept | variables,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return float(done.stdout)


@GLIBC
def test_a_second_call_needs_no_new_pages() -> None:
    without, kept = new_pages(""), new_pages("heap.keep_freed_memory()")
    assert without > 1000 > 20 > kept, (without, kept)


@GLIBC
def test_settings_of_the_user_are_kept() -> None:
    kept = new_pages("heap.keep_freed_memory()", MALLOC_ARENA_MAX="8")
    assert kept > 1000


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from dreamer_lite import heap

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))  # as on macOS and Windows
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: pytest.fail("it was asked"))
    heap.keep_freed_memory()
