"""How well phrases of captions are tied to things.

Measures `phrase_grounding` on phrases that name a thing; quoted words are the score of reading's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.annotation import CAPTION_TASKS, Annotation
from pipelines.score.boxes import LEAST_IOU
from pipelines.score.claims import Claim, Claims, claim_of
from pipelines.score.comparison import Comparison, surest
from pipelines.score.matching import Counts, pairs


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


@dataclass(kw_only=True, slots=True)
class PhraseTally:
    """Counts sample after sample."""

    _counts: Counts = field(default_factory=Counts)

    def add(self, comparison: Comparison) -> None:
        """Count the phrases of a sample."""
        said = comparison.of("phrase_grounding")
        named = [(claim, phrase) for phrase in said if (claim := claim_of_phrase(phrase))]
        phrases = [phrase for _, phrase in named]
        is_on = meets([claim for claim, _ in named], phrases, comparison)
        true = found = 0
        for caption in comparison.of(*CAPTION_TASKS):
            own = [phrase for phrase in surest(phrases) if phrase.parent_id == caption.id]
            told, tied = _grounded(comparison.claims(caption.text), caption, own, comparison)
            true, found = true + told, found + tied
        self._counts += Counts(
            right=int(is_on.any(axis=1).sum()), said=len(phrases), true=true, found=found
        )

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


def meets(
    claims: Sequence[Claim], regions: Sequence[Annotation], comparison: Comparison
) -> np.ndarray:
    """Tell which boxes lie on which things that their claims may mean, bool, (regions, things)."""
    return (comparison.box_iou(regions) >= LEAST_IOU) & comparison.meant(claims)


def _grounded(
    claims: Claims, caption: Annotation, phrases: Sequence[Annotation], comparison: Comparison
) -> tuple[int, int]:
    """Return how many things a caption tells truly, and how many of them its phrases find.

    Args:
        phrases: those of the caption, the surest first.
    """
    fits = comparison.agreement(claims.things)
    told = set(pairs(fits / 3, fits > 0)[0].tolist())
    true = found = 0
    for group in _groups(claims):
        there = sum(place in told for place in group)
        about = [phrase for phrase in phrases if _is_about(phrase, group, claims, caption)]
        first = list({phrase.box_xyxy: phrase for phrase in reversed(about)}.values())[::-1]
        first = first[: len(group)]
        is_on = meets([claims.things[group[0]]] * len(first), first, comparison)
        true, found = true + there, found + min(there, len(pairs(is_on, is_on)[0]))
    return true, found


def _groups(claims: Claims) -> Iterator[tuple[int, ...]]:
    """Yield the things that one mention introduces together, such as "two red circles"."""
    seen: set[int] = set()
    for mention in claims.mentions:
        new = tuple(place for place in mention.things if place not in seen)
        if new:
            yield new
        seen.update(new)


def _is_about(
    phrase: Annotation, group: tuple[int, ...], claims: Claims, caption: Annotation
) -> bool:
    claim = claim_of_phrase(phrase)
    if claim is None or not claim.agrees(claims.things[group[0]]):
        return False
    start, stop = phrase.span or _span_of(phrase.text, caption.text)
    return any(
        mention.start < stop and start < mention.stop and not set(group).isdisjoint(mention.things)
        for mention in claims.mentions
    )


def _span_of(phrase: str, caption: str) -> tuple[int, int]:
    start = caption.lower().find(phrase.lower())
    return (start, start + len(phrase)) if start >= 0 else (0, 0)
