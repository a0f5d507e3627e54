from __future__ import annotations

from itertools import combinations

import pytest

from engine.annotation import Annotation
from specialists.words.evidence import ObjectCheck, evidence_among, sentences
from specialists.words.word_list import read_word_list


@pytest.fixture(scope="module")
def check() -> ObjectCheck:
    return ObjectCheck(read_word_list("configs/blacklist.txt"))


def caption(text: str) -> Annotation:
    return Annotation(kind="text", task="caption", text=text, id=text)


def box(label: str = "", text: str = "", task: str = "object_detection") -> Annotation:
    return Annotation(kind="region", task=task, label=label, text=text, box_xyxy=(0, 0, 9, 9))


HEARD = [
    caption("A brown dog lies on a couch."),
    caption("Two people sit at tables."),
    box("potted plant"),
    box("Wine Glasses"),
    box("mice"),
    box("Toyota"),
    box(text="a moped in the rain", task="region_description"),
    box(text="COCA-COLA", task="ocr"),
]


@pytest.mark.parametrize(
    "sentence",
    [
        "The dogs lie on couches.",
        "A person sits at a table.",
        "A plant and a wine glass stand on the left side of the picture.",
        "A mouse sits at the table.",
        "Three Toyotas are parked.",
        'The text "Coca-Cola" is written in white.',
        "In the background, a group of three people enjoys the day.",
        "A large red moped stands there.",
        "It lies.",
        "",
    ],
)
def test_what_somebody_named_is_supported(check: ObjectCheck, sentence: str) -> None:
    assert check.unsupported([sentence], HEARD) == [()]


@pytest.mark.parametrize(
    ("sentence", "objects"),
    [
        ("A cat lies on the couch.", ("cat",)),
        ("Two cats and a hat lie on the couch.", ("cat", "hat")),
        ("A man sits at a table.", ("man",)),
        ("An animal lies on the couch.", ("animal",)),
        ("A kitchen table.", ("kitchen",)),
        ("It is in Paris.", ("paris",)),
        ('The text "Pepsi" is written.', ("pepsi",)),
        ("A t-shirt lies on the couch.", ("shirt",)),
    ],
)
def test_what_nobody_named_is_not(
    check: ObjectCheck, sentence: str, objects: tuple[str, ...]
) -> None:
    assert check.unsupported([sentence], HEARD) == [objects]


def test_a_caption_supports_itself(check: ObjectCheck) -> None:
    assert check.unsupported(PARTS, [caption(TEXT)]) == [()] * len(PARTS)


def test_text_is_spoken_of_where_some_was_read(check: ObjectCheck) -> None:
    assert check.unsupported(["There is a word."], HEARD[:2]) == [("word",)]


def test_each_sentence_is_judged_alone_and_the_same_again(check: ObjectCheck) -> None:
    parts = ["A cat.", "A dog.", "A hat and a dog."]
    together = check.unsupported(parts, HEARD)
    assert together == [("cat",), (), ("hat",)]
    assert [check.unsupported([part], HEARD)[0] for part in parts[::-1]] == together[::-1]
    assert check.unsupported([], HEARD) == []
    assert check.unsupported(["A dog."], []) == [("dog",)]


TEXT = (
    'Mr. Smith of St. Paul waits. The sign reads "STOP. GO NOW." in red! "Why?" 3 dogs run... '
    "A cat (e.g. a tabby) sleeps. It is called J. Doe"
)
PARTS = [
    "Mr. Smith of St. Paul waits.",
    'The sign reads "STOP. GO NOW." in red!',
    '"Why?"',
    "3 dogs run...",
    "A cat (e.g. a tabby) sleeps.",
    "It is called J. Doe",
]


def test_sentences_end_where_english_ends_them() -> None:
    assert sentences(TEXT) == PARTS
    assert sentences("") == sentences(" ") == []


def test_the_sentences_that_remain_are_the_same_sentences() -> None:
    for count in range(len(PARTS) + 1):
        for kept in combinations(PARTS, count):
            assert sentences(" ".join(kept)) == list(kept)


def test_captions_all_speak_and_names_once() -> None:
    phrase = Annotation(kind="phrase", task="phrase_grounding", text="a cat")
    first, second = box("dog"), box("dog", task="region_category")
    annotations = [caption("A."), first, caption("B."), second, box(" "), phrase]
    same = Annotation(kind="text", task="detailed_caption", text="A.", id="other")
    assert evidence_among([*annotations, same]) == [caption("A."), first, caption("B."), same]
