"""Memory in large pages: the kernel clears fewer pages for each call of a compiled program."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dreamer_lite import heap

# Each call has matrices of 16 MB as intermediate results. It is long enough that JAX computes it in
# a thread of its own, as an update of Atari.
PROGRAM = """
import resource, sys
from dreamer_lite import heap
heap.use_large_pages()
import jax, jax.numpy as jnp
call = jax.jit(lambda x: jnp.sort(jnp.outer(x, x) @ jnp.outer(x, x), 0).sum())
x = jnp.ones(2048)
call(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    call(x).block_until_ready()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 3, *sys.argv[1:])
"""
ON_DEMAND = pytest.mark.skipif(
    not heap.asking_helps() or platform.libc_ver()[0] != "glibc",
    reason="only some kernels give large pages on demand, and only glibc asks",
)


def run(program: str, *arguments: str, tunables: str = "") -> str:
    """What a new process prints."""
    clean = {name: value for name, value in os.environ.items() if name != heap.TUNABLES}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=clean | ({heap.TUNABLES: tunables} if tunables else {}),
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout


@ON_DEMAND
def test_a_call_needs_few_new_pages() -> None:
    pages, *arguments = run(PROGRAM, "a b", "c").split()
    assert float(pages) < 1000
    assert arguments == ["a", "b", "c"]  # the program that was started again has them


@ON_DEMAND
def test_settings_of_the_user_are_kept() -> None:
    (pages,) = run(PROGRAM, tunables="glibc.malloc.hugetlb=0").split()
    assert float(pages) > 4000  # so the calls above would need as many


@ON_DEMAND
def test_commands_have_them() -> None:
    program = (
        "import os; from dreamer_lite.commands import main as command;"
        "command.main = lambda: print(os.environ['GLIBC_TUNABLES']) or 0; command.entry()"
    )
    assert run(program) == f"{heap.LARGE_PAGES}\n"


def test_make_lab_gives_them_to_kernels() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    assert f"\nPAGES := {heap.TUNABLES}={heap.LARGE_PAGES}\n" in makefile
    assert re.search(r"^lab:.*\n(\t.*\n)*\t@\$\(PAGES\) .* -m jupyterlab", makefile, re.M)


@pytest.mark.parametrize(
    ("mode", "library"), [("always [never]", "glibc"), (None, "glibc"), ("[madvise] never", "")]
)
def test_elsewhere_the_program_goes_on(mode, library, tmp_path, monkeypatch) -> None:
    file = tmp_path / "enabled"
    if mode:
        file.write_text(mode, encoding="utf-8")
    monkeypatch.setattr(heap, "MODE", file)
    monkeypatch.setattr(platform, "libc_ver", lambda: (library, ""))  # as on macOS and Windows
    monkeypatch.delenv(heap.TUNABLES, raising=False)
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("it was started again"))
    heap.use_large_pages()
    assert heap.TUNABLES not in os.environ


def test_goes_on_where_it_cannot_be_started_again(tmp_path, monkeypatch) -> None:
    file = tmp_path / "enabled"
    file.write_text("always [madvise] never", encoding="utf-8")
    monkeypatch.setattr(heap, "MODE", file)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setenv(heap.TUNABLES, "")
    monkeypatch.delenv(heap.TUNABLES)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    heap.use_large_pages()
