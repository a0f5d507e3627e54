"""Names of objects that are absent from an image, for prompts and questions about them.

A name counts as absent only if no annotation of the image is the same noun in singular or plural, a
synonym, a hyponym or a part of it, and none shares a content word with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from random import Random

from florilegium.engine.core.annotation import Annotation
from florilegium.specialists.words.colours import COLOURS
from florilegium.specialists.words.nouns import NUMBERS, stem
from florilegium.specialists.words.relations import Name, Relations, name_of, names_in

_DRAWS = 8
"""Random names that are tried for one prompt."""
_MODIFIERS = (
    "a an the this that these those his her its their some many several of in on at with and or by "
    "to from for near next behind front under over above below between beside large big small "
    "little tiny huge tall short long old young new bright colorful wooden metal striped spotted "
    "solid left right top bottom other another first second gray golden"
)
_ALSO_NOUNS = frozenset({"light", "no"})
"""Stems of colours and numbers that are also stems of nouns: a light, a nose."""
_IGNORED_STEMS = (
    frozenset(stem(word) for words in (_MODIFIERS, *COLOURS, *NUMBERS) for word in words.split())
    - _ALSO_NOUNS
)
"""Stems that two unrelated names may share: articles, prepositions, adjectives, numbers."""
_MIN_AFFIX = 4
"""Minimum letters of a word that starts or ends a compound: "light" in "streetlight"."""


class Absence:
    """Finds names that are absent from an image, by its annotations and the relations of words."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations

    def absent(self, annotations: Iterable[Annotation], names: Iterable[str]) -> Iterator[str]:
        """Yield those of some names that are absent from an image, by its annotations."""
        present = _Present(annotations, self._relations)
        return (name for name in names if not present.may_have(name))

    def draw(
        self, annotations: Iterable[Annotation], vocabulary: Sequence[str], random: Random
    ) -> str:
        """Return a random name of the vocabulary that is absent from an image.

        "" if `_DRAWS` draws find none.
        """
        if not vocabulary:
            return ""
        drawn = (random.choice(vocabulary) for _ in range(_DRAWS))
        return next(self.absent(annotations, drawn), "")


class _Present:
    """What may be in an image, by all its annotations."""

    def __init__(self, annotations: Iterable[Annotation], relations: Relations) -> None:
        self._longest = relations.longest
        texts = {text for one in annotations for text in (one.label, one.text) if text}
        mentioned = [name_of(text) for text in texts]
        joined = {word for words in mentioned for word in _joined(words)}
        self._words = {word for words in mentioned for word in words}
        self._all_words = self._words | joined
        names = {name for words in mentioned for name in names_in(words, self._longest)}
        self._implied = relations.implied(names | {(word,) for word in joined})

    def may_have(self, phrase: str) -> bool:
        """Return whether the object that a phrase names may be in the image."""
        words = name_of(phrase)
        content = tuple(word for word in words if word not in _IGNORED_STEMS) or words
        return (
            not content
            or not self._all_words.isdisjoint((*content, *_joined(content)))
            or any(name in self._implied for name in names_in(content, self._longest))
            or any(_is_within(one, other) for one in content for other in self._words)
        )


def _joined(words: Name) -> Iterator[str]:
    """Yield adjacent words joined: "hotdog" for "hot dog"."""
    return (f"{one}{other}" for one, other in pairwise(words))


def _is_within(one: str, other: str) -> bool:
    """Return whether one word starts or ends the other, as "light" ends "streetlight"."""
    short, long = sorted((one, other), key=len)
    return (
        len(short) >= _MIN_AFFIX
        and len(long) >= len(short) + _MIN_AFFIX - 1
        and (long.startswith(short) or long.endswith(short))
    )
