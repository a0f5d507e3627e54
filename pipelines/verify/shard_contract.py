"""What the three files of a finished shard must be like.

The Parquet file is judged by columns. The annotations in the tar must then be its kept rows to
the letter, which settles their types as well, and the statistics what both add up to. Each file is
read once, the tar as a stream.
"""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from hashlib import sha256
from itertools import groupby
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.annotation import ANNOTATION_NAMES
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import SampleError, StorageError
from florilegium.engine.core.image.reading import decode, read_header
from florilegium.engine.core.limits import PILLOW_MAX_PIXELS
from florilegium.engine.results.comparison import recipe_of_run
from florilegium.engine.results.contract import SAMPLE_TYPES, SHARD_COLUMNS, SHARD_SCHEMA
from florilegium.engine.results.publication import (
    SHARDS,
    STATS,
    FileStats,
    Hashing,
    ShardStats,
    add_sample,
    brief_caption,
    tar_of,
    to_json,
)
from florilegium.engine.results.shard_files import BESIDE_IMAGE, read_files
from florilegium.engine.storage.documents import in_one_line, parse_json
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.parquet import from_parquet
from florilegium.pipelines.verify.differences import differences

SHARD_FIELDS = frozenset(
    {"name", "number", "samples", "samples_digest", "annotations_kept", "annotations_dropped"}
    | {"dead_letters", "tar", "parquet", "stats"}
)
"""The fields of a shard in the manifest."""
_UNREADABLE = (
    tarfile.TarError,
    pa.ArrowException,
    StorageError,
    OSError,
    LookupError,
    ValueError,
)


class ShardCheck:
    """One shard of a manifest, checked; what was read of it on the way.

    `table` are its rows where they keep the contract, so that they can be counted; `samples` has
    the JSON of each sample, but for its annotations, by key in the order of the tar.
    """

    def __init__(self, output: Folder, entry: Mapping[str, Any]) -> None:
        self.entry = entry
        self.path = f"{SHARDS}/{entry['name']}"
        self.stats: ShardStats | None = None
        self.table: pa.Table | None = None
        self.samples: dict[str, Mapping[str, Any]] = {}
        self._output = output
        self._extensions: Counter[str] = Counter()

    def problems(self, recipe: str) -> Iterator[str]:
        """Read the three files; yield what is wrong with them, one sentence each."""
        yield from self.check_stats(recipe)
        try:
            data = self._output.read(f"{self.path}.parquet")
            if data is None or not self._output.exists(f"{self.path}.tar"):
                return  # reported already
            if asdict(FileStats.of(memoryview(data))) != self.entry["parquet"]:
                yield f"{self.path}.parquet: its digest or size differs from the manifest"
            table = from_parquet(data)
            wrong = _wrong_columns(table.schema)
            if wrong:
                columns = ", ".join(wrong)
                yield f"{self.path}.parquet: its columns differ from the contract: {columns}"
                return
            problems = list(_problems_of_rows(table, self.entry))
            for problem in problems:
                yield f"{self.path}.parquet {problem}"
            yield from self._check_tar(table)
        except _UNREADABLE as error:
            yield f"{self.path}: {in_one_line(error)}"
            return
        if not problems:
            self.table = table
            yield from self._check_counts(table)

    def check_stats(self, recipe: str) -> Iterator[str]:
        """Read the statistics alone: hold them against the manifest, and against their name."""
        path = f"{self.path}{STATS}"
        try:
            data = self._output.read(path)
            if data is None:
                return  # reported already
            self.stats = stats = ShardStats.from_json(data)
        except (StorageError, ValueError) as error:
            yield f"{path} has no statistics that can be read: {in_one_line(error)}"
            return
        own = {**asdict(stats), "name": stats.name, "dead_letters": len(stats.dead_letters)}
        own["stats"] = asdict(FileStats.of(memoryview(data)))
        fields = {name: own[name] for name in SHARD_FIELDS}
        for name, expected, found in differences(self.entry, fields):
            yield f"{path}: {name} is {found}, in the manifest {expected}"
        if stats.to_json() != data:
            yield f"{path} has more in it than statistics, or is in another form"
        if recipe_of_run(stats.recipe) != recipe:
            yield f"{path}: the recipe of the shard differs from the manifest"

    def _check_counts(self, table: pa.Table) -> Iterator[str]:
        """Hold the statistics against what was counted in the other two files."""
        if self.stats is None:
            return
        expected, found = asdict(self.stats), _counts(table)
        found["samples"] = len(self.samples)
        found["extensions"] = dict(sorted(self._extensions.items()))
        expected = {name: expected[name] for name in found}
        for path, value, counted_ in differences(expected, found):
            yield f"{self.path}{STATS}: {path} is {value}, the shard has {counted_}"
        keys = Counter(letter.key for letter in self.stats.dead_letters)
        for key in sorted(key for key in keys if key in self.samples or keys[key] > 1):
            yield f"{self.path}{STATS}: {key!r} is a dead letter, and a sample or one once more"

    def _check_tar(self, table: pa.Table) -> Iterator[str]:
        """Read the tar as a stream, and write it anew: what else is in it is noticed."""
        anew = Hashing()
        with self._output.opened(f"{self.path}.tar") as opened:
            file = _Hashed(opened)
            try:
                with tar_of(anew) as tar:
                    yield from self._check_samples(file, tar, _KeptRows(table))
                if anew.stats() != file.stats():
                    yield f"{self.path}.tar: its files are not those of its samples in their order"
            except _UNREADABLE as error:
                yield f"{self.path}.tar: {in_one_line(error)}"
            if asdict(file.stats()) != self.entry["tar"]:
                yield f"{self.path}.tar: its digest or size differs from the manifest"
        if len(self.samples) != self.entry["samples"]:
            count = counted(len(self.samples), "sample")
            yield f"{self.path}.tar has {count}, the manifest {self.entry['samples']}"
        keys = [key for key, _ in groupby(table["key"].to_pylist())]
        known = set(keys)
        if strangers := known - self.samples.keys():
            missing = f"samples that the tar lacks: {min(strangers)!r}"
            yield f"{self.path}.parquet has rows of {missing}"
        elif keys != [key for key in self.samples if key in known]:
            yield f"{self.path}.parquet: its rows are not in the order of the samples in the tar"

    def _check_samples(
        self, file: _Hashed, anew: tarfile.TarFile, rows: _KeptRows
    ) -> Iterator[str]:
        for key, members in read_files(file):
            if key in self.samples:
                raise ValueError(f"the files of sample {key!r} are not adjacent")
            add_sample(anew, key, members)
            self.samples[key] = {}
            sample = _checked(key, members)
            self.samples[key] = {**sample, "annotations": []}
            self._extensions.update(members.keys() - set(BESIDE_IMAGE))
            problem = (
                rows.problem_of(sample)
                or _image_problem(members, sample)
                or _text_problem(members, sample)
            )
            if problem:
                yield f"{self.path}: sample {key!r}: {problem}"


