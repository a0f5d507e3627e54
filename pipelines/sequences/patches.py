"""Our codecs: a canvas of fixed size, divided into patches, each the nearest of a code book.

This is vector quantisation without a network. The code books are the centres of clusters of patches
(`train_patches`), a few hundred KB beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from florilegium.pipelines.sequences.codec import Codec

FOLDER = Path(__file__).parent
Floats = npt.NDArray[np.float32]


class PatchCodec(Codec):
    """A codec with a grid of `across` x `across` patches of `side` pixels."""

    across: ClassVar[int]
    side: ClassVar[int]
    channels: ClassVar[int]
    book_name: ClassVar[str]
    """The file of the code book: uint8, shape (vocabulary, side * side * channels)."""

    @property
    def vocabulary(self) -> int:
        return len(self._book)

    @property
    def length(self) -> int:
        return self.across**2

    def encode(self, pixels: np.ndarray) -> list[int]:
        patches = self.patches(pixels)
        # |p - b|^2 without |p|^2, which is the same for all codes
        distances = self._squares - 2 * patches @ self._book.T
        codes: list[int] = distances.argmin(axis=1).tolist()
        return codes

    def decode(self, codes: Sequence[int], size_wh: tuple[int, int]) -> np.ndarray:
        numbers = np.asarray(codes, dtype=np.int64)
        if numbers.shape != (self.length,) or not (numbers >= 0).all():
            raise ValueError(f"{len(numbers)} codes, not {self.length}")
        if numbers.max() >= self.vocabulary:
            raise ValueError(f"the code {numbers.max()}: there are {self.vocabulary}")
        grid = self._book[numbers].reshape(self.across, self.across, self.side, self.side, -1)
        canvas = grid.transpose(0, 2, 1, 3, 4).reshape(self._canvas_px, self._canvas_px, -1)
        return self._pixels_of(cv2.resize(canvas, size_wh, interpolation=cv2.INTER_LINEAR))

    def patches(self, pixels: np.ndarray) -> Floats:
        """Return the patches of a canvas that the pixels fill, 0..1, shape (length, width)."""
        is_small = min(pixels.shape[:2]) < self._canvas_px
        how = cv2.INTER_LINEAR if is_small else cv2.INTER_AREA
        size_wh = (self._canvas_px, self._canvas_px)
        canvas = cv2.resize(self._floats_of(pixels), size_wh, interpolation=how)
        grid = canvas.reshape(self.across, self.side, self.across, self.side, self.channels)
        patches: Floats = grid.transpose(0, 2, 1, 3, 4).reshape(self.length, -1)
        return patches

    @property
    def _canvas_px(self) -> int:
        return self.across * self.side

    @cached_property
    def _book(self) -> Floats:
        return _read(self.book_name)

    @cached_property
    def _squares(self) -> Floats:
        squares: Floats = np.square(self._book).sum(axis=1)
        return squares

    def _floats_of(self, pixels: np.ndarray) -> Floats:
        return pixels.astype(np.float32) / np.float32(255)

    def _pixels_of(self, canvas: Floats) -> np.ndarray:
        return np.rint(canvas.clip(0, 1) * 255).astype(np.uint8)


class MaskPatches(PatchCodec):
    """Masks as 64 codes of 512: patches of 6 x 6 pixels of a mask that is stretched to 48 x 48."""

    subject = "mask"
    across, side, channels = 8, 6, 1
    book_name = "mask_patches.npy"

    def _floats_of(self, pixels: np.ndarray) -> Floats:
        return pixels.astype(np.float32)

    def _pixels_of(self, canvas: Floats) -> np.ndarray:
        return canvas >= 0.5


class ImagePatches(PatchCodec):
    """Images as 256 codes of 1,024: patches of 8 x 8 pixels of an image that is stretched to
    128 x 128. Coarse: it shows that images go both ways, and is no match for a trained VQ-GAN."""

    subject = "image"
    across, side, channels = 16, 8, 3
    book_name = "image_patches.npy"


@lru_cache(maxsize=4)
def _read(name: str) -> Floats:
    book = np.load(FOLDER / name, allow_pickle=False).astype(np.float32) / np.float32(255)
    book.flags.writeable = False
    return book
