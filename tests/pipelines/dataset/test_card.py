"""What the card of a dataset says of its fields."""

from __future__ import annotations

import re
from pathlib import Path

from florilegium.engine.results.contract import SAMPLE_COLUMNS, SHARD_COLUMNS
from florilegium.pipelines.dataset.card import claims_of, fields_section
from tests.building import build


def test_the_card_lists_every_field_with_its_type_and_meaning(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path)
    card = (tmp_path / "README.md").read_text("utf-8")
    assert card.endswith(f"\n{fields_section()}\n")
    listed = re.findall(r"^ *- `(\w+)` \(([\w ]+)\): (.+)$", fields_section(), re.MULTILINE)
    docs = {name: doc for name, _, doc in listed}
    for column in (*SAMPLE_COLUMNS, *SHARD_COLUMNS):
        assert docs[column.name] == column.doc
        assert all(docs[field.name] for field in column.fields)
    kinds = {name: kind for name, kind, _ in listed}
    assert (kinds["score"], kinds["box_xyxy"]) == ("float64 or null", "list of float64")
    assert (kinds["mask_rle"], kinds["annotations"]) == ("object or null", "list of object")


def test_what_the_card_says_of_fields_is_nothing_that_can_be_counted() -> None:
    assert claims_of(fields_section().encode()) == []
