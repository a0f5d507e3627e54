"""Which samples a dataset has, and where the files of each lie in their tar.

The manifest counts the samples of each shard, so the place of any sample among all is known before
a shard is read. The headers of a tar are read when one of its samples is looked at, and kept.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby
from tarfile import TarInfo
from tarfile import open as open_tar

import pyarrow as pa
from pydantic import TypeAdapter

from florilegium.engine.core.image.header import MAX_BYTES
from florilegium.engine.results.contract import parse_sample_head
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.manifest import MANIFEST, Totals, read_dead_letters
from florilegium.engine.results.publication import SHARDS
from florilegium.engine.results.shard_files import (
    BESIDE_IMAGE,
    damaged_file,
    opened_file,
    read_rows,
)
from florilegium.engine.results.shard_table import ShardTable
from florilegium.engine.results.state import read_state
from florilegium.engine.storage.documents import damaged
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.serve.answers import NotFound
from florilegium.pipelines.serve.cache import Cache

_SHARDS_KEPT = 256
"""Shards of which the headers are kept: about 60 KB each."""
_TOTALS: TypeAdapter[Totals] = TypeAdapter(Totals)


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file in a tar: its extension, and where its bytes begin and end."""

    extension: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A sample: its key, the index of its shard among all, and its files."""

    key: str
    shard: int
    image: Member
    json: Member


class Catalogue:
    """The samples of the version of a dataset that was in place when this was made.

    Raises:
        UsageError: the dataset is not finished.
        StorageError: its manifest is damaged.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.dataset = Dataset.of(folder)
        self.shards: tuple[str, ...] = self.dataset.shards
        counts = [one["samples"] for one in self.dataset.manifest["shards"]]
        self.starts: tuple[int, ...] = (0, *accumulate(counts))
        """The place of the first sample of each shard among all; at last, their number."""
        self._places: Cache[int, dict[str, Place]] = Cache(_SHARDS_KEPT)
        self._keys: Cache[int, tuple[str, ...]] = Cache(_SHARDS_KEPT)
        try:
            self.totals = _TOTALS.validate_python(self.dataset.manifest["totals"])
        except ValueError as error:
            raise damaged(folder, MANIFEST, error, cure="build the dataset again") from error

    def __len__(self) -> int:
        return self.starts[-1]

    def shard_at(self, place: int) -> int:
        """Return the index of the shard that has the sample at a place."""
        return bisect_right(self.starts, place) - 1

    def places(self, shard: int) -> dict[str, Place]:
        """Return the samples of a shard by key, in stored order.

        Raises:
            StorageError: the tar cannot be read.
        """
        return self._places.get(shard, lambda: {one.key: one for one in self._read(shard)})

    def keys(self, shard: int) -> tuple[str, ...]:
        """Return the keys of a shard in stored order; from the annotations where each sample has
        some, which is faster than the headers of the tar.

        Raises:
            StorageError: the shard cannot be read.
        """
        return self._keys.get(shard, lambda: self._read_keys(shard))

    def _read_keys(self, shard: int) -> tuple[str, ...]:
        annotated = tuple(dict.fromkeys(self.rows(shard, ["key"])["key"].to_pylist()))
        is_all = len(annotated) == self.starts[shard + 1] - self.starts[shard]
        return annotated if is_all else tuple(self.places(shard))

    def place(self, key: str, shard: int | None = None) -> Place:
        """Return where a sample lies, searched first in the shard with an index.

        Raises:
            NotFound: there is none with this key.
            StorageError: a shard cannot be read.
        """
        count = len(self.shards)
        hinted = [] if shard is None or shard >= count else [shard]  # from a link that may be old
        for index in (*hinted, *range(count)):
            if key in self.keys(index):
                return self.places(index)[key]
        raise NotFound(f"no image has the key {key!r}")

    def head(self, place: Place) -> dict[str, object]:
        """Return what the JSON of a sample has beside its annotations.

        Raises:
            StorageError: the tar cannot be read.
        """
        try:
            return parse_sample_head(self.read(place, place.json))
        except ValueError as error:
            raise damaged_file(self.folder, self._tar(place.shard), error) from error

    def read(self, place: Place, member: Member) -> bytes:
        """Return the bytes of a file of a sample.

        Raises:
            StorageError: the tar cannot be read.
        """
        size = member.end - member.start
        if size > MAX_BYTES:
            error = f"{place.key}.{member.extension} has {size} bytes, more than {MAX_BYTES}"
            raise damaged_file(self.folder, self._tar(place.shard), error)
        data = self.folder.part(self._tar(place.shard), member.start, member.end)
        if len(data) != size:
            raise damaged_file(self.folder, self._tar(place.shard), f"{place.key} is cut off")
        return data

    def rows(self, shard: int, columns: Sequence[str]) -> pa.Table:
        """Return the annotations of a shard in these columns.

        Raises:
            StorageError: the Parquet file cannot be read.
        """
        return read_rows(self.folder, self.shards[shard], columns)

    @cached_property
    def counts(self) -> ShardTable | None:
        """What was counted in each shard, in their order; `None` where it is not known."""
        known = read_state(self.folder).shards.named(self.shards)
        by_name = {name: place for place, name in enumerate(known.names)}
        if len(by_name) != len(self.shards):
            return None
        return known.take([by_name[name] for name in self.shards])

    @cached_property
    def letters(self) -> list[dict[str, object]]:
        """The inputs that became no sample, as rows of `dead_letters.parquet`."""
        return read_dead_letters(self.folder)

    def _tar(self, shard: int) -> str:
        return f"{SHARDS}/{self.shards[shard]}.tar"

    def _read(self, shard: int) -> Iterator[Place]:
        name = self.shards[shard]
        with (
            opened_file(self.folder, name, "tar") as file,
            open_tar(fileobj=file, mode="r:") as tar,
        ):
            for key, infos in groupby(tar, key=lambda info: info.name.partition(".")[0]):
                files = [_member(info) for info in infos]
                images = [one for one in files if one.extension not in BESIDE_IMAGE]
                texts = [one for one in files if one.extension == "json"]
                if len(images) != 1 or len(texts) != 1:
                    raise ValueError(f"sample {key!r:.200} has not one image and one JSON")
                yield Place(key=key, shard=shard, image=images[0], json=texts[0])


def _member(info: TarInfo) -> Member:
    if not info.isreg():
        raise ValueError(f"{info.name!r:.200} is no file")
    return Member(
        extension=info.name.partition(".")[2],
        start=info.offset_data,
        end=info.offset_data + info.size,
    )
