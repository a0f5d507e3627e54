"""Open-vocabulary detection of given names, and of names in captions and tags.

OWL-ViT and OWLv2 compare each name with each patch of the image; OmDet-Turbo and Grounding DINO
take several names in one forward pass. Negatives are names that compete for boxes and are never
output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, ClassVar, Literal, Protocol, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, Input, Specialist, StageConfig, one_of
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.specialists.detection.queries import PLACEHOLDER, NamedBoxes, NameQueries
from florilegium.specialists.pretrained.checkpoint import Family
from florilegium.specialists.pretrained.config import PretrainedConfig
from florilegium.specialists.pretrained.network import Network
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.words.english import (
    english_captions,
    english_revision,
    load_english,
    parse,
)
from florilegium.specialists.words.noun_phrases import noun_phrases
from florilegium.specialists.words.vocabulary import Names, Vocabulary, vocabulary_of

_SOURCES: dict[str, tuple[str, ...]] = {"captions": CAPTION_TASKS, "tags": ("tag",)}


class OpenVocabularyConfig(PretrainedConfig):
    """Options of `open_vocabulary`."""

    model: Annotated[str, CONTENT] = "google/owlv2-large-patch14-ensemble"
    """A folder, `package://NAME/FOLDER` or a hub id: an OWLv2, OWL-ViT, OmDet-Turbo, Grounding DINO
    or MM-Grounding-DINO."""
    classes: Annotated[Names, CONTENT] = "package://florilegium/configs/objects.txt"
    """Names to detect in every image: a list, names with their phrases (the best phrase counts), or
    a text file of either, one `name` or `name: phrase, phrase` per line. May be empty. The content
    counts, not the path."""
    negatives: tuple[str, ...] = ()
    """Names that compete with the others: a box that one of them fits best is discarded."""
    vocabulary_from: tuple[Literal["captions", "tags"], ...] = ()
    """Sources of further names for each image: the nouns of its `captions`, its `tags`."""
    task: Literal["open_vocabulary_detection", "object_detection"] = "open_vocabulary_detection"
    """The task of its boxes: as `object_detection` they vote beside a detector's in a merge."""
    template: str = PLACEHOLDER
    """Template of a prompt, with `{}` for the phrase: `a photo of a {}` suits OWL-ViT."""
    classes_at_once: int = Field(default=64, ge=1)
    """Names per forward pass, for models in which names attend to each other (OmDet-Turbo,
    Grounding
    DINO)."""
    least_score: float = Field(default=0.1, ge=0, lt=1)
    """Score that boxes must exceed, 0..1. Low by default: filters judge later."""

    @field_validator("template")
    @classmethod
    def _has_a_place(cls, template: str) -> str:
        if template.count(PLACEHOLDER) != 1:
            raise ValueError(f"{template!r} needs `{{}}` exactly once, for the phrase")
        return template

    @model_validator(mode="after")
    def _has_names(self) -> Self:
        if not self.classes and not self.vocabulary_from:
            raise ValueError("there are no names to detect; set `classes` or `vocabulary_from`")
        return self


class Finder(Protocol):
    """A loaded detector of one family."""

    def find(
        self, samples: Sequence[Sample], queries: Sequence[NameQueries], *, least: float
    ) -> list[list[NamedBoxes]]:
        """Detect names in each sample, above a score."""


