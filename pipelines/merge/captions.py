"""Of several captions of one image, the one that agrees best with the objects in it.

Words and labels are compared as spelled, plurals included. This module uses no parser and no
pixels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.pipelines.merge.candidates import Candidates
from florilegium.pipelines.merge.statement import repeat
from florilegium.specialists.words.nouns import NUMBERS, REFERENCES, plural

_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*|[^\w\s]")
_ARTICLES = {"a": 1, "an": 1, **{word: number for number, word in enumerate(NUMBERS)}}
_ADJECTIVES = 4
"""Words that may stand between an article and its noun."""
_OPEN_PLURAL = 2
"""Number of objects that a plural without a number means."""


def chosen_caption(
    candidates: Candidates, objects: Sequence[Annotation], names: Collection[str] = ()
) -> list[Annotation]:
    """Return the best caption, if there is any; `merged_from` are all with the same text.

    The best has the highest F1 between the objects it mentions and those of the image; of equal
    ones it is the one with the higher trust, then with the higher score, then the first. The
    confidence is its trust.

    Args:
        names: labels of objects in other images: a caption that mentions one of them is worse.
    """
    captions = candidates.annotations
    if not captions:
        return []
    f1 = object_f1([one.text for one in captions], objects, names)
    certainty = (np.nan_to_num(one, nan=-1.0) for one in (candidates.score, candidates.trust))
    best = int(np.lexsort([-one for one in (*certainty, f1)])[0])
    same = [
        captions[row].id for row in np.flatnonzero(candidates.text_id == candidates.text_id[best])
    ]
    return [repeat(captions[best], merged_from=tuple(same), confidence=candidates.trust[best])]


def moved(made: Annotation, parent: Annotation, merged: Annotation) -> Annotation:
    """Return an annotation with the merged annotation as its parent, instead of the original one.

    Equal captions may differ in case and outer white space, which shifts the span of a phrase. A
    phrase that the merged caption does not have at that span keeps its own caption.
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


def object_f1(
    captions: Sequence[str], objects: Sequence[Annotation], names: Collection[str] = ()
) -> np.ndarray:
    """Return how well the objects that captions mention match those of the image: F1, (captions,).

    Objects are counted: two cups where there is one have one match. Words that are neither a label
    of an object nor among `names` do not count.
    """
    present = Counter(one.label.strip().casefold() for one in objects if one.label.strip())
    labels = sorted({*present, *(name.casefold() for name in names)})
    return np.array([_f1(mentions(caption, labels), present) for caption in captions])


def mentions(caption: str, labels: Sequence[str]) -> Counter[str]:
    """Count the objects of each label that a caption introduces.

    "A cup" counts 1, "two cups" 2, "cups" 2; "the cup" 0 if a cup was mentioned before, else 1.
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
    """Return how many objects a noun introduces after these words."""
    for word in before[: -_ADJECTIVES - 2 : -1]:
        if word in _ARTICLES:
            return _ARTICLES[word]
        if word in REFERENCES:
            return 0 if is_known else default
        if not word[0].isalnum():
            break
    return default


def _f1(mentioned: Counter[str], present: Counter[str]) -> float:
    both, total = (mentioned & present).total(), mentioned.total() + present.total()
    return 2 * both / total if total else 1.0
