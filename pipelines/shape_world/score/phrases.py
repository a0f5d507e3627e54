"""How well phrases of captions are tied to things.

Measures `phrase_grounding` on phrases that name a thing; quoted words are the score of reading's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.core.annotation import Annotation
from engine.core.tasks import CAPTION_TASKS
from pipelines.shape_world.score.boxes import LEAST_IOU
from pipelines.shape_world.score.claims import Claim, Claims, claim_of, claims_of
from pipelines.shape_world.score.comparison import Comparison, surest
from pipelines.shape_world.score.matching import Counts, pairs
from specialists.words.occurrences import occurrences


@dataclass(frozen=True, kw_only=True, slots=True)
class PhraseScore:
    """`said` counts phrases that name a thing, `true` the things that captions tell truly.

    `precision` is the share of those phrases whose box lies on a thing that the phrase may mean,
    `recall_at_1` the share of those things with the surest phrase about them on such a thing.
    """

    said: int
    true: int
    precision: float | None
    recall_at_1: float | None
    f1: float | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Phrase:
    """A phrase that names a thing, and which things its box lies on, bool, (things,)."""

    phrase: Annotation
    claim: Claim
    is_on: np.ndarray


@dataclass(kw_only=True, slots=True)
class PhraseTally:
    """Counts sample after sample."""

    _counts: Counts = field(default_factory=Counts)

    def add(self, comparison: Comparison) -> None:
        """Count the phrases of a sample."""
        said = surest(comparison.of("phrase_grounding"))
        phrases = [
            _Phrase(phrase=one, claim=claim, is_on=is_on)
            for one, is_on in zip(said, comparison.box_iou(said) >= LEAST_IOU, strict=True)
            if (claim := claim_of_phrase(one))
        ]
        meant = comparison.meant([each.claim for each in phrases])
        is_right = [(each.is_on & own).any() for each, own in zip(phrases, meant, strict=True)]
        self._counts += Counts(right=int(sum(is_right)), said=len(phrases), found=0)
        for caption in comparison.of(*CAPTION_TASKS):
            own = [each for each in phrases if each.phrase.parent_id == caption.id]
            self._counts += _grounded(caption, own, comparison)

    def score(self) -> PhraseScore:
        """Return what was counted."""
        return PhraseScore(
            said=self._counts.said,
            true=self._counts.true,
            precision=self._counts.precision,
            recall_at_1=self._counts.recall,
            f1=self._counts.f1,
        )


def claim_of_phrase(phrase: Annotation) -> Claim | None:
    """Return what a phrase names: by its own words, else by its label."""
    return claim_of(phrase.text) or claim_of(phrase.label)


def _grounded(caption: Annotation, phrases: Sequence[_Phrase], comparison: Comparison) -> Counts:
    """Count the things that a caption tells truly, and those that its phrases find.

    Args:
        phrases: those of the caption, the surest first.
    """
    claims = claims_of(caption.text)
    told = set(comparison.told(claims.things)[0].tolist())
    meant = comparison.meant(claims.things)
    true = found = 0
    for group in _groups(claims):
        there = sum(place in told for place in group)
        # A thing that is spoken of twice has its box twice.
        about = {
            each.phrase.box_xyxy: each.is_on
            for each in phrases
            if _is_about(each, group, claims, caption)
        }
        first = list(about.values())[: len(group)]
        is_on = np.array(first, dtype=bool).reshape(len(first), meant.shape[1]) & meant[group[0]]
        true, found = true + there, found + min(there, len(pairs(is_on, is_on)[0]))
    return Counts(true=true, found=found)


def _groups(claims: Claims) -> Iterator[tuple[int, ...]]:
    """Yield the things that one mention introduces together, such as "two red circles"."""
    seen: set[int] = set()
    for mention in claims.mentions:
        new = tuple(place for place in mention.things if place not in seen)
        if new:
            yield new
        seen.update(new)


def _is_about(said: _Phrase, group: tuple[int, ...], claims: Claims, caption: Annotation) -> bool:
    if not said.claim.agrees(claims.things[group[0]]):
        return False
    spans = [said.phrase.span] if said.phrase.span else occurrences(said.phrase.text, caption.text)
    return any(
        mention.start < stop and start < mention.stop and not set(group).isdisjoint(mention.things)
        for start, stop in spans
        for mention in claims.mentions
    )
