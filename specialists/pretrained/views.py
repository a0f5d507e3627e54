"""What models look at, an image or a part of it, and how it is preprocessed.

Views and functions of views are pickled for feeders, so they hold the bytes of images and no
pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from florilegium.engine.core.sample import Picture
from florilegium.specialists.pretrained.network import preprocess
from florilegium.specialists.regions.window import Window

if TYPE_CHECKING:
    from torch import Tensor


class View(Protocol):
    """An image or a part of it; a `Picture` is one. What has an attribute `picture` is a part of
    that one."""

    def pixels(self) -> np.ndarray:
        """Return RGB pixels, uint8, (height, width, 3)."""


@dataclass(frozen=True)
class Crop:
    """A window of an image."""

    picture: Picture
    window: Window

    def pixels(self) -> np.ndarray:
        """Return RGB pixels, uint8, (height, width, 3)."""
        return self.picture.pixels()[self.window.rows, self.window.columns]


@dataclass(frozen=True)
class Given:
    """Pixels that are there already, RGB, uint8, (height, width, 3)."""

    array: np.ndarray

    def pixels(self) -> np.ndarray:
        """Return them."""
        return self.array


@dataclass(frozen=True)
class Preprocess:
    """Preprocesses views by the image processor of a checkpoint (`preprocess`)."""

    image_processor: Any

    def __call__(self, view: View) -> dict[str, Tensor]:
        return preprocess(self.image_processor, view.pixels())
