"""The verdicts of a filter on one sample, as the test of a plugin asks for them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.testing import ContractBroken, reasons, sample
from tests.stages import BrightEnough


def box(score: float, task: str = "object_detection") -> Annotation:
    return Annotation(kind="region", task=task, label="thing", box_xyxy=(1, 1, 9, 9), score=score)


def test_each_annotation_has_its_reason_in_their_order() -> None:
    boxes = [box(0.9), box(0.1), box(0.9, task="region_category")]
    assert reasons(BrightEnough, sample(annotations=boxes)) == ["", "too_dark", None]


class CannotLoad(BrightEnough):
    """Has no weights."""

    def load(self) -> None:
        raise ConfigError("the weights are not there")


class CannotMeasure(BrightEnough):
    """Fails on every image."""

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        raise SampleError("too_dark", "it is too dark to measure")


@pytest.mark.parametrize(
    ("filter_class", "problem"),
    [(CannotLoad, "the weights are not there"), (CannotMeasure, "too dark to measure")],
)
def test_a_filter_that_fails_has_no_reasons(filter_class: type, problem: str) -> None:
    with pytest.raises(ContractBroken, match=problem):
        reasons(filter_class, sample(annotations=[box(0.9)]))
