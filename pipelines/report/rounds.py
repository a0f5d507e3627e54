"""The rounds of a refined run on the page: their quality, and how labels changed.

If the datasets of the rounds were deleted, only their entries are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.lineage import (
    AGREEMENT,
    AUDIT,
    TRUTH,
    Round,
    Student,
    read_lineage,
)
from florilegium.pipelines.diff.difference import Diff, diff_rounds
from florilegium.pipelines.report.before_after import Comparison, compare_samples
from florilegium.pipelines.report.quality import QualityFigure, draw_quality

COMPARED_SHARDS = 32
"""Maximum number of shards that are compared, spread evenly; it bounds the time."""
_DIGITS = 8  # of a digest
_MEASURES = {
    TRUTH: "the known truth",
    AUDIT: "an audit",
    AGREEMENT: "the agreement of the voters",
}


@dataclass(frozen=True, kw_only=True)
class AuditedPrecision:
    """The audited precision of one voter, or of the merged annotations, for one task.

    `share` of the `audited` annotations are right, `low` to `high` is its 95% interval; all are
    `None` if nothing was audited. `ece` is the expected calibration error of merged confidences.
    """

    merge: str
    task: str
    voter: str
    audited: int
    share: float | None
    low: float | None
    high: float | None
    ece: float | None = None


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """The rounds on the page; the labels of `promoted` are those of the dataset."""

    entries: tuple[Round, ...]
    promoted: Round
    kinds: tuple[str, ...]
    figure: QualityFigure
    precisions: tuple[AuditedPrecision, ...]
    diff: Diff | None
    comparisons: tuple[Comparison, ...]

    @property
    def first(self) -> Round:
        """Round 0, before any student."""
        return self.entries[0]

    @property
    def measure(self) -> str:
        """How the quality of the promoted round was measured."""
        return _MEASURES.get(self.promoted.measured_by, self.promoted.measured_by)

    def students(self, one: Round) -> list[tuple[str, str]]:
        """Return the shortened digest of each student, and a tip about it."""
        return [(student.digest[:_DIGITS], _tip(student)) for student in one.students]


def read_rounds(output: Folder) -> Rounds | None:
    """Read the rounds of a dataset; `None` if it was never refined.

    Raises:
        StorageError: a shard cannot be read.
    """
    entries = read_lineage(output)
    promoted = [one for one in entries if one.is_promoted]
    if not promoted:
        return None
    diff = _diff(output, entries[0], promoted[-1])
    precisions = tuple(_precisions(promoted[-1]))
    return Rounds(
        entries=tuple(entries),
        promoted=promoted[-1],
        kinds=tuple(sorted({kind for one in entries for kind in one.quality})),
        figure=draw_quality(entries, promoted[-1]),
        precisions=precisions if any(one.audited for one in precisions) else (),
        diff=diff,
        comparisons=tuple(compare_samples(output, diff)) if diff else (),
    )


def _precisions(one: Round) -> Iterator[AuditedPrecision]:
    """Yield the audited precision for each merge and task: of merged annotations, then of
    voters."""
    for merge, learned in one.merges.items():
        for task, audit in learned["tasks"].items():
            voters = {name: voter["precision"] for name, voter in audit["voters"].items()}
            for voter, found in {"merged": audit["precision"], **voters}.items():
                yield AuditedPrecision(
                    merge=merge,
                    task=task,
                    voter=voter,
                    audited=found["audited"],
                    share=found["share"],
                    low=found["low"],
                    high=found["high"],
                    ece=audit["ece"] if voter == "merged" else None,
                )


def _diff(output: Folder, first: Round, promoted: Round) -> Diff | None:
    if first.number == promoted.number:
        return None
    try:
        return diff_rounds(output, first.number, promoted.number, max_shards=COMPARED_SHARDS)
    except UsageError:
        return None  # the dataset of a round was deleted, or is being built again


def _tip(student: Student) -> str:
    what = f"fold {student.fold}" + (f", {student.name} fine-tuned" if student.name else "")
    losses = [f"{task}: loss {loss:.3f}" for task, loss in sorted(student.losses.items())]
    return "\n".join((f"{what}, {counted(student.steps, 'step')}", student.digest, *losses))
