"""What was said about one sample beside what is true of it, in columns.

Holds what several measures need of a scene, worked out once. It judges nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from engine.core.annotation import Annotation
from pipelines.shape_world.scene import SIGN, Scene
from pipelines.shape_world.score.claims import Claim
from pipelines.shape_world.score.matching import pairs
from specialists.regions.overlap import box_overlap, mask_overlap

_BEST_FIT = 3
_NOWHERE = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The annotations of one sample and its scene. Columns of things have one entry a thing."""

    annotations: Sequence[Annotation]
    scene: Scene

    def of(self, *tasks: str) -> list[Annotation]:
        """Return the annotations of these tasks, in the order they were said."""
        return [one for one in self.annotations if one.task in tasks]

    @cached_property
    def boxes_xyxy(self) -> np.ndarray:
        """The boxes of the things, pixels, (things, 4)."""
        boxes = np.array([thing.box_xyxy for thing in self.scene.things], dtype=np.float64)
        return boxes.reshape(-1, 4)

    @cached_property
    def names(self) -> np.ndarray:
        """The names of the things, str, (things,)."""
        return np.array([thing.name for thing in self.scene.things], dtype=np.str_)

    @cached_property
    def words(self) -> list[str]:
        """The words on the things, comparable; empty on what is no sign."""
        return [comparable(thing.word) if thing.name == SIGN else "" for thing in self.scene.things]

    @cached_property
    def _masks(self) -> list[dict[str, Any]]:
        if not self.scene.things:
            return []
        masks = np.stack([thing.mask for thing in self.scene.things], axis=2)
        return coco_mask.encode(np.asfortranarray(masks, dtype=np.uint8))

    def box_iou(self, annotations: Sequence[Annotation]) -> np.ndarray:
        """Compare boxes with the boxes of the things, 0..1, (annotations, things)."""
        return box_overlap(_boxes(annotations), self.boxes_xyxy)[0]

    def share_on(self, annotations: Sequence[Annotation]) -> np.ndarray:
        """Return which share of a box lies on each thing's box, 0..1, (annotations, things)."""
        return box_overlap(self.boxes_xyxy, _boxes(annotations))[1].T

    def mask_iou(self, annotations: Sequence[Annotation]) -> np.ndarray:
        """Compare masks with the visible masks of the things, 0..1, (annotations, things)."""
        iou = np.zeros((len(annotations), len(self.names)))
        said = [
            (place, {"size": list(one.mask_rle.size), "counts": one.mask_rle.counts})
            for place, one in enumerate(annotations)
            if one.mask_rle is not None
        ]
        if said:
            iou[[place for place, _ in said]] = mask_overlap([rle for _, rle in said], self._masks)[
                0
            ]
        return iou

    def named(self, labels: Sequence[str]) -> np.ndarray:
        """Tell which labels name which things, bool, (labels, things)."""
        spoken = np.array([label.strip().lower() for label in labels], dtype=np.str_)
        return spoken[:, None] == self.names

    def agreement(self, claims: Sequence[Claim]) -> np.ndarray:
        """Tell how well claims fit the things, (claims, things).

        0 another name, 1 the name, and 1 more for each attribute that is said and true.
        """
        fits = np.array(
            [[_agreement(claim, thing) for thing in self.scene.things] for claim in claims]
        )
        return fits.reshape(len(claims), len(self.scene.things))

    def told(self, claims: Sequence[Claim]) -> tuple[np.ndarray, np.ndarray]:
        """Pair claims with things, one to one, by name and then attributes: places of both."""
        fits = self.agreement(claims)
        return pairs(fits / _BEST_FIT, fits > 0)

    def meant(self, claims: Sequence[Claim]) -> np.ndarray:
        """Tell which things claims may mean, bool, (claims, things).

        Those of the name; when attributes single some of them out, only these.
        """
        fits = self.agreement(claims)
        return (fits > 0) & (fits == fits.max(axis=1, initial=0, keepdims=True))


def surety(annotation: Annotation) -> float:
    """Return by what to rank an annotation, 0..1: confidence, else score; who says none is last."""
    if annotation.confidence is not None:
        return annotation.confidence
    return 0.0 if annotation.score is None else annotation.score


def surest(annotations: Sequence[Annotation]) -> list[Annotation]:
    """Return annotations, the surest first; equals keep their order."""
    return sorted(annotations, key=lambda one: -surety(one))


def comparable(text: str) -> str:
    """Return text with single spaces and without case."""
    return " ".join(text.split()).casefold()


def _boxes(annotations: Sequence[Annotation]) -> np.ndarray:
    """Return boxes in pixels, (annotations, 4); what has no box is nowhere."""
    boxes = np.array([one.box_xyxy or _NOWHERE for one in annotations], dtype=np.float64)
    return boxes.reshape(-1, 4)


def _agreement(claim: Claim, thing: Any) -> int:
    if claim.name != thing.name:
        return 0
    return 1 + (claim.colour == thing.colour) + (claim.pattern == thing.pattern)
