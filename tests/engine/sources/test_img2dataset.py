"""Folders as img2dataset leaves them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from florilegium.engine.sources.img2dataset import Img2DatasetSource
from tests.engine.sources.conftest import WriteTar, captions_of, read_all, source_at


def write_shard(
    write_tar: WriteTar, jpeg: bytes, statuses: list[str], shard: str = "00000"
) -> Path:
    """Write a trio: every row in the Parquet file, the downloaded ones in the tar."""
    keys = [f"{shard}{number:04d}" for number in range(len(statuses))]
    rows = [
        {"url": f"http://x/{key}", "caption": f"Photo {key}.", "key": key, "status": status,
         "error_message": None, "width": 64, "height": 43, "exif": "{}", "sha256": ""}
        for key, status in zip(keys, statuses, strict=True)
    ]  # fmt: skip
    members: list[tuple[str, bytes]] = []
    for row in rows:
        if row["status"] == "success":
            members += [
                (f"{row['key']}.jpg", jpeg),
                (f"{row['key']}.json", json.dumps(row).encode()),
                (f"{row['key']}.txt", str(row["caption"]).encode()),
            ]
    path = write_tar(f"data/{shard}.tar", members)
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    path.with_name(f"{shard}_stats.json").write_text('{"count": 3, "successes": 2}')
    return path


def test_a_folder_is_recognised_and_read_with_captions_and_urls(
    write_tar: WriteTar, jpeg: bytes
) -> None:
    write_shard(write_tar, jpeg, ["success", "failed_to_download", "success"])
    path = write_shard(write_tar, jpeg, ["success"], "00001")
    source = source_at(path.parent)
    assert isinstance(source, Img2DatasetSource)
    assert [item.location for item in source.items()] == ["00000.tar", "00001.tar"]
    readings, dead_letters = read_all(source)
    assert not dead_letters  # a failed download never was an input
    assert captions_of(readings) == [
        ["Photo 000000000."], ["Photo 000000002."], ["Photo 000010000."]
    ]  # fmt: skip
    assert json.loads(readings[0].metadata)["url"] == "http://x/000000000"


def test_what_a_cut_tar_lost_is_named_sample_by_sample(write_tar: WriteTar, jpeg: bytes) -> None:
    path = write_shard(write_tar, jpeg, ["success"] * 4 + ["failed_to_resize"])
    data = path.read_bytes()
    for cut in range(0, len(data) - 10_240, 700):
        path.write_bytes(data[:cut])
        readings, dead_letters = read_all(source_at(path.parent))
        assert len(readings) + len(dead_letters) == 4, cut
        assert {letter.reason for letter in dead_letters} <= {"missing_sample", "corrupt_tar"}
    path.write_bytes(data[: len(data) // 3])
    readings, dead_letters = read_all(source_at(path.parent))
    assert dead_letters[-1].key == "000000003"
    assert "cut" in dead_letters[-1].message


def test_without_a_readable_parquet_the_tar_speaks_for_itself(
    write_tar: WriteTar, jpeg: bytes
) -> None:
    path = write_shard(write_tar, jpeg, ["success", "success"])
    path.with_suffix(".parquet").write_bytes(b"damaged")
    assert len(read_all(source_at(path.parent))[0]) == 2
    path.with_suffix(".parquet").unlink()
    assert len(read_all(source_at(path.parent))[0]) == 2
    pq.write_table(pa.table({"id": ["an annotation of our own"]}), path.with_suffix(".parquet"))
    readings, dead_letters = read_all(source_at(path.parent))
    assert (len(readings), dead_letters) == (2, [])
