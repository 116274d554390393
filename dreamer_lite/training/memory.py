"""How much memory is left for a replay, on the device and on the host."""

import os
from typing import Any

from dreamer_lite.agent import devices

SPARE = 0.9  # fraction of the free memory that a replay may take


def free_bytes(device: Any = None) -> int | None:
    """Memory that can still be taken on the device, in bytes; None if it does not tell."""
    device = devices.first() if device is None else device
    if device.platform == "cpu":
        return free_host_bytes()
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def free_host_bytes() -> int | None:
    """Memory of the host that can still be taken, in bytes; None if it does not tell."""
    try:
        with open(
            "/proc/meminfo", encoding="utf-8"
        ) as file:  # what the kernel could hand out, caches included
            lines = dict(line.split(":", 1) for line in file)
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def check_room(needed: int, capacity: int, device: Any = None) -> None:
    """Raise ValueError if a replay of `capacity` steps, `needed` bytes, does not fit."""
    free = free_bytes(device)
    if free is not None and needed > SPARE * free:
        fits = int(capacity * SPARE * free / needed)
        raise ValueError(
            f"A replay of {capacity:,} steps takes {needed / 2**30:.1f} GiB, but "
            f"{free / 2**30:.1f} GiB are free: choose a capacity of at most {fits:,} steps."
        )
