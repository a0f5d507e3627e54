"""A sample: one image and its annotations.

`Record` is an image without its pixels, `Sample` what a stage gets. Pixels are
decoded when a stage first asks for them, once for all stages in the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pickle import PickleBuffer
from threading import Lock
from typing import Any

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image.reading import decode


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One image without its bytes.

    `width` and `height` are those of the upright image, `orientation` the EXIF value, `source`
    where the image came from, `metadata` that of the source, as JSON text. `digest` covers key,
    bytes and labels of the source: two samples with one digest are the same sample.
    """

    key: str
    sha256: str
    width: int
    height: int
    orientation: int
    extension: str
    source: str
    metadata: str
    digest: str


SAMPLE_FILTERS = "sample_filters"
"""The section of a run config with the stages that judge whole samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """An input that did not become a sample, with the reason; `traceback` is that of an unforeseen
    error in a stage.

    `stage` is the stage that failed on it, or `sample_filters/NAME`, the filter that dropped it:
    then `reason` is that of the verdict, and `message` has what was measured.
    """

    key: str
    source: str
    stage: str
    reason: str
    message: str
    attempt: int = 1
    traceback: str = ""

    @property
    def dropped_by(self) -> str:
        """The sample filter that dropped the input; empty for one that was lost."""
        return dropped_by(self.stage)


def dropped_by(stage: str) -> str:
    """Return the sample filter that the `stage` of a dead letter names; empty where it names what
    failed. No name of a stage has a slash."""
    section, _, name = stage.partition("/")
    return name if section == SAMPLE_FILTERS else ""


class Picture:
    """The pixels of one image, decoded on first use and kept until dropped.

    Only its bytes are pickled.
    """

    __slots__ = ("_data", "_error", "_pixels", "_turn")

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self._pixels: np.ndarray | None = None
        self._error: SampleError | None = None
        self._turn = Lock()  # several threads may cut crops of one image: decode it once

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Picture, (PickleBuffer(self._data) if protocol >= 5 else bytes(self._data),)

    @property
    def data(self) -> memoryview:
        """The bytes of the image as the source has them, read-only."""
        return memoryview(self._data).toreadonly()

    def pixels(self) -> np.ndarray:
        """Return RGB pixels, uint8, (height, width, 3), upright, read-only.

        Raises:
            SampleError: the pixels cannot be decoded; a second call raises the same error.
        """
        with self._turn:
            if self._error is not None:
                raise self._error
            if self._pixels is None:
                try:
                    self._pixels = decode(self._data)
                except SampleError as error:
                    self._error = error
                    raise
            return self._pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What a stage gets: the image and the earlier annotations of the tasks that it reads, without
    those that filters before the stage dropped.

    `sha256` is that of the image's bytes, by which samples are split (`fold_of`). `upstream` are
    the specialists that the stage reads, whether they found something here or not, and the tasks
    that it reads of each. `labels` are all labels of the source, whether the stage reads them or
    not. `metadata` is that of the source, as JSON text.
    """

    key: str
    width: int
    height: int
    picture: Picture = field(repr=False)
    sha256: str = ""
    annotations: tuple[Annotation, ...] = ()
    labels: tuple[Annotation, ...] = ()
    upstream: Mapping[str, frozenset[str]] = field(default_factory=dict)
    metadata: str = "{}"

    @property
    def image(self) -> np.ndarray:
        """RGB pixels, uint8, (height, width, 3), upright, read-only."""
        return self.picture.pixels()

    @property
    def known(self) -> tuple[Annotation, ...]:
        """The annotations and all labels of the source, from which some may be merged."""
        return (*self.annotations, *self.labels)

    def of(self, *tasks: str) -> Iterator[Annotation]:
        """Yield the annotations of these tasks, in the order they were predicted."""
        return (annotation for annotation in self.annotations if annotation.task in tasks)


def fold_of(sha256: str, folds: int) -> int:
    """Return the fold of an image, 0..folds-1: the same for the same bytes, whatever its key.

    Every split of a dataset uses it: which samples train which student, and which are held out.
    """
    return int(sha256[:12] or "0", 16) % folds


_DIGITS_OF_SHARE = slice(24, 36)
"""Hex digits of a SHA-256 that neither folds nor validation samples are chosen by."""


def is_in_share(sha256: str, share: float) -> bool:
    """Return whether an image belongs to a share of all images, 0..1: the same for the same bytes.

    A larger share has all the images of a smaller one. It does not depend on `fold_of`.
    """
    digits = sha256[_DIGITS_OF_SHARE]
    return int(digits or "0", 16) < share * 16 ** len(digits)


def digest_of(parts: Sequence[str]) -> str:
    """Return a short digest of texts, order and boundaries included (32 hex digits)."""
    digest = blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()
