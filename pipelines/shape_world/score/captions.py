"""Scores of captions: precision and recall of objects, attributes and relations, and CIDEr.

A claim is right if it is true of the scene. Recall is relative to the number of claims in the true
caption of that length, whichever true claims a caption makes. Of several captions of one length the
one with the highest rank score counts. Claims are parsed by the patterns of `claims`; CIDEr
compares the words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.pipelines.shape_world.scene import Predicate, Thing
from florilegium.pipelines.shape_world.score.claims import Claim, Claims, claims_of
from florilegium.pipelines.shape_world.score.comparison import (
    SceneComparison,
    by_confidence,
    normalised_text,
)
from florilegium.pipelines.shape_world.score.matching import MatchCounts

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True, slots=True)
class FactScore:
    """Precision: share of the claims that are true. Recall: true claims over expected ones.
    0..1."""

    precision: float | None
    recall: float | None
    f1: float | None

    @classmethod
    def of(cls, counts: MatchCounts) -> FactScore:
        """Compute shares from counts."""
        return cls(precision=counts.precision, recall=counts.recall, f1=counts.f1)


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionScore:
    """The captions of one length; `predicted` samples of `true` have one.

    An attribute (colour or pattern) is right if its object is; a relation needs two right objects.
    `cider`, 0..10, compares the wording with that of the true caption.
    """

    predicted: int
    true: int
    objects: FactScore
    attributes: FactScore
    relations: FactScore
    cider: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """The number of true claims of a caption."""

    objects: int
    attributes: int
    relations: int
    quotes: int


@dataclass(kw_only=True, slots=True)
class _Length:
    """The counts of one caption task."""

    captions: int = 0
    objects: MatchCounts = field(default_factory=MatchCounts)
    attributes: MatchCounts = field(default_factory=MatchCounts)
    relations: MatchCounts = field(default_factory=MatchCounts)
    true_texts: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class CaptionTally:
    """MatchCounts sample after sample."""

    _lengths: dict[str, _Length] = field(
        default_factory=lambda: {task: _Length() for task in CAPTION_TASKS}
    )

    def add(self, comparison: SceneComparison) -> None:
        """Count the captions of a sample."""
        for task, length in self._lengths.items():
            captions = by_confidence(comparison.of(task))
            text, true_text = captions[0].text if captions else "", comparison.scene.captions[task]
            claims, expected = claims_of(text), claims_of(true_text)
            facts = facts_of(claims, comparison)
            length.captions += bool(captions)
            length.objects += _counts(facts.objects, len(claims.things), len(expected.things))
            length.attributes += _counts(facts.attributes, claims.attributes, expected.attributes)
            length.relations += _counts(
                facts.relations, len(claims.relations), len(expected.relations)
            )
            length.texts.append(text)
            length.true_texts.append(true_text)

    def score(self) -> dict[str, CaptionScore]:
        """Return the scores of all samples, by task."""
        return {
            task: CaptionScore(
                predicted=length.captions,
                true=len(length.texts),
                objects=FactScore.of(length.objects),
                attributes=FactScore.of(length.attributes),
                relations=FactScore.of(length.relations),
                cider=cider(length.texts, length.true_texts),
            )
            for task, length in self._lengths.items()
        }


def _counts(right: int, claimed: int, expected: int) -> MatchCounts:
    return MatchCounts(right=right, predicted=claimed, true=expected, found=min(right, expected))


def facts_of(claims: Claims, comparison: SceneComparison) -> Facts:
    """Count the true claims of a caption.

    Claimed objects are paired with things, one to one, by name and then attributes. A relation is
    true if it holds for some things that its two phrases may refer to.
    """
    claimed, thing = comparison.matched(claims.things)
    things = comparison.scene.things
    is_right = np.zeros(len(claims.things), dtype=bool)
    is_right[claimed] = True
    words = {word for word in comparison.words if word}
    return Facts(
        objects=len(claimed),
        attributes=sum(
            true_attributes(claims.things[one], things[other])
            for one, other in zip(claimed.tolist(), thing.tolist(), strict=True)
        ),
        relations=sum(
            bool(is_right[subject] and is_right[other])
            and _holds(claims.things[subject], predicate, claims.things[other], comparison)
            for subject, predicate, other in claims.relations
        ),
        quotes=sum(normalised_text(quote) in words for quote in claims.quotes),
    )


def is_true(claims: Claims, comparison: SceneComparison) -> bool | None:
    """Return whether all claims of a caption are true; `None` if it makes none."""
    if not claims.things and not claims.quotes:
        return None
    return facts_of(claims, comparison) == Facts(
        objects=len(claims.things),
        attributes=claims.attributes,
        relations=len(claims.relations),
        quotes=len(claims.quotes),
    )


def true_attributes(claim: Claim, thing: Thing) -> int:
    """Count the claimed attributes of a thing that are true."""
    has_pattern = claim.pattern not in ("", "solid")
    return (claim.colour == thing.colour) + (has_pattern and claim.pattern == thing.pattern)


def _holds(subject: Claim, predicate: Predicate, other: Claim, comparison: SceneComparison) -> bool:
    """Return whether a relation holds for some things that its two claims may refer to."""
    is_subject, is_other = comparison.referents([subject, other])
    left, top, right, bottom = comparison.boxes_xyxy.T
    low, high = (left, right) if predicate.endswith("of") else (top, bottom)
    is_before = high[:, None] <= low
    holds = is_before if predicate in ("left of", "above") else is_before.T
    return bool(holds[np.ix_(is_subject, is_other)].any())


def cider(texts: list[str], true_texts: list[str]) -> float | None:
    """Return CIDEr of texts against one reference each, 0..10; words are lower-cased `\\w+`.

    Words are weighted by their rarity in the references, so it needs many samples and is 0 for a
    single one.
    """
    if not texts:
        return None
    from pycocoevalcap.cider.cider import Cider

    predicted, true = (
        {index: [" ".join(_WORD.findall(text.lower()))] for index, text in enumerate(side)}
        for side in (texts, true_texts)
    )
    return float(Cider().compute_score(true, predicted)[0])
