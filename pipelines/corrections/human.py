"""The specialist `human`: what people corrected or added, as annotations of a run.

It asks nobody: the corrections of the run are its answers. `human_first` lets them outrank others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from florilegium.engine.core.annotation import Annotation, Provenance
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.rows import INVALID_OUTPUT, AnnotationRows
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, RUNTIME, Specialist, StageConfig
from florilegium.engine.core.tasks import TASKS
from florilegium.engine.core.validity import problem_of
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.corrections.correction import Correction
from florilegium.pipelines.corrections.in_force import InForce, by_image, in_force
from florilegium.pipelines.corrections.store import digest_of_corrections, read_corrections

PEOPLE = "people"
"""The `model` of a stage whose annotations name a person instead, and a time as their revision."""


class CorrectionsConfig(StageConfig):
    """Options of stages that read corrections."""

    batch_size: Annotated[int, RUNTIME] = 256
    """Images per call of the stage."""
    corrections: Annotated[str, CONTENT] = ""
    """The folder of corrections, a path or an fsspec URL, as `florilegium import` writes it:
    `corrections` in the output of a run; empty: there are none. Their digest is the stage's
    revision, so only what they say counts."""


class Corrections:
    """The corrections of a folder, by the SHA-256 of their image.

    They are read when it is made: a worker on another machine may not have the files.
    """

    def __init__(self, url: str) -> None:
        found = read_corrections(Folder(url)) if url else []
        self.digest = digest_of_corrections(found)
        self.people = sorted({one.who for one in found})
        self.count = len(found)
        self._of_image: dict[str, list[Correction]] = by_image(found)

    def of(self, sha256: str) -> InForce:
        """Return what the corrections of an image come to."""
        return in_force(self._of_image.get(sha256, ()))


@dataclass(frozen=True)
class PeoplesRows(AnnotationRows):
    """Annotations that keep their id, the person who made them and the time.

    Their parents are looked up in the whole image, which the stage does not read.
    """

    def stamped(
        self, rows: list[Annotation], provenance: Provenance, digest: str, question: str = ""
    ) -> list[Annotation]:
        return [
            replace(
                row,
                specialist=provenance.specialist,
                round=provenance.round,
                stage=provenance.stage,
            )
            for row in rows
        ]

    def _problem_of_rows(
        self, rows: Sequence[Annotation], sample: Sample, limits: Limits
    ) -> SampleError | None:
        for row in rows:
            if problem := problem_of(row, width=sample.width, height=sample.height):
                return SampleError(INVALID_OUTPUT, problem)
        return None


class Human(Specialist[CorrectionsConfig]):
    """Annotations that people changed or added, with who made them (`model`) and when (`revision`).

    An annotation has the id of its correction, whatever else is corrected later; its confidence
    is 1. The filter `human_first` drops what it replaces.
    """

    Config: ClassVar[type[StageConfig]] = CorrectionsConfig
    is_of_people: ClassVar[bool] = True
    produces: tuple[str, ...] = tuple(TASKS)

    def __init__(self, config: CorrectionsConfig) -> None:
        super().__init__(config)
        self._corrections = Corrections(config.corrections)

    @property
    def model(self) -> str:
        return PEOPLE

    @property
    def rows(self) -> AnnotationRows:
        return PeoplesRows(tuple(self.produces))

    def revision(self) -> str:
        """Name the corrections by their digest."""
        return self._corrections.digest

    def omissions(self) -> Sequence[str]:
        if not self._corrections.count:
            return ()
        who = ", ".join(self._corrections.people[:3]) + (
            ", ..." if len(self._corrections.people) > 3 else ""
        )
        return (f"{counted(self._corrections.count, 'correction')} by {who}",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation] | SampleError]:
        """Return what people made of each image."""
        return [list(self._corrections.of(sample.sha256).made) for sample in samples]
