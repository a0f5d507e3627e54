"""Both stages keep the contract of stages, and do what they are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from florilegium_tables.nested import NestedTables, covered
from florilegium_tables.tables import DocumentTables, DocumentTablesConfig

from florilegium.testing import check_stage, sample


def test_the_stages_keep_the_contract(checkpoint: Path) -> None:
    check_stage(DocumentTables, options={"model": str(checkpoint), "least_score": 0.1})
    check_stage(NestedTables)


def test_tables_are_named_and_lie_within_the_image(checkpoint: Path) -> None:
    stage = DocumentTables(DocumentTablesConfig(model=str(checkpoint), least_score=0.1))
    stage.load()
    page = sample(np.full((60, 80, 3), 200, np.uint8))
    (found,) = stage.predict([page])
    assert found
    assert {one.label for one in found} <= {"table", "table rotated"}
    for one in found:
        left, top, right, bottom = one.box_xyxy
        assert 0 <= left < right <= 80
        assert 0 <= top < bottom <= 60


def test_a_folder_without_weights_is_refused_with_the_command_that_fetches_them() -> None:
    with pytest.raises(ValueError, match="hf download"):
        DocumentTablesConfig(model="nowhere")


def test_a_box_is_covered_by_a_larger_one_only() -> None:
    boxes = np.array([[0, 0, 10, 10], [2, 2, 4, 4], [8, 8, 12, 12]], float)
    assert covered(boxes).tolist() == [0, 1, 0.25]
