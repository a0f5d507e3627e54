"""What the tar and the Parquet file of a finished shard must be like.

The Parquet file is judged by columns. The annotations in the tar must then be its kept rows to
the letter, which settles their types as well. Each file is read once, the tar as a stream.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import groupby
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.annotation import ANNOTATION_FIELDS, ANNOTATION_NAMES
from engine.counted import counted
from engine.errors import SampleError, StorageError
from engine.image import decode
from engine.judging import VERDICT_TYPE
from engine.parquet import from_parquet
from engine.publication import SHARDS, to_json
from engine.storage import Folder
from pipelines.dataset import read_files

SAMPLE_TYPES: Mapping[str, type] = {
    "key": str,
    "sha256": str,
    "image_sha256": str,
    "width": int,
    "height": int,
    "orientation": int,
    "source": str,
    "metadata": str,
    "annotations": list,
}
"""The fields of a sample's JSON."""
SHARD_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        *ANNOTATION_FIELDS,
        ("kept", pa.bool_()),
        ("verdicts", pa.list_(VERDICT_TYPE)),
    ]
)
"""The columns of a shard's Parquet file."""
NULLABLE = frozenset({"mask_rle", "score", "support", "confidence"})
"""The columns that may say nothing."""
LENGTHS = {"box_xyxy": 4, "quad": 8, "span": 2}
"""The numbers in a list that is not empty."""
_UNREADABLE = (
    tarfile.TarError,
    pa.ArrowException,
    StorageError,
    OSError,
    LookupError,
    ValueError,
)


