"""From the kept labels of a sample to what a model is asked and should answer.

Which task a sample serves, and which of its captions, regions and queries, follows from its
digest, the epoch and the seed. Knows no tokenizer and no tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import blake2b
from random import Random
from types import MappingProxyType

from engine.annotation import CAPTION_TASKS, Annotation
from pipelines.dataset import Labelled
from pipelines.training.absent import absent_from
from pipelines.training.config import TrainConfig
from pipelines.training.templates import fill
from specialists.florence2_format import (
    FLORENCE2_TASKS,
    TARGETS,
    clean,
    joined,
    locations,
    polygon_target,
    prompt_of,
    reading_order,
)
from specialists.outline import outline

FEEDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{task: (task,) for task in CAPTION_TASKS},
        "transcript": ("transcript", "ocr"),
        "ocr": ("ocr",),
        "object_detection": ("object_detection",),
        "dense_region_caption": ("dense_region_caption",),
        "region_proposal": ("region_proposal", "object_detection"),
        "phrase_grounding": ("phrase_grounding",),
        "open_vocabulary_detection": ("open_vocabulary_detection", "object_detection"),
        "referring_segmentation": ("referring_segmentation", "segmentation"),
        "segmentation": ("segmentation",),
        "region_category": ("region_category", "object_detection"),
        "region_description": ("region_description", "dense_region_caption"),
        "region_ocr": ("region_ocr", "ocr"),
    }
)
"""The annotations that feed a task: those of the first of these tasks that a sample has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One image, what is asked of it, and the answer to learn.

    `prefix` is the prompt in its short form, with the task's marker, `given` the task's input.
    """

    key: str
    task: str
    prefix: str
    prompt: str
    target: str
    image: bytes = field(repr=False)


class Labels:
    """The annotations of a sample, by task and by id."""

    def __init__(self, sample: Labelled, ambiguous: frozenset[tuple[str, str]]) -> None:
        self.sample = sample
        self.size_wh = (sample.width, sample.height)
        self._by_task: dict[str, list[Annotation]] = {}
        for annotation in sample.annotations:
            if (sample.key, annotation.task) not in ambiguous:
                self._by_task.setdefault(annotation.task, []).append(annotation)

    def of(self, task: str) -> Sequence[Annotation]:
        """Return the annotations of a task."""
        return self._by_task.get(task, ())

    def feeding(self, task: str) -> Sequence[Annotation]:
        """Return the annotations that feed a Florence-2 task."""
        return next((found for source in FEEDS[task] if (found := self.of(source))), ())

    @cached_property
    def by_id(self) -> dict[str, Annotation]:
        """All annotations by id."""
        return {annotation.id: annotation for annotation in self.sample.annotations}


Said = tuple[str, str]
"""A task's input (empty when it takes none) and the target."""
Maker = Callable[[Labels, Random], Said | None]


