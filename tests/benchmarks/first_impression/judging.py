"""Whether a claim about a photograph is right, wrong or not to be judged by the truth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Literal

from florilegium.specialists.words.nouns import NUMBERS
from tests.benchmarks.first_impression.claims import Claim
from tests.benchmarks.first_impression.truth import Photograph, Thing, Truth

Verdict = Literal["right", "wrong", "unsure"]
Box = Sequence[float]

_LEAST_IOU = 0.5
_SLACK = 0.08
"""By how much of the image a stated cell of the grid may be missed: the boxes are rough."""
_LARGE, _SMALL, _FILLING = 0.25, 0.06, 0.75
"""Shares of the image, and of both of its sides, a little wider than those of the templates."""
_SHARES = {
    "nearly all": 0.92,
    "about three quarters": 0.75,
    "about two thirds": 0.66,
    "about half": 0.5,
    "about a third": 0.33,
    "about a quarter": 0.25,
    "about a fifth": 0.2,
    "about a tenth": 0.1,
}
_LEAST_SIMILARITY = 0.9
_SHORT_TEXT = 3
_MANY = 11


class Judge:
    """Judges claims about one photograph."""

    def __init__(self, truth: Truth, photograph: Photograph) -> None:
        self._truth = truth
        self._photograph = photograph

    def name(self, noun: str) -> Verdict:
        """Judge that something of this name is there."""
        if self._things(noun) or self._truth.is_name(noun, self._photograph.also):
            return "right"
        if self._photograph.people != "none" and self._truth.is_name(noun, ("person",)):
            return "unsure" if self._photograph.people == "unsure" else "right"
        return "unsure" if self._truth.is_name(noun, self._photograph.unsure) else "wrong"

    def box(self, noun: str, box: Box) -> Verdict:
        """Judge a box, 0..1, of something of a right name."""
        boxes = self._boxes(noun)
        if not boxes:
            return "unsure"
        return _verdict(any(_iou(box, one) >= _LEAST_IOU for one in boxes))

    def claim(self, claim: Claim) -> Verdict | None:
        """Judge a claim; `None` for what is stated about something that is not there."""
        if claim.kind == "background":
            colours = self._photograph.background
            if claim.noun == "picture":
                colours += tuple(c for thing in self._photograph.things for c in thing.colours)
            return _verdict(claim.value in colours) if colours else "unsure"
        if claim.kind == "medium":
            return _verdict(self._photograph.black_and_white)
        if claim.kind == "text":
            return self.text(claim.value)
        named = self.name(claim.noun)
        if claim.kind == "name" or named == "unsure":
            return named
        if named == "wrong":
            return None
        return {
            "count": self._count,
            "colour": self._colour,
            "size": self._size,
            "position": self._position,
        }[claim.kind](claim)

    def text(self, line: str) -> Verdict:
        """Judge a line of OCR: it is written there, or nearly so; a short one is a word."""
        if self._photograph.text is None:
            return "unsure"
        read = _letters(line)
        if len(read) <= _SHORT_TEXT:
            words = [_letters(word) for one in self._photograph.text for word in one.split()]
            return _verdict(read in words)
        lines = [_letters(one) for one in self._photograph.text]
        is_written = read in "".join(lines) or any(_is_near(read, one) for one in lines)
        return _verdict(is_written)

    def _things(self, noun: str) -> list[Thing]:
        things = self._photograph.things
        return [thing for thing in things if self._truth.is_name(noun, thing.names)]

    def _boxes(self, noun: str) -> list[Box]:
        return [[side / 100 for side in box] for one in self._things(noun) for box in one.boxes]

    def _count(self, claim: Claim) -> Verdict:
        things = self._things(claim.noun)
        people = self._photograph.people
        known = {thing.number for thing in things}
        if not known and isinstance(people, int):
            known = {people}
        if len(known) != 1 or None in known:
            return "unsure"
        (number,) = known
        if claim.value == "many":
            return _verdict((number or 0) >= _MANY)
        return _verdict(NUMBERS.index(claim.value) == number)

    def _colour(self, claim: Claim) -> Verdict:
        colours = {colour for thing in self._things(claim.noun) for colour in thing.colours}
        return _verdict(claim.value in colours) if colours else "unsure"

    def _size(self, claim: Claim) -> Verdict:
        boxes = self._boxes(claim.noun)
        if not boxes:
            return "unsure"
        shares = [_area(box) for box in boxes]
        if claim.value == "large":
            return _verdict(max(shares) >= _LARGE)
        if claim.value == "small":
            return _verdict(min(shares) <= _SMALL)
        if claim.value in _SHARES:
            stated = _SHARES[claim.value]
            return _verdict(any(0.67 <= share / stated <= 1.5 for share in shares))
        is_filling = any(min(b[2] - b[0], b[3] - b[1]) >= _FILLING for b in boxes)
        return _verdict(is_filling)

    def _position(self, claim: Claim) -> Verdict:
        boxes = self._boxes(claim.noun)
        if not boxes:
            return "unsure"
        match = re.fullmatch(r"(to the left of|to the right of|above|below) (.+)", claim.value)
        if not match:
            return _verdict(any(_is_at(box, claim.value) for box in boxes))
        others = self._boxes(match[2])
        if not others:
            return "unsure"
        return _verdict(any(_is_beside(b, match[1], o) for b in boxes for o in others))


def _verdict(is_right: bool) -> Verdict:
    return "right" if is_right else "wrong"


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (_area(one) + _area(other) - shared)


def _is_at(box: Box, place: str) -> bool:
    """Return whether the centre of a box lies in a cell of the grid of three by three."""
    column, row = _centre(box)
    words = place.split()
    columns = 0 if "left" in words else 2 if "right" in words else 1
    rows = 0 if "top" in words else 2 if "bottom" in words else 1
    return all(
        cell / 3 - _SLACK <= centre <= (cell + 1) / 3 + _SLACK
        for cell, centre in ((columns, column), (rows, row))
    )


def _is_beside(box: Box, side: str, other: Box) -> bool:
    (x, y), (other_x, other_y) = _centre(box), _centre(other)
    return {
        "to the left of": x < other_x,
        "to the right of": x > other_x,
        "above": y < other_y,
        "below": y > other_y,
    }[side]


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _is_near(read: str, written: str) -> bool:
    return SequenceMatcher(None, read, written, autojunk=False).ratio() >= _LEAST_SIMILARITY
