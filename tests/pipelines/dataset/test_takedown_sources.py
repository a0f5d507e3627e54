"""Images are taken down whatever kind of source they come from."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.results.takedowns import put_in_effect, read_receipts
from florilegium.engine.sources.takedown import parse_takedown
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import build
from tests.takedowns import found_in

CAPTION = "the only caption of number 1"


def images() -> list[bytes]:
    """Return four small pictures."""
    found = []
    for number in range(4):
        file = io.BytesIO()
        Image.new("RGB", (40, 30), (60 * number, 90, 200)).save(file, "JPEG")
        found.append(file.getvalue())
    return found


def rows() -> list[dict[str, Any]]:
    """Return what img2dataset knows of them."""
    return [
        {
            "key": f"{number:04d}",
            "url": f"https://example.org/{number}.jpg",
            "caption": CAPTION.replace("1", str(number)),
            "status": "success",
        }
        for number in range(4)
    ]


def write_tar(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for row, data in zip(rows(), images(), strict=True):
            for extension, content in (("jpg", data), ("json", json.dumps(row).encode())):
                member = tarfile.TarInfo(f"{row['key']}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def folder(path: Path) -> str:
    for row, data in zip(rows(), images(), strict=True):
        (path / f"{row['key']}.jpg").write_bytes(data)
        (path / f"{row['key']}.txt").write_text(row["caption"])
    return str(path)


def webdataset(path: Path) -> str:
    write_tar(path / "a.tar")
    return str(path / "a.tar")


def img2dataset(path: Path) -> str:
    write_tar(path / "00000.tar")
    pq.write_table(pa.Table.from_pylist(rows()), path / "00000.parquet")
    (path / "00000_stats.json").write_text("{}")
    return str(path)


def parquet(path: Path) -> str:
    table = [
        {**row, "image": {"bytes": data, "path": f"{row['key']}.jpg"}}
        for row, data in zip(rows(), images(), strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(table), path / "rows.parquet")
    return str(path)


URL = "url:https://example.org/1.jpg"
DIGEST = f"sha256:{sha256(images()[1]).hexdigest()}"


@pytest.mark.parametrize(
    ("write", "entries"),
    [
        (folder, ["key:0001", DIGEST, "url:0001.jpg", "url:{source}/0001.jpg"]),
        (webdataset, [URL, DIGEST, "url:a.tar/0001.jpg", "url:{source}/0001.jpg"]),
        (img2dataset, [URL, DIGEST, "url:{source}/00000.tar/0001.jpg"]),
        (parquet, [URL, DIGEST, "url:rows.parquet#1", "url:{source}/rows.parquet#1"]),
    ],
)
def test_an_image_of_each_kind_of_source_is_taken_down(
    write: Callable[[Path], str], entries: Sequence[str], tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    source, out, listed = write(tmp_path / "source"), tmp_path / "out", tmp_path / "list.txt"
    for entry in entries:
        listed.write_text("")
        build(source, out, takedown=str(listed), shard_size=2)
        samples = list(open_dataset(str(out)))
        assert len(samples) == 4
        traces = (images()[1], sha256(images()[1]).hexdigest(), CAPTION)
        assert found_in(out, *traces)
        listed.write_text(entry.format(source=source))
        manifest = build(source, out, takedown=str(listed), shard_size=2)
        assert manifest.totals.failures == {"taken_down": 1}, entry
        assert found_in(out, *traces) == []
        kept = list(open_dataset(str(out)))
        assert kept == [one for one in samples if one.sha256 != traces[1]]
        assert list(verify_dataset(Folder(str(out)))) == []


@pytest.mark.parametrize("write", [folder, webdataset, parquet])
def test_an_image_of_a_source_that_is_read_no_more_is_found_by_its_place_in_a_kept_version(
    write: Callable[[Path], str], tmp_path: Path
) -> None:
    for name in ("left", "gone"):
        (tmp_path / name).mkdir()
    left, gone = write(tmp_path / "left"), write(tmp_path / "gone")
    out, listed = tmp_path / "out", tmp_path / "list.txt"
    both = [{"url": left}, {"url": gone}]
    place = {folder: "/0001.jpg", webdataset: "/0001.jpg", parquet: "/rows.parquet#1"}[write]
    keys: dict[str, Any] = {"takedown": str(listed), "shard_size": 2, "keep_versions": 5}
    listed.write_text("key:nobody")
    build(both, out, **keys)
    changed = shutil.copytree(out, tmp_path / "changed")
    listed.write_text(f"url:{gone}{place}")
    build(left, out, replace=True, **keys)
    (receipt,) = read_receipts(Folder(str(out)))[1:]
    assert len(receipt.matched) == len(receipt.versions) == 1
    assert list((out / "versions").iterdir()) == []
    assert len(list(open_dataset(str(out)))) == 4, "not the image of the same name"
    assert list(verify_dataset(Folder(str(out)))) == []
    listed.write_text("key:nobody")
    build(left, changed, replace=True, **keys)
    place_listed = parse_takedown(f"url:{gone}{place}".encode(), "list")
    (first,) = read_receipts(Folder(str(changed)))
    put_in_effect(Folder(str(changed)), place_listed)
    (changed / "takedowns" / f"{first.list_digest}.txt").unlink()
    text = replace(first, list_digest=place_listed.digest).to_json()
    (changed / "takedowns" / "000001.json").write_bytes(text)
    (problem,) = verify_dataset(Folder(str(changed)))
    assert problem.endswith(f"sample {receipt.matched[0].key!r} is on the takedown list")


def test_a_drawn_scene_is_taken_down_by_key(tmp_path: Path) -> None:
    source = [{"kind": "shape_world", "count": 3, "seed": 1}]
    listed = tmp_path / "list.txt"
    listed.write_text("key:000001\n")
    manifest = build(source, tmp_path / "out", takedown=str(listed))
    assert (manifest.totals.samples, manifest.totals.failures) == (2, {"taken_down": 1})


def test_workers_of_other_processes_have_the_list(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    source, listed = folder(tmp_path / "source"), tmp_path / "list.txt"
    listed.write_text(DIGEST)
    runner = {"kind": "local"}
    manifest = build(source, tmp_path / "out", takedown=str(listed), runner=runner)
    assert (manifest.totals.samples, manifest.totals.failures) == (3, {"taken_down": 1})
