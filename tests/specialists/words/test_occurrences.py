from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from florilegium.specialists.words.occurrences import located, occurrences

BEAR = "A bear with one ear and a mandolin next to a man"


@pytest.mark.parametrize(
    ("phrase", "text", "spans"),
    [
        ("ear", BEAR, [(16, 19)]),
        ("man", BEAR, [(45, 48)]),
        ("ear", "two ears", []),
        ("a man", "A man, a  MAN, a manhole and Anna man", [(0, 5), (7, 13)]),
        ("New York", "New York-based, in New\nYork", [(19, 27)]),
        ("a (big) cat?", "Is it a (BIG) cat? Yes.", [(6, 18)]),
        ('"STOP"', 'A "STOP" sign', [(2, 8)]),
        ("man", "(man) [man] man/woman, man…", [(1, 4), (7, 10), (12, 15), (23, 26)]),
        ("cat", "cat cat", [(0, 3), (4, 7)]),
        ("cat cat", "cat cat cat", [(0, 7)]),
        ("", "a cat", []),
        (" \n", "a  cat", []),
    ],
)
def test_a_phrase_is_whole_words(phrase: str, text: str, spans: list[tuple[int, int]]) -> None:
    assert occurrences(phrase, text) == spans


@pytest.mark.parametrize(
    ("phrase", "text", "spans"),
    [
        ("made", "a man-made lake", []),
        ("shirt", "a T-shirt and a shirt", [(16, 21)]),
        ("T-shirt", "a T-shirt", [(2, 9)]),
        ("dog", "a dog\N{HYPHEN}house, a hot\N{NON-BREAKING HYPHEN}dog", []),
        ("man", "a man--smiling", [(2, 5)]),
        ("man", "a man's hat", [(2, 5)]),
        ("man", "a man\N{RIGHT SINGLE QUOTATION MARK}s hat", [(2, 5)]),
        ("a man's hat", "a man's hat", [(0, 11)]),
        ("s", "a man's hat", []),
        ("dogs", "the dogs' bowl", [(4, 8)]),
        ("can", "I can't, you can", [(13, 16)]),
        ("clock", "five o'clock on a clock", [(18, 23)]),
        ("The man", "a sign.The man", [(7, 14)]),
        ("dog", "dog1, dog_2, 2dog, dog", [(19, 22)]),
        ("5 dogs", "3.5 dogs, 5 dogs", [(10, 16)]),
        ("10", "10,000 or 10", [(10, 12)]),
    ],
)
def test_hyphens_apostrophes_and_digits(
    phrase: str, text: str, spans: list[tuple[int, int]]
) -> None:
    assert occurrences(phrase, text) == spans


@pytest.mark.parametrize(
    ("phrase", "text", "spans"),
    [
        ("дом", "домик и дом", [(8, 11)]),
        ("um", "ein Baum um", [(9, 11)]),
        ("straße", "STRASSE", [(0, 7)]),
        ("cafe", "cafe\N{COMBINING ACUTE ACCENT} cafe", [(6, 10)]),
        ("कुत्त", "एक कुत्ता", []),
        ("कुत्ता", "एक कुत्ता और", [(3, 9)]),
        ("سگ", "یک سگ", [(3, 5)]),
        ("남자", "남자가 남자", [(4, 6)]),
        ("👩", "👩\N{ZERO WIDTH JOINER}🚀 👩", [(4, 5)]),
    ],
)
def test_words_of_every_script(phrase: str, text: str, spans: list[tuple[int, int]]) -> None:
    assert occurrences(phrase, text) == spans


@pytest.mark.parametrize(
    ("phrase", "text", "spans"),
    [
        ("男人", "一个男人在看书", [(2, 4)]),
        ("ねこ", "あのねこがいる", [(2, 4)]),
        ("カメラ", "カメラマンとカメラ", [(6, 9)]),
        ("คน", "ชายคนหนึ่ง", [(3, 5)]),
    ],
)
def test_scripts_without_spaces_end_words_anywhere(
    phrase: str, text: str, spans: list[tuple[int, int]]
) -> None:
    assert occurrences(phrase, text) == spans


def test_the_first_place_from_a_cursor_on_or_else_anywhere() -> None:
    assert located("cat", "cat, cat", 3) == (5, 8)
    assert located("cat", "a cat sat", 7) == (2, 5)
    assert located("cat", "concatenate") is None


_WORDS = st.sampled_from(["ear", "bear", "ears", "Ear", "man", "man's", "man-made", "mandolin",
                          "été", "дом", "домик", "7", "17", "a"])  # fmt: skip

_TEXTS = st.text(st.sampled_from("aAbßé-'.,:1 \n男คカм"), max_size=24)


@given(words=st.lists(_WORDS, max_size=12), phrase=st.sampled_from(["ear", "man", "дом", "7", "a"]))
@settings(derandomize=True, max_examples=100)
def test_occurrences_are_the_words_of_a_text(words: list[str], phrase: str) -> None:
    text = " ".join(words)
    starts = [len(" ".join([*words[:place], ""])) for place in range(len(words))]
    wanted = [
        (start, start + len(phrase))
        for start, word in zip(starts, words, strict=True)
        if word.lower() in (phrase, f"{phrase}'s")
    ]
    assert occurrences(phrase, text) == wanted


@given(text=_TEXTS, phrase=_TEXTS.filter(lambda text: len(text) < 4))
@settings(derandomize=True, max_examples=300)
def test_no_letter_of_an_alphabet_adjoins_an_occurrence(text: str, phrase: str) -> None:
    for start, stop in occurrences(phrase, text):
        written = "".join(text[start:stop].split())
        assert written.casefold() == "".join(phrase.split()).casefold()
        for edge in (text[max(0, start - 1) : start + 1], text[stop - 1 : stop + 1]):
            assert len(edge) < 2 or not (edge.isascii() and edge.isalpha())
