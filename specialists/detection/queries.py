"""The names that an open-vocabulary detector gets for an image, and the boxes that it returns.

Names come from a vocabulary, with phrases, and from captions and tags. Negatives are names that
compete with the others for boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

PLACEHOLDER = "{}"
"""The placeholder of the phrase in a template."""


@dataclass(frozen=True, kw_only=True)
class NameQueries:
    """Names with their phrases, and negatives, which are queried but not output."""

    phrases: Mapping[str, tuple[str, ...]]
    negatives: tuple[str, ...] = ()
    template: str = PLACEHOLDER
    """Template of the prompts."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names, negatives last."""
        return (*self.phrases, *self.negatives)

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """The phrases of all names in the template, in the order of the names."""
        return tuple(self._prompt(phrase) for _, phrase in self._pairs)

    @cached_property
    def owner(self) -> np.ndarray:
        """The index of the name of each prompt, int, ascending, (prompts,)."""
        return np.array([number for number, _ in self._pairs], dtype=np.int64)

    @cached_property
    def _pairs(self) -> list[tuple[int, str]]:
        each = [*self.phrases.values(), *((negative,) for negative in self.negatives)]
        return [(number, phrase) for number, phrases in enumerate(each) for phrase in phrases]

    def _prompt(self, phrase: str) -> str:
        return self.template.replace(PLACEHOLDER, phrase)

    def is_no_negative(self, name: np.ndarray) -> np.ndarray:
        """Return which indices of names are no negatives."""
        return name < len(self.phrases)

    def of_names(self, fit: np.ndarray) -> np.ndarray:
        """Convert scores of prompts (n, prompts) to scores of names (n, names), the maximum."""
        first = np.searchsorted(self.owner, np.arange(len(self.names)))
        return np.maximum.reduceat(fit, first, axis=1)

    def with_names(self, further: Iterable[str]) -> NameQueries:
        """Return the same with further names, each its own phrase; negatives stay negatives."""
        new = {name: (name,) for name in further if name not in self.names}
        return replace(self, phrases={**self.phrases, **new}) if new else self

    def parts(
        self, names: int, *, room: int = 1 << 30, size: Callable[[str], int] = lambda _: 0
    ) -> Iterator[NameQueries]:
        """Split into parts of at most `names` names and `room` tokens, each with all negatives.

        A name that is too large gets a part of its own.
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
class NamedBoxes:
    """Boxes (n, 4) in pixels of one image, with the index of the name and the score of each, (n,).

    `support` is the score of the name if `score` is that of the box, (n,).
    """

    queries: NameQueries
    box_xyxy: np.ndarray
    name: np.ndarray
    score: np.ndarray
    support: np.ndarray | None = None


def corners(box_cxcywh: np.ndarray) -> np.ndarray:
    """Convert boxes (..., 4) from centre and size to corners."""
    centre, half = box_cxcywh[..., :2], box_cxcywh[..., 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=-1)
