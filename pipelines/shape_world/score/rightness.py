"""Whether single annotations are right, each judged alone by the truth of its scene.

Two annotations of one thing may both be right: counting doubles is for the scores of sets.
`None` is neither: the known world holds no truth for such a statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from engine.core.annotation import Annotation
from engine.core.tasks import CAPTION_TASKS
from pipelines.shape_world.scene import Scene
from pipelines.shape_world.score.boxes import LEAST_IOU
from pipelines.shape_world.score.captions import is_true
from pipelines.shape_world.score.claims import Claim, claim_of, claims_of
from pipelines.shape_world.score.comparison import Comparison, comparable
from pipelines.shape_world.score.phrases import claim_of_phrase
from pipelines.shape_world.score.reading import sign_of

Verdicts = list[bool | None]
Judge = Callable[[Sequence[Annotation], Comparison], Verdicts]


def is_right(annotation: Annotation, scene: Scene) -> bool | None:
    """Judge one annotation; see `rightness`."""
    return rightness([annotation], scene)[0]


def rightness(annotations: Sequence[Annotation], scene: Scene) -> Verdicts:
    """Judge the annotations of one sample, each alone.

    A box is right on a thing of its label, a proposal on any thing, a described region on a thing
    that bears out the description (IoU 0.5 at least, boxes or masks); a line of text on a sign
    with that word, whatever the case; a phrase on a thing that it may mean; a caption when all
    that it claims is true: things, attributes, sides and quoted words.
    """
    return verdicts_on(annotations, Comparison(annotations=annotations, scene=scene))


def verdicts_on(annotations: Sequence[Annotation], comparison: Comparison) -> Verdicts:
    """Judge as `rightness` does, with what is already worked out about the scene."""
    places: dict[str, list[int]] = {}
    for place, annotation in enumerate(annotations):
        places.setdefault(annotation.task, []).append(place)
    verdicts: Verdicts = [None] * len(annotations)
    for task, own in places.items():
        if task in _JUDGES:
            judged = _JUDGES[task]([annotations[place] for place in own], comparison)
            for place, verdict in zip(own, judged, strict=True):
                verdicts[place] = verdict
    return verdicts


def _boxes(boxes: Sequence[Annotation], comparison: Comparison) -> Verdicts:
    is_on = comparison.box_iou(boxes) >= LEAST_IOU
    return _any(is_on & comparison.named([box.label for box in boxes]))


def _proposals(boxes: Sequence[Annotation], comparison: Comparison) -> Verdicts:
    return _any(comparison.box_iou(boxes) >= LEAST_IOU)


def _described_boxes(regions: Sequence[Annotation], comparison: Comparison) -> Verdicts:
    return _described(regions, comparison.box_iou(regions), comparison)


def _masks(masks: Sequence[Annotation], comparison: Comparison) -> Verdicts:
    return _any(comparison.mask_iou(masks) >= LEAST_IOU)


def _described_masks(masks: Sequence[Annotation], comparison: Comparison) -> Verdicts:
    return _described(masks, comparison.mask_iou(masks), comparison)


def _described(regions: Sequence[Annotation], iou: np.ndarray, comparison: Comparison) -> Verdicts:
    """Judge regions by what is said of them; who names nothing of this world is wrong."""
    claims = [claim_of(region.text or region.label) or Claim(name="") for region in regions]
    fits = comparison.agreement(claims)
    whole = [
        [_bears_out(claim, fit) for fit in row] for claim, row in zip(claims, fits, strict=True)
    ]
    return _any((iou >= LEAST_IOU) & np.array(whole, dtype=bool).reshape(iou.shape))


def _bears_out(claim: Claim, fit: int) -> bool:
    return fit == 1 + bool(claim.colour) + bool(claim.pattern)


def _lines(lines: Sequence[Annotation], comparison: Comparison) -> Verdicts:
    words = [
        comparison.words[place] if place >= 0 else None for place in sign_of(comparison, lines)
    ]
    return [comparable(line.text) == word for line, word in zip(lines, words, strict=True)]


def _transcripts(texts: Sequence[Annotation], comparison: Comparison) -> Verdicts:
    words = sorted(word for word in comparison.words if word)
    return [sorted(comparable(text.text).split()) == words for text in texts]


def _tags(tags: Sequence[Annotation], comparison: Comparison) -> Verdicts:
    return _any(comparison.named([tag.label or tag.text for tag in tags]))


def _captions(captions: Sequence[Annotation], comparison: Comparison) -> Verdicts:
    return [is_true(claims_of(caption.text), comparison) for caption in captions]


def _phrases(phrases: Sequence[Annotation], comparison: Comparison) -> Verdicts:
    """Judge phrases: those that name a thing by it, quoted words as lines of text."""
    claims = [claim_of_phrase(phrase) for phrase in phrases]
    meant = comparison.meant([claim or Claim(name="") for claim in claims])
    on_thing = _any((comparison.box_iou(phrases) >= LEAST_IOU) & meant)
    verdicts: Verdicts = []
    for phrase, claim, is_on in zip(phrases, claims, on_thing, strict=True):
        if claim is None:
            verdicts += _lines([phrase], comparison) if phrase.label == "text" else [None]
        else:
            verdicts.append(is_on)
    return verdicts


def _any(is_on: np.ndarray) -> Verdicts:
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
