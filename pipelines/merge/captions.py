"""Of several captions of one image, the one that agrees best with the objects in it.

A caption names things by words; words and labels are compared as spelled, plurals included. No
parser is asked and no pixel.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from engine.core.annotation import Annotation
from pipelines.merge.candidates import Candidates
from pipelines.merge.statement import repeat
from specialists.words.nouns import NUMBERS, REFERENCES, plural

_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*|[^\w\s]")
_ARTICLES = {"a": 1, "an": 1, **{word: number for number, word in enumerate(NUMBERS)}}
_ADJECTIVES = 4
"""Words that may stand between an article and its noun."""
_OPEN_PLURAL = 2
"""How many things a bare plural speaks of, at least."""


def chosen_caption(
    candidates: Candidates, objects: Sequence[Annotation], names: Collection[str] = ()
) -> list[Annotation]:
    """Return the best caption, if there is any; `merged_from` are all that say just the same.

    The best has the highest F1 between the things it names and the objects; of equal ones it is
    the one more probably right, then that of the higher score, then the first. The confidence is
    what its voter's score is worth.

    Args:
        names: labels that objects have elsewhere: a caption that has one too many is worse.
    """
    captions = candidates.annotations
    if not captions:
        return []
    agreement = object_agreement([one.text for one in captions], objects, names)
    certainty = (np.nan_to_num(one, nan=-1.0) for one in (candidates.score, candidates.trust))
    best = int(np.lexsort([-one for one in (*certainty, agreement)])[0])
    same = [captions[row].id for row in np.flatnonzero(candidates.word == candidates.word[best])]
    return [repeat(captions[best], merged_from=tuple(same), confidence=candidates.trust[best])]


def moved(made: Annotation, parent: Annotation, merged: Annotation) -> Annotation:
    """Return what was made from an annotation as made from what this was merged into.

    Captions that say the same may differ in case and outer white space, so that a phrase stands
    elsewhere. One that cannot be found again stays with its own caption.
    """
    if not made.span or parent.text == merged.text:
        return replace(made, parent_id=merged.id)
    shift = _indent(merged.text) - _indent(parent.text)
    start, stop = (edge + shift for edge in made.span)
    before, after = parent.text[slice(*made.span)], merged.text[max(0, start) : stop]
    if before.casefold() != after.casefold():
        return made
    text = after if made.text == before else made.text
    return replace(made, parent_id=merged.id, span=(start, stop), text=text)


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())


def object_agreement(
    captions: Sequence[str], objects: Sequence[Annotation], names: Collection[str] = ()
) -> np.ndarray:
    """Return how well the things that captions name are the objects: F1, 0..1, (captions,).

    Things are counted: of two cups where there is one, one is too many. Words that are no label
    of an object and not among `names` are not looked at.
    """
    there = Counter(one.label.strip().casefold() for one in objects if one.label.strip())
    labels = sorted({*there, *(name.casefold() for name in names)})
    return np.array([_f1(mentions(caption, labels), there) for caption in captions])


def mentions(caption: str, labels: Sequence[str]) -> Counter[str]:
    """Count the things of each label that a caption introduces.

    "A cup" is one, "two cups" are two, "cups" at least two; "the cup" is one that was named
    before, or one if it was not.
    """
    words = _WORD.findall(caption.casefold())
    count: Counter[str] = Counter()
    is_taken = [False] * len(words)
    for label in sorted(labels, key=lambda label: -len(label)):
        for form, default in ((label, 1), (plural(label), _OPEN_PLURAL)):
            name = _WORD.findall(form)
            for start in range(len(words) - len(name) + 1):
                stop = start + len(name)
                if words[start:stop] == name and not any(is_taken[start:stop]):
                    is_taken[start:stop] = [True] * len(name)
                    count[label] += _introduced(words[:start], default, label in count)
            if form == plural(form):
                break
    return count


def _introduced(before: Sequence[str], default: int, is_known: bool) -> int:
    """Return how many things a noun introduces after these words."""
    for word in before[: -_ADJECTIVES - 2 : -1]:
        if word in _ARTICLES:
            return _ARTICLES[word]
        if word in REFERENCES:
            return 0 if is_known else default
        if not word[0].isalnum():
            break
    return default


def _f1(said: Counter[str], there: Counter[str]) -> float:
    both, total = (said & there).total(), said.total() + there.total()
    return 2 * both / total if total else 1.0