class OpenVocabulary(Pretrained[OpenVocabularyConfig], Specialist[OpenVocabularyConfig]):
    """Boxes with names, each box with the name that fits it best.

    The score is that of the post-processing in `transformers`; for Grounding DINO the highest
    probability of any token, with the name's own in `support`. OmDet-Turbo scores all names of a
    box independently: each above `least_score` is output. Boxes are clipped to the image.
    """

    Config: ClassVar[type[StageConfig]] = OpenVocabularyConfig
    family: ClassVar[Family] = Family(
        title="an open-vocabulary detector",
        example="google/owlv2-base-patch16-ensemble",
        model_class="AutoModelForZeroShotObjectDetection",
        model_types=("owlv2", "owlvit", "omdet-turbo", "grounding-dino", "mm-grounding-dino"),
    )
    reads: tuple[Input, ...] = (one_of(*CAPTION_TASKS, "tag"),)
    produces: tuple[str, ...] = ("open_vocabulary_detection", "object_detection")
    extra: ClassVar[str] = "starter"

    def __init__(self, config: OpenVocabularyConfig) -> None:
        super().__init__(config)
        self.reads = tuple(one_of(*_SOURCES[source]) for source in config.vocabulary_from)
        self.produces = (config.task,)

    def require(self) -> None:
        """Check that an English pipeline is installed, if captions are read."""
        if "captions" in self.config.vocabulary_from:
            english_revision()

    def revision(self) -> str:
        """Name the weights, the vocabulary, and the pipeline that finds nouns if it is needed.

        Raises:
            ConfigError: the model or the vocabulary cannot be used.
        """
        english = [english_revision()] if "captions" in self.config.vocabulary_from else []
        return ", ".join([super().revision(), f"vocabulary {self._fixed.digest}", *english])

    @cached_property
    def _fixed(self) -> Vocabulary:
        """The names to detect in every image.

        Raises:
            ConfigError: the vocabulary cannot be read, or a name is also a negative.
        """
        vocabulary = vocabulary_of(self.config.classes) if self.config.classes else Vocabulary({})
        for name in self.config.negatives:
            if name in vocabulary.phrases:
                raise ConfigError(f"{name!r} is in `classes` and in `negatives`; remove one")
        return vocabulary

    def load(self) -> None:
        """Load the weights, read the names, and load spaCy if captions are read."""
        self._queries = NameQueries(
            phrases=self._fixed.phrases,
            negatives=self.config.negatives,
            template=self.config.template,
        )
        self._finder = self._loaded()
        if "captions" in self.config.vocabulary_from:
            load_english()

    def _loaded(self) -> Finder:
        from florilegium.specialists.detection.grounding_dino import GroundingDinoNames
        from florilegium.specialists.detection.omdet_turbo import OmDetTurbo, load_omdet_turbo
        from florilegium.specialists.detection.owl import Owl

        checkpoint, at_once = self.checkpoint(), self.config.classes_at_once
        if checkpoint.model_type == "omdet-turbo":
            self.network = Network(checkpoint, self.config, load=load_omdet_turbo)
            return OmDetTurbo(self.network, at_once=at_once)
        self.network = Network(checkpoint, self.config)
        if checkpoint.model_type in ("owlvit", "owlv2"):
            if self.config.compile:  # only its parts are called
                getattr(self.network.model, checkpoint.model_type).vision_model.compile()
            return Owl(self.network, self._queries.prompts)
        return GroundingDinoNames(self.network, at_once=at_once)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Detect names; an image without names is skipped."""
        queries = [self._queries.with_names(names) for names in self._further_names(samples)]
        rows = [row for row, one in enumerate(queries) if one.phrases]
        found = self._finder.find(
            [samples[row] for row in rows],
            [queries[row] for row in rows],
            least=self.config.least_score,
        )
        boxes: list[list[Annotation]] = [[] for _ in samples]
        for row, own in zip(rows, found, strict=True):
            sample = samples[row]
            for one in own:
                boxes[row] += _regions(one, (sample.width, sample.height), self.config.task)
        return boxes

    def _further_names(self, samples: Sequence[Sample]) -> list[list[str]]:
        """Return the names in captions and tags, by sample, in order of mention."""
        sources = self.config.vocabulary_from
        if "captions" not in sources:
            return [_tags(sample) if "tags" in sources else [] for sample in samples]
        captions = [[one.text for one in english_captions(sample)] for sample in samples]
        nouns = {
            text: [phrase.head for phrase in noun_phrases(document)]
            for text, document in parse(text for own in captions for text in own).items()
        }
        return [
            [
                *(noun for text in own for noun in nouns[text]),
                *(_tags(sample) if "tags" in sources else ()),
            ]
            for sample, own in zip(samples, captions, strict=True)
        ]


def _tags(sample: Sample) -> list[str]:
    return [name for tag in sample.of("tag") if (name := tag.label.strip() or tag.text.strip())]


def _regions(found: NamedBoxes, size_wh: tuple[int, int], task: str) -> Iterator[Annotation]:
    """Yield the boxes that are no negatives and have an area inside the image."""
    boxes_xyxy = found.box_xyxy.clip(0, np.tile(size_wh, 2))
    has_area = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1)
    for box in np.flatnonzero(has_area & found.queries.is_no_negative(found.name)):
        yield Annotation(
            kind="region",
            task=task,
            label=found.queries.names[found.name[box]],
            box_xyxy=tuple(boxes_xyxy[box].tolist()),
            score=float(found.score[box]),
            support=None if found.support is None else float(found.support[box]),
        )
