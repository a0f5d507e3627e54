"""A stage that tells, where it fails, all that it knows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

from engine.core.annotation import Annotation
from engine.core.errors import SampleError
from engine.core.sample import Sample
from engine.core.stage import Specialist, StageConfig

VARIABLES = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "FSSPEC_S3_SECRET"]


class TalkativeConfig(StageConfig):
    """Options of `Talkative`."""

    place: str = ""
    """A text that is repeated in errors."""


class Talkative(Specialist[TalkativeConfig]):
    """Fails on every image but the first, with secrets in the error, its cause and its notes."""

    Config: ClassVar[type[StageConfig]] = TalkativeConfig
    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation] | SampleError]:
        answers: list[list[Annotation] | SampleError] = []
        for sample in samples:
            told = " ".join(os.environ[name] for name in VARIABLES)
            told += f" https://anna:{told.split()[0]}@host/x?sig={told.split()[1]}"
            if sample.key.endswith("0"):
                answers.append([Annotation(kind="text", task="tag", label="first")])
            elif sample.key.endswith("1"):
                answers.append(SampleError("own_reason", told, traceback=f"by hand: {told}"))
            else:
                try:
                    raise OSError(told)
                except OSError as error:
                    raise RuntimeError(f"{'x' * 1990}{told}") from error
        return answers
