from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from florilegium.engine.core.annotation import Annotation, MaskRLE, to_columns
from florilegium.engine.core.judgement import Statements, Verdicts
from tests.engine.by_hand import caption, region


def statements(*annotations: Annotation, samples: list[int] | None = None) -> Statements:
    count = len(annotations)
    return Statements(
        table=pa.table(to_columns(annotations)),
        sample=np.array(samples if samples is not None else [0] * count, dtype=np.int64),
        image_wh=np.full((count, 2), 100.0),
        is_live=np.ones(count, dtype=bool),
    )


def where(*rows: int, count: int = 3) -> np.ndarray:
    return np.isin(np.arange(count), rows)


def test_boxes_and_scores_are_columns_with_nan_where_there_is_none() -> None:
    rows = statements(region(box_xyxy=(1.0, 2.0, 3.0, 4.0)), caption(), region(score=None))
    np.testing.assert_array_equal(rows.score, [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(
        rows.box_xyxy, [[1, 2, 3, 4], [np.nan] * 4, [1.0, 2.0, 20.0, 15.5]]
    )


def test_masks_come_back_as_they_were() -> None:
    mask = MaskRLE((100, 100), "abc")
    assert statements(region(mask_rle=mask), caption()).masks == [mask, None]


def test_a_parent_is_found_only_in_its_own_sample() -> None:
    rows = statements(
        caption(id="c"), region(id="r", parent_id="c"), region(id="s", parent_id="c"),
        region(id="t", parent_id="gone"),
        samples=[0, 0, 1, 1],
    )  # fmt: skip
    assert rows.parent.tolist() == [-1, 0, -1, -1]


def test_no_rows_are_empty_columns() -> None:
    rows = statements()
    assert rows.box_xyxy.shape == (0, 4)
    assert rows.score.shape == rows.parent.shape == (0,)
    assert rows.masks == []
    assert rows.of_tasks(("ocr",)).shape == (0,)


def test_rows_that_are_no_longer_live_are_of_no_task() -> None:
    rows = statements(region(), caption(), region())
    assert rows.of_tasks(("object_detection",)).tolist() == [True, False, True]
    later = rows.without(where(0))
    assert later.of_tasks(("object_detection",)).tolist() == [False, False, True]
    assert rows.is_live.all()  # the earlier question is as it was


def test_columns_that_were_read_are_kept_and_measurements_are_not_mixed() -> None:
    rows = statements(region(), caption(), region())
    boxes = rows.box_xyxy
    later = rows.with_measurements({"x": np.zeros(3)}).without(where(1))
    assert later.box_xyxy is boxes
    assert later.is_live.tolist() == [True, False, True]
    assert set(later.measurements) == {"x"}
    assert rows.measurements == {}


def test_the_first_reason_of_a_row_stays() -> None:
    verdicts = Verdicts(3)
    verdicts.drop(where(0, 1), "first")
    verdicts.drop(where(1, 2), "second")
    assert verdicts.reason.tolist() == ["first", "first", "second"]
    assert verdicts.is_dropped.tolist() == [True, True, True]


def test_a_measured_row_counts_as_judged_and_the_others_have_no_number() -> None:
    verdicts = Verdicts(3)
    verdicts.measure("area", np.array([1.0, 2.0, 3.0]), where(0))
    verdicts.measure("area", np.array([10.0, 20.0, 30.0]), where(2))
    assert verdicts.is_judged.tolist() == [True, False, True]
    np.testing.assert_array_equal(verdicts.measurements["area"], [1.0, np.nan, 30.0])
    assert not verdicts.is_dropped.any()


def test_what_was_said_of_rows_outside_is_taken_back() -> None:
    verdicts = Verdicts(3)
    verdicts.drop(where(0, 1), "bad")
    verdicts.restrict(where(1, 2))
    assert verdicts.reason.tolist() == ["", "bad", ""]
    assert verdicts.is_judged.tolist() == [False, True, False]


@pytest.mark.parametrize(("merges", "expected"), [([(0, 1)], (1,)), ([(0, 1), (0, 2)], (1, 2))])
def test_merges_add_up(merges: list[Any], expected: tuple[int, ...]) -> None:
    verdicts = Verdicts(3)
    for kept, merged in merges:
        verdicts.merge(kept, merged)
    assert verdicts.merged_from == {0: expected}