class ExampleMaker:
    """Makes examples from samples.

    `classes` and `phrases` are what the dataset speaks of: prompts for things that are absent
    from a sample are taken from them.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        classes: Sequence[str] = (),
        phrases: Sequence[str] = (),
        ambiguous: frozenset[tuple[str, str]] = frozenset(),
    ) -> None:
        self._config = config
        self._classes, self._phrases = classes, phrases
        self._ambiguous = ambiguous
        self._weights = {name: weight for name, weight in config.tasks.items() if weight > 0}
        self._makers = {name: self._maker(name) for name in self._weights if name in _MAKERS}

    def draw(self, sample: Labelled, epoch: int) -> Example | None:
        """Return one example of a sample, or nothing where its labels feed no task.

        The task is drawn by the weights of those that the sample can feed.
        """
        random = _random(self._config.seed, epoch, sample.sha256)
        labels = Labels(sample, self._ambiguous)
        keys = {name: random.random() ** (1 / weight) for name, weight in self._weights.items()}
        # The largest of random ** (1 / weight) is a draw by weight, the next one a draw from
        # the rest (Efraimidis and Spirakis, 2006).
        ranked = sorted(keys, key=keys.__getitem__, reverse=True)
        return next((made for name in ranked if (made := self._make(name, labels, random))), None)

    def every(self, sample: Labelled) -> Iterator[Example]:
        """Yield one example for each task that a sample can feed."""
        labels = Labels(sample, self._ambiguous)
        for name in self._weights:
            random = _random(self._config.seed, name, sample.sha256)
            if made := self._make(name, labels, random):
                yield made

    def _make(self, task: str, labels: Labels, random: Random) -> Example | None:
        if task in self._config.custom:
            return self._custom(task, labels, random)
        said = self._makers[task](labels, random)
        if said is None:
            return None
        given, target = said
        return Example(
            key=labels.sample.key,
            task=task,
            prefix=FLORENCE2_TASKS[task].marker + given,
            prompt=prompt_of(task, given),
            target=target,
            image=labels.sample.image,
        )

    def _custom(self, task: str, labels: Labels, random: Random) -> Example | None:
        filled = fill(self._config.custom[task], labels.sample)
        if not filled:
            return None
        prompt, target = random.choice(filled)
        sample = labels.sample
        return Example(
            key=sample.key,
            task=task,
            prefix=prompt,
            prompt=prompt,
            target=target,
            image=sample.image,
        )

    def _maker(self, task: str) -> Maker:
        share, corners = self._config.absent_share, self._config.polygon_corners
        if task == "open_vocabulary_detection":
            return partial(_queries, absent_share=share, classes=self._classes)
        if task == "phrase_grounding":
            return partial(_grounded, absent_share=share, phrases=self._phrases)
        if task in ("segmentation", "referring_segmentation"):
            return partial(_MAKERS[task], corners=corners)
        return partial(_MAKERS[task], task)


def _random(*parts: object) -> Random:
    digest = blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return Random(int.from_bytes(digest, "big"))


def _one_text(task: str, labels: Labels, random: Random) -> Said | None:
    texts = [text for one in labels.of(task) if (text := clean(one.text))]
    return ("", random.choice(texts)) if texts else None


def _transcript(task: str, labels: Labels, random: Random) -> Said | None:
    if labels.of(task):
        return _one_text(task, labels, random)
    lines = labels.of("ocr")
    order = reading_order([_quad(line) for line in lines])
    text = clean(" ".join(lines[place].text for place in order))
    return ("", text) if text else None


def _all_boxes(task: str, labels: Labels, random: Random) -> Said | None:
    boxed = [one for one in labels.feeding(task) if one.box_xyxy]
    words = [(one.text or one.label) if _is_described(task) else one.label for one in boxed]
    target = TARGETS[task](words, [one.box_xyxy for one in boxed], labels.size_wh)
    return ("", target) if target else None


def _all_lines(task: str, labels: Labels, random: Random) -> Said | None:
    lines = [line for line in labels.of(task) if line.quad or line.box_xyxy]
    texts = [line.text for line in lines]
    target = TARGETS[task](texts, [_quad(line) for line in lines], labels.size_wh)
    return ("", target) if target else None


def _one_region(task: str, labels: Labels, random: Random) -> Said | None:
    boxed = [one for one in labels.feeding(task) if one.box_xyxy and _word(task, one)]
    if not boxed:
        return None
    chosen = random.choice(boxed)
    return locations(chosen.box_xyxy, labels.size_wh), _word(task, chosen)


def _word(task: str, annotation: Annotation) -> str:
    if task == "region_category":
        return clean(annotation.label or annotation.text)
    return clean(annotation.text or annotation.label)


def _is_described(task: str) -> bool:
    return task == "dense_region_caption"


def _quad(line: Annotation) -> tuple[float, ...]:
    if line.quad:
        return line.quad
    left, top, right, bottom = line.box_xyxy or (0.0, 0.0, 0.0, 0.0)
    return (left, top, right, top, right, bottom, left, bottom)


def _queries(
    labels: Labels, random: Random, *, absent_share: float, classes: Sequence[str]
) -> Said | None:
    boxed = [one for one in labels.feeding("open_vocabulary_detection") if one.box_xyxy]
    boxes_of: dict[str, list[tuple[float, ...]]] = {}
    for one in sorted(boxed, key=_area, reverse=True):
        if word := clean(one.label or one.text):
            boxes_of.setdefault(word, []).append(one.box_xyxy)
    if not boxes_of:
        return None
    if random.random() < absent_share and (absent := absent_from(labels.sample, classes, random)):
        return joined([absent]), ""
    chosen = random.sample(sorted(boxes_of), random.randint(1, len(boxes_of)))
    words = [word for word in chosen for _ in boxes_of[word]]
    boxes = [box for word in chosen for box in boxes_of[word]]
    return joined(chosen), TARGETS["open_vocabulary_detection"](words, boxes, labels.size_wh)


def _area(annotation: Annotation) -> float:
    left, top, right, bottom = annotation.box_xyxy
    return (right - left) * (bottom - top)


def _grounded(
    labels: Labels, random: Random, *, absent_share: float, phrases: Sequence[str]
) -> Said | None:
    phrases_of: dict[str, list[Annotation]] = {}
    for phrase in labels.of("phrase_grounding"):
        if phrase.box_xyxy and phrase.parent_id in labels.by_id:
            phrases_of.setdefault(phrase.parent_id, []).append(phrase)
    if not phrases_of:
        return None
    if random.random() < absent_share and (absent := absent_from(labels.sample, phrases, random)):
        return clean(absent), ""
    caption = random.choice(sorted(phrases_of))
    mentioned = sorted(phrases_of[caption], key=lambda phrase: phrase.span)
    target = TARGETS["phrase_grounding"](
        [phrase.text for phrase in mentioned],
        [phrase.box_xyxy for phrase in mentioned],
        labels.size_wh,
    )
    return (clean(labels.by_id[caption].text), target) if target else None


def _one_mask(labels: Labels, random: Random, *, corners: int) -> Said | None:
    masks = [mask for mask in labels.of("segmentation") if mask.mask_rle]
    if not masks:
        return None
    mask = random.choice(masks)
    box_xyxy = _asked_box(mask, labels)
    target = _outlined([mask], corners, labels)
    return (locations(box_xyxy, labels.size_wh), target) if box_xyxy and target else None


def _asked_box(mask: Annotation, labels: Labels) -> tuple[float, ...]:
    """Return the box that a mask was made from, or the mask's own."""
    parent = labels.by_id.get(mask.parent_id)
    return (parent.box_xyxy if parent else ()) or mask.box_xyxy


