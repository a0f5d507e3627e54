from __future__ import annotations

import pytest

from florilegium.specialists.words.chrf import chrf


def test_the_same_text_is_alike_and_another_is_not() -> None:
    assert chrf("the cat sat", "the cat  sat") == 1
    assert chrf("abc", "xyz") == chrf("", "abc") == chrf("abc", "") == 0


def test_recall_counts_twice_and_only_runs_that_both_are_long_enough_for() -> None:
    # Runs of one: 2 of 2 and 2 of 3; runs of two: 1 of 1 and 1 of 2; no longer ones in "ab".
    precision, recall = 1.0, (2 / 3 + 1 / 2) / 2
    assert chrf("ab", "abc") == pytest.approx(5 * precision * recall / (4 * precision + recall))
    assert chrf("abc", "ab") == pytest.approx(5 * recall * precision / (4 * recall + precision))


def test_repeated_runs_count_as_often_as_both_have_them() -> None:
    assert chrf("aaaa", "a") == pytest.approx(5 * 0.25 / (4 * 0.25 + 1))
