"""The annotations of one sample beside its scene, as arrays that several scores share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation
from florilegium.pipelines.shape_world.scene import SIGN, Scene
from florilegium.pipelines.shape_world.score.claims import Claim
from florilegium.pipelines.shape_world.score.matching import pairs
from florilegium.specialists.regions.overlap import box_overlap, mask_overlap

_BEST_FIT = 3
"""The agreement of name, colour and pattern."""
_EMPTY_BOX = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class SceneComparison:
    """The annotations of one sample and its scene. Arrays of things have one entry per thing."""

    annotations: Sequence[Annotation]
    scene: Scene

    def of(self, *tasks: str) -> list[Annotation]:
        """Return the annotations of these tasks, in their order."""
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
        """The words on signs, normalised; "" for other things."""
        return [
            normalised_text(thing.word) if thing.name == SIGN else "" for thing in self.scene.things
        ]

    @cached_property
    def _masks(self) -> list[dict[str, Any]]:
        if not self.scene.things:
            return []
        masks = np.stack([thing.mask for thing in self.scene.things], axis=2)
        return coco_mask.encode(np.asfortranarray(masks, dtype=np.uint8))

    def box_iou(self, annotations: Sequence[Annotation]) -> np.ndarray:
        """Return the IoU of boxes with those of the things, 0..1, (annotations, things)."""
        return box_overlap(_boxes(annotations), self.boxes_xyxy)[0]

    def share_on(self, annotations: Sequence[Annotation]) -> np.ndarray:
        """Return the share of each box that lies on a thing's box, 0..1, (annotations, things)."""
        return box_overlap(self.boxes_xyxy, _boxes(annotations))[1].T

    def mask_iou(self, annotations: Sequence[Annotation]) -> np.ndarray:
        """Return the IoU of masks with those of the things, 0..1, (annotations, things)."""
        iou = np.zeros((len(annotations), len(self.names)))
        rles = {
            index: {"size": list(one.mask_rle.size), "counts": one.mask_rle.counts}
            for index, one in enumerate(annotations)
            if one.mask_rle is not None
        }
        if rles:
            iou[list(rles)] = mask_overlap(list(rles.values()), self._masks)[0]
        return iou

    def named(self, labels: Sequence[str]) -> np.ndarray:
        """Return which labels are the names of which things, bool, (labels, things)."""
        lowered = np.array([label.strip().lower() for label in labels], dtype=np.str_)
        return lowered[:, None] == self.names

    def fits(self, claims: Sequence[Claim]) -> np.ndarray:
        """Return how well claims fit the things, (claims, things).

        0 for another name, else 1 plus 1 for each claimed attribute that is true.
        """
        fits = np.array([[_fit(claim, thing) for thing in self.scene.things] for claim in claims])
        return fits.reshape(len(claims), len(self.scene.things))

    def matched(self, claims: Sequence[Claim]) -> tuple[np.ndarray, np.ndarray]:
        """Pair claims with things, one to one, by name and then attributes: indices of both."""
        fits = self.fits(claims)
        return pairs(fits / _BEST_FIT, fits > 0)

    def referents(self, claims: Sequence[Claim]) -> np.ndarray:
        """Return the things that claims may refer to, bool, (claims, things).

        Those of the name with the most claimed attributes.
        """
        fits = self.fits(claims)
        return (fits > 0) & (fits == fits.max(axis=1, initial=0, keepdims=True))


def rank_score(annotation: Annotation) -> float:
    """Return the score to rank an annotation by, 0..1: its confidence, else its score, else 0."""
    if annotation.confidence is not None:
        return annotation.confidence
    return 0.0 if annotation.score is None else annotation.score


def by_confidence(annotations: Sequence[Annotation]) -> list[Annotation]:
    """Return annotations by descending rank score; equal ones keep their order."""
    return sorted(annotations, key=lambda one: -rank_score(one))


def normalised_text(text: str) -> str:
    """Return a text with single spaces and case folded."""
    return " ".join(text.split()).casefold()


def _boxes(annotations: Sequence[Annotation]) -> np.ndarray:
    """Return boxes in pixels, (annotations, 4); an annotation without one gets an empty box."""
    boxes = np.array([one.box_xyxy or _EMPTY_BOX for one in annotations], dtype=np.float64)
    return boxes.reshape(-1, 4)


def _fit(claim: Claim, thing: Any) -> int:
    if claim.name != thing.name:
        return 0
    return 1 + (claim.colour == thing.colour) + (claim.pattern == thing.pattern)
