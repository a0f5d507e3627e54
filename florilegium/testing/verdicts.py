"""The verdicts of a filter on one sample, for tests that state the right ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Filter
from florilegium.testing.checks import name_of
from florilegium.testing.faults import ContractBroken
from florilegium.testing.judging import judged
from florilegium.testing.subject import Subject


def reasons(
    filter_class: type[Filter[Any]], sample: Sample, *, options: Mapping[str, Any] | None = None
) -> list[str | None]:
    """Return why a filter drops each annotation of a sample, in their order.

    The reason is "" for an annotation that it keeps, and `None` for one that it does not judge. A
    filter that measures is loaded and measures first.

    Raises:
        ContractBroken: it cannot be loaded, or measures nothing because it fails.
    """
    subject = Subject(filter_class, options=options, samples=[sample])
    if subject.problem:
        raise ContractBroken(name_of(filter_class), [f"it cannot be loaded: {subject.problem}"])
    answers = subject.together if subject.is_asked else []
    if faults := [f"it fails: {one}" for one in answers if isinstance(one, SampleError)]:
        raise ContractBroken(name_of(filter_class), faults)
    verdicts = judged(subject, [sample])
    return [_reason(*verdicts[one.id]) for one in sample.annotations]


def _reason(is_judged: bool, reason: str, *_: object) -> str | None:
    return reason if is_judged else None
