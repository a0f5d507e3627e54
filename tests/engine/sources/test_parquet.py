"""Parquet files with image bytes, read by ranges of rows."""

from __future__ import annotations

import datetime
import json
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.sources.parquet import ParquetSource
from tests.engine.sources.conftest import captions_of, read_all, source_at


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, path, **options)
    return path


def numbered(jpeg: bytes, count: int) -> dict[str, Any]:
    return {"image": [jpeg + number.to_bytes(2, "big") for number in range(count)]}


def rows_of(readings: list[Any]) -> list[int]:
    return [int.from_bytes(reading.data[-2:], "big") for reading in readings]


def test_rows_come_in_ranges_of_the_shard_size(tmp_path: Path, jpeg: bytes) -> None:
    path = write(tmp_path / "d" / "a.parquet", numbered(jpeg, 10), row_group_size=3)
    write(tmp_path / "d" / "sub" / "b.parquet", numbered(jpeg, 4))
    source = source_at(path.parent, shard_size=4)
    assert isinstance(source, ParquetSource)
    assert source.is_packed
    items = list(source.items())
    assert [(item.location, item.start, item.stop) for item in items] == [
        ("a.parquet", 0, 4), ("a.parquet", 4, 8), ("a.parquet", 8, 10), ("sub/b.parquet", 0, 4)
    ]  # fmt: skip
    assert [rows_of(list(source.read(item))) for item in items] == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3]
    ]  # fmt: skip
    (first, *_), _ = read_all(source)
    assert (first.name, first.location) == ("a-000000", "a.parquet#0")


@pytest.mark.parametrize("row_group_size", [1, 7, 16, 17, 100])
@pytest.mark.parametrize("shard_size", [1, 5, 16, 40, 1000])
def test_every_row_is_read_once_however_the_file_is_cut(
    tmp_path: Path, row_group_size: int, shard_size: int
) -> None:
    path = write(tmp_path / "a.parquet", numbered(b"", 50), row_group_size=row_group_size)
    readings, dead_letters = read_all(source_at(path, shard_size=shard_size))
    assert rows_of(readings) == list(range(50))
    assert not dead_letters


def test_what_hugging_face_datasets_writes_is_understood(tmp_path: Path, jpeg: bytes) -> None:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "caption": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["cat", "rocket"]),
            "objects": {
                "bbox": datasets.List(datasets.List(datasets.Value("float32"), length=4)),
                "category": datasets.List(datasets.ClassLabel(names=["engine", "flag"])),
            },
        }
    )
    rows = [
        {
            "image": {"bytes": jpeg, "path": "apollo.11.jpg"},
            "caption": " A rocket. ",
            "label": 1,
            "objects": {"bbox": [[1, 2, 3, 4], [5, 6, 7, 8]], "category": [1, 0]},
        },
        {"image": {"bytes": jpeg, "path": None}, "caption": None, "label": None,
         "objects": {"bbox": [], "category": []}},
    ]  # fmt: skip
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "a.parquet")
    (first, second), dead_letters = read_all(source_at(tmp_path / "a.parquet"))
    assert not dead_letters
    assert (first.name, first.data) == ("apollo.11", jpeg)
    assert json.loads(first.metadata) == {"caption": " A rocket. ", "label": "rocket"}
    caption, flag, engine = first.annotations
    assert (caption.task, caption.text) == ("caption", "A rocket.")
    assert (flag.task, flag.label, flag.box_xyxy) == ("object_detection", "flag", (1, 2, 4, 6))
    assert (engine.label, engine.box_xyxy, engine.score) == ("engine", (5, 6, 12, 14), None)
    assert (second.name, second.annotations) == ("a-000001", ())


def with_features(features: Any, objects: list[Any], jpeg: bytes) -> pa.Table:
    table = pa.table({"image": [jpeg] * len(objects), "objects": objects})
    stored = json.dumps({"info": {"features": {"objects": features}}})
    return table.replace_schema_metadata({"huggingface": stored})


