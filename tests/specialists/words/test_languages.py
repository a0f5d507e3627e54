# ruff: noqa: RUF001 - marks of other scripts
from __future__ import annotations

import pytest
import regex

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.words import languages, writing
from florilegium.specialists.words.languages import answer_in, language_of, same_language
from florilegium.specialists.words.writing import (
    is_unspaced,
    script_share,
    sentences_of_any_script,
    words_of_any_script,
)


@pytest.mark.parametrize(
    ("tag", "iso", "script", "name"),
    [
        ("de", "deu", "Latn", "German"),
        ("pt-BR", "por", "Latn", "Portuguese"),
        ("zh", "zho", "Hans", "Chinese"),
        ("zh-Hant-TW", "zho", "Hant", "Traditional Chinese"),
        ("sr_Latn", "srp", "Latn", "Serbian in Latin script"),
        ("DE-de", "deu", "Latn", "German"),
    ],
)
def test_a_tag_has_a_code_a_script_and_a_name(tag: str, iso: str, script: str, name: str) -> None:
    found = language_of(tag)
    assert (found.tag, found.iso, found.script, found.name) == (tag, iso, script, name)


def test_every_language_has_a_code_of_its_own_and_a_script_whose_letters_are_known() -> None:
    rows = languages._rows()
    assert list(rows) == sorted(rows)
    for code, (iso, script, name) in rows.items():
        assert regex.fullmatch("[a-z]{2,3}", code)
        assert regex.fullmatch("[a-z]{3}", iso)
        assert script in writing._OF_SCRIPT
        assert name[0].isupper()


@pytest.mark.parametrize("tag", ["", "xx", "german", "de-Thai"])
def test_an_unknown_language_or_script_is_an_error(tag: str) -> None:
    with pytest.raises(ConfigError, match="is not known"):
        language_of(tag)


def test_regions_do_not_make_another_language() -> None:
    assert same_language("pt-BR", "PT_pt")
    assert not same_language("no", "nb")
    assert answer_in("What?", "zh-Hant") == "What? Answer in Traditional Chinese."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't STOP, l’été!", ["don't", "stop", "l’été"]),
        ("एक कुत्ता है।", ["एक", "कुत्ता", "है"]),
        ("ஒரு நாய்", ["ஒரு", "நாய்"]),
        ("개가 달린다.", ["개가", "달린다"]),
        ("白い犬とサングラス", ["白", "い", "犬", "と", "サングラス"]),
        ("สุนัข 2 ตัว", ["สุ", "นั", "ข", "2", "ตั", "ว"]),
        ("🐶 -- _", []),
    ],
)
def test_words_keep_their_vowel_signs_and_letters_stand_alone_without_spaces(
    text: str, words: list[str]
) -> None:
    assert words_of_any_script(text) == words
    assert [one for one in words if is_unspaced(one)] == [
        one for one in words if not one[0].isascii() and one[0] in "白い犬とสุนัขตว"
    ]


def test_the_share_of_a_script_is_of_letters_alone() -> None:
    assert script_share("白い犬 123!", "Jpan") == 1
    assert script_share("dog 犬", "Jpan") == 0.25
    assert script_share("123", "Latn") == 0


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three", ["One.", "Two!", "Three"]),
        ('He said "Hi." Then left.', ['He said "Hi."', "Then left."]),
        ("3.5 m", ["3.5 m"]),
        ("一只狗。两个孩子！", ["一只狗。", "两个孩子！"]),
        ("「はい。」と言う。", ["「はい。」", "と言う。"]),
        ("एक कुत्ता है। दो बच्चे।", ["एक कुत्ता है।", "दो बच्चे।"]),
        ("كلب؟ نعم.", ["كلب؟", "نعم."]),
        (" \n ", []),
    ],
)
def test_sentences_end_at_the_marks_of_their_script(text: str, sentences: list[str]) -> None:
    assert sentences_of_any_script(text) == sentences
