"""Making training pairs: from the annotations of a sample to the input and target of each task.

A maker takes the labels and a random generator; it returns `None` if the labels do not feed its
task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import groupby
from random import Random
from types import MappingProxyType

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.expressions import unique_texts
from florilegium.specialists.florence2.format import (
    FLORENCE2_TASKS,
    TARGETS,
    clean,
    joined,
    locations,
    order_by_first_quad,
    polygon_target,
    region_text_target,
)
from florilegium.specialists.florence2.mirror import mirrored
from florilegium.specialists.regions.outline import outline
from florilegium.specialists.words.absent import Absence
from florilegium.specialists.words.relations import read_relations

SOURCE_TASKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{task: (task,) for task in FLORENCE2_TASKS},
        "transcript": ("transcript", "ocr"),
        "dense_region_caption": ("dense_region_caption", "region_description"),
        "region_proposal": ("region_proposal", "object_detection"),
        "open_vocabulary_detection": ("open_vocabulary_detection", "object_detection"),
        "referring_segmentation": ("referring_segmentation", "segmentation"),
        "segmentation": ("segmentation", "referring_segmentation"),
        "region_category": ("region_category", "object_detection"),
        "region_description": ("region_description", "dense_region_caption"),
        "region_ocr": ("region_ocr", "ocr"),
    }
)
"""The tasks whose annotations feed a Florence-2 task; the first that a sample has is used."""
EXPRESSION_TASKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"open_vocabulary_detection": ("region_description", "dense_region_caption")}
)
"""The tasks whose texts feed a Florence-2 task as referring expressions, besides its sources.

