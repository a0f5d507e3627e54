"""The manifest: which shards a dataset consists of, what is in them, and how it was made.

It is the switch between two versions of a dataset: the shards that it names are written before
it, and those that it no longer names are deleted after it. It holds no times and no paths of the
output, so the same source and config give the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from engine.errors import StorageError
from engine.graph import FORMAT_VERSION, Graph
from engine.image_member import ImageKind
from engine.names import is_shard_name
from engine.parquet import from_parquet, to_parquet
from engine.publication import FileStats, ShardStats, to_json
from engine.sample import DeadLetter
from engine.shard import SOURCE_FINGERPRINT
from engine.sources.source import SOURCE
from engine.storage import Folder

MANIFEST = "manifest.json"
DEAD_LETTERS = "dead_letters.parquet"
RECIPE = "recipe"
"""While a build runs, the recipe that it wants; the manifest names it afterwards."""
_DEAD_LETTER_SCHEMA = pa.schema(
    [
        ("shard", pa.string()),
        ("key", pa.string()),
        ("source", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("attempt", pa.int32()),
        ("traceback", pa.string()),
    ]
)

MANIFEST_NAMES = frozenset({"shards", "totals", "stages", "recipe", "files"})
SHARD_NAMES = frozenset(
    {"name", "number", "samples", "samples_digest", "annotations_kept", "annotations_dropped"}
    | {"dead_letters", "tar", "parquet"}
)
"""The fields of a shard in the manifest."""

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
    """Dead letters by reason."""

    @classmethod
    def of(cls, stats: Sequence[ShardStats]) -> Totals:
        """Sum up finished shards."""
        samples = sum(shard.samples for shard in stats)
        failures = Counter(letter.reason for shard in stats for letter in shard.dead_letters)
        return cls(
            inputs=samples + failures.total(),
            samples=samples,
            dead_letters=failures.total(),
            annotations_kept=sum(shard.annotations_kept for shard in stats),
            annotations_dropped=sum(shard.annotations_dropped for shard in stats),
            tasks=_sum_counts(shard.tasks for shard in stats),
            specialists=_sum_counts(shard.specialists for shard in stats),
            drops=_sum(shard.drops for shard in stats),
            extensions=_sum(shard.extensions for shard in stats),
            failures=dict(sorted(failures.items())),
        )


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A finished dataset. `stages` has the whole configuration behind each fingerprint.

    `images` tells how images are written; `remarks` are lines for people: what lay in the sources
    and is not in the dataset.
    """

    recipe: str
    source: tuple[str, ...]
    images: ImageKind
    stages: dict[str, dict[str, Any]]
    shards: tuple[ShardStats, ...]
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        graph: Graph,
        urls: Sequence[str],
        stats: Sequence[ShardStats],
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
            shards=tuple(stats),
            remarks=tuple(remarks),
        )

    @cached_property
    def totals(self) -> Totals:
        """Sums over all shards."""
        return Totals.of(self.shards)

    @cached_property
    def dead_letters(self) -> tuple[tuple[str, DeadLetter], ...]:
        """The name of the shard and the letter, for each input that became no sample."""
        return tuple((shard.name, one) for shard in self.shards for one in shard.dead_letters)

    @cached_property
    def dead_letters_file(self) -> bytes:
        """The content of `dead_letters.parquet`."""
        rows = [{"shard": shard, **asdict(letter)} for shard, letter in self.dead_letters]
        return bytes(to_parquet(pa.Table.from_pylist(rows, schema=_DEAD_LETTER_SCHEMA)))

    def to_json(self) -> bytes:
        """Return the content of `manifest.json`."""
        letters = FileStats.of(memoryview(self.dead_letters_file))
        return to_json(
            {
                "format": FORMAT_VERSION,
                "recipe": self.recipe,
                "source": self.source,
                "images": self.images,
                "remarks": self.remarks,
                "totals": asdict(self.totals),
                "stages": self.stages,
                "shards": [_shard_entry(shard) for shard in self.shards],
                "files": {DEAD_LETTERS: asdict(letters)},
            },
            indent=1,
        )


def read_dead_letters(output: Folder) -> list[dict[str, Any]]:
    """Return the rows of `dead_letters.parquet`; none when the dataset is not finished."""
    data = output.read(DEAD_LETTERS)
    return [] if data is None else from_parquet(data).to_pylist()


def read_manifest(output: Folder, name: str = MANIFEST) -> dict[str, Any] | None:
    """Return the content of `manifest.json`, or `None` when the dataset is not finished.

    Raises:
        StorageError: the file is damaged.
    """
    data = output.read(name)
    if data is None:
        return None
    try:
        manifest = json.loads(data)
    except ValueError as error:
        raise _damaged(output, name, f"it is not JSON: {error}") from error
    if not _is_manifest(manifest):
        raise _damaged(output, name, f"it lacks some of {', '.join(sorted(MANIFEST_NAMES))}")
    return manifest


def named_shards(output: Folder, name: str = MANIFEST) -> list[str]:
    """Return the names of the shards of a manifest; none where it is absent or damaged."""
    try:
        manifest = read_manifest(output, name)
    except StorageError:
        return []
    return [shard["name"] for shard in manifest["shards"]] if manifest else []


def _damaged(output: Folder, name: str, reason: str) -> StorageError:
    return StorageError(
        f"{output.path(name)} is damaged: {reason}; run the same build again, which writes it anew"
    )


def _is_manifest(manifest: Any) -> bool:
    """Whether a JSON value has the shape that readers rely on."""
    if not (isinstance(manifest, dict) and set(manifest) >= MANIFEST_NAMES):
        return False
    shards = manifest["shards"]
    return (
        all(isinstance(manifest[name], dict) for name in ("totals", "stages", "files"))
        and isinstance(shards, list)
        and all(isinstance(shard, dict) and set(shard) >= SHARD_NAMES for shard in shards)
        and all(is_shard_name(shard["name"]) for shard in shards)
        and all(isinstance(shard[kind], dict) for shard in shards for kind in ("tar", "parquet"))
    )


def _shard_entry(shard: ShardStats) -> dict[str, Any]:
    return {
        "name": shard.name,
        "number": shard.number,
        "samples": shard.samples,
        "samples_digest": shard.samples_digest,
        "annotations_kept": shard.annotations_kept,
        "annotations_dropped": shard.annotations_dropped,
        "dead_letters": len(shard.dead_letters),
        "tar": asdict(shard.tar),
        "parquet": asdict(shard.parquet),
    }


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))


def _sum_counts(counts: Iterable[Counts]) -> Counts:
    by_name: dict[str, list[dict[str, int]]] = {}
    for each in counts:
        for name, sides in each.items():
            by_name.setdefault(name, []).append(sides)
    return {name: _sum(sides) for name, sides in sorted(by_name.items())}
