"""Lines of OCR where nothing is written: which readings are too unsure for their length.

A pattern often looks like one letter, hardly ever like a word: the shorter a line, the higher a
score it needs. A line in another script than all other lines of its image needs that of a line of
half its length.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from florilegium.specialists.ocr.direction import Reading


def are_sure(readings: Sequence[Reading], doubt: float) -> list[bool]:
    """Return which readings of the lines of one image are sure enough.

    A line of n letters and digits needs a score of 1 - `doubt` n²; one without any is not sure.
    """
    scripts = [_scripts(reading.text) for reading in readings]
    sure = []
    for number, (text, score) in enumerate(readings):
        letters = sum(letter.isalnum() for letter in text)
        others = [one for at, one in enumerate(scripts) if at != number and one]
        is_alien = bool(others and scripts[number]) and scripts[number].isdisjoint(
            set[str]().union(*others)
        )
        length = letters / 2 if is_alien else letters
        sure.append(length > 0 and score >= 1 - doubt * length**2)
    return sure


def _scripts(text: str) -> frozenset[str]:
    """Return the scripts of the letters of a text: "LATIN", "CYRILLIC", "CJK"."""
    return frozenset(unicodedata.name(one, "").split(" ")[0] for one in text if one.isalpha())
