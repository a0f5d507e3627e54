"""A stage that takes its time and writes down on which node it ran."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Specialist, StageConfig


class PlacedConfig(StageConfig):
    """Where calls are written down, and how long they take."""

    log: str
    """A file that gets a line for each call."""
    seconds: float = 0.5
    """How long a call takes."""
    waits_for: str = ""
    """A file without which no call ends."""
    batch_size: int = 2
    """Images per call."""


class Placed(Specialist[PlacedConfig]):
    """Says the same of each image."""

    Config = PlacedConfig
    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        import ray

        node = ray.get_runtime_context().get_node_id()
        line = {"node": node, "begun_s": time.time(), "keys": [sample.key for sample in samples]}
        with open(self.config.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        time.sleep(self.config.seconds)
        while self.config.waits_for and not os.path.exists(self.config.waits_for):
            time.sleep(0.05)
        return [[Annotation(kind="text", task="tag", label="seen")] for _ in samples]
