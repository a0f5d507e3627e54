"""The audit that truth would make: for each annotation whether it is right.

In the known world it stands in for people; its rows are those of an audit file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypedDict

from engine.records.dataset_sample import DatasetSample
from pipelines.merge.learning.audit import Audit
from pipelines.shape_world.score.measure import Truth
from pipelines.shape_world.score.rightness import rightness


class AuditRow(TypedDict):
    """One audited annotation: its id, the key of its sample, and the verdict."""

    id: str
    key: str
    right: bool


def audit_from_truth(samples: Iterable[DatasetSample], truth: Truth) -> Audit:
    """Return what an audit of all annotations of samples finds, where truth can judge them."""
    return Audit(right={row["id"]: row["right"] for row in audit_rows(samples, truth)})


def audit_rows(samples: Iterable[DatasetSample], truth: Truth) -> Iterator[AuditRow]:
    """Yield the rows of an audit file: one per annotation that truth can judge, streaming."""
    for sample in samples:
        verdicts = rightness(sample.annotations, truth(sample.key))
        for annotation, verdict in zip(sample.annotations, verdicts, strict=True):
            if verdict is not None:
                yield AuditRow(id=annotation.id, key=sample.key, right=verdict)
