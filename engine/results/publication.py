"""Writing one finished shard: tar, Parquet, and last the statistics that mark it as done.

The three files are named by the shard's number and a digest of their content, and are never
overwritten: the shards of a manifest stay unchanged while another version is built. The same layers
and thresholds give the same bytes: fixed times, sorted keys, sorted rows.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from types import MappingProxyType
from typing import IO, Annotated, Any

import pyarrow as pa
from pydantic import AfterValidator, Field, TypeAdapter

from florilegium.engine.core.annotation import ANNOTATION_NAMES, SOURCE
from florilegium.engine.core.image_member import ImageKind, ImageMember, image_member
from florilegium.engine.core.sample import DeadLetter, Record, digest_of
from florilegium.engine.planning.graph import Graph
from florilegium.engine.planning.partition import shard_name
from florilegium.engine.results.comparison import Compared, with_verdicts
from florilegium.engine.results.contract import SAMPLE_TYPES, SHARD_SCHEMA
from florilegium.engine.results.judging import Judged, judge
from florilegium.engine.results.layer import Layer
from florilegium.engine.results.sample_judging import blurred_boxes, judge_samples, letters_of
from florilegium.engine.results.shard import Shard, ShardBytes
from florilegium.engine.storage.folder import Entry, Folder
from florilegium.engine.storage.parquet import write_parquet
from florilegium.engine.untrusted.names import is_shard_name

SHARDS = "shards"
"""The folder of finished shards within a dataset."""
STATS = "_stats.json"
"""The suffix of a shard's statistics, beside `.tar` and `.parquet`."""
_BLOCK = 1 << 20
DIGEST_LENGTH = 16
"""Hexadecimal digits of the digest in the names of a shard's files."""


Count = Annotated[int, Field(ge=0, lt=1 << 48)]
"""A number that can be added up for any number of shards."""


def _both_sides(counts: dict[str, int]) -> dict[str, int]:
    if counts.keys() != {"kept", "dropped"}:
        raise ValueError("it does not count kept and dropped annotations")
    return counts


Sides = Annotated[dict[str, Count], AfterValidator(_both_sides)]
"""Kept and dropped annotations."""


@dataclass(frozen=True, kw_only=True)
class FileStats:
    """A published file: its size and its digest."""

    bytes: Count
    sha256: str

    @classmethod
    def of(cls, data: memoryview) -> FileStats:
        """Describe a file by its content."""
        return cls(bytes=data.nbytes, sha256=sha256(data).hexdigest())

    @classmethod
    def read(cls, folder: Folder, name: str) -> FileStats:
        """Describe a file by reading it, streaming.

        Raises:
            StorageError: it is not there, or cannot be read.
        """
        with folder.opened(name) as file:
            return _described(file)

    @classmethod
    def of_snapshot(cls, folder: Folder, name: str) -> FileStats | None:
        """Describe a file by one request for it, streaming; `None` where there is none.

        Raises:
            StorageError: it cannot be read.
        """
        file = folder.snapshot(name)
        if file is None:
            return None
        with file:
            return _described(file)


def _described(file: IO[bytes]) -> FileStats:
    digest, size = sha256(), 0
    while data := file.read(_BLOCK):
        digest.update(data)
        size += len(data)
    return FileStats(bytes=size, sha256=digest.hexdigest())


