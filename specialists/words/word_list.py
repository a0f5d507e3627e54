"""A list of words from a text file, and whether a phrase is on it.

An entry a line; `#` opens a comment. An entry stands for the whole phrase, with `*` before it
for any place in a text, as whole words. Case, punctuation and the article in front do not
matter, and each word of an entry stands for its plural too: write entries in the singular.
There is no model here, so verbs are not reduced to their base form.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property

from engine.core.errors import ConfigError
from engine.core.sample import digest_of
from specialists.words.files import read_text
from specialists.words.nouns import plural_form

ANYWHERE = "*"
"""Opens an entry that is looked for at any place of a text."""
ARTICLES = frozenset({"a", "an", "the", "this", "that", "these", "those"})
"""Words that are not looked at where they open a longer phrase."""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class WordList:
    """The entries of a list, ready to be matched.

    Inflection is unfolded once, from the list's own words, so that a phrase costs a few
    dictionary look-ups and no word that is not on the list can be mistaken for one that is.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        """Read entries, one a line.

        Raises:
            ConfigError: a line holds no word.
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
        """A digest of the entries; comments and order do not change it."""
        entries = sorted(self._entries)
        return digest_of([f"{ANYWHERE * mark}{' '.join(words)}" for mark, words in entries])

    def has_phrase(self, phrase: str) -> bool:
        """Tell whether the whole phrase is an entry, or a `*` entry stands anywhere in it."""
        words = self._words(phrase)
        return words in self._whole or self._has_part(words)

    def has_part(self, text: str) -> bool:
        """Tell whether a `*` entry stands anywhere in the text."""
        return self._has_part(self._words(text))

    def _words(self, text: str) -> tuple[str, ...]:
        """Return the words of a text in the list's own singular, without the article in front."""
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
        ConfigError: it is not there, cannot be read, or a line holds no word.
    """
    text, place = read_text(path, "word list")
    try:
        return WordList(text.splitlines())
    except ConfigError as error:
        raise ConfigError(f"cannot read the word list {place}: {error}") from error


def _entries(lines: Iterable[str]) -> Iterator[tuple[bool, tuple[str, ...]]]:
    """Yield whether an entry matches anywhere, and its words."""
    for number, line in enumerate(lines, start=1):
        entry = line.partition("#")[0].strip()
        if entry:
            words = tuple(_split(entry))
            if not words:
                raise ConfigError(f"line {number} of the list, {entry!r}, holds no word: remove it")
            yield entry.startswith(ANYWHERE), words


def _split(text: str) -> list[str]:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return _WORD.findall(text.casefold())
