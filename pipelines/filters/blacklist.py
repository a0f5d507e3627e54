"""Drops labels and phrases that name no object, and captions that contain unwanted words.

The words are in a text file, whose digest is part of the filter's fingerprint. `WordList` defines
how an entry is matched.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Annotated

import numpy as np

from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.stage import THRESHOLD, Filter, StageConfig, one_of
from florilegium.engine.core.tasks import CAPTION_TASKS, PHRASE_TASKS, REGION_TASKS
from florilegium.pipelines.filters.caption_measures import prose_of
from florilegium.specialists.words.word_list import WordList, read_word_list

BLACKLISTED = "blacklisted"

OPENING_QUOTES = frozenset('"“«„')


class BlacklistConfig(StageConfig):
    """Options of `Blacklist`."""

    path: Annotated[str, THRESHOLD] = "package://florilegium/configs/blacklist.txt"
    """Path of the list, from the current folder; `package://NAME/FILE` is a file of a package."""


class Blacklist(Filter[BlacklistConfig]):
    """Judge labels of regions, phrases, and captions outside of quotations.

    Recognised text, and phrases that quote it, are not judged: a sign may read "LOVE".
    """

    Config = BlacklistConfig
    judges_by = "annotation"
    reads = (one_of(*CAPTION_TASKS, *REGION_TASKS, *PHRASE_TASKS),)

    def revision(self) -> str:
        """Return the digest of the list: other words make another fingerprint.

        Raises:
            ConfigError: the list cannot be read.
        """
        return self._words.digest

    def judge(self, statements: Statements) -> Verdicts:
        """Judge names by all entries, captions by the entries that match anywhere."""
        verdicts = Verdicts(len(statements))
        texts, labels = statements.texts("text"), statements.texts("label")
        is_phrase = statements.of_tasks(PHRASE_TASKS)
        names = np.where(is_phrase | (labels == ""), texts, labels)
        is_named = is_phrase | statements.of_tasks([task for task in REGION_TASKS if task != "ocr"])
        is_named &= names != ""
        is_caption = statements.of_tasks(CAPTION_TASKS)
        verdicts.is_judged |= is_named | is_caption
        is_listed = _where(is_named, names, self._words.has_phrase)
        verdicts.drop(is_listed & ~_is_quoted(statements, is_listed & is_phrase), BLACKLISTED)
        verdicts.drop(_where(is_caption, texts, self._says_listed), BLACKLISTED)
        return verdicts

    def _says_listed(self, caption: str) -> bool:
        return self._words.has_part(prose_of(caption))

    @cached_property
    def _words(self) -> WordList:
        return read_word_list(self.config.path)


def _where(rows: np.ndarray, texts: np.ndarray, is_listed: Callable[[str], bool]) -> np.ndarray:
    """Return which of the rows are listed, bool, shape (n,); a text is looked up once."""
    listed = {text for text in set(texts[rows]) if is_listed(text)}
    found = np.zeros(len(rows), dtype=bool)
    found[rows] = [text in listed for text in texts[rows]]
    return found


def _is_quoted(statements: Statements, rows: np.ndarray) -> np.ndarray:
    """Return which of the rows are phrases that open a quotation in their caption."""
    texts, spans = statements.texts("text"), statements.table.column("span")
    quoted = np.zeros(len(rows), dtype=bool)
    for row in np.flatnonzero(rows & (statements.parent >= 0)):
        start = max([1, *spans[int(row)].as_py()[:1]])
        quoted[row] = texts[statements.parent[row]][start - 1 : start] in OPENING_QUOTES
    return quoted
