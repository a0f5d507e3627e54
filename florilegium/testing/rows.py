"""Comparing answers of a stage: the same statements, and the same numbers but for rounding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.execution.answer import Answer

TOLERANCE = 1e-3
"""Sums of floats differ in their last digits with the size of a batch."""


def first_difference(
    samples: Sequence[Sample],
    some: Sequence[Answer],
    others: Sequence[Answer],
    *,
    within: float = TOLERANCE,
) -> str:
    """Return where two answers to the same samples differ first, empty where they do not."""
    for sample, one, other in zip(samples, some, others, strict=True):
        if difference := difference_of(one, other, within=within):
            return f"sample {sample.key!r}: {difference}"
    return ""


def difference_of(one: Answer, other: Answer, *, within: float = TOLERANCE) -> str:
    """Return how two answers to a sample differ, empty where they do not."""
    if isinstance(one, SampleError) or isinstance(other, SampleError):
        named = [_named(answer) for answer in (one, other)]
        return "" if named[0] == named[1] else f"{named[0]}, then {named[1]}"
    if len(one) != len(other):
        return f"{len(one)} rows, then {len(other)}"
    for row, again in zip(one, other, strict=True):
        if _words(row) != _words(again):
            return f"{_words(row)}, then {_words(again)}"
        for number, number_again in zip(_numbers(row), _numbers(again), strict=True):
            if abs(number - number_again) > within:
                return f"{number}, then {number_again}, in {_words(row)}"
    return ""


def _named(answer: Answer) -> str:
    if isinstance(answer, SampleError):
        return f"the error {answer.reason}"
    return f"{len(answer)} rows"


def _words(row: Any) -> Any:
    """Return a row without its numbers."""
    if isinstance(row, Measurement):
        return row.annotation_id, *sorted(row.values)
    if isinstance(row, Annotation):
        bare = replace(row, score=None, support=None, confidence=None)
        return tuple(_fields(bare))
    return row


def _fields(annotation: Annotation) -> Iterator[Any]:
    """Yield what an annotation says, beside its numbers; of a box and a quad only that it is
    there."""
    yield from (annotation.task, annotation.kind, annotation.text, annotation.label)
    yield from (annotation.language, annotation.span, annotation.parent_id, annotation.merged_from)
    yield from (len(annotation.box_xyxy), len(annotation.quad), annotation.mask_rle)


def _numbers(row: Any) -> list[float]:
    if isinstance(row, Measurement):
        return [row.values[name] for name in sorted(row.values)]
    scores = [row.score, row.support, row.confidence]
    return [*(score for score in scores if score is not None), *row.box_xyxy, *row.quad]
