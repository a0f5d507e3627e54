"""A caption, split where grounded phrases start and end, so that each piece can be highlighted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from florilegium.pipelines.report.annotations import ShownAnnotation


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a caption, and the phrases that contain it, kept ones first."""

    text: str
    phrases: tuple[ShownAnnotation, ...]

    @property
    def region_ids(self) -> str:
        """The region ids of the phrases, separated by spaces."""
        return " ".join(dict.fromkeys(one.region_id for one in self.phrases if one.region_id))

    @property
    def tip(self) -> str:
        """The tips of the phrases."""
        return "\n\n".join(dict.fromkeys(phrase.tip for phrase in self.phrases))


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A caption and its pieces in order; joined they are its text."""

    shown: ShownAnnotation
    pieces: tuple[Piece, ...]


def cut_caption(shown: ShownAnnotation, phrases: Sequence[ShownAnnotation]) -> Caption:
    """Split a caption at the edges of its phrases; spans may nest, overlap or exceed the text."""
    text = shown.annotation.text
    spans = [(*_span(phrase, len(text)), phrase) for phrase in phrases]
    edges = {0, len(text)}.union(*((start, stop) for start, stop, _ in spans))
    ordered = sorted(edges)
    pieces = []
    for start, stop in pairwise(ordered):
        covering = [one for begin, end, one in spans if begin <= start and stop <= end]
        covering.sort(key=lambda phrase: not phrase.kept)
        pieces.append(Piece(text=text[start:stop], phrases=tuple(covering)))
    return Caption(shown=shown, pieces=tuple(pieces))


def _span(phrase: ShownAnnotation, length: int) -> tuple[int, int]:
    if len(phrase.annotation.span) != 2:
        return 0, 0
    start, stop = (min(max(edge, 0), length) for edge in phrase.annotation.span)
    return start, max(start, stop)
