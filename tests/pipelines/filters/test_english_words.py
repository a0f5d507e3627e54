from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace

import pytest

from florilegium.pipelines.filters.english_words import (
    LANGUAGES,
    EnglishWords,
    _are_several,
    _is_latin,
    _is_small,
    _is_within_name,
    _logit,
    _ordinary_words,
    _Vocabulary,
)
from florilegium.specialists.words.english import load_english


@pytest.fixture(scope="module")
def english() -> EnglishWords:
    return EnglishWords(load_english())


@pytest.mark.parametrize(
    "text",
    [
        "Lech Wałęsa greets José Ramos-Horta at the port of Gdańsk.",
        "A plate of crème brûlée at Café Müller",
        "bibimbap, kimchi and tteokbokki on a wooden table",
        "golden retriever puppy playing fetch",
        "a man in a hat with a dog and a cat",
        "A shop called 東京オリンピック競技大会公式 in the old town of Osaka",
        "A MAN WITH A HAT AND THE DOG",
    ],
)
def test_names_do_not_make_a_text_foreign(english, text):
    assert english.probability(text) > 0.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "STOP",
        "Bonjour",
        "Guten Morgen",
        "Paris, France",
        "Plaza de la Constitución, San Sebastián",
        "Catedral de Nuestra Señora de la Asunción",
        "La Liberté guidant le peuple by Eugène Delacroix",
        "Spaghetti alla carbonara",
        "Saltimbocca alla romana",
        "lech wałęsa meets josé ramos-horta in gdańsk",
        "Angela Merkel und Emmanuel Macron",
        "12:30",
    ],
)
def test_a_text_too_short_to_tell_has_no_probability(english, text):
    assert math.isnan(english.probability(text))


@pytest.mark.parametrize(
    "text",
    [
        "Ein Hund läuft über die Wiese",
        "EIN HUND LÄUFT ÜBER DIE WIESE",
        "un perro corre por la playa",
        "Une femme marche avec son chien.",
        "Un gatto dorme sul divano.",
        "Un bambino con un cane",
        "Katze auf dem Sofa",
        "Två hundar leker i parken",
        "Dua orang anak bermain bola",
        "Dwa psy bawią się w parku",
        "Két gyerek játszik a homokban.",
        "İki çocuk parkta top oynuyor",
        "Seekor kucing tidur di atas sofa",
        "Psi trče po snijegu i igraju se",
        "Собака бежит по снегу",
        "两个人在海边散步",
        "iPhone 手机放在桌子上",
        "ผู้หญิงกำลังอ่านหนังสือ",
    ],
)
def test_sentences_in_other_languages_are_foreign(english, text):
    assert english.probability(text) < 0.005


def test_the_other_words_of_a_text_do_not_hide_what_they_stand_beside(english):
    german = "Ein Mann steht neben einem roten Auto in der Stadt"
    assert english.probability(f"{german} Los Angeles, Hollywood Boulevard") < 0.005


@pytest.mark.parametrize(
    ("text", "place", "is_within"),
    [
        ("Nuestra de la Asunción", 1, True),
        ("Nuestra de la Asunción", 2, True),
        ("small Nuestra de Asunción small", 2, True),
        ("de Asunción", 0, False),
        ("Nuestra de", 1, False),
        ("Plaza de la", 1, False),
        ("de la Plaza", 1, False),
        ("casa de Maria", 1, False),
        ("Maria de casa", 1, False),
        ("Maria casa de la Plaza", 3, False),
        ("Maria de la casa Plaza", 1, False),
    ],
)
def test_a_small_word_is_part_of_a_name_between_two_capitals(text, place, is_within):
    assert _is_within_name(text.split(), place) is is_within


@pytest.mark.parametrize(
    ("foreign", "unknown", "small", "of", "by_letters", "are_several"),
    [
        (2, 1, 0, 3, 1.0, True),
        (2, 0, 0, 3, 1.0, False),
        (1, 2, 0, 3, 1.0, False),
        (1, 3, 0, 4, 1.0, True),
        (0, 4, 0, 4, 1.0, True),
        (4, 2, 1, 9, 1.0, True),
        (4, 1, 1, 9, 1.0, False),
        (3, 3, 1, 9, 1.0, False),
        (1, 1, 0, 4, 0.0009, True),
        (1, 1, 0, 4, 0.001, False),
        (1, 1, 0, 3, 0.0, False),
        (1, 0, 0, 4, 0.0, False),
        (0, 2, 0, 4, 0.0, False),
        (1, 1, 1, 4, 0.0, False),
    ],
)
def test_how_many_words_make_a_text_foreign(foreign, unknown, small, of, by_letters, are_several):
    kinds = Counter(foreign=foreign, unknown=unknown, function=small)
    assert _are_several(kinds, of=of, by_letters=by_letters) is are_several


def test_log_odds_of_0_and_1_are_finite():
    assert _logit(0.75) == pytest.approx(math.log(3))
    assert (_logit(0), _logit(1)) == pytest.approx((-math.log(1e9), math.log(1e9)), abs=1e-6)


