"""What a stranger's file may cost: each limit refuses one byte more, and says its name."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd

from florilegium.engine.core.annotation import Annotation, to_columns
from florilegium.engine.core.keys import packed_key
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.sources import bounded_parquet
from florilegium.engine.sources import place as place_module
from florilegium.engine.sources.img2dataset import Img2DatasetSource
from florilegium.engine.sources.labels import Labels
from florilegium.engine.sources.own_output import without_bad
from florilegium.engine.sources.place import printable
from florilegium.engine.sources.sheet import Sheet
from tests.engine.sources.conftest import WriteTar, captions_of, read_all, source_at

pytestmark = pytest.mark.attack("files")
BLOCK = 512
CODECS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "zst": zstd.compress,
}
ZEROS = bytes(4 << 20)


def member(name: str, data: bytes = b"", **values: Any) -> bytes:
    """A member of a tar, header and padded data."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in values.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % BLOCK)


def huge(name: str) -> bytes:
    return member(name, ZEROS)


def padding(name: str) -> bytes:
    return ZEROS + member(name)


def empty_members(name: str) -> bytes:
    return member(name) * 6_000


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("bomb", [huge, padding, empty_members])
def test_an_archive_that_unpacks_to_far_more_is_refused_early(
    tmp_path: Path, jpeg: bytes, suffix: str, bomb: Callable[[str], bytes]
) -> None:
    data = CODECS[suffix](member("a.jpg", jpeg) + bomb("b.bin"))
    (tmp_path / f"0.tar.{suffix}").write_bytes(data)
    if bomb is huge:
        tracemalloc.start()
    readings, letters = read_all(source_at(tmp_path))
    if bomb is huge:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20_000_000
    assert [one.name for one in readings] == ["a"]
    assert letters[-1].reason == "archive_too_large"
    assert "limits.max_compression_ratio" in letters[-1].message
    assert letters[-1].source == f"0.tar.{suffix}"


@pytest.mark.parametrize(
    ("limits", "option"),
    [({"max_archive_members": 3}, "limits.max_archive_members"),
     ({"max_archive_bytes": 4000}, "4000")],
)  # fmt: skip
def test_an_archive_has_so_many_members_and_bytes(
    tmp_path: Path, write_tar: WriteTar, limits: dict[str, int], option: str
) -> None:
    path = write_tar("0.tar", {f"{number}.txt": b"a" for number in range(5)})
    gz = path.with_suffix(".tar.gz")
    gz.write_bytes(gzip.compress(path.read_bytes()))
    for one in (path, gz):
        _, letters = read_all(source_at(one, **limits))
        assert letters[-1].reason == "archive_too_large"
        assert option in letters[-1].message


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return member("x", records, type=kind)


def sparse(records: bytes) -> bytes:
    return pax(records) + member("s.jpg", b"1\n0\n1\n", size=6)


