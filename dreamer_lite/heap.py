"""Large pages for the memory of a process; see `use_large_pages`."""

import contextlib
import os
import platform
import sys
from pathlib import Path

TUNABLES = "GLIBC_TUNABLES"  # settings of the C library, which reads them when a process starts
LARGE_PAGES = "glibc.malloc.hugetlb=1"
MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def use_large_pages() -> None:
    """Start the program of this process again, with memory in pages of 2 MB instead of 4 kB.

    On a CPU, each call of a compiled program takes memory for its intermediate results and gives it
    back. The kernel clears every page of it anew, and with small pages that is a sixth of the time
    of an update of Atari at `pixels-cpu` (assets/speed.md). Some kernels give large pages to those
    that ask, and glibc asks if a variable says so when a process starts. So call this first of all.

    Returns where the kernel's mode or the C library is another one, and in the new program.
    """
    if platform.libc_ver()[0] == "glibc" and TUNABLES not in os.environ and asking_helps():
        os.environ[TUNABLES] = LARGE_PAGES
        with contextlib.suppress(OSError):  # the program goes on as it is
            os.execv(sys.executable, sys.orig_argv)


def asking_helps() -> bool:
    """Whether the kernel gives large pages to those that ask, and only to them."""
    with contextlib.suppress(OSError):
        return "[madvise]" in MODE.read_text(encoding="utf-8")
    return False
