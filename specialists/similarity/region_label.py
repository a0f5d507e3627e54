"""The two texts of a box: its category, and the text that an image-text model chooses for it.

As in the Florence-2 paper (arXiv 2311.06242, section 4.3), with Florence-1 there. The phrase is the
category of the box. The brief text is the candidate most similar to the crop; candidates are the
category, the caption of the crop, and the noun phrases of that caption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    """One `region_description` for each box, the chosen text, and one `region_category`, its label.

    Candidates are the box's label and the text of each `region_description` and `region_category`
    whose parent is the box; among equal ones the first wins, the label before the others. The
    parent is the box; `merged_from` has the annotations with the chosen text, the box among them
    where it is its label, so that the filter `superseded` (by: {region_label:
    [region_description]}) drops candidates as `merged` or `outvoted`: one text stays. A box without
    a label gets no `region_category`.

    The score is the similarity, on the scale of the model family: `region_score` judges by it, with
    a minimum under `specialists: {region_label: ...}`. The detector's score stays with the box.

    A box without candidates, or a too small one, gets neither.
    """

    Config: ClassVar[type[StageConfig]] = RegionLabelConfig
    version: ClassVar[int] = 2
    family: ClassVar[Family] = FAMILY
    produces: tuple[str, ...] = ("region_description", "region_category")

    def __init__(self, config: RegionLabelConfig) -> None:
        super().__init__(config)
        self.reads: tuple[Input, ...] = (one_of(*config.tasks), maybe(*WORDS_OF_BOXES))

    def load(self) -> None:
        """Load the weights."""
        super().load()
        self._image_text = ImageText(self.network, self.config)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Name each box of each sample, and choose its text."""
        boxes = self.network.prepare(samples, self._boxes)
        every = [one_box for of_sample in boxes for one_box in of_sample]
        crops = iter(self._image_text.look([one_box.pixels for one_box in every]))
        texts = self._image_text.read(text for one_box in every for text in one_box.candidates)
        return [
            [
                annotation
                for one_box in of_sample
                for annotation in self._texts(one_box, next(crops), texts)
            ]
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

    def _texts(
        self, one_box: BoxCandidates, seen: np.ndarray, read: dict[str, np.ndarray]
    ) -> Iterator[Annotation]:
        scores = {
            text: self._image_text.similarity(seen, read[text]) for text in one_box.candidates
        }
        chosen = max(scores, key=scores.__getitem__)
        description = Annotation(
            kind="region",
            task="region_description",
            text=chosen,
            box_xyxy=one_box.box.box_xyxy,
            score=scores[chosen],
            parent_id=one_box.box.id,
            merged_from=tuple(one_box.candidates[chosen]),
        )
        yield description
        if one_box.box.label.strip():
            category = _text(one_box.box)
            yield replace(
                description,
                task="region_category",
                text="",
                label=category,
                score=scores[category],
                merged_from=(),
            )


def candidates_of(box: Annotation, sample: Sample) -> dict[str, list[str]]:
    """Return the candidate texts of a box, its label first, with the ids of their annotations.

    Texts that differ only in case, white space or a final full stop are one candidate.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    texts = [one for one in sample.of(*WORDS_OF_BOXES) if one.parent_id == box.id]
    for one in (box, *texts):
        text = _text(one)
        if text:
            found.setdefault(text.casefold(), (text, []))[1].append(one.id)
    return dict(found.values())


def _text(one: Annotation) -> str:
    is_sentence = one.task == "region_description"
    text = one.text or one.label if is_sentence else one.label or one.text
    return " ".join(text.split()).rstrip(".")
