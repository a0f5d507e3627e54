"""The takedowns of a dataset: the list in effect, and a receipt for each list and each find.

    takedowns/DIGEST.txt     the list in effect, which workers and `verify` read
              000001.json    a receipt: what matched, and what was deleted
              pending.json   the receipt of a takedown that is not complete

A receipt is written before anything is deleted, and gets its number when all is: a takedown that
was killed goes on from `pending.json`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.results.publication import to_json
from florilegium.engine.sources.takedown import NOTHING, Takedown, name_of, parse_takedown
from florilegium.engine.storage.documents import damaged, read_limited
from florilegium.engine.storage.folder import Folder, is_left_over

TAKEDOWNS = "takedowns"
"""The folder of lists and receipts within a dataset."""
PENDING = f"{TAKEDOWNS}/pending.json"
_LIST = re.compile(r"[0-9a-f]{32}\.txt")
_RECEIPT = re.compile(r"[0-9]{6,}\.json")
_CURE = "restore it: what it has was deleted elsewhere"


@dataclass(frozen=True, kw_only=True)
class Match:
    """An image that a list took down: the entries, and where it was.

    `shard` and `sha256` are those that it had in a version of the dataset, empty where it never was
    a sample.
    """

    entries: tuple[str, ...]
    key: str
    source: str
    shard: str = ""
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model that was trained on a dataset with listed images; `path` is within the refinement.

    It is not deleted. `is_there` until a training without the images replaced it.
    """

    path: str
    sha256: str
    is_there: bool


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What one takedown found and deleted. `version` is the digest of the manifest from which on
    it is gone, empty until all is deleted."""

    number: int
    list_digest: str
    entries: int
    """Entries of the list."""
    matched: tuple[Match, ...]
    """Images that earlier receipts do not name."""
    unmatched: tuple[str, ...]
    """Entries that no image matches, in the source or in what was made of it."""
    withdrawn: tuple[str, ...]
    """Entries of the list before that are no longer listed: their images may be there again."""
    shards: tuple[str, ...]
    """Shards of earlier versions that held an image or its dead letter; they are deleted."""
    versions: tuple[str, ...]
    """Digests of the manifests that named them; they are deleted."""
    layers: tuple[str, ...]
    """Layers that are deleted or written again without the images."""
    reading_receipts: tuple[str, ...]
    """Folders beside the layers that noted which samples inputs gave, by the lists before."""
    samples: tuple[str, ...]
    """Digests of the samples that layers must not have."""
    log_lines: int
    """Lines that were removed from the log of runs."""
    audit_lines: int
    """Lines that were removed from the file of an audit."""
    rounds: tuple[str, ...]
    """Rounds that a refinement no longer has, which are deleted but for their checkpoints."""
    checkpoints: tuple[Checkpoint, ...]
    """Models of a refinement that were trained on listed images."""
    not_reached: tuple[str, ...]
    """Where copies may be that were not deleted."""
    version: str = ""

    def to_json(self) -> bytes:
        """Return the content of the file."""
        return to_json(asdict(self), indent=1)

    def joined(self, earlier: Receipt) -> Receipt:
        """Return this receipt with what an interrupted takedown already found."""
        return Receipt(
            number=earlier.number,
            list_digest=self.list_digest,
            entries=self.entries,
            matched=_joined_matches(earlier.matched, self.matched),
            unmatched=self.unmatched,
            withdrawn=tuple(sorted({*earlier.withdrawn, *self.withdrawn})),
            shards=_union(earlier.shards, self.shards),
            versions=_union(earlier.versions, self.versions),
            layers=_union(earlier.layers, self.layers),
            reading_receipts=_union(earlier.reading_receipts, self.reading_receipts),
            samples=_union(earlier.samples, self.samples),
            log_lines=max(earlier.log_lines, self.log_lines),
            audit_lines=max(earlier.audit_lines, self.audit_lines),
            rounds=_union(earlier.rounds, self.rounds),
            checkpoints=_joined_checkpoints(earlier.checkpoints, self.checkpoints),
            not_reached=self.not_reached,
        )


_ADAPTER: TypeAdapter[Receipt] = TypeAdapter(Receipt)


def _union(*parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({one for part in parts for one in part}))


def _joined_matches(*parts: Iterable[Match]) -> tuple[Match, ...]:
    """Join matches by key and shard; an image that was in a shard is named with that alone."""
    found = {(one.key, one.shard): one for part in parts for one in part}
    were_in_shards = {key for key, shard in found if shard}
    return tuple(
        found[key, shard] for key, shard in sorted(found) if shard or key not in were_in_shards
    )


def _joined_checkpoints(*parts: Iterable[Checkpoint]) -> tuple[Checkpoint, ...]:
    found = {(one.path, one.sha256): one for part in parts for one in part}
    return tuple(found[name] for name in sorted(found))


def list_file(takedown: Takedown) -> str:
    """Return the name of a list within a dataset."""
    return f"{TAKEDOWNS}/{takedown.digest}.txt"


def is_takedown_file(name: str) -> bool:
    """Whether a file of the folder of takedowns may be there, by its name."""
    is_numbered = _LIST.fullmatch(name) or _RECEIPT.fullmatch(name)
    return bool(is_numbered) or f"{TAKEDOWNS}/{name}" == PENDING


def put_in_effect(output: Folder, takedown: Takedown) -> str:
    """Write a list into a dataset, where workers on other machines find it; return its name."""
    name = list_file(takedown)
    if output.read(name) != takedown.to_bytes():
        output.publish(name, takedown.to_bytes())
    return name


def list_in_effect(output: Folder) -> Takedown:
    """Return the list by which a dataset was built last; an empty one where there was none.

    Raises:
        StorageError: the list or a receipt is damaged.
    """
    receipts = read_receipts(output)
    return stored_list(output, receipts[-1].list_digest) if receipts else NOTHING


def refuse_to_bring_back(output: Folder) -> None:
    """Refuse a build without a list over a dataset from which images were taken down.

    Raises:
        ConfigError: they would come back unasked.
    """
    last = read_pending(output) or next(reversed(read_receipts(output)), None)
    if last and last.entries:
        listed = counted(last.entries, "entry", "entries")
        raise ConfigError(
            f"{output.url} is built with a takedown list of {listed}, and this config has none: "
            f"their images would come back. Give the list as `takedown`, or an empty file to let "
            f"them come back"
        )


def stored_list(output: Folder, digest: str) -> Takedown:
    """Return a list that a receipt names.

    Raises:
        StorageError: it is missing or was changed.
    """
    name = f"{TAKEDOWNS}/{digest}.txt"
    try:
        takedown = parse_takedown(read_limited(output, name, cure=_CURE) or b"", name)
    except ConfigError as error:
        raise damaged(output, name, error, cure=_CURE) from error
    if takedown.digest != digest:
        raise damaged(output, name, "its digest differs from its name", cure=_CURE)
    return takedown


def read_receipts(output: Folder) -> list[Receipt]:
    """Return the receipts of complete takedowns, oldest first.

    Raises:
        StorageError: one is damaged.
    """
    found = filter(_RECEIPT.fullmatch, output.names(TAKEDOWNS))
    names = sorted(found, key=lambda name: int(name.removesuffix(".json")))
    return [one for name in names if (one := _read(output, f"{TAKEDOWNS}/{name}"))]


def read_pending(output: Folder) -> Receipt | None:
    """Return the receipt of a takedown that is not complete, if there is one; one that also has a
    number was killed at the very end.

    Raises:
        StorageError: it is damaged.
    """
    receipt = _read(output, PENDING)
    return None if receipt is None or output.exists(_numbered(receipt.number)) else receipt


def _read(output: Folder, name: str) -> Receipt | None:
    data = read_limited(output, name, cure=_CURE)
    if data is None:
        return None
    try:
        return _ADAPTER.validate_json(data, strict=True)
    except ValueError as error:
        raise damaged(output, name, error, cure=_CURE) from error


def complete_receipt(output: Folder, receipt: Receipt) -> None:
    """Give a receipt its number: all that it names is deleted."""
    output.publish(_numbered(receipt.number), receipt.to_json())


def tidy(output: Folder) -> None:
    """Delete lists that are no longer in effect, and the first form of a complete receipt."""
    paths = [f"{TAKEDOWNS}/{name}" for name in output.names(TAKEDOWNS)]
    in_effect = list_file(list_in_effect(output)) if paths else ""
    for path in paths:
        if (_is_list(path) and path != in_effect) or is_left_over(path.rpartition("/")[2]):
            output.remove(path)
    if PENDING in paths:  # last: where it is gone, other lists are those of killed builds
        output.remove(PENDING)


def has_other_lists(output: Folder, takedown: Takedown) -> bool:
    """Whether there are lists but the one that is in effect: those of builds that were killed."""
    paths = (f"{TAKEDOWNS}/{name}" for name in output.names(TAKEDOWNS))
    return any(_is_list(path) and path != list_file(takedown) for path in paths)


def _is_list(path: str) -> bool:
    return bool(_LIST.fullmatch(path.removeprefix(f"{TAKEDOWNS}/")))


def tidy_complete(output: Folder) -> None:
    """Tidy up after a takedown that was complete but for this, before a next list is written."""
    if output.exists(PENDING) and read_pending(output) is None:
        tidy(output)


def _numbered(number: int) -> str:
    return f"{TAKEDOWNS}/{number:06d}.json"


def by_name(entries: Iterable[str]) -> dict[str, str]:
    """Return entries by the short names that dead letters have of them."""
    return {name_of(entry): entry for entry in entries}
