"""Returning memory that nothing uses to the system.

The allocator of glibc keeps what was freed between blocks that are in use. Models allocate and free
large blocks of many sizes, so after some images a worker would keep hundreds of megabytes.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

AFTER_S = 2.0
"""Seconds between two times, at least: each takes some milliseconds."""


class UnusedMemory:
    """Returns the unused memory of this process, now and then. Without glibc it does nothing."""

    def __init__(self, *, after_s: float = AFTER_S) -> None:
        self._trim = _malloc_trim()
        self._after_s = after_s
        self._last_s = time.monotonic()

    def give_back(self) -> bool:
        """Return what is unused, unless that was done a moment ago; tell whether it was done."""
        now_s = time.monotonic()
        if self._trim is None or now_s - self._last_s < self._after_s:
            return False
        self._last_s = now_s
        self._trim(0)
        return True


def _malloc_trim() -> Callable[[int], int] | None:
    """Return `malloc_trim(3)`, which is glibc's alone; other threads of Python run meanwhile."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another libc; Windows has no main program
        return None
