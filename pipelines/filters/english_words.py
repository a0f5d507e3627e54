"""Whether a text is English, by its words and its letters; names are ignored.

The words are those of spaCy's English pipeline and the stop words of other languages; py3langid
judges the letters. A text that is too short has no probability.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from runpy import run_path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier
    from spacy.language import Language

LANGUAGES = "en ar cs da de el es fa fi fr he hi hu id it ja ko nl no pl pt ro ru sv th tr uk vi zh"
"""The languages that the identifier distinguishes by their letters."""
COMMON_WORDS = (
    "af ca cs da de es et eu fi fr hr hu id is it lt lv nb nl pl pt ro sk sl sq sv tl tr vi"
)
"""The languages in Latin script whose stop words are used."""
SEVERAL = 3
"""Ordinary words of another language, at least, in a foreign text."""

_SMALL_WORDS = (
    "about above across after against all along among an and another are around as at be been "
    "before behind being below beside between both but by down during each few for from had has "
    "have he her his in into is it its many more most near next no not of off on one or other out "
    "over several she some that the their there these they this those three through to two under "
    "up upon very was we were when where which while who with within without you"
)
"""Function words, of which an English sentence has some and a foreign one few."""
_FUNCTIONS = frozenset(_SMALL_WORDS.split())
_SPELLED_ALIKE = (
    "a am bag bald bar bare bat bet bland car care cat certain come comment dice different "
    "dire diverse do dock dog door dot dove doze drug due duke elf elk end even exact face fan "
    "fare favor final fine fire folk font gang gene go god gross ham hare hat hay hem hen here hit "
    "hop ill inn jam jog land later like link local logo male man mane mat may me men mere met "
    "mind mine mint mire mode net nice noon ode once pan pat pendant pet pic pie plus pole pot "
    "pour premier press pun pure quay sale salvo same save sea sedan see sense sent six slab so "
    "solo son sons state stop store suit tag take tale tan tend tie ties till tin toe ton tone "
    "total us van vet visa want will yang zero"
)
"""English words that are spelled like function words of other languages."""
_SHARED = frozenset(_SPELLED_ALIKE.split())
_ODDS = {"function": 3.0, "word": 1.5, "foreign": -3.0, "unknown": -0.7}
"""Log odds of each kind of word: in English against other languages."""
_MAX_LOG_ODDS = 12.0
_HARDLY_ENGLISH = 0.001
"""Probability by letters below which few foreign words suffice."""
_TOKEN = re.compile(r"[^\W\d_]+|[.!?:;\n]")
_NAME_PARTS = (
    "a al am au aux da das de del della delle dei den der des di do dos du e el en et i im la las "
    "le les los na of sous sur ten ter und van von y zu zum zur"
)
"""Words that join the parts of a name: "Plaza de la Constitución"."""
_PARTICLES = frozenset(_NAME_PARTS.split())


class EnglishWords:
    """Estimates the probability that a text is English."""

    def __init__(self, nlp: Language) -> None:
        """Use the vocabulary of the English pipeline; load the language identifier."""
        self._vocabulary = _Vocabulary(nlp)
        self._common = _common_words()
        self._identifier = language_identifier(LANGUAGES.split())

    def probability(self, prose: str) -> float:
        """Return the probability that the text is English, 0..1, or NaN when it is too short."""
        prose = unicodedata.normalize("NFKC", prose)
        words = list(dict.fromkeys(_ordinary_words(prose, self._is_common)))
        by_letters = dict(self._identifier.rank(prose))
        language = self._likeliest(words, by_letters)
        kinds = Counter(filter(None, (self._kind(word, language) for word in words)))
        if not _is_latin(prose) and kinds["function"] + kinds["word"] < SEVERAL:
            return 0.0
        if not kinds:
            return math.nan
        log_odds = _logit(by_letters["en"])
        log_odds += sum(_ODDS[kind] * count for kind, count in kinds.items())
        if log_odds < 0 and not _are_several(kinds, of=len(words), by_letters=by_letters["en"]):
            return math.nan
        bounded = max(-_MAX_LOG_ODDS, min(_MAX_LOG_ODDS, log_odds))
        return 1 / (1 + math.exp(-bounded))

    def _likeliest(self, words: list[str], by_letters: Mapping[str, float]) -> str:
        """Return the other language with most of the words, or ""; letters break ties."""
        counts: Counter[str] = Counter()
        for word in words:
            counts.update(self._common.get(word, ()) if word not in _FUNCTIONS else ())
        return max(
            sorted(counts), key=lambda one: (counts[one], by_letters.get(one, 0.0)), default=""
        )

    def _kind(self, word: str, language: str) -> str:
        """Return the kind of a word, a key of `_ODDS`; "" when it belongs to both languages."""
        is_foreign = language in self._common.get(word, ())
        if word in _FUNCTIONS:
            return "" if is_foreign else "function"
        if is_foreign:
            return "" if word in _SHARED else "foreign"
        if word == "a":
            return "word"
        if len(word) < 3:
            return ""
        return "word" if word in self._vocabulary else "unknown"

    def _is_common(self, word: str) -> bool:
        return word in _FUNCTIONS or word in self._common


def language_identifier(languages: Sequence[str]) -> LanguageIdentifier:
    """Return an identifier of these languages alone: one that was restricted to them would keep the
    weights of all others, 25 MB."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    model = LanguageIdentifier.from_model_file(MODEL_FILE)
    model.set_languages(list(languages))
    return LanguageIdentifier(
        model.nb_ptc,
        model.nb_pc,
        model.nb_classes,
        model.tk_nextmove,
        model.tk_output,
        norm_probs=True,
        tk_row=model.tk_row,
    )


