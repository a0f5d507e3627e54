from __future__ import annotations

import pytest

from florilegium.pipelines.filters.plain_text import plain_text


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f436\U0001f436",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7 \U0001f44d\U0001f3fd",
        "\u2764\ufe0f \u2605\u2605 \u2192 \u266a \u2122",
        ":dog: :heart_eyes:",
        ":-) xD :D",
        "IMG_2034.JPG",
        "holiday-by-the-sea.jpeg",
        "DSC00042",
        "https://example.com/a/b?c=d",
        "www.example.org/x",
        "example.com",
        "someone@example.com",
        "final_version_2",
        "<br/> &nbsp; <img src='x y'>",
        "0f3c9a7be21d4c55",
    ],
)
def test_what_stands_for_no_word_is_left_out(text):
    assert plain_text(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "A dog runs.",
        "Black & white, 50% off at 10:35, $5",
        "A Boeing 747-400 and an F-16 from the 1940s",
        "Jalapeño, crème brûlée, Wałęsa",
        "東京駅 Красная площадь رجل",
        "The score: three to two: a draw",
        "A decade of cabbages at a facade",
        "St. Moritz, U.S. Open, Mt. Fuji",
        "a < b and b > a",
    ],
)
def test_words_of_every_script_stay(text):
    assert plain_text(text) == text


def test_an_emoji_between_words_leaves_the_words_apart():
    assert plain_text("A dog\U0001f436runs.").split() == ["A", "dog", "runs."]
    assert plain_text("20\N{DEGREE SIGN}C outside").split() == ["20", "C", "outside"]


def test_lines_stay_lines_and_empty_ones_go():
    assert plain_text("a  cat\n \n\tby a dog\n") == "a cat\nby a dog"
