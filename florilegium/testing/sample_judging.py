"""Checks of the verdicts of a sample filter, and these verdicts for tests that state the right
ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import SampleFilter
from florilegium.engine.planning.graph import Node
from florilegium.engine.results.layer import make_layer
from florilegium.engine.results.sample_judging import columns_of
from florilegium.engine.results.shard import Shard
from florilegium.testing.checks import name_of
from florilegium.testing.faults import ContractBroken
from florilegium.testing.judging import REASON, Judged, first_of_verdicts, record_of
from florilegium.testing.subject import Subject


def drops_validly(subject: Subject) -> Iterator[str]:
    """Verdicts are as many as samples, each with a reason."""
    samples = _columns(subject, subject.samples)
    verdicts: object = _filter(subject).judge(samples)
    if not isinstance(verdicts, Verdicts) or len(verdicts.reason) != len(samples):
        yield "`judge` must return Verdicts(len(samples))"
        return
    for reason in sorted({str(one) for one in verdicts.reason[verdicts.is_dropped]}):
        if not REASON.fullmatch(reason):
            yield f"it drops for the reason {reason!r}: give a short constant in snake_case"
    for name, values in verdicts.measurements.items():
        if np.isinf(values).any():
            yield f"its number {name!r} of a verdict is infinite"


def drops_without_changes(subject: Subject) -> Iterator[str]:
    """The columns that a sample filter judges are the same afterwards."""
    samples = _columns(subject, subject.samples)
    columns = {
        name: getattr(samples, name)
        for name in ("key", "sha256", "width_px", "height_px", "source", "metadata")
    } | {**samples.numbers, **samples.texts}
    before = {name: column.copy() for name, column in columns.items()}
    _filter(subject).judge(samples)
    for name, column in columns.items():
        is_number = np.issubdtype(column.dtype, np.floating)
        if not np.array_equal(before[name], column, equal_nan=is_number):
            yield f"`judge` writes into the column {name!r}: copy it first"


def drops_each_sample_alone(subject: Subject) -> Iterator[str]:
    """A verdict does not depend on the samples beside it or their order, and comes again."""
    together = judged_samples(subject, subject.samples)
    backwards = judged_samples(subject, subject.samples[::-1])
    if difference := first_of_verdicts(together, backwards):
        yield f"its verdicts depend on the order of the samples, or change ({difference})"
        return
    alone: dict[str, tuple[Any, ...]] = {}
    for one in subject.samples if not _filter(subject).compares else ():
        alone |= judged_samples(subject, [one])
    if alone and (difference := first_of_verdicts(together, alone)):
        yield f"its verdict on a sample depends on the samples beside it ({difference})"
    _filter(subject).judge(_columns(subject, []))


def compares_in_order(subject: Subject) -> Iterator[str]:
    """What is found for a shard depends on it and on those before it only."""
    stage = _filter(subject)
    if not stage.compares:
        return
    shards = [_columns(subject, [one], compared=False) for one in subject.samples]
    whole = [_listed(stage, one) for one in stage.compare(iter(shards))]
    if len(whole) != len(shards):
        yield f"`compare` gives {len(whole)} answers to {len(shards)} shards: one each is wanted"
        return
    part = [_listed(stage, one) for one in stage.compare(iter(shards[: len(shards) // 2]))]
    if whole[: len(part)] != part:
        yield "`compare` finds something else for a shard when others come after it"


def _listed(stage: SampleFilter[Any], found: Mapping[str, Sequence[Any]]) -> list[list[Any]]:
    return [list(found[name]) for name in (*stage.compared, *stage.compared_texts)]


def judged_samples(subject: Subject, samples: Sequence[Sample]) -> Judged:
    """Judge samples; return the verdicts by key."""
    columns = _columns(subject, samples)
    verdicts = _filter(subject).judge(columns)
    found: dict[str, tuple[Any, ...]] = {}
    for row, sample in enumerate(samples):
        numbers = {name: float(values[row]) for name, values in verdicts.measurements.items()}
        kept = {name: round(value, 6) for name, value in numbers.items() if not np.isnan(value)}
        found[sample.key] = (True, verdicts.reason[row], kept, ())
    return found


def sample_reasons(
    filter_class: type[SampleFilter[Any]],
    *samples: Sample,
    options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return why a sample filter drops each sample, "" for one that it keeps.

    A sample filter that measures is loaded and measures first; one that compares gets all samples
    as one shard.

    Raises:
        ContractBroken: it cannot be loaded, or fails on a sample.
    """
    subject = Subject(filter_class, options=options, samples=samples)
    if subject.problem:
        raise ContractBroken(name_of(filter_class), [f"it cannot be loaded: {subject.problem}"])
    answers = subject.together if subject.is_asked else []
    if faults := [f"it fails: {one}" for one in answers if isinstance(one, SampleError)]:
        raise ContractBroken(name_of(filter_class), faults)
    return [str(reason) for reason in _filter(subject).judge(_columns(subject, samples)).reason]


def _filter(subject: Subject) -> SampleFilter[Any]:
    """Return the filter as it judges: not loaded, as when all that it measured is stored."""
    new = subject.new()
    assert isinstance(new, SampleFilter)
    return new


def _columns(
    subject: Subject, samples: Sequence[Sample], *, compared: bool = True
) -> SampleColumns:
    """Return samples as a sample filter judges them, with what it measured and compared."""
    shard = Shard(
        number=0,
        records=tuple(map(record_of, samples)),
        labels=((),) * len(samples),
        dead_letters=(),
    )
    stage = subject.stage
    assert isinstance(stage, SampleFilter)
    layer = None
    if subject.is_asked:
        node = Node[Any](name="stage", use="stage", stage=stage, fingerprint="stage")
        answers = {  # by object, as samples of a test may share a key
            id(sample): answer
            for sample, answer in zip(subject.samples, subject.together, strict=True)
            if not isinstance(answer, SampleError)
        }
        rows = {n: answers[id(one)] for n, one in enumerate(samples) if id(one) in answers}
        layer = make_layer(node, rows, ())
    columns = columns_of(shard, stage, layer, range(len(samples)))
    if not (compared and stage.compares):
        return columns
    (found,) = stage.compare(iter([columns]))
    numbers = {name: np.asarray(found[name], np.float64) for name in stage.compared}
    texts = {name: np.asarray(found[name], object) for name in stage.compared_texts}
    return replace(
        columns, numbers={**columns.numbers, **numbers}, texts={**columns.texts, **texts}
    )
