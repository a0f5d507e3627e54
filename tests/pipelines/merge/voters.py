"""Invented scenes and voters that err in known ways, for tests of merging and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.sample import Picture, Sample
from florilegium.pipelines.merge.calibration import Voter
from florilegium.pipelines.merge.learning.audit import Audit
from florilegium.specialists.regions.overlap import box_overlap

NAMES = ("circle", "cross", "heart", "ring", "star")
SIZE = 128
VOTERS = {"careful": (0.6, 0.9, 1.0), "hasty": (0.7, 0.7, 4.0), "student": (0.8, 0.75, 2.0)}
"""Share of things seen, share of those named rightly, standard deviation of edges in pixels."""
GHOST = "ring"
"""What everybody says of things that are not there."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A scene, its annotations, and the truth."""

    key: str
    annotations: tuple[Annotation, ...]
    things: tuple[tuple[str, tuple[float, ...]], ...]
    width: int = SIZE
    height: int = SIZE

    def right(self, annotations: list[Annotation]) -> np.ndarray:
        """Return which statements are right and the first to say so, the surest first."""
        iou, _ = box_overlap([one.box_xyxy for one in annotations], [box for _, box in self.things])
        labels = np.array([one.label for one in annotations], dtype=object)
        hits = iou * (labels[:, None] == np.array([name for name, _ in self.things], dtype=object))
        right = np.zeros(len(annotations), dtype=bool)
        free = np.ones(len(self.things), dtype=bool)
        for row in np.argsort([-(one.confidence or one.score or 0) for one in annotations]):
            place = int(np.argmax(hits[row] * free))
            right[row] = free[place] and hits[row, place] >= 0.5
            free[place] &= not right[row]
        return right


def scene(number: int) -> Scene:
    """Draw a scene of one to four things on a grid, and let everybody speak."""
    rng = np.random.default_rng(number)
    cells = rng.permutation(9)
    count = int(rng.integers(1, 5))
    things = [(NAMES[rng.integers(5)], _box(rng, cell)) for cell in cells[:count]]
    annotations: list[Annotation] = []
    for voter, (sees, names, sigma) in VOTERS.items():
        for label, box in things:
            if rng.random() < sees:
                is_named = rng.random() < names
                voted = label if is_named else NAMES[rng.integers(5)]
                annotations.append(_statement(rng, number, voter, voted, box, sigma, is_named))
        if rng.random() < 0.6:
            ghost = _box(rng, cells[-1])
            annotations.append(_statement(rng, number, voter, GHOST, ghost, sigma, False))
    named = [
        Annotation(**{**_fields(one), "id": f"{number}/{place}"})
        for place, one in enumerate(annotations)
    ]
    return Scene(key=f"{number:06d}", annotations=tuple(named), things=tuple(things))


def _fields(annotation: Annotation) -> dict[str, Any]:
    return {name: getattr(annotation, name) for name in annotation.__slots__}


def _box(rng: np.random.Generator, cell: int) -> tuple[float, ...]:
    x, y = 42 * (cell % 3) + rng.uniform(2, 6), 42 * (cell // 3) + rng.uniform(2, 6)
    side = rng.uniform(22, 34)
    return x, y, x + side, y + side


def _statement(
    rng: np.random.Generator,
    number: int,
    voter: str,
    label: str,
    box: tuple[float, ...],
    sigma: float,
    is_named: bool,
) -> Annotation:
    score = 1 / (1 + np.exp(-rng.normal(1.0 if is_named else -0.5, 0.8)))
    drawn = np.clip(np.array(box) + rng.normal(0, sigma, 4), 0, SIZE).round(2)
    return voted(*drawn.tolist(), label=label, score=round(float(score), 5), specialist=voter)


def voted(*box_xyxy: float, label: str = "star", **rest: Any) -> Annotation:
    """Return a detected box."""
    given: dict[str, Any] = {"kind": "region", "task": "object_detection", "score": 0.8}
    return Annotation(**{**given, "label": label, "box_xyxy": box_xyxy, **rest})


def worth(
    *, slope: float = 0.0, intercept: float = 0.0, without_score: float = 0.0, weight: float = 1.0
) -> Voter:
    """Return what the word of a voter is worth; with slope 1 its score, as it stands."""
    return Voter(slope=slope, intercept=intercept, without_score=without_score, weight=weight)


def mask_of(*box_xyxy: int, size_wh: tuple[int, int], **rest: Any) -> Annotation:
    """Return a mask that fills a box of an image."""
    left, top, right, bottom = box_xyxy
    width, height = size_wh
    pixels = np.zeros((height, width), dtype=np.uint8, order="F")
    pixels[top:bottom, left:right] = 1
    counts = coco_mask.encode(pixels)["counts"].decode()
    given: dict[str, Any] = {"kind": "region", "task": "segmentation", "score": 0.5, **rest}
    return Annotation(mask_rle=MaskRLE((height, width), counts), **given)


def audit_of(scenes: list[Scene], voters: tuple[str, ...] = tuple(VOTERS)) -> Audit:
    """Audit all annotations of these voters, each statement on its own."""
    return Audit(
        right={
            one.id: bool(scene.right([one])[0])
            for scene in scenes
            for one in scene.annotations
            if one.specialist in voters
        }
    )


def sample_of(*annotations: Annotation, size_wh: tuple[int, int] = (SIZE, SIZE)) -> Sample:
    """Return a sample without pixels."""
    width, height = size_wh
    return Sample(
        key="s", width=width, height=height, picture=Picture(b""), annotations=annotations
    )


def f1_of(scenes: list[Scene], voted: list[list[Annotation]]) -> float:
    """Return the F1 of statements, by the truth."""
    right = sum(
        int(scene.right(one).sum()) for scene, one in zip(scenes, voted, strict=True) if one
    )
    return (
        2
        * right
        / sum(len(one) + len(scene.things) for scene, one in zip(scenes, voted, strict=True))
    )
