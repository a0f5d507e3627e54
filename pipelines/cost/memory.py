"""The memory that this process has taken at most, and that of its GPU."""

from __future__ import annotations

import resource
import sys

_MIB = 1024 * 1024
_PEAKS_PER_MIB = _MIB if sys.platform == "darwin" else 1024
"""`ru_maxrss` is in bytes on macOS, in KiB on Linux."""


def peak_mib() -> float:
    """Return the peak memory of this process so far in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _PEAKS_PER_MIB


def gpu_memory() -> dict[str, float]:
    """Return the peak memory in MiB that torch reserved on the GPU (`gpu_mib`) and all that it has
    (`gpu_total_mib`); nothing where no GPU is used."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {
        "gpu_mib": torch.cuda.max_memory_reserved() / _MIB,
        "gpu_total_mib": torch.cuda.get_device_properties(0).total_memory / _MIB,
    }
