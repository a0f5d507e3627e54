"""What a stage costs, as measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one stage in a worker of its own.

    `seconds` is the time for `images` when all is loaded, `load_s` the time before. `base_mb` is
    the memory of the process before, `memory_mb` what was added at the peak; `gpu_mb` is what
    torch reserved on the GPU, of `gpu_total_mb`.
    """

    name: str
    images: int
    seconds: float
    load_s: float
    base_mb: float
    memory_mb: float
    gpu_mb: float = 0.0
    gpu_total_mb: float = 0.0
    layer_bytes: int = 0
    failures: tuple[str, ...] = ()
    """What went wrong, one message for each image that failed."""

    @property
    def s_per_image(self) -> float:
        """Seconds of one worker for an image."""
        return self.seconds / max(self.images, 1)
