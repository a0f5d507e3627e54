"""Checks of the marks of options: a wrong one makes a build keep answers that are wrong now.

Each option with a mark gets other values, and the stage is asked again. All options of a mark are
changed at once; only where answers differ, or a value cannot be used, each is changed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from florilegium.engine.core.errors import SampleError, UsageError
from florilegium.engine.core.image.header import OUT_OF_MEMORY
from florilegium.engine.core.stage import (
    RUNTIME,
    THRESHOLD,
    Filter,
    Marker,
    SampleFilter,
    StageConfig,
)
from florilegium.engine.execution.answer import STAGE_FAILED
from florilegium.testing.judging import first_of_verdicts, judged
from florilegium.testing.rows import LAST_DECIMAL, first_difference
from florilegium.testing.sample_judging import judged_samples
from florilegium.testing.subject import Subject
from florilegium.testing.values import other_values

Fault = tuple[Mapping[str, Any], str]
"""Values with which a stage answers differently, and how."""
Difference = Callable[[Subject, Subject], str | None]
"""Tells how the answers of two stages differ; `None` where the second does not run as it is."""

_MISSING = object()
_UNUSABLE = (STAGE_FAILED, OUT_OF_MEMORY)
"""Why a stage fails with a value of a RUNTIME option that does not fit the machine."""
_CURE = {
    THRESHOLD: "it is marked THRESHOLD, which only `judge` may read; take the mark away, or read "
    "it in `judge`",
    RUNTIME: "it is marked RUNTIME, which may change how fast but never what; take the mark away",
}


def keeps_its_answers(subject: Subject) -> Iterator[str]:
    """What is stored does not depend on options that are marked THRESHOLD or RUNTIME."""
    is_filter = issubclass(subject.stage_class, Filter | SampleFilter)
    method = "measure" if is_filter else "predict"
    for mark, difference in ((THRESHOLD, _of_rows), (RUNTIME, _of_rows_nearly)):
        for changes, how in _Trial(subject, mark, difference).faults():
            yield f"`{method}` answers differently with {_shown(changes)} ({how}): {_CURE[mark]}"


def keeps_its_verdicts(subject: Subject) -> Iterator[str]:
    """Verdicts do not depend on options that are marked RUNTIME."""
    for changes, how in _Trial(subject, RUNTIME, _of_verdicts).faults():
        yield f"`judge` judges differently with {_shown(changes)} ({how}): {_CURE[RUNTIME]}"


def _shown(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in changes.items())


def _of_rows(subject: Subject, other: Subject) -> str:
    return first_difference(subject.visible, subject.together, other.together, within=0)


def _of_rows_nearly(subject: Subject, other: Subject) -> str | None:
    if any(isinstance(one, SampleError) and one.reason in _UNUSABLE for one in other.together):
        return None
    return first_difference(subject.visible, subject.together, other.together, pixels=LAST_DECIMAL)


def _of_verdicts(subject: Subject, other: Subject) -> str | None:
    rows = _of_rows_nearly(subject, other) if subject.is_asked else ""
    if rows is None:
        return None
    if rows:
        return ""  # `keeps_its_answers` tells
    judge = judged_samples if issubclass(subject.stage_class, SampleFilter) else judged
    return first_of_verdicts(judge(subject, subject.samples), judge(other, subject.samples))


class _Trial:
    """A stage with other values of the options that have a mark."""

    def __init__(self, subject: Subject, mark: Marker, difference: Difference) -> None:
        self._subject = subject
        self._mark = mark
        self._difference = difference
        self._tried: set[str] = set()

    def faults(self) -> Iterator[Fault]:
        """Yield what makes a difference, each option once; the subject notes what is not tried."""
        names = _marked(self._subject, self._mark)
        faulty: set[str] = set()
        for variant in self._variants(names):
            changes = {name: value for name, value in variant.items() if name not in faulty}
            for fault in self._faults_of(changes):
                faulty.update(fault[0])
                yield fault
        self._subject.unchecked.update(set(names) - self._tried)

    def _variants(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield a first other value of each option, then a second of those that have one, ..."""
        for row in zip_longest(*map(self._values, names), fillvalue=_MISSING):
            pairs = zip(names, row, strict=True)
            yield {name: value for name, value in pairs if value is not _MISSING}

    def _values(self, name: str) -> list[Any]:
        subject, is_runtime = self._subject, self._mark == RUNTIME
        if name in subject.fixed or (is_runtime and subject.stage_class.is_remote):
            return []  # limits of a service make it wait, or stop it
        stage = subject.stage
        return other_values(
            stage.config,
            name,
            given=subject.options,
            names=sorted({*stage.read_tasks, *stage.produces, *subject.upstream}),
            has_any_text=not is_runtime,
        )

    def _faults_of(self, changes: Mapping[str, Any]) -> list[Fault]:
        """Change some options at once, and one by one where that makes a difference or fails."""
        if not changes:
            return []
        how = self._how(changes)
        if how is not None:
            self._tried.update(changes)
        if how == "" or len(changes) == 1:
            return [(changes, how)] if how else []
        alone = [one for name, value in changes.items() for one in self._faults_of({name: value})]
        return alone or ([(changes, how)] if how else [])

    def _how(self, changes: Mapping[str, Any]) -> str | None:
        other = self._subject.changed(changes)
        try:
            return None if other.problem else self._difference(self._subject, other)
        except UsageError:  # of a value that is refused late
            return None


def _marked(subject: Subject, mark: Marker) -> list[str]:
    """Return the options of the stage's own with a mark; the engine reads those of all stages."""
    fields = subject.stage_class.Config.model_fields
    own = (name for name in fields if name not in StageConfig.model_fields)
    return [name for name in own if mark in fields[name].metadata]
