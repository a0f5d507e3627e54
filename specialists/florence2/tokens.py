"""The vocabulary of a Florence-2 checkpoint: text, location, structure and special tokens.

Writes token ids as text for the processor's parser; location tokens are written with their index in
the answer instead of their bin, so that labels and probabilities can be matched to their boxes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from florilegium.specialists.florence2.format import LOCATION_TOKENS, STRUCTURE_TOKENS

NO_BIN = -1
_NEITHER = "<unk>"
"""Written for tokens that do not belong in an answer: the parser's patterns end there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRun:
    """A run of text tokens of an answer: from index `start` to `stop` (exclusive)."""

    start: int
    stop: int
    text: str


class Tokens:
    """The vocabulary of a checkpoint, with the role of each token.

    `size` is that of the model's vocabulary, which may exceed the tokenizer's.
    """

    def __init__(self, tokenizer: Any, *, size: int) -> None:
        entries = tokenizer.get_vocab()
        self._tokenizer = tokenizer
        self.start, self.end, self.pad = (
            int(tokenizer.bos_token_id),
            int(tokenizer.eos_token_id),
            int(tokenizer.pad_token_id),
        )
        self.location_ids = np.array([entries[token] for token in LOCATION_TOKENS])
        self._bins = np.full(max(size, max(entries.values()) + 1), NO_BIN)
        self._bins[self.location_ids] = np.arange(len(LOCATION_TOKENS))
        self._is_text = np.zeros(len(self._bins), dtype=bool)
        self._is_text[list(entries.values())] = True
        self._is_text[list(tokenizer.added_tokens_decoder)] = False
        self._structure = {entries[token]: token for token in STRUCTURE_TOKENS if token in entries}

    def bins(self, ids: np.ndarray) -> np.ndarray:
        """Return the bin of each token, 0..999, or `NO_BIN`."""
        return np.asarray(self._bins[ids])

    def prompt(self, text: str) -> list[int]:
        """Return the tokens of a prompt as the processor appends them to the image tokens."""
        return [self.start, *self._tokenizer(text, add_special_tokens=False).input_ids, self.end]

    def until_end(self, ids: np.ndarray) -> np.ndarray:
        """Return the tokens up to and including the first end token."""
        ends = np.flatnonzero(ids == self.end)
        return ids[: ends[0] + 1] if len(ends) else ids[ids != self.pad]

    def text(self, ids: np.ndarray) -> str:
        """Return the text of tokens, without locations and structure tokens."""
        return self._decoded(ids[self._is_text[ids]])

    def words(self, ids: np.ndarray, *, about_region: bool) -> np.ndarray:
        """Return the indices of the text tokens of a text answer, and of its end token.

        An answer about a region repeats the region after the text: what follows is left out.
        """
        is_word = self._is_text[ids]
        if about_region:
            is_word &= np.cumsum(self._bins[ids] != NO_BIN) == 0
        return np.flatnonzero(is_word | (ids == self.end))

    def written(self, ids: np.ndarray) -> str:
        """Write an answer for the parser: `<loc_7>` means the location token at index 7, not bin 7.

        Start, end and padding are left out, and so are characters that the parser would interpret.
        """
        pieces: list[str] = []
        index = 0
        while index < len(ids):
            stop = self._end_of_text(ids, index)
            if stop > index:
                pieces.append(re.sub(r"[<\n]", " ", self._decoded(ids[index:stop])))
            else:
                pieces.append(self._spelling(int(ids[index]), index))
            index = max(stop, index + 1)
        return "".join(pieces)

    def label_of(self, ids: np.ndarray, token: int, *, in_brackets: bool) -> TokenRun:
        """Return the label of a location token, the last text before it; it may be empty.

        Only location tokens, and for masks the brackets of polygons, may lie in between.
        """
        before = ids[:token]
        is_between = self._bins[before] != NO_BIN
        if in_brackets:
            is_between |= np.isin(before, list(self._structure))
        stop = _after_last(~is_between)
        start = _after_last(~self._is_text[before[:stop]])
        return TokenRun(start=start, stop=stop, text=self._decoded(ids[start:stop]))

    def _end_of_text(self, ids: np.ndarray, start: int) -> int:
        specials = np.flatnonzero(~self._is_text[ids[start:]])
        return start + int(specials[0]) if len(specials) else len(ids)

    def _spelling(self, token: int, index: int) -> str:
        if token in (self.start, self.end, self.pad):
            return ""
        if self._bins[token] != NO_BIN:
            return f"<loc_{index}>"
        return self._structure.get(token, _NEITHER)

    def _decoded(self, ids: np.ndarray) -> str:
        return str(self._tokenizer.decode(ids.tolist(), clean_up_tokenization_spaces=False))


def _after_last(is_true: np.ndarray) -> int:
    """Return the index after the last true one, or 0."""
    indices = np.flatnonzero(is_true)
    return int(indices[-1]) + 1 if len(indices) else 0
