"""Comparing answers of a stage: the same words, and the same numbers but for rounding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.sample_rows import SampleMeasurement
from florilegium.engine.execution.answer import Answer

TOLERANCE = 1e-3
"""Sums of floats differ in their last digits with the size of a batch."""
LAST_DECIMAL = 0.011
"""Of a box in pixels, which is rounded: another batch or kernel may round it the other way."""
_WORDS = (
    *("task", "kind", "text", "label", "language", "span", "parent_id", "merged_from"),
    "mask_rle",
)
"""The fields of an annotation that must be equal."""
_PIXELS = ("box_xyxy", "quad")
_NUMBERS = ("score", "support", "confidence", *_PIXELS)
"""The fields of an annotation that must be nearly equal."""


def first_difference(
    samples: Sequence[Sample],
    some: Sequence[Answer],
    others: Sequence[Answer],
    *,
    within: float = TOLERANCE,
    pixels: float | None = None,
) -> str:
    """Return where two answers to the same samples differ first, empty where they do not.

    Numbers may differ by `within`, those of boxes by `pixels` where it is given.
    """
    for sample, one, other in zip(samples, some, others, strict=True):
        if difference := difference_of(one, other, within=within, pixels=pixels):
            return f"sample {sample.key!r}: {difference}"
    return ""


def difference_of(
    one: Answer, other: Answer, *, within: float = TOLERANCE, pixels: float | None = None
) -> str:
    """Return how two answers to a sample differ, empty where they do not."""
    if isinstance(one, SampleError) or isinstance(other, SampleError):
        first, second = _outcome(one), _outcome(other)
        return "" if first == second else f"{first}, then {second}"
    if len(one) != len(other):
        return f"{_outcome(one)}, then {_outcome(other)}"
    for row, again in zip(one, other, strict=True):
        for (name, value), (_, value_again) in zip(_fields(row), _fields(again), strict=True):
            allowed = within if pixels is None or not name.endswith(_PIXELS) else pixels
            if not _is_same(value, value_again, allowed):
                return f"{name} {value!r}, then {value_again!r}"
    return ""


def _outcome(answer: Answer) -> str:
    if isinstance(answer, SampleError):
        return f"the error {answer.reason}"
    return f"{len(answer)} row{'' if len(answer) == 1 else 's'}"


def _fields(row: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a row by their names; numbers as tuples of floats."""
    if isinstance(row, Measurement):
        yield "a measurement of", (row.annotation_id, *sorted(row.values))
        yield "the numbers", tuple(float(row.values[name]) for name in sorted(row.values))
    elif isinstance(row, SampleMeasurement):
        yield "measurements", tuple(sorted(row.values))
        for name, value in sorted(row.values.items()):
            yield name, value if isinstance(value, str) else (float(value),)
    elif isinstance(row, Annotation):
        for name in _WORDS:
            yield f"{row.task}.{name}", getattr(row, name)
        for name in _NUMBERS:
            value = getattr(row, name)
            numbers = value if isinstance(value, tuple) else () if value is None else (value,)
            yield f"{row.task}.{name}", tuple(map(float, numbers))


def _is_same(value: Any, again: Any, within: float) -> bool:
    if value == again:
        return True
    if not (_is_numbers(value) and _is_numbers(again)) or len(value) != len(again):
        return False
    return all(abs(one - other) <= within for one, other in zip(value, again, strict=True))


def _is_numbers(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, float) for one in value)