def _wrong_columns(schema: pa.Schema) -> list[str]:
    """Return the columns that are missing, unknown, or of another type; metadata are too much."""
    if schema.names != SHARD_SCHEMA.names:
        odd = set(schema.names) ^ set(SHARD_SCHEMA.names)
        return sorted(odd) or ["another order, or one twice"]
    if schema.metadata:
        return [f"metadata of the name {min(schema.metadata).decode('utf-8', 'replace')!r:.100}"]
    return [field.name for field in SHARD_SCHEMA if schema.field(field.name).type != field.type]


def _problems_of_rows(table: pa.Table, shard: Mapping[str, Any]) -> Iterator[str]:
    dropped = table.filter(pc.invert(table["kept"]))
    counts = (table.num_rows - dropped.num_rows, dropped.num_rows)
    counted = (shard["annotations_kept"], shard["annotations_dropped"])
    if counts != counted:
        yield f"has {counts[0]} kept and {counts[1]} dropped rows, the manifest {counted}"
    if pc.any(pc.equal(pc.list_value_length(dropped["verdicts"]), 0)).as_py():
        yield "has dropped rows without a verdict"
    if _is_kept(table["verdicts"]) != table["kept"].to_pylist():
        yield "has rows that are kept or dropped against their verdicts"
    for column in SHARD_COLUMNS:
        if not column.is_nullable and table[column.name].null_count:
            yield f"has rows without {column.name}"
    for column in SHARD_COLUMNS:
        if column.lengths:
            lengths = pc.list_value_length(table[column.name])
            allowed = pa.array(column.lengths, pa.int32())
            if pc.any(pc.invert(pc.is_in(lengths, value_set=allowed))).as_py():
                lengths = " or ".join(map(str, column.lengths))
                yield f"has a {column.name} that is not of {lengths} numbers"
    pairs = table.select(["key", "id"]).group_by(["key", "id"], use_threads=False).aggregate([])
    if pairs.num_rows < table.num_rows:
        yield "has two annotations of one id on the same sample"


def _counts(table: pa.Table) -> dict[str, Any]:
    """Count the rows of a shard as its statistics do."""
    kept = pc.sum(table["kept"]).as_py() or 0
    verdicts = pc.list_flatten(table["verdicts"]).combine_chunks()
    dropped = verdicts.filter(pc.invert(verdicts.field("keep")))
    names = zip(
        dropped.field("filter").to_pylist(), dropped.field("reason").to_pylist(), strict=True
    )
    return {
        "annotations_kept": kept,
        "annotations_dropped": table.num_rows - kept,
        "tasks": _sides(table, "task"),
        "specialists": _sides(table, "specialist"),
        "drops": dict(sorted(Counter(f"{judge}/{reason}" for judge, reason in names).items())),
    }


