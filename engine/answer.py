"""Asking a stage about a batch, and believing only answers that make sense.

A stage that raises is asked again one image at a time, so that only the guilty image fails.
A nonsensical answer (wrong count, NaN, a box outside the image) counts as a failure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from engine.annotation import Annotation, covers
from engine.errors import FlorilegiumError, SampleError, UsageError
from engine.graph import Node
from engine.sample import Sample
from engine.stage import Filter, Measurement, Specialist

INVALID_OUTPUT = "invalid_output"
STAGE_FAILED = "stage_failed"
INPUT_FAILED = "input_failed"
PROCESS_DIED = "process_died"

AnswerT = TypeVar("AnswerT", Annotation, Measurement)
Answer = list[Annotation] | list[Measurement] | SampleError


def ask(node: Node[Any], samples: Sequence[Sample]) -> list[Answer]:
    """Return the stage's answer to each sample, or the error that the sample caused."""
    if not samples:
        return []
    try:
        return list(_answers(node, samples))
    except UsageError:
        raise
    except Exception as error:
        if len(samples) == 1:
            return [_sample_error(error)]
    return [answer for sample in samples for answer in ask(node, [sample])]


def _sample_error(error: Exception) -> SampleError:
    if isinstance(error, SampleError):
        return error
    detail = (
        str(error) if isinstance(error, FlorilegiumError) else f"{type(error).__name__}: {error}"
    )
    return SampleError(STAGE_FAILED, detail)


def _answers(
    node: Node[Any], samples: Sequence[Sample]
) -> Sequence[list[Annotation] | list[Measurement]]:
    stage = node.stage
    if isinstance(stage, Filter):
        measured = stage.measure(samples)
        _check_count(measured, samples)
        for rows in measured:
            _check_measurements(rows, stage.measured)
        return measured
    said = stage.predict(samples)
    _check_count(said, samples)
    for statements, sample in zip(said, samples, strict=True):
        known = {earlier.id for earlier in (*sample.annotations, *statements)}
        for annotation in statements:
            if annotation.parent_id and annotation.parent_id not in known:
                problem = f"a parent {annotation.parent_id!r} that the stage did not read or say"
            else:
                problem = _problem(annotation, stage, sample)
            if problem:
                raise SampleError(INVALID_OUTPUT, f"{annotation.task}: {problem}")
    return said


def _check_count(answers: Sequence[object], samples: Sequence[Sample]) -> None:
    if len(answers) != len(samples):
        raise SampleError(
            INVALID_OUTPUT, f"{len(answers)} answers to {len(samples)} samples: one each is wanted"
        )


def _check_measurements(rows: Sequence[Measurement], names: Sequence[str]) -> None:
    for row in rows:
        if unknown := set(row.values) - set(names):
            raise SampleError(INVALID_OUTPUT, f"undeclared measurement {min(unknown)!r}")


def _problem(annotation: Annotation, stage: Specialist[Any], sample: Sample) -> str:
    """Say what is wrong with an annotation, or nothing."""
    if annotation.task not in stage.produces:
        return f"the stage declares only {', '.join(stage.produces)}"
    score = annotation.score
    if score is not None and not 0.0 <= score <= 1.0:
        return f"a score of {score}, not in 0..1"
    return (
        _shape_problem(annotation, sample)
        or _mask_problem(annotation, sample)
        or _span_problem(annotation)
    )


def _shape_problem(annotation: Annotation, sample: Sample) -> str:
    box, quad = annotation.box_xyxy, annotation.quad
    if len(box) not in (0, 4) or len(quad) not in (0, 8):
        return f"a box of {len(box)} and a quad of {len(quad)} numbers, not 4 and 8"
    if not all(map(math.isfinite, (*box, *quad))):
        return "a coordinate that is not a finite number"
    if box:
        x1, y1, x2, y2 = box
        if x2 < x1 or y2 < y1:
            return f"a box with its corners swapped: {box}"
        if x2 < 0 or y2 < 0 or x1 > sample.width or y1 > sample.height:
            return f"a box outside the {sample.width}x{sample.height} image: {box}"
    return ""


def _mask_problem(annotation: Annotation, sample: Sample) -> str:
    mask = annotation.mask_rle
    if mask is None:
        return ""
    if tuple(mask.size) != (sample.height, sample.width):
        return f"a mask of {mask.size}, the image is ({sample.height}, {sample.width})"
    return "" if covers(mask) else "a mask whose runs do not fill the image"


def _span_problem(annotation: Annotation) -> str:
    span = annotation.span
    if len(span) not in (0, 2) or (span and not 0 <= span[0] < span[1]):
        return f"a span of {span}"
    return ""
