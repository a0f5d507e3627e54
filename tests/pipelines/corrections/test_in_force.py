"""What several corrections of one image come to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.pipelines.corrections.in_force import InForce, in_force
from tests.pipelines.corrections.said import said, seen
from tests.pipelines.filters.statements import caption, phrase

MOVED = seen("m", 10, 10, 20, 20)


def mask(name: str, parent: str, **rest: Any) -> Annotation:
    whole = {"task": "segmentation", "mask_rle": MaskRLE((2, 2), "04"), "parent_id": parent}
    return replace(seen(name), **{**whole, **rest})


def facts(force: InForce) -> tuple[dict[str, int], set[str], set[str]]:
    return (
        {name[0]: place for name, place in force.replaced.items()},
        {name[0] for name in force.rejected},
        {name[0] for name in force.confirmed},
    )


def test_what_people_made_has_the_id_of_its_correction_their_name_and_the_time() -> None:
    change = said("changed", seen("a"), MOVED)
    force = in_force([change, said("confirmed", seen("b")), said("rejected", seen("c"))])
    (made,) = force.made
    assert (made.id, made.model, made.revision) == (change.id, "Ada", "2026-01-31T12:00:00Z")
    assert (made.box_xyxy, made.confidence, made.score) == (MOVED.box_xyxy, 1.0, None)
    assert facts(force) == ({"a": 0}, {"c"}, {"b"})
    assert [one.id for one in force.wrong] == ["a" * 16, "c" * 16]
    assert [one.id for one in force.right] == [change.id, "b" * 16]


def test_the_last_word_about_an_annotation_counts() -> None:
    first = said("changed", seen("a"), MOVED)
    assert facts(in_force([first, said("confirmed", seen("a"), minute=1)])) == ({}, set(), {"a"})
    last = said("changed", seen("a"), seen("n", 1, 1, 9, 9), minute=1)
    force = in_force([first, last])
    assert [one.id for one in force.made] == [last.id]


def test_what_people_made_can_be_corrected_again() -> None:
    first = said("changed", seen("a"), MOVED)
    (made,) = in_force([first]).made
    own = replace(made, specialist="human")
    again = said("changed", own, replace(MOVED, label="dog"), minute=1)
    force = in_force([first, again])
    assert [(one.id, one.label) for one in force.made] == [(again.id, "dog")]
    assert facts(force) == ({"a": 0}, set(), set())
    gone = in_force([first, said("rejected", own, minute=1)])
    assert gone.made == ()
    assert facts(gone) == ({}, {"a"}, set())
    kept = in_force([first, said("confirmed", own, minute=1)])
    assert [one.id for one in kept.made] == [first.id]
    taken_back = in_force([first, again, said("confirmed", seen("a"), minute=2)])
    assert (taken_back.made, facts(taken_back)) == ((), ({}, set(), {"a"}))


def test_what_people_added_can_be_confirmed_changed_and_rejected() -> None:
    first = said("added", None, MOVED)
    (made,) = in_force([first]).made
    kept = in_force([first, said("confirmed", made, minute=1)])
    assert [one.id for one in kept.made] == [first.id]
    change = said("changed", made, replace(MOVED, label="dog"), minute=1)
    assert [(one.id, one.label) for one in in_force([first, change]).made] == [(change.id, "dog")]
    assert in_force([first, said("rejected", made, minute=1)]).made == ()


def test_what_follows_from_an_annotation_that_was_taken_back_is_gone_with_it() -> None:
    chain = [said("changed", seen("a"), MOVED)]
    for minute, label in enumerate(("dog", "cow"), start=1):
        about = replace(MOVED, id=chain[-1].id)
        chain.append(said("changed", about, replace(MOVED, label=label), minute=minute))
    assert [one.label for one in in_force(chain).made] == ["cow"]
    last = said("changed", seen("a"), replace(MOVED, label="fox"), minute=9)
    assert [one.label for one in in_force([*chain, last]).made] == ["fox"]


def test_a_confirmed_mask_stays_when_its_box_is_changed() -> None:
    own = mask("s", "a" * 16, label="cat")
    change = said("changed", seen("a"), replace(seen("n"), label="dog"))
    force = in_force([change, said("confirmed", own, minute=1)])
    box, copy = force.made
    assert (copy.task, copy.parent_id, copy.label) == ("segmentation", box.id, "dog")
    assert facts(force) == ({"a": 0, "s": 1}, set(), set())
    alone = in_force([said("rejected", seen("a")), said("confirmed", own, minute=1)])
    assert [one.parent_id for one in alone.made] == [""]


def test_a_phrase_goes_with_the_caption_that_it_was_in() -> None:
    text = replace(caption("A cat."), id="t" * 16)
    words = phrase(0, 0, 9, 9, text="cat", span=(2, 5), parent_id="t" * 16, id="p" * 16)
    moved = said("changed", words, replace(words, box_xyxy=(1, 1, 9, 9)))
    assert len(in_force([moved]).made) == 1
    force = in_force([moved, said("changed", text, caption("A dog."), minute=1)])
    assert [one.text for one in force.made] == ["A dog."]
    assert facts(force) == ({"t": 0}, {"p"}, set())


def test_a_box_that_was_only_moved_a_little_was_right() -> None:
    before = seen("a", 10, 10, 20, 20)
    little = said("changed", before, seen("n", 11, 10, 21, 20))
    force = in_force([little])
    assert (force.wrong, [one.id for one in force.right]) == ([], [little.id, before.id])
    for better in (seen("n", 18, 10, 28, 20), seen("n", 11, 10, 21, 20, label="other")):
        assert [one.id for one in in_force([said("changed", before, better)]).wrong] == [before.id]
    (made,) = force.made
    gone = in_force([little, said("rejected", replace(made, specialist="human"), minute=1)])
    assert before.id in [one.id for one in gone.wrong]
