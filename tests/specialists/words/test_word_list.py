from __future__ import annotations

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.words.word_list import WordList


@pytest.mark.parametrize(
    "phrase",
    [
        "image",
        "The image",
        "IMAGES",
        "  an image. ",
        "\N{LEFT DOUBLE QUOTATION MARK}these images!",
        "the the image",
    ],
)
def test_case_number_article_and_punctuation_do_not_matter(phrase):
    assert WordList(["image"]).has_phrase(phrase)


@pytest.mark.parametrize("phrase", ["", "imagery", "red image", "image of a cat", "mirage", "..."])
def test_an_entry_is_the_whole_phrase(phrase):
    assert not WordList(["image"]).has_phrase(phrase)


def test_every_word_of_an_entry_may_be_plural():
    words = WordList(["pair of box"])
    assert words.has_phrase("a pair of boxes")
    assert words.has_phrase("pairs of boxes")
    assert not words.has_phrase("pair of box lids")


def test_an_article_alone_is_an_entry_like_any_other():
    words = WordList(["the", "this"])
    assert words.has_phrase("The")
    assert words.has_phrase("this")
    assert not words.has_phrase("a")
    assert not words.has_phrase("the cat")


def test_a_word_that_is_listed_is_not_taken_for_a_plural():
    words = WordList(["new", "news item"])
    assert words.has_phrase("news items")
    assert not words.has_phrase("news")


@pytest.mark.parametrize("text", ["A stock photo of a cat", "stock photos", "cat; Stock\nphoto!"])
def test_an_entry_with_a_star_matches_anywhere(text):
    words = WordList(["* stock photo"])
    assert words.has_part(text)
    assert words.has_phrase(text)


@pytest.mark.parametrize(
    "text", ["livestock photo", "stock of photos", "stock", "stock photography"]
)
def test_an_entry_with_a_star_matches_whole_words(text):
    assert not WordList(["* stock photo"]).has_part(text)


def test_an_entry_without_a_star_is_no_part():
    assert not WordList(["cat"]).has_part("a cat on a mat")


def test_apostrophes_belong_to_a_word_however_they_are_typed():
    words = WordList(["* i'm sorry"])
    assert words.has_part("I\N{RIGHT SINGLE QUOTATION MARK}m sorry, I see nothing")
    assert not words.has_part("I m sorry")


def test_comments_and_empty_lines_are_no_entries():
    words = WordList(["# image", "", "cat # image"])
    assert words.has_phrase("cat")
    assert not words.has_phrase("image")


def test_a_line_without_a_word_is_an_error_that_names_it():
    with pytest.raises(ConfigError, match=r"line 2 .*'\*'"):
        WordList(["cat", "*"])


@pytest.mark.parametrize(
    ("noun", "plural"),
    [
        ("cat", "cats"),
        ("box", "boxes"),
        ("party", "parties"),
        ("day", "days"),
        ("child", "children"),
        ("half", "halves"),
        ("paper", "papers"),
        ("bias", "biases"),
    ],
)
def test_an_entry_stands_for_its_plural_too(noun, plural):
    assert WordList([noun]).has_phrase(plural)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("собака", "Большая собака бежит."),
        ("σκύλος", "Ένας ΣΚΎΛΟΣ τρέχει"),
        ("كلب", "هذا كلب كبير"),
        ("כלב", "זה כלב גדול"),
        ("कुत्ता", "एक कुत्ता है।"),
        ("কুকুর", "একটি কুকুর আছে"),
        ("நாய்", "ஒரு நாய் ஓடுகிறது"),
        ("สุนัข", "มีสุนัขวิ่งอยู่"),
        ("개", "저 개 한 마리"),
        ("狗", "一只狗在跑"),
        ("犬", "白い犬が走る"),
        ("サングラス", "サングラスの男"),
        ("café", "un Cafe\u0301 noir"),
    ],
)
def test_an_entry_in_any_script_matches_whole_words(entry: str, text: str) -> None:
    assert WordList([f"*{entry}"]).has_part(text)
    assert WordList([entry]).has_phrase(entry)
    assert not WordList([entry]).has_phrase(text)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("कि", "की"),
        ("কি", "কী"),
        ("कुत्त", "एक कुत्ता है।"),
        ("グラス", "サングラスの男"),
        ("собак", "собака бежит"),
    ],
)
def test_a_part_of_a_word_or_other_vowels_are_another_word(entry: str, text: str) -> None:
    assert not WordList([entry]).has_phrase(text)
    assert not WordList([f"*{entry}"]).has_part(text)
