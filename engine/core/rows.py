"""Rows: what a stage answers about a sample and what its layers hold.

A specialist answers with annotations, a filter with measurements of annotations. `Rows` knows the
columns of such rows, which answers are accepted and how they are stamped, so that asking, checking
and storing need not know which kind of stage they deal with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import pyarrow as pa

from florilegium.engine.core.annotation import (
    ANNOTATION_FIELDS,
    Annotation,
    Provenance,
    from_table,
    stamp,
    to_columns,
)
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.validity import TEXTS, problem_of

INVALID_OUTPUT = "invalid_output"
TOO_MANY_ANNOTATIONS = "too_many_annotations"
TEXT_TOO_LONG = "text_too_long"

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class Measurement:
    """Numbers that a filter measured on one annotation, by name."""

    annotation_id: str
    values: Mapping[str, float]


class Rows(ABC, Generic[RowT]):
    """The rows of one stage."""

    row: ClassVar[type]
    """The class of a row."""

    @property
    @abstractmethod
    def fields(self) -> Sequence[pa.Field]:
        """The columns of the stage's layers, beside the number of the sample."""

    @abstractmethod
    def columns(self, rows: Sequence[RowT]) -> dict[str, pa.Array]:
        """Return rows as columns, by name."""

    @abstractmethod
    def of_table(self, table: pa.Table) -> list[RowT]:
        """Return the rows of a layer's columns, the inverse of `columns`."""

    @abstractmethod
    def subject(self, row: RowT) -> str:
        """Return the id of the annotation that a row is about; empty when it is about none."""

    @abstractmethod
    def stamped(
        self, rows: list[RowT], provenance: Provenance, digest: str, question: str = ""
    ) -> list[RowT]:
        """Return the rows as they are stored; `digest` is that of their sample, `question` that of
        what was asked about it, where it is not asked as a whole."""

    def problem(self, answer: Any, sample: Sample, limits: Limits) -> SampleError | None:
        """Return what is wrong with an answer to a sample, or `None`.

        One that is too large is refused before anything in it is looked at.
        """
        if not isinstance(answer, list | tuple):
            return self._unlike_rows(type(answer).__name__)
        if not answer:
            return None
        if error := self.size_problem(len(answer), sample, limits):
            return error
        for row in answer:
            if not isinstance(row, self.row):
                return self._unlike_rows(f"of {type(row).__name__}")
        return self._problem_of_rows(answer, sample, limits)

    def _unlike_rows(self, given: str) -> SampleError:
        wanted = f"its answer to a sample must be a list of {self.row.__name__}"
        return SampleError(INVALID_OUTPUT, f"{wanted}, not {given}")

    def size_problem(self, count: int, sample: Sample, limits: Limits) -> SampleError | None:
        """Return the error of an answer with too many rows, or `None`."""
        message = self._too_many(count, sample, limits)
        return SampleError(TOO_MANY_ANNOTATIONS, message) if message else None

    @abstractmethod
    def _too_many(self, count: int, sample: Sample, limits: Limits) -> str:
        """Say that there are too many rows, if so."""

    @abstractmethod
    def _problem_of_rows(
        self, rows: Sequence[RowT], sample: Sample, limits: Limits
    ) -> SampleError | None:
        """Return what is wrong with the contents of rows, or `None`."""


@dataclass(frozen=True)
class AnnotationRows(Rows[Annotation]):
    """Annotations of the tasks that a specialist produces."""

    produces: tuple[str, ...]

    row = Annotation
    fields = tuple(ANNOTATION_FIELDS)

    def columns(self, rows: Sequence[Annotation]) -> dict[str, pa.Array]:
        return to_columns(rows)

    def of_table(self, table: pa.Table) -> list[Annotation]:
        return from_table(table)

    def subject(self, row: Annotation) -> str:
        return row.parent_id

    def stamped(
        self, rows: list[Annotation], provenance: Provenance, digest: str, question: str = ""
    ) -> list[Annotation]:
        return stamp(rows, provenance, digest, question)

    def _too_many(self, count: int, sample: Sample, limits: Limits) -> str:
        most = limits.max_annotations
        return f"{count} annotations, limits.max_annotations is {most}" if count > most else ""

    def _problem_of_rows(
        self, rows: Sequence[Annotation], sample: Sample, limits: Limits
    ) -> SampleError | None:
        for annotation in rows:
            if error := _size_problem(annotation, limits):
                return error
        earlier = {one.id for one in sample.annotations}
        own = [one.id for one in rows if isinstance(one.id, str) and one.id]
        known = earlier.union(own)
        if len(known) < len(earlier) + len(own):
            (repeated, _), *_ = Counter([*own, *earlier]).most_common(1)
            message = f"the id {repeated!r} is that of two annotations of the sample"
            return SampleError(INVALID_OUTPUT, message)
        for annotation in rows:
            problem = problem_of(annotation, width=sample.width, height=sample.height)
            if isinstance(annotation.task, str) and annotation.task not in self.produces:
                declared = ", ".join(self.produces)
                problem = f"{annotation.task}: the stage declares only {declared}"
            if problem := problem or _lineage_problem(annotation, known, earlier):
                return SampleError(INVALID_OUTPUT, problem)
        return None


