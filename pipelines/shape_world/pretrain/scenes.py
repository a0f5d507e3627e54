"""Drawn scenes as arrays, for pretraining, which keeps them all in memory and reads no dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from florilegium.pipelines.shape_world.drawing import draw
from florilegium.pipelines.shape_world.scene import (
    COLOURS,
    NAMES,
    PATTERNS,
    WORDS,
    Scene,
    Thing,
    WorldConfig,
)

BACKGROUND = 255
"""The background in a map of owners."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Drawing:
    """One scene: `pixels` (px, px, 3) uint8, its things, its captions.

    `owners` (px, px) uint8 has the index of the thing that a pixel shows, or BACKGROUND.
    `boxes_xyxy` is (things, 4), float32, pixels; `kinds` (things, 3), indices into NAMES, COLOURS
    and PATTERNS.
    """

    pixels: np.ndarray
    owners: np.ndarray
    boxes_xyxy: np.ndarray
    kinds: np.ndarray
    captions: dict[str, str]

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.owners.shape
        return width, height

    @property
    def names(self) -> list[str]:
        """The names of the things: `circle`."""
        return [NAMES[kind] for kind in self.kinds[:, 0]]

    @property
    def phrases(self) -> list[str]:
        """The names of the things with their attributes: `red striped circle`."""
        return [described(*kind) for kind in self.kinds.tolist()]


def described(name: int, colour: int, pattern: int) -> str:
    """Return a name with its attributes, as captions have it."""
    words = (COLOURS[colour], "" if pattern == 0 else PATTERNS[pattern], NAMES[name])
    return " ".join(filter(None, words))


def drawings(config: WorldConfig) -> Iterator[Drawing]:
    """Draw the scenes of a world, in the order of their numbers."""
    for number in config.numbers:
        yield _drawing(draw(config, number))


def vocabulary() -> list[str]:
    """Return texts that contain all words of the captions."""
    config = WorldConfig(count=300, seed=0, px=32, difficulty="easy")
    captions = (
        text for number in config.numbers for text in draw(config, number).captions.values()
    )
    return [*NAMES, *COLOURS, *PATTERNS, *WORDS, *captions]


def _drawing(scene: Scene) -> Drawing:
    owners = np.full(scene.pixels.shape[:2], BACKGROUND, dtype=np.uint8)
    for index, thing in enumerate(scene.things):
        owners[thing.mask] = index
    boxes = np.array([thing.box_xyxy for thing in scene.things], dtype=np.float32)
    return Drawing(
        pixels=scene.pixels,
        owners=owners,
        boxes_xyxy=boxes.reshape(-1, 4),
        kinds=np.array([_kind(thing) for thing in scene.things], dtype=np.int64).reshape(-1, 3),
        captions=dict(scene.captions),
    )


def _kind(thing: Thing) -> tuple[int, int, int]:
    return (
        NAMES.index(thing.name),
        COLOURS.index(thing.colour),
        PATTERNS.index(thing.pattern),
    )
