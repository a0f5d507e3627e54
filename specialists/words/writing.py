"""Scripts, words and sentences of texts in any language.

In scripts without spaces, such as Chinese and Thai, a letter with its marks is the unit in place of
a word: finding words there needs a dictionary. Knows no language but its script.
"""

from __future__ import annotations

import unicodedata

import regex

_UNSPACED = "[[\\p{Han}\\p{Hiragana}\\p{Thai}\\p{Lao}\\p{Khmer}\\p{Myanmar}]&&[\\p{L}\\p{Nl}]]"
"""Letters of scripts without spaces. Katakana is not among them: a run of it is a word (UAX 29)."""
_JOINED = r"[\p{L}\p{M}\p{N}\u200c\u200d]"
_WORD = regex.compile(
    rf"{_UNSPACED}\p{{M}}*|(?:(?!{_UNSPACED})[\p{{L}}\p{{N}}])(?:(?!{_UNSPACED}){_JOINED})*"
    rf"(?:['\u2019](?:(?!{_UNSPACED}){_JOINED})+)*",
    regex.VERSION1,
)
_IS_UNSPACED = regex.compile(_UNSPACED, regex.VERSION1)
_SENTENCE_END = regex.compile(
    r"(?<=[.!?\u2026\u061f\u06d4\u0964\u0965]['\"\u201d\u2019\u00bb)]*)\s+"
    r"|(?<=[\u3002\uff01\uff1f][\u201d\u2019\uff09\u300d\u300f]*)(?![\u201d\u2019\uff09\u300d\u300f])"
    r"|\n+",
    regex.VERSION1,
)
"""Where a sentence ends: behind its mark and a space; in Chinese and Japanese without one."""
_SCRIPTS = {
    "Arab": "Arabic",
    "Armn": "Armenian",
    "Beng": "Bengali",
    "Cyrl": "Cyrillic",
    "Deva": "Devanagari",
    "Ethi": "Ethiopic",
    "Geor": "Georgian",
    "Grek": "Greek",
    "Gujr": "Gujarati",
    "Guru": "Gurmukhi",
    "Hang": "Hangul",
    "Hans": "Han",
    "Hant": "Han",
    "Hebr": "Hebrew",
    "Jpan": "Han Hiragana Katakana",
    "Khmr": "Khmer",
    "Knda": "Kannada",
    "Laoo": "Lao",
    "Latn": "Latin",
    "Mlym": "Malayalam",
    "Mymr": "Myanmar",
    "Orya": "Oriya",
    "Sinh": "Sinhala",
    "Taml": "Tamil",
    "Telu": "Telugu",
    "Thai": "Thai",
}
"""The Unicode scripts of the letters of a script by ISO 15924."""
_LETTER = regex.compile(r"\p{L}")
_OF_SCRIPT = {
    code: regex.compile(
        f"[[{''.join(f'{chr(92)}p{{{name}}}' for name in names.split())}]&&\\p{{L}}]",
        regex.VERSION1,
    )
    for code, names in _SCRIPTS.items()
}
UNSPACED_SCRIPTS = frozenset(("Hans", "Hant", "Jpan", "Khmr", "Laoo", "Mymr", "Thai"))


def words_of_any_script(text: str) -> list[str]:
    """Return the words of a text, composed (NFKC) and lower-cased, without punctuation; of scripts
    without spaces, the letters."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def is_unspaced(word: str) -> bool:
    """Return whether a word is a letter of a script without spaces."""
    return _IS_UNSPACED.match(word) is not None


def script_share(text: str, script: str) -> float:
    """Return the share of a text's letters that are of a script (ISO 15924), 0..1; 0 without any
    letter."""
    letters = len(_LETTER.findall(text))
    return len(_OF_SCRIPT[script].findall(text)) / letters if letters else 0.0


def sentences_of_any_script(text: str) -> list[str]:
    """Return the sentences of a text, with their marks; an abbreviation may end one too early."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]
