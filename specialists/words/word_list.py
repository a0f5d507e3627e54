"""Word lists from text files, and matching phrases against them.

One entry per line; `#` starts a comment. An entry matches a whole phrase; with `*` before it, it
matches anywhere in a text, as whole words. Case, punctuation and a leading article are ignored, and
each word of an entry matches its plural, too: write entries in the singular. Verbs are not
lemmatised. Articles and plurals are those of English; words of other languages match as they are
written, and in scripts without spaces, such as Chinese and Thai, anywhere in a text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import digest_of
from florilegium.specialists.words.files import read_text
from florilegium.specialists.words.nouns import plural_form
from florilegium.specialists.words.writing import words_of_any_script

ANYWHERE = "*"
"""Starts an entry that matches anywhere in a text."""
ARTICLES = frozenset({"a", "an", "the", "this", "that", "these", "those"})
"""Words that are ignored at the start of a longer phrase."""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class WordList:
    """The entries of a list, prepared for matching.

    Plurals are computed once, from the list's own words: matching takes a few dictionary look-ups,
    and other words cannot be confused with listed ones.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        """Parse entries, one per line.

        Raises:
            ConfigError: a line has no word.
        """
        entries = set(_entries(lines))
        listed = {word for _, words in entries for word in words}
        self._singular = {plural_form(word): word for word in sorted(listed)}
        self._singular.update({word: word for word in listed})
        self._entries = {
            (is_anywhere, self._words(" ".join(words))) for is_anywhere, words in entries
        }
        self._whole = {words for is_anywhere, words in self._entries if not is_anywhere}
        self._anywhere: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for is_anywhere, words in self._entries:
            if is_anywhere:
                self._anywhere[words[0]].append(words)

    @cached_property
    def digest(self) -> str:
        """A digest of the entries, independent of comments and order."""
        entries = sorted(self._entries)
        return digest_of([f"{ANYWHERE * mark}{' '.join(words)}" for mark, words in entries])

    def has_phrase(self, phrase: str) -> bool:
        """Return whether the whole phrase is an entry, or contains a `*` entry."""
        words = self._words(phrase)
        return words in self._whole or self._has_part(words)

    def has_part(self, text: str) -> bool:
        """Return whether the text contains a `*` entry."""
        return self._has_part(self._words(text))

    def _words(self, text: str) -> tuple[str, ...]:
        """Return the words of a text, listed ones in the singular, without a leading article."""
        singular = self._singular
        words = [singular.get(word, word) for word in _split(text)]
        while len(words) > 1 and words[0] in ARTICLES:
            del words[0]
        return tuple(words)

    def _has_part(self, words: tuple[str, ...]) -> bool:
        if self._anywhere.keys().isdisjoint(words):
            return False
        return any(
            words[start : start + len(entry)] == entry
            for start, word in enumerate(words)
            for entry in self._anywhere.get(word, ())
        )


def read_word_list(path: str) -> WordList:
    """Read a list by its path (`read_text`).

    Raises:
        ConfigError: it is missing, cannot be read, or a line has no word.
    """
    text, location = read_text(path, "word list")
    try:
        return WordList(text.splitlines())
    except ConfigError as error:
        raise ConfigError(f"cannot read the word list {location}: {error}") from error


def _entries(lines: Iterable[str]) -> Iterator[tuple[bool, tuple[str, ...]]]:
    """Yield whether an entry matches anywhere, and its words."""
    for number, line in enumerate(lines, start=1):
        entry = line.partition("#")[0].strip()
        if entry:
            words = tuple(_split(entry))
            if not words:
                raise ConfigError(f"line {number} of the list, {entry!r}, has no word: remove it")
            yield entry.startswith(ANYWHERE), words


def _split(text: str) -> list[str]:
    if text.isascii():
        return _WORD.findall(text.casefold())
    return words_of_any_script(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
