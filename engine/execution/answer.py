"""Asking a stage about a batch, and believing only answers that make sense.

A stage that raises is asked again one image at a time, so that only the guilty image fails. A
nonsensical answer (NaN, a box outside the image) counts as a failure of its image; nobody is
asked again for it, as an answer may have cost money. One that is too large is refused before
anything in it is looked at.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from engine.core.annotation import Annotation
from engine.core.counted import counted
from engine.core.errors import FlorilegiumError, SampleError, UsageError
from engine.core.image import OUT_OF_MEMORY
from engine.core.limits import Limits
from engine.core.sample import Sample
from engine.core.stage import Filter, Measurement, Specialist
from engine.core.validity import problem_of
from engine.planning.graph import Node
from engine.safety.traces import message_of, traceback_of

INVALID_OUTPUT = "invalid_output"
STAGE_FAILED = "stage_failed"
INPUT_FAILED = "input_failed"
PROCESS_DIED = "process_died"
STAGE_TIMEOUT = "stage_timeout"
FILE_TIMEOUT = "file_timeout"
SHARD_TIMEOUT = "shard_timeout"
TOO_MANY_ANNOTATIONS = "too_many_annotations"
TEXT_TOO_LONG = "text_too_long"
BUDGET_EXHAUSTED = "budget_exhausted"
"""Nobody was asked, as there was nothing left to pay with: no fault of the image or the stage. The
next run asks."""

_WANTED = "its answer to a sample must be a list of Annotation"
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TEXTS = ("task", "text", "label", "language", "parent_id", "id")
_MOST_TRACED = 4000

Answer = list[Annotation] | list[Measurement] | SampleError
Watched = Callable[[Sequence[Sample]], AbstractContextManager[None]]
"""Gives the block in which a stage is asked about some samples."""


def ask(
    node: Node[Any],
    samples: Sequence[Sample],
    *,
    limits: Limits = Limits(),  # noqa: B008  (frozen)
    watched: Watched = lambda _: nullcontext(),
) -> list[Answer]:
    """Return the stage's answer to each sample, or the error that the sample caused."""
    if not samples:
        return []
    try:
        with watched(samples):  # what a stage returns may run code of its own, too
            return list(_answers(node, samples, limits))
    except UsageError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and _is_main_thread():
            raise  # a person's; workers ask in other threads, where no signal arrives
        if len(samples) == 1:
            with watched(samples):
                return [_sample_error(error)]
    one_by_one = (ask(node, [one], limits=limits, watched=watched) for one in samples)
    return [answer for answers in one_by_one for answer in answers]


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _sample_error(error: BaseException) -> SampleError:
    if isinstance(error, SampleError):
        return _believable(error)
    if isinstance(error, FlorilegiumError):
        return SampleError(STAGE_FAILED, message_of(error))
    reason = OUT_OF_MEMORY if isinstance(error, MemoryError) else STAGE_FAILED
    detail = f"{type(error).__name__}: {message_of(error)}"
    return SampleError(reason, detail, traceback=traceback_of(error, above=__file__))


def _believable(error: SampleError) -> SampleError:
    """Return an error whose parts fit into a dead letter, whatever a stage put there."""
    traceback = error.traceback if isinstance(error.traceback, str) else ""
    if isinstance(error.reason, str) and _REASON.fullmatch(error.reason):
        if traceback == error.traceback and len(traceback) <= _MOST_TRACED:
            return error
        return SampleError(error.reason, error.message, traceback=traceback[-_MOST_TRACED:])
    what = f"{error.message} (its reason is no word of small letters, digits and underscores)"
    return SampleError(STAGE_FAILED, what, traceback=traceback[-_MOST_TRACED:])


def _answers(node: Node[Any], samples: Sequence[Sample], limits: Limits) -> Iterator[Answer]:
    stage = node.stage
    if isinstance(stage, Filter):
        measured = stage.measure(samples)
        _check_count(measured, samples)
        for rows, sample in zip(measured, samples, strict=True):
            yield _measurements(node, rows, sample, limits)
        return
    said = stage.predict(samples)
    _check_count(said, samples)
    for answer, sample in zip(said, samples, strict=True):
        if isinstance(answer, SampleError):
            yield _believable(answer)
        elif problem := _size_problem(node, answer, limits):
            yield problem
        elif wrong := _problem(node, answer, sample):
            yield SampleError(INVALID_OUTPUT, wrong)
        else:
            yield [*answer]  # a plain list, whatever else the stage made of one


