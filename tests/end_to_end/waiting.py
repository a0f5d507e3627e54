"""A stage that waits for the test, so that an interrupt comes at a known moment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Specialist, StageConfig


class WaitingConfig(StageConfig):
    """Where to wait."""

    key: str
    """The image at which it waits."""
    pipe: str
    """Two named pipes, `PIPE.reached` and `PIPE.go_on`; once they are gone, nobody waits."""
    log: str
    """A file that gets one line per image."""


class Waiting(Specialist[WaitingConfig]):
    """Writes down each image; at one of them, writes a file and waits for another."""

    Config = WaitingConfig
    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        with open(self.config.log, "a", encoding="utf-8") as file:
            file.writelines(f"{sample.key}\n" for sample in samples)
        reached, go_on = (Path(f"{self.config.pipe}.{name}") for name in ("reached", "go_on"))
        if any(sample.key == self.config.key for sample in samples) and reached.exists():
            reached.write_text(str(os.getpid()), encoding="utf-8")
            go_on.read_text(encoding="utf-8")
        annotation = Annotation(kind="text", task="tag", label="seen")
        return [[annotation] for _ in samples]
