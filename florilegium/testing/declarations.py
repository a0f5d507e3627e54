"""Checks of what a stage declares, before it is asked anything."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args

from florilegium.engine.core.errors import FlorilegiumError, nearest
from florilegium.engine.core.stage import CONTENT, Filter, SampleFilter, Specialist
from florilegium.engine.core.tasks import TABLE
from florilegium.engine.planning.fingerprint import unnamed_content
from florilegium.testing.checks import config_faults, doc_faults, naming_faults
from florilegium.testing.subject import Subject
from florilegium.testing.values import other_values


def found_by_its_name(subject: Subject) -> Iterator[str]:
    """A config and a worker find the class by its module and name."""
    yield from naming_faults(subject.stage_class)


def describes_itself(subject: Subject) -> Iterator[str]:
    """The class has a docstring and an integer version."""
    stage_class = subject.stage_class
    yield from doc_faults(stage_class)
    version: object = stage_class.version
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        yield (
            f"its version is {version!r}: give an integer from 1 on, and raise it when the code "
            f"gives other answers"
        )


def options_are_sound(subject: Subject) -> Iterator[str]:
    """The config is frozen, refuses unknown keys, and each of its fields is documented."""
    yield from config_faults(subject.stage_class.Config)


def declares_known_tasks(subject: Subject) -> Iterator[str]:
    """What the stage reads and produces are tasks that are known."""
    stage_class = subject.stage_class
    read = {task for wanted in stage_class.reads for task in wanted.tasks}
    lists = {"reads": read, "produces": set(stage_class.produces), "each": set(stage_class.each)}
    for name, tasks in lists.items():
        for task in sorted(tasks - set(TABLE)):
            yield (
                f"`{name}` has {task!r}, which is no task: {nearest(task, TABLE)}; "
                f"a new task is an entry point of florilegium.tasks"
            )
    if issubclass(stage_class, Specialist) and not stage_class.produces:
        yield "it declares no task in `produces`, so the engine refuses all that it predicts"
    if unread := sorted(lists["each"] - read):
        yield f"`each` has {unread[0]!r}, which it does not read: name it in `reads`, too"
    if issubclass(stage_class, Filter):
        yield from _problems_of_filter(stage_class, reads=bool(read))
    if issubclass(stage_class, SampleFilter):
        yield from _problems_of_sample_filter(stage_class, reads=bool(read))


def _problems_of_filter(stage_class: type[Filter[Any]], *, reads: bool) -> Iterator[str]:
    if not reads:
        yield "it reads no task, so it judges nothing: name tasks in `reads`"
    kinds = get_args(inspect.get_annotations(Filter, eval_str=True)["judges_by"])[0]
    if stage_class.judges_by not in get_args(kinds):
        known = ", ".join(get_args(kinds))
        yield f"its judges_by is {stage_class.judges_by!r}: give one of {known}"
    has_measure = stage_class.measure is not Filter.measure
    if has_measure and not stage_class.measured:
        yield "it has a `measure` that is never called: name its numbers in `measured`"
    if stage_class.measured and not has_measure:
        yield f"it declares measured = {stage_class.measured!r}, but has no method `measure`"


def _problems_of_sample_filter(
    stage_class: type[SampleFilter[Any]], *, reads: bool
) -> Iterator[str]:
    names = (*stage_class.measured, *stage_class.measured_texts)
    has_measure = stage_class.measure is not SampleFilter.measure
    if has_measure and not names:
        yield "it has a `measure` that is never called: name what it gives in `measured`"
    if names and not has_measure:
        yield f"it declares that it measures {names!r}, but has no method `measure`"
    if reads and not names:
        yield "it reads annotations, but has no `measure`: `judge` sees no annotation"
    if stage_class.compares != (stage_class.compare is not SampleFilter.compare):
        yield "`compares` is set where there is a method `compare`, and only there"


def names_its_content(subject: Subject) -> Iterator[str]:
    """A stage with options for weights or lists names their content, for its fingerprint."""
    if subject.problem:
        return
    stage = subject.new()
    for name in unnamed_content(stage, stage.revision()):
        yield (
            f"its option {name!r} is marked CONTENT, and its revision() names no content: old "
            f"answers would stay when the content changes; return a digest of it"
        )
        return
    before = stage.model, stage.revision()
    for name in _content_options(subject):
        if name not in subject.fixed and not _looks_at(subject, name, before):
            yield (
                f"revision() does not look at {name!r}, which is marked CONTENT: old answers would "
                f"stay when the content changes; add a digest of it"
            )


def _content_options(subject: Subject) -> list[str]:
    """Return the options that name content, where the stage was given some."""
    config = subject.new().config
    fields = type(config).model_fields
    return [name for name in fields if CONTENT in fields[name].metadata and getattr(config, name)]


def _looks_at(subject: Subject, name: str, before: tuple[str, str]) -> bool:
    """Whether model and revision differ with another value of an option, or it is refused."""
    values = other_values(subject.new().config, name, given=subject.options)
    for value in values:
        try:
            other = subject.changed({name: value}).new()
            if (other.model, other.revision()) != before:
                return True
        except (FlorilegiumError, OSError):  # it was looked for
            return True
    return not values


def can_be_loaded(subject: Subject) -> Iterator[str]:
    """The stage can be made with its options, and loaded."""
    if subject.problem:
        yield f"it cannot be loaded: {subject.problem}"