def _referred(labels: Labels, random: Random, *, corners: int) -> Said | None:
    """A phrase and the mask of what it means: its own, or the one made from the same box."""
    masks_of: dict[str, list[Annotation]] = {}
    for mask in labels.of("referring_segmentation"):
        if mask.mask_rle and (word := clean(mask.text or mask.label)):
            masks_of.setdefault(word, []).append(mask)
    by_box = {_asked_box(mask, labels): mask for mask in labels.of("segmentation") if mask.mask_rle}
    phrases: dict[tuple[str, tuple[int, ...]], list[Annotation]] = {}
    for phrase in labels.of("phrase_grounding"):
        phrases.setdefault((phrase.parent_id, phrase.span), []).append(phrase)
    for mention in phrases.values():
        word = clean(mention[0].text)
        meant = [by_box[one.box_xyxy] for one in mention if one.box_xyxy in by_box]
        # A phrase for three things whose masks are two would teach to leave one out.
        if word and meant and len(meant) == len(mention):
            masks_of.setdefault(word, meant)
    if not masks_of:
        return None
    word = random.choice(sorted(masks_of))
    target = _outlined(masks_of[word], corners, labels)
    return (word, target) if target else None


def _outlined(masks: Sequence[Annotation], corners: int, labels: Labels) -> str:
    share = max(3, corners // len(masks))
    instances = [outline(mask.mask_rle, corners=share) for mask in masks if mask.mask_rle]
    return polygon_target(instances, labels.size_wh)


_MAKERS: Mapping[str, Callable[..., Said | None]] = MappingProxyType(
    {
        **dict.fromkeys(CAPTION_TASKS, _one_text),
        "transcript": _transcript,
        "ocr": _all_lines,
        "object_detection": _all_boxes,
        "dense_region_caption": _all_boxes,
        "region_proposal": _all_boxes,
        "phrase_grounding": _grounded,
        "open_vocabulary_detection": _queries,
        "referring_segmentation": _referred,
        "segmentation": _one_mask,
        "region_category": _one_region,
        "region_description": _one_region,
        "region_ocr": _one_region,
    }
)
