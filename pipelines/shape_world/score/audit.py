"""An audit from ground truth, instead of by people: for each annotation whether it is right.

Its rows are those of an audit file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypedDict

from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.merge.learning.audit import Audit
from florilegium.pipelines.shape_world.score.measure import Truth
from florilegium.pipelines.shape_world.score.rightness import rightness


class AuditRow(TypedDict):
    """One audited annotation: its id, the key of its sample, and whether it is right."""

    id: str
    key: str
    right: bool


def audit_from_truth(samples: Iterable[DatasetSample], truth: Truth) -> Audit:
    """Return an audit of all annotations of samples that ground truth can decide."""
    return Audit(right={row["id"]: row["right"] for row in audit_rows(samples, truth)})


def audit_rows(samples: Iterable[DatasetSample], truth: Truth) -> Iterator[AuditRow]:
    """Yield the rows of an audit file: one per annotation that ground truth can decide."""
    for sample in samples:
        found = rightness(sample.annotations, truth(sample.key))
        for annotation, right in zip(sample.annotations, found, strict=True):
            if right is not None:
                yield AuditRow(id=annotation.id, key=sample.key, right=right)