class _Vocabulary:
    """The words of the pipeline's lemmatizer, which are WordNet's, and their inflections."""

    def __init__(self, nlp: Language) -> None:
        lookups = nlp.get_pipe("lemmatizer").lookups
        index, exceptions = lookups.get_table("lemma_index"), lookups.get_table("lemma_exc")
        self._words = {word for words in index.values() for word in words}
        self._words.update(word for table in exceptions.values() for word in table)
        rules = lookups.get_table("lemma_rules").values()
        self._rules = sorted({(old, new) for table in rules for old, new in table if old})
        self._is_known = lru_cache(maxsize=100_000)(self._look_up)

    def __contains__(self, word: str) -> bool:
        return self._is_known(word)

    def _look_up(self, word: str) -> bool:
        return word in self._words or any(
            word.endswith(old) and word[: -len(old)] + new in self._words
            for old, new in self._rules
        )


def _common_words() -> Mapping[str, tuple[str, ...]]:
    """Return the languages of each common word.

    The lists are read as files: the import of a language compiles its tokenizer, for seconds.
    """
    import spacy.lang

    languages: dict[str, tuple[str, ...]] = {}
    for language in COMMON_WORDS.split():
        path = Path(spacy.lang.__path__[0], language, "stop_words.py")
        for word in run_path(str(path))["STOP_WORDS"]:
            languages[word] = (*languages.get(word, ()), language)
    return languages


def _are_several(kinds: Mapping[str, int], *, of: int, by_letters: float) -> bool:
    """Whether a text has enough ordinary words of another language to be foreign.

    The name of a dish or a title may have some ("Spaghetti alla carbonara"); each function word
    that only English has raises the number that is needed.

    Args:
        of: all ordinary words of the text.
        by_letters: the probability that the text is English by its letters alone, 0..1.
    """
    common, small = kinds["foreign"], kinds["function"]
    foreign = common + kinds["unknown"]
    if foreign >= SEVERAL * (1 + small) and common >= 2 * (1 + small):
        return True
    is_plain = common > 0 and foreign > 1 and of > SEVERAL and by_letters < _HARDLY_ENGLISH
    return not small and (foreign > SEVERAL or is_plain)


def _ordinary_words(prose: str, is_common: Callable[[str], bool]) -> Iterator[str]:
    """Yield the words that are not part of names, in lower case.

    A capitalised word is a name, unless it begins a sentence and is common or is followed by a
    word in small letters. Particles between capitalised words belong to the name.
    """
    tokens = _TOKEN.findall(prose)
    is_cased = any(token[0].islower() for token in tokens)
    for index, token in enumerate(tokens):
        word = unicodedata.normalize("NFC", token.lower().replace("\u0307", ""))
        if len(token) == 1 and word != "a":
            continue
        if token[0].isupper():
            is_first = index == 0 or not tokens[index - 1].isalpha()
            is_single = is_first and index + 1 < len(tokens) and _is_small(tokens[index + 1])
            if is_single or (is_common(word) and (is_first or not is_cased)):
                yield word
        elif word not in _PARTICLES or not _is_within_name(tokens, index):
            yield word


def _is_small(token: str) -> bool:
    return token[0].islower() and token not in _PARTICLES


def _is_within_name(tokens: list[str], index: int) -> bool:
    """Whether a particle, with others beside it, is between capitalised words."""
    before, behind = index - 1, index + 1
    while before >= 0 and tokens[before] in _PARTICLES:
        before -= 1
    while behind < len(tokens) and tokens[behind] in _PARTICLES:
        behind += 1
    return (
        before >= 0
        and behind < len(tokens)
        and tokens[before][0].isupper()
        and tokens[behind][0].isupper()
    )


def _is_latin(prose: str) -> bool:
    """Whether at least half of the letters are Latin, or all but one."""
    if prose.isascii():
        return True
    is_latin = [_is_latin_letter(letter) for letter in prose if letter.isalpha()]
    other = is_latin.count(False)
    return other < 2 or 2 * other <= len(is_latin)


@lru_cache(maxsize=4096)
def _is_latin_letter(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("LATIN")


def _logit(probability: float) -> float:
    bounded = min(max(probability, 1e-9), 1 - 1e-9)
    return math.log(bounded / (1 - bounded))
