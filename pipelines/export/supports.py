"""Which examples come before the query of an episode: at random, by class, or by similarity.

A query's supports are other images: not its own, no copy of it, and each image once. The choice
depends on the seed and on what can be chosen, not on the order of the queries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from florilegium.pipelines.export.shots import CLASSIFICATION, Shot


@dataclass(frozen=True, kw_only=True)
class Images:
    """What is known of all images, by number.

    `digest` names the content of an image: copies have the same. `vectors` are unit vectors,
    float32, shape (n, width), or there are none.
    """

    digest: Sequence[str]
    vectors: npt.NDArray[np.float32] | None = None


class Supports(ABC):
    """Chooses among the shots of one task."""

    def __init__(self, shots: Sequence[Shot], images: Images, *, seed: int) -> None:
        self.shots = shots
        self.images = images
        self._seed = seed

    def chosen(self, query: Shot, count: int) -> list[Shot]:
        """Return so many shots for a query, or as many as there are; the best comes last, beside
        the query."""
        taken = {self.images.digest[query.image]}
        found: list[Shot] = []
        if count == 0:
            return found
        for number in self._ranked(query):
            shot = self.shots[number]
            digest = self.images.digest[shot.image]
            if digest not in taken:
                taken.add(digest)
                found.append(shot)
            if len(found) == count:
                break
        return found[::-1]

    @abstractmethod
    def _ranked(self, query: Shot) -> npt.NDArray[np.int64]:
        """Return the numbers of all shots, the best first: some cannot be taken."""

    def _shuffled(self, query: Shot) -> npt.NDArray[np.int64]:
        """Return the numbers of all shots in an order that the seed and the query give."""
        name = f"{self._seed} {self.images.digest[query.image]} {query.task} {query.question}"
        digest = blake2b(name.encode(), digest_size=8).digest()
        return np.random.default_rng(int.from_bytes(digest)).permutation(len(self.shots))


class RandomSupports(Supports):
    """Any shots."""

    def _ranked(self, query: Shot) -> npt.NDArray[np.int64]:
        return self._shuffled(query)


class ClassSupports(Supports):
    """Shots of images that have a class in common with the query's, then others.

    Where the class is what is asked for, one of each class in turn: else the supports would give
    the answer away.
    """

    def __init__(self, shots: Sequence[Shot], images: Images, *, seed: int) -> None:
        super().__init__(shots, images, seed=seed)
        self._answer = np.unique([shot.answer for shot in shots], return_inverse=True)[1]
        having: defaultdict[str, list[int]] = defaultdict(list)
        for number, shot in enumerate(shots):
            for name in shot.classes:
                having[name].append(number)
        self._having = {name: np.array(numbers) for name, numbers in having.items()}

    def _ranked(self, query: Shot) -> npt.NDArray[np.int64]:
        order = self._shuffled(query)
        if query.task == CLASSIFICATION:
            return order[np.argsort(_turns(self._answer[order]), kind="stable")]
        is_related = np.zeros(len(self.shots), np.bool_)
        for name in query.classes:
            is_related[self._having.get(name, [])] = True
        return order[np.argsort(~is_related[order], kind="stable")]


class SimilarSupports(Supports):
    """Shots of the most similar images (RICES, appendix A.2 of the Flamingo paper)."""

    def __init__(self, shots: Sequence[Shot], images: Images, *, seed: int) -> None:
        super().__init__(shots, images, seed=seed)
        assert images.vectors is not None
        self._vectors = images.vectors[[shot.image for shot in shots]]

    def _ranked(self, query: Shot) -> npt.NDArray[np.int64]:
        assert self.images.vectors is not None
        similarity = self._vectors @ self.images.vectors[query.image]
        return np.argsort(-similarity, kind="stable")


def _turns(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return for each entry how many equal ones come before it."""
    by_code = np.argsort(codes, kind="stable")
    ordered = codes[by_code]
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    lengths = np.diff(np.append(first, len(codes)))
    turns = np.empty(len(codes), np.int64)
    turns[by_code] = np.arange(len(codes)) - np.repeat(first, lengths)
    return turns