CLASSES = {"names": ["engine", "flag"], "_type": "ClassLabel"}
WAYS_TO_WRITE_OBJECTS = {
    "a struct of sequences": (
        {"feature": {"bbox": {}, "category": CLASSES}, "_type": "Sequence"},
        {"bbox": [[0.0, 0.0, 1.0, 1.0]], "category": [1]},
    ),
    "a list of structs": (
        [{"bbox": {}, "category": CLASSES}],
        [{"bbox": [0.0, 0.0, 1.0, 1.0], "category": 1}],
    ),
    "names as text": (
        {"bbox": {}, "categories": {"dtype": "string"}},
        {"bbox": [[0.0, 0.0, 1.0, 1.0]], "categories": ["flag"]},
    ),
}


@pytest.mark.parametrize("way", WAYS_TO_WRITE_OBJECTS)
def test_objects_are_understood_in_every_way_they_are_written(
    tmp_path: Path, jpeg: bytes, way: str
) -> None:
    features, objects = WAYS_TO_WRITE_OBJECTS[way]
    write(tmp_path / "a.parquet", with_features(features, [objects], jpeg))
    (reading,), _ = read_all(source_at(tmp_path))
    assert [(a.label, a.box_xyxy) for a in reading.annotations] == [("flag", (0, 0, 1, 1))]
    assert "objects" not in json.loads(reading.metadata)


@pytest.mark.parametrize("features", [None, {}, {"category": {"names": [1]}}, "text", [], 3])
def test_categories_without_names_stay_in_the_metadata(
    tmp_path: Path, jpeg: bytes, features: Any
) -> None:
    objects = {"bbox": [[0.0, 0.0, 1.0, 1.0]], "category": [1]}
    write(tmp_path / "a.parquet", with_features(features, [objects], jpeg))
    (reading,), _ = read_all(source_at(tmp_path))
    assert reading.annotations == ()
    metadata = json.loads(reading.metadata)
    assert metadata["objects"] == objects
    assert metadata["label_error"] == (
        "objects: 1 of 1 boxes left out: box 1 has the category 1, a number without a name"
    )


def test_scalar_columns_become_metadata_and_others_are_not_read(
    tmp_path: Path, jpeg: bytes
) -> None:
    columns = {
        "image": [jpeg],
        "other_image": [b"\x00" * 100],
        "embedding": pa.array([[0.5] * 3]),
        "int": [7],
        "float": pa.array([0.5], pa.float32()),
        "nan": [float("nan")],
        "none": pa.array([None], pa.int32()),
        "bool": [True],
        "decimal": [Decimal("1.50")],
        "date": [datetime.date(2020, 1, 2)],
        "nanoseconds": pa.array([1_600_000_000_000_000_001], pa.timestamp("ns")),
        "far": pa.array([10**15], pa.timestamp("ms")),
        "duration": pa.array([5], pa.duration("ns")),
        "dictionary": pa.array(["red"]).dictionary_encode(),
        "text": ["kept"],
    }
    write(tmp_path / "a.parquet", columns)
    (reading,), dead_letters = read_all(source_at(tmp_path))
    assert not dead_letters
    metadata = json.loads(reading.metadata)
    assert metadata.pop("far")
    assert metadata == {
        "bool": True, "date": "2020-01-02", "decimal": "1.50", "dictionary": "red", "duration": 5,
        "float": 0.5, "int": 7, "nan": None, "nanoseconds": "2020-09-13 12:26:40.000000001",
        "none": None, "text": "kept",
    }  # fmt: skip
    assert captions_of([reading]) == [["kept"]]


def test_captions_may_be_several_or_in_another_column(tmp_path: Path, jpeg: bytes) -> None:
    columns = {"image": [jpeg], "caption": [["One.", "Two.", "One.", ""]], "alt": ["Three."]}
    path = write(tmp_path / "a.parquet", columns)
    assert captions_of(read_all(source_at(path))[0]) == [["One.", "Two."]]
    assert captions_of(read_all(source_at(path, caption_column="alt"))[0]) == [["Three."]]


