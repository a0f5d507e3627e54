"""What the dead letters of finished shards say about them."""

from __future__ import annotations

import pytest

from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.execution.finished import _letters_of
from florilegium.engine.results.shard_table import ShardTable
from tests.engine.by_hand import stats_of


@pytest.mark.parametrize(
    ("stage", "reason", "is_unpaid", "has_failed"),
    [
        ("asked", "budget_exhausted", True, True),
        ("sample_filters/own", "budget_exhausted", False, False),
        ("sample_filters/own", "too_small", False, False),
        ("asked", "broken", False, True),
        ("source", "taken_down", False, False),
    ],
)
def test_a_reason_of_a_sample_filter_is_no_fault_and_no_budget(
    stage: str, reason: str, is_unpaid: bool, has_failed: bool
) -> None:
    letter = DeadLetter(key="a", source="a.jpg", stage=stage, reason=reason, message="!")
    count, unpaid, failed = _letters_of(ShardTable.of([stats_of(1), stats_of(1, letter)]))
    assert count.tolist() == [0, 1]
    assert unpaid.tolist() == [False, is_unpaid, False]
    assert failed.tolist() == [False, has_failed, False]
