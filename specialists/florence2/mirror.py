"""Mirroring images and annotations horizontally, for test-time and training augmentation.

Only regions and their names can be mirrored: text becomes unreadable, and captions would swap left
and right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Picture
from florilegium.engine.core.tasks import names_of

MIRRORED_TASKS = names_of(
    lambda task: task.kind == "region" and not task.is_of_region and task.words in ("name", "")
)
"""Tasks whose answer about a mirrored image is the mirrored answer."""


def mirrored_pixels(image: np.ndarray) -> np.ndarray:
    """Return an image (height, width, 3) with left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


@dataclass(frozen=True)
class MirroredView:
    """An image with left and right exchanged."""

    picture: Picture

    def pixels(self) -> np.ndarray:
        """Return RGB pixels, uint8, (height, width, 3)."""
        return mirrored_pixels(self.picture.pixels())


def mirrored(annotation: Annotation, width: int) -> Annotation:
    """Mirror an annotation of an image that is `width` pixels wide."""
    if not annotation.box_xyxy:
        return annotation
    left, top, right, bottom = annotation.box_xyxy
    return replace(annotation, box_xyxy=(width - right, top, width - left, bottom))
