"""Returning memory that nothing uses to the system.

The allocator of glibc keeps what was freed between blocks that are in use. Models allocate and free
large blocks of many sizes: after some images, a worker would keep hundreds of megabytes that way.
What is free at the end of an arena goes back from the main one only, and each thread would have its
own: so workers are started with one (`MALLOC_ARENA_MAX`, man 3 mallopt).
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable

AFTER_CPU_S = 0.25
"""Seconds of processor time between two times, at least: each costs less than ten milliseconds, and
0.9 where 128 photographs were read before it."""

_ARROW_POOL = "ARROW_DEFAULT_MEMORY_POOL"


def let_arrow_use_malloc() -> None:
    """Have Arrow allocate by `malloc`, here and in child processes, unless the environment names
    another allocator. Its own keeps a hundred megabytes where a large table was read. It has to be
    called before Arrow is imported."""
    os.environ.setdefault(_ARROW_POOL, "system")


class UnusedMemory:
    """Returns the unused memory of this process, now and then. Without glibc it does nothing."""

    def __init__(self, *, after_cpu_s: float = AFTER_CPU_S) -> None:
        self._trim = _malloc_trim()
        self._after_cpu_s = after_cpu_s
        self._last_cpu_s = time.process_time()

    def give_back(self) -> bool:
        """Return what is unused, if the process has worked for a while; tell whether it was done.
        Other threads go on meanwhile."""
        now_cpu_s = time.process_time()
        if self._trim is None or now_cpu_s - self._last_cpu_s < self._after_cpu_s:
            return False
        self._last_cpu_s = now_cpu_s
        self._trim(0)
        return True


def _malloc_trim() -> Callable[[int], int] | None:
    """Return `malloc_trim(3)`, which is glibc's alone."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another libc; Windows has no main program
        return None