def _sides(table: pa.Table, column: str) -> dict[str, dict[str, int]]:
    """Count kept and dropped rows by the name in a column."""
    groups = table.select([column, "kept"]).group_by([column, "kept"], use_threads=False)
    sides: dict[str, dict[str, int]] = {}
    for row in groups.aggregate([([], "count_all")]).to_pylist():
        side = sides.setdefault(row[column], {"kept": 0, "dropped": 0})
        side["kept" if row["kept"] else "dropped"] = row["count_all"]
    return dict(sorted(sides.items()))


def _is_kept(verdicts: pa.ChunkedArray) -> list[bool]:
    """Return for each row whether no verdict drops it."""
    rows = verdicts.combine_chunks()
    drops = pc.invert(pc.struct_field(pc.list_flatten(rows), "keep"))
    dropped = set(pc.list_parent_indices(rows).filter(drops).to_pylist())
    return [row not in dropped for row in range(len(rows))]


class _Hashed(io.RawIOBase):
    """A file that is read once, from its beginning to its end, and hashed on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = sha256()
        self._bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._sha256.update(data)
        self._bytes += len(data)
        return data

    def stats(self) -> FileStats:
        """Describe the whole file, what has not been read of it included."""
        while self.read(1 << 20):
            pass
        return FileStats(bytes=self._bytes, sha256=self._sha256.hexdigest())


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
        """Return how a sample's JSON differs from its rows: values, types, order; or ""."""
        stored = self._kept.slice(*self._places.get(sample["key"], (0, 0)))
        sizes = set(zip(stored["width"].to_pylist(), stored["height"].to_pylist(), strict=True))
        if sizes - {(sample["width"], sample["height"])}:
            return "width or height differs from the Parquet file"
        rows, found = stored.select(ANNOTATION_NAMES).to_pylist(), sample["annotations"]
        if to_json(found) == to_json(rows):  # unlike ==, 1 is not 1.0 and not true
            return ""
        if [one.get("id") for one in found] != [row["id"] for row in rows]:
            return "the annotations in the tar are not the kept rows of the Parquet file"
        odd = {
            name
            for one, row in zip(found, rows, strict=True)
            for name in {*one, *row}
            if name not in one or name not in row or to_json(one[name]) != to_json(row[name])
        }
        return f"annotations differ from the Parquet file in {', '.join(sorted(odd))}"


def _checked(key: str, members: dict[str, bytes]) -> dict[str, Any]:
    """Return the JSON of a sample.

    Raises:
        ValueError: a file is missing, or a field or a digest is wrong.
    """
    images = [name for name in members if name not in BESIDE_IMAGE]
    if len(images) != 1 or len(members) != 3:
        raise ValueError(f"sample {key!r} has {sorted(members)}, not image, json and txt")
    sample = parse_json(members["json"])
    if not isinstance(sample, dict) or set(sample) != set(SAMPLE_TYPES) or sample["key"] != key:
        raise ValueError(f"the json of sample {key!r} lacks fields of the contract, or has others")
    for name, expected in SAMPLE_TYPES.items():
        if type(sample[name]) is not expected:  # true is no number
            raise ValueError(f"{name} of sample {key!r} is no {expected.__name__} in its json")
    if not all(isinstance(one, dict) for one in sample["annotations"]):
        raise ValueError(f"an annotation of sample {key!r} is no object in its json")
    if sha256(members[images[0]]).hexdigest() != sample["image_sha256"]:
        raise ValueError(f"the digest of the image of sample {key!r} differs from its json")
    return sample


def _image_problem(members: Mapping[str, bytes], sample: Mapping[str, Any]) -> str:
    """Return how an image differs from its JSON, in the upright frame; or ""."""
    (data,) = (data for name, data in members.items() if name not in BESIDE_IMAGE)
    try:
        header = read_header(data, max_pixels=PILLOW_MAX_PIXELS, max_bytes=len(data))
        height, width = decode(data).shape[:2]
    except SampleError as error:
        return f"its image does not decode: {error}"
    if (width, height) != (sample["width"], sample["height"]):
        return f"its image is {width}x{height}, in its json {sample['width']}x{sample['height']}"
    orientation = sample["orientation"]
    is_as_it_came = sample["image_sha256"] == sample["sha256"]
    if orientation not in range(1, 9) or (is_as_it_came and orientation != header.orientation):
        return f"the orientation of its image is {header.orientation}, in its json {orientation}"
    return ""


def _text_problem(members: Mapping[str, bytes], sample: Mapping[str, Any]) -> str:
    """Return that a sample's text is not its brief caption; or ""."""
    is_caption = members["txt"] == brief_caption(sample["annotations"]).encode()
    return "" if is_caption else "its txt is not its first caption"
