"""Auditors: they mark annotations right or wrong, from a file, from the corrections of people or
from the known ground truth.

With known truth, the same few samples are audited again in every round. A file is written once,
about the annotations of the specialists; its findings are carried over to those of the students.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from heapq import nsmallest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.source_opening import urls_of
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.corrections.in_force import by_image, in_force
from florilegium.pipelines.corrections.store import CORRECTIONS, file_names, read_corrections
from florilegium.pipelines.dataset.lineage import TRUTH
from florilegium.pipelines.merge.calibration import read_file
from florilegium.pipelines.merge.learning.audit import Audit, read_audit
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.shape_world.score.audit import audit_from_truth
from florilegium.pipelines.shape_world.score.measure import Truth, truth_of


@dataclass(frozen=True, kw_only=True)
class Audited:
    """Samples with the annotations of the voters, and an audit of these.

    `earlier` has the same samples with the annotations that the audit is about, if it was written
    about others.
    """

    samples: tuple[DatasetSample, ...]
    audit: Audit
    earlier: tuple[DatasetSample, ...] = ()


def first_by_digest(samples: Iterable[DatasetSample], count: int) -> tuple[DatasetSample, ...]:
    """Return the samples with the smallest digests: a random choice that stays the same."""
    return tuple(nsmallest(count, samples, key=lambda sample: sample.sha256))


class Auditor(ABC):
    """Marks some annotations right or wrong."""

    @property
    @abstractmethod
    def keys(self) -> Collection[str]:
        """Keys of the samples audited so far."""

    @abstractmethod
    def review(self, candidates: Iterable[DatasetSample]) -> Audited:
        """Audit the annotations of the voters."""


class TruthAuditor(Auditor):
    """Audits the samples with the smallest digests against their ground truth."""

    def __init__(self, truth: Truth, count: int) -> None:
        self.truth = truth
        self._count = count
        self._keys: frozenset[str] = frozenset()

    @property
    def keys(self) -> Collection[str]:
        return self._keys

    def review(self, candidates: Iterable[DatasetSample]) -> Audited:
        samples = first_by_digest(candidates, self._count)
        self._keys = frozenset(sample.key for sample in samples)
        return Audited(samples=samples, audit=audit_from_truth(samples, self.truth))


class FileAuditor(Auditor):
    """Applies an audit file, and remembers the annotations that it is about."""

    def __init__(self, path: str) -> None:
        self._audit = read_audit(path)
        self._found: dict[str, dict[str, Annotation]] = {}

    @property
    def keys(self) -> Collection[str]:
        return self._found.keys()

    @property
    def audit(self) -> Audit:
        """The findings of the file about annotations that were reviewed."""
        known = {name for found in self._found.values() for name in found}
        right = {name: is_right for name, is_right in self._audit.right.items() if name in known}
        return replace(self._audit, right=right)

    def found(self, key: str) -> list[Annotation]:
        """Return the audited annotations of a sample."""
        return list(self._found.get(key, {}).values())

    def review(self, candidates: Iterable[DatasetSample]) -> Audited:
        samples = []
        for sample in candidates:
            for one in self._audit.of(sample.annotations):
                self._found.setdefault(sample.key, {})[one.id] = one
            if sample.key in self._found:
                samples.append(sample)
        earlier = tuple(replace(one, annotations=tuple(self.found(one.key))) for one in samples)
        return Audited(samples=tuple(samples), audit=self.audit, earlier=earlier)

    def check(self, taken_down: Collection[str] = ()) -> None:
        """Refuse a file about annotations that were never reviewed, unless they are of samples with
        the keys `taken_down`.

        Raises:
            ConfigError: it names a few of them.
        """
        known = {name for found in self._found.values() for name in found}
        self._audit.check(known, taken_down)


class CorrectionsAuditor(FileAuditor):
    """Takes what people corrected for an audit: what they confirmed, changed to or added is right,
    what they changed or rejected is wrong, but for a box that was only moved a little. Of the
    annotations of voters, those like it are judged so, too.
    """

    def __init__(self, url: str) -> None:
        self._corrections = by_image(read_corrections(Folder(url)))
        if not self._corrections:
            raise ConfigError(
                f"{url} has no corrections: `florilegium import` writes them; or merge without "
                f"`audit`"
            )
        self._audit = Audit(right={}, path=url)
        self._found = {}

    def review(self, candidates: Iterable[DatasetSample]) -> Audited:
        samples = []
        right: dict[str, bool] = dict(self._audit.right)
        for sample in candidates:
            if sample.sha256 not in self._corrections:
                continue
            force = in_force(self._corrections[sample.sha256])
            right |= {one.id: False for one in force.wrong}
            right |= {one.id: True for one in force.right}
            self._found[sample.key] = {one.id: one for one in (*force.wrong, *force.right)}
            samples.append(sample)
        self._audit = Audit(right=right, path=self._audit.path)
        earlier = tuple(replace(one, annotations=tuple(self.found(one.key))) for one in samples)
        return Audited(samples=tuple(samples), audit=self._audit, earlier=earlier)


def is_of_corrections(audit: str) -> bool:
    """Return whether an audit is the folder of a run's corrections."""
    return audit.rstrip("/").rpartition("/")[2] == CORRECTIONS


def is_missing(audit: str) -> bool:
    """Return whether an audit is a file that does not exist yet."""
    if is_of_corrections(audit):
        return not file_names(Folder(audit))
    return audit not in ("", TRUTH) and read_file(audit) is None


def auditor_of(config: RefineConfig) -> Auditor | None:
    """Return the auditor that a config names; `None` if merges go by votes alone.

    Raises:
        ConfigError: the file cannot be read, or the source has no known truth.
    """
    options = config.refine
    if options.audit == TRUTH:
        truth = truth_of(urls_of(config.source))
        return TruthAuditor(truth, options.audit_samples)
    if is_of_corrections(options.audit):
        return CorrectionsAuditor(options.audit)
    return FileAuditor(options.audit) if options.audit else None
