"""A stage that takes its time and writes down on which node it ran."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from engine.core.annotation import Annotation
from engine.core.sample import Sample
from engine.core.stage import Specialist, StageConfig


class PlacedConfig(StageConfig):
    """Where calls are written down, and how long they take."""

    log: str
    """A file that gets a line for each call."""
    seconds: float = 0.5
    """How long a call takes."""
    batch_size: int = 2
    """Images per call."""


class Placed(Specialist[PlacedConfig]):
    """Says the same of each image."""

    Config = PlacedConfig
    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        import ray

        begun_s = time.time()
        time.sleep(self.config.seconds)
        node = ray.get_runtime_context().get_node_id()
        line = {"node": node, "begun_s": begun_s, "keys": [sample.key for sample in samples]}
        with open(self.config.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return [[Annotation(kind="text", task="tag", label="seen")] for _ in samples]
