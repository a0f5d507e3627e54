"""A caption cut where grounded phrases begin and end, so that each piece can be highlighted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipelines.report.statements import Statement


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Part of a caption, and the phrases that it belongs to, kept ones first."""

    text: str
    phrases: tuple[Statement, ...]

    @property
    def places(self) -> str:
        """The places of the phrases, separated by blanks."""
        return " ".join(dict.fromkeys(one.place for one in self.phrases if one.place))

    @property
    def tip(self) -> str:
        """What is known of each phrase."""
        return "\n\n".join(dict.fromkeys(phrase.tip for phrase in self.phrases))


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A caption and its pieces, in order; together they are its text."""

    statement: Statement
    pieces: tuple[Piece, ...]


def cut_caption(statement: Statement, phrases: Sequence[Statement]) -> Caption:
    """Cut a caption at the edges of its phrases; spans may nest, overlap or lie outside."""
    text = statement.annotation.text
    spans = [(*_span(phrase, len(text)), phrase) for phrase in phrases]
    edges = {0, len(text)}.union(*((start, stop) for start, stop, _ in spans))
    ordered = sorted(edges)
    pieces = []
    for start, stop in pairwise(ordered):
        covering = [one for begin, end, one in spans if begin <= start and stop <= end]
        covering.sort(key=lambda phrase: not phrase.kept)
        pieces.append(Piece(text=text[start:stop], phrases=tuple(covering)))
    return Caption(statement=statement, pieces=tuple(pieces))


def _span(phrase: Statement, length: int) -> tuple[int, int]:
    if len(phrase.annotation.span) != 2:
        return 0, 0
    start, stop = (min(max(edge, 0), length) for edge in phrase.annotation.span)
    return start, max(start, stop)
