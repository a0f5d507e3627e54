"""Asking a stage about a batch, and believing only answers that make sense.

A stage that raises is asked again one image at a time, so that only the guilty image fails. A
nonsensical answer (NaN, a box outside the image) counts as a failure of its image; nobody is
asked again for it, as an answer may have cost money.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from engine.annotation import Annotation
from engine.counted import counted
from engine.errors import FlorilegiumError, SampleError, UsageError
from engine.graph import Node
from engine.sample import Sample
from engine.stage import Filter, Measurement, Specialist
from engine.traces import traceback_of
from engine.validity import problem_of

INVALID_OUTPUT = "invalid_output"
STAGE_FAILED = "stage_failed"
INPUT_FAILED = "input_failed"
PROCESS_DIED = "process_died"
BUDGET_EXHAUSTED = "budget_exhausted"
"""Nobody was asked, as there was nothing left to pay with: no fault of the image or the stage. The
next run asks."""

_WANTED = "its answer to a sample must be a list of Annotation"

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
    if isinstance(error, FlorilegiumError):
        return SampleError(STAGE_FAILED, str(error))
    detail = f"{type(error).__name__}: {error}"
    return SampleError(STAGE_FAILED, detail, traceback=traceback_of(error, above=__file__))


def _answers(node: Node[Any], samples: Sequence[Sample]) -> Iterator[Answer]:
    stage = node.stage
    if isinstance(stage, Filter):
        measured = stage.measure(samples)
        _check_count(measured, samples)
        for rows in measured:
            _check_measurements(rows, stage.measured)
        yield from measured
        return
    said = stage.predict(samples)
    _check_count(said, samples)
    for answer, sample in zip(said, samples, strict=True):
        if not isinstance(answer, SampleError) and (problem := _problem(node, answer, sample)):
            yield SampleError(INVALID_OUTPUT, problem)
        else:
            yield answer


def _problem(
    node: Node[Specialist[Any]], statements: Sequence[Annotation], sample: Sample
) -> str | None:
    """Tell what is wrong with an answer, by stage, task and field, or `None`."""
    if not isinstance(statements, list | tuple):
        return f"stage {node.name!r}: {_WANTED}, not {type(statements).__name__}"
    if strangers := [one for one in statements if not isinstance(one, Annotation)]:
        return f"stage {node.name!r}: {_WANTED}, not of {type(strangers[0]).__name__}"
    heard = {earlier.id for earlier in sample.annotations}
    known = heard.union(one.id for one in statements)
    for annotation in statements:
        problem = problem_of(annotation, width=sample.width, height=sample.height)
        task = annotation.task
        if task not in node.stage.produces:
            problem = f"{task}: the stage declares only {', '.join(node.stage.produces)}"
        elif annotation.parent_id and annotation.parent_id not in known:
            problem = f"{task}: a parent {annotation.parent_id!r} that it did not read or say"
        elif strange := set(annotation.merged_from) - heard:
            problem = f"{task}: merged from {min(strange)!r}, which it did not read"
        if problem:
            return f"stage {node.name!r}: {problem}"
    return None


def _check_count(answers: object, samples: Sequence[Sample]) -> None:
    if not isinstance(answers, list | tuple):
        raise SampleError(
            INVALID_OUTPUT,
            f"{type(answers).__name__} as the answer to {counted(len(samples), 'sample')}: a list "
            f"with an answer to each is wanted",
        )
    if len(answers) != len(samples):
        raise SampleError(
            INVALID_OUTPUT,
            f"{counted(len(answers), 'answer')} to {counted(len(samples), 'sample')}: "
            f"one each is wanted",
        )


def _check_measurements(rows: Sequence[Measurement], names: Sequence[str]) -> None:
    for row in rows:
        if unknown := set(row.values) - set(names):
            raise SampleError(INVALID_OUTPUT, f"undeclared measurement {min(unknown)!r}")
