"""Statements as columns: their order, strata and things."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from florilegium.engine.core.errors import UsageError
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.audit.pool import _labels, pool_of
from tests.building import build
from tests.pipelines.audit.pools import pool


def test_bands_of_certainty_have_about_the_same_size() -> None:
    found = pool(np.linspace(0, 1, 103))
    assert found.in_stratum.tolist() == [26, 26, 25, 26]
    by_band = [found.certainty[found.stratum == band] for band in range(4)]
    assert all(low.max() < high.min() for low, high in pairwise(by_band))


def test_few_statements_or_equal_certainties_are_one_stratum() -> None:
    assert len(pool(np.linspace(0, 1, 30)).in_stratum) == 1
    assert len(pool(np.full(200, 0.5)).in_stratum) == 1
    assert len(pool(np.full(200, np.nan)).in_stratum) == 1


def test_statements_of_the_same_thing_share_its_weight() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [50, 50, 60, 60], [2, 0, 10, 10]], float)
    found = pool(np.full(4, 0.5), images=1, box=boxes)
    assert found.share.tolist() == pytest.approx([1 / 3, 1 / 3, 1, 1 / 3])
    apart = pool(np.full(4, 0.5), images=4, box=boxes)
    assert apart.share.tolist() == [1, 1, 1, 1]


def test_texts_of_the_whole_image_with_the_same_words_are_one_thing() -> None:
    found = pool(np.full(4, 0.5), images=2, box=np.full((4, 4), np.nan))
    assert found.share.tolist() == [0.5] * 4


def test_the_order_depends_on_ids_and_the_seed_alone() -> None:
    few, many = pool(np.full(50, 0.5)), pool(np.full(80, 0.5))
    assert (few.order == many.order[:50]).all()
    assert (few.order != pool(np.full(50, 0.5), seed=1).order).all()


def test_a_dataset_is_read_with_its_kept_annotations(scenes: Path) -> None:
    dataset = open_dataset(str(scenes))
    found = pool_of(dataset)
    ids = {one.id for sample in dataset for one in sample.annotations}
    assert set(found.ids.to_pylist()) == ids
    row = found.row_of[found.ids[3].as_py()]
    shard = dataset.shards[int(found.shard[row])]
    assert found.key(row) in {sample.key for sample in dataset.samples(shard)}
    labels = {one.label for sample in dataset for one in sample.annotations}
    assert set(found.vocabulary["object_detection"]) <= labels


def test_labels_too_long_to_complete_are_not_offered() -> None:
    labels = pa.table({"label": ["cat", "x" * 1_000_000, "", "dog", "dog"]})
    assert _labels(labels) == ("dog", "cat")


def test_a_dataset_without_annotations_cannot_be_audited(tmp_path: Path) -> None:
    build(
        "shape_world://1?seed=5&px=32",
        tmp_path,
        specialists={"silent": {"use": "tests.stages:Silent"}},
    )
    with pytest.raises(UsageError, match="no kept annotation"):
        pool_of(open_dataset(str(tmp_path)))
