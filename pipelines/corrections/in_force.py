"""What the corrections of an image come to: what people made, and what they think of the rest.

Of several corrections about one annotation the last one is in force. A correction may be about an
annotation that people made before: that is then replaced, or gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import PHRASE_TASKS
from florilegium.pipelines.corrections.correction import Correction, stated
from florilegium.specialists.regions.likeness import still_right

CERTAIN = 1.0
"""The confidence of what a person made or confirmed."""


@dataclass(frozen=True, kw_only=True)
class InForce:
    """The corrections of one image that are in force, in the order of their time.

    `made` are the annotations of people, each with the id of the correction that made it, its
    parent's id as it is now, `model` who made it and `revision` when. `replaced` has, by the id of
    an annotation that people changed, the row of `made` that replaces it; `rejected` and
    `confirmed` are the ids of annotations of other specialists. `improved` are those that were
    changed and are `still_right`, as an audit counts them.
    """

    corrections: tuple[Correction, ...]
    made: tuple[Annotation, ...]
    replaced: Mapping[str, int]
    rejected: frozenset[str]
    confirmed: frozenset[str]
    improved: frozenset[str]

    @cached_property
    def wrong(self) -> list[Annotation]:
        """The annotations that people rejected or changed, as the dataset had them, but for those
        that were right enough."""
        found = (one.about for one in self.corrections if one.about and one.finding in _WRONG)
        return [one for one in found if one.id not in self.improved]

    @cached_property
    def right(self) -> list[Annotation]:
        """What is right: what people made, what they confirmed, and what they only improved."""
        seen = ((one.about, one.finding) for one in self.corrections if one.about)
        kept = (one for one, finding in seen if finding == "confirmed" or one.id in self.improved)
        return [*self.made, *kept]


_WRONG = ("changed", "rejected")


def by_image(corrections: Iterable[Correction]) -> dict[str, list[Correction]]:
    """Return corrections by the SHA-256 of their image, in their order."""
    found: dict[str, list[Correction]] = {}
    for one in corrections:
        found.setdefault(one.sha256, []).append(one)
    return found


def in_force(corrections: Sequence[Correction]) -> InForce:
    """Return what the corrections of one image come to; they are ordered by time."""
    last = {one.about.id: one for one in corrections if one.about}
    live = [one for one in corrections if not one.about or one is last[one.about.id]]
    live = _without_lost(live, makers={one.id for one in corrections if one.annotation})
    successor = {one.about.id: one for one in live if one.about and one.finding in _WRONG}
    orphans = {one.id for one in live if _is_of_changed_parent(one, successor)}
    makers = [
        one
        for one in live
        if (one.annotation or one.id in orphans) and not _is_gone(one.id, successor)
    ]
    makers = [one for one in makers if not _lacks_caption(one, successor)]
    row = {one.id: number for number, one in enumerate(makers)}
    made_by = {one.id for one in corrections}
    replaced: dict[str, int] = {}
    rejected: set[str] = set()
    for one in live:
        if one.about is None or (one.finding == "confirmed" and one.id not in orphans):
            continue
        final = _final(one, successor)
        if final.id in row:
            replaced[one.about.id] = row[final.id]
        else:
            rejected.add(one.about.id)
    confirmed = {one.about.id for one in live if one.about and one.finding == "confirmed"}
    made = tuple(_made(one, successor, row) for one in makers)
    improved = {
        one.about.id
        for one in live
        if one.about
        and one.about.id in replaced
        and still_right(one.about, made[replaced[one.about.id]])
    }
    return InForce(
        corrections=tuple(live),
        made=made,
        replaced={name: at for name, at in replaced.items() if name not in made_by},
        rejected=frozenset(rejected - made_by),
        confirmed=frozenset(confirmed - made_by - replaced.keys()),
        improved=frozenset(improved),
    )


def _without_lost(live: list[Correction], makers: set[str]) -> list[Correction]:
    """Return corrections without those about an annotation of people that a later one took back,
    without those about what these made, and so on."""
    while True:
        own = {one.id for one in live}
        lost = makers - own
        kept = [one for one in live if not one.about or one.about.id not in lost]
        if len(kept) == len(live):
            return kept
        live = kept


def _is_gone(name: str, successor: Mapping[str, Correction]) -> bool:
    return name in successor


def _is_of_changed_parent(one: Correction, successor: Mapping[str, Correction]) -> bool:
    """Whether a confirmed region lost what it was made from: people keep it as their own."""
    about = one.about
    return (
        one.finding == "confirmed"
        and about is not None
        and about.kind == "region"
        and about.parent_id in successor
    )


def _lacks_caption(one: Correction, successor: Mapping[str, Correction]) -> bool:
    """Whether a phrase is of a caption that was rejected or changed: its span means nothing."""
    annotation = one.annotation or one.about
    assert annotation is not None
    is_phrase = annotation.task in PHRASE_TASKS
    return is_phrase and annotation.parent_id in successor


def _final(one: Correction, successor: Mapping[str, Correction]) -> Correction:
    """Follow corrections of corrections to the last one; times cannot go in a circle."""
    while one.id in successor:
        one = successor[one.id]
    return one


def _made(
    one: Correction, successor: Mapping[str, Correction], row: Mapping[str, int]
) -> Annotation:
    """Return the annotation that a correction makes, with its parent as it is now."""
    annotation = one.annotation
    if annotation is None:
        assert one.about is not None
        annotation = stated(one.about)
    parent = annotation.parent_id
    if parent in successor:
        before, final = successor[parent].about, _final(successor[parent], successor)
        parent = final.id if final.id in row else ""
        if before and final.annotation and before.label == annotation.label:
            annotation = replace(annotation, label=final.annotation.label)  # it had that of the box
    return replace(
        annotation,
        id=one.id,
        parent_id=parent,
        confidence=CERTAIN,
        model=one.who,
        revision=one.when,
    )
