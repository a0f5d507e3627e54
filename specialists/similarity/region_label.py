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

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.rank import among_source
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Input, Specialist, StageConfig, maybe, one_of
from florilegium.specialists.pretrained.checkpoint import Family
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.pretrained.views import View
from florilegium.specialists.regions.crops import WORDS_OF_BOXES, BoxesConfig
from florilegium.specialists.regions.places import places
from florilegium.specialists.similarity.image_text import FAMILY, ImageText, ImageTextConfig, crop


class RegionLabelConfig(ImageTextConfig, BoxesConfig):
    """Options of `region_label`."""


@dataclass(frozen=True, kw_only=True)
class BoxCandidates:
    """One box, its part of the image and its candidates: texts with their annotations.

    `of_source` are the ids of the annotations that come from the source, where it comes first.
    """

    box: Annotation
    view: View
    candidates: dict[str, list[Annotation]]
    of_source: frozenset[str] = frozenset()

    @property
    def eligible(self) -> list[str]:
        """The texts to choose from: the descriptions that the source has, else all."""
        given = [text for text in self.candidates if self._is_of_source(text, "region_description")]
        return given or list(self.candidates)

    def score_of(self, text: str, similarity: float) -> float | None:
        """Return the score of a text: its similarity, none where the source has the text."""
        return None if self._is_of_source(text) else similarity

    def _is_of_source(self, text: str, task: str = "") -> bool:
        own = self.candidates[text]
        return any(one.id in self.of_source and task in ("", one.task) for one in own)


class RegionLabel(Pretrained[RegionLabelConfig], Specialist[RegionLabelConfig]):
    """One `region_description` for each box, the chosen text, and one `region_category`, its label.

    Candidates are the box's label and the text of each `region_description` and `region_category`
    whose parent is the box; among equal ones the first wins, the label before the others. Where the
    source has descriptions of the box, only they are candidates. A box without a label gets no
    `region_category`.

    The parent is the box; `merged_from` has the annotations with the chosen text, the box among
    them where it is its label, so that the filter `superseded` (by: {region_label:
    [region_description]}) drops candidates as `merged` or `outvoted`: one text stays.

    The score is the similarity, on the scale of the model family: `region_score` judges by it, with
    a minimum under `specialists: {region_label: ...}`. The detector's score stays with the box, and
    a text of the source gets none.

    A box without candidates, or a too small one, gets neither.
    """

    Config: ClassVar[type[StageConfig]] = RegionLabelConfig
    version: ClassVar[int] = 3
    family: ClassVar[Family] = FAMILY
    produces: tuple[str, ...] = ("region_description", "region_category")

    def __init__(self, config: RegionLabelConfig) -> None:
        super().__init__(config)
        self.reads: tuple[Input, ...] = (one_of(*config.tasks), maybe(*WORDS_OF_BOXES))
        self.each = config.tasks

    def load(self) -> None:
        """Load the weights."""
        super().load()
        self._image_text = ImageText(self.network, self.config)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Name each box of each sample, and choose its text."""
        boxes = [self._boxes(sample) for sample in samples]
        every = [one_box for of_sample in boxes for one_box in of_sample]
        crops = iter(self._image_text.look([one_box.view for one_box in every]))
        texts = self._image_text.read(text for one_box in every for text in one_box.candidates)
        return [
            [
                annotation
                for one_box in of_sample
                for annotation in self._texts(one_box, next(crops), texts)
            ]
            for of_sample in boxes
        ]

    def chosen(self, sample: Sample) -> list[Annotation]:
        """Return the boxes that get texts, the first in rank first: of each place one."""
        boxes = [box for box in sample.of(*self.config.tasks) if box.box_xyxy]
        found = places(boxes, sample.known, source_first=self.config.source_first)
        return [box for box, *_ in found]

    def _boxes(self, sample: Sample) -> list[BoxCandidates]:
        found = []
        for box in self.chosen(sample):
            if candidates := candidates_of(box, sample):
                view = crop(sample, box.box_xyxy, self.config)
                if view is not None:
                    of_source = self._of_source(box, sample)
                    found.append(
                        BoxCandidates(
                            box=box, view=view, candidates=candidates, of_source=of_source
                        )
                    )
        return found

    def _of_source(self, box: Annotation, sample: Sample) -> frozenset[str]:
        """Return the ids of the texts that the source gives a box."""
        if not self.config.source_first:
            return frozenset()
        own = _annotations_of(box, sample)
        is_given = among_source(own, sample.known).tolist()
        return frozenset(one.id for one, given in zip(own, is_given, strict=True) if given)

    def _texts(
        self, one_box: BoxCandidates, seen: np.ndarray, read: dict[str, np.ndarray]
    ) -> Iterator[Annotation]:
        scores = {
            text: self._image_text.similarity(seen, read[text]) for text in one_box.candidates
        }
        chosen = max(one_box.eligible, key=scores.__getitem__)
        description = Annotation(
            kind="region",
            task="region_description",
            text=chosen,
            box_xyxy=one_box.box.box_xyxy,
            score=one_box.score_of(chosen, scores[chosen]),
            parent_id=one_box.box.id,
            merged_from=tuple(one.id for one in one_box.candidates[chosen]),
        )
        yield description
        category = _text(one_box.box) if one_box.box.label else ""
        if category:
            yield replace(
                description,
                task="region_category",
                text="",
                label=category,
                score=one_box.score_of(category, scores[category]),
                merged_from=(),
            )


def candidates_of(box: Annotation, sample: Sample) -> dict[str, list[Annotation]]:
    """Return the candidate texts of a box, its label first, with their annotations.

    Texts that differ only in case, white space or a final full stop are one candidate.
    """
    found: dict[str, tuple[str, list[Annotation]]] = {}
    for one in _annotations_of(box, sample):
        text = _text(one)
        if text:
            found.setdefault(text.casefold(), (text, []))[1].append(one)
    return dict(found.values())


def _annotations_of(box: Annotation, sample: Sample) -> list[Annotation]:
    """Return the annotations that have words for a box: itself, and the texts made for it."""
    return [box, *(one for one in sample.of(*WORDS_OF_BOXES) if one.parent_id == box.id)]


def _text(one: Annotation) -> str:
    is_sentence = one.task == "region_description"
    text = one.words if is_sentence else one.name
    return " ".join(text.split()).rstrip(".")
