"""The memory that this process has taken at most."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_PEAK = re.compile(r"^VmHWM:\s*([0-9]+) kB$", re.MULTILINE)
_PEAKS_PER_MIB = 1024**2 if sys.platform == "darwin" else 1024
"""`ru_maxrss` is in bytes on macOS, in KiB on Linux."""


def peak_mib() -> float:
    """Return the peak memory of this process so far in MiB.

    On Linux, `ru_maxrss` would not do: a process that was started by a larger one begins with the
    peak of that one.
    """
    if _STATUS.exists() and (found := _PEAK.search(_STATUS.read_text("utf-8"))):
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _PEAKS_PER_MIB
