"""What each token of a Florence-2 checkpoint is: a piece of text, a place, a bracket, an end.

Token ids become what the processor's own parser reads, in a spelling that remembers from which
token each place came, so that labels and probabilities find their boxes again. Knows no model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from specialists.florence2.format import LOCATION_TOKENS, STRUCTURE_TOKENS

NO_BIN = -1
_NEITHER = "<unk>"
"""How tokens are written that belong to no answer: the parser's patterns end at them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Text between special tokens: the tokens `start` to `stop` (exclusive) of an answer."""

    start: int
    stop: int
    text: str


class Tokens:
    """The vocabulary of a checkpoint, by the role of each token.

    `size` is that of the model's vocabulary, which may be larger than the tokenizer's.
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
        """Return the bin that each token names, 0..999, or `NO_BIN`."""
        return np.asarray(self._bins[ids])

    def prompt(self, text: str) -> list[int]:
        """Return the tokens of a prompt as the processor puts them after those of the image."""
        return [self.start, *self._tokenizer(text, add_special_tokens=False).input_ids, self.end]

    def spoken(self, ids: np.ndarray) -> np.ndarray:
        """Cut what follows the first end token, which itself stays."""
        ends = np.flatnonzero(ids == self.end)
        return ids[: ends[0] + 1] if len(ends) else ids[ids != self.pad]

    def text(self, ids: np.ndarray) -> str:
        """Return the text among tokens; places and brackets are left out."""
        return self._decoded(ids[self._is_text[ids]])

    def written(self, ids: np.ndarray) -> str:
        """Write an answer for the parser: `<loc_7>` is the place that token 7 names, not bin 7.

        Start, end and padding are left out; so are characters of a text that would be read as
        more than text.
        """
        pieces: list[str] = []
        place = 0
        while place < len(ids):
            stop = self._end_of_text(ids, place)
            if stop > place:
                pieces.append(re.sub(r"[<\n]", " ", self._decoded(ids[place:stop])))
            else:
                pieces.append(self._spelling(int(ids[place]), place))
            place = max(stop, place + 1)
        return "".join(pieces)

    def label_of(self, ids: np.ndarray, token: int, *, in_brackets: bool) -> Run:
        """Return the text under which a location token stands; it may be empty.

        Only places lie between the two, and for masks the brackets of polygons.
        """
        before = ids[:token]
        is_between = self._bins[before] != NO_BIN
        if in_brackets:
            is_between |= np.isin(before, list(self._structure))
        stop = _after_last(~is_between)
        start = _after_last(~self._is_text[before[:stop]])
        return Run(start=start, stop=stop, text=self._decoded(ids[start:stop]))

    def _end_of_text(self, ids: np.ndarray, start: int) -> int:
        specials = np.flatnonzero(~self._is_text[ids[start:]])
        return start + int(specials[0]) if len(specials) else len(ids)

    def _spelling(self, token: int, place: int) -> str:
        if token in (self.start, self.end, self.pad):
            return ""
        if self._bins[token] != NO_BIN:
            return f"<loc_{place}>"
        return self._structure.get(token, _NEITHER)

    def _decoded(self, ids: np.ndarray) -> str:
        return str(self._tokenizer.decode(ids.tolist(), clean_up_tokenization_spaces=False))


def _after_last(is_true: np.ndarray) -> int:
    """Return the place after the last true one, or 0."""
    places = np.flatnonzero(is_true)
    return int(places[-1]) + 1 if len(places) else 0