HOSTILE = {
    "pax headers for one another": pax(b"9 a=bcde\n") * 300,
    "global records without end": b"".join(
        pax(b"13 k%04d=abc\n" % number, tarfile.XGLTYPE) + member("g.txt") for number in range(120)
    ),
    "a name of a thousand kilobytes": pax(b"%d path=%s\n" % (60_013, b"n" * 60_000)),
    "a sparse file of GNU": member("s.jpg", b"", type=tarfile.GNUTYPE_SPARSE),
    "a sparse file of pax 0.0": sparse(b"25 GNU.sparse.size=99999\n"),
    "a sparse file of pax 0.1": sparse(b"22 GNU.sparse.map=0,1\n"),
    "a sparse file of pax 1.0": sparse(b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"),
    "a negative size of pax": pax(b"12 size=-99\n") + member("n.jpg"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_cost_one_dead_letter_and_no_memory(
    tmp_path: Path, jpeg: bytes, name: str
) -> None:
    whole = member("a.jpg", jpeg)
    (tmp_path / "0.tar").write_bytes(whole + HOSTILE[name] + member("z.jpg", jpeg) + bytes(1024))
    tracemalloc.start()
    readings, letters = read_all(source_at(tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert readings[0].name == "a"
    assert "corrupt_tar" in {letter.reason for letter in letters}
    assert max(len(letter.key + letter.source + letter.message) for letter in letters) < 5000
    assert peak < 8_000_000


def test_a_tar_that_is_compressed_twice_is_not_unpacked_again(tmp_path: Path, jpeg: bytes) -> None:
    for number, codec in enumerate(CODECS.values()):
        path = tmp_path / f"{number}.tar.gz"
        path.write_bytes(gzip.compress(codec(member("a.jpg", jpeg))))
    readings, letters = read_all(source_at(tmp_path))
    assert not readings
    assert [letter.reason for letter in letters] == ["unread_compression"] * len(CODECS)


def test_texts_of_one_sample_are_held_within_a_limit(tmp_path: Path, jpeg: bytes) -> None:
    texts = b"".join(member(f"a.{number}", b"t" * 4000) for number in range(300))
    (tmp_path / "0.tar").write_bytes(member("a.jpg", jpeg) + texts + bytes(1024))
    (one,), letters = read_all(source_at(tmp_path, max_label_bytes=20_000))
    assert not letters
    fields = json.loads(one.metadata)
    assert fields["0"] == "t" * 4000
    assert "the limit is 20000" in fields["label_error"]


def annotation(**values: Any) -> dict[str, Any]:
    whole = Annotation(kind="text", task="caption", text="A fox.")
    return {name: column.to_pylist()[0] for name, column in to_columns([whole]).items()} | values


DEEP = "[" * 65 + "]" * 65


@pytest.mark.parametrize(
    "text",
    [
        f'{{"a": {DEEP}}}',
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "[" * 1_000_000,
        json.dumps({"annotations": [annotation()], "metadata": f'{{"a": {DEEP}}}'}),
        json.dumps({"annotations": [annotation(box_xyxy=[]), annotation()]}).replace("[]", DEEP, 1),
    ],
)
def test_json_that_is_too_deep_is_a_problem_of_the_label(text: str) -> None:
    labels = Labels()
    labels.add_json(text.encode())
    labels.add_row({"objects": text})
    metadata, _ = labels.finish()
    assert "within each other, the limit is 64" in json.loads(metadata)["label_error"]


def test_json_as_deep_as_the_limit_is_read_and_strings_have_no_depth() -> None:
    labels = Labels(limits=Limits(max_json_depth=3))
    labels.add_json(b'{"a": [[1]], "b": "[[[[[[", "c": "\\\\\\"[[[[", "d": "\\\\"}')
    assert json.loads(labels.finish()[0]) == {"a": [[1]], "b": "[" * 6, "c": '\\"[[[[', "d": "\\"}


def test_deep_json_in_each_kind_of_table_costs_a_label(tmp_path: Path, jpeg: bytes) -> None:
    deep = f'{{"bbox": {DEEP}}}'
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes(jpeg)
    (tmp_path / "a/metadata.jsonl").write_text(f'{{"file_name": "x.jpg", "objects": {deep}}}\n')
    cell = deep.replace('"', '""')
    (tmp_path / "b/metadata.csv").write_text(f'file_name,objects\nx.jpg,"{cell}"\n')
    table = pa.table({"file_name": ["x.jpg"], "objects": [deep]})
    pq.write_table(table, tmp_path / "c" / "metadata.parquet")
    pq.write_table(pa.table({"image": [jpeg], "objects": [deep]}), tmp_path / "d.parquet")
    for source in (source_at(tmp_path, kind="folder"), source_at(tmp_path / "d.parquet")):
        readings, letters = read_all(source)
        assert (not letters, len(readings) in (1, 3)) == (True, True)
        for one in readings:
            assert "the limit is 64" in json.loads(one.metadata)["label_error"]


@pytest.mark.parametrize(
    "row",
    [
        {"text": "x" * 101},
        {"objects": {"bbox": [[1, 2, 3, 4]], "category": ["x" * 101]}},
    ],
)
def test_a_text_that_is_too_long_is_left_out_and_told(row: dict[str, Any]) -> None:
    labels = Labels(limits=Limits(max_caption_characters=100))
    labels.add_row(row)
    metadata, annotations = labels.finish()
    assert not annotations
    assert "101 characters, the limit is 100" in json.loads(metadata)["label_error"]


def test_annotations_beyond_the_limit_are_left_out_and_counted() -> None:
    boxes = [[number, 2, 3, 4] for number in range(8)]
    rows = [annotation()] * 8
    for add, beyond in (
        (lambda labels: labels.add_caption([f"{number}" for number in range(8)]), 5),
        (lambda labels: labels.add_row({"objects": {"bbox": boxes, "label": ["a"] * 8}}), 5),
        (lambda labels: labels.add_json(json.dumps({"annotations": rows}).encode()), 5),
    ):
        labels = Labels(limits=Limits(max_annotations=3))
        add(labels)
        metadata, annotations = labels.finish()
        assert len(annotations) == 3
        fields = json.loads(metadata)["label_error"]
        assert f"{beyond} annotations beyond the limit of 3" in fields


@pytest.mark.timeout(30)
def test_many_labels_take_time_in_proportion() -> None:
    """A chain of phrases, rows that share no key, captions, names: each was a square."""
    count = 20_000
    phrase = Annotation(kind="phrase", task="mine")
    chain = [replace(phrase, id=str(n), parent_id=str(n - 1)) for n in range(count)]
    kept, problems = without_bad(chain, lambda one: "" if one.parent_id else "no parent")
    assert (kept, len(problems)) == ((), count)
    labels = Labels()
    labels.add_row({"objects": [{"bbox": 1, f"key{n}": 1, "label": "a"} for n in range(count)]})
    labels.add_caption([f"caption {n}" for n in range(count)])
    labels.finish()
    header = ",".join(["file_name", *map(str, range(count)), "0"])
    assert "twice" in Sheet("metadata.csv", header.encode()).first_problem()


def test_a_parquet_file_of_more_rows_than_bytes_is_one_dead_letter(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": pa.nulls(1_000_001, pa.binary())}), path)
    readings, (letter,) = read_all(source_at(path))
    assert (readings, letter.source, letter.reason) == ([], "a.parquet", "too_many_rows")


def test_a_row_group_that_unpacks_to_far_more_costs_its_rows(tmp_path: Path, jpeg: bytes) -> None:
    path = tmp_path / "a.parquet"
    schema = pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        for images in ([jpeg], [bytes(3_000_000)] * 2, [jpeg]):
            writer.write_table(pa.table({"image": images}, schema))
    readings, letters = read_all(source_at(path))
    assert [one.location for one in readings] == ["a.parquet#0", "a.parquet#3"]
    assert [(one.source, one.reason) for one in letters] == [
        ("a.parquet#1", "too_many_bytes"),
        ("a.parquet#2", "too_many_bytes"),
    ]
    assert "limits.max_compression_ratio" in letters[0].message


def test_one_value_of_a_column_that_cannot_be_read_costs_one_label(
    tmp_path: Path, jpeg: bytes
) -> None:
    late = pa.array([[1], [2**62], [2]], pa.list_(pa.timestamp("ms")))
    large = pa.array([["a"], ["b"], ["c"] * 1000])
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [jpeg] * 3, "caption": large, "objects": late}), path)
    readings, letters = read_all(source_at(path, max_label_bytes=2000))
    assert not letters
    assert captions_of(readings) == [["a"], ["b"], []]
    errors = [json.loads(one.metadata)["label_error"] for one in readings]
    assert "objects: it cannot be read" in errors[1]
    assert "limits.max_label_bytes" in errors[2]


@pytest.mark.parametrize(
    "path",
    [[b"\xff.jpg", b"a.jpg"], [1, 2], [["a"], None], [None, None]],
)
def test_a_path_of_any_type_costs_no_image(tmp_path: Path, jpeg: bytes, path: list[Any]) -> None:
    paths = pa.array(path)
    if pa.types.is_binary(paths.type):
        paths = paths.view(pa.string())
    image = pa.StructArray.from_arrays([pa.array([jpeg, jpeg]), paths], ["bytes", "path"])
    pq.write_table(pa.table({"image": image}), tmp_path / "a.parquet")
    readings, letters = read_all(source_at(tmp_path / "a.parquet"))
    assert (len(readings), letters) == (2, [])


def test_class_names_for_objects_that_are_none_cost_no_image(tmp_path: Path, jpeg: bytes) -> None:
    features = {"info": {"features": {"objects": {"category": {"names": ["a"]}}}}}
    table = pa.table({"image": [jpeg], "objects": [7]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, tmp_path / "a.parquet")
    (one,), letters = read_all(source_at(tmp_path / "a.parquet"))
    assert not letters
    assert "objects have no bbox" in json.loads(one.metadata)["label_error"]


def parquet_of(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_a_sheet_of_parquet_is_measured_before_it_is_unpacked() -> None:
    limits = Limits(max_sheet_bytes=1 << 20)
    large = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), ["x" * 100_000])
    for table in (
        pa.table({"file_name": pa.nulls(3_000_000, pa.string())}),
        pa.table({"file_name": large}),
        pa.table({"file_name": ["a"], "b": [[None] * 3_000_000]}),
    ):
        data = parquet_of(table)
        assert len(data) < 600_000
        tracemalloc.start()
        sheet = Sheet("metadata.parquet", data, limits=limits)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert "limits.max_sheet_bytes" in sheet.first_problem()
        assert peak < 8_000_000


def test_a_sheet_has_so_many_lines_and_names() -> None:
    limits = Limits(max_sheet_bytes=64_000)
    lines = Sheet("metadata.jsonl", b"\n" * 1001, limits=limits)
    assert "1,001 lines, the limit is 1,000" in lines.first_problem()
    row = json.dumps({"file_names": [f"{number}" for number in range(999)]}).encode()
    names = Sheet("metadata.jsonl", row + b"\n" + row, limits=limits)
    assert "it names more than 1,000 images; divide it among folders" in names.first_problem()
    assert len(names.find("5")) == 1
    many = Sheet("metadata.jsonl", b"x\n" * 1000, limits=limits)
    assert (len(many.problems), many.bad_rows) == (100, 1000)
    assert "and 999 more" in many.first_problem()


@pytest.mark.parametrize(
    ("name", "text", "fields", "rows"),
    [
        ("csv", "file_name,a\n0.jpg,{long}\n1.jpg,b\n", "line 2: 5007 characters", 1),
        ("jsonl", '{"file_name": "0.jpg", "a": "{long}"}\n{"file_name": "1.jpg"}\n', "line 1", 1),
        ("csv", "file_name,{long}\n0.jpg,a\n", "header", 0),
        ("csv", "file_name,{many}\n" + "0.jpg{empty}\n" * 30, "more than 4,096 cells", 10),
        ("jsonl", '{"file_name": "0.jpg", "a": [{values}1]}\n{"file_name": "1.jpg"}', "values", 1),
        ("jsonl", '{"file_name": "0.jpg", "file_name": "1.jpg"}\n', "there twice", 0),
    ],
)
def test_a_row_of_a_sheet_is_no_larger_than_a_label(
    name: str, text: str, fields: str, rows: int
) -> None:
    texts = {"long": "x" * 5000, "many": ",".join(f"c{n}" for n in range(400))}
    texts |= {"empty": "," * 400, "values": "1," * 600}
    for key, value in texts.items():
        text = text.replace(f"{{{key}}}", value)
    limits = Limits(max_sheet_bytes=1 << 16, max_label_bytes=4000, max_json_values=500)
    sheet = Sheet(f"metadata.{name}", text.encode(), limits=limits)
    assert fields in " ".join(sheet.problems)
    assert len(sheet) == rows


def test_columns_within_columns_are_found_at_once() -> None:
    fields = {f"c{number}": pa.array([{"x": 1}]) for number in range(3000)}
    buffer = io.BytesIO()
    pq.write_table(pa.table({"file_name": ["0.jpg"], **fields}), buffer)
    started = time.process_time()
    sheet = Sheet("metadata.parquet", buffer.getvalue())
    assert len(sheet) == 1
    assert sheet.row(0)["c2999"] == {"x": 1}
    metadata = pq.read_metadata(io.BytesIO(buffer.getvalue()))
    started = time.process_time()
    assert bounded_parquet._sizes(metadata, 0, metadata.schema.to_arrow_schema().names)[0] > 0
    assert time.process_time() - started < 0.3


def test_sheets_of_other_folders_are_forgotten_when_all_are_too_large(
    tmp_path: Path, jpeg: bytes
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes(jpeg)
        row = {"file_name": "x.jpg", "text": name * 400}
        (tmp_path / name / "metadata.jsonl").write_text(json.dumps(row))
    source = source_at(tmp_path, kind="folder", max_sheet_bytes=600)
    readings, _ = read_all(source)
    assert [len(texts) for texts in captions_of(readings)] == [1, 1, 1]
    assert sorted(source._sheets._sheets) == ["c/metadata.jsonl"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["metadata.jsonl", "x.txt", "x.jpg"])
def test_each_kind_of_file_has_its_limit(tmp_path: Path, jpeg: bytes, name: str) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg)
    (tmp_path / name).write_bytes(jpeg + b" " * 5000)
    small = {
        "max_sheet_bytes": len(jpeg) + 10,
        "max_label_bytes": len(jpeg) + 10,
        "max_file_bytes": len(jpeg) + (0 if name.endswith("jpg") else 10),
    }
    readings, letters = read_all(source_at(tmp_path, kind="folder", **small))
    if name == "x.jpg":
        assert [letter.reason for letter in letters] == ["too_many_bytes"]
    else:
        assert "the limit is" in json.loads(readings[0].metadata)["label_error"]


def growing(path: Path) -> Callable[..., Any]:
    """Return an `open` for a file that somebody writes to as soon as it is open."""

    class Growing(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            with path.open("ab") as file:
                file.write(b"x" * 100_000)
            assert size is not None
            assert size >= 0, "no read is without bound"
            return super().read(size)

    return lambda file, _mode, opener: Growing(io.FileIO(file, opener=opener))


@pytest.mark.parametrize("name", ["a.jpg", "a.tar", "a.tar.gz"])
def test_a_file_that_grows_while_it_is_read_is_a_dead_letter(
    tmp_path: Path, write_tar: WriteTar, jpeg: bytes, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    if name.endswith("jpg"):
        path.write_bytes(jpeg)
    else:
        write_tar(name, {"a.jpg": jpeg})
    monkeypatch.setattr(place_module, "open", growing(path), raising=False)
    _, letters = read_all(source_at(path, max_archive_bytes=1 << 20))
    assert letters
    wanted = {"changed_while_read"} if name == "a.jpg" else {"changed_while_read", "corrupt_tar"}
    assert {letter.reason for letter in letters} <= {*wanted, "archive_too_large"}


def test_a_file_that_shrinks_or_goes_is_a_dead_letter(
    tmp_path: Path, write_tar: WriteTar, jpeg: bytes
) -> None:
    for kind in ("cut", "gone"):
        path = write_tar("0.tar", {"a.jpg": jpeg, "b.jpg": jpeg})
        parquet = tmp_path / "1.parquet"
        pq.write_table(pa.table({"image": [jpeg] * 3}), parquet)
        for source in (source_at(path), source_at(parquet)):
            (item,) = source.items()
            for one in (path, parquet):
                if kind == "gone":
                    one.unlink(missing_ok=True)
                elif one.exists():
                    one.write_bytes(one.read_bytes()[:900])
            assert any(isinstance(one, DeadLetter) for one in source.read(item))
            path = write_tar("0.tar", {"a.jpg": jpeg, "b.jpg": jpeg})
            pq.write_table(pa.table({"image": [jpeg] * 3}), parquet)


def test_a_parquet_file_of_img2dataset_names_no_more_samples_than_a_tar_may_have(
    write_tar: WriteTar, jpeg: bytes
) -> None:
    path = write_tar("00000.tar", {"000000000.jpg": jpeg})
    table = pa.table({"key": ["0"] * 50, "status": ["success"] * 50})
    pq.write_table(table, path.with_suffix(".parquet"))
    source = source_at(path, kind="img2dataset", max_archive_members=20)
    assert isinstance(source, Img2DatasetSource)
    readings, letters = read_all(source)
    assert (len(readings), [letter.reason for letter in letters]) == (1, ["unchecked_tar"])


def test_half_a_character_is_printable() -> None:
    assert printable("\ud800.jpg") == "\\xed\\xa0\\x80.jpg"


@pytest.mark.timeout(20)
def test_twenty_thousand_samples_of_one_name_have_keys_at_once(jpeg: bytes) -> None:
    taken: dict[str, int] = {}
    start = time.perf_counter()
    assert len({packed_key("a", "x", taken) for _ in range(20_000)}) == 20_000
    assert time.perf_counter() - start < 10
