"""A stage that says that it pays a service for each image."""

from __future__ import annotations

from collections.abc import Sequence

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.spent import Spent
from florilegium.engine.core.stage import StageConfig
from tests.stages import Brightest

PRICE = 0.25
TOKENS = 100


class Paid(Brightest):
    """Finds what `Brightest` finds, with one request for each image."""

    def __init__(self, config: StageConfig) -> None:
        super().__init__(config)
        self._requests = 0

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        self._requests += len(samples)
        return super().predict(samples)

    def spent(self) -> Spent:
        return Spent(
            requests=self._requests,
            tokens=self._requests * TOKENS,
            cost=self._requests * PRICE,
        )
