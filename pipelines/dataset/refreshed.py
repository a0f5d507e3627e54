"""The record of a refresh, `refresh.json`: what one version changed of the version before.

It lies beside the manifest, which does not name it: the same source and config give the same
manifest, however often the dataset was refreshed on the way, but other records. It has a digest of
its own content, as the manifest has, and no times and no paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from pydantic import TypeAdapter

from florilegium.engine.results.manifest import digest_of_document, sealed
from florilegium.engine.results.publication import to_json
from florilegium.engine.storage.documents import damaged, read_json
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.files import SPENT

_T = TypeVar("_T")

Histogram = Mapping[str, int]
"""Values by the number of their bin; empty bins are left out."""
_CURE = "delete it, and the next refresh compares without it"


@dataclass(frozen=True, kw_only=True)
class ImageCounts:
    """Images of two versions. `before` - `dropped` + `added` = `after`.

    `changed` have other bytes under the same key, `renamed` the same bytes under another one;
    `lost` are dropped ones that are dead letters now, `taken_down` those of them that a takedown
    list names.
    """

    before: int
    after: int
    added: int = 0
    changed: int = 0
    dropped: int = 0
    renamed: int = 0
    lost: int = 0
    taken_down: int = 0


@dataclass(frozen=True, kw_only=True)
class TaskCounts:
    """Kept annotations of one task in two versions. `before` - `dropped` + `added` = `after`."""

    before: int
    after: int
    added: int = 0
    changed: int = 0
    dropped: int = 0


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far one distribution moved, 0..1; `None` where a side has no values.

    `version` compares the values `before` with those `after`, `of_new` with the `new` ones, which
    are those of samples that are not as they were.
    """

    before: int
    after: int
    new: int
    version: float | None
    of_new: float | None


@dataclass(frozen=True, kw_only=True)
class VersionCost:
    """What a version cost, by stage: images asked about, requests to services, tokens, money."""

    asked: Mapping[str, int] = field(default_factory=dict)
    requests: Mapping[str, int] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    money: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: VersionCost) -> VersionCost:
        return VersionCost(
            **{name: _sum(mine, asdict(other)[name]) for name, mine in asdict(self).items()}
        )

    @property
    def total_money(self) -> float:
        """The sum over all stages, in the currency of the prices."""
        return round(sum(self.money.values()), 9)


@dataclass(frozen=True, kw_only=True)
class SpentSince:
    """What refreshes have spent so far for the version after `since`, `version_of` a manifest or
    empty."""

    since: str
    spent: VersionCost

    def to_json(self) -> bytes:
        """Return the content of the file."""
        return sealed(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Exceeded:
    """A limit that a version exceeds; `subject` is the task or the distribution, if it has one."""

    limit: str
    subject: str = ""
    value: float
    allowed: float

    @property
    def line(self) -> str:
        """The limit with its value, as text."""
        of = f" of {self.subject}" if self.subject else ""
        return f"{self.limit}{of}: {self.value:g}, the limit is {self.allowed:g}"


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """What a refresh changed. `version` and `before` are `version_of` of the two manifests; without
    a version before, the latter is empty."""

    outcome: str
    version: str = ""
    before: str = ""
    images: ImageCounts
    annotations: Mapping[str, TaskCounts] = field(default_factory=dict)
    """By task."""
    drift: Mapping[str, Drift] = field(default_factory=dict)
    """By `scores/SPECIALIST`, `box_sizes/TASK`, `caption_words/TASK` and `labels/TASK`."""
    dead_letters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """`before` and `after`: dead letters by reason."""
    spent: VersionCost = VersionCost()
    exceeded: tuple[Exceeded, ...] = ()
    is_accepted: bool = False
    """Whether it was published although it exceeds limits."""
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The first keys of images that were `added`, `changed`, `dropped`; `OLD -> NEW` of those that
    were `renamed`."""
    error: str = ""
    """What ended a refresh that failed."""
    shards_read: int = 0
    """Shards of both versions that were read to compare them: those in which they differ."""
    distributions: Mapping[str, Histogram] = field(default_factory=dict)
    """The histograms of the new version, from which the next drift is computed."""

    def to_json(self) -> bytes:
        """Return the content of the file."""
        return sealed(asdict(self))

    def summary(self, output: str) -> dict[str, Any]:
        """Return what a hook gets: all but the histograms, and the URL of the output."""
        document = asdict(replace(self, distributions={}))
        del document["distributions"]
        return {"output": output, **document}


_RECORD: TypeAdapter[Refreshed] = TypeAdapter(Refreshed)
_SPENT: TypeAdapter[SpentSince] = TypeAdapter(SpentSince)


def version_of(manifest: Mapping[str, Any]) -> str:
    """Return the digest of a manifest without the files beside the shards, which are drawn only
    when a version is published."""
    return digest_of_document({**manifest, "files": {}})


def read_refreshed(output: Folder, name: str) -> Refreshed | None:
    """Return the record of a refresh; `None` when there is none.

    Raises:
        StorageError: the file is damaged, or was changed after it was written.
    """
    return _read(output, name, _RECORD, cure=_CURE)


def read_spent(output: Folder) -> SpentSince | None:
    """Return what refreshes have spent since a version was published; `None` when nothing was.

    Raises:
        StorageError: the file is damaged, or was changed after it was written.
    """
    cure = "delete it, and what was spent so far is not counted"
    return _read(output, SPENT, _SPENT, cure=cure)


def _read(output: Folder, name: str, kind: TypeAdapter[_T], *, cure: str) -> _T | None:
    document = read_json(output, name, cure=cure)
    if document is None:
        return None
    try:
        if document.pop("digest", "") != digest_of_document(document):
            raise ValueError("it was changed after it was written: its digest differs")
        return kind.validate_json(to_json(document), strict=True)
    except (AttributeError, ValueError) as error:
        raise damaged(output, name, error, cure=cure) from error


def _sum(mine: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {name: mine.get(name, 0) + other.get(name, 0) for name in sorted({*mine, *other})}