Referring expression comprehension (Florence-2 paper, Table 13) has no prompt of its own in the
released processor; released models answer it for that of open-vocabulary detection."""
REQUIRED_TASKS: Mapping[tuple[str, str], str] = MappingProxyType(
    {("referring_segmentation", "segmentation"): "phrase_grounding"}
)
"""A second task that a Florence-2 task needs, by (Florence-2 task, source task)."""


class SampleLabels:
    """The annotations of a sample, by task and by id; ambiguous ones are left out of `of`."""

    def __init__(
        self,
        sample: DatasetSample,
        ambiguous: frozenset[tuple[str, str]],
        *,
        is_mirrored: bool = False,
    ) -> None:
        self.sample = sample
        self.is_mirrored = is_mirrored
        self._ambiguous = ambiguous
        self.size_wh = (sample.width, sample.height)
        self._by_task: dict[str, list[Annotation]] = {}
        for annotation in sample.annotations:
            if (sample.key, annotation.task) not in ambiguous:
                self._by_task.setdefault(annotation.task, []).append(annotation)

    def mirrored(self) -> SampleLabels:
        """Return the labels of the mirrored image; only those of regions are valid for it."""
        flipped = tuple(mirrored(one, self.sample.width) for one in self.sample.annotations)
        sample = replace(self.sample, annotations=flipped)
        return SampleLabels(sample, self._ambiguous, is_mirrored=True)

    @property
    def annotations(self) -> Sequence[Annotation]:
        """All annotations, ambiguous ones too."""
        return self.sample.annotations

    def of(self, task: str) -> Sequence[Annotation]:
        """Return the annotations of a task."""
        return self._by_task.get(task, ())

    def is_ambiguous(self, *tasks: str) -> bool:
        """Return whether the annotations of one of these tasks are left out as ambiguous."""
        return any((self.sample.key, task) in self._ambiguous for task in tasks)

    def feeding(self, task: str) -> Sequence[Annotation]:
        """Return the annotations that feed a Florence-2 task."""
        return next((found for source in SOURCE_TASKS[task] if (found := self.of(source))), ())

    @cached_property
    def by_id(self) -> dict[str, Annotation]:
        """All annotations by id."""
        return {annotation.id: annotation for annotation in self.sample.annotations}


Pair = tuple[str, str]
"""The input of a task ("" if it takes none) and the target."""
Maker = Callable[[SampleLabels, Random], Pair | None]
Outlined = Callable[[Sequence[Annotation], SampleLabels], str]
"""Writes masks as polygons."""
Mention = tuple[str, tuple[int, ...]]
"""A phrase in a caption: the caption's id and the phrase's span."""


def makers_of(
    config: TrainConfig, *, classes: Sequence[str], phrases: Sequence[str]
) -> dict[str, Maker]:
    """Return the maker of each Florence-2 task, with the options of a config."""
    share = config.absent_share
    outlined = partial(_outlined, config=config)
    absence = Absence(read_relations(config.kinds_and_parts))
    special: dict[str, Maker] = {
        "open_vocabulary_detection": partial(
            _queries, absence=absence, absent_share=share, classes=classes
        ),
        "phrase_grounding": partial(
            _grounded, absence=absence, absent_share=share, phrases=phrases
        ),
        "referring_segmentation": partial(_referred, outlined=outlined),
        "transcript": _transcript,
    }
    by_form: Mapping[tuple[str, str], Callable[[str, SampleLabels, Random], Pair | None]] = {
        ("nothing", "text"): _one_text,
        ("nothing", "boxes"): _all_boxes,
        ("nothing", "quads"): _all_lines,
        ("region", "text"): _one_region,
        ("region", "polygons"): partial(_one_mask, outlined=outlined),
        ("text", "text"): _one_answer,
    }
    return {
        name: special.get(name) or partial(by_form[task.takes, task.answers], name)
        for name, task in FLORENCE2_TASKS.items()
    }


def _one_text(task: str, labels: SampleLabels, random: Random) -> Pair | None:
    texts = [text for one in labels.of(task) if (text := clean(one.text))]
    return ("", random.choice(texts)) if texts else None


def _one_answer(task: str, labels: SampleLabels, random: Random) -> Pair | None:
    pairs = [(clean(one.text), clean(one.label)) for one in labels.of(task)]
    answered = [(question, answer) for question, answer in pairs if question and answer]
    return random.choice(answered) if answered else None


def _transcript(labels: SampleLabels, random: Random) -> Pair | None:
    if labels.of("transcript"):
        return _one_text("transcript", labels, random)
    lines = labels.of("ocr")
    order = order_by_first_quad([_quad(line) for line in lines])
    # Nothing stands between the lines in the answers of the released weights.
    text = "".join(clean(lines[index].text) for index in order)
    return ("", text) if text else None


def _all_boxes(task: str, labels: SampleLabels, random: Random) -> Pair | None:
    boxed = [one for one in labels.feeding(task) if one.box_xyxy]
    is_name = FLORENCE2_TASKS[task].words != "sentence"
    if not is_name:  # several texts of one box are several ways to describe it: the first counts
        boxed = list({one.box_xyxy: one for one in reversed(boxed)}.values())[::-1]
    words = [one.label if is_name else one.words for one in boxed]
    target = TARGETS[task](words, [one.box_xyxy for one in boxed], labels.size_wh)
    return ("", target) if target else None


def _all_lines(task: str, labels: SampleLabels, random: Random) -> Pair | None:
    lines = [line for line in labels.of(task) if line.quad or line.box_xyxy]
    texts = [line.text for line in lines]
    target = TARGETS[task](texts, [_quad(line) for line in lines], labels.size_wh)
    return ("", target) if target else None


def _one_region(task: str, labels: SampleLabels, random: Random) -> Pair | None:
    boxed = [one for one in labels.feeding(task) if one.box_xyxy and _region_text(task, one)]
    if not boxed:
        return None
    chosen = random.choice(boxed)
    region = locations(chosen.box_xyxy, labels.size_wh)
    return region, region_text_target(_region_text(task, chosen), chosen.box_xyxy, labels.size_wh)


def _region_text(task: str, annotation: Annotation) -> str:
    if FLORENCE2_TASKS[task].words == "name":
        return clean(annotation.name)
    return clean(annotation.words)


def _quad(line: Annotation) -> tuple[float, ...]:
    if line.quad:
        return line.quad
    left, top, right, bottom = line.box_xyxy or (0.0, 0.0, 0.0, 0.0)
    return (left, top, right, top, right, bottom, left, bottom)


def _queries(
    labels: SampleLabels,
    random: Random,
    *,
    absence: Absence,
    absent_share: float,
    classes: Sequence[str],
) -> Pair | None:
    """Pair names with all their boxes or, half of the time, a referring expression with its box."""
    boxed = [one for one in labels.feeding("open_vocabulary_detection") if one.box_xyxy]
    boxes_of: dict[str, list[tuple[float, ...]]] = {}
    for one in sorted(boxed, key=_area, reverse=True):
        if word := clean(one.name):
            boxes_of.setdefault(word, []).append(one.box_xyxy)
    box_of = _expressions(labels)
    if not boxes_of and not box_of:
        return None
    if random.random() < absent_share and (
        absent := absence.draw(labels.annotations, classes, random)
    ):
        return joined([absent]), ""
    write = TARGETS["open_vocabulary_detection"]
    if box_of and (not boxes_of or random.random() < 0.5):
        expression = random.choice(sorted(box_of))
        return joined([expression]), write([expression], [box_of[expression]], labels.size_wh)
    chosen = random.sample(sorted(boxes_of), random.randint(1, len(boxes_of)))
    words = [word for word in chosen for _ in boxes_of[word]]
    boxes = [box for word in chosen for box in boxes_of[word]]
    return joined(chosen), write(words, boxes, labels.size_wh)


def _expressions(labels: SampleLabels) -> dict[str, tuple[float, ...]]:
    """Return the region texts that refer to one region, with its box.

    None for a mirrored image, where "the left cup" would be the right one, and none where names are
    ambiguous: another region may have the text.
    """
    task = "open_vocabulary_detection"
    if labels.is_mirrored or labels.is_ambiguous(*SOURCE_TASKS[task]):
        return {}
    texts = [one for source in EXPRESSION_TASKS[task] for one in labels.of(source)]
    return unique_texts(texts, labels.sample.annotations)


def _area(annotation: Annotation) -> float:
    left, top, right, bottom = annotation.box_xyxy
    return (right - left) * (bottom - top)


def _grounded(
    labels: SampleLabels,
    random: Random,
    *,
    absence: Absence,
    absent_share: float,
    phrases: Sequence[str],
) -> Pair | None:
    phrases_of: dict[str, list[Annotation]] = {}
    for phrase in labels.of("phrase_grounding"):
        if phrase.box_xyxy and phrase.parent_id in labels.by_id:
            phrases_of.setdefault(phrase.parent_id, []).append(phrase)
    if not phrases_of:
        return None
    if random.random() < absent_share and (
        absent := absence.draw(labels.annotations, phrases, random)
    ):
        return clean(absent), ""
    caption = random.choice(sorted(phrases_of))
    mentioned = sorted(phrases_of[caption], key=_mention)
    # A phrase that occurs twice is written twice: each mention has its own boxes.
    target = "".join(
        TARGETS["phrase_grounding"](
            [phrase.text for phrase in own], [phrase.box_xyxy for phrase in own], labels.size_wh
        )
        for own in (list(group) for _, group in groupby(mentioned, key=_mention))
    )
    return (clean(labels.by_id[caption].text), target) if target else None


def _mention(phrase: Annotation) -> tuple[tuple[int, ...], str]:
    return phrase.span, phrase.text


def _one_mask(
    task: str, labels: SampleLabels, random: Random, *, outlined: Outlined
) -> Pair | None:
    masks = [mask for mask in labels.feeding(task) if mask.mask_rle]
    if not masks:
        return None
    mask = random.choice(masks)
    # A phrase may have several boxes, and its masks only one of them as their parent.
    is_of_phrase = mask.task == "referring_segmentation"
    box_xyxy = mask.box_xyxy if is_of_phrase else _asked_box(mask, labels)
    target = outlined([mask], labels)
    return (locations(box_xyxy, labels.size_wh), target) if box_xyxy and target else None


def _asked_box(mask: Annotation, labels: SampleLabels) -> tuple[float, ...]:
    """Return the box that a mask was made from, else the mask's own."""
    parent = labels.by_id.get(mask.parent_id)
    return (parent.box_xyxy if parent else ()) or mask.box_xyxy


