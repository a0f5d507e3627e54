from __future__ import annotations

import pytest

from florilegium.specialists.words.english import load_english
from florilegium.specialists.words.noun_phrases import noun_phrases, split


def spans(text: str, room: int, sizes: list[int] | None = None) -> list[str]:
    document = load_english()(text)
    cut = split(document, sizes or [1] * len(document), room=room)
    return [text[start:stop] for start, stop in cut]


def test_a_noun_phrase_has_its_span_its_words_and_its_head() -> None:
    text = "The two large dogs chase a red sports car."
    found = [
        (text[slice(*one.span)], text[slice(*one.words)], one.head)
        for one in noun_phrases(load_english()(text))
    ]
    assert found == [
        ("The two large dogs", "two large dogs", "dog"),
        ("a red sports car", "red sports car", "car"),
    ]


@pytest.mark.parametrize(
    ("text", "expressions"),
    [
        (
            "a dog in a field of flowers",
            {"a dog": "a dog in a field of flowers", "a field": "a field of flowers"},
        ),
        ("the dog that I saw yesterday sleeps", {"the dog": "the dog that I saw yesterday"}),
        ("A small house, painted red, stands.", {"A small house": "A small house, painted red"}),
        ("The girl riding a horse.", {"The girl": "The girl riding a horse"}),
        # A noun with a conjunct is not expanded, and no expression goes on after "and".
        ("a dog and a cat in a field", {}),
        ("A man with a hat and a dog sits.", {"A man": "A man with a hat"}),
        ("a man riding a horse and holding a flag", {"a man": "a man riding a horse"}),
        # Dependents after other words, and in brackets, are left out.
        ("a plate with knives, forks and spoons on it", {"a plate": "a plate with knives"}),
        ("a dog (in the snow)", {}),
    ],
)
def test_an_expression_has_the_words_around_a_noun_that_depend_on_it(text, expressions) -> None:
    found = {
        text[slice(*one.span)]: text[slice(*one.expression)]
        for one in noun_phrases(load_english()(text))
    }
    assert found == {name: expressions.get(name, name) for name in found}
    assert expressions.keys() <= found.keys()


def test_pronouns_are_no_noun_phrases() -> None:
    assert noun_phrases(load_english()("It shows them, and he smiles.")) == []


def test_nothing_has_no_phrases_and_no_parts() -> None:
    assert noun_phrases(load_english()("")) == []
    assert spans("", 5) == []


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (50, ["A cat sits. A dog runs. A bird sings."]),
        (8, ["A cat sits. A dog runs.", "A bird sings."]),
        (7, ["A cat sits.", "A dog runs.", "A bird sings."]),
    ],
)
def test_a_text_is_cut_at_the_ends_of_sentences(room: int, expected: list[str]) -> None:
    assert spans("A cat sits. A dog runs. A bird sings.", room) == expected


def test_a_long_sentence_is_cut_between_its_phrases() -> None:
    text = "A very old grey cat and a small brown dog sleep on the large red sofa"
    assert spans(text, 8) == [
        "A very old grey cat and",
        "a small brown dog sleep on",
        "the large red sofa",
    ]


def test_a_long_phrase_is_cut_within() -> None:
    assert spans("the very very very very old cat", 3) == ["the very very", "very very old", "cat"]


def test_a_word_that_is_too_large_stands_alone() -> None:
    assert spans("a cat sits", 3, [1, 9, 1]) == ["a", "cat", "sits"]


def test_parts_hold_all_that_is_said() -> None:
    text = "A man, who is old, walks.  \n He has a dog; the dog is (very) young!"
    for room in range(1, 30):
        assert "".join("".join(spans(text, room)).split()) == "".join(text.split())