def _size_problem(node: Node[Any], answer: Any, limits: Limits) -> SampleError | None:
    """Return the error of an answer that is too large to be looked at."""
    if not isinstance(answer, list | tuple):
        return None
    if len(answer) > limits.max_annotations:
        message = f"{len(answer)} annotations, limits.max_annotations is {limits.max_annotations}"
        return SampleError(TOO_MANY_ANNOTATIONS, f"stage {node.name!r}: {message}")
    most = limits.max_caption_characters
    for annotation in answer:
        for name in _TEXTS:
            text = getattr(annotation, name, "")
            if isinstance(text, str) and len(text) > most:
                message = f"a {name} of {len(text)} characters"
                limit = f"limits.max_caption_characters is {most}"
                return SampleError(TEXT_TOO_LONG, f"stage {node.name!r}: {message}, {limit}")
        merged = getattr(annotation, "merged_from", ())
        if isinstance(merged, list | tuple) and len(merged) > limits.max_annotations:
            message = f"one merged from {len(merged)}, limits.max_annotations is"
            told = f"stage {node.name!r}: {message} {limits.max_annotations}"
            return SampleError(TOO_MANY_ANNOTATIONS, told)
    return None


def _problem(
    node: Node[Specialist[Any]], statements: Sequence[Annotation], sample: Sample
) -> str | None:
    """Tell what is wrong with an answer, by stage, task and field, or `None`."""
    if not isinstance(statements, list | tuple):
        return f"stage {node.name!r}: {_WANTED}, not {type(statements).__name__}"
    if strangers := [one for one in statements if not isinstance(one, Annotation)]:
        return f"stage {node.name!r}: {_WANTED}, not of {type(strangers[0]).__name__}"
    heard = {earlier.id for earlier in sample.annotations}
    known = heard.union(one.id for one in statements if isinstance(one.id, str))
    for annotation in statements:
        problem = problem_of(annotation, width=sample.width, height=sample.height)
        if isinstance(annotation.task, str) and annotation.task not in node.stage.produces:
            declared = ", ".join(node.stage.produces)
            problem = f"{annotation.task}: the stage declares only {declared}"
        if problem := problem or _lineage_problem(annotation, known, heard):
            return f"stage {node.name!r}: {problem}"
    return None


def _lineage_problem(annotation: Annotation, known: set[str], heard: set[str]) -> str:
    """Say what is wrong with what a well-formed annotation was made from."""
    task, merged = annotation.task, annotation.merged_from
    if annotation.parent_id and annotation.parent_id not in known:
        return f"{task}: a parent {annotation.parent_id!r} that it did not read or say"
    if not all(isinstance(one, str) for one in merged):
        return f"{task}: merged from something that is no text"
    if strange := set(merged) - heard:
        return f"{task}: merged from {min(strange)!r}, which it did not read"
    return ""


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


def _measurements(
    node: Node[Any], rows: Any, sample: Sample, limits: Limits
) -> list[Measurement] | SampleError:
    """Return what a filter measured of a sample, or what is wrong with it."""
    if not isinstance(rows, list | tuple) or not all(isinstance(row, Measurement) for row in rows):
        raise SampleError(
            INVALID_OUTPUT,
            f"stage {node.name!r}: its answer to a sample must be a list of Measurement",
        )
    most = max(limits.max_annotations, len(sample.annotations))
    if len(rows) > most:
        message = f"stage {node.name!r}: {len(rows)} measurements, at most {most} are believed"
        return SampleError(TOO_MANY_ANNOTATIONS, message)
    for row in rows:
        if unknown := set(row.values) - set(node.stage.measured):
            raise SampleError(INVALID_OUTPUT, f"undeclared measurement {min(unknown)!r}")
    return rows  # type: ignore[return-value]
