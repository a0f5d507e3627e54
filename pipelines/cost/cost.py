"""The measured cost of a stage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The measured time and memory of one stage in a worker of its own.

    `load_s` is the time for loading it, `seconds` the time for `images` afterwards. `base_mib` is
    the memory of the process before loading, `memory_mib` the growth up to the peak; `gpu_mib` is
    what torch reserved on the GPU, which has `gpu_total_mib`. Memory is in MiB. `prepare_s` are the
    CPU-seconds in which the images were decoded and preprocessed for a network. `requests` are
    those to a service, retries included, at a `price` in the currency of its prices. All `images`
    were measured, also where a run asks about a `sample_share` only.
    """

    name: str
    images: int
    seconds: float
    load_s: float
    base_mib: float
    memory_mib: float
    gpu_mib: float = 0.0
    gpu_total_mib: float = 0.0
    prepare_s: float = 0.0
    layer_bytes: int = 0
    requests: int = 0
    price: float = 0.0
    sample_share: float = 1.0
    failures: tuple[str, ...] = ()
    """The error message of each image that failed."""

    @property
    def s_per_image(self) -> float:
        """Seconds that one worker takes for an image of the source, the mean over all of them."""
        return self.per_image(self.seconds)

    def per_image(self, measured: float) -> float:
        """Return the mean over all images of the source of something that was measured."""
        return measured / max(self.images, 1) * self.sample_share
