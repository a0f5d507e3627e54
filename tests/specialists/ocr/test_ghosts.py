from __future__ import annotations

from florilegium.specialists.ocr.direction import Reading
from florilegium.specialists.ocr.ghosts import are_sure

DOUBT = 0.0055


def test_the_shorter_a_line_the_higher_a_score_it_needs() -> None:
    readings = [
        Reading("8", 0.99),
        Reading("8", 0.995),
        Reading("HARD", 0.9),
        Reading("HARD", 0.92),
        Reading("ELECTRONICS", 0.5),
        Reading("***", 1.0),
    ]
    assert are_sure(readings, DOUBT) == [False, True, False, True, True, False]
    assert are_sure(readings, 1.0) == [True, True, True, True, True, False]


def test_a_line_in_another_script_than_all_others_needs_more() -> None:
    latin, han = Reading("Region-based", 0.99), Reading("\u5b9a\u4ef7\u5b9a\u4ef7", 0.95)
    assert are_sure([han], DOUBT) == [True]
    assert are_sure([latin, han], DOUBT) == [True, False]
    assert are_sure([latin, han, Reading("\u4ef7 abc", 0.99)], DOUBT) == [True, True, True]
