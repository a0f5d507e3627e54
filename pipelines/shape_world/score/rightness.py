"""Whether single annotations are right, each compared with the scene on its own.

Two annotations of one thing may both be right; the scores of sets count duplicates as wrong.
`None` means undecidable: ground truth does not cover such an annotation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.pipelines.shape_world.scene import Scene
from florilegium.pipelines.shape_world.score.boxes import MIN_IOU
from florilegium.pipelines.shape_world.score.captions import is_true
from florilegium.pipelines.shape_world.score.claims import Claim, claim_of, claims_of
from florilegium.pipelines.shape_world.score.comparison import SceneComparison, normalised_text
from florilegium.pipelines.shape_world.score.phrases import claim_of_phrase
from florilegium.pipelines.shape_world.score.reading import sign_of

Rightness = list[bool | None]
Judge = Callable[[Sequence[Annotation], SceneComparison], Rightness]


def is_right(annotation: Annotation, scene: Scene) -> bool | None:
    """Return whether one annotation is right; see `rightness`."""
    return rightness([annotation], scene)[0]


def rightness(annotations: Sequence[Annotation], scene: Scene) -> Rightness:
    """Return whether the annotations of one sample are right, each on its own.

    A box is right if it matches a thing of its label, a proposal any thing, a described region a
    thing that fits the description (IoU 0.5 at least, of boxes or masks); a line of text if it
    lies on a sign with that word, ignoring case; a phrase if it matches a thing that it may refer
    to; a caption if all its claims are true: objects, attributes, relations and quoted words.
    """
    return rightness_in(annotations, SceneComparison(annotations=annotations, scene=scene))


def rightness_in(annotations: Sequence[Annotation], comparison: SceneComparison) -> Rightness:
    """Do the same as `rightness`, with a comparison that exists already."""
    indices: dict[str, list[int]] = {}
    for index, annotation in enumerate(annotations):
        indices.setdefault(annotation.task, []).append(index)
    found: Rightness = [None] * len(annotations)
    for task, own in indices.items():
        if task in _JUDGES:
            rights = _JUDGES[task]([annotations[index] for index in own], comparison)
            for index, right in zip(own, rights, strict=True):
                found[index] = right
    return found


def _boxes(boxes: Sequence[Annotation], comparison: SceneComparison) -> Rightness:
    is_on = comparison.box_iou(boxes) >= MIN_IOU
    return _any(is_on & comparison.named([box.label for box in boxes]))


def _proposals(boxes: Sequence[Annotation], comparison: SceneComparison) -> Rightness:
    return _any(comparison.box_iou(boxes) >= MIN_IOU)


def _described_boxes(regions: Sequence[Annotation], comparison: SceneComparison) -> Rightness:
    return _described(regions, comparison.box_iou(regions), comparison)


def _masks(masks: Sequence[Annotation], comparison: SceneComparison) -> Rightness:
    return _any(comparison.mask_iou(masks) >= MIN_IOU)


def _described_masks(masks: Sequence[Annotation], comparison: SceneComparison) -> Rightness:
    return _described(masks, comparison.mask_iou(masks), comparison)


def _described(
    regions: Sequence[Annotation], iou: np.ndarray, comparison: SceneComparison
) -> Rightness:
    """Compare regions by their text; a text without a known name is wrong."""
    claims = [claim_of(region.words) or Claim(name="") for region in regions]
    fits = comparison.fits(claims)
    whole = [[_fits(claim, fit) for fit in row] for claim, row in zip(claims, fits, strict=True)]
    return _any((iou >= MIN_IOU) & np.array(whole, dtype=bool).reshape(iou.shape))


def _fits(claim: Claim, fit: int) -> bool:
    return fit == 1 + bool(claim.colour) + bool(claim.pattern)


def _lines(lines: Sequence[Annotation], comparison: SceneComparison) -> Rightness:
    words = [
        comparison.words[index] if index >= 0 else None for index in sign_of(comparison, lines)
    ]
    return [normalised_text(line.text) == word for line, word in zip(lines, words, strict=True)]


def _transcripts(texts: Sequence[Annotation], comparison: SceneComparison) -> Rightness:
    words = sorted(word for word in comparison.words if word)
    return [sorted(normalised_text(text.text).split()) == words for text in texts]


def _tags(tags: Sequence[Annotation], comparison: SceneComparison) -> Rightness:
    return _any(comparison.named([tag.name for tag in tags]))


def _captions(captions: Sequence[Annotation], comparison: SceneComparison) -> Rightness:
    return [is_true(claims_of(caption.text), comparison) for caption in captions]


def _phrases(phrases: Sequence[Annotation], comparison: SceneComparison) -> Rightness:
    """Compare phrases: those that name a thing with things, quoted words as lines of text."""
    claims = [claim_of_phrase(phrase) for phrase in phrases]
    referents = comparison.referents([claim or Claim(name="") for claim in claims])
    on_thing = _any((comparison.box_iou(phrases) >= MIN_IOU) & referents)
    found: Rightness = []
    for phrase, claim, is_on in zip(phrases, claims, on_thing, strict=True):
        if claim is None:
            found += _lines([phrase], comparison) if phrase.label == "text" else [None]
        else:
            found.append(is_on)
    return found


def _any(is_on: np.ndarray) -> Rightness:
    return [bool(row.any()) for row in is_on]


_JUDGES: Mapping[str, Judge] = {
    **dict.fromkeys(CAPTION_TASKS, _captions),
    "tag": _tags,
    "transcript": _transcripts,
    "object_detection": _boxes,
    "open_vocabulary_detection": _described_boxes,
    "region_proposal": _proposals,
    "dense_region_caption": _described_boxes,
    "region_category": _described_boxes,
    "region_description": _described_boxes,
    "segmentation": _masks,
    "referring_segmentation": _described_masks,
    "ocr": _lines,
    "region_ocr": _lines,
    "phrase_grounding": _phrases,
}
