"""From a chosen hypothesis to an annotation: its region, its text and its voters.

Boxes are weighted means, masks are majorities pixel by pixel, the text is that of the leader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import SCORE_DECIMALS, Annotation, MaskRLE, Provenance
from florilegium.engine.core.tasks import MASK_TASKS
from florilegium.pipelines.merge.candidates import Candidates
from florilegium.pipelines.merge.hypotheses import Hypotheses
from florilegium.specialists.regions.likeness import rle


def statement_of(
    hypotheses: Hypotheses, row: int, confidence: float, weight: np.ndarray
) -> Annotation:
    """Make one annotation of a chosen hypothesis; the engine sets its id and provenance.

    The text is that of the leader. The score is the mean of the members' scores, weighted by the
    likeness of their texts to it; `None` if no member with such a text has one.

    Args:
        confidence: calibrated probability, NaN for none.
        weight: of each voter's boxes, (voters,).
    """
    annotations = hypotheses.candidates.annotations
    leader = annotations[hypotheses.leader[row]]
    is_present = hypotheses.is_present[row]
    members = [annotations[index] for index in hypotheses.member[row, is_present]]
    box_xyxy, mask = tuple(hypotheses.box_xyxy[row].tolist()), None
    if leader.task in MASK_TASKS:
        mask = majority([rle(one) for one in members], weight[is_present])
        left, top, width, height = coco_mask.toBbox(mask._asdict()).tolist()
        box_xyxy = (left, top, left + width, top + height)
    return Annotation(
        kind=leader.kind,
        task=leader.task,
        text=leader.text,
        label=leader.label,
        language=leader.language,
        box_xyxy=box_xyxy,
        quad=_mean_quad(leader, members, weight[is_present]),
        mask_rle=mask,
        score=_mean_score(members, hypotheses.likeness[row, is_present]),
        support=leader.support,
        confidence=rounded(confidence),
        parent_id=leader.parent_id,
        span=leader.span,
        merged_from=tuple(one.id for one in members),
    )


def repeated(candidates: Candidates, voter: str) -> list[Annotation]:
    """Return the annotations of one voter, with their trust as confidence."""
    return [
        repeat(annotation, merged_from=(annotation.id,), confidence=confidence)
        for annotation, confidence in zip(candidates.annotations, candidates.trust, strict=True)
        if annotation.specialist == voter
    ]


def repeat(
    annotation: Annotation, *, merged_from: tuple[str, ...], confidence: float
) -> Annotation:
    """Return a copy of an annotation for another stage; the engine sets its id and provenance."""
    return replace(
        annotation,
        **_BLANK,
        merged_from=merged_from,
        confidence=rounded(confidence),
    )


_ROUNDING = 1e-9
"""Rounding error of a sum of weights: a tie must not depend on it."""
_BLANK: dict[str, Any] = {
    one.name: one.default
    for one in fields(Annotation)
    if one.name in ("id", *(field.name for field in fields(Provenance)))
}


def rounded(confidence: float) -> float | None:
    """Return a confidence as it is stored: five decimals, `None` for NaN."""
    return None if np.isnan(confidence) else round(float(confidence), SCORE_DECIMALS)


def majority(masks: Sequence[dict[str, object]], weight: np.ndarray) -> MaskRLE:
    """Return the pixels that masks of at least half of the weight contain.

    If there is no such pixel, the mask of the greatest weight is returned.
    """
    pixels = coco_mask.decode(list(masks))
    share = pixels @ (weight / weight.sum())
    chosen = (share >= 0.5 - _ROUNDING).astype(np.uint8, order="F")
    if not chosen.any():
        chosen = pixels[..., int(weight.argmax())].copy(order="F")
    encoded = coco_mask.encode(chosen)
    return MaskRLE(tuple(encoded["size"]), encoded["counts"].decode())


def _mean_quad(
    leader: Annotation, members: Sequence[Annotation], weight: np.ndarray
) -> tuple[float, ...]:
    """Return the mean of the members' quads, from the corner where the leader's text begins."""
    has_quad = np.array([len(one.quad) == 8 for one in members])
    if not has_quad.any():
        return ()
    quads = [np.reshape(one.quad, (4, 2)) for one in members if len(one.quad) == 8]
    first = np.reshape(leader.quad, (4, 2)) if leader.quad else quads[0]
    aligned = [_aligned(quad, first) for quad in quads]
    return tuple(np.average(aligned, axis=0, weights=weight[has_quad]).ravel().tolist())


def _aligned(quad: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return a quad, (4, 2), beginning at the corner that brings it nearest to the reference.

    Voters may differ in where the text begins; a mean of different corners is meaningless.
    """
    turned = [np.roll(quad, turn, axis=0) for turn in range(4)]
    return min(turned, key=lambda one: float(np.abs(one - reference).sum()))


def _mean_score(members: Sequence[Annotation], likeness: np.ndarray) -> float | None:
    given = [
        (one.score, share)
        for one, share in zip(members, likeness.tolist(), strict=True)
        if one.score is not None and share > 0
    ]
    if not given:
        return None
    scores, shares = zip(*given, strict=True)
    return float(np.average(scores, weights=shares))
