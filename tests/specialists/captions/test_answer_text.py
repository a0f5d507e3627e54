from __future__ import annotations

import pytest

from florilegium.specialists.captions.answer_text import cleaned, own_turn, whole_sentences


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (" A red  car\n on a street. ", "A red car on a street."),
        ("Assistant: A red car.", "A red car."),
        ("assistant\nA red car.", "A red car."),
        ("<|assistant|> A red car.", "A red car."),
        ("Answer: a red car", "a red car"),
        ("assistant", ""),
        (" \n", ""),
        ("Assistants help a man: he waves.", "Assistants help a man: he waves."),
        ("An assistant: a man in white.", "An assistant: a man in white."),
        ('"A red car."', "A red car."),
        ("\u201cA red car.\u201d", "A red car."),
        ('"Stop" and "Go"', '"Stop" and "Go"'),
        ('A sign says "Stop"', 'A sign says "Stop"'),
        ('"', '"'),
    ],
)
def test_an_answer_is_cleaned_of_what_is_not_the_answer(answer: str, words: str) -> None:
    assert cleaned(answer) == words


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("A car. A tree stands ne", "A car."),
        ("A car! A tree? A hou", "A car! A tree?"),
        ('It says "Stop." A tree st', 'It says "Stop."'),
        ("A car of 3.5 metres", ""),
        ("A car.", "A car."),
        ("A car... and", "A car..."),
        ("\u4e00\u8f86\u8f66\u3002\u4e00\u68f5", "\u4e00\u8f86\u8f66\u3002"),
        (
            "\u090f\u0915 \u0915\u093e\u0930\u0964 \u090f\u0915",
            "\u090f\u0915 \u0915\u093e\u0930\u0964",
        ),
        ("", ""),
    ],
)
def test_a_text_ends_where_its_last_sentence_does(text: str, kept: str) -> None:
    assert whole_sentences(text) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("A cat.\nUser: what else?", "A cat."),
        ("a cat\n\nQuestion: is it black?", "a cat"),
        ("Answer: a cat\nHuman: and", "Answer: a cat"),
        ("The user: a man.", "The user: a man."),
        ("A user\nholds a cup.", "A user\nholds a cup."),
    ],
)
def test_what_others_would_say_next_is_left_out(text: str, kept: str) -> None:
    assert own_turn(text) == kept
