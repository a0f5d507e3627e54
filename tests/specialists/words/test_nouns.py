from __future__ import annotations

import pytest

from florilegium.specialists.words.nouns import (
    listing,
    plural,
    plural_form,
    quoted,
    sentence,
    stem,
    with_article,
)


@pytest.mark.parametrize(
    ("phrase", "noun", "expected"),
    [
        ("old bus", "bus", "an old bus"),
        ("hourglass", "hourglass", "an hourglass"),
        ("unicycle", "unicycle", "a unicycle"),
        ("umbrella", "umbrella", "an umbrella"),
        ("Egyptian Mau", "Egyptian Mau", "an Egyptian Mau"),
        ("one-piece bathing suit", "one-piece bathing suit", "a one-piece bathing suit"),
        ("blue jeans", "jeans", "blue jeans"),
        ("broccoli", "broccoli", "broccoli"),
        ("camera lens", "camera lens", "a camera lens"),
        ("praying mantis", "praying mantis", "a praying mantis"),
    ],
)
def test_articles_follow_sound_and_number(phrase: str, noun: str, expected: str) -> None:
    assert with_article(phrase, noun) == expected


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("coffee mug", "coffee mugs"),
        ("daisy", "daisies"),
        ("toy", "toys"),
        ("red fox", "red foxes"),
        ("grey wolf", "grey wolves"),
        ("computer mouse", "computer mice"),
        ("bighorn sheep", "bighorn sheep"),
        ("sunglasses", "sunglasses"),
        ("minibus", "minibuses"),
        ("torch", "torches"),
        ("fresh corn", "fresh corn"),
        ("snowman", "snowmen"),
        ("human", "humans"),
        ("bookshelf", "bookshelves"),
        ("goldfish", "goldfish"),
        ("woollen scarf", "woollen scarves"),
        ("cherry tomato", "cherry tomatoes"),
        ("piano", "pianos"),
        ("moose", "moose"),
    ],
)
def test_plurals_follow_spelling(one: str, many: str) -> None:
    assert plural(one) == many


@pytest.mark.parametrize(
    ("word", "many"), [("corn", "corns"), ("bias", "biases"), ("Fox", "Foxes"), ("wife", "wives")]
)
def test_a_word_has_the_plural_of_its_spelling_counted_or_not(word: str, many: str) -> None:
    assert plural_form(word) == many


def test_lists_have_commas_and_an_and() -> None:
    assert listing([]) == ""
    assert listing(["a"]) == "a"
    assert listing(["a", "b"]) == "a and b"
    assert listing(["a", "b", "c"]) == "a, b and c"


def test_sentences_and_quotes_are_closed() -> None:
    assert sentence("the iPod") == "The iPod."
    assert quoted('say\n"no"') == "\"say 'no'\""


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("bus", "buses"),
        ("glass", "glasses"),
        ("shoe", "shoes"),
        ("cookie", "cookies"),
        ("cherry", "cherries"),
        ("toy", "toys"),
        ("glove", "gloves"),
        ("scarf", "scarves"),
        ("potato", "potatoes"),
        ("policeman", "policemen"),
        ("grandchild", "grandchildren"),
        ("goose", "geese"),
        ("Person", "people"),
        ("octopus", "octopi"),
        ("bee", "bees"),
    ],
)
def test_both_numbers_of_a_noun_have_one_stem(one: str, many: str) -> None:
    assert stem(one) == stem(many)


def test_different_nouns_have_different_stems() -> None:
    nouns = "dog cat car bus glass grass shoe sheep ship house rose nose knife kite bee tie man men"
    assert len({stem(noun) for noun in nouns.split()}) == 17
