from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pyarrow as pa
import pytest

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.columns import ANNOTATION_COLUMNS, MASK_COLUMNS, Column
from florilegium.engine.results.contract import (
    SAMPLE_COLUMNS,
    SAMPLE_TYPES,
    SHARD_COLUMNS,
    SHARD_SCHEMA,
    json_type,
    parse_sample,
    parse_sample_head,
)
from florilegium.engine.results.dataset_sample import DatasetSample, Verdict
from florilegium.engine.results.publication import to_json

TABLES = {"sample": SAMPLE_COLUMNS, "shard": SHARD_COLUMNS}
WHOLE: dict[str, Any] = {
    "key": "a", "sha256": "0" * 64, "image_sha256": "1" * 64, "width": 3, "height": 2,
    "orientation": 1, "source": "a.jpg", "metadata": "{}", "annotations": [],
}  # fmt: skip


def all_of(columns: Iterable[Column]) -> Iterator[Column]:
    for column in columns:
        yield column
        yield from all_of(column.fields)


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_every_field_is_documented_in_one_line(columns: tuple[Column, ...]) -> None:
    for column in all_of(columns):
        assert len(column.doc) > 8, column.name
        assert column.doc == " ".join(column.doc.split()), column.name
        assert not column.doc.endswith("."), column.name


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_names_differ_and_the_fields_of_objects_have_their_types(
    columns: tuple[Column, ...],
) -> None:
    assert len({column.name for column in columns}) == len(columns)
    for column in all_of(columns):
        inner = column.type.value_type if pa.types.is_list(column.type) else column.type
        found = {one.name: one.type for one in inner} if pa.types.is_struct(inner) else {}
        assert found == {one.name: one.type for one in column.fields}, column.name
        assert not column.lengths or pa.types.is_list(column.type), column.name


def test_every_field_of_an_annotation_is_in_the_contract_and_no_other() -> None:
    assert {one.name for one in fields(Annotation)} == {one.name for one in ANNOTATION_COLUMNS}
    assert MaskRLE._fields == tuple(one.name for one in MASK_COLUMNS)
    ours = {column.name: column.fields for column in SHARD_COLUMNS}
    assert [one.name for one in fields(Verdict)] == [one.name for one in ours["verdicts"]]
    of_samples = {one.name for one in fields(DatasetSample)} - {"image", "extension", "verdicts"}
    assert of_samples <= {one.name for one in SAMPLE_COLUMNS}


def test_an_annotation_has_the_types_of_the_contract() -> None:
    hints = get_type_hints(Annotation)
    for column in ANNOTATION_COLUMNS:
        options = get_args(hints[column.name]) or (hints[column.name],)
        if get_origin(hints[column.name]) is tuple:
            options = (list,)
        if column.name == "kind":
            options = tuple({type(one) for one in options})
        assert column.is_nullable == (NoneType in options), column.name
        types = {dict if one is MaskRLE else one for one in options} - {NoneType}
        assert types == {json_type(column)}, column.name


def test_the_columns_of_files_are_nullable_and_have_no_metadata() -> None:
    """Either would change the bytes of every shard."""
    assert SHARD_SCHEMA.names == [column.name for column in SHARD_COLUMNS]
    assert all(field.nullable and field.metadata is None for field in SHARD_SCHEMA)
    assert SHARD_SCHEMA.metadata is None


def test_a_whole_sample_is_read() -> None:
    assert set(WHOLE) == set(SAMPLE_TYPES)
    assert parse_sample(json.dumps(WHOLE).encode()) == WHOLE


def test_a_sample_is_read_without_its_annotations() -> None:
    """Texts that look like the end of the annotations are escaped, or before it."""
    forged = '],"height":9,"sha256":"x'
    whole = {**WHOLE, "key": forged, "metadata": json.dumps({"a": forged})}
    whole["annotations"] = [{"text": forged, "box_xyxy": [1, 2]}]
    head = {key: value for key, value in whole.items() if key != "annotations"}
    assert parse_sample_head(to_json(whole)) == head
    for damaged in (b"", b"{}", to_json(head), to_json({**whole, "sha256": 1})):
        with pytest.raises(ValueError, match=r"no object|lacks sha256"):
            parse_sample_head(damaged)


@pytest.mark.parametrize("name", SAMPLE_TYPES)
def test_a_sample_without_a_field_or_with_one_of_another_type_is_refused(name: str) -> None:
    for value in (None, True, 1.5, {}, [] if SAMPLE_TYPES[name] is not list else "x"):
        with pytest.raises(ValueError, match=f"lacks {name}, or it is no"):
            parse_sample(json.dumps({**WHOLE, name: value}).encode())
    rest = {key: value for key, value in WHOLE.items() if key != name}
    with pytest.raises(ValueError, match=f"lacks {name}"):
        parse_sample(json.dumps(rest).encode())


@pytest.mark.parametrize("change", [{"width": 0}, {"height": -1}])
def test_a_sample_without_an_area_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="has no area"):
        parse_sample(json.dumps({**WHOLE, **change}).encode())


def test_a_sample_that_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="no object"):
        parse_sample(b"[1]")
