"""Checks of the verdicts of a filter, which it gives by the columns of a shard."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pyarrow.types import is_string

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Record, Sample
from florilegium.engine.core.stage import Filter
from florilegium.engine.planning.graph import Node
from florilegium.engine.results.judging import measurements_of, statements_of
from florilegium.engine.results.layer import make_layer
from florilegium.engine.results.shard import Shard
from florilegium.testing.subject import Subject

REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")
_COLUMNS = ("score", "support", "box_xyxy", "sample", "image_wh", "is_live", "parent", "task")
Judged = Mapping[str, tuple[Any, ...]]
"""The verdict on each annotation by its id: whether it was judged, why it was dropped, numbers."""


def judges_validly(subject: Subject) -> Iterator[str]:
    """Verdicts are as many as rows, about tasks that are judged, each with a reason."""
    statements = _statements(subject, subject.samples)
    verdicts: object = _filter(subject).judge(statements)
    if not isinstance(verdicts, Verdicts) or len(verdicts.reason) != len(statements):
        yield "`judge` must return Verdicts(len(statements))"
        return
    judged = set(statements.task[verdicts.is_judged].tolist())
    if strange := judged - _filter(subject).judged_tasks:
        yield (
            f"it judges {min(strange)!r}, which is not among its tasks: begin with "
            f"`where = statements.of_tasks(...)`"
        )
    for reason in sorted({str(one) for one in verdicts.reason[verdicts.is_dropped]}):
        if not REASON.fullmatch(reason):
            yield f"it drops for the reason {reason!r}: give a short constant in snake_case"
    for name, values in verdicts.measurements.items():
        if np.isinf(values).any():
            yield f"its number {name!r} of a verdict is infinite"
    for kept, merged in verdicts.merged_from.items():
        if any(statements.sample[one] != statements.sample[kept] for one in merged):
            yield "it merges annotations of two images"
            return


def judges_without_changes(subject: Subject) -> Iterator[str]:
    """The columns that a filter judges are the same afterwards."""
    statements = _statements(subject, subject.samples)
    columns = {name: getattr(statements, name) for name in _COLUMNS} | dict(statements.measurements)
    schema = statements.table.schema
    texts = {field.name for field in schema if is_string(field.type)} - {"task"}
    columns |= {f"texts({name!r})": statements.texts(name) for name in sorted(texts)}
    before = {name: column.copy() for name, column in columns.items()}
    _filter(subject).judge(statements)
    for name, column in columns.items():
        if not _is_same(before[name], column):
            yield f"`judge` writes into `statements.{name}`, which other filters see: copy it first"


def _is_same(one: np.ndarray, other: np.ndarray) -> bool:
    is_number = np.issubdtype(one.dtype, np.floating)
    return np.array_equal(one, other, equal_nan=is_number)


def judges_each_sample_alone(subject: Subject) -> Iterator[str]:
    """A verdict does not depend on other samples or their order, and comes again."""
    together = judged(subject, subject.samples)
    if difference := first_of_verdicts(together, judged(subject, subject.samples[::-1])):
        yield f"its verdicts depend on the order of the samples, or change ({difference})"
        return
    alone: dict[str, tuple[Any, ...]] = {}
    for one in subject.samples:
        alone |= judged(subject, [one])
    if difference := first_of_verdicts(together, alone):
        yield f"its verdict on a sample depends on the samples beside it ({difference})"
    if judged(subject, []):
        yield "it judges where there is nothing"


def judges_by_what_it_declares(subject: Subject) -> Iterator[str]:
    """A verdict depends on the annotation or its task only, where `judges_by` says so."""
    judges_by = _filter(subject).judges_by
    if judges_by == "image":
        return
    together = judged(subject, subject.samples)
    parts = list(_parts(subject, judges_by))
    apart = judged(subject, [part for part, _ in parts], [names for _, names in parts])
    if difference := first_of_verdicts(together, apart):
        yield (
            f"it declares judges_by = {judges_by!r}, but its verdict depends on more "
            f'({difference}): declare "image"'
        )


def _parts(subject: Subject, judges_by: str) -> Iterator[tuple[Sample, frozenset[str]]]:
    """Yield samples with a part of the annotations, and the ids of those whose verdicts count."""
    for sample in subject.samples:
        by_id = {one.id: one for one in sample.annotations}
        for group in _groups(sample, judges_by):
            names = {one.id for one in group}
            wanted = set(names)
            for one in group:
                parent = by_id.get(one.parent_id)
                while parent is not None and parent.id not in wanted:
                    wanted.add(parent.id)
                    parent = by_id.get(parent.parent_id)
            seen = tuple(one for one in sample.annotations if one.id in wanted)
            yield replace(sample, annotations=seen), frozenset(names)


def _groups(sample: Sample, judges_by: str) -> list[list[Annotation]]:
    if judges_by == "annotation":
        return [[one] for one in sample.annotations]
    tasks = dict.fromkeys(one.task for one in sample.annotations)
    return [list(sample.of(task)) for task in tasks]


def judges_by_what_it_reads(subject: Subject) -> Iterator[str]:
    """Annotations of tasks that it does not declare change no verdict."""
    difference = first_of_verdicts(
        judged(subject, subject.samples), judged(subject, subject.visible), common=True
    )
    if difference:
        yield (
            f"its verdict depends on annotations of tasks that it does not declare ({difference}): "
            f"name them in `reads`"
        )


def count_of(subject: Subject) -> int:
    """Return the number of annotations on which a filter gives a verdict."""
    return sum(verdict[0] for verdict in judged(subject, subject.samples).values())


def _filter(subject: Subject) -> Filter[Any]:
    """Return the filter as it judges: not loaded, as when all that it measured is stored."""
    new = subject.new()
    assert isinstance(new, Filter)
    return new


def judged(
    subject: Subject, samples: Sequence[Sample], counted: Sequence[frozenset[str]] | None = None
) -> Judged:
    """Judge samples; return the verdicts by id, of those annotations that count."""
    statements = _statements(subject, samples)
    verdicts = _filter(subject).judge(statements)
    verdicts.restrict(statements.is_live)
    names = statements.texts("id").tolist()
    found: dict[str, tuple[Any, ...]] = {}
    for row, name in enumerate(names):
        if counted is not None and name not in counted[statements.sample[row]]:
            continue
        numbers = {key: float(values[row]) for key, values in verdicts.measurements.items()}
        kept = {key: round(value, 6) for key, value in numbers.items() if not np.isnan(value)}
        merged = sorted(names[one] for one in verdicts.merged_from.get(row, ()))
        found[name] = (bool(verdicts.is_judged[row]), verdicts.reason[row], kept, merged)
    return found


def first_of_verdicts(some: Judged, others: Judged, *, common: bool = False) -> str:
    """Return where verdicts differ first; with `common`, of annotations that both have."""
    for name, verdict in some.items():
        if name not in others and common:
            continue
        if others.get(name) != verdict:
            return f"{_shown(verdict)}, then {_shown(others.get(name))}"
    return ""


def _shown(verdict: tuple[Any, ...] | None) -> str:
    if verdict is None or not verdict[0]:
        return "not judged"
    _, reason, numbers, merged = verdict
    parts = [f"dropped as {reason}" if reason else "kept", f"{numbers}" if numbers else ""]
    return " ".join([*filter(None, parts), f"merged from {len(merged)}" if merged else ""]).strip()


def _statements(subject: Subject, samples: Sequence[Sample]) -> Statements:
    """Return the annotations of samples as a filter judges them, with what it measured."""
    shard = Shard(
        number=0,
        records=tuple(record_of(one, number) for number, one in enumerate(samples)),
        labels=tuple(one.annotations for one in samples),
        dead_letters=(),
    )
    statements = statements_of(shard, (), {}, range(len(samples)))
    if not subject.is_asked:
        return statements
    node = Node[Any](name="stage", use="stage", stage=subject.stage, fingerprint="stage")
    measured = _measured(subject)
    rows = {
        number: [measured[one.id] for one in sample.annotations if one.id in measured]
        for number, sample in enumerate(samples)
    }
    layer = make_layer(node, rows, ())
    return statements.with_measurements(measurements_of(node, layer, statements))


def _measured(subject: Subject) -> dict[str, Measurement]:
    """Return what the filter measured on each annotation, by id."""
    answers = [one for one in subject.together if not isinstance(one, SampleError)]
    return {row.annotation_id: row for rows in answers for row in rows}


def record_of(sample: Sample, number: int | None = None) -> Record:
    """Return the record of a sample; with a number in its key, where one is given."""
    key = sample.key if number is None else f"{sample.key}-{number}"
    return Record(
        key=key,
        sha256=sample.sha256,
        width=sample.width,
        height=sample.height,
        orientation=1,
        extension="png",
        source=sample.key,
        metadata=sample.metadata,
        digest=key,
    )
