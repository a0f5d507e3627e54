"""Names of things, and the phrases by which each is looked for.

A vocabulary is a list of names, names with phrases, or a text file of either. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from engine.core.errors import ConfigError
from engine.core.sample import digest_of
from specialists.words.files import read_text

Names = str | tuple[str, ...] | dict[str, tuple[str, ...]]
"""A file, names, or names with the phrases that stand for them."""


@dataclass(frozen=True)
class Vocabulary:
    """Each name with its phrases, in order; a name without phrases is looked for as it is."""

    phrases: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(self.phrases)

    @cached_property
    def digest(self) -> str:
        """A digest of names, phrases and their order."""
        return digest_of([text for name, each in self.phrases.items() for text in (name, *each)])


def vocabulary_of(names: Names) -> Vocabulary:
    """Return a vocabulary; a file is looked for from here or, failing that, the installation.

    A line of a file is a name, or `name: phrase, phrase`; `#` opens a comment.

    Raises:
        ConfigError: there is no such file, it cannot be read, or it names nothing or one twice.
    """
    if isinstance(names, str):
        return _read(names)
    pairs = names.items() if isinstance(names, Mapping) else ((name, ()) for name in names)
    return _checked(pairs, "the vocabulary")


def _read(path: str) -> Vocabulary:
    text, place = read_text(path, "vocabulary")
    return _checked(filter(any, map(_pair, text.splitlines())), place)


def _pair(line: str) -> tuple[str, tuple[str, ...]]:
    name, _, phrases = line.partition("#")[0].partition(":")
    return name.strip(), tuple(phrases.split(",")) if phrases.strip() else ()


def _checked(pairs: Iterable[tuple[str, Iterable[str]]], where: str) -> Vocabulary:
    phrases: dict[str, tuple[str, ...]] = {}
    for given, wordings in pairs:
        name = " ".join(given.split())
        own = tuple(" ".join(wording.split()) for wording in wordings) or (name,)
        if not name or not all(own):
            raise ConfigError(
                f"{where}: {given!r} has a name or phrase without words; write it out"
            )
        if name in phrases:
            raise ConfigError(f"{where}: {name!r} stands there twice; remove one")
        phrases[name] = own
    if not phrases:
        raise ConfigError(f"{where} names nothing; give at least one name")
    return Vocabulary(phrases)
