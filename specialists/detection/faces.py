"""Faces that look at the camera, by the cascade of scikit-image, which needs no download.

Local binary patterns in a cascade (Zhang et al., "Face detection based on multi-block LBP
representation", 2007), with the frontal cascade of OpenCV that scikit-image ships. It misses faces
in profile, turned, covered, small or blurred; whoever must find all of them takes a detector with
weights (`detector`, `open_vocabulary`) instead. It also takes other things for faces, one in about
twenty photographs; few of these are found again in the mirrored image.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import ADDED, Specialist, StageConfig
from florilegium.specialists.regions.overlap import box_overlap

_SCALE_FACTOR = 1.2
_SAME = 0.4
"""Minimum overlap (IoU) of two boxes of one face."""
_PERSON = (-0.9, -0.55, 1.9, 6.95)
"""Left, top, right and bottom of a standing person, in sides of the face's box from its corner."""


class FacesConfig(StageConfig):
    """Options of `faces`."""

    side: int = Field(default=512, ge=64, le=4096)
    """Pixels of the long side at which an image is searched; twice as many take four times as
    long, and find faces half as large."""
    least_face: int = Field(default=36, ge=24)
    """Pixels of the side of a face at that size, at least. 24, the size in the cascade's training,
    finds smaller ones, and many that are none."""
    least_neighbours: int = Field(default=4, ge=1)
    """Overlapping hits that make a face: fewer find more faces, and more that are none."""
    label: str = Field(default="human face", min_length=1)
    """The label of the boxes."""
    sure: Annotated[bool, ADDED] = False
    """Whether a face must be found again in the mirrored image, and is one box. Takes twice as
    long where one is found."""
    whole: Annotated[bool, ADDED] = False
    """Whether a box is that of the person: a guess, by the proportions of somebody who stands
    upright. Set `label` to "person" then."""


class Faces(Specialist[FacesConfig]):
    """One `object_detection` for each frontal face, largest first, without a score: the cascade
    gives none."""

    Config: ClassVar[type[StageConfig]] = FacesConfig
    produces: tuple[str, ...] = ("object_detection",)
    needs: ClassVar[tuple[str, ...]] = ("skimage",)
    extra: ClassVar[str] = "starter"

    @property
    def model(self) -> str:
        """The cascade; `revision` names the package that ships it."""
        return "lbpcascade_frontalface_opencv"

    def revision(self) -> str:
        """Name the package with the cascade."""
        return f"scikit-image {version('scikit-image')}"

    def load(self) -> None:
        """Read the cascade."""
        from skimage.data import lbp_frontal_face_cascade_filename
        from skimage.feature import Cascade

        path = lbp_frontal_face_cascade_filename()  # type: ignore[no-untyped-call]
        self._cascade: Any = Cascade(path)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Search each image."""
        return [self._faces(sample) for sample in samples]

    def _faces(self, sample: Sample) -> list[Annotation]:
        import cv2

        size_wh = np.array([sample.width, sample.height])
        small_wh = np.maximum(np.rint(size_wh * self.config.side / size_wh.max()), 1).astype(int)
        if small_wh.min() <= self.config.least_face:
            return []
        is_smaller = small_wh[0] < size_wh[0]
        small = cv2.resize(
            sample.image,
            small_wh.tolist(),
            interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR,
        )
        boxes = self._search(small)
        if self.config.sure and len(boxes):
            mirrored = self._search(np.ascontiguousarray(small[:, ::-1]))
            mirrored[:, [0, 2]] = small_wh[0] - mirrored[:, [2, 0]]
            overlap, _ = box_overlap(boxes, mirrored)
            boxes = _distinct(boxes[(overlap >= _SAME).any(axis=1)])
        if self.config.whole:
            sides = boxes[:, 2:] - boxes[:, :2]
            boxes = np.tile(boxes[:, :2], 2) + np.tile(sides, 2) * _PERSON
        boxes = (boxes * np.tile(size_wh / small_wh, 2)).clip(0, np.tile(size_wh, 2))
        sizes = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        order = np.lexsort((boxes[:, 0], boxes[:, 1], -sizes))
        return [
            Annotation(
                kind="region",
                task="object_detection",
                label=self.config.label,
                box_xyxy=tuple(box.tolist()),
            )
            for box in boxes[order]
        ]

    def _search(self, pixels: np.ndarray) -> np.ndarray:
        """Return the boxes of the cascade, (n, 4)."""
        found = self._cascade.detect_multi_scale(
            img=pixels,
            scale_factor=_SCALE_FACTOR,
            step_ratio=1,
            min_size=(self.config.least_face, self.config.least_face),
            max_size=(min(pixels.shape[:2]), min(pixels.shape[:2])),
            min_neighbor_number=self.config.least_neighbours,
        )
        corners = [(one["c"], one["r"], one["width"], one["height"]) for one in found]
        boxes = np.array(corners, np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes


def _distinct(boxes: np.ndarray) -> np.ndarray:
    """Return the boxes without those that overlap a larger one, largest first."""
    sizes = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept: list[np.ndarray] = []
    for box in boxes[np.argsort(-sizes, kind="stable")]:
        overlap, _ = box_overlap([box], kept)
        if not (overlap >= _SAME).any():
            kept.append(box)
    return np.array(kept).reshape(-1, 4)
