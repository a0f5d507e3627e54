"""How true captions are, and how much they tell: things, attributes, sides.

A statement is right when the scene bears it out, whichever of the true things it chose to tell;
how much a caption owes is what the truth's own caption of that length tells. Of several
captions of one length the surest counts. What the patterns of `claims` cannot read is left
to CIDEr, which compares the words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from engine.core.tasks import CAPTION_TASKS
from pipelines.shape_world.scene import Predicate, Thing
from pipelines.shape_world.score.claims import Claim, Claims, claims_of
from pipelines.shape_world.score.comparison import Comparison, comparable, surest
from pipelines.shape_world.score.matching import Counts

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True, slots=True)
class FactScore:
    """Precision: share of what is told that is true. Recall: share of what is owed. 0..1."""

    precision: float | None
    recall: float | None
    f1: float | None

    @classmethod
    def of(cls, counts: Counts) -> FactScore:
        """Turn counts into shares."""
        return cls(precision=counts.precision, recall=counts.recall, f1=counts.f1)


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionScore:
    """The captions of one length. `cider` is in 0..10: the wording, against the truth's caption.

    An attribute is a colour or a pattern, right on a thing that is right; a relation is right
    between two things that are.
    """

    said: int
    true: int
    objects: FactScore
    attributes: FactScore
    relations: FactScore
    cider: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """How many statements of a caption the scene bears out."""

    objects: int
    attributes: int
    relations: int
    quotes: int


@dataclass(kw_only=True, slots=True)
class _Length:
    """The counts of one length of caption."""

    said: int = 0
    objects: Counts = field(default_factory=Counts)
    attributes: Counts = field(default_factory=Counts)
    relations: Counts = field(default_factory=Counts)
    true_texts: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class CaptionTally:
    """Counts sample after sample."""

    _lengths: dict[str, _Length] = field(
        default_factory=lambda: {task: _Length() for task in CAPTION_TASKS}
    )

    def add(self, comparison: Comparison) -> None:
        """Count the captions of a sample."""
        for task, length in self._lengths.items():
            captions = surest(comparison.of(task))
            text, true_text = captions[0].text if captions else "", comparison.scene.captions[task]
            claims, owed = claims_of(text), claims_of(true_text)
            facts = facts_of(claims, comparison)
            length.said += bool(captions)
            length.objects += _counts(facts.objects, len(claims.things), len(owed.things))
            length.attributes += _counts(facts.attributes, claims.attributes, owed.attributes)
            length.relations += _counts(facts.relations, len(claims.relations), len(owed.relations))
            length.texts.append(text)
            length.true_texts.append(true_text)

    def score(self) -> dict[str, CaptionScore]:
        """Return what was counted, by task."""
        return {
            task: CaptionScore(
                said=length.said,
                true=len(length.texts),
                objects=FactScore.of(length.objects),
                attributes=FactScore.of(length.attributes),
                relations=FactScore.of(length.relations),
                cider=cider(length.texts, length.true_texts),
            )
            for task, length in self._lengths.items()
        }


def _counts(right: int, said: int, owed: int) -> Counts:
    return Counts(right=right, said=said, true=owed, found=min(right, owed))


def facts_of(claims: Claims, comparison: Comparison) -> Facts:
    """Count the true statements of a caption.

    Things told are paired with things there, one to one, by name and then attributes. A relation
    is true when some things that its two sides may mean lie so.
    """
    told, there = comparison.told(claims.things)
    things = comparison.scene.things
    is_right = np.zeros(len(claims.things), dtype=bool)
    is_right[told] = True
    words = {word for word in comparison.words if word}
    return Facts(
        objects=len(told),
        attributes=sum(
            true_attributes(claims.things[one], things[other])
            for one, other in zip(told.tolist(), there.tolist(), strict=True)
        ),
        relations=sum(
            bool(is_right[subject] and is_right[other])
            and _lie_so(claims.things[subject], predicate, claims.things[other], comparison)
            for subject, predicate, other in claims.relations
        ),
        quotes=sum(comparable(quote) in words for quote in claims.quotes),
    )


def is_true(claims: Claims, comparison: Comparison) -> bool | None:
    """Tell whether all that a caption claims is true; `None` when it claims nothing."""
    if not claims.things and not claims.quotes:
        return None
    return facts_of(claims, comparison) == Facts(
        objects=len(claims.things),
        attributes=claims.attributes,
        relations=len(claims.relations),
        quotes=len(claims.quotes),
    )


def true_attributes(claim: Claim, thing: Thing) -> int:
    """Count the attributes that are said of a thing and true."""
    is_pattern_said = claim.pattern not in ("", "solid")
    return (claim.colour == thing.colour) + (is_pattern_said and claim.pattern == thing.pattern)


def _lie_so(subject: Claim, predicate: Predicate, other: Claim, comparison: Comparison) -> bool:
    """Tell whether a meant thing lies wholly on that side of another that is meant."""
    is_subject, is_other = comparison.meant([subject, other])
    left, top, right, bottom = comparison.boxes_xyxy.T
    low, high = (left, right) if predicate.endswith("of") else (top, bottom)
    is_before = high[:, None] <= low
    lies_so = is_before if predicate in ("left of", "above") else is_before.T
    return bool(lies_so[np.ix_(is_subject, is_other)].any())


def cider(texts: list[str], true_texts: list[str]) -> float | None:
    """Return CIDEr of texts against one reference each, 0..10; words are lower-cased `\\w+`.

    Rare words weigh more by how many of the references have them, so it needs many samples and
    is 0 for a single one.
    """
    if not texts:
        return None
    from pycocoevalcap.cider.cider import Cider

    said, true = (
        {place: [" ".join(_WORD.findall(text.lower()))] for place, text in enumerate(side)}
        for side in (texts, true_texts)
    )
    return float(Cider().compute_score(true, said)[0])
