"""The rounds of a refined run on the page: how good each was, and what came of the labels.

Where the datasets of the rounds are no longer there, only their entries are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.core.counted import counted
from engine.core.errors import UsageError
from engine.storage.folder import Folder
from pipelines.dataset.lineage import AGREEMENT, AUDIT, TRUTH, Round, Student, read_lineage
from pipelines.diff.difference import Diff, diff_rounds
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
class Worth:
    """What an audit says of one voter's statements, or of the merged ones, for one task.

    `share` of the `audited` are right, `low` to `high` is its interval, `None` where nothing was
    audited; `ece` is the expected calibration error of merged confidences.
    """

    merge: str
    task: str
    who: str
    audited: int
    share: float | None
    low: float | None
    high: float | None
    ece: float | None = None


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """What the page shows of a run's rounds; `promoted` is the one whose labels are in place."""

    entries: tuple[Round, ...]
    promoted: Round
    kinds: tuple[str, ...]
    progress: Progress
    worths: tuple[Worth, ...]
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
    worths = tuple(_worths(promoted[-1]))
    return Rounds(
        entries=tuple(entries),
        promoted=promoted[-1],
        kinds=tuple(sorted({kind for one in entries for kind in one.quality})),
        progress=draw_progress(entries, promoted[-1]),
        worths=worths if any(one.audited for one in worths) else (),
        diff=diff,
        comparisons=tuple(compare_samples(output, diff)) if diff else (),
    )


def _worths(one: Round) -> Iterator[Worth]:
    """Yield what an audit found of each merge and task: the merged statements, then its voters."""
    for merge, learned in one.merges.items():
        for task, said in learned["tasks"].items():
            voters = {name: voter["precision"] for name, voter in said["voters"].items()}
            for who, found in {"merged": said["precision"], **voters}.items():
                yield Worth(
                    merge=merge,
                    task=task,
                    who=who,
                    audited=found["audited"],
                    share=found["share"],
                    low=found["low"],
                    high=found["high"],
                    ece=said["ece"] if who == "merged" else None,
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
    return "\n".join(
        (f"fold {student.fold}, {counted(student.steps, 'step')}", student.digest, *losses)
    )
