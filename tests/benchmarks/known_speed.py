"""A device of known speed: its forward pass sleeps, and everything before it is real.

A sleep releases Python's lock as a GPU does. Workers that share the device take turns by a lock
file. Each pass is written down, so that the busy share of the device can be computed.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import RUNTIME, Specialist
from florilegium.specialists.pretrained.checkpoint import Checkpoint, Family
from florilegium.specialists.pretrained.config import LoadingConfig
from florilegium.specialists.pretrained.network import CALLS_AT_ONCE, Network
from florilegium.specialists.pretrained.views import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

_CHECKPOINT = Checkpoint(
    model="known/speed",
    folder=Path(),
    commit="0" * 40,  # else its digest is that of all files in the folder
    family=Family(title="a sleeping model", example="known/speed", model_class="Sleeping"),
    model_type="sleeping",
)


class KnownSpeedConfig(LoadingConfig):
    """How fast the device is, and how its passes look."""

    passes: Annotated[str, RUNTIME]
    """The file that gets a line for each forward pass."""
    images_per_s: Annotated[float, RUNTIME, Field(gt=0)]
    """Images that the device computes in a second."""
    steps: Annotated[int, RUNTIME, Field(ge=1)] = 1
    """Sleeps of a pass: 1 is an encoder; many, with Python in between, are tokens of an answer."""
    side: Annotated[int, RUNTIME, Field(ge=16)] = 768
    """Side of the model's input, pixels; 768 is that of Florence-2."""
    calls: Annotated[int, RUNTIME, Field(ge=1)] = CALLS_AT_ONCE
    """Calls that a worker takes at once."""


class KnownSpeed(Specialist[KnownSpeedConfig]):
    """Decodes and preprocesses images as Florence-2 does, then sleeps; finds nothing."""

    Config = KnownSpeedConfig
    produces = ("tag",)

    def __init__(self, config: KnownSpeedConfig) -> None:
        super().__init__(config)
        self.calls_at_once = config.calls  # type: ignore[misc]

    def load(self) -> None:
        """Make the image processor; there are no weights."""

        def load(*_: Any, **__: Any) -> tuple[None, Any]:
            return None, image_processor(self.config.side)

        self.network = Network(_CHECKPOINT, self.config, load=load)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Prepare the images, and sleep for each batch."""
        pictures = [sample.picture for sample in samples]
        inputs = self.network.prepare(pictures, Preprocess(self.network.image_processor))
        return self.network.run(inputs, self._forward)

    def _forward(self, batch: Mapping[str, Tensor], numbers: Sequence[int]) -> list[Any]:
        seconds = len(numbers) / self.config.images_per_s
        with _turn(self.config.passes):
            start_s = time.monotonic()
            for _ in range(self.config.steps):
                time.sleep(seconds / self.config.steps)
            line = f"{start_s} {time.monotonic()} {seconds} {len(numbers)}\n"
            with open(self.config.passes, "ab", buffering=0) as file:
                file.write(line.encode())
        return [[] for _ in numbers]


def image_processor(side: int) -> Any:
    """Make the image processor of Florence-2: to a square, bicubic, mean and standard deviation."""
    from transformers import CLIPImageProcessorPil

    size = {"height": side, "width": side}
    return CLIPImageProcessorPil(size=size, do_center_crop=False, resample=3)


@contextmanager
def _turn(passes: str) -> Iterator[None]:
    """Wait until no other worker computes on the device."""
    with open(f"{passes}.lock", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, kw_only=True)
class Passes:
    """What a device did from the first forward pass to the end of the last one."""

    images: int
    busy_s: float
    seconds: float

    @classmethod
    def read(cls, path: Path) -> Passes:
        """Read the passes of a run."""
        rows = [tuple(map(float, line.split())) for line in path.read_text().splitlines()]
        starts, ends, lengths, counts = zip(*rows, strict=True)
        return cls(images=int(sum(counts)), busy_s=sum(lengths), seconds=max(ends) - min(starts))

    @property
    def busy_share(self) -> float:
        """The share of the time in which the device computed, 0..1."""
        return self.busy_s / self.seconds
