"""Sheets beside images: three kinds, any spelling of names, and nothing lost without a word."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from florilegium.engine.core.limits import Limits
from florilegium.engine.sources.sheet import Sheet
from tests.engine.sources.conftest import captions_of, read_all, source_at

NFC, NFD = (unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD"))

BOXES = {"bbox": [[1, 2, 3, 4]], "categories": ["fox"]}


def put(folder: Path, *names: str, data: bytes) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def jsonl(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def read_folder(
    folder: Path, **options: object
) -> tuple[dict[str, list[str]], dict[str, str], tuple[str, ...]]:
    """Return captions and label errors by location, and the remarks of the source."""
    source = source_at(folder, kind="folder", **options)
    readings, dead_letters = read_all(source)
    assert not dead_letters
    captions = dict(zip((r.location for r in readings), captions_of(readings), strict=True))
    errors = {r.location: json.loads(r.metadata).get("label_error") for r in readings}
    return captions, {name: error for name, error in errors.items() if error}, source.remarks()


@pytest.mark.parametrize("kind", ["csv", "semicolon", "tab", "jsonl", "parquet"])
def test_sheets_of_every_kind_say_the_same(tmp_path: Path, jpeg: bytes, kind: str) -> None:
    put(tmp_path, "a.jpg", "sub/b.jpg", data=jpeg)
    rows = [
        {"file_name": "a.jpg", "text": 'A fox, "red"; big.', "objects": BOXES},
        {"file_name": "sub/b.jpg", "text": "A dog.\nIt runs.", "objects": None},
    ]
    if kind == "jsonl":
        (tmp_path / "metadata.jsonl").write_bytes(jsonl(*rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "metadata.parquet")
    else:
        mark = {"csv": ",", "semicolon": ";", "tab": "\t"}[kind]
        cell = json.dumps(BOXES).replace('"', '""')
        text = (
            f"file_name{mark} text{mark}objects\r\n"
            f'a.jpg{mark}"A fox, ""red""; big."{mark}"{cell}"\r\n'
            f'sub/b.jpg{mark}"A dog.\nIt runs."{mark}\r\n'
        )
        (tmp_path / "metadata.csv").write_text(text, "utf-8-sig")
    source = source_at(tmp_path)
    (a, b), _ = read_all(source)
    assert captions_of([a, b]) == [['A fox, "red"; big.'], ["A dog.\nIt runs."]]
    assert [(x.label, x.box_xyxy) for x in a.annotations[1:]] == [("fox", (1, 2, 4, 6))]
    assert json.loads(a.metadata) == {"text": 'A fox, "red"; big.'}
    assert source.remarks() == ()


def test_cells_of_csv_stay_text_and_empty_ones_say_nothing(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "a.jpg", "b.jpg", data=jpeg)
    (tmp_path / "metadata.csv").write_text("file_name,text,zip\na.jpg,2014,007\nb.jpg\n")
    (a, b), _ = read_all(source_at(tmp_path))
    assert captions_of([a, b]) == [["2014"], []]
    assert json.loads(a.metadata) == {"text": "2014", "zip": "007"}
    assert json.loads(b.metadata) == {}


def test_rows_and_files_that_do_not_find_each_other_are_told(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, NFD, "sub/a.jpg", "e.jpg", "lone.jpg", "sub/x/lone.jpg", data=jpeg)
    (tmp_path / "metadata.jsonl").write_bytes(
        jsonl(
            {"file_name": NFC, "text": "nfc"},
            {"file_name": "sub\\a.jpg", "text": "backslash"},
            {"file_name": "gone.jpg", "text": "no such file"},
            {"file_name": "./e.jpg", "text": "fits"},
            {"file_name": "../e.jpg", "text": "above"},
        )
    )
    captions, errors, remarks = read_folder(tmp_path)
    assert captions == {
        NFD: ["nfc"], "sub/a.jpg": ["backslash"], "e.jpg": ["fits"], "lone.jpg": [],
        "sub/x/lone.jpg": [],
    }  # fmt: skip
    assert errors == {}
    assert remarks == (
        "2 images have no row in metadata.jsonl, such as 'lone.jpg'",
        "metadata.jsonl: 2 of 5 rows name no image, such as 'gone.jpg'",
    )


def test_only_images_that_are_selected_are_missed(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "a.jpg", "b.png", "sub/c.jpg", data=jpeg)
    rows = [{"file_name": name, "text": name} for name in ("a.jpg", "b.png", "sub/c.jpg", "d.gif")]
    (tmp_path / "metadata.jsonl").write_bytes(jsonl(*rows))
    assert read_folder(tmp_path, include=("*.jpg",))[2] == ()
    assert source_remarks(f"{tmp_path}/*.jpg") == ()
    assert source_remarks(tmp_path / "a.jpg") == ()


def source_remarks(url: object) -> tuple[str, ...]:
    source = source_at(url, kind="folder")
    assert list(source.items())
    return source.remarks()


def test_of_two_files_with_one_name_only_the_exact_spelling_gets_the_row(
    tmp_path: Path, jpeg: bytes
) -> None:
    put(tmp_path, NFC, NFD, data=jpeg)
    (tmp_path / "metadata.jsonl").write_bytes(jsonl({"file_name": NFC, "text": "nfc"}))
    captions, errors, remarks = read_folder(tmp_path)
    assert captions == {NFC: ["nfc"], NFD: []}
    assert "another file has the same name" in errors[NFD]
    assert "1 image has no certain row" in remarks[1]
    rows = [{"file_name": NFC, "text": "nfc"}, {"file_name": NFD, "text": "nfd"}]
    (tmp_path / "metadata.jsonl").write_bytes(jsonl(*rows))
    assert read_folder(tmp_path) == ({NFC: ["nfc"], NFD: ["nfd"]}, {}, ())


def test_of_two_rows_with_one_name_only_the_exact_spelling_counts(
    tmp_path: Path, jpeg: bytes
) -> None:
    put(tmp_path, "é/" + NFC, data=jpeg)
    name = unicodedata.normalize("NFC", "é/café.jpg")
    other = unicodedata.normalize("NFD", name)
    rows = [{"file_name": name, "text": "exact"}, {"file_name": other, "text": "other"}]
    (tmp_path / "metadata.jsonl").write_bytes(jsonl(*rows))
    captions, errors, remarks = read_folder(tmp_path)
    assert (list(captions.values()), errors) == ([["exact"]], {})
    assert "1 of 2 rows names no image" in remarks[0]
    rows[0]["file_name"] = name.replace("/", "\\")
    (tmp_path / "metadata.jsonl").write_bytes(jsonl(*rows))
    captions, errors, remarks = read_folder(tmp_path)
    assert list(captions.values()) == [[]]
    assert "2 rows with other spellings" in next(iter(errors.values()))
    assert "1 image has no certain row" in " ".join(remarks)


def test_several_rows_for_one_image_are_all_taken_and_told(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "a.jpg", data=jpeg)
    (tmp_path / "metadata.csv").write_text("file_name,text,by\na.jpg,One.,x\na.jpg,Two.,y\n")
    (tmp_path / "metadata.jsonl").write_bytes(jsonl({"file_name": "a.jpg", "caption": "Three."}))
    source = source_at(tmp_path)
    (reading,), _ = read_all(source)
    assert captions_of([reading]) == [["One.", "Two.", "Three."]]
    assert json.loads(reading.metadata) == {
        "text": "One.", "by": "x",
        "more_rows": [{"text": "Two.", "by": "y"}, {"caption": "Three."}],
    }  # fmt: skip
    (remark,) = source.remarks()
    assert remark.startswith("metadata.csv and metadata.jsonl: 1 image has several rows")


def test_the_nearest_sheet_with_a_row_counts(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "train/a.jpg", "train/b.jpg", data=jpeg)
    rows = [{"file_name": f"train/{name}.jpg", "text": f"far {name}"} for name in "ab"]
    (tmp_path / "metadata.jsonl").write_bytes(jsonl(*rows))
    (tmp_path / "train" / "metadata.csv").write_text("file_name,text\na.jpg,near a\n")
    captions, errors, remarks = read_folder(tmp_path)
    assert captions == {"train/a.jpg": ["near a"], "train/b.jpg": ["far b"]}
    assert errors == {}
    assert remarks == (
        "metadata.jsonl: 1 of 2 rows names an image that a nearer sheet names, such as "
        "'train/a.jpg'",
    )


def test_a_row_may_name_its_image_in_another_column(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "a.jpg", "mask.png", "left.jpg", "right.jpg", "f1.jpg", data=jpeg)
    (tmp_path / "metadata.jsonl").write_bytes(
        jsonl(
            {"file_name": "a.jpg", "mask_file_name": "mask.png", "text": "of a"},
            {"left_file_name": "left.jpg", "right_file_name": "right.jpg", "text": "of which?"},
            {"file_names": ["f1.jpg"], "text": "of f1"},
        )
    )
    captions, errors, remarks = read_folder(tmp_path)
    assert captions == {
        "a.jpg": ["of a"], "mask.png": [], "left.jpg": [], "right.jpg": [], "f1.jpg": ["of f1"],
    }  # fmt: skip
    assert errors.keys() == {"left.jpg", "right.jpg"}
    assert errors["left.jpg"] == (
        "metadata.jsonl line 2: text of several images; name the one that is meant in `file_name`"
    )
    assert remarks == ()


BAD_LINES = {
    "metadata.jsonl": (
        b'{"file_name": "a.jpg", "text": "A."}\n{"file_name": "b.jpg", "text":\n[1]\n'
        b'{"text": "C."}\n{"file_name": 7}\n',
        "metadata.jsonl: 4 of 5 rows cannot be read; metadata.jsonl line 2: Expecting value",
    ),
    "metadata.csv": (
        b'file_name,text\na.jpg,A.\nb.jpg,A cat, and more\nc.jpg,"un" quoted\n,C.\n',
        "metadata.csv: 3 of 4 rows cannot be read; metadata.csv line 3: 3 cells for 2 columns",
    ),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_malformed_line_costs_one_row_and_is_told_by_its_number(
    tmp_path: Path, jpeg: bytes, name: str
) -> None:
    data, message = BAD_LINES[name]
    put(tmp_path, "a.jpg", "b.jpg", data=jpeg)
    (tmp_path / name).write_bytes(data)
    captions, errors, remarks = read_folder(tmp_path)
    assert captions == {"a.jpg": ["A."], "b.jpg": []}
    assert errors.keys() == {"b.jpg"}  # one of the lines may have been its own
    assert errors["b.jpg"].endswith("more)")
    assert remarks[1].startswith(message)


def test_an_open_quote_is_told_with_all_that_it_takes() -> None:
    sheet = Sheet("metadata.csv", b'file_name,text\na.jpg,"A dog\nb.jpg,A cat\nc.jpg,A fox\n')
    assert len(sheet) == 0
    assert sheet.problems == [
        "metadata.csv line 2: unexpected end of data; it takes all up to line 4"
    ]


def test_named_files_of_several_folders_have_their_sheets(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "a/x.jpg", "a-b/x.jpg", "a/c/x.jpg", data=jpeg)
    rows = [{"file_name": name, "text": name} for name in ("x.jpg", "c/x.jpg")]
    (tmp_path / "a" / "metadata.jsonl").write_bytes(jsonl(*rows))
    source = source_at(f"{tmp_path}/{{a,a-b,a/c}}/x.jpg", kind="folder")
    readings, _ = read_all(source)
    assert {r.location: c for r, c in zip(readings, captions_of(readings), strict=True)} == {
        "a/x.jpg": ["x.jpg"], "a/c/x.jpg": ["c/x.jpg"], "a-b/x.jpg": [],
    }  # fmt: skip
    assert source.remarks() == ()


UNREADABLE = {
    "metadata.csv": [
        (b"", "it is empty"),
        (b"name,text\na.jpg,A.\n", "no column file_name in its first line: name,text"),
        (b"file_name,text,text\na.jpg,A.,B.\n", "the column 'text' twice"),
        ("file_name,text\na.jpg,A.\n".encode("utf-16-le"), "set the source's `encoding`"),
    ],
    "metadata.parquet": [(b"PAR1 and no more", "cannot be read")],
    "metadata.jsonl": [(jsonl({"file_name": "a.jpg"}) * 40, "the limit is 600; divide it")],
}


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [(name, *case) for name, cases in UNREADABLE.items() for case in cases],
)
def test_a_sheet_that_cannot_be_read_is_told_by_every_image_below(
    tmp_path: Path,
    jpeg: bytes,
    name: str,
    data: bytes,
    problem: str,
) -> None:
    put(tmp_path, "x/a.jpg", data=jpeg)
    (tmp_path / name).write_bytes(data)
    captions, errors, remarks = read_folder(tmp_path, max_sheet_bytes=600)
    assert captions == {"x/a.jpg": []}
    assert problem in errors["x/a.jpg"]
    assert problem in remarks[1]


def test_a_parquet_sheet_that_unpacks_to_too_much_is_refused() -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({"file_name": ["a" * 100] * 1000}), buffer)
    limits = Limits(max_sheet_bytes=10_000)
    sheet = Sheet("metadata.parquet", buffer.getvalue().to_pybytes(), limits=limits)
    assert "when unpacked, the limit is 10000" in sheet.first_problem()


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
@pytest.mark.parametrize(
    ("text", "encoding"), [("naïve café", "cp1252"), ("一只狗", "gbk"), ("犬の写真", "shift_jis")]
)
def test_a_sheet_in_another_encoding_is_read_by_the_option_or_told(
    tmp_path: Path, jpeg: bytes, name: str, text: str, encoding: str
) -> None:
    put(tmp_path, "a.jpg", "b.jpg", data=jpeg)
    if name.endswith("csv"):
        lines = f"file_name,text\na.jpg,{text}\nb.jpg,plain\n"
    else:
        lines = f'{{"file_name":"a.jpg","text":"{text}"}}\n{{"file_name":"b.jpg","text":"plain"}}\n'
    (tmp_path / name).write_bytes(lines.encode(encoding))
    captions, errors, remarks = read_folder(tmp_path)
    assert captions == {"a.jpg": [], "b.jpg": ["plain"]}
    assert "set the source's `encoding`" in errors["a.jpg"]
    assert "set the source's `encoding`" in remarks[1]
    assert read_folder(tmp_path, encoding=encoding) == (
        {"a.jpg": [text], "b.jpg": ["plain"]}, {}, (),
    )  # fmt: skip
    (tmp_path / name).write_bytes(lines.encode("utf-16"))
    assert read_folder(tmp_path)[0] == {"a.jpg": [text], "b.jpg": ["plain"]}


def test_the_caption_column_of_the_config_counts_in_sheets(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "a.jpg", data=jpeg)
    row = {"file_name": "a.jpg", "text": "alt", "prompt": "A fox."}
    (tmp_path / "metadata.jsonl").write_bytes(jsonl(row))
    assert read_folder(tmp_path, caption_column="prompt")[0] == {"a.jpg": ["A fox."]}


def test_a_sheet_above_images_in_folders_does_not_hide_them(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "x/a.jpg", data=jpeg)
    rows = [{"file_name": "x/a.jpg", "text": "A fox."}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "metadata.parquet")
    readings, _ = read_all(source_at(tmp_path))
    assert captions_of(readings) == [["A fox."]]


@pytest.mark.parametrize(
    ("image", "caption"), [("a.jpg", "a.TXT"), (NFD, "café.txt"), (NFC, NFD[:-3] + "txt")]
)
def test_a_caption_file_is_found_in_every_spelling_of_its_name(
    tmp_path: Path, jpeg: bytes, image: str, caption: str
) -> None:
    put(tmp_path, image, data=jpeg)
    (tmp_path / caption).write_text("A fox.", "utf-8")
    assert read_folder(tmp_path) == ({image: ["A fox."]}, {}, ())


def test_a_caption_file_in_another_encoding_is_read_by_the_option_or_told(
    tmp_path: Path, jpeg: bytes
) -> None:
    put(tmp_path, "a.jpg", data=jpeg)
    (tmp_path / "a.txt").write_bytes("café".encode("cp1252"))
    captions, errors, _ = read_folder(tmp_path)
    assert captions == {"a.jpg": []}
    assert errors["a.jpg"].startswith("txt: it is no UTF-8; set the source's `encoding`")
    assert read_folder(tmp_path, encoding="cp1252") == ({"a.jpg": ["café"]}, {}, ())
