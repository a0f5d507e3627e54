"""What to ask for that is not there, so that a model learns to answer nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from pipelines.dataset import Labelled

_TRIES = 8


def absent_from(sample: Labelled, vocabulary: Sequence[str], random: Random) -> str:
    """Return a word or phrase of the dataset that nothing said about the sample speaks of.

    Its last word, the head noun, must not occur in any label, caption or phrase of the sample,
    singular or plural; empty when a few draws find none.
    """
    if not vocabulary:
        return ""
    spoken = {
        word
        for annotation in sample.annotations
        for word in _words(f"{annotation.label} {annotation.text}")
    }
    for _ in range(_TRIES):
        drawn = random.choice(vocabulary)
        words = _words(drawn)
        if words and words[-1] not in spoken:
            return drawn
    return ""


def _words(text: str) -> list[str]:
    return [word.removesuffix("s") for word in re.findall(r"\w+", text.lower())]
