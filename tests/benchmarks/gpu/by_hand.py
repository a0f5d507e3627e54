"""The loop that one would write: bytes, PIL, processor, model, post-processing, Python objects.

Called with one image or with a batch; nothing overlaps. What a loop says is counted, for it must
be as much as the stage says.
"""

from __future__ import annotations

import gc
import io
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from PIL import Image

from florilegium.specialists.pretrained.checkpoint import Checkpoint
from florilegium.specialists.pretrained.config import LoadingConfig
from florilegium.specialists.pretrained.loading import load_pretrained
from florilegium.specialists.pretrained.network import device_of, dtype_of
from florilegium.specialists.pretrained.stage import Pretrained

ConfigT = TypeVar("ConfigT", bound=LoadingConfig)


class Loop(ABC, Generic[ConfigT]):
    """A model asked as its documentation shows, with the checkpoint and options of a stage."""

    def __init__(self, stage: Any) -> None:
        import torch

        self.config: ConfigT = stage.config
        self.device = device_of(self.config.device)
        dtype = dtype_of(self.config.dtype, self.device)
        self.dtype = getattr(torch, dtype)
        if self.device == "cpu":
            torch.set_num_threads(1)  # as a stage's worker has
        self.model, self.processor = load_pretrained(
            self.checkpoint(stage), dtype=dtype, device=self.device
        )

    def checkpoint(self, stage: Pretrained[Any]) -> Checkpoint:
        """Return the checkpoint of the stage."""
        return stage.checkpoint()

    @abstractmethod
    def annotate(self, images: list[Image.Image]) -> list[list[Any]]:
        """Say something about RGB images, together: one list each."""

    def __call__(self, files: Sequence[bytes]) -> int:
        """Annotate images, each a file's bytes, together; return the number of annotations."""
        import torch

        images = [Image.open(io.BytesIO(data)).convert("RGB") for data in files]
        with torch.inference_mode():
            return sum(map(len, self.annotate(images)))

    def placed(self, features: Any) -> Any:
        """Return what a processor made on the device, floats in the model's dtype."""
        if not any(tensor.is_floating_point() for tensor in features.values()):
            return features.to(self.device)  # of texts alone nothing has a dtype to be changed
        return features.to(self.device, self.dtype)


@dataclass(frozen=True, kw_only=True)
class Looped:
    """What a loop did."""

    images: int
    seconds: float
    annotations: int

    @property
    def images_per_s(self) -> float:
        """Its speed."""
        return self.images / self.seconds


def looped(loop: Loop[Any], paths: Sequence[Path], *, batch_size: int) -> Looped:
    """Run a loop over photographs, after one batch to warm up."""
    loop([path.read_bytes() for path in paths[:batch_size]])
    _wait(loop)
    started_s = time.perf_counter()
    annotations = sum(loop([path.read_bytes() for path in part]) for part in cut(paths, batch_size))
    _wait(loop)
    seconds = time.perf_counter() - started_s
    return Looped(images=len(paths), seconds=seconds, annotations=annotations)


def cut(things: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut a sequence into parts of a size."""
    for start in range(0, len(things), size):
        yield things[start : start + size]


def release() -> None:
    """Give back the memory of models that are gone."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _wait(loop: Loop[Any]) -> None:
    if loop.device == "cuda":
        import torch

        torch.cuda.synchronize()
