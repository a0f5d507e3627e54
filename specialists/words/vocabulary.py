"""Vocabularies: names of objects, each with the phrases for its prompts.

A vocabulary is a list of names, names with phrases, or a text file of either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import digest_of
from florilegium.specialists.words.files import read_text

Names = str | tuple[str, ...] | dict[str, tuple[str, ...]]
"""A file, names, or names with their phrases."""


@dataclass(frozen=True)
class Vocabulary:
    """Names with their phrases, in order; a name without phrases is its own phrase."""

    phrases: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(self.phrases)

    @cached_property
    def digest(self) -> str:
        """A digest of names and phrases, in order."""
        return digest_of([text for name, each in self.phrases.items() for text in (name, *each)])


def vocabulary_of(names: Names) -> Vocabulary:
    """Return a vocabulary; a file is read by its path (`read_text`).

    A line of a file is a name, or `name: phrase, phrase`; `#` starts a comment.

    Raises:
        ConfigError: the file is missing or cannot be read, or it is empty or has a name twice.
    """
    if isinstance(names, str):
        return _read(names)
    pairs = names.items() if isinstance(names, Mapping) else ((name, ()) for name in names)
    return _checked(pairs, "the vocabulary")


def _read(path: str) -> Vocabulary:
    text, location = read_text(path, "vocabulary")
    return _checked(filter(any, map(_pair, text.splitlines())), location)


def _pair(line: str) -> tuple[str, tuple[str, ...]]:
    name, _, phrases = line.partition("#")[0].partition(":")
    return name.strip(), tuple(phrases.split(",")) if phrases.strip() else ()


def _checked(pairs: Iterable[tuple[str, Iterable[str]]], where: str) -> Vocabulary:
    phrases: dict[str, tuple[str, ...]] = {}
    for given, wordings in pairs:
        name = " ".join(given.split())
        own = tuple(" ".join(wording.split()) for wording in wordings) or (name,)
        if not name or not all(own):
            raise ConfigError(f"{where}: {given!r} has an empty name or phrase; write it out")
        if name in phrases:
            raise ConfigError(f"{where}: {name!r} is listed twice; remove one")
        phrases[name] = own
    if not phrases:
        raise ConfigError(f"{where} is empty; give at least one name")
    return Vocabulary(phrases)