@dataclass(frozen=True)
class MeasurementRows(Rows[Measurement]):
    """Measurements with the numbers of these names; not all need be there."""

    measured: tuple[str, ...]

    row = Measurement

    @property
    def fields(self) -> Sequence[pa.Field]:
        numbers = [pa.field(name, pa.float64()) for name in self.measured]
        return (pa.field("annotation_id", pa.string()), *numbers)

    def columns(self, rows: Sequence[Measurement]) -> dict[str, pa.Array]:
        columns = {"annotation_id": pa.array([row.annotation_id for row in rows], pa.string())}
        for name in self.measured:
            columns[name] = pa.array([row.values.get(name) for row in rows], pa.float64())
        return columns

    def of_table(self, table: pa.Table) -> list[Measurement]:
        names = table.column("annotation_id").to_pylist()
        numbers = zip(*(table.column(name).to_pylist() for name in self.measured), strict=True)
        return [
            Measurement(
                name,
                {
                    key: value
                    for key, value in zip(self.measured, own, strict=True)
                    if value is not None
                },
            )
            for name, own in zip(names, numbers, strict=True)
        ]

    def subject(self, row: Measurement) -> str:
        return row.annotation_id

    def stamped(
        self, rows: list[Measurement], provenance: Provenance, digest: str, question: str = ""
    ) -> list[Measurement]:
        return rows

    def _too_many(self, count: int, sample: Sample, limits: Limits) -> str:
        most = max(limits.max_annotations, len(sample.annotations))
        return f"{count} measurements, at most {most} are believed" if count > most else ""

    def _problem_of_rows(
        self, rows: Sequence[Measurement], sample: Sample, limits: Limits
    ) -> SampleError | None:
        for row in rows:
            if unknown := set(row.values).difference(self.measured):
                return SampleError(INVALID_OUTPUT, f"undeclared measurement {min(unknown)!r}")
        return None


def _size_problem(annotation: Annotation, limits: Limits) -> SampleError | None:
    """Return the error of an annotation that is too large to be looked at."""
    most = limits.max_caption_characters
    for name in TEXTS:
        text = getattr(annotation, name)
        if isinstance(text, str) and len(text) > most:
            message = f"a {name} of {len(text)} characters"
            return SampleError(TEXT_TOO_LONG, f"{message}, limits.max_caption_characters is {most}")
    merged: object = annotation.merged_from
    if isinstance(merged, list | tuple) and len(merged) > limits.max_annotations:
        message = f"one merged from {len(merged)}, limits.max_annotations is"
        return SampleError(TOO_MANY_ANNOTATIONS, f"{message} {limits.max_annotations}")
    return None


def _lineage_problem(annotation: Annotation, known: set[str], earlier: set[str]) -> str:
    """Say what is wrong with what a well-formed annotation was made from.

    `earlier` are the ids of what the stage read, `known` those of its own answer too.
    """
    task, merged = annotation.task, annotation.merged_from
    if annotation.parent_id and annotation.parent_id not in known:
        return f"{task}: a parent {annotation.parent_id!r} that it neither read nor predicted"
    if not all(isinstance(one, str) for one in merged):
        return f"{task}: merged from something that is no text"
    if strange := set(merged) - earlier:
        return f"{task}: merged from {min(strange)!r}, which it did not read"
    return ""
