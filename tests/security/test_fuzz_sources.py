"""Readers of every source are given thousands of hostile documents.

Nothing that they hold raises: every input is a sample or a dead letter with a foreseen reason, and
what is read keeps to the limits and can be written.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.validity import problem_of
from florilegium.engine.planning.config import SourceEntry
from florilegium.engine.planning.partition import partition
from florilegium.engine.planning.source_opening import open_source
from florilegium.engine.results.shard import Shard, read_shard
from florilegium.engine.sources.files import SOURCE_FAILED
from florilegium.engine.sources.labels import Labels
from florilegium.engine.sources.metadata import MAX_METADATA_BYTES
from florilegium.engine.untrusted.bounded_json import depth_of
from tests.security.documents import (
    FILE_NAMES,
    JSON,
    ROWS,
    TEXTS,
    VALUES,
    as_json,
    changed,
    tables,
)

pytestmark = [pytest.mark.attack("files"), pytest.mark.timeout(600)]
LIMITS = Limits(
    max_pixels=100_000,
    max_file_bytes=200_000,
    max_sheet_bytes=1 << 20,
    max_archive_bytes=8 << 20,
    max_json_depth=16,
    max_caption_characters=1000,
    max_annotations=6,
)


def documents(count: int) -> Callable[[Any], Any]:
    """Try so many documents, always the same ones."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def encoded(format: str, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(1).integers(0, 255, (12, 16, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format)
    return buffer.getvalue()


JPEG = encoded("JPEG")
IMAGES = {
    "jpg": JPEG,
    "png": encoded("PNG"),
    "palette.png": encoded("PNG", "P"),
    "gif": encoded("GIF", "P"),
    "webp": encoded("WEBP"),
    "tif": encoded("TIFF"),
    "bmp": encoded("BMP"),
    "ppm": encoded("PPM"),
    "tga": encoded("TGA"),
    "jp2": encoded("JPEG2000"),
    "avif": encoded("AVIF"),
    "ico": encoded("ICO"),
}


def read(url: Path, kind: str) -> tuple[int, list[Shard]]:
    """Read a source; return how many items it lists, and its shards, which keep to the limits."""
    config = SourceEntry(url=str(url), kind=kind)
    source = open_source(config, shard_size=3, limits=LIMITS)
    specs = list(partition([source]))
    shards = [read_shard(spec, source, limits=LIMITS)[0] for spec in specs]
    for shard in shards:
        _check(shard)
    "\n".join(source.remarks()).encode()
    keys = [one.key for shard in shards for one in (*shard.records, *shard.dead_letters)]
    assert len(set(keys)) == len(keys)
    return sum(len(spec.entries) for spec in specs), shards


def _check(shard: Shard) -> None:
    for letter in shard.dead_letters:
        assert letter.reason != SOURCE_FAILED, letter.traceback
        pa.array([letter.key, letter.source, letter.message])
    for record, labels in zip(shard.records, shard.labels, strict=True):
        pa.array([record.key, record.source, record.metadata])
        assert isinstance(json.loads(record.metadata), dict)
        assert len(record.metadata.encode()) <= MAX_METADATA_BYTES
        assert record.width * record.height <= LIMITS.max_pixels
        assert len(labels) <= LIMITS.max_annotations
        for one in labels:
            assert len(one.text) <= LIMITS.max_caption_characters
            assert not problem_of(one, width=record.width, height=record.height)


def count(shards: list[Shard]) -> int:
    """Return how many samples and dead letters there are."""
    return sum(len(shard.records) + len(shard.dead_letters) for shard in shards)


@documents(700)
@given(JSON, JSON)
def test_labels_of_one_image(first: str, second: str) -> None:
    labels = Labels(limits=LIMITS)
    labels.add_json(first.encode("utf-8", "surrogatepass"))
    labels.add_row({"objects": second, "text": first})
    metadata, annotations = labels.finish()
    assert isinstance(json.loads(metadata), dict)
    assert depth_of(metadata) <= LIMITS.max_json_depth + 2  # under `more_rows`
    assert len(annotations) <= LIMITS.max_annotations