@dataclass(frozen=True, kw_only=True)
class ShardStats:
    """Counts and digests of a finished shard; the content of `NUMBER-DIGEST_stats.json`.

    `recipe` (that of the run, and what filters found that compare it) and `samples_digest` identify
    what it was made from. `tasks` and `specialists` count
    kept and dropped annotations by name, `drops` dropped ones by `filter/reason`, `extensions`
    image members.
    """

    number: Count
    recipe: str
    samples_digest: str
    samples: Count
    annotations_kept: Count
    annotations_dropped: Count
    tasks: dict[str, Sides]
    specialists: dict[str, Sides]
    drops: dict[str, Count]
    extensions: dict[str, Count]
    dead_letters: tuple[DeadLetter, ...]
    tar: FileStats
    parquet: FileStats

    @cached_property
    def name(self) -> str:
        """The stem of the shard's files: its number and a digest of its content."""
        digest = sha256(to_json(asdict(self))).hexdigest()
        return f"{shard_name(self.number)}-{digest[:DIGEST_LENGTH]}"

    def is_of(self, shard: Shard) -> bool:
        """Whether these are the statistics of a shard as it was read now."""
        unread = tuple(letter for letter in self.dead_letters if letter.stage == SOURCE)
        return self.samples_digest == shard.digest and unread == shard.dead_letters

    @property
    def has_failures(self) -> bool:
        """Whether stages failed on samples: their answers may be stored by now."""
        return any(letter.stage != SOURCE and not letter.dropped_by for letter in self.dead_letters)

    @cached_property
    def reading(self) -> str:
        """What the inputs of the shard were read as: the digest of its samples and, where inputs
        became none, one of their dead letters. Versions with equal samples differ in these."""
        return reading_of(self.samples_digest, self.dead_letters)

    def know(self, **derived: str | FileStats) -> None:
        """Take `name`, `reading` and `file` from where they were computed before."""
        vars(self).update(derived)

    def to_json(self) -> bytes:
        """Return the content of the shard's file of statistics."""
        return to_json(asdict(self), indent=1)

    @cached_property
    def file(self) -> FileStats:
        """The file of statistics itself."""
        return FileStats.of(memoryview(self.to_json()))

    @classmethod
    def from_json(cls, data: bytes) -> ShardStats:
        """Read the statistics of a shard back.

        Raises:
            ValueError: they are damaged, or of another version.
        """
        return _STATS.validate_json(data, strict=True)


def reading_of(samples_digest: str, dead_letters: Iterable[DeadLetter]) -> str:
    """Return `ShardStats.reading` of a shard with these samples and dead letters."""
    unread = [asdict(letter) for letter in dead_letters if letter.stage == SOURCE]
    letters = f" {digest_of([to_json(unread).decode()])[:16]}" if unread else ""
    return f"{samples_digest}{letters}"


def samples_of_reading(data: bytes) -> str:
    """Return the digest of samples in a stored `ShardStats.reading`."""
    return data.decode("ascii", "replace").partition(" ")[0]


_STATS: TypeAdapter[ShardStats] = TypeAdapter(ShardStats)


def read_stats(output: Folder, name: str) -> ShardStats | None:
    """Return the statistics of a finished shard, or `None` when there are none that can be used.

    `name` is `NUMBER-DIGEST`, with the digest of the content: changed statistics are not used.
    """
    data = output.read(f"{SHARDS}/{name}{STATS}")
    if data is None:
        return None
    try:
        stats = ShardStats.from_json(data)
        is_as_written = stats.name == name and stats.to_json() == data
    except ValueError:
        return None  # written by another version, or damaged: the shard is made again
    return stats if is_as_written else None


def is_whole(
    output: Folder, stats: ShardStats, entries: Mapping[str, Entry], *, is_read: bool = False
) -> bool:
    """Whether the tar and the Parquet file of a finished shard are as they were written.

    `entries` are those of the folder of shards. Sizes and times are compared. The statistics are
    written last, so a newer file was changed or copied, and its digest shows which. For a copy,
    the statistics are written again, so that it is read only once. With `is_read`, the digest of
    every file is compared.
    """
    marker = entries.get(f"{stats.name}{STATS}")
    if marker is None or marker.kind != "file":
        return False
    is_newer = False
    for kind, file in (("tar", stats.tar), ("parquet", stats.parquet)):
        name = f"{stats.name}.{kind}"
        entry = entries.get(name)
        if entry is None or entry.kind != "file" or entry.size != file.bytes:
            return False
        is_late = entry.modified > marker.modified
        if (is_read or is_late) and FileStats.read(output, f"{SHARDS}/{name}") != file:
            return False
        is_newer |= is_late
    if is_newer:
        output.publish(f"{SHARDS}/{stats.name}{STATS}", stats.to_json())
    return True


