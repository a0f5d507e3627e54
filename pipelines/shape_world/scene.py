"""Scenes with ground truth, the parameters of a world of scenes, and its URL.

Ground truth is in `Scene` only: the source passes nothing but pixels to the engine. A world is the
set of scenes of one `WorldConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlencode

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from florilegium.engine.core.errors import ConfigError, nearest

SCHEME = "shape_world"
WORLD_VERSION = 1
"""Raise it when the same config and number give another scene."""

_EXAMPLE = f"{SCHEME}://5000?seed=3&px=128&difficulty=easy&start=0"

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")
SIGN = "sign"
"""A board with a word on it."""
NAMES = (*SHAPES, SIGN)
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
PATTERNS = ("solid", "striped", "dotted")
WORDS = (
    "BAKERY", "BANK", "BEACH", "BOOKS", "BUS", "CAFE", "CLINIC", "DANGER", "EXIT", "FARM",
    "FISH", "FLOWER", "FRUIT", "GARAGE", "GARDEN", "HARBOR", "HOTEL", "LIBRARY", "MARKET",
    "MUSEUM", "MUSIC", "OPEN", "PARK", "PHONE", "PIZZA", "POLICE", "SALE", "SCHOOL", "STATION",
    "STOP", "TAXI", "TEA", "TICKET", "TRAIN", "WATER", "ZOO",
)  # fmt: skip

Difficulty = Literal["full", "easy"]
Predicate = Literal["left of", "right of", "above", "below"]
INVERSE: Mapping[Predicate, Predicate] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}


class WorldConfig(BaseModel):
    """The parameters of a world."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(default=1000, ge=1)
    """Number of scenes."""
    seed: int = Field(default=0, ge=0)
    """Seed of all scenes."""
    px: int = Field(default=128, ge=32, le=2048)
    """Height and width of a scene in pixels."""
    difficulty: Difficulty = "full"
    """`easy` has fewer things and no noise, clutter, transparency or occlusion."""
    start: int = Field(default=0, ge=0)
    """Number of the first scene; worlds with disjoint ranges of numbers share no scene."""

    @property
    def numbers(self) -> range:
        """The numbers of the scenes, ascending."""
        return range(self.start, self.start + self.count)

    @property
    def spelling(self) -> str:
        """The URL that names these scenes, without what it has by default."""
        given = self.model_dump(exclude={"count"}, exclude_defaults=True)
        return f"{SCHEME}://{self.count}" + (f"?{urlencode(given)}" if given else "")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Thing:
    """One object of a scene. `mask` (height, width, bool) has its visible pixels only.

    `box_xyxy` bounds the visible pixels, in pixels, right and bottom exclusive. `name` is one
    of NAMES; `word` is empty except for signs.
    """

    name: str
    colour: str
    pattern: str
    word: str
    box_xyxy: tuple[float, float, float, float]
    mask: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """`subject` lies `predicate` `object`; both are indices into the scene's `things`."""

    subject: int
    predicate: Predicate
    object: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """Pixels (height, width, 3; RGB, uint8) and their ground truth.

    No two things share both name and colour. `relations` are all unambiguous ones, each with its
    inverse. `captions` has one text for each of the three caption tasks.
    """

    number: int
    pixels: np.ndarray
    things: tuple[Thing, ...]
    relations: tuple[Relation, ...]
    captions: Mapping[str, str]


def world_of(url: str) -> WorldConfig:
    """Parse the URL of a world.

    Raises:
        ConfigError: another scheme, an unknown parameter, or a value out of its range.
    """
    # Not by urllib: it allows no underscore in a scheme.
    scheme, _, rest = url.partition("://")
    count, _, query = rest.partition("?")
    if scheme != SCHEME:
        raise ConfigError(f"{url!r} is not the URL of a drawn world; write {_EXAMPLE}")
    given: dict[str, str] = {"count": count} if count else {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in WorldConfig.model_fields:
            hint = nearest(name, WorldConfig.model_fields)
            raise ConfigError(f"{url!r}: a world has no parameter {name!r}; {hint}")
        if name in given:
            raise ConfigError(f"{url!r}: {name} is given twice; write {_EXAMPLE}")
        given[name] = value
    try:
        return WorldConfig.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"{url!r}: {first['loc'][0]} is {first['input']!r}: {first['msg']}; write {_EXAMPLE}"
        ) from error


def key_of(number: int) -> str:
    """Return the key of the sample of a scene: `000123`."""
    return f"{number:06d}"
