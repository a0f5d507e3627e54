"""Relations of names: synonyms, hyponyms (kinds) and parts.

Read from a text file with one relation per line: `same: NAME, ...`, `kinds of NAME: NAME, ...`,
`parts of NAME: NAME, ...`. Words are compared by their stems, so that singular and plural are
equal.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import digest_of
from florilegium.specialists.words.files import read_text
from florilegium.specialists.words.nouns import stem

Name = tuple[str, ...]
"""The stems of a name's words."""

_LINE = re.compile(r"(?:(?P<same>same)|(?P<how>kinds|parts) of (?P<whole>[^:]+)):(?P<names>.+)")
_WORD = re.compile(r"[^\W_]+")


class Relations:
    """Synonyms, kinds and parts of names."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Parse relations, one per line; `#` starts a comment.

        Raises:
            ConfigError: a line is no relation.
        """
        self._same: dict[Name, set[Name]] = defaultdict(set)
        self._broader: dict[Name, set[Name]] = defaultdict(set)
        self._narrower: dict[Name, set[Name]] = defaultdict(set)
        self._parts: dict[Name, set[Name]] = defaultdict(set)
        for number, line in enumerate(lines, start=1):
            if relation := line.partition("#")[0].strip():
                self._add(relation, number)

    def _add(self, relation: str, number: int) -> None:
        found = _LINE.fullmatch(relation)
        names = [name_of(name) for name in found["names"].split(",")] if found else []
        if not found or not all(names):
            raise ConfigError(
                f"line {number} of the relations, {relation!r}, is none: write `same: NAME, NAME`, "
                f"`kinds of NAME: NAME, NAME` or `parts of NAME: NAME, NAME`"
            )
        if found["same"]:
            for name in names:
                self._same[name].update(names)
        elif found["how"] == "kinds":
            self._narrower[name_of(found["whole"])].update(names)
            for name in names:
                self._broader[name].add(name_of(found["whole"]))
        else:
            self._parts[name_of(found["whole"])].update(names)

    @cached_property
    def digest(self) -> str:
        """A digest of the relations, independent of comments and order."""
        tables = (self._same, self._narrower, self._parts)
        return digest_of([repr(sorted((k, sorted(v)) for k, v in one.items())) for one in tables])

    @cached_property
    def longest(self) -> int:
        """The number of words of the longest name."""
        tables = (self._same, self._broader, self._narrower, self._parts)
        return max((len(name) for table in tables for name in table), default=1)

    def implied(self, names: Iterable[Name]) -> set[Name]:
        """Return the names of all objects that may be present if these are, themselves included.

        Their synonyms, hypernyms and hyponyms ("person" may be a man), and the parts of all these.
        """
        given = set(names)
        may_be = _reached(given, self._same, self._broader)
        may_be |= _reached(given, self._same, self._narrower)
        return _reached(may_be, self._same, self._parts)


def _reached(names: Iterable[Name], *tables: Mapping[Name, set[Name]]) -> set[Name]:
    """Return the names and all names that can be reached by the tables."""
    found, new = set(names), list(names)
    while new:
        name = new.pop()
        for table in tables:
            for other in table.get(name, set()) - found:
                found.add(other)
                new.append(other)
    return found


def name_of(text: str) -> Name:
    """Return the stems of a text's words."""
    return tuple(stem(word) for word in _WORD.findall(text.casefold()))


def names_in(words: Name, longest: int) -> Iterator[Name]:
    """Yield every run of at most `longest` words."""
    for start in range(len(words)):
        for stop in range(start + 1, min(start + longest, len(words)) + 1):
            yield words[start:stop]


@lru_cache(maxsize=8)
def read_relations(path: str) -> Relations:
    """Read relations by their path (`read_text`).

    Raises:
        ConfigError: the file is missing, cannot be read, or a line is no relation.
    """
    text, location = read_text(path, "list of kinds and parts")
    try:
        return Relations(text.splitlines())
    except ConfigError as error:
        raise ConfigError(f"cannot read {location}: {error}") from error
