"""What was made of a listed image is gone: from the dataset, its layers and its versions."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engine.results.dataset import open_dataset
from engine.results.manifest import Manifest
from engine.results.takedowns import Receipt, read_receipts
from engine.storage.folder import Folder
from pipelines.verify.verify import verify_dataset
from tests.building import build
from tests.enriching import stages

CAT, CUP = "the cat of Mrs Quux looks left", "a cup that nobody else has"


class Album:
    """A folder of photographs with captions, a dataset of it, and a list."""

    def __init__(self, album: Path, folder: Path) -> None:
        self.photos = shutil.copytree(album, folder / "photos")
        (self.photos / "cat.txt").write_text(CAT)
        (self.photos / "cup.txt").write_text(CUP)
        self.out = folder / "out"
        self.list = folder / "takedown.txt"
        self.logs = folder / "logs"
        self.logs.mkdir()

    def build(self, *entries: str, **keys: Any) -> Manifest:
        """Build with a list of entries; forget what was asked before."""
        for log in self.logs.iterdir():
            log.unlink()
        self.list.write_text("# a list\n" + "".join(f"{one}\n" for one in entries))
        specialists = {**stages(self.logs), "echo": {"use": "tests.stages:Echo"}}
        defaults = {"shard_size": 4, "specialists": specialists, "takedown": str(self.list)}
        return build(self.photos, self.out, **{**defaults, **keys})

    def asked(self) -> dict[str, int]:
        """Return how often each stage that writes it down was asked in the last build."""
        return {log.name: len(log.read_text().splitlines()) for log in self.logs.iterdir()}

    def problems(self) -> list[str]:
        return list(verify_dataset(Folder(str(self.out))))

    def receipts(self) -> list[Receipt]:
        return read_receipts(Folder(str(self.out)))

    def keys(self) -> list[str]:
        return [one.key for one in open_dataset(str(self.out))]

    def bytes_of(self, name: str) -> bytes:
        return (self.photos / name).read_bytes()


@pytest.fixture
def photos(album: Path, tmp_path: Path) -> Album:
    return Album(album, tmp_path)


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the bytes of every file, and of what is packed in it."""
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        name, data = str(path.relative_to(folder)), path.read_bytes()
        yield name, data
        if path.suffix == ".tar":
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                for member in tar:
                    yield f"{name}/{member.name}", tar.extractfile(member).read()  # type: ignore[union-attr]
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield f"{name} rows", repr(table.to_pydict()).encode()
            yield f"{name} metadata", repr(table.schema.metadata).encode()


def found_in(folder: Path, *wanted: bytes | str) -> list[str]:
    """Return where one of these texts or bytes is, receipts and lists left out."""
    needles = [one.encode() if isinstance(one, str) else one for one in wanted]
    return [
        name
        for name, data in everything(folder)
        if not name.startswith("takedowns/") and any(one in data for one in needles)
    ]


def traces_of_the_cat(photos: Album) -> list[bytes | str]:
    data = photos.bytes_of("cat.jpg")
    return [data, sha256(data).hexdigest(), CAT]


def test_all_that_was_made_of_a_listed_image_is_gone(photos: Album) -> None:
    before = photos.build()
    traces = traces_of_the_cat(photos)
    assert len(found_in(photos.out, *traces)) > 5, "tar, Parquet and layers have it"
    others = {one.key: one for one in open_dataset(str(photos.out)) if one.key != "cat"}
    manifest = photos.build(f"sha256:{sha256(photos.bytes_of('cat.jpg')).hexdigest()}")
    assert found_in(photos.out, *traces) == []
    assert photos.asked() == {}
    assert {one.key: one for one in open_dataset(str(photos.out))} == others
    assert manifest.totals.inputs == before.totals.inputs == 12
    assert (manifest.totals.samples, manifest.totals.failures) == (11, {"taken_down": 1})
    assert photos.problems() == []


def test_a_second_run_with_the_same_list_changes_nothing(photos: Album) -> None:
    photos.build()
    photos.build("key:cat", "key:nobody")
    before = {path: path.stat().st_mtime_ns for path in photos.out.rglob("*") if path.is_file()}
    photos.build("key:nobody", "key:cat")
    after = {path: path.stat().st_mtime_ns for path in photos.out.rglob("*") if path.is_file()}
    assert {one for one in after if after[one] != before.get(one)} == set()
    assert before.keys() == after.keys()


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ("key:cat", True),
        ("url:cat.jpg", True),
        ("url:{folder}/cat.jpg", True),
        ("sha256:{jpg}", True),
        ("key:cat.jpg", False),
        ("url:{folder}/nothing.jpg", False),
        ("url:at.jpg", False),
        ("sha256:" + "0" * 64, False),
    ],
)
def test_an_image_is_listed_by_key_place_or_digest(photos: Album, entry: str, match: bool) -> None:
    jpg = sha256(photos.bytes_of("cat.jpg")).hexdigest()
    entry = entry.format(folder=photos.photos, jpg=jpg)
    manifest = photos.build(entry)
    assert ("cat" in photos.keys()) == (not match)
    assert manifest.totals.samples == 12 - match
    (receipt,) = photos.receipts()
    assert [one.key for one in receipt.matched] == ["cat"] * match
    assert receipt.unmatched == (() if match else (entry,))


def test_the_digest_of_a_published_image_counts_and_so_do_copies(photos: Album) -> None:
    shutil.copy(photos.photos / "cat_corner.png", photos.photos / "another.png")
    photos.build()
    (published,) = {
        one.image_sha256 for one in open_dataset(str(photos.out)) if "another" in one.key
    }
    assert published != sha256(photos.bytes_of("another.png")).hexdigest()
    manifest = photos.build(f"sha256:{published}")
    assert manifest.totals.failures == {"taken_down": 2}
    assert not {"another", "cat_corner"} & set(photos.keys())
    fresh = photos.out.with_name("fresh")
    again = build(photos.photos, fresh, shard_size=4, takedown=str(photos.list))
    assert again.totals.failures == {"taken_down": 2}, "new inputs are published to be compared"
