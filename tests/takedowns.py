"""A dataset of photographs from which some are taken down, and a search through all that it has."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.results.takedowns import Receipt, read_receipts
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import build
from tests.enriching import stages

PHOTOS = (
    *("astronaut.jpg", "cat.jpg", "cat_corner.png", "cup.jpg"),
    *("motorcycle.jpg", "pagoda.jpg"),
)
CAT, CUP = "the cat of Mrs Quux looks left", "a cup that nobody else has"


class Album:
    """A folder of photographs with captions, a dataset of it, and a list."""

    def __init__(self, album: Path, folder: Path) -> None:
        self.photos = folder / "photos"
        self.photos.mkdir(parents=True)
        for name in PHOTOS:
            shutil.copy(album / name, self.photos)
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
        defaults = {"shard_size": 2, "specialists": specialists, "takedown": str(self.list)}
        return build(self.photos, self.out, **{**defaults, **keys})

    def asked(self) -> dict[str, int]:
        """Return how often each stage that writes it down was asked in the last build."""
        return {log.name: len(log.read_text().splitlines()) for log in self.logs.iterdir()}

    def problems(self) -> list[str]:
        return list(verify_dataset(Folder(str(self.out))))

    def receipts(self) -> list[Receipt]:
        return read_receipts(Folder(str(self.out)))

    def names(self) -> list[str]:
        return [one.key for one in open_dataset(str(self.out))]

    def bytes_of(self, name: str) -> bytes:
        return (self.photos / name).read_bytes()


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
        if "takedowns/" not in name and any(one in data for one in needles)
    ]
