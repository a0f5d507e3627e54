"""A stage that tells, where it fails, all that it knows."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import quote

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Specialist, StageConfig

VARIABLES = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "FSSPEC_S3_SECRET"]


def forms_of(secret: str) -> list[str]:
    """Return other ways of writing a secret, which give it away just as well."""
    data, quoted = secret.encode(), quote(secret, safe="")
    return [
        quoted,
        quoted.lower(),
        quote(quoted, safe=""),
        secret.upper(),
        data.hex(),
        b64encode(data).decode(),
        b64encode(b"anna:" + data).decode(),
        secret.replace("/", "\\u002f"),
        f"{secret[:7]}\n    {secret[7:]}",
    ]


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
            values = [os.environ[name] for name in VARIABLES]
            text = " ".join([*values, *(form for one in values for form in forms_of(one))])
            text += f" https://anna:{text.split()[0]}@host/x?sig={text.split()[1]}"
            if sample.key.endswith("0"):
                answers.append([Annotation(kind="text", task="tag", label="first")])
            elif sample.key.endswith("1"):
                answers.append(SampleError("own_reason", text, traceback=f"by hand: {text}"))
            else:
                try:
                    raise OSError(text)
                except OSError as error:
                    raise RuntimeError(f"{'x' * 1990}{text}") from error
        return answers
