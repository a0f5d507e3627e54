"""Asking a stage about a batch, and believing only answers that make sense.

A stage that raises is asked again one image at a time, so that only the guilty image fails. A
nonsensical answer (NaN, a box outside the image) counts as a failure of its image; the stage
is not asked again for it, as an answer may have cost money. A wrong number of answers belongs to
no image: the batch is asked again image by image, but of a service all its images fail. An answer
that is too large is refused before anything in it is looked at.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from florilegium.engine.core import stage
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import FlorilegiumError, SampleError, UsageError
from florilegium.engine.core.image.header import OUT_OF_MEMORY
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.rows import INVALID_OUTPUT
from florilegium.engine.core.sample import Sample
from florilegium.engine.planning.graph import Node
from florilegium.engine.untrusted.traces import message_of, traceback_of

STAGE_FAILED = "stage_failed"
INPUT_FAILED = "input_failed"
PROCESS_DIED = "process_died"
STAGE_TIMEOUT = "stage_timeout"
FILE_TIMEOUT = "file_timeout"
SHARD_TIMEOUT = "shard_timeout"
BUDGET_EXHAUSTED = "budget_exhausted"
"""The budget is spent: neither the image nor the stage is at fault, and the next run asks."""

_PASS_ON = (__file__, stage.__file__)
"""The files between a worker and a stage's own code: tracebacks leave them out."""
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_TRACED = 4000

Answer = list[Any] | SampleError
"""The rows of a stage about one sample, or why there are none."""
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
            return _answers(node, samples, limits)
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
    return SampleError(reason, detail, traceback=traceback_of(error, above=_PASS_ON))


def _believable(error: SampleError) -> SampleError:
    """Return an error whose parts fit into a dead letter, whatever a stage put there. One of a
    class of its own, which may be false like an empty answer, becomes a plain one."""
    traceback = error.traceback if isinstance(error.traceback, str) else ""
    if isinstance(error.reason, str) and _REASON.fullmatch(error.reason):
        is_plain = type(error) is SampleError and traceback == error.traceback
        if is_plain and len(traceback) <= _MAX_TRACED:
            return error
        return SampleError(error.reason, error.message, traceback=traceback[-_MAX_TRACED:])
    what = f"{error.message} (its reason is not made of small letters, digits and underscores)"
    return SampleError(STAGE_FAILED, what, traceback=traceback[-_MAX_TRACED:])


def _answers(node: Node[Any], samples: Sequence[Sample], limits: Limits) -> list[Answer]:
    answers = node.stage.answer(samples)
    try:
        _check_count(answers, samples)
    except SampleError as error:
        if not node.stage.is_remote:
            raise
        return [error] * len(samples)  # asking again would cost money again
    believed: list[Answer] = []
    for answer, sample in zip(answers, samples, strict=True):
        if type(answer) is list and not answer:
            believed.append([])  # nothing in it can be wrong
        elif isinstance(answer, SampleError):
            believed.append(_believable(answer))
        elif problem := node.stage.rows.problem(answer, sample, limits):
            believed.append(SampleError(problem.reason, f"stage {node.name!r}: {problem.message}"))
        else:
            believed.append([*answer])  # a plain list, whatever else the stage made of one
    return believed


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
