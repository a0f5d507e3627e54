"""The manifest: which shards a dataset consists of, what is in them, and how it was made.

It is the switch between two versions of a dataset: the shards that it names are written before
it, and those that it no longer names are deleted after it. It holds no times and no paths of the
output, so the same source and config give the same bytes. It names every file that these decide,
by size and digest, and itself by a digest of its own content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from florilegium.engine.core.annotation import SOURCE
from florilegium.engine.core.errors import DamagedFile
from florilegium.engine.core.image_member import ImageKind
from florilegium.engine.core.sample import DeadLetter, dropped_by
from florilegium.engine.planning.fingerprint import FORMAT_VERSION
from florilegium.engine.planning.graph import Graph
from florilegium.engine.results.comparison import comparison_files
from florilegium.engine.results.manifest_entries import entries, entry_texts
from florilegium.engine.results.publication import FileStats, ShardStats, to_json
from florilegium.engine.results.shard import SOURCE_FINGERPRINT
from florilegium.engine.results.shard_table import LETTER, ShardTable
from florilegium.engine.results.state import NOTHING_KNOWN, State, Version
from florilegium.engine.storage.documents import damaged, parse_json, read_limited, refuse_large
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.parquet import from_parquet, to_parquet

MANIFEST = "manifest.json"
SIGNATURE = f"{MANIFEST}.sig"
"""The signature of a manifest, if it is signed."""
DEAD_LETTERS = "dead_letters.parquet"
RECIPE = "recipe"
"""The recipe of a build that is running; afterwards it is in the manifest."""
_DEAD_LETTER_SCHEMA = pa.schema([("shard", pa.string()), *LETTER])

_CURE = "run the same build again, which writes it anew"

MANIFEST_NAMES = frozenset(
    {"format", "recipe", "source", "images", "remarks", "totals", "stages", "order", "shards"}
    | {"files", "digest"}
)
"""The fields of a manifest of this format."""
_MAX_TASKS = 50
"""Tasks shown in tables, at most."""
Count = Annotated[int, Field(ge=0)]
Counts = dict[str, dict[str, int]]
"""Kept and dropped annotations by name."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over all live shards. `inputs` = `samples` + `dead_letters`, always."""

    inputs: int
    samples: int
    dead_letters: int
    annotations_kept: int
    annotations_dropped: int
    tasks: Counts
    specialists: Counts
    drops: dict[str, int]
    """Dropped annotations by `filter/reason`."""
    extensions: dict[str, int]
    """Samples by the extension of their image."""
    failures: dict[str, int]
    """Dead letters by reason, but for samples that a sample filter dropped."""
    sample_drops: dict[str, int] = field(default_factory=dict)
    """Samples that a sample filter dropped, by `filter/reason`."""

    @property
    def shown_tasks(self) -> Counts:
        """Tasks for tables, by name; beyond the most frequent ones, the others are one entry."""
        if len(self.tasks) <= _MAX_TASKS:
            return self.tasks

        def rank(task: str) -> tuple[int, str]:
            return -sum(self.tasks[task].values()), task

        ranked = sorted(self.tasks, key=rank)
        rest = [self.tasks[task] for task in ranked[_MAX_TASKS:]]
        others = {side: sum(sides[side] for sides in rest) for side in ("kept", "dropped")}
        shown = {task: self.tasks[task] for task in sorted(ranked[:_MAX_TASKS])}
        return {**shown, f"{len(rest)} other tasks": others}

    @classmethod
    def of(cls, stats: Iterable[ShardStats]) -> Totals:
        """Sum up finished shards."""
        shards = ShardTable.of(stats)
        samples, kept, dropped = (
            sum(shards.column(name))
            for name in ("samples", "annotations_kept", "annotations_dropped")
        )
        letters = shards.letters
        failures: Counter[str] = Counter()
        drops: Counter[str] = Counter()
        for stage, reason in zip(
            letters.column("stage").to_pylist(), letters.column("reason").to_pylist(), strict=True
        ):
            if judge := dropped_by(stage):
                drops[f"{judge}/{reason}"] += 1
            else:
                failures[reason] += 1
        return cls(
            inputs=samples + len(letters),
            samples=samples,
            dead_letters=len(letters),
            annotations_kept=kept,
            annotations_dropped=dropped,
            tasks=shards.sides("tasks"),
            specialists=shards.sides("specialists"),
            drops=shards.counts("drops"),
            extensions=shards.counts("extensions"),
            failures=dict(sorted(failures.items())),
            sample_drops=dict(sorted(drops.items())),
        )

    def to_document(self) -> dict[str, Any]:
        """Return the sums as JSON values; of a dataset without sample filters, nothing of them."""
        document = asdict(self)
        if not self.sample_drops:
            del document["sample_drops"]
        return document


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A finished dataset. `stages` has the configuration of each fingerprint, `order` the
    fingerprints in the order of the graph.

    `images` is how images are written. `remarks` are lines for people about files of the sources
    that are not in the dataset. `files` are those beside the shards, by name; `to_document` adds
    the dead letters.
    """

    recipe: str
    source: tuple[str, ...]
    images: ImageKind
    stages: dict[str, dict[str, Any]]
    order: tuple[str, ...]
    shards: ShardTable
    remarks: tuple[str, ...] = ()
    files: Mapping[str, FileStats] = field(default_factory=dict)
    beside: State = field(default=NOTHING_KNOWN, compare=False, repr=False)
    """What was found in the output: finished shards of other versions, the version in place."""
    is_as_left: bool = field(default=False, compare=False)
    """Whether the files of shards in the output are those that its state has, and no others."""

    @classmethod
    def of(
        cls,
        graph: Graph,
        urls: Sequence[str],
        stats: Iterable[ShardStats],
        *,
        remarks: Sequence[str] = (),
    ) -> Manifest:
        """Describe the dataset that these shards make up."""
        return cls(
            recipe=graph.recipe,
            source=tuple(urls),
            images=graph.images,
            stages={
                SOURCE_FINGERPRINT: {"name": SOURCE},
                **{node.fingerprint: node.configuration() for node in graph.nodes},
            },
            order=tuple(node.fingerprint for node in graph.nodes),
            shards=ShardTable.of(stats),
            remarks=tuple(remarks),
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any], stats: Iterable[ShardStats]) -> Manifest:
        """Build a manifest from the content of its file and the statistics of its shards."""
        files = {name: FileStats(**one) for name, one in document["files"].items()}
        return cls(
            recipe=document["recipe"],
            source=tuple(document["source"]),
            images=document["images"],
            stages=document["stages"],
            order=tuple(document["order"]),
            shards=ShardTable.of(stats),
            remarks=tuple(document["remarks"]),
            files=files,
        )

    @cached_property
    def totals(self) -> Totals:
        """Sums over all shards."""
        return Totals.of(self.shards)

    @property
    def dead_letters(self) -> Iterator[tuple[str, DeadLetter]]:
        """Yield the name of the shard and the letter, for each input that became no sample."""
        return self.shards.dead_letters()

    @cached_property
    def dead_letters_file(self) -> bytes:
        """The content of `dead_letters.parquet`."""
        letters = self.shards.letters.select(_DEAD_LETTER_SCHEMA.names)
        return bytes(to_parquet(letters.cast(_DEAD_LETTER_SCHEMA).combine_chunks()))

    @property
    def comparisons(self) -> list[str]:
        """The files with what sample filters found when they compared the run."""
        rows = self.shards.rows("number", "samples_digest", "recipe")
        return comparison_files(self.stages, self.order, rows)

    def with_files(self, files: Mapping[str, FileStats]) -> Manifest:
        """Return the manifest with other files beside its shards."""
        other = replace(self, files=files)
        for name in ("totals", "dead_letters_file"):  # what was computed does not depend on them
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    def to_document(self) -> dict[str, Any]:
        """Return the content of `manifest.json` as JSON values, but for its digest."""
        return {**self._without_shards(), "shards": entries(self.shards)}

    def to_json(self) -> bytes:
        """Return the content of `manifest.json`."""
        return b"".join(self._file())

    @cached_property
    def file_sha256(self) -> str:
        """The SHA-256 in hex of `manifest.json`."""
        return _digest_of(self._file())

    def _file(self) -> Iterator[bytes | memoryview]:
        return self._texts({**self._without_shards(), "digest": self.digest}, indent=1)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 in hex of all fields but this."""
        return _digest_of(self._texts(self._without_shards(), indent=None))

    @cached_property
    def content_digest(self) -> str:
        """The digest as if no file were named; of the version in place, it is known."""
        found = self.beside.version
        if found.digest and found.manifest == self.file_sha256:
            return found.digest
        return _digest_of(self._texts({**self._without_shards(), "files": {}}, indent=None))

    @property
    def version(self) -> Version:
        """What the state of a dataset has of this manifest, when it is in place."""
        return Version(
            manifest=self.file_sha256, digest=self.content_digest, files=self._all_files()
        )

    def _all_files(self) -> dict[str, FileStats]:
        return {**self.files, DEAD_LETTERS: FileStats.of(memoryview(self.dead_letters_file))}

    def _without_shards(self) -> dict[str, Any]:
        return {
            "format": FORMAT_VERSION,
            "recipe": self.recipe,
            "source": list(self.source),
            "images": self.images,
            "remarks": list(self.remarks),
            "totals": self.totals.to_document(),
            "stages": self.stages,
            "order": list(self.order),
            "files": {name: asdict(one) for name, one in sorted(self._all_files().items())},
        }

    def _texts(
        self, document: Mapping[str, Any], *, indent: int | None
    ) -> Iterator[bytes | memoryview]:
        """Yield the parts of `to_json(document)`, with the shards in their place among its fields,
        never all of them as Python objects."""
        if not self.shards:
            yield to_json({**document, "shards": []}, indent=indent)
            return
        first = to_json({k: v for k, v in document.items() if k < "shards"}, indent=indent)
        last = to_json({k: v for k, v in document.items() if k > "shards"}, indent=indent)
        end, margin = (b"", b"") if indent is None else (b"\n", b" ")
        yield first.removesuffix(end + b"}")
        yield b"," + end + margin + (b'"shards":[' if indent is None else b'"shards": [') + end
        yield from entry_texts(self.shards, indent=indent)
        yield end + margin + b"]," + last.removeprefix(b"{")


