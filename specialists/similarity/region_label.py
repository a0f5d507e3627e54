"""The label of a box, chosen among three kinds of words by an image-text model.

The label choice of the Florence-2 paper (arXiv 2311.06242, section 4.2), where Florence-1 was the
judge: the category of the box, the brief caption of its crop, and the noun chunks of that caption
compete, and what is most similar to the crop is the label. Writes no words of its own.
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
    """Which model chooses, and for whose boxes."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One box, its pixels and its candidates: what may be said, and who said it."""

    box: Annotation
    pixels: np.ndarray
    candidates: dict[str, list[str]]


class RegionLabel(Pretrained[RegionLabelConfig], Specialist[RegionLabelConfig]):
    """One `region_category` for each box: the candidate most similar to the crop.

    Candidates are the box's label and the text of each `region_description` and `region_category`
    whose parent is the box; of equals the first wins, and the label comes first. The parent is
    the box, `merged_from` names the annotations that said what won, so that the filter
    `superseded` (by: {region_label: [region_category]}) takes the winning chunk for `merged` and
    the others for `outvoted`; descriptions stay, they are statements of their own.

    The score is the similarity, on the scale of its family: `region_score` judges by it, with a
    least score under `specialists: {region_label: ...}`. The score of the box, which says how
    sure the detector was, stays with the box.

    A box without candidates, or too small to be looked at, gets no label.
    """

    Config: ClassVar[type[StageConfig]] = RegionLabelConfig
    family: ClassVar[Family] = FAMILY
    produces: tuple[str, ...] = ("region_category",)

    def __init__(self, config: RegionLabelConfig) -> None:
        super().__init__(config)
        self.reads: tuple[Input, ...] = (one_of(*config.tasks), maybe(*WORDS_OF_BOXES))

    def load(self) -> None:
        """Load the weights."""
        super().load()
        self._image_text = ImageText(self.network, self.config)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Choose a label for each box of each sample."""
        contests = self.network.prepare(samples, self._contests)
        every = [contest for of_sample in contests for contest in of_sample]
        seen = iter(self._image_text.look([contest.pixels for contest in every]))
        read = self._image_text.read(text for contest in every for text in contest.candidates)
        return [
            [self._label(contest, next(seen), read) for contest in of_sample]
            for of_sample in contests
        ]

    def _contests(self, sample: Sample) -> list[Contest]:
        found = []
        for box in sample.of(*self.config.tasks):
            candidates = candidates_of(box, sample)
            if candidates and box.box_xyxy:
                pixels = crop(sample.image, box.box_xyxy, self.config)
                if pixels is not None:
                    found.append(Contest(box=box, pixels=pixels, candidates=candidates))
        return found

    def _label(self, contest: Contest, seen: np.ndarray, read: dict[str, np.ndarray]) -> Annotation:
        scores = {
            text: self._image_text.similarity(seen, read[text]) for text in contest.candidates
        }
        chosen = max(scores, key=scores.__getitem__)
        return Annotation(
            kind="region",
            task="region_category",
            label=chosen,
            box_xyxy=contest.box.box_xyxy,
            score=scores[chosen],
            parent_id=contest.box.id,
            merged_from=tuple(contest.candidates[chosen]),
        )


def candidates_of(box: Annotation, sample: Sample) -> dict[str, list[str]]:
    """Return what may be said of a box, its label first, with the ids of who else says it.

    Words that differ only in case, white space or a full stop are one candidate.
    """
    said: dict[str, tuple[str, list[str]]] = {}
    own = [one for one in sample.of(*WORDS_OF_BOXES) if one.parent_id == box.id]
    for one in (box, *own):
        words = _words(one)
        if words:
            _, ids = said.setdefault(words.casefold(), (words, []))
            if one is not box:
                ids.append(one.id)
    return dict(said.values())


def _words(one: Annotation) -> str:
    is_sentence = one.task == "region_description"
    said = one.text or one.label if is_sentence else one.label or one.text
    return " ".join(said.split()).rstrip(".")