def finished_names(files: Iterable[str]) -> dict[int, list[str]]:
    """Return the names of all finished shards, of all versions, by number.

    `files` are the sorted names of the files in the folder of shards.
    """
    names: dict[int, list[str]] = {}
    for file in files:
        name = file.removesuffix(STATS)
        if file.endswith(STATS) and is_shard_name(name):
            names.setdefault(int(name.partition("-")[0]), []).append(name)
    return names


def publish_shard(
    shard: Shard,
    images: ShardBytes,
    graph: Graph,
    layers: Mapping[str, Layer],
    output: Folder,
    *,
    compared: Mapping[str, Compared] = MappingProxyType({}),
) -> ShardStats:
    """Judge the annotations of a shard and write its three files, the statistics last. `compared`
    has what sample filters found when they compared the run."""
    numbers = range(len(shard.records))
    judgements = judge_samples(shard, graph.sample_filters, layers, numbers, compared)
    verdicts = [compared[node.name].verdicts for node in graph.comparing if node.name in compared]
    dropped = letters_of(shard, judgements)
    failures = dict(sorted({**failures_of(shard, graph, layers), **dropped}.items()))
    judged = judge(shard, graph, layers, frozenset(failures))
    alive = [number for number in range(len(shard.records)) if number not in failures]
    with (
        output.draft(f"{SHARDS}/{shard.name}") as tar,
        output.draft(f"{SHARDS}/{shard.name}") as parquet,
    ):
        tar_file, parquet_file = Hashing(tar.file), Hashing(parquet.file)
        extensions = _write_tar(
            tar_file, shard, images, judged, alive, graph.images, blurred_boxes(judgements)
        )
        _write_parquet(parquet_file, shard, judged)
        stats = ShardStats(
            number=shard.number,
            recipe=with_verdicts(graph.recipe, verdicts),
            samples_digest=shard.digest,
            samples=len(alive),
            annotations_kept=int(judged.kept.sum()),
            annotations_dropped=int((~judged.kept).sum()),
            tasks=_count(judged, "task"),
            specialists=_count(judged, "specialist"),
            drops={
                f"{name}/{reason}": count for (name, reason), count in sorted(judged.drops.items())
            },
            extensions=dict(sorted(extensions.items())),
            dead_letters=(*shard.dead_letters, *failures.values()),
            tar=tar_file.stats(),
            parquet=parquet_file.stats(),
        )
        tar.publish(f"{SHARDS}/{stats.name}.tar")
        parquet.publish(f"{SHARDS}/{stats.name}.parquet")
    output.publish(f"{SHARDS}/{stats.name}{STATS}", stats.to_json())
    return stats


def to_json(value: Any, *, indent: int | None = None) -> bytes:
    """Return JSON with sorted keys, UTF-8; NaN is an error."""
    separators = None if indent else (",", ":")
    text = json.dumps(
        value,
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
        indent=indent,
        separators=separators,
    )
    return text.encode()


def failures_of(shard: Shard, graph: Graph, layers: Mapping[str, Layer]) -> dict[int, DeadLetter]:
    """Return one dead letter for each sample on which stages failed: that of the first stage."""
    failures: dict[int, DeadLetter] = {}
    for node in graph.layered:
        for error in layers[node.name].errors:
            record = shard.records[error.sample]
            failures.setdefault(
                error.sample,
                DeadLetter(
                    key=record.key,
                    source=record.source,
                    stage=node.name,
                    reason=error.reason,
                    message=error.message,
                    attempt=error.attempt,
                    traceback=error.traceback,
                ),
            )
    return dict(sorted(failures.items()))


