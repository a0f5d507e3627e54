"""A specialist that finds a face and some text in the same place of every image."""

from __future__ import annotations

from collections.abc import Sequence

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Specialist, StageConfig

FACE_XYXY = (10.0, 10.0, 30.0, 30.0)
TEXT_XYXY = (40.0, 5.0, 70.0, 15.0)


class Known(Specialist[StageConfig]):
    """A face at `FACE_XYXY`; a line at `TEXT_XYXY`, personal in images with "mail" in the key."""

    produces = ("object_detection", "ocr")

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [_found(sample.key) for sample in samples]


def _found(key: str) -> list[Annotation]:
    text = "jane@example.org" if "mail" in key else "OPEN DAILY"
    line = Annotation(kind="region", task="ocr", text=text, box_xyxy=TEXT_XYXY, score=0.9)
    if "face" not in key:
        return [line]
    face = Annotation(
        kind="region", task="object_detection", label="Face", box_xyxy=FACE_XYXY, score=0.9
    )
    return [face, line]
