"""The progress of a dataset, from the files in its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.index import INDEX_NAME, read_index
from florilegium.engine.planning.slices import Slice, read_division
from florilegium.engine.results.finished_shards import stats_named
from florilegium.engine.results.manifest import RECIPE, Totals, named_shards, read_manifest
from florilegium.engine.results.publication import SHARDS, ShardStats, finished_names
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.corrections.store import folder_of, read_corrections
from florilegium.pipelines.dataset.files import HELD_BACK
from florilegium.pipelines.dataset.lineage import CANDIDATES, round_folder, round_numbers
from florilegium.pipelines.dataset.refreshed import Refreshed, read_refreshed


@dataclass(frozen=True, kw_only=True)
class SliceStatus:
    """How many shards one of the slices of a build has, and how many are done."""

    slice: str
    shards: int
    shards_done: int


@dataclass(frozen=True, kw_only=True)
class Status:
    """Counts over the shards that are up to date.

    `is_finished` when the manifest is in place and no build is under way or was interrupted. While
    one is, shards of an earlier recipe do not count: the build makes them again. Where a refresh
    held a version back, the counts are those of the current one, which is finished.
    """

    is_finished: bool
    shards: int
    shards_done: int
    samples: int
    dead_letters: int
    annotations_kept: int
    annotations_dropped: int
    sample_drops: Mapping[str, int] = field(default_factory=dict)
    """Samples that a sample filter dropped, by `filter/reason`; they are among the dead letters."""
    slices: tuple[SliceStatus, ...] = ()
    """Of a build in slices, while it is under way."""
    held_back: tuple[str, ...] = ()
    """The limits that a version exceeds which waits to be published."""
    corrections: int = 0
    """Corrections of people, whether a build has applied them or not."""

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values; without sample filters or corrections, nothing of
        them."""
        document = asdict(self)
        if not self.corrections:
            del document["corrections"]
        if not self.sample_drops:
            del document["sample_drops"]
        return document


def read_status(output: Folder) -> Status:
    """Return the progress of a dataset.

    Raises:
        ConfigError: no dataset was started in the folder.
        StorageError: its index, its manifest, or the record of a version that was held back, is
            damaged.
    """
    index = read_index(output)
    if index is None:
        raise ConfigError(f"{output.url} holds no dataset: {_missing(output)}")
    numbers = sorted(index.shards())
    manifest, recipe = read_manifest(output), output.read(RECIPE)
    held: Refreshed | None = None
    if manifest is not None and recipe is None:
        numbers = [shard["number"] for shard in manifest["shards"]]
        done = current_shards(output)
        held = read_refreshed(output, HELD_BACK)
    else:
        done = _made_by(output, recipe, numbers)
    totals = Totals.of(done)
    return Status(
        is_finished=manifest is not None and recipe is None,
        shards=len(numbers),
        shards_done=len(done),
        samples=totals.samples,
        dead_letters=totals.dead_letters,
        annotations_kept=totals.annotations_kept,
        annotations_dropped=totals.annotations_dropped,
        sample_drops=totals.sample_drops,
        slices=_slices(output, numbers, {stats.number for stats in done}),
        held_back=tuple(one.line for one in held.exceeded) if held else (),
        corrections=len(read_corrections(folder_of(output))),
    )


def _slices(output: Folder, numbers: Sequence[int], done: set[int]) -> tuple[SliceStatus, ...]:
    """Return how far each slice is, or nothing when no slices are under way."""
    division = read_division(output)
    if division is None:
        return ()
    of = division.slices
    own = Counter(Slice.with_shard(number, of=of) for number in numbers)
    own_done = Counter(Slice.with_shard(number, of=of) for number in done)
    parts = (Slice(number=number, of=of) for number in range(1, of + 1))
    return tuple(
        SliceStatus(slice=str(part), shards=own[part], shards_done=own_done[part]) for part in parts
    )


def current_shards(output: Folder) -> list[ShardStats]:
    """Return the statistics of the manifest's shards, if they exist."""
    found = stats_named(output, named_shards(output))
    return [stats for stats in found if stats is not None]


def _made_by(output: Folder, recipe: bytes | None, numbers: Sequence[int]) -> list[ShardStats]:
    """Return one finished shard of each number; during a build, only shards of its recipe."""
    found = finished_names(output.names(SHARDS))
    names = [name for number in numbers for name in found.get(number, ())]
    made = {
        stats.number: stats
        for stats in stats_named(output, names)
        if stats is not None and recipe in (None, stats.recipe.encode())
    }
    return list(made.values())


def _missing(output: Folder) -> str:
    """Return what is missing, and for an unfinished refinement where its rounds are."""
    rounds = round_numbers(output)
    if not rounds:
        return f"{INDEX_NAME} is missing"
    last = round_folder(output, rounds[-1])
    where = last.url if last.exists(INDEX_NAME) else f"{last.url}/{CANDIDATES}/0"
    return f"its refinement is not finished, ask about {where}, or run `florilegium refine` again"
