"""Scores of `phrase_grounding`, for phrases that name a thing; quoted words count for OCR."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.pipelines.shape_world.score.boxes import MIN_IOU
from florilegium.pipelines.shape_world.score.claims import Claim, Claims, claim_of, claims_of
from florilegium.pipelines.shape_world.score.comparison import SceneComparison, by_confidence
from florilegium.pipelines.shape_world.score.matching import MatchCounts, pairs
from florilegium.specialists.words.occurrences import occurrences


@dataclass(frozen=True, kw_only=True, slots=True)
class PhraseScore:
    """`predicted` counts phrases that name a thing, `true` the things that captions claim rightly.

    `precision` is the share of those phrases whose box lies on a thing that the phrase may refer
    to, `recall_at_1` the share of those things whose highest ranked phrase lies on such a thing.
    """

    predicted: int
    true: int
    precision: float | None
    recall_at_1: float | None
    f1: float | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Phrase:
    """A phrase that names a thing, and the things that its box matches, bool, (things,)."""

    phrase: Annotation
    claim: Claim
    is_on: np.ndarray


@dataclass(kw_only=True, slots=True)
class PhraseTally:
    """MatchCounts over samples."""

    _counts: MatchCounts = field(default_factory=MatchCounts)

    def add(self, comparison: SceneComparison) -> None:
        """Count the phrases of a sample."""
        annotations = by_confidence(comparison.of("phrase_grounding"))
        phrases = [
            _Phrase(phrase=one, claim=claim, is_on=is_on)
            for one, is_on in zip(
                annotations, comparison.box_iou(annotations) >= MIN_IOU, strict=True
            )
            if (claim := claim_of_phrase(one))
        ]
        referents = comparison.referents([each.claim for each in phrases])
        is_right = [(each.is_on & own).any() for each, own in zip(phrases, referents, strict=True)]
        self._counts += MatchCounts(right=int(sum(is_right)), predicted=len(phrases), found=0)
        for caption in comparison.of(*CAPTION_TASKS):
            own = [each for each in phrases if each.phrase.parent_id == caption.id]
            self._counts += _grounded(caption, own, comparison)

    def score(self) -> PhraseScore:
        """Return the score of all samples."""
        return PhraseScore(
            predicted=self._counts.predicted,
            true=self._counts.true,
            precision=self._counts.precision,
            recall_at_1=self._counts.recall,
            f1=self._counts.f1,
        )


def claim_of_phrase(phrase: Annotation) -> Claim | None:
    """Return the object that a phrase names, by its text, else by its label."""
    return claim_of(phrase.text) or claim_of(phrase.label)


def _grounded(
    caption: Annotation, phrases: Sequence[_Phrase], comparison: SceneComparison
) -> MatchCounts:
    """Count the things that a caption claims rightly, and those that its phrases find.

    Args:
        phrases: those of the caption, highest rank score first.
    """
    claims = claims_of(caption.text)
    claimed = set(comparison.matched(claims.things)[0].tolist())
    referents = comparison.referents(claims.things)
    true = found = 0
    for group in _groups(claims):
        right = sum(index in claimed for index in group)
        # A thing that is mentioned twice has its box twice.
        about = {
            each.phrase.box_xyxy: each.is_on
            for each in phrases
            if _is_about(each, group, claims, caption)
        }
        first = list(about.values())[: len(group)]
        is_on = (
            np.array(first, dtype=bool).reshape(len(first), referents.shape[1])
            & referents[group[0]]
        )
        true, found = true + right, found + min(right, len(pairs(is_on, is_on)[0]))
    return MatchCounts(true=true, found=found)


def _groups(claims: Claims) -> Iterator[tuple[int, ...]]:
    """Yield the indices of things that one mention introduces, such as "two red circles"."""
    seen: set[int] = set()
    for mention in claims.mentions:
        new = tuple(index for index in mention.things if index not in seen)
        if new:
            yield new
        seen.update(new)


def _is_about(one: _Phrase, group: tuple[int, ...], claims: Claims, caption: Annotation) -> bool:
    if not one.claim.agrees(claims.things[group[0]]):
        return False
    spans = [one.phrase.span] if one.phrase.span else occurrences(one.phrase.text, caption.text)
    return any(
        mention.start < stop and start < mention.stop and not set(group).isdisjoint(mention.things)
        for start, stop in spans
        for mention in claims.mentions
    )
