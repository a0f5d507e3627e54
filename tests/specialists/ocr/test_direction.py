"""Which way lines run, by a made-up reader that knows what each reads from which corner."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from florilegium.specialists.ocr.direction import (
    DOWN,
    LEFT,
    RIGHT,
    UP,
    Line,
    Reading,
    View,
    read_lines,
    side_by_side,
)

CORNERS = ("top left", "top right", "bottom right", "bottom left")
WIDE, TALL, SQUARE, NARROW = (200, 40), (40, 200), (40, 50), (20, 45)


def box(size_wh: tuple[int, int], top: float = 0) -> np.ndarray:
    width, height = size_wh
    return np.array([(0, top), (width, top), (width, top + height), (0, top + height)], float)


class Reader:
    """Reads lines by their top edge and the corner from which they are read.

    What is not listed reads "?" with a score of 0.3. `stacked` is what letters laid side by side
    read.
    """

    def __init__(
        self, *lines: Mapping[int, tuple[str, float]], stacked: tuple[str, float] = ("", 0)
    ) -> None:
        self._lines = lines
        self._stacked = stacked
        self.views: list[View] = []

    def __call__(self, views: list[View]) -> list[Reading]:
        self.views += views
        return [self._read(view) for view in views]

    def _read(self, view: View) -> Reading:
        if view.letters > 1:
            return Reading(*self._stacked)
        number = round(view.quad[:, 1].min() / 1000)
        low, high = view.quad.min(axis=0), view.quad.max(axis=0)
        corners = [low, (high[0], low[1]), high, (low[0], high[1])]
        corner = next(at for at, one in enumerate(corners) if tuple(one) == tuple(view.quad[0]))
        return Reading(*self._lines[number].get(corner, ("?", 0.3)))


def read(reader: Reader, *sizes: tuple[int, int]) -> list[tuple[str, str]]:
    """Return text and first corner of lines of these sizes, all of one image."""
    quads = np.array([box(size, 1000 * row) for row, size in enumerate(sizes)])
    (found,) = read_lines([quads.reshape(-1, 4, 2)], reader)
    return [(reading.text, corner_of(quad)) for quad, reading in found]


def corner_of(quad: np.ndarray) -> str:
    """Name the corner at which a quad begins; it goes clockwise from there."""
    low, high = quad.min(axis=0), quad.max(axis=0)
    corners = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    turn = next(turn for turn in range(4) if (np.roll(corners, -turn, axis=0) == quad).all())
    return CORNERS[turn]


def test_a_line_begins_where_it_is_surest_read() -> None:
    for size, turn in ((WIDE, RIGHT), (WIDE, LEFT), (TALL, DOWN), (TALL, UP)):
        assert read(Reader({turn: ("EXIT", 0.99)}), size) == [("EXIT", CORNERS[turn])]
    for turn in (RIGHT, DOWN, LEFT, UP):
        assert read(Reader({turn: ("GO", 0.99)}), SQUARE) == [("GO", CORNERS[turn])]


def test_what_is_surely_read_is_read_once() -> None:
    reader = Reader({RIGHT: ("CLOSED", 0.99), LEFT: ("CLOSEO", 1)}, {DOWN: ("CLOSED", 0.98)})
    assert read(reader, WIDE, TALL) == [("CLOSED", "top left"), ("CLOSED", "top right")]
    assert len(reader.views) == 2


def test_a_line_that_is_hard_to_read_is_not_turned_for_little() -> None:
    assert read(Reader({RIGHT: ("blur", 0.6), LEFT: ("jnjq", 0.7)}), WIDE) == [("blur", "top left")]
    assert read(Reader({RIGHT: ("6", 0.95), LEFT: ("9", 0.96)}), WIDE) == [("6", "top left")]


def test_a_part_of_a_word_is_not_taken_for_the_word() -> None:
    square = Reader({RIGHT: ("G", 0.999), DOWN: ("GO", 0.998)})
    assert read(square, SQUARE) == [("GO", "top right")]
    assert read(Reader({RIGHT: ("TI", 0.99), LEFT: ("TAXI", 0.99)}), WIDE) == [
        ("TAXI", "bottom right")
    ]


def test_a_narrow_letter_stands_upright_and_a_long_line_does_not() -> None:
    one = {RIGHT: ("1", 0.99), DOWN: ("-", 0.6)}
    assert read(Reader(one), NARROW) == [("1", "top left")]
    assert read(Reader(one), TALL) == [("-", "top right")]


def test_a_line_in_doubt_follows_the_others_of_its_image() -> None:
    turned = {LEFT: ("THE END", 1.0), RIGHT: ("QNEEHI", 0.6)}
    doubtful = {RIGHT: ("XIS", 0.999), LEFT: ("SIX", 0.999)}
    upright = {RIGHT: ("THE END", 1.0)}
    upside_down = ("SIX", "bottom right")
    assert read(Reader(doubtful, upright), WIDE, WIDE)[0] == ("XIS", "top left")
    assert read(Reader(doubtful, turned), WIDE, WIDE)[0] == upside_down
    assert read(Reader(turned, doubtful, turned), WIDE, WIDE, WIDE)[1] == upside_down
    assert read(Reader(doubtful, turned, upright), WIDE, WIDE, WIDE)[0] == ("XIS", "top left")
    quads = [box(WIDE)[None], box(WIDE, 1000)[None]]
    (other,), _ = read_lines(quads, Reader(doubtful, turned))
    assert corner_of(other.quad) == "top left", "the lines of another image tell nothing"


def test_stacked_letters_begin_at_the_top_left() -> None:
    down = {DOWN: ("北京大学", 1.0)}
    assert read(Reader(down, stacked=("北京大学", 0.95)), TALL) == [("北京大学", "top left")]
    assert read(Reader(down, stacked=("号单", 0.4)), TALL) == [("北京大学", "top right")]
    latin = Reader({DOWN: ("EXIT", 1.0)}, stacked=("EXIT", 1.0))
    assert read(latin, TALL) == [("EXIT", "top right")]
    assert all(view.letters == 1 for view in latin.views)


def test_stacked_letters_are_laid_side_by_side() -> None:
    letters = np.arange(4).repeat(10)[:, None, None] * np.ones((1, 7, 3), int)
    assert side_by_side(letters, 4)[:, ::7, 0].tolist() == [[0, 1, 2, 3]] * 10
    assert side_by_side(letters[:3], 4).shape == (1, 28, 3)


def test_images_without_lines_are_not_read() -> None:
    reader = Reader()
    empty = np.zeros((0, 4, 2))
    assert read_lines([empty, empty], reader) == [[], []]
    assert read_lines([], reader) == []
    assert reader.views == []


def test_lines_keep_their_order_and_their_image() -> None:
    quads = [box(WIDE)[None], np.array([box(WIDE, 1000), box(TALL, 2000)])]
    reader = Reader({RIGHT: ("a", 1)}, {LEFT: ("b", 1)}, {UP: ("c", 1)})
    found = read_lines(quads, reader)
    assert [[one.reading.text for one in lines] for lines in found] == [["a"], ["b", "c"]]
    assert all(isinstance(one, Line) for lines in found for one in lines)
    assert {view.image for view in reader.views} == {0, 1}
