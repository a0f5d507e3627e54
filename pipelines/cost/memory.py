"""The memory of the GPU that this process has taken at most."""

from __future__ import annotations

import sys

_MIB = 1024 * 1024


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
