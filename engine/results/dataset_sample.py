"""A sample of a finished dataset, made from its files in the tar and its rows of Parquet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from florilegium.engine.core.annotation import Annotation, from_json, from_table
from florilegium.engine.core.image.reading import decode
from florilegium.engine.core.keys import is_key
from florilegium.engine.results.contract import parse_sample
from florilegium.engine.results.shard_files import (
    BESIDE_IMAGE,
    EVERYTHING,
    Wanted,
    opened_file,
    read_files,
)
from florilegium.engine.storage.folder import Folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What one filter says of an annotation; `measurement` are the numbers behind it, by name."""

    filter: str
    keep: bool
    reason: str
    measurement: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetSample:
    """A sample of a finished dataset, with the annotations that are selected.

    [The output](output.md) has the meaning of the fields. `image` are the bytes in the tar.
    `verdicts` has those of each annotation by its id where dropped annotations are selected, too,
    and is `None` where only kept ones are read.
    """

    key: str
    sha256: str
    width: int
    height: int
    annotations: tuple[Annotation, ...]
    image: bytes = field(repr=False)
    extension: str = "jpg"
    source: str = ""
    metadata: str = "{}"
    verdicts: Mapping[str, tuple[Verdict, ...]] | None = None

    def pixels(self) -> np.ndarray:
        """Return RGB pixels, uint8, (height, width, 3), upright.

        Raises:
            SampleError: the image cannot be decoded.
        """
        return decode(self.image)


def read_samples(
    folder: Folder, shard: str, wanted: Wanted = EVERYTHING
) -> Iterator[DatasetSample]:
    """Yield the samples of a shard with their kept annotations; others are passed over.

    Raises:
        StorageError: the tar cannot be read.
    """
    with opened_file(folder, shard, "tar") as file:
        for _, files in read_files(file, wanted):
            yield sample_of(files)


def sample_of(files: Mapping[str, bytes]) -> DatasetSample:
    """Build a sample from its files by extension: `json`, `txt` and the image.

    Raises:
        ValueError: its JSON breaks the contract; files are named by its key and its digest.
    """
    row = parse_sample(files["json"])
    if not (is_key(row["key"]) and re.fullmatch("[0-9a-f]{64}", row["sha256"])):
        raise ValueError(f"{row['key']!r:.200}, {row['sha256']!r:.200}: no key and digest")
    images = [name for name in files if name not in BESIDE_IMAGE]
    if len(images) != 1:
        raise ValueError(f"sample {row['key']!r} has {len(images)} images, not one")
    return DatasetSample(
        key=row["key"],
        sha256=row["sha256"],
        width=row["width"],
        height=row["height"],
        annotations=tuple(from_json(one) for one in row["annotations"]),
        image=files[images[0]],
        extension=images[0],
        source=row["source"],
        metadata=row["metadata"],
    )


def annotations_by_key(table: pa.Table) -> dict[str, list[Annotation]]:
    """Return the annotations of a table by the key of their sample."""
    by_key: dict[str, list[Annotation]] = {}
    for key, annotation in zip(table["key"].to_pylist(), from_table(table), strict=True):
        by_key.setdefault(key, []).append(annotation)
    return by_key


def verdicts_by_key(table: pa.Table) -> dict[str, dict[str, tuple[Verdict, ...]]]:
    """Return the verdicts of a table by the key of their sample and the id of the annotation."""
    by_key: dict[str, dict[str, tuple[Verdict, ...]]] = {}
    columns = (table[name].to_pylist() for name in ("key", "id", "verdicts"))
    for key, name, rows in zip(*columns, strict=True):
        by_key.setdefault(key, {})[name] = tuple(map(_verdict, rows))
    return by_key


def _verdict(row: Mapping[str, Any]) -> Verdict:
    numbers = {one["name"]: one["value"] for one in row["measurement"]}
    return Verdict(**{**row, "measurement": numbers})
