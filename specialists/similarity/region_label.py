"""Choosing the label of a box among existing texts by an image-text model.

As in the Florence-2 paper (arXiv 2311.06242, section 4.3), with Florence-1 there: candidates are
the category of the box, the brief caption of its crop, and the noun chunks of that caption; the one
most similar to the crop is the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine.core.annotation import Annotation
from engine.core.sample import Sample
from engine.core.stage import Input, Specialist, StageConfig, maybe, one_of
from specialists.pretrained.checkpoint import Family
from specialists.pretrained.stage import Pretrained
from specialists.regions.crops import WORDS_OF_BOXES, BoxesConfig
from specialists.similarity.image_text import FAMILY, ImageText, ImageTextConfig, crop


class RegionLabelConfig(ImageTextConfig, BoxesConfig):
    """Options of `region_label`."""


@dataclass(frozen=True, kw_only=True)
class BoxCandidates:
    """One box, its pixels and its candidates: texts with the ids of their annotations."""

    box: Annotation
    pixels: np.ndarray
    candidates: dict[str, list[str]]


class RegionLabel(Pretrained[RegionLabelConfig], Specialist[RegionLabelConfig]):
    """One `region_category` for each box: the candidate most similar to the crop.

    Candidates are the box's label and the text of each `region_description` and `region_category`
    whose parent is the box; among equal ones the first wins, the label before the others. The
    parent is the box; `merged_from` has the annotations with the chosen text, so that the filter
    `superseded` (by: {region_label: [region_category]}) drops them as `merged` and the others as
    `outvoted`; descriptions are kept.

    The score is the similarity, on the scale of the model family: `region_score` judges by it, with
    a minimum under `specialists: {region_label: ...}`. The detector's score stays with the box.

    A box without candidates, or a too small one, gets no label.
    """

    Config: ClassVar[type[StageConfig]] = RegionLabelConfig
    version: ClassVar[int] = 2
    family: ClassVar[Family] = FAMILY
    produces: tuple[str, ...] = ("region_category",)

    def __init__(self, config: RegionLabelConfig) -> None:
        super().__init__(config)
        self.reads: tuple[Input, ...] = (one_of(*config.tasks), maybe(*WORDS_OF_BOXES))
        self.each = config.tasks

    def load(self) -> None:
        """Load the weights."""
        super().load()
        self._image_text = ImageText(self.network, self.config)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Choose a label for each box of each sample."""
        boxes = self.network.prepare(samples, self._boxes)
        every = [one_box for of_sample in boxes for one_box in of_sample]
        crops = iter(self._image_text.look([one_box.pixels for one_box in every]))
        texts = self._image_text.read(text for one_box in every for text in one_box.candidates)
        return [
            [self._label(one_box, next(crops), texts) for one_box in of_sample]
            for of_sample in boxes
        ]

    def _boxes(self, sample: Sample) -> list[BoxCandidates]:
        found = []
        for box in sample.of(*self.config.tasks):
            candidates = candidates_of(box, sample)
            if candidates and box.box_xyxy:
                pixels = crop(sample.image, box.box_xyxy, self.config)
                if pixels is not None:
                    found.append(BoxCandidates(box=box, pixels=pixels, candidates=candidates))
        return found

    def _label(
        self, one_box: BoxCandidates, seen: np.ndarray, read: dict[str, np.ndarray]
    ) -> Annotation:
        scores = {
            text: self._image_text.similarity(seen, read[text]) for text in one_box.candidates
        }
        chosen = max(scores, key=scores.__getitem__)
        return Annotation(
            kind="region",
            task="region_category",
            label=chosen,
            box_xyxy=one_box.box.box_xyxy,
            score=scores[chosen],
            parent_id=one_box.box.id,
            merged_from=tuple(one_box.candidates[chosen]),
        )


def candidates_of(box: Annotation, sample: Sample) -> dict[str, list[str]]:
    """Return the candidate texts of a box, its label first, with the ids of their annotations.

    Texts that differ only in case, white space or a final full stop are one candidate.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    own = [one for one in sample.of(*WORDS_OF_BOXES) if one.parent_id == box.id]
    for one in (box, *own):
        text = _text(one)
        if text:
            _, ids = found.setdefault(text.casefold(), (text, []))
            if one is not box:
                ids.append(one.id)
    return dict(found.values())


def _text(one: Annotation) -> str:
    is_sentence = one.task == "region_description"
    text = one.text or one.label if is_sentence else one.label or one.text
    return " ".join(text.split()).rstrip(".")
