from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.specialists.questions.template_questions import (
    TemplateQuestions,
    TemplateQuestionsConfig,
)
from tests.specialists.conftest import SampleOf

NAMES = ("cup", "dog", "horse", "kite", "lemon", "piano")


def box(label: str, *box_xyxy: float, score: float | None = 0.9, **rest: Any) -> Annotation:
    given = {"kind": "region", "task": "object_detection", "label": label, "box_xyxy": box_xyxy}
    return Annotation(**{**given, "score": score, **rest})


def line(text: str, *box_xyxy: float, score: float = 0.95) -> Annotation:
    return Annotation(kind="region", task="ocr", text=text, box_xyxy=box_xyxy, score=score)


DOG = box("dog", 10, 10, 60, 60)
CUP = box("cup", 200, 20, 260, 80, score=0.7)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A red square at the top left of a grey picture."""
    image = np.full((300, 300, 3), 128, np.uint8)
    image[10:60, 10:60] = (200, 30, 35)
    return image


def ask(sample: Sample, **options: Any) -> list[Annotation]:
    options = {"vocabulary": NAMES, **options}
    [found] = TemplateQuestions(TemplateQuestionsConfig(**options)).predict([sample])
    return found


def pairs(sample: Sample, *kinds: str, **options: Any) -> set[tuple[str, str]]:
    return {(one.text, one.label) for one in ask(sample, kinds=kinds, **options)}


def test_each_kind_is_asked_from_what_is_known(drawing: SampleOf, pixels: np.ndarray) -> None:
    sample = drawing(pixels, DOG, CUP, line("SALE", 100, 250, 160, 270))
    assert pairs(sample, "colour") == {("What colour is the dog?", "red")}
    assert pairs(sample, "position") == {
        ("Where is the dog?", "top left"),
        ("Where is the cup?", "top right"),
    }
    assert pairs(sample, "reading") == {("What does the text say?", "SALE")}
    left, right = "Is the {} to the left of the {}?", "Is the {} to the right of the {}?"
    assert pairs(sample, "relation") in (
        {(left.format("dog", "cup"), "yes"), (left.format("cup", "dog"), "no")},
        {(right.format("cup", "dog"), "yes"), (right.format("dog", "cup"), "no")},
    )
    counts = dict(pairs(sample, "count"))
    assert sorted(counts.values()) == ["0", "1"]
    assert all(question.startswith("How many ") for question in counts)
    assert {one.language for one in ask(sample)} == {"en"}


def test_yes_is_as_frequent_as_no(drawing: SampleOf, pixels: np.ndarray) -> None:
    for extra in ((), (CUP,), (CUP, box("kite", 100, 100, 130, 130))):
        asked = [label for _, label in pairs(drawing(pixels, DOG, *extra), "existence", most=3)]
        assert asked.count("yes") == asked.count("no") == 1 + len(extra)
    assert pairs(drawing(pixels), "existence") == set(), "nothing that could be answered with yes"


def test_without_a_vocabulary_nothing_absent_is_asked_for(
    drawing: SampleOf, pixels: np.ndarray
) -> None:
    sample = drawing(pixels, DOG, CUP)
    assert pairs(sample, "existence", vocabulary=()) == set()
    assert {answer for _, answer in pairs(sample, "count", vocabulary=())} == {"1"}


@pytest.mark.parametrize(
    "hint",
    [
        box("horse", 100, 100, 150, 150, score=0.01),
        Annotation(kind="text", task="tag", label="horses", score=0.02),
        Annotation(kind="text", task="caption", text="A dog and a pony.", language="en"),
    ],
)
def test_what_any_annotation_may_be_of_is_never_asked_for_as_absent(
    drawing: SampleOf, pixels: np.ndarray, hint: Annotation
) -> None:
    def absent(*annotations: Annotation) -> set[str]:
        sample = drawing(pixels, DOG, *annotations)
        many = [replace(sample, sha256=f"{number:064x}") for number in range(30)]
        stage = TemplateQuestions(
            TemplateQuestionsConfig(vocabulary=NAMES, kinds=("existence", "count"))
        )
        return {one.text for own in stage.predict(many) for one in own if one.label in ("no", "0")}

    horse = {"Is there a horse in the picture?", "How many horses are in the picture?"}
    assert horse < absent()
    assert horse.isdisjoint(absent(hint))


def test_doubt_about_a_name_forbids_to_count_it_and_to_refer_to_it(
    drawing: SampleOf, pixels: np.ndarray
) -> None:
    second = box("dog", 100, 200, 150, 250, score=0.2)
    kinds = ("count", "colour", "position", "relation")
    asked = pairs(drawing(pixels, DOG, CUP, second), *kinds, vocabulary=())
    assert asked == {("How many cups are in the picture?", "1"), ("Where is the cup?", "top right")}
    two = drawing(pixels, DOG, CUP, replace(second, score=0.9))
    assert ("How many dogs are in the picture?", "2") in pairs(two, "count", vocabulary=())
    assert "dog" not in str(pairs(two, "colour", "position", "relation"))


def test_another_box_of_the_same_thing_is_no_doubt(drawing: SampleOf, pixels: np.ndarray) -> None:
    again = box("dog", 12, 12, 60, 60, score=0.1)
    asked = pairs(drawing(pixels, DOG, again), "count", vocabulary=())
    assert asked == {("How many dogs are in the picture?", "1")}


def test_only_the_chosen_specialists_have_facts(drawing: SampleOf, pixels: np.ndarray) -> None:
    sample = drawing(pixels, DOG, CUP)
    dog, cup = sample.annotations
    known = (replace(dog, specialist="merged"), replace(cup, specialist="voter"))
    stage = TemplateQuestions(TemplateQuestionsConfig(facts_from=("merged",)))
    assert stage.required_stages == {"merged": ()}
    asked = str(
        pairs(replace(sample, annotations=known), *stage.config.kinds, facts_from=("merged",))
    )
    assert "dog" in asked
    assert "cup" not in asked, "it casts doubt: neither there nor absent"


def test_an_answer_has_all_that_it_needs_as_parents_and_the_lowest_score(
    drawing: SampleOf, pixels: np.ndarray
) -> None:
    sample = drawing(pixels, DOG, CUP)
    dog, cup = sample.annotations
    found = {one.text: one for one in ask(sample)}
    colour = found["What colour is the dog?"]
    assert (colour.parent_id, colour.merged_from, colour.score) == (dog.id, (), 0.9)
    relations = [one for text, one in found.items() if " of the " in text]
    assert len(relations) == 2
    for one in relations:
        assert set(one.merged_from) == {dog.id, cup.id}
        assert one.parent_id in one.merged_from
        assert one.score == 0.7
    absent = [one for one in found.values() if one.label in ("no", "0") and one not in relations]
    assert absent
    assert all((one.parent_id, one.merged_from, one.score) == ("", (), None) for one in absent)


def test_a_line_that_is_unsure_forbids_to_ask_for_the_text(
    drawing: SampleOf, pixels: np.ndarray
) -> None:
    sale, exit_ = line("SALE", 100, 250, 160, 270), line("EXIT", 130, 10, 170, 30)
    assert pairs(drawing(pixels, sale, exit_), "reading") == {
        ("What does the text at the top say?", "EXIT"),
        ("What does the text at the bottom say?", "SALE"),
    }
    unsure = replace(exit_, score=0.3)
    assert pairs(drawing(pixels, sale, unsure), "reading") == set()
    letter = replace(unsure, text="O")
    assert pairs(drawing(pixels, sale, letter), "reading") == {("What does the text say?", "SALE")}


def test_a_thing_near_a_border_of_the_grid_has_no_position(
    drawing: SampleOf, pixels: np.ndarray
) -> None:
    assert pairs(drawing(pixels, box("dog", 80, 10, 124, 60)), "position") == set()
    assert pairs(drawing(pixels, box("dog", 5, 5, 295, 295)), "position") == set()


def test_the_image_alone_decides_what_is_asked(drawing: SampleOf, pixels: np.ndarray) -> None:
    things = [box(name, 60 * row, 10, 60 * row + 40, 50) for row, name in enumerate(NAMES[:5])]
    one = replace(drawing(pixels, *things), sha256="1" * 64)
    other = replace(one, sha256="2" * 64)
    assert ask(one) == ask(one)
    assert pairs(one, "position") != pairs(other, "position")
    assert pairs(replace(one, key="renamed"), "position") == pairs(one, "position")


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ValidationError, match="did you mean 'colour'"):
        TemplateQuestionsConfig(kinds=("color",))


def test_the_vocabulary_is_part_of_the_revision() -> None:
    def revision(**options: Any) -> str:
        return TemplateQuestions(TemplateQuestionsConfig(**options)).revision()

    assert revision(vocabulary=("cup",)) != revision(vocabulary=("dog",)) != revision()


def phrase(text: str, *box_xyxy: float, score: float = 0.9) -> Annotation:
    given = {"kind": "phrase", "task": "phrase_grounding", "text": text, "score": score}
    return Annotation(box_xyxy=box_xyxy, **given)


OF_PHRASES = ("phrase_position", "phrase_relation")
SCOOTER = phrase("A large  red scooter", 10, 10, 60, 60)
MAN = phrase("the man", 200, 200, 260, 260)


def test_things_are_asked_about_as_captions_call_them(
    drawing: SampleOf, pixels: np.ndarray
) -> None:
    sample = drawing(pixels, SCOOTER, replace(SCOOTER, text="a large red scooter"), MAN)
    scooter, _, man = sample.annotations
    places = ask(sample, kinds=OF_PHRASES[:1])
    assert {(one.text, one.label, one.parent_id, one.merged_from) for one in places} == {
        ("Where is the large red scooter?", "top left", scooter.id, ()),
        ("Where is the man?", "bottom right", man.id, ()),
    }
    relations = ask(sample, kinds=OF_PHRASES[1:])
    assert sorted(one.label for one in relations) == ["no", "yes"]
    assert {"large red scooter" in one.text and "man" in one.text for one in relations} == {True}
    assert {frozenset(one.merged_from) for one in relations} == {frozenset((scooter.id, man.id))}


@pytest.mark.parametrize(
    "others",
    [
        (phrase("a large red scooter", 200, 200, 260, 260, score=0.1),),
        (box("scooter", 10, 10, 60, 60), box("scooter", 200, 10, 260, 60)),
        (box("Red Scooter", 200, 10, 260, 60, score=0.1),),
    ],
)
def test_a_phrase_that_may_be_of_two_things_is_not_asked_about(
    drawing: SampleOf, pixels: np.ndarray, others: tuple[Annotation, ...]
) -> None:
    assert pairs(drawing(pixels, SCOOTER, *others), *OF_PHRASES) == set()
    assert pairs(drawing(pixels, SCOOTER), *OF_PHRASES)


@pytest.mark.parametrize(
    "text", ["his scooter", "two scooters", "a scooter on the left", "another one", "a 50cc one"]
)
def test_only_a_phrase_that_names_a_thing_and_no_place_is_asked_about(
    drawing: SampleOf, pixels: np.ndarray, text: str
) -> None:
    assert pairs(drawing(pixels, replace(SCOOTER, text=text)), *OF_PHRASES) == set()


def test_phrases_are_read_only_where_they_are_asked_about() -> None:
    def tasks(**options: Any) -> frozenset[str]:
        return TemplateQuestions(TemplateQuestionsConfig(**options)).read_tasks

    assert "phrase_grounding" not in tasks()
    assert "phrase_grounding" in tasks(kinds=OF_PHRASES)
    assert "least_phrase" not in TemplateQuestionsConfig().stored()
