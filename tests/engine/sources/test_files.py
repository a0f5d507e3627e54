"""What lies beside the inputs and is not read is counted by kind."""

from __future__ import annotations

import json
from pathlib import Path

from florilegium.engine.sources.source import Source
from tests.building import build
from tests.engine.sources.conftest import WriteTar, source_at


def remarks_of(source: Source) -> list[str]:
    list(source.items())
    return list(source.remarks())


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_files_that_are_no_images_are_counted_by_kind(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "b.png", "a.txt", "look.LUT", "x/c.jpg", "x/look.lut", "x/a.txt")
    write(tmp_path, "x/lone.txt", "metadata.jsonl", ".hidden.xml")
    write(tmp_path, *(f"{number}.xml" for number in range(1200)))
    lines = remarks_of(source_at(tmp_path))
    assert lines[:2] == [
        "2 captions without an image",
        "1,202 files left alone: 2 .lut, 1,200 .xml",
    ]


def test_a_folder_of_images_and_captions_has_nothing_to_remark(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "a.txt", "B.JPG", "B.TXT")
    assert remarks_of(source_at(tmp_path)) == []


def test_files_that_the_url_or_include_leave_out_are_not_counted(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "b.xml", "c.txt", "d.png")
    assert remarks_of(source_at(f"{tmp_path}/*.jpg")) == []
    assert remarks_of(source_at(tmp_path, include=("*.jpg", "*.xml"))) == [
        "1 file left alone: 1 .xml"
    ]


def test_a_listing_that_is_repeated_counts_anew(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "b.xml")
    source = source_at(tmp_path)
    assert remarks_of(source) == remarks_of(source) == ["1 file left alone: 1 .xml"]


def test_of_very_many_kinds_the_commonest_are_named(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", *(f"{n}.k{n:02d}" for n in range(25)), "again.k24")
    (line,) = remarks_of(source_at(tmp_path))
    assert line.startswith("26 files left alone: 1 .k00, ")
    assert line.endswith("1 .k18, 2 .k24, 5 of other kinds")


def test_files_beside_tars_are_counted_and_those_without_suffix_come_last(
    tmp_path: Path, write_tar: WriteTar, jpeg: bytes
) -> None:
    write_tar("0.tar", {"a.jpg": jpeg})
    write(tmp_path, "README", "b.jpg", "0.tar.idx")
    expected = ["3 files left alone: 1 .idx, 1 .jpg, 1 without suffix"]
    assert remarks_of(source_at(tmp_path, kind="webdataset")) == expected
    assert remarks_of(source_at(tmp_path / "0.tar")) == []


def test_companions_of_a_tar_are_not_left_alone_but_those_of_a_lost_tar_are(
    tmp_path: Path, write_tar: WriteTar, jpeg: bytes
) -> None:
    write_tar("00000.tar.gz", {"000000000.jpg": jpeg})
    write(tmp_path, "00000.parquet", "00000_stats.json", "00001.parquet", "00001_stats.json")
    assert remarks_of(source_at(tmp_path, kind="img2dataset")) == [
        "2 files left alone: 1 .json, 1 .parquet"
    ]


def test_remarks_stand_in_the_manifest_with_their_source_and_without_control_characters(
    tmp_path: Path, album: Path
) -> None:
    write(tmp_path, "photos/a.jpg", "photos/b.x\x1bm")
    manifest = build(
        [{"url": str(tmp_path / "photos")}, {"url": str(album)}],
        tmp_path / "out",
        max_dead_letter_share=1.0,
    )
    expected = [f"{tmp_path}/photos: 1 file left alone: 1 .x\\x1bm"]
    assert list(manifest.remarks) == expected
    document = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert document["remarks"] == expected
