"""A correction as a line of JSON: what is read back, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from florilegium.engine.core.annotation import MaskRLE
from florilegium.pipelines.corrections.correction import Correction, parse_correction
from tests.pipelines.corrections.said import said, seen

CHANGED = said("changed", seen("a"), seen("b", 1.234, 2, 8, 9, label="dög"))


def test_a_correction_is_read_back_as_it_was_written() -> None:
    mask = replace(seen("a"), task="segmentation", mask_rle=MaskRLE((2, 2), "04"))
    for one in (
        CHANGED,
        said("confirmed", mask),
        said("rejected", mask),
        said("added", None, mask),
    ):
        assert parse_correction(one.to_line()) == one
    assert CHANGED.annotation is not None
    assert CHANGED.annotation.box_xyxy == (1.23, 2, 8, 9)
    assert (CHANGED.annotation.score, CHANGED.annotation.specialist) == (None, "")
    assert "dög".encode() in CHANGED.to_line()


def test_a_line_that_was_changed_afterwards_is_refused() -> None:
    line = CHANGED.to_line().replace(b"Ada", b"Eve")
    with pytest.raises(ValueError, match="it was changed after it was written"):
        parse_correction(line)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (replace(CHANGED, sha256="c" * 63), "`sha256`"),
        (replace(CHANGED, key="../cat"), "`key`"),
        (replace(CHANGED, who=" "), "`who`"),
        (replace(CHANGED, who="A\x1b[2J"), "`who`"),
        (replace(CHANGED, when="yesterday"), "`when`"),
        (replace(CHANGED, about=None), "`about` does not fit"),
        (replace(CHANGED, annotation=None), "`annotation` does not fit"),
        (replace(CHANGED, annotation=seen("b")), "fields that no person states"),
        (said("changed", seen("a"), seen("b", 9, 9, 0, 0)), "corners swapped"),
        (said("confirmed", replace(seen("a"), id="a")), "has no id"),
    ],
)
def test_what_is_no_correction_is_named(wrong: Correction, problem: str) -> None:
    assert problem in wrong.problem()


@pytest.mark.parametrize("line", [b"[]", b"{}", b"not json", b'{"about": {"id": 1}}'])
def test_a_line_of_something_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"fields|not JSON"):
        parse_correction(line)