def _referred(labels: SampleLabels, random: Random, *, outlined: Outlined) -> Pair | None:
    """Pair a phrase with its masks: its own, else those made from its boxes."""
    masks_of = _masks_of_boxes(labels) | _own_masks(labels)
    if not masks_of:
        return None
    phrase = random.choice(sorted(masks_of))
    target = outlined(masks_of[phrase], labels)
    return (phrase, target) if target else None


def _own_masks(labels: SampleLabels) -> dict[str, list[Annotation]]:
    """Return the masks of `referring_segmentation`, by phrase.

    Where several captions have a phrase, its first mention counts.
    """
    ambiguous = _ambiguous_phrases(_mentions(labels))
    masks_of_mention: dict[tuple[str, Mention | None], list[Annotation]] = {}
    for mask in labels.of("referring_segmentation"):
        phrase = clean(mask.words)
        if mask.mask_rle and phrase and phrase not in ambiguous:
            grounded = labels.by_id.get(mask.parent_id)
            mention = _mention_of(grounded) if grounded and grounded.kind == "phrase" else None
            masks_of_mention.setdefault((phrase, mention), []).append(mask)
    masks_of: dict[str, list[Annotation]] = {}
    for (phrase, _), masks in masks_of_mention.items():
        masks_of.setdefault(phrase, masks)
    return masks_of


