from __future__ import annotations

from types import SimpleNamespace

import pytest

from florilegium.pipelines.filters.caption_measures import _continues_name, ocr_overlap, prose_of


def test_an_echo_is_counted_over_words_of_two_letters_or_more():
    written = {"ok", "go", "x"}
    assert ocr_overlap("OK, go! x pizza", written, set()) == pytest.approx(2 / 3)
    assert ocr_overlap("OK, go! x pizza", written, {"pizza"}) == 1
    assert ocr_overlap("OK", written, set()) == 0
    assert ocr_overlap("a b c", {"a"}, set()) == 0


@pytest.mark.parametrize(
    ("kind", "relation", "head", "continues"),
    [
        ("PROPN", "compound", 2, True),
        ("PROPN", "flat", 2, True),
        ("PROPN", "dobj", 2, False),
        ("NOUN", "compound", 2, False),
        ("PROPN", "compound", 1, False),
    ],
)
def test_a_word_before_the_last_of_a_name_continues_it(kind, relation, head, continues):
    token = SimpleNamespace(pos_=kind, dep_=relation, i=1, head=SimpleNamespace(i=head))
    assert _continues_name(token) is continues


def test_quotations_are_left_out_unless_nothing_else_is_said():
    assert prose_of('A sign says "STOP here".').split() == ["A", "sign", "says", "."]
    assert prose_of('"STOP".') == '"STOP".'
