"""Which shards of an output are finished and whole, of all versions, from one listing.

The listing shows files that were deleted, truncated or replaced. Shards whose files are listed as
the state of the dataset has them are known; the others are looked at, side by side.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import DamagedFile, StorageError
from florilegium.engine.planning.fingerprint import FORMAT_VERSION
from florilegium.engine.results.manifest import MANIFEST, digest_of_document, parsed_manifest
from florilegium.engine.results.publication import (
    SHARDS,
    STATS,
    FileStats,
    ShardStats,
    finished_names,
    is_whole,
    read_stats,
)
from florilegium.engine.results.shard_table import (
    FILES,
    NO_SHARDS,
    TIMES,
    ShardTable,
    TableOfShards,
)
from florilegium.engine.results.state import State, Version, read_state
from florilegium.engine.storage.documents import read_enough
from florilegium.engine.storage.folder import Entry, Folder, entries_of, is_left_over
from florilegium.engine.storage.side_by_side import side_by_side
from florilegium.engine.storage.spool import regrouped
from florilegium.engine.untrusted.names import is_shard_name

_CUT = 3_000
"""Shards whose files are listed one page after the other: nine pages."""
_TOGETHER = 65_536
"""Files that are compared together."""
_ENDS = f"({'|'.join(map(re.escape, FILES.values()))})$"
_ABSENT = -1


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The folder of shards, compared with a table of shards.

    `sizes` in bytes (-1: no file) and `times` in seconds since 1970 have a row for each shard and a
    column for each file; `others` are files of other shards, or of none.
    """

    shards: ShardTable
    sizes: np.ndarray
    times: np.ndarray
    others: Mapping[str, Entry]

    @property
    def is_there(self) -> np.ndarray:
        """Whether all files of each shard are there, in their size."""
        wanted = [self.shards.table.column(f"{file}_bytes").to_numpy() for file in FILES]
        same: np.ndarray = (self.sizes == np.stack(wanted, axis=1)).all(axis=1)
        return same

    @property
    def is_same(self) -> np.ndarray:
        """Whether all files of each shard are listed as the table has them; never where the storage
        states no times, as other files of the same size would look alike."""
        known = [self.shards.table.column(time).to_numpy() for time in TIMES]
        is_as_known = (self.times == np.stack(known, axis=1)) & (self.times > 0)
        same: np.ndarray = self.is_there & is_as_known.all(axis=1)
        return same

    def entries(self, place: int) -> dict[str, Entry]:
        """Return the files of one shard by name."""
        stem = self.shards.table.column("name")[place].as_py()
        return {
            f"{stem}{end}": Entry(kind="file", size=int(size), modified=float(time))
            for end, size, time in zip(
                FILES.values(), self.sizes[place], self.times[place], strict=True
            )
            if size != _ABSENT
        }

    def with_times(self) -> ShardTable:
        """Return the shards that are there, with the times of their files; without, where a file is
        newer than the statistics, which are written last: the next run has to read it."""
        marker = list(FILES).index("stats")
        is_late = (self.times > self.times[:, [marker]]).any(axis=1)
        columns = {
            time: pa.array(self.times[:, place], mask=is_late) for place, time in enumerate(TIMES)
        }
        return self.shards.with_columns(columns).take(np.flatnonzero(self.is_there))


def list_shards(output: Folder, shards: ShardTable) -> Listed:
    """List the folder of shards, and compare it with a table of shards."""
    names = shards.table.column("name").combine_chunks()
    sizes = np.full((len(names), len(FILES)), _ABSENT, np.int64)
    times = np.zeros((len(names), len(FILES)))
    others: dict[str, Entry] = {}
    for table in regrouped(output.listing(SHARDS, cuts=cuts_of(names.to_pylist())), _TOGETHER):
        is_other = np.ones(len(table), np.bool_)
        stems = pc.replace_substring_regex(table["name"], _ENDS, "")
        places = pc.index_in(stems, names).fill_null(_ABSENT).to_numpy()
        is_ours = (places != _ABSENT) & pc.equal(table["kind"], "file").to_numpy()
        for kind, end in enumerate(FILES.values()):
            rows = np.flatnonzero(is_ours & pc.ends_with(table["name"], end).to_numpy())
            sizes[places[rows], kind] = table["size"].to_numpy()[rows]
            times[places[rows], kind] = table["modified"].to_numpy()[rows]
            is_other[rows] = False
        others |= entries_of(table.filter(pa.array(is_other)))
    return Listed(shards=shards, sizes=sizes, times=times, others=others)


