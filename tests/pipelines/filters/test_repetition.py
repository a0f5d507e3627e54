from __future__ import annotations

import pytest

from florilegium.pipelines.filters.repetition import count_repeats


@pytest.mark.parametrize(
    "text",
    [
        "New York, New York",
        "cha cha cha",
        "A bye bye bye sticker",
        "Row after row after row after row of seats",
        "Houses on houses on houses on a hill",
        "Children sit side by side by side",
        "Bills, bills, bills on a desk",
        "A very, very, very small kitten",
        "It's a long, long road",
        "The Who, The Who and The Kinks posters",
        "A man and a woman and a dog and a cat",
        "A red car next to a blue car next to a green car",
        "Extra! Extra!",
        "On the left side of the image, there is a cat. On the left side of the image, a dog.",
        "",
    ],
)
def test_names_idioms_and_emphasis_are_no_repetition(text):
    assert count_repeats(text) == 0


@pytest.mark.parametrize(
    "text",
    [
        "a dog and a dog and a dog",
        "a dog, a dog, a dog",
        "the the the",
        "dog dog dog dog",
        "of the of the of the",
        "a man in a hat, a man in a hat",
        "a man rides, a man rides, a man rides",
        "in front of a house, in front of a house",
        "A dog runs. A dog runs.",
        "a dog on grass a dog on grass",
        "a street with a lot of people and a street with a lot of people",
        "there is a red car, a dog, and there, there is a red car",
    ],
)
def test_clauses_and_loops_are(text):
    assert count_repeats(text) == 1


def test_each_repetition_counts():
    clause = "there is a cat on the left"
    assert count_repeats(f"{clause}. A dog. {clause}. A cup. {clause}.") == 2
    assert count_repeats("the the the the dog dog dog dog") == 2


@pytest.mark.parametrize(("words", "count"), [(5, 1), (12, 1), (16, 1), (17, 0)])
def test_a_loop_of_sixteen_words_is_the_longest_that_is_looked_for(words, count):
    """Without a comma between them, so that only the loop shows."""
    run = " ".join(f"word{number}" for number in range(words))
    assert count_repeats(f"{run} {run}") == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("dog dog dog", 0),
        ("dog dog dog dog", 1),
        ("the the", 0),
        ("red dog red dog", 0),
        ("red dog red dog red dog", 1),
        ("red dogs run red dogs run red dogs", 1),
        ("red dogs run red dogs run red cats", 0),
        ("red big dogs run red big dogs run red big", 1),
        ("row after row after row after row after", 1),
        ("there is a dog on the there is a dog on", 1),
        ("there is a dog on grass there is a dog on", 0),
        ("a big dog on the a big dog on", 0),
    ],
)
def test_the_shorter_a_run_the_more_often_it_must_come_back(text, count):
    assert count_repeats(f"see {text} now") == count