def _masks_of_boxes(labels: SampleLabels) -> dict[str, list[Annotation]]:
    """Return the masks of `segmentation` made from the boxes of grounded phrases, by phrase.

    Where several captions have a phrase, its first mention counts.
    """
    segmented = [mask for mask in labels.of("segmentation") if mask.mask_rle]
    mask_of = {_asked_box(mask, labels): mask for mask in segmented}
    mentions = _mentions(labels)
    ambiguous = _ambiguous_phrases(mentions)
    masks_of: dict[str, list[Annotation]] = {}
    for mention in mentions.values():
        phrase = clean(mention[0].text)
        masks = [mask_of[one.box_xyxy] for one in mention if one.box_xyxy in mask_of]
        # Skip a phrase for three objects with two masks: it would train the model to omit one.
        if phrase and phrase not in ambiguous and len(masks) == len(mention):
            masks_of.setdefault(phrase, masks)
    return masks_of


def _mentions(labels: SampleLabels) -> dict[Mention, list[Annotation]]:
    """Return the grounded phrases with their boxes, by mention."""
    mentions: dict[Mention, list[Annotation]] = {}
    for one in labels.of("phrase_grounding"):
        mentions.setdefault(_mention_of(one), []).append(one)
    return mentions


def _mention_of(phrase: Annotation) -> Mention:
    return phrase.parent_id, phrase.span


def _ambiguous_phrases(mentions: Mapping[Mention, Sequence[Annotation]]) -> set[str]:
    """Return phrases that refer to several objects in one caption, such as "a man ... a man"."""
    boxes_of: dict[tuple[str, str], set[frozenset[tuple[float, ...]]]] = {}
    for (caption, _), mention in mentions.items():
        boxes = frozenset(one.box_xyxy for one in mention)
        boxes_of.setdefault((caption, clean(mention[0].text)), set()).add(boxes)
    return {phrase for (_, phrase), boxes in boxes_of.items() if len(boxes) > 1}


def _outlined(masks: Sequence[Annotation], labels: SampleLabels, *, config: TrainConfig) -> str:
    """Write the polygons of masks, which share the corners of a target."""
    # <s>, </s>, brackets around a mask, two tokens a corner, <sep> at most every third corner.
    room = 3 * (config.max_target_tokens - 2 - 2 * len(masks)) // 7
    share = min(config.polygon_corners, room) // len(masks)
    instances = [
        outline(mask.mask_rle, corners=share, min_iou=config.polygon_iou)
        for mask in masks
        if mask.mask_rle
    ]
    return polygon_target(instances, labels.size_wh)