class Hashing(io.RawIOBase):
    """Counts and hashes what is written, and writes it to a file, if there is one."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file = file
        self._sha256 = sha256()
        self._bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._sha256.update(data)
        size = memoryview(data).nbytes
        self._bytes += size
        return size if self._file is None else self._file.write(data)

    def tell(self) -> int:
        return self._bytes

    def stats(self) -> FileStats:
        """Describe what was written."""
        return FileStats(bytes=self._bytes, sha256=self._sha256.hexdigest())


def _write_tar(
    file: Any,
    shard: Shard,
    images: ShardBytes,
    judged: Judged,
    alive: list[int],
    kind: ImageKind,
    blurred_xyxy: Mapping[int, Sequence[Sequence[float]]],
) -> Counter[str]:
    """Write the samples of a shard; return how many images have which extension."""
    annotations = _kept_annotations(judged)
    extensions: Counter[str] = Counter()
    # Not webdataset's writer: it imports torch, which fails when two threads do it at once.
    with tar_of(file) as tar:
        for number in alive:
            record = shard.records[number]
            kept = annotations.get(number, [])
            image = image_member(
                images[number],
                kind=kind,
                extension=record.extension,
                blurred_xyxy=blurred_xyxy.get(number, ()),
            )
            extensions[image.extension] += 1
            members: dict[str, bytes | memoryview] = {
                image.extension: image.data,
                "json": to_json(_sample_json(record, image, kept)),
                "txt": brief_caption(kept).encode(),
            }
            add_sample(tar, record.key, members)
    return extensions


def tar_of(file: Any) -> tarfile.TarFile:
    """Open the tar of a shard for writing; the same samples give the same bytes."""
    return tarfile.TarFile(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT, copybufsize=_BLOCK)


def add_sample(tar: tarfile.TarFile, key: str, members: Mapping[str, bytes | memoryview]) -> None:
    """Write the files of a sample, by extension."""
    for extension, data in sorted(members.items()):
        member = tarfile.TarInfo(f"{key}.{extension}")
        member.size, member.mode = len(data), 0o444
        tar.addfile(member, io.BytesIO(data))


def _kept_annotations(judged: Judged) -> dict[int, list[dict[str, Any]]]:
    table = judged.table.filter(pa.array(judged.kept))
    numbers = table.column("sample").to_pylist()
    by_sample: dict[int, list[dict[str, Any]]] = {}
    columns = sorted(ANNOTATION_NAMES)  # as JSON has them
    for number, row in zip(numbers, table.select(columns).to_pylist(), strict=True):
        by_sample.setdefault(number, []).append(row)
    return by_sample


def _sample_json(
    record: Record, member: ImageMember, annotations: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the fields of the contract; those that are not made here are the record's."""
    made = {"image_sha256": sha256(member.data).hexdigest(), "annotations": annotations}
    return {name: made[name] if name in made else getattr(record, name) for name in SAMPLE_TYPES}


def brief_caption(annotations: list[dict[str, Any]]) -> str:
    """Return the first brief caption: the source's own when it has one."""
    captions: Iterator[str] = (row["text"] for row in annotations if row["task"] == "caption")
    return next(captions, "")


def _write_parquet(file: Any, shard: Shard, judged: Judged) -> None:
    """Write the columns of the contract; those that are not made here are the samples'."""
    rows = judged.table
    made = {name: rows.column(name) for name in ANNOTATION_NAMES}
    made |= {"kept": pa.array(judged.kept), "verdicts": judged.verdicts}
    of_samples = pa.table(
        {
            column.name: pa.array(
                [getattr(record, column.name) for record in shard.records], column.type
            )
            for column in SHARD_SCHEMA
            if column.name not in made
        }
    ).take(rows.column("sample"))
    made |= {name: of_samples.column(name) for name in of_samples.column_names}
    columns = [made[name] for name in SHARD_SCHEMA.names]
    write_parquet(pa.Table.from_arrays(columns, schema=SHARD_SCHEMA), file)


def _count(judged: Judged, column: str) -> dict[str, dict[str, int]]:
    names = judged.table.column(column)
    everything, kept = _tally(names), _tally(names.filter(pa.array(judged.kept)))
    return {
        name: {"kept": kept[name], "dropped": everything[name] - kept[name]}
        for name in sorted(everything)
    }


def _tally(names: pa.ChunkedArray) -> Counter[str]:
    counts = names.value_counts().to_pylist()
    return Counter({one["values"]: one["counts"] for one in counts})
