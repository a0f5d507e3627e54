"""Drops texts that do not fit the image or region they describe, by an image-text model.

A caption is compared with the whole image, a phrase or the words of a region with the crop of its
box. Similarities are measured once and stored; a threshold for each task judges them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from florilegium.engine.core.annotation import SCORE_DECIMALS, Annotation
from florilegium.engine.core.errors import nearest
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, Filter, Input, one_of
from florilegium.engine.core.tasks import CAPTION_TASKS, DESCRIBED_TASKS, PHRASE_TASKS
from florilegium.pipelines.filters.per_task import Fraction
from florilegium.specialists.pretrained.checkpoint import Family
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.pretrained.views import View
from florilegium.specialists.regions.crops import CropConfig
from florilegium.specialists.similarity.image_text import FAMILY, ImageText, ImageTextConfig, crop

LOW_SIMILARITY = "low_similarity"

DEFAULT_LEAST: dict[str, float | None] = {
    **dict.fromkeys(CAPTION_TASKS, 0.01),
    **dict.fromkeys((*DESCRIBED_TASKS, *PHRASE_TASKS, "referring_segmentation"), 0.001),
}
"""Least similarity for each task that can be compared: probabilities of SigLIP, low enough to drop
only texts that clearly do not belong to the image. A cosine of CLIP is about 0.15 for an unrelated
text and 0.25 to 0.35 for one that describes the image."""

_WHOLE_IMAGE = ()


class ImageTextFilterConfig(ImageTextConfig, CropConfig):
    """Options of `ImageTextFilter`."""

    tasks: Annotated[tuple[str, ...], NamesAmong(DEFAULT_LEAST)] = Field(
        default=(*CAPTION_TASKS, "phrase_grounding", "region_description"), min_length=1
    )
    """Tasks whose texts are measured."""
    least_similarity: Annotated[
        dict[str, Fraction | None], THRESHOLD, NamesAmong(DEFAULT_LEAST)
    ] = DEFAULT_LEAST
    """Lowest similarity per task, 0..1, on the scale of the model: probabilities for SigLIP,
    cosines for CLIP. Tasks that a config omits keep the default, which is meant for SigLIP; `null`
    sets no limit."""

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        _check(tasks)
        return tuple(dict.fromkeys(tasks))

    @field_validator("least_similarity", mode="before")
    @classmethod
    def _over_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given  # pydantic reports what is wrong with it
        _check(given)
        return {**DEFAULT_LEAST, **given}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """An image or a part of it, and the texts to compare: ids of annotations with their texts."""

    view: View
    texts: dict[str, str]


class ImageTextFilter(Pretrained[ImageTextFilterConfig], Filter[ImageTextFilterConfig]):
    """Measure how well captions, phrases and regions fit the image, judge them by thresholds.

    Annotations without a text, without a box, or with a box that is too small are not judged.

    For `region_label` the similarity is the annotation's own score, which `region_score` judges.
    For other tasks the score is the detector's confidence, which `region_score` judges, too; the
    similarity is measured and judged here.
    """

    Config = ImageTextFilterConfig
    family: ClassVar[Family] = FAMILY
    judges_by = "annotation"
    reads: tuple[Input, ...] = (one_of(*DEFAULT_LEAST),)
    measured = ("similarity",)

    def __init__(self, config: ImageTextFilterConfig) -> None:
        super().__init__(config)
        self.reads = (one_of(*config.tasks),)
        self.each = config.tasks

    def load(self) -> None:
        """Load the weights."""
        super().load()
        self._image_text = ImageText(self.network, self.config)

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        """Compare each text with its image or crop; a crop with several texts is encoded once."""
        compared = [self._compared(sample) for sample in samples]
        every = [one for of_sample in compared for one in of_sample]
        seen = iter(self._image_text.look([one.view for one in every]))
        read = self._image_text.read(text for one in every for text in one.texts.values())
        return [
            [found for one in of_sample for found in self._measured(one, next(seen), read)]
            for of_sample in compared
        ]

    def _measured(
        self, compared: Compared, seen: np.ndarray, read: dict[str, np.ndarray]
    ) -> Iterator[Measurement]:
        for name, text in compared.texts.items():
            similarity = self._image_text.similarity(seen, read[text])
            yield Measurement(name, {"similarity": round(similarity, SCORE_DECIMALS)})

    def _compared(self, sample: Sample) -> list[Compared]:
        texts: dict[tuple[float, ...], dict[str, str]] = {}
        for one in sample.of(*self.config.tasks):
            place = _WHOLE_IMAGE if one.kind == "text" else one.box_xyxy
            words = _words(one)
            if words and (place or one.kind == "text"):
                texts.setdefault(place, {})[one.id] = words
        found = []
        for place, own in texts.items():
            view = crop(sample, place, self.config) if place else sample.picture
            if view is not None:
                found.append(Compared(view=view, texts=own))
        return found

    def judge(self, statements: Statements) -> Verdicts:
        """Judge the stored similarities."""
        verdicts = Verdicts(len(statements))
        similarity = statements.measurements["similarity"]
        for task in self.config.tasks:
            where = statements.of_tasks([task]) & ~np.isnan(similarity)
            verdicts.measure("similarity", similarity, where)
            least = self.config.least_similarity[task]
            if least is not None:
                verdicts.drop(where & (similarity < least), LOW_SIMILARITY)
        return verdicts


def _words(one: Annotation) -> str:
    """Return the text of an annotation: a sentence or phrase, else its label."""
    return " ".join(one.words.split())


def _check(tasks: Sequence[str] | dict[str, Any]) -> None:
    for task in tasks:
        if task not in DEFAULT_LEAST:
            raise ValueError(f"{task!r} is nothing to compare, {nearest(task, DEFAULT_LEAST)}")