def check_shard(output: Folder, shard: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the tar and the Parquet file of a shard of the manifest."""
    path = f"{SHARDS}/{shard['name']}"
    try:
        data = output.read(f"{path}.parquet")
        if data is None or not output.exists(f"{path}.tar"):
            return  # said already
        if sha256(data).hexdigest() != shard["parquet"].get("sha256"):
            yield f"{path}.parquet has another digest than the manifest says"
        table = from_parquet(data)
        wrong = _wrong_columns(table.schema)
        if not wrong:
            for problem in _problems_of_rows(table, shard):
                yield f"{path}.parquet {problem}"
            yield from _check_tar(output, path, shard, table)
    except _UNREADABLE as error:
        yield f"{path}: {error}"
        return
    if wrong:
        yield f"{path}.parquet has not the columns of the contract: {', '.join(wrong)}"


def _wrong_columns(schema: pa.Schema) -> list[str]:
    """Return the columns that are missing, unknown, or of another type."""
    if schema.names != SHARD_SCHEMA.names:
        odd = set(schema.names) ^ set(SHARD_SCHEMA.names)
        return sorted(odd) or ["another order, or one twice"]
    return [field.name for field in SHARD_SCHEMA if schema.field(field.name).type != field.type]


def _problems_of_rows(table: pa.Table, shard: Mapping[str, Any]) -> Iterator[str]:
    dropped = table.filter(pc.invert(table["kept"]))
    counts = (table.num_rows - dropped.num_rows, dropped.num_rows)
    counted = (shard["annotations_kept"], shard["annotations_dropped"])
    if counts != counted:
        yield f"has {counts[0]} kept and {counts[1]} dropped rows, the manifest says {counted}"
    if pc.any(pc.equal(pc.list_value_length(dropped["verdicts"]), 0)).as_py():
        yield "has dropped rows without a verdict"
    for name in table.column_names:
        if name not in NULLABLE and table[name].null_count:
            yield f"has rows without {name}"
    for name, length in LENGTHS.items():
        lengths = pc.list_value_length(table[name])
        if pc.any(pc.invert(pc.is_in(lengths, pa.array([0, length], pa.int32())))).as_py():
            yield f"has a {name} that is not of 0 or {length} numbers"
    pairs = table.select(["key", "id"]).group_by(["key", "id"], use_threads=False).aggregate([])
    if pairs.num_rows < table.num_rows:
        yield "has two annotations of one id on the same sample"


def _check_tar(
    output: Folder, path: str, shard: Mapping[str, Any], table: pa.Table
) -> Iterator[str]:
    rows = _KeptRows(table)
    seen: set[str] = set()
    with output.opened(f"{path}.tar") as opened:
        file = _Hashed(opened)
        try:
            for key, members in read_files(file):
                if key in seen:
                    raise ValueError(f"the files of sample {key!r} are not adjacent")
                seen.add(key)
                sample = _checked(key, members)
                problem = rows.problem_of(sample) or _image_problem(members, sample)
                if problem:
                    yield f"{path}: sample {key!r}: {problem}"
        except _UNREADABLE as error:
            yield f"{path}.tar: {error}"
        if file.hexdigest() != shard["tar"].get("sha256"):
            yield f"{path}.tar has another digest than the manifest says"
    if len(seen) != shard["samples"]:
        count = counted(len(seen), "sample")
        yield f"{path}.tar has {count}, the manifest says {shard['samples']}"
    strangers = set(pc.unique(table["key"]).to_pylist()) - seen
    if strangers:
        yield f"{path}.parquet has rows of samples that the tar has not: {min(strangers)!r}"


class _Hashed(io.RawIOBase):
    """A file that is read once, from its beginning to its end, and hashed on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._sha256.update(data)
        return data

    def hexdigest(self) -> str:
        """Return the digest of the whole file, also of what nobody has read."""
        while self.read(1 << 20):
            pass
        return self._sha256.hexdigest()


class _KeptRows:
    """The kept rows of a shard by sample, one sample in memory at a time."""

    def __init__(self, table: pa.Table) -> None:
        self._kept = table.filter(table["kept"])
        self._places: dict[str, tuple[int, int]] = {}
        start = 0
        for key, run in groupby(self._kept["key"].to_pylist()):
            count = sum(1 for _ in run)
            if key in self._places:
                raise ValueError(f"the rows of sample {key!r} are not adjacent in the Parquet file")
            self._places[key] = (start, count)
            start += count

    def problem_of(self, sample: dict[str, Any]) -> str:
        """Say how a sample's JSON differs from its rows: values, types, order; or nothing."""
        stored = self._kept.slice(*self._places.get(sample["key"], (0, 0)))
        sizes = set(zip(stored["width"].to_pylist(), stored["height"].to_pylist(), strict=True))
        if sizes - {(sample["width"], sample["height"])}:
            return "width or height is another in the Parquet file"
        rows, said = stored.select(ANNOTATION_NAMES).to_pylist(), sample["annotations"]
        if to_json(said) == to_json(rows):  # unlike ==, tells 1 from 1.0 and from true
            return ""
        if [one.get("id") for one in said] != [row["id"] for row in rows]:
            return "the annotations in the tar are not the kept rows of the Parquet file"
        odd = {
            name
            for one, row in zip(said, rows, strict=True)
            for name in {*one, *row}
            if name not in one or name not in row or to_json(one[name]) != to_json(row[name])
        }
        return f"annotations differ from the Parquet file in {', '.join(sorted(odd))}"


def _checked(key: str, members: dict[str, bytes]) -> dict[str, Any]:
    """Return the JSON of a sample.

    Raises:
        ValueError: a file is missing, or a field or a digest is wrong.
    """
    images = [name for name in members if name not in ("json", "txt")]
    if len(images) != 1 or len(members) != 3:
        raise ValueError(f"sample {key!r} has {sorted(members)}, not image, json and txt")
    sample: Any = json.loads(members["json"])
    if not isinstance(sample, dict) or set(sample) != set(SAMPLE_TYPES) or sample["key"] != key:
        raise ValueError(f"the json of sample {key!r} has not the fields of the contract")
    for name, expected in SAMPLE_TYPES.items():
        if type(sample[name]) is not expected:  # true is no number
            raise ValueError(f"{name} of sample {key!r} is no {expected.__name__} in its json")
    if not all(isinstance(one, dict) for one in sample["annotations"]):
        raise ValueError(f"an annotation of sample {key!r} is no object in its json")
    if sha256(members[images[0]]).hexdigest() != sample["image_sha256"]:
        raise ValueError(f"the image of sample {key!r} has another digest than its json says")
    return sample


def _image_problem(members: Mapping[str, bytes], sample: Mapping[str, Any]) -> str:
    """Say how an image differs from what its JSON says of it, in the upright frame; or nothing."""
    (data,) = (data for name, data in members.items() if name not in ("json", "txt"))
    try:
        height, width = decode(data).shape[:2]
    except SampleError as error:
        return f"its image does not decode: {error}"
    if (width, height) == (sample["width"], sample["height"]):
        return ""
    return f"its image is {width}x{height}, its json says {sample['width']}x{sample['height']}"