def invalid_text(values: list[bytes]) -> pa.Array:
    """Return a column of text that is none."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values).buffers())


@pytest.mark.parametrize("is_binary", [True, False])
def test_text_in_another_encoding_is_read_by_the_option_or_told(
    tmp_path: Path, jpeg: bytes, is_binary: bool
) -> None:
    texts = [b"caf\xe9", "café".encode()]
    captions = pa.array(texts) if is_binary else invalid_text(texts)
    columns = {"image": [jpeg, jpeg], "caption": captions, "title": invalid_text(texts)}
    path = write(tmp_path / "a.parquet", columns)
    readings, dead_letters = read_all(source_at(path))
    assert not dead_letters
    assert captions_of(readings) == [[], ["café"]]
    first, second = (json.loads(reading.metadata) for reading in readings)
    assert first["label_error"].startswith("caption: it is no UTF-8; set the source's `encoding`")
    assert "title: it is no UTF-8" in first["label_error"]
    assert second == {"caption": "café", "title": "café"}
    readings, _ = read_all(source_at(path, encoding="cp1252"))
    assert captions_of(readings) == [["café"], ["café"]]


def test_categories_that_are_no_unicode_cost_their_boxes(tmp_path: Path, jpeg: bytes) -> None:
    boxes = pa.array([[0.0, 0.0, 1.0, 1.0]] * 2, pa.list_(pa.float64()))
    names = pa.ListArray.from_arrays([0, 2], invalid_text([b"caf\xe9", b"bar"]))
    objects = pa.StructArray.from_arrays(
        [pa.ListArray.from_arrays([0, 2], boxes), names], ["bbox", "category"]
    )
    path = write(tmp_path / "a.parquet", {"image": [jpeg], "objects": objects})
    (reading,), _ = read_all(source_at(path))
    assert [one.label for one in reading.annotations] == ["bar"]
    assert "1 of 2 boxes left out: box 1 has a category" in reading.metadata
    (reading,), _ = read_all(source_at(path, encoding="cp1252"))
    assert [one.label for one in reading.annotations] == ["café", "bar"]


def test_a_bad_box_of_a_row_costs_one_box(tmp_path: Path, jpeg: bytes) -> None:
    objects = {
        "bbox": [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 2.0, 2.0]],
        "category": [1, 0, 1],
        "iscrowd": [False, False, True],
    }
    features = {"bbox": {}, "category": CLASSES, "iscrowd": {}}
    write(tmp_path / "a.parquet", with_features(features, [objects], jpeg))
    (reading,), _ = read_all(source_at(tmp_path))
    assert [(a.label, a.box_xyxy) for a in reading.annotations] == [("flag", (0, 0, 1, 1))]
    metadata = json.loads(reading.metadata)
    assert "1 of 3 boxes left out: box 2" in metadata["label_error"]
    assert metadata["crowd_regions_left_out"] == 1
    assert metadata["objects"]["iscrowd"] == [False, False, True]


@pytest.mark.parametrize("is_struct", [True, False])
def test_rows_without_bytes_are_dead_letters(tmp_path: Path, jpeg: bytes, is_struct: bool) -> None:
    image = [{"bytes": jpeg, "path": "a.jpg"}, None, {"bytes": None, "path": "far/b.jpg"}]
    plain = [jpeg, None, None]
    path = write(tmp_path / "a.parquet", {"image": image if is_struct else plain})
    readings, dead_letters = read_all(source_at(path))
    assert len(readings) == 1
    assert [(letter.source, letter.reason) for letter in dead_letters] == [
        ("a.parquet#1", "null_image"),
        ("a.parquet#2", "null_image"),
    ]
    assert ("far/b.jpg" in dead_letters[1].message) is is_struct


def test_a_row_with_too_many_bytes_is_a_dead_letter(tmp_path: Path, jpeg: bytes) -> None:
    path = write(tmp_path / "a.parquet", {"image": [jpeg, jpeg + b"1"]})
    readings, dead_letters = read_all(source_at(path, max_file_bytes=len(jpeg)))
    assert len(readings) == 1
    assert [letter.reason for letter in dead_letters] == ["too_many_bytes"]


def test_a_missing_column_is_told_with_the_nearest_one(tmp_path: Path, jpeg: bytes) -> None:
    path = write(tmp_path / "a.parquet", {"img": [jpeg], "captions": ["x"], "number": [1]})

    def list_items(**options: str) -> None:
        list(source_at(path, **options).items())

    with pytest.raises(ConfigError, match=r"no column 'image'; did you mean 'img'\?.*image_column"):
        list_items()
    with pytest.raises(ConfigError, match=r"no column 'caption'; did you mean 'captions'\?"):
        list_items(image_column="img", caption_column="caption")
    with pytest.raises(ConfigError, match="column 'number' is int64, not binary"):
        list_items(image_column="number")


def test_a_file_that_is_no_parquet_is_one_dead_letter(tmp_path: Path, jpeg: bytes) -> None:
    whole = write(tmp_path / "b.parquet", numbered(jpeg, 3)).read_bytes()
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but not really")
    (tmp_path / "c.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "d.parquet").write_bytes(b"")
    (tmp_path / "e.parquet").symlink_to(tmp_path / "gone.parquet")
    readings, dead_letters = read_all(source_at(tmp_path))
    assert rows_of(readings) == [0, 1, 2]
    assert [(letter.key, letter.reason) for letter in dead_letters] == [
        (f"{stem}.parquet", "corrupt_parquet") for stem in "acde"
    ]


def test_a_damaged_row_group_costs_only_its_own_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    images = [rng.bytes(2000) + number.to_bytes(2, "big") for number in range(30)]
    path = write(tmp_path / "a.parquet", {"image": images}, row_group_size=10, use_dictionary=False)
    data = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data[place : place + 60] = b"\xff" * 60
    path.write_bytes(data)
    readings, dead_letters = read_all(source_at(path, shard_size=8))
    assert rows_of(readings) == [*range(10), *range(20, 30)]
    assert [letter.source for letter in dead_letters] == [f"a.parquet#{n}" for n in range(10, 20)]
    assert {letter.reason for letter in dead_letters} == {"corrupt_parquet"}


def test_damaged_bytes_anywhere_lose_no_row_without_a_word(tmp_path: Path, jpeg: bytes) -> None:
    rng = np.random.default_rng(9)
    path = write(tmp_path / "a.parquet", numbered(jpeg, 12), row_group_size=5)
    whole = path.read_bytes()
    footer = len(whole) - int.from_bytes(whole[-8:-4], "little") - 8
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(4, footer, 5):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        readings, dead_letters = read_all(source_at(path, shard_size=7))
        assert len(readings) + len(dead_letters) == 12


def test_a_file_that_changes_after_the_listing_loses_no_row_without_a_word(
    tmp_path: Path, jpeg: bytes
) -> None:
    path = write(tmp_path / "a.parquet", numbered(jpeg, 6))
    source = source_at(path, shard_size=4)
    items = list(source.items())
    write(path, numbered(jpeg, 5))
    results = [result for item in items for result in source.read(item)]
    assert [isinstance(result, DeadLetter) for result in results] == [False] * 5 + [True]
    path.write_bytes(b"")
    assert all(isinstance(r, DeadLetter) for item in items for r in source.read(item))
    write(path, {"picture": [jpeg] * 6})
    assert len([r for item in items for r in source.read(item)]) == 6


def test_memory_does_not_grow_with_the_range(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = [rng.bytes(20_000) for _ in range(1000)]
    options = {"use_dictionary": False, "data_page_size": 100_000, "write_batch_size": 8}
    path = write(tmp_path / "a.parquet", {"image": images}, row_group_size=1000, **options)
    source = source_at(path, shard_size=1000)
    (item,) = source.items()
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    highest = 0
    for _ in source.read(item):
        highest = max(highest, pa.total_allocated_bytes() - before)
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert highest + python < 5_000_000  # the file has 20 million


def test_remote_files_are_read(tmp_path: Path, jpeg: bytes) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/remote-rows/a.parquet", write(tmp_path / "a", numbered(jpeg, 3)).read_bytes())
    readings, _ = read_all(source_at("memory://remote-rows/*.parquet", shard_size=2))
    assert rows_of(readings) == [0, 1, 2]
    memory.rm("/remote-rows", recursive=True)


@pytest.mark.attack("files")
@pytest.mark.parametrize(
    "column",
    [
        pa.array([1], pa.timestamp("s")),
        pa.array([1], pa.date32()),
        pa.array([1], pa.time64("ns")),
        pa.array([1], pa.duration("ns")),
        pa.array([1]),
        pa.array([True]),
        pa.array([[["x"]]]),
        pa.array([{"a": "x"}]),
        pa.array(["\u200b"]),
    ],
)
def test_what_is_no_text_becomes_no_caption(tmp_path: Path, jpeg: bytes, column: pa.Array) -> None:
    pq.write_table(pa.table({"image": [jpeg], "caption": column}), tmp_path / "0.parquet")
    (one,), letters = read_all(source_at(tmp_path))
    assert not letters
    assert not one.annotations
    assert "caption: " in json.loads(one.metadata)["label_error"]
    assert "caption" in json.loads(one.metadata)