def test_only_small_letters_that_join_no_names_are_small_words():
    assert [_is_small(word) for word in ("casa", "Casa", "de")] == [True, False, False]


def test_foreign_letters_beside_english_words_do_not_make_a_text_foreign_at_once(english):
    japanese = "東京オリンピック競技大会公式応援団東京オリンピック競技大会"
    assert english.probability(f"a dog {japanese}") == 0
    assert english.probability(f"the dog and the cat {japanese}") != 0


def with_letters(english: EnglishWords, monkeypatch, **share: float) -> None:
    """Fix what letters tell, whatever the text, and the words that are foreign."""
    monkeypatch.setattr(english, "_common", {"und": ("de",), "dog": ("sv",)})
    letters = SimpleNamespace(rank=lambda _: [*({"en": 0.5} | share).items()])
    monkeypatch.setattr(english, "_identifier", letters)


@pytest.mark.parametrize(
    ("text", "log_odds"),
    [
        ("the puppy", 4.5),
        ("a zzxq puppy", 2.3),
        ("a dog puppy", 3),
        ("up zzxq", 2.3),
        ("the and of with from", 12),
        ("the und", 0),
        ("zzxq zzyq zzwq qqxz qqyz", -3.5),
        ("zzxq zzyq zzwq qqxz qqyz " * 2, -3.5),
        (" ".join(f"qqxz{letter}" for letter in "abcdefghijklmnopqrstuvw"), -12),
    ],
)
def test_each_word_adds_what_its_kind_tells_once(english, monkeypatch, text, log_odds):
    with_letters(english, monkeypatch)
    assert english.probability(text) == pytest.approx(1 / (1 + math.exp(-log_odds)))


def test_a_text_that_is_likely_english_needs_no_number_of_words(english, monkeypatch):
    with_letters(english, monkeypatch, en=1 / (1 + math.exp(1)))
    assert english.probability("puppy") == pytest.approx(1 / (1 + math.exp(-0.5)))
    with_letters(english, monkeypatch, en=1 / (1 + math.exp(2)))
    assert math.isnan(english.probability("puppy"))


@pytest.mark.parametrize(
    ("languages", "letters", "likeliest"),
    [
        ({"uno": ("fr", "it"), "due": ("it",)}, {"fr": 0.9}, "it"),
        ({"uno": ("de", "fr")}, {"fr": 0.1, "en": 0.9}, "fr"),
        ({"uno": ("af", "nl")}, {"nl": 0.1}, "nl"),
        ({"uno": ("fr", "de")}, {}, "de"),
        ({"the": ("fr", "vi"), "uno": (), "due": ("sv",)}, {"fr": 0.9}, "sv"),
        ({"tre": ("fr",)}, {"fr": 0.9}, ""),
    ],
)
def test_the_likeliest_language_has_most_of_the_words(
    english, monkeypatch, languages, letters, likeliest
):
    monkeypatch.setattr(english, "_common", languages)
    assert english._likeliest(["the", "uno", "due"], letters) == likeliest


def test_letters_are_told_apart_among_these_languages_alone(english):
    assert {name for name, _ in english._identifier.rank("a dog")} == set(LANGUAGES.split())


def test_the_weights_of_other_languages_are_not_kept(english: EnglishWords) -> None:
    english._identifier.set_languages()  # all that it has
    assert set(english._identifier.labels) == set(LANGUAGES.split())


def test_words_are_known_with_their_inflections():
    vocabulary = _Vocabulary(load_english())
    known = ("dog", "dogs", "geese", "ran", "running", "carries", "zzxq", "zzxqs", "zzxqing")
    assert [word in vocabulary for word in known] == [True] * 6 + [False] * 3


@pytest.mark.parametrize(
    ("prose", "words"),
    [
        ("A man", "a man"),
        ("the X of x i b", "the of"),
        ("Dog runs. Cat sleeps", "dog runs cat sleeps"),
        ("Dog. Cat", ""),
        ("Dog Cat runs", "runs"),
        ("Dog de Cat runs", "runs"),
        ("runs with Cat", "runs with"),
        ("runs The Cat! The cat", "runs the cat"),
        ("THE CAT AND DOG", "the and"),
        ("THE CAT AND dog", "the dog"),
        ("Plaza de la Paz, casa de la paz", "casa de la paz"),
        ("İki café çay", "iki café çay"),
        ("Dog runs", "dog runs"),
        ("runs Dog", "runs"),
        ("runs: Dog", "runs"),
        ("", ""),
    ],
)
def test_ordinary_words_are_those_that_are_no_names(prose, words):
    assert list(_ordinary_words(prose, {"the", "and"}.__contains__)) == words.split()


@pytest.mark.parametrize(
    ("prose", "is_latin"),
    [
        ("12:30", True),
        ("café 12 京", True),
        ("京", True),
        ("京東", False),
        ("ab 京東", True),
        ("a 京東", False),
        ("ab 京東都", False),
        ("abcd 京東都 123456", True),
    ],
)
def test_latin_is_what_has_half_of_its_letters_or_all_but_one(prose, is_latin):
    assert _is_latin(prose) is is_latin
