"""The memory that a process keeps for its next calls; see `keep_freed_memory`."""

import ctypes
import os
import platform

ARENA_MAX, MMAP_MAX, TRIM_THRESHOLD = -8, -4, -1  # options of mallopt, from glibc's malloc.h


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, where the C library is glibc.

    On a CPU, each call of a compiled program takes memory for its intermediate results and frees
    it. By default, glibc gives large pieces back to the kernel, which clears every page of the next
    one: a quarter of the time of an update of Atari at `pixels-cpu` (assets/speed.md).

    Call it before JAX starts its devices: it has no effect on threads that already hold memory, as
    those of a notebook do. Where variables such as MALLOC_ARENA_MAX are set, it changes nothing.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(ARENA_MAX, 1)  # one heap for all threads: a second one cannot hold 64 MB in a piece
    mallopt(MMAP_MAX, 0)  # large pieces come from the heap too
    mallopt(TRIM_THRESHOLD, 2**31 - 1)  # whose end stays
