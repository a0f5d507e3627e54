"""From a chosen hypothesis to an annotation: its place, its words and who stands behind it.

Boxes are weighted means, masks are voted on pixel by pixel, words are those of the surest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from engine.annotation import Annotation, MaskRLE
from pipelines.merge.candidates import MASK_TASKS, rle

CONFIDENCE_DECIMALS = 5


def merged(
    members: Sequence[Annotation],
    leader: Annotation,
    *,
    weight: np.ndarray,
    agreement: np.ndarray,
    confidence: float,
    box_xyxy: np.ndarray,
) -> Annotation:
    """Make one annotation of those in a cluster.

    The score is the mean of what those who agree with the leader said, by how much they agree;
    `None` where none of them gave one.

    Args:
        members: what each voter said, (m,).
        leader: the one whose words are taken.
        weight: how exactly each one draws, (m,).
        agreement: how much the words of each agree with the leader's, 0..1, (m,).
        confidence: calibrated probability, NaN for none.
        box_xyxy: the mean box, pixels, (4,).
    """
    is_mask = leader.task in MASK_TASKS
    mask = majority([rle(one) for one in members], weight) if is_mask else None
    if mask is not None:
        left, top, width, height = coco_mask.toBbox(mask._asdict()).tolist()
        box_xyxy = np.array([left, top, left + width, top + height])
    return Annotation(
        kind=leader.kind,
        task=leader.task,
        text=leader.text,
        label=leader.label,
        language=leader.language,
        box_xyxy=tuple(box_xyxy.tolist()),
        quad=_mean_quad(members, weight),
        mask_rle=mask,
        score=_mean_score(members, agreement),
        confidence=None if np.isnan(confidence) else round(float(confidence), CONFIDENCE_DECIMALS),
        parent_id=leader.parent_id,
        span=leader.span,
        merged_from=tuple(one.id for one in members),
    )


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


def _mean_quad(members: Sequence[Annotation], weight: np.ndarray) -> tuple[float, ...]:
    has_quad = np.array([len(one.quad) == 8 for one in members])
    if not has_quad.any():
        return ()
    quads = np.array([one.quad for one in members if len(one.quad) == 8])
    return tuple(np.average(quads, axis=0, weights=weight[has_quad]).tolist())


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