def _digest_of(texts: Iterable[bytes | memoryview]) -> str:
    digest = sha256()
    for text in texts:
        digest.update(text)
    return digest.hexdigest()


def sealed(document: Mapping[str, Any]) -> bytes:
    """Return a manifest as JSON with its own digest."""
    return to_json({**document, "digest": digest_of_document(document)}, indent=1)


def digest_of_document(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 in hex of all fields of a manifest but `digest`."""
    fields = {name: value for name, value in document.items() if name != "digest"}
    return sha256(to_json(fields)).hexdigest()


def read_dead_letters(output: Folder) -> list[dict[str, Any]]:
    """Return the rows of `dead_letters.parquet`; none when the dataset is not finished.

    Raises:
        StorageError: the file is damaged.
    """
    data = output.read(DEAD_LETTERS)
    if data is None:
        return []
    try:
        table = from_parquet(data)
        if table.schema != _DEAD_LETTER_SCHEMA:
            raise ValueError("it has other columns")
        return table.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(output, DEAD_LETTERS, error, cure=_CURE) from error


def read_manifest(output: Folder, name: str = MANIFEST) -> dict[str, Any] | None:
    """Return the content of `manifest.json`, or `None` when the dataset is not finished.

    Raises:
        StorageError: the file is damaged.
    """
    data = read_limited(output, name, cure=_CURE)
    return None if data is None else parsed_manifest(data, output, name)


def parsed_manifest(data: bytes, output: Folder, name: str) -> dict[str, Any]:
    """Return the content of a manifest.

    Raises:
        StorageError: the file is damaged.
    """
    try:
        refuse_large(data)
        manifest: dict[str, Any] = parse_json(data)
        _Document.model_validate_json(data)
    except ValueError as error:
        raise damaged(output, name, error, cure=_CURE) from error
    return manifest


def named_shards(output: Folder, name: str = MANIFEST) -> list[str]:
    """Return the names of the shards of a manifest; none where it is absent or damaged.

    Raises:
        StorageError: it cannot be read: its shards are unknown, and must not be deleted.
    """
    try:
        manifest = read_manifest(output, name)
    except DamagedFile:
        return []
    return [shard["name"] for shard in manifest["shards"]] if manifest else []


class _Part(BaseModel):
    """A part of a manifest of any version: the types that all readers rely on."""

    model_config = ConfigDict(strict=True)


class _File(_Part):
    bytes: Count
    sha256: str


class _Shard(_Part):
    name: str = Field(pattern=r"^[0-9]{6,}-[0-9a-f]{16}$")
    number: Count
    samples: Count
    samples_digest: str
    annotations_kept: Count
    annotations_dropped: Count
    dead_letters: Count
    tar: _File
    parquet: _File
    stats: _File | None = None


class _Stage(_Part):
    name: str


class _Sides(_Part):
    kept: Count
    dropped: Count


class _Totals(_Part):
    inputs: Count
    samples: Count
    dead_letters: Count
    annotations_kept: Count
    annotations_dropped: Count
    tasks: dict[str, _Sides]
    specialists: dict[str, _Sides]


class _Document(_Part):
    format: int
    recipe: str
    source: list[str]
    images: ImageKind
    remarks: list[str] = []
    totals: _Totals
    stages: dict[str, _Stage]
    order: list[str] = []
    shards: list[_Shard]
    files: dict[str, _File]
    digest: str = ""