@documents(140)
@given(st.lists(JSON | TEXTS, min_size=2, max_size=5), st.data())
def test_folders_with_captions_and_sheets(lines: list[str], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "x").mkdir()
        for image in ("0.jpg", "1.jpg", "x/0.jpg"):
            (folder / image).write_bytes(JPEG)
        (folder / "0.txt").write_bytes(data.draw(st.binary(max_size=50)))
        (folder / "1.txt").write_text(lines[0], "utf-8", errors="surrogatepass")
        rows = [{"file_name": data.draw(FILE_NAMES | TEXTS), **data.draw(ROWS)} for _ in lines]
        sheet = "\n".join([*map(as_json, rows), *lines]).encode("utf-8", "surrogatepass")
        (folder / "metadata.jsonl").write_bytes(data.draw(changed(sheet)))
        cells = [f'"{as_json(row)}",{line}' for row, line in zip(rows, lines, strict=True)]
        csv = "\n".join(["file_name,objects,text", *cells]).encode("utf-8", "surrogatepass")
        (folder / "x" / "metadata.csv").write_bytes(data.draw(changed(csv)))
        parquet = data.draw(tables("file_name", [data.draw(FILE_NAMES) for _ in lines]))
        (folder / "metadata.parquet").write_bytes(data.draw(changed(parquet) | st.just(parquet)))
        items, shards = read(folder, "folder")
    assert items == count(shards) == 3
    assert sum(len(shard.records) for shard in shards) == 3


@documents(250)
@given(st.integers(1, 7), st.data())
def test_parquet_files(rows: int, data: st.DataObject) -> None:
    images = [data.draw(st.sampled_from([JPEG, JPEG, b"", b"x"])) for _ in range(rows)]
    parquet = data.draw(tables("image", images))
    hurt = data.draw(st.just(parquet) | changed(parquet))
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "0.parquet").write_bytes(hurt)
        try:
            _, shards = read(Path(name), "parquet")
        except ConfigError:  # the damage took the column of images
            assert hurt != parquet
            return
    assert count(shards) >= 1
    if hurt == parquet:
        assert count(shards) == rows
        good = sum(image == JPEG for image in images)
        assert sum(len(shard.records) for shard in shards) == good


def tar_of(members: list[tuple[str, bytes]], format: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format, errors="surrogateescape") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "ignore")


COMPRESSIONS: list[Callable[[bytes], bytes]] = [
    bytes,
    lambda data: gzip.compress(data, mtime=0),
    bz2.compress,
    lzma.compress,
    zstd.compress,
    lambda data: gzip.compress(zstd.compress(data), mtime=0),
]
EXTENSIONS = st.sampled_from(["jpg", "json", "txt", "cls", "left.png", "caption", "JPG", "", "x.y"])


@documents(300)
@given(st.data())
def test_tars(data: st.DataObject) -> None:
    members = [
        (
            f"{data.draw(st.sampled_from(['a', 'b', 'd/é', '.h', 'x' * 120]))}.{extension}",
            data.draw(st.sampled_from([JPEG, b""]) | JSON.map(_utf8)),
        )
        for extension in data.draw(st.lists(EXTENSIONS, max_size=8))
    ]
    format = data.draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    plain = data.draw(changed(tar_of([("first.jpg", JPEG), *members], format)))
    packed = data.draw(changed(data.draw(st.sampled_from(COMPRESSIONS))(plain)))
    kind = data.draw(st.sampled_from(["webdataset", "img2dataset"]))
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "00000.tar").write_bytes(packed)
        (Path(name) / "00000.parquet").write_bytes(
            data.draw(tables("key", ["first", "b", "gone"]).flatmap(changed))
        )
        _, shards = read(Path(name), kind)
    assert count(shards) >= 1


@documents(100)
@given(st.lists(ROWS | VALUES, min_size=1, max_size=6))
def test_labels_in_whole_tars_cost_no_image(rows: list[Any]) -> None:
    members = [
        pair
        for number, row in enumerate(rows)
        for pair in ((f"{number}.jpg", JPEG), (f"{number}.json", as_json(row).encode()))
    ]
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "0.tar").write_bytes(tar_of(members, tarfile.PAX_FORMAT))
        _, shards = read(Path(name), "webdataset")
    assert [len(shard.records) for shard in shards] == [len(rows)]


@documents(600)
@given(st.sampled_from(sorted(IMAGES)), st.data())
def test_images(name: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3):
            hurt = data.draw(changed(IMAGES[name]))
            (Path(folder) / f"{number}.{name}").write_bytes(hurt)
        items, shards = read(Path(folder), "folder")
    assert items == count(shards) == 3