def refuse_vanished(output: Folder, shards: ShardTable, beside: ShardTable = NO_SHARDS) -> Listed:
    """Refuse to name shards in a manifest that no longer exist; return the listing of all.

    Raises:
        StorageError: files of finished shards were deleted while the build ran.
    """
    listed = list_shards(output, ShardTable.joined([shards, beside]) if beside else shards)
    if len(gone := np.flatnonzero(~listed.is_there[: len(shards)])):
        there = {name for place in gone for name in listed.entries(int(place))}
        stems = (shards.table.column("name")[int(place)].as_py() for place in gone)
        files = [f"{name}{end}" for name in stems for end in FILES.values()]
        lost = [name for name in files if name not in there] or files
        raise StorageError(
            f"{counted(len(lost), 'file')} of finished shards vanished while the build ran, such "
            f"as {output.path(f'{SHARDS}/{lost[0]}')}: run the same command again, it makes them "
            f"again"
        )
    return listed


def cuts_of(names: Iterable[str]) -> list[str]:
    """Return where a listing of these shards may be cut, to be listed side by side."""
    return [f"{name}{STATS}" for name in sorted(names)[_CUT - 1 :: _CUT]]


@dataclass(frozen=True, kw_only=True)
class InPlace:
    """What an output has of its last run: its state, the version that is in place and the names of
    its shards, and whether the state has that version."""

    state: State
    version: Version
    current: frozenset[str]
    is_of_state: bool


class FinishedShards:
    """The finished shards of all versions in an output; `before` is what is in place, where it was
    read already.

    With `is_read`, all files of every shard are read, and the state is not. `numbers` are those of
    the shards that are looked at where the state does not know them; `None` is all.
    """

    def __init__(
        self,
        output: Folder,
        before: InPlace | None = None,
        *,
        is_read: bool = False,
        numbers: Collection[int] | None = None,
    ) -> None:
        before = before or in_place(output)
        state = before.state
        listed = list_shards(output, state.shards)
        is_known = np.zeros(len(state.shards), bool) if is_read else listed.is_same
        unknown = dict(listed.others)
        for place in np.flatnonzero(~is_known):
            unknown |= listed.entries(int(place))
        looked = _looked_at(output, unknown, numbers, is_read=is_read)
        known = state.shards.take(np.flatnonzero(is_known))
        self.shards = ShardTable.joined([known, looked]) if looked else known
        self.version, self.current = before.version, before.current
        self.earlier = state.earlier
        self.is_as_left = (
            before.is_of_state and bool(is_known.all()) and not any(map(may_be_stale, unknown))
        )
        """Whether all is as the state has it: each file of a shard, and the manifest."""


def _looked_at(
    output: Folder,
    entries: Mapping[str, Entry],
    numbers: Collection[int] | None,
    *,
    is_read: bool,
) -> ShardTable:
    """Return the whole shards among these files."""
    by_number = finished_names(sorted(entries)).items()
    wanted = (names for number, names in by_number if numbers is None or number in numbers)
    names = list(chain.from_iterable(wanted))
    found = TableOfShards()
    look = partial(_look, output, entries, is_read)
    for stats in side_by_side(look, names) if names else ():
        if stats:
            found.add(stats)
    return found.whole()


def _look(
    output: Folder, entries: Mapping[str, Entry], is_read: bool, name: str
) -> ShardStats | None:
    stats = read_stats(output, name)
    return stats if stats and is_whole(output, stats, entries, is_read=is_read) else None


def may_be_stale(file: str) -> bool:
    """Whether a file of the folder of shards is one that runs write, and delete when no version
    names it."""
    return is_left_over(file) or is_shard_name(shard_of(file))


def shard_of(file: str) -> str:
    """Return the name of the shard that a file belongs to, if it is one of a shard."""
    return file.partition(".")[0].removesuffix("_stats")


def in_place(output: Folder) -> InPlace:
    """Return what an output has of its last run. The manifest is parsed if the state is not of that
    version; a damaged one is none.

    Raises:
        StorageError: it cannot be read: its shards are unknown, and must not be deleted.
    """
    state = read_state(output)
    found = FileStats.of_snapshot(output, MANIFEST) if state.version.manifest else None
    if found and found.sha256 == state.version.manifest:
        return InPlace(state=state, version=state.version, current=state.current, is_of_state=True)
    data = read_enough(output, MANIFEST)
    version, current = _of_manifest(data, output, sha256(data).hexdigest() if data else "")
    return InPlace(state=state, version=version, current=current, is_of_state=False)


def _of_manifest(data: bytes | None, output: Folder, digest: str) -> tuple[Version, frozenset[str]]:
    """Return the version of a manifest and the names of its shards."""
    try:
        document = parsed_manifest(data, output, MANIFEST) if data is not None else None
    except DamagedFile:
        document = None
    if document is None:
        return Version(), frozenset()
    is_ours = document["format"] == FORMAT_VERSION
    version = Version(
        manifest=digest,
        digest=digest_of_document({**document, "files": {}}) if is_ours else "",
        files={name: FileStats(**one) for name, one in document["files"].items()},
    )
    return version, frozenset(shard["name"] for shard in document["shards"])


def stats_named(output: Folder, names: Sequence[str]) -> Iterable[ShardStats | None]:
    """Yield the statistics of finished shards, read side by side."""
    return side_by_side(partial(read_stats, output), names)
