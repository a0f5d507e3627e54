"""What an open-vocabulary detector looks for in an image, and what it found.

The names of a vocabulary with their phrases, the names that captions and tags bring, and
negatives: names that are asked for so that others need not take their boxes. Knows no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

PLACE = "{}"
"""The place of a phrase in a template."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Names with the phrases that stand for them, and negatives, which are asked but not said."""

    phrases: Mapping[str, tuple[str, ...]]
    negatives: tuple[str, ...] = ()
    template: str = PLACE
    """The words around each phrase."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names, the negatives last."""
        return (*self.phrases, *self.negatives)

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """What is asked: the phrases of all names in the template, in the order of the names."""
        return tuple(self._prompt(phrase) for _, phrase in self._pairs)

    @cached_property
    def owner(self) -> np.ndarray:
        """The number of the name for which each prompt stands, int, ascending, (prompts,)."""
        return np.array([number for number, _ in self._pairs], dtype=np.int64)

    @cached_property
    def _pairs(self) -> list[tuple[int, str]]:
        each = [*self.phrases.values(), *((negative,) for negative in self.negatives)]
        return [(number, phrase) for number, phrases in enumerate(each) for phrase in phrases]

    def _prompt(self, phrase: str) -> str:
        return self.template.replace(PLACE, phrase)

    def is_said(self, name: np.ndarray) -> np.ndarray:
        """Tell which numbers of names are no negatives."""
        return name < len(self.phrases)

    def of_names(self, fit: np.ndarray) -> np.ndarray:
        """Turn scores of prompts (n, prompts) into those of names (n, names): their best."""
        first = np.searchsorted(self.owner, np.arange(len(self.names)))
        return np.maximum.reduceat(fit, first, axis=1)

    def with_names(self, heard: Iterable[str]) -> Wanted:
        """Return the same with more names, each its own phrase; negatives stay what they are."""
        new = {name: (name,) for name in heard if name not in self.names}
        return replace(self, phrases={**self.phrases, **new}) if new else self

    def parts(
        self, names: int, *, room: int = 1 << 30, size: Callable[[str], int] = lambda _: 0
    ) -> Iterator[Wanted]:
        """Cut into parts of so many names and so much room, each with all negatives.

        A name that is too large for the room has a part of its own.
        """
        taken = sum(size(self._prompt(negative)) for negative in self.negatives)
        part: dict[str, tuple[str, ...]] = {}
        used = taken
        for name, phrases in self.phrases.items():
            own = sum(size(self._prompt(phrase)) for phrase in phrases)
            if part and (len(part) == names or used + own > room):
                yield replace(self, phrases=part)
                part, used = {}, taken
            part[name] = phrases
            used += own
        if part:
            yield replace(self, phrases=part)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Boxes (n, 4) in pixels of one image, with the number of the name and the score of each, (n,).

    `support` is how well the name fits where the score is that of the box, (n,).
    """

    wanted: Wanted
    box_xyxy: np.ndarray
    name: np.ndarray
    score: np.ndarray
    support: np.ndarray | None = None


def corners(box_cxcywh: np.ndarray) -> np.ndarray:
    """Turn boxes of centre and size (..., 4) into those of their corners."""
    centre, half = box_cxcywh[..., :2], box_cxcywh[..., 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=-1)
