from __future__ import annotations

import pytest

from florilegium.specialists.words.answers import (
    anls,
    blind_guess,
    kind_of,
    normalised_answer,
    similarity,
)


@pytest.mark.parametrize(
    ("answer", "normalised"),
    [
        ("Yes, there is.", "yes"),
        ("No", "no"),
        ("No - it is a dog", "no"),
        ("no dogs", "0 dogs"),
        ("Yes there is", "yes there is"),
        ("note", "note"),
        ("The  Top-left", "top left"),
        ("at the top left", "top left"),
        ("in", "in"),
        ("Three", "3"),
        ("1,000 people", "1000 people"),
        ("a gray cat!", "grey cat"),
        ("It's 3.5", "it's 3.5"),
        ("", ""),
    ],
)
def test_what_makes_no_difference_is_left_out(answer: str, normalised: str) -> None:
    assert normalised_answer(answer) == normalised


@pytest.mark.parametrize(
    ("answer", "other", "wanted"),
    [
        ("HOTEL", "hotel", 1.0),
        ("HOTEL", "HOTFL", 0.8),
        ("three", "3", 1.0),
        ("10", "100", 0.0),
        ("yes", "yes, it is", 1.0),
        ("yes", "yet", 0.0),
        ("", "", 1.0),
        ("red", "", 0.0),
    ],
)
def test_words_are_similar_by_letters_and_numbers_equal_or_not(
    answer: str, other: str, wanted: float
) -> None:
    assert similarity(answer, other) == similarity(other, answer) == pytest.approx(wanted)


def test_below_one_half_an_answer_is_another_one() -> None:
    assert anls("abcd", "abxy") == 0.5
    assert anls("abc", "axy") == 0.0


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many dogs are there?", "count"),
        ("What color is it?", "colour"),
        ("Where is it?", "position"),
        ("What does the sign at the top say?", "reading"),
        ("What is written on the wall?", "reading"),
        ("Is the dog to the left of the cat?", "relation"),
        ("Are there dogs?", "existence"),
        ("Is the dog wet?", "yes or no"),
        ("Why?", "other"),
    ],
)
def test_the_words_of_a_question_tell_its_kind(question: str, kind: str) -> None:
    assert kind_of(question) == kind


def test_a_blind_guesser_gives_the_most_frequent_answer() -> None:
    asked = [("Is there a dog?", "yes"), ("Is there a dog?", "Yes"), ("Is there a cat?", "no")]
    guesses = blind_guess([*asked, ("Is there a cat?", "no"), ("Where is it?", "left")])
    assert list(guesses) == ["existence", "position"]
    assert (guesses["existence"].by_kind, guesses["existence"].by_question) == (0.5, 1.0)
    assert guesses["existence"].questions == 4
    assert guesses["position"].by_kind == 1.0
    assert blind_guess([]) == {}
