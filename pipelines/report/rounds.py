"""The rounds of a refined run on the page: how good each was, and what came of the labels.

Where the datasets of the rounds are no longer there, only their entries are shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import UsageError
from engine.storage import Folder
from pipelines.refine.diff import Diff, diff_rounds
from pipelines.refine.lineage import AGREEMENT, AUDIT, TRUTH, Round, Student, read_lineage
from pipelines.report.before_after import Comparison, compare_samples
from pipelines.report.progress import Progress, draw_progress

COMPARED_SHARDS = 32
"""Shards of the rounds that are compared, spread evenly; the time does not grow further."""
_DIGITS = 8  # of a digest
_MEASURES = {
    TRUTH: "the known truth",
    AUDIT: "an audit",
    AGREEMENT: "the agreement of the voters",
}


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """What the page shows of a run's rounds; `promoted` is the one whose labels are in place."""

    entries: tuple[Round, ...]
    promoted: Round
    kinds: tuple[str, ...]
    progress: Progress
    diff: Diff | None
    comparisons: tuple[Comparison, ...]

    @property
    def first(self) -> Round:
        """The round before there was any student."""
        return self.entries[0]

    @property
    def measure(self) -> str:
        """What the quality of the promoted round was measured by."""
        return _MEASURES.get(self.promoted.measured_by, self.promoted.measured_by)

    def students(self, one: Round) -> list[tuple[str, str]]:
        """Return the digest of each student, shortened, and what is known of it."""
        return [(student.digest[:_DIGITS], _tip(student)) for student in one.students]


def read_rounds(output: Folder) -> Rounds | None:
    """Read what there is to show; `None` of a dataset that was never refined.

    Raises:
        StorageError: a shard cannot be read.
    """
    entries = read_lineage(output)
    promoted = [one for one in entries if one.is_promoted]
    if not promoted:
        return None
    diff = _diff(output, entries[0], promoted[-1])
    return Rounds(
        entries=tuple(entries),
        promoted=promoted[-1],
        kinds=tuple(sorted({kind for one in entries for kind in one.quality})),
        progress=draw_progress(entries, promoted[-1]),
        diff=diff,
        comparisons=tuple(compare_samples(output, diff)) if diff else (),
    )


def _diff(output: Folder, first: Round, promoted: Round) -> Diff | None:
    if first.number == promoted.number:
        return None
    try:
        return diff_rounds(output, first.number, promoted.number, most_shards=COMPARED_SHARDS)
    except UsageError:
        return None  # the dataset of a round was deleted, or is being built again


def _tip(student: Student) -> str:
    losses = [f"{task}: loss {loss:.3f}" for task, loss in sorted(student.losses.items())]
    return "\n".join((f"fold {student.fold}, {student.steps} steps", student.digest, *losses))
