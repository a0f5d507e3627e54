"""Articles, plurals and lists of English nouns, by spelling rules and exceptions.

Covers names of objects only. The rules are part of fingerprints and outputs: a library such as
`inflect` decides some words otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
REFERENCES = ("the", "this", "that", "these", "those", "his", "her", "its", "their")
"""Words that start a phrase about something already mentioned."""

_SOUNDS_LIKE_VOWEL = ("hour", "honest", "heir")
_SOUNDS_LIKE_CONSONANT = ("uni", "use", "usa", "eu", "ewe", "one-", "once", "ukulele")
_UNCOUNTED = (
    *("broccoli", "carbonara", "cauliflower", "clothing", "corn", "dough", "eggnog", "fabric"),
    *("furniture", "guacamole", "hay", "luggage", "mail", "paper", "rice", "spray", "sunscreen"),
    *("syrup", "wine", "wool"),
)
_SINGULAR_IN_S = ("bus", "gas", "lens", "malinois", "triceratops")
_IRREGULAR = {
    "child": "children",
    "deer": "deer",
    "elf": "elves",
    "fish": "fish",
    "foot": "feet",
    "goose": "geese",
    "half": "halves",
    "life": "lives",
    "man": "men",
    "moose": "moose",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "scarf": "scarves",
    "sheep": "sheep",
    "thief": "thieves",
    "tooth": "teeth",
    "wife": "wives",
    "woman": "women",
    "calf": "calves",
    "knife": "knives",
    "leaf": "leaves",
    "loaf": "loaves",
    "shelf": "shelves",
    "wolf": "wolves",
}

_CLOSING = (
    *("calf", "child", "fish", "foot", "knife", "leaf", "man", "mouse", "person", "shelf"),
    *("tooth", "wife", "wolf"),
)
"""Irregular nouns that end compounds: snowmen, bookshelves, goldfish."""
_NO_MEN = ("human", "ottoman", "shaman", "talisman", "caiman", "german", "roman")
_IN_OES = (
    *("buffalo", "domino", "echo", "hero", "mango", "mosquito", "potato", "tomato", "torpedo"),
    *("tornado", "volcano"),
)
_UNLIKE = {
    "people": "person",
    "children": "child",
    "mice": "mouse",
    "lice": "louse",
    "geese": "goose",
    "feet": "foot",
    "teeth": "tooth",
    "oxen": "ox",
    "dice": "die",
    "men": "man",
}
"""Endings of irregular plurals, with their singulars."""


def is_plural(noun: str) -> bool:
    """Return whether a noun is a plural: "sunglasses", not "bus"."""
    head = noun.split()[-1].lower()
    return head.endswith("s") and head not in _SINGULAR_IN_S and head[-2:] not in ("ss", "us", "is")


def with_article(phrase: str, noun: str) -> str:
    """Put "a" or "an" before a phrase with this noun: "an old bus", "blue jeans", "fresh corn"."""
    if is_plural(noun) or noun.split()[-1].lower() in _UNCOUNTED:
        return phrase
    word = phrase.lower()
    is_vowel = word.startswith(_SOUNDS_LIKE_VOWEL) or (
        word[0] in "aeiou" and not word.startswith(_SOUNDS_LIKE_CONSONANT)
    )
    return f"{'an' if is_vowel else 'a'} {phrase}"


def plural(noun: str) -> str:
    """Return the plural of a noun: "coffee mugs", "wolves"; "jeans" and "rice" are unchanged."""
    *before, head = noun.split()
    if is_plural(noun) or head.lower() in _UNCOUNTED:
        return noun
    return " ".join([*before, plural_form(head)])


def plural_form(word: str) -> str:
    """Return the plural of a single word, countable or not."""
    lower = word.lower()
    if lower in _IRREGULAR:
        return _IRREGULAR[lower]
    closing = next((one for one in _CLOSING if lower.endswith(one)), "")
    if closing and lower not in _NO_MEN:
        return f"{word[: -len(closing)]}{_IRREGULAR[closing]}"
    if lower in _IN_OES:
        return f"{word}es"
    if lower.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    if lower.endswith("y") and lower[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return a common stem of singular and plural: "knif" of "knife" and "knives".

    Different nouns may share a stem, but one noun never has two.
    """
    word = word.lower()
    for ending, one in _UNLIKE.items():
        if word.endswith(ending):
            return stem(f"{word.removesuffix(ending)}{one}")
    word = re.sub(r"(?<=[^\W_]{2})[es]+$", "", word)
    return re.sub(r"v$", "f", re.sub(r"[iuy]$", "i", word))


def listing(phrases: Sequence[str]) -> str:
    """Join phrases: "a cup", "a cup and a spoon", "a cup, a spoon and a jug"."""
    if len(phrases) < 2:
        return "".join(phrases)
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def sentence(words: str) -> str:
    """Capitalise the first letter and add a full stop."""
    return f"{words[:1].upper()}{words[1:]}."


def quoted(text: str) -> str:
    """Return a text as one line in double quotes; inner ones become single quotes."""
    inside = " ".join(text.split()).replace('"', "'")
    return f'"{inside}"'


def is_readable(text: str) -> bool:
    """Return whether a line of OCR has two letters or digits: a single one is often no text."""
    return sum(letter.isalnum() for letter in text) > 1
