"""What to ask for that is not there, so that a model learns to answer nothing.

A prompt may ask for a thing only if nothing that was said about the image is that thing in
another number or by another name, a kind or a part of it, or shares a word with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random

from engine.records.dataset_sample import DatasetSample
from specialists.words.colours import COLOURS
from specialists.words.nouns import NUMBERS, stem
from specialists.words.relations import Name, Relations, name_of, names_in

_TRIES = 8
_LOOKS = (
    "a an the this that these those his her its their some many several of in on at with and or by "
    "to from for near next behind front under over above below between beside large big small "
    "little tiny huge tall short long old young new bright colorful wooden metal striped spotted "
    "solid left right top bottom other another first second gray golden"
)
_THINGS_TOO = frozenset({"light", "no"})
"""Stems of colours and numbers that are those of things, too: a light, a nose."""
_SHARED = (
    frozenset(stem(word) for words in (_LOOKS, *COLOURS, *NUMBERS) for word in words.split())
    - _THINGS_TOO
)
"""Stems of words that things may share which have nothing else in common."""
_SHORTEST = 4
"""Letters from which on the beginning or the end of a word is a word itself: "streetlight"."""


class Absence:
    """What is absent from samples, as far as labels, captions and relations tell."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations

    def draw(self, sample: DatasetSample, vocabulary: Sequence[str], random: Random) -> str:
        """Return a word or phrase of the dataset that is absent from a sample.

        Empty when a few draws find none.
        """
        if not vocabulary:
            return ""
        there = _There(sample, self._relations)
        drawn = (random.choice(vocabulary) for _ in range(_TRIES))
        return next((words for words in drawn if not there.may_have(words)), "")


class _There:
    """What may be in an image by all that was said about it."""

    def __init__(self, sample: DatasetSample, relations: Relations) -> None:
        self._longest = relations.longest
        texts = {text for one in sample.annotations for text in (one.label, one.text) if text}
        said = [name_of(text) for text in texts]
        joined = {word for words in said for word in _joined(words)}
        self._words = {word for words in said for word in words}
        self._told = self._words | joined
        names = {name for words in said for name in names_in(words, self._longest)}
        self._implied = relations.implied(names | {(word,) for word in joined})

    def may_have(self, phrase: str) -> bool:
        """Tell whether what a phrase names may be there."""
        words = name_of(phrase)
        things = tuple(word for word in words if word not in _SHARED) or words
        return (
            not things
            or not self._told.isdisjoint((*things, *_joined(things)))
            or any(name in self._implied for name in names_in(things, self._longest))
            or any(_is_within(one, other) for one in things for other in self._words)
        )


def _joined(words: Name) -> Iterator[str]:
    """Yield neighbours written as one word: "hotdog" for "hot dog"."""
    return (f"{one}{other}" for one, other in pairwise(words))


def _is_within(one: str, other: str) -> bool:
    """Tell whether one word opens or closes the other, as "light" closes "streetlight"."""
    short, long = sorted((one, other), key=len)
    return (
        len(short) >= _SHORTEST
        and len(long) >= len(short) + _SHORTEST - 1
        and (long.startswith(short) or long.endswith(short))
    )
