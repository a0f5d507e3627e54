"""The mirror image of a picture: what is said of it, told of the picture itself.

Asking twice, once in the mirror, gives two opinions of one model that err in different places;
training on both gives it twice the pictures. Only regions and their names survive a mirror:
words cannot be read in it, and its left is not our left.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.core.annotation import Annotation
from engine.core.tasks import names_of

MIRRORED_TASKS = names_of(
    lambda task: task.kind == "region" and not task.is_of_region and task.words in ("name", "")
)
"""Tasks whose answer about the mirror image is the mirrored answer."""


def mirrored_pixels(image: np.ndarray) -> np.ndarray:
    """Return an image (height, width, 3) with left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


def mirrored(annotation: Annotation, width: int) -> Annotation:
    """Return what is said of a mirror image as said of the image, `width` pixels wide, or back."""
    if not annotation.box_xyxy:
        return annotation
    left, top, right, bottom = annotation.box_xyxy
    return replace(annotation, box_xyxy=(width - right, top, width - left, bottom))
