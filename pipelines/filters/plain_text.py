"""The words of a text, without emoji, symbols, emoticons, links, file names and markup.

Knows no language: words of all scripts stay.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_MARKUP = re.compile(r"</?[a-z][^<>]*>|&(?:[a-z]+|#\d+);", re.IGNORECASE)
_SHORTCODE = re.compile(r"(?<!\w):[a-z0-9_+-]*[a-z][a-z0-9_+-]*:(?!\w)", re.IGNORECASE)
"""An emoji by its name, as chats write it: ":dog:"."""
_FILE_ENDINGS = (
    "jpe?g|jfif|png|gif|webp|bmp|tiff?|hei[cf]|avif|svg|psd|nef|cr[23]|arw|dng|mp4|mov|avi|"
    "pdf|docx?|html?|php|aspx?|zip"
)
_NO_WORD = re.compile(
    rf"""[(\[<"']*(?:
        (?:https?|ftp|file|s3|gs|data):\S+ | www\.\S+          # a link
      | [\w-]+(?:\.[\w-]+)*\.(?:com|org|net|gov|edu|io)(?:/\S*)?
      | [\w.+-]+@[\w-]+\.[\w.-]+                               # an address
      | \S+\.(?:{_FILE_ENDINGS})                               # a file
      | \w*_\w*                                                # a name of a file or field
      | [a-z]+-?\d{{4,}}\w*                                    # DSC00042
      | (?=\w*\d)[0-9a-f]{{12,}} | [0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}  # a digest
    )[)\]>"'.,;:!?]*""",
    re.IGNORECASE | re.VERBOSE,
)
_LATIN_1 = 0xFF
_JOINERS = frozenset("\u200d\u20e3\ufe0e\ufe0f")


def plain_text(text: str) -> str:
    """Return the words of a text with their punctuation, without everything else.

    Lines stay lines, other white space is one space.
    """
    text = _SHORTCODE.sub(" ", _MARKUP.sub(" ", text))
    if not text.isascii():
        text = "".join(" " if _is_picture(letter) else letter for letter in text)
    lines = (" ".join(filter(_is_worded, line.split())) for line in text.splitlines())
    return "\n".join(filter(None, lines))


def _is_worded(chunk: str) -> bool:
    return chunk not in _emoticons() and not _NO_WORD.fullmatch(chunk)


@lru_cache(maxsize=4096)
def _is_picture(letter: str) -> bool:
    """Whether a character is an emoji, a symbol or a part of one; letters are not."""
    category = unicodedata.category(letter)
    if category == "Sm":
        return ord(letter) > _LATIN_1
    return (
        (category in ("So", "Sk", "Co", "Cn") and not letter.isascii())
        or letter in _JOINERS
        or "\U000e0020" <= letter <= "\U000e007f"
    )


@lru_cache(maxsize=1)
def _emoticons() -> frozenset[str]:
    from spacy.lang.tokenizer_exceptions import emoticons

    return frozenset(emoticons)
