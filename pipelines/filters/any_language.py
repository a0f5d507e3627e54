"""Measures captions in any language: is it this language, in its script, how long, does it repeat?

Sentence structure is measured where a spaCy pipeline of the language is installed. Refusals are
known in English only: a language model that refuses does so mostly there, and its refusal is of
the wrong language here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from runpy import run_path

from florilegium.engine.core.errors import ConfigError
from florilegium.pipelines.filters.caption_measures import count_grammar, prose_of
from florilegium.pipelines.filters.english_words import LANGUAGES, language_identifier
from florilegium.pipelines.filters.repetition import count_repeats_of_any_script
from florilegium.specialists.words.languages import Language, code_of, language_of
from florilegium.specialists.words.parsers import installed_parser, load_parser
from florilegium.specialists.words.writing import (
    UNSPACED_SCRIPTS,
    is_unspaced,
    script_share,
    words_of_any_script,
)

ENGLISH = "en"
MEASURED = ("language", "script", "unspaced")
"""What is measured beside the numbers of English captions."""
_CORNERS = re.compile(r"「[^」]*」|『[^』]*』")
"""Quotations of Chinese and Japanese; `prose_of` knows the others."""
_ALIKE = {"fil": "tl", "nb": "no", "ckb": "ku"}
"""Languages that the identifier has under another code."""
_UNIDENTIFIED = frozenset(("su", "ti", "yi", "mi"))
"""Languages that the identifier does not have."""


class LanguageCaptions:
    """Measures captions in some languages, by their BCP 47 tags."""

    def __init__(self, tags: Sequence[str]) -> None:
        """Load the identifier of languages, and the parsers that are installed."""
        self._languages = {code_of(tag): language_of(tag) for tag in tags}
        own = {_identified(code) for code in self._languages if code not in _UNIDENTIFIED}
        self._identifier = language_identifier(sorted({*LANGUAGES.split(), *own}))
        for code in self._languages:
            if code != ENGLISH and (parser := installed_parser(code)):
                load_parser(parser[0])

    def code(self, declared: str, text: str) -> str:
        """Return the code of a caption's language: what it declares, else the likeliest one of
        those that are judged; "" where that is none of them."""
        if declared:
            return code_of(declared) if code_of(declared) in self._languages else ""
        likely = self._probabilities(text)
        return max(self._languages, key=lambda code: likely.get(_identified(code), 0.0))

    def measures(self, code: str, text: str, ocr_words: Collection[str]) -> dict[str, float]:
        """Return the numbers of a caption in a language other than English; `ocr_words` are the
        words read in the image, as `words_of_any_script` has them."""
        prose = prose_of(_CORNERS.sub(" ", text)) or text
        words, language = words_of_any_script(text), self._languages.get(code)
        return {
            "words": len(words) if any(map(str.isalpha, text)) else 0,
            "unspaced": sum(map(is_unspaced, words)),
            "prose_words": len(words_of_any_script(prose)),
            "repeated_clauses": count_repeats_of_any_script(prose),
            "language": self._probability(language, prose),
            "script": script_share(prose, language.script) if language else 0.0,
            "ocr_overlap": _ocr_overlap(prose, ocr_words, code),
            **self._grammar(code, text),
        }

    def _probability(self, language: Language | None, prose: str) -> float:
        if language is None:
            return 0.0
        if language.code in _UNIDENTIFIED or not any(map(str.isalpha, prose)):
            return math.nan
        return self._probabilities(prose)[_identified(language.code)]

    def _probabilities(self, prose: str) -> Mapping[str, float]:
        return dict(self._identifier.rank(prose))

    def _grammar(self, code: str, text: str) -> dict[str, float]:
        parser = installed_parser(code)
        if parser is None or code == ENGLISH:
            return {}
        counts = dict(count_grammar(load_parser(parser[0])(text)))
        del counts["words"]
        return counts


def omissions_of(tags: Sequence[str]) -> Iterator[str]:
    """Yield what is not measured of captions in some languages, a sentence each."""
    codes = [code for code in map(code_of, tags) if code != ENGLISH]
    if bare := [code for code in codes if installed_parser(code) is None]:
        yield (
            f"objects and complexity are not measured in {', '.join(bare)}: no pipeline of spaCy "
            f"is installed ({bare[0]}_core_news_sm, where there is one)"
        )
    if unknown := [code for code in codes if code in _UNIDENTIFIED]:
        yield f"the language is not identified in {', '.join(unknown)}: only its script is judged"
    if codes:
        yield f"refusals are not known in {', '.join(codes)}"
    if letters := [code for code in codes if _is_unspaced(code)]:
        yield (
            f"words are letters in {', '.join(letters)}: `max_words` and `max_ocr_overlap` do not "
            f"judge them, `max_characters` does"
        )


def parsers_of(tags: Sequence[str]) -> list[str]:
    """Name the installed parsers of languages other than English, with their versions."""
    codes = sorted({code_of(tag) for tag in tags} - {ENGLISH})
    return [" ".join(found) for code in codes if (found := installed_parser(code))]


def _is_unspaced(code: str) -> bool:
    try:
        return language_of(code).script in UNSPACED_SCRIPTS
    except ConfigError:
        return False


def _identified(code: str) -> str:
    return _ALIKE.get(code, code)


def _ocr_overlap(prose: str, ocr_words: Collection[str], code: str) -> float:
    """Return the share of content words that are text in the image, as in English; NaN in scripts
    without spaces, whose single letters tell nothing."""
    if _is_unspaced(code):
        return math.nan
    stop_words = _stop_words(code)
    content = [one for one in words_of_any_script(prose) if len(one) > 1 and one not in stop_words]
    return sum(one in ocr_words for one in content) / len(content) if len(content) > 1 else 0.0


@cache
def _stop_words(code: str) -> frozenset[str]:
    """Return spaCy's stop words of a language, none where it has none; as a file, since the import
    of a language compiles its tokenizer."""
    import spacy.lang

    path = Path(spacy.lang.__path__[0], code, "stop_words.py")
    return frozenset(run_path(str(path))["STOP_WORDS"]) if path.is_file() else frozenset()
