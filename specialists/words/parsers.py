"""spaCy's small pipelines of languages other than English, where one is installed."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.language import Language

_NAMES = ("{}_core_news_sm", "{}_core_web_sm")


@cache
def load_parser(package: str) -> Language:
    """Return an installed pipeline without named entities, once per process."""
    import spacy

    return spacy.load(package, exclude=["ner"])


def installed_parser(code: str) -> tuple[str, str] | None:
    """Return the package and version of the pipeline of a language by its code (`de`), or `None`;
    imports no spaCy."""
    for name in _NAMES:
        package = name.format(code)
        try:
            return package, version(package)
        except PackageNotFoundError:
            continue
    return None
