"""How far distributions moved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from florilegium.engine.results.contract import SHARD_SCHEMA
from florilegium.pipelines.refresh.drift import (
    COLUMNS,
    LABEL_BINS,
    Distributions,
    drifts,
    jensen_shannon,
)

SCHEMA = pa.schema([SHARD_SCHEMA.field(name) for name in COLUMNS])


def table(*rows: dict[str, Any]) -> pa.Table:
    plain = {"key": "one", "width": 100, "height": 50, "task": "tag", "label": "", "text": ""}
    whole = [{**plain, "box_xyxy": [], "score": None, "specialist": "s", **row} for row in rows]
    return pa.Table.from_pylist(whole, schema=SCHEMA)


def counted(*rows: dict[str, Any]) -> Distributions:
    found = Distributions()
    found.add(table(*rows))
    return found


def test_equal_shares_do_not_differ_and_shares_without_a_common_bin_differ_by_one() -> None:
    assert jensen_shannon(np.array([1, 3]), np.array([10, 30])) == 0
    assert jensen_shannon(np.array([5, 0]), np.array([0, 2])) == 1


def test_the_divergence_is_the_mean_of_both_relative_entropies_to_the_mean() -> None:
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4)
    to_p = math.log2(1 / 0.75)
    to_q = 0.5 * math.log2(0.5 / 0.75) + 0.5 * math.log2(0.5 / 0.25)
    found = jensen_shannon(np.array([4, 0]), np.array([1, 1]))
    assert found == pytest.approx((to_p + to_q) / 2)
    assert found == pytest.approx(jensen_shannon(np.array([1, 1]), np.array([4, 0])))


def test_the_index_of_population_stability_is_about_five_and_a_half_times_as_much() -> None:
    p, q = np.array([0.5, 0.5]), np.array([0.52, 0.48])
    index = float(((p - q) * np.log(p / q)).sum())
    assert index / jensen_shannon(p, q) == pytest.approx(8 * math.log(2), rel=0.01)


def test_scores_are_counted_by_specialist_in_twenty_bins() -> None:
    rows = [{"score": score, "specialist": "a"} for score in (0.0, 0.04, 0.05, 0.99, 1.0)]
    found = counted(*rows, {"score": None, "specialist": "b"}).to_json()
    assert found["scores/a"] == {"0": 2, "1": 1, "19": 2}
    assert "scores/b" not in found


def test_box_sizes_are_the_root_of_the_share_of_the_image() -> None:
    half = {"task": "object_detection", "box_xyxy": [0.0, 0.0, 50.0, 25.0]}
    beyond = {"task": "object_detection", "box_xyxy": [-10.0, -10.0, 200.0, 80.0]}
    found = counted(half, beyond).to_json()
    assert found["box_sizes/object_detection"] == {"20": 1, "39": 1}


def test_the_words_of_captions_are_counted_and_not_those_of_other_texts() -> None:
    rows = [{"task": task, "text": "a red  cup"} for task in ("caption", "ocr")]
    found = counted(*rows).to_json()
    assert found == {"caption_words/caption": {"1": 1}}


def test_labels_are_counted_in_bins_that_do_not_depend_on_the_others() -> None:
    one = counted({"label": "cat"}).to_json()["labels/tag"]
    both = counted({"label": "cat"}, {"label": "dög"}, {"label": "cat"}).to_json()["labels/tag"]
    assert sum(both.values()) == 3
    assert both[next(iter(one))] == 2
    assert all(0 <= int(number) < LABEL_BINS for number in both)


def test_rows_that_are_taken_out_again_leave_no_trace() -> None:
    rows = [{"score": 0.3, "label": "cat"}, {"score": 0.7, "label": "dog"}]
    found = counted(*rows)
    found.add(table(rows[0]), sign=-1)
    assert found.to_json() == counted(rows[1]).to_json()
    assert Distributions(found.to_json()).to_json() == found.to_json()


def test_a_side_without_values_has_no_drift() -> None:
    before, after = counted({"score": 0.3}), counted({"label": "cat"})
    found = drifts(before, after, Distributions())
    assert found["scores/s"].version is None
    assert (found["scores/s"].before, found["scores/s"].after) == (1, 0)
    assert found["labels/tag"].of_new is None


def test_what_is_new_drifts_more_than_the_whole() -> None:
    old = [{"score": 0.9}] * 99
    before, after = counted(*old), counted(*old, {"score": 0.1})
    found = drifts(before, after, counted({"score": 0.1}))["scores/s"]
    assert found.of_new == 1
    assert found.version is not None
    assert 0 < found.version < 0.01
