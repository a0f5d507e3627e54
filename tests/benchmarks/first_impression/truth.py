"""The truth about the photographs, as `truth.yaml` has it. Knows no captions and no annotations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

from florilegium.specialists.words.nouns import plural

PATH = Path(__file__).with_name("truth.yaml")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Thing(_Strict):
    """An object, or several of one name."""

    names: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    """In percent of the image; with `count`, several may describe one object."""
    count: int | None = None
    colours: tuple[str, ...] = ()

    @property
    def number(self) -> int | None:
        """How many there are, if that is known."""
        return self.count if self.count is not None else len(self.boxes) or None


class Photograph(_Strict):
    """What one photograph shows."""

    file: str
    things: tuple[Thing, ...] = ()
    also: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    people: int | Literal["some", "none", "unsure"] = "none"
    background: tuple[str, ...] = ()
    text: tuple[str, ...] | None = ()
    black_and_white: bool = False

    @model_validator(mode="after")
    def _check(self) -> Photograph:
        for thing in self.things:
            for left, top, right, bottom in thing.boxes:
                if not (0 <= left < right <= 100 and 0 <= top < bottom <= 100):
                    raise ValueError(f"{self.file}: a box of {thing.names[0]} is none")
        return self


class Truth(_Strict):
    """All photographs, by source and key, and the wider names of names."""

    wider: dict[str, tuple[str, ...]]
    sources: dict[str, dict[str, Photograph]]

    def photographs(self) -> Iterator[tuple[str, str, Photograph]]:
        """Yield source, key and photograph."""
        for source, photographs in self.sources.items():
            for key, photograph in photographs.items():
                yield source, key, photograph

    def is_name(self, claimed: str, names: tuple[str, ...]) -> bool:
        """Return whether a noun, in singular or plural, is one of these names or wider."""
        known = set(names)
        pending = list(names)
        while pending:
            wider = [one for one in self.wider.get(pending.pop(), ()) if one not in known]
            known.update(wider)
            pending += wider
        claimed = claimed.lower()
        return any(claimed in (name, plural(name)) for name in known)


@cache
def read_truth() -> Truth:
    """Read and check the file."""
    return Truth.model_validate(yaml.safe_load(PATH.read_text("utf-8")))
