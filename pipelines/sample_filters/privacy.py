"""Drops, or blurs, images with what identifies people: faces, licence plates, personal text.

What is found comes from specialists: boxes of any detector by their labels, lines of any OCR. A
face that no specialist found is in the dataset.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, Input, SampleFilter, StageConfig, maybe
from florilegium.engine.core.tasks import REGION_TASKS
from florilegium.pipelines.sample_filters.personal_text import KINDS, personal_kinds
from florilegium.specialists.regions.overlap import mask_box

PERSONAL_REGION = "personal_region"
PERSONAL_TEXT = "personal_text"
READINGS = ("ocr", "transcript", "region_ocr")
BOXES = tuple(task for task in REGION_TASKS if task not in READINGS)
DEFAULT_LABELS = ("face", "human face", "license plate", "licence plate", "number plate")


class PrivacyConfig(StageConfig):
    """Options of `privacy`."""

    labels: tuple[str, ...] = DEFAULT_LABELS
    """Labels of boxes that identify people, whatever their case."""
    least_score: float = Field(default=0.3, ge=0, le=1)
    """Score of a box from which on it counts, 0..1; one without a score counts."""
    texts: Annotated[tuple[str, ...], NamesAmong(KINDS)] = KINDS
    """Kinds of personal data that are looked for in recognised text."""
    action: Annotated[Literal["drop", "blur"], THRESHOLD] = "drop"
    """`drop` drops the image, `blur` blurs the boxes and the lines of text in the stored image.
    Personal text without a box cannot be blurred: its image is dropped."""
    most_regions: Annotated[int, THRESHOLD, Field(ge=0)] = 0
    """Boxes of these labels in an image that is kept, at most, when images are dropped."""
    most_texts: Annotated[int, THRESHOLD, Field(ge=0)] = 0
    """Personal texts in an image that is kept, at most, when images are dropped."""

    @field_validator("texts")
    @classmethod
    def _known(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(texts) - set(KINDS):
            raise ValueError(f"{sorted(unknown)[0]!r} is not looked for: choose of {KINDS}")
        return tuple(kind for kind in KINDS if kind in texts)


class Privacy(SampleFilter[PrivacyConfig]):
    """Judge images by the boxes and the texts that specialists found in them.

    `blurred` are the boxes of both, as JSON: a list of x1, y1, x2, y2 in pixels of the upright
    image.
    """

    Config: ClassVar[type[StageConfig]] = PrivacyConfig
    reads: tuple[Input, ...] = (maybe(*BOXES), maybe(*READINGS))
    measured = ("regions", "personal_texts", "without_box")
    measured_texts = ("kinds", "blurred")

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float | str]]:
        """Count boxes and texts; the pixels are not decoded."""
        return [self._measured(sample) for sample in samples]

    @property
    def blurs(self) -> str:
        """The text with the boxes that are blurred in stored images; "" where none are."""
        return "blurred" if self.config.action == "blur" else ""

    def judge(self, samples: SampleColumns) -> Verdicts:
        verdicts = Verdicts(len(samples))
        numbers = samples.numbers
        if self.config.action == "blur":
            verdicts.drop(numbers["without_box"] > 0, PERSONAL_TEXT)
            return verdicts
        verdicts.drop(numbers["regions"] > self.config.most_regions, PERSONAL_REGION)
        verdicts.drop(numbers["personal_texts"] > self.config.most_texts, PERSONAL_TEXT)
        return verdicts

    def _measured(self, sample: Sample) -> dict[str, float | str]:
        labels = {label.casefold() for label in self.config.labels}
        regions = [
            one
            for one in sample.of(*BOXES)
            if one.name.casefold() in labels
            and (one.score is None or one.score >= self.config.least_score)
        ]
        kinds = {
            one.id: found
            for one in sample.of(*READINGS)
            if (found := personal_kinds(one.text, self.config.texts))
        }
        texts = [one for one in sample.of(*READINGS) if one.id in kinds]
        boxes = sorted({_box(one) for one in (*regions, *texts)} - {()})
        return {
            "regions": float(len(regions)),
            "personal_texts": float(len(texts)),
            "without_box": float(sum(not _box(one) for one in texts)),
            "kinds": " ".join(kind for kind in KINDS if any(kind in one for one in kinds.values())),
            "blurred": json.dumps(boxes, separators=(",", ":")),
        }


def _box(annotation: Annotation) -> tuple[float, ...]:
    """Return the box around a region, with two decimals, or () for an annotation without."""
    corners = annotation.box_xyxy
    if not corners and annotation.mask_rle:  # of a segmentation
        corners = mask_box(annotation.mask_rle)
    elif not corners and annotation.quad:
        xy = np.array(annotation.quad).reshape(-1, 2)
        corners = (*xy.min(axis=0).tolist(), *xy.max(axis=0).tolist())
    return tuple(round(float(one), 2) for one in corners)
