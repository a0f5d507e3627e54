"""From a chosen hypothesis to an annotation: its place, its words and who stands behind it.

Boxes are weighted means, masks are voted on pixel by pixel, words are those of the surest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from engine.core.annotation import SCORE_DECIMALS, Annotation, MaskRLE, Provenance
from engine.core.tasks import MASK_TASKS
from pipelines.merge.candidates import Candidates, rle
from pipelines.merge.hypotheses import Hypotheses


def statement_of(
    hypotheses: Hypotheses, row: int, confidence: float, weight: np.ndarray
) -> Annotation:
    """Make one annotation of a chosen hypothesis; its id and provenance are the engine's.

    The words are those of the leader. The score is the mean of what those who agree with it
    said, by how much they agree; `None` where none of them gave one.

    Args:
        confidence: calibrated probability, NaN for none.
        weight: how exactly each voter draws, (voters,).
    """
    annotations = hypotheses.candidates.annotations
    leader = annotations[hypotheses.leader[row]]
    is_present = hypotheses.is_present[row]
    members = [annotations[place] for place in hypotheses.member[row, is_present]]
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
        score=_mean_score(members, hypotheses.agreement[row, is_present]),
        support=leader.support,
        confidence=rounded(confidence),
        parent_id=leader.parent_id,
        span=leader.span,
        merged_from=tuple(one.id for one in members),
    )


def repeated(candidates: Candidates, voter: str) -> list[Annotation]:
    """Return what one voter says, as it says it, with what its word is worth."""
    return [
        repeat(annotation, merged_from=(annotation.id,), confidence=confidence)
        for annotation, confidence in zip(candidates.annotations, candidates.trust, strict=True)
        if annotation.specialist == voter
    ]


def repeat(
    annotation: Annotation, *, merged_from: tuple[str, ...], confidence: float
) -> Annotation:
    """Return a statement as somebody else's; its id and provenance are the engine's."""
    return replace(
        annotation,
        **_BLANK,
        merged_from=merged_from,
        confidence=rounded(confidence),
    )


_BLANK: dict[str, Any] = {
    one.name: one.default
    for one in fields(Annotation)
    if one.name in ("id", *(field.name for field in fields(Provenance)))
}


def rounded(confidence: float) -> float | None:
    """Return a confidence as it is stored: five decimals, `None` for NaN."""
    return None if np.isnan(confidence) else round(float(confidence), SCORE_DECIMALS)


def majority(masks: Sequence[dict[str, object]], weight: np.ndarray) -> MaskRLE:
    """Return the pixels for which more weight speaks than against; a tie counts for.

    Should no pixel have a majority, the mask of the greatest weight is returned.
    """
    pixels = coco_mask.decode(list(masks))
    share = pixels @ (weight / weight.sum())
    chosen = (share >= 0.5 - 1e-9).astype(np.uint8, order="F")
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
    begun = [_begun_like(first, quad) for quad in quads]
    return tuple(np.average(begun, axis=0, weights=weight[has_quad]).ravel().tolist())


def _begun_like(first: np.ndarray, quad: np.ndarray) -> np.ndarray:
    """Return a quad, (4, 2), from the corner that makes it most like another.

    Voters may differ in where the text begins; the mean of different corners is no place at all.
    """
    turned = [np.roll(quad, turn, axis=0) for turn in range(4)]
    return min(turned, key=lambda one: float(np.abs(one - first).sum()))


def _mean_score(members: Sequence[Annotation], agreement: np.ndarray) -> float | None:
    given = [
        (one.score, share)
        for one, share in zip(members, agreement.tolist(), strict=True)
        if one.score is not None and share > 0
    ]
    if not given:
        return None
    scores, shares = zip(*given, strict=True)
    return float(np.average(scores, weights=shares))
