"""This machine in, how many bytes of memory a process may still take out."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

MEMINFO, STATUS = Path("/proc/meminfo"), Path("/proc/self/status")
CONTROL_GROUP = Path("/sys/fs/cgroup")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # names of glibc's mallopt


def available_memory() -> int | None:
    """Return the smallest of what the system and a container's limit leave, or None where neither can be known."""
    known = [amount for amount in (_system(), _container()) if amount is not None]
    return min(known, default=None)


def _system() -> int | None:
    try:
        fields = dict(line.split(":", 1) for line in MEMINFO.read_text(encoding="utf-8").splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # half of a machine that others may use too
    except (AttributeError, OSError, ValueError):
        return None


def _container() -> int | None:
    try:
        limit, used = ((CONTROL_GROUP / name).read_text(encoding="utf-8").strip() for name in ("memory.max", "memory.current"))
        return None if limit == "max" else max(int(limit) - int(used), 0)
    except (OSError, ValueError):
        return None


def peak_memory() -> int:
    """Return the most bytes of memory that this process has held at a time."""
    try:
        # not getrusage: what it tells of a new process may be its parent's
        fields = dict(line.split(":", 1) for line in STATUS.read_text(encoding="utf-8").splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def hold_freed() -> None:
    """Keep up to 64 MiB of freed memory for the next use instead of asking the system for it again (glibc only).

    Numerical work that makes and drops arrays of megabytes otherwise spends a tenth of its time on new pages.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, 32 * 2**20)
        library.mallopt(TRIM_THRESHOLD, 64 * 2**20)
    except (AttributeError, OSError, TypeError):
        return  # another C library: it does so by itself, or not at all


def give_back() -> None:
    """Return freed memory to the system, so that one stage's leftovers do not add to the next one's peak (glibc only)."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return  # another C library: it gives back by itself, or not at all
