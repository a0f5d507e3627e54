"""Drawing scenes: from a seed and a number to pixels and their ground truth.

Things are painted one over the other; `owners`, a map of indices, records which thing each pixel
shows, and gives the visible masks at the end. Lengths are shares of the image's side, so a scene
looks alike at any size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from florilegium.pipelines.shape_world import painting
from florilegium.pipelines.shape_world.captions import captions
from florilegium.pipelines.shape_world.scene import (
    COLOURS,
    INVERSE,
    PATTERNS,
    SHAPES,
    SIGN,
    WORDS,
    Difficulty,
    Predicate,
    Relation,
    Scene,
    Thing,
    WorldConfig,
)
from florilegium.pipelines.shape_world.shapes import Silhouette, board, outline

_ATTEMPTS = 12
"""Random things that are tried before one is given up; 20 times as many for the first."""
_BACKGROUND = 255
"""The background in the map of owners."""
_PATTERN_SHARES = (0.5, 0.28, 0.22)
"""Probabilities that a shape is solid, striped, dotted."""
_SIGN_SHARES = (0.62, 0.3, 0.08)
"""Probabilities that a scene has no, one, two signs."""


@dataclass(frozen=True, kw_only=True)
class Hardness:
    """The parameters of a difficulty. Lengths are shares of the image's side."""

    things: tuple[int, int]
    """Minimum and maximum number of things, inclusive; fewer if they do not fit."""
    min_visible: float
    """Minimum share of a thing's pixels that stays visible; at 1 things do not touch."""
    beyond_edge: float
    """Share of its radius by which a shape may extend beyond the image."""
    transparent: float
    """Share of the shapes that are transparent."""
    faint: float
    """Share of the shapes whose colour is mixed with that behind them."""
    min_contrast: float
    """Minimum distance in CIELAB between a thing's colour and that behind it."""
    strokes: int
    """Maximum number of distracting strokes and blots."""
    noise: float
    """Maximum standard deviation of the noise, in levels of 0..255."""
    flat: float
    """Share of the scenes with low contrast."""
    tint: float
    """Maximum saturation of the background, 0..1."""
    radii: tuple[float, float] = (0.075, 0.2)
    """Minimum and maximum radius of a shape."""
    letters: tuple[float, float] = (0.1, 0.14)
    """Minimum and maximum height of a sign's letters."""
    min_sign_visible: float = 0.95
    """`min_visible` for signs, whose words must be legible."""


HARDNESS: dict[Difficulty, Hardness] = {
    "full": Hardness(
        things=(1, 6), min_visible=0.6, beyond_edge=0.3, transparent=0.3, faint=0.3,
        min_contrast=10.0, strokes=9, noise=16.0, flat=0.35, tint=0.45,
    ),
    "easy": Hardness(
        things=(1, 4), min_visible=1.0, beyond_edge=0.0, transparent=0.0, faint=0.0,
        min_contrast=32.0, strokes=0, noise=0.0, flat=0.0, tint=0.2,
    ),
}  # fmt: skip


def draw(config: WorldConfig, number: int) -> Scene:
    """Draw one scene; the same config and number give the same scene, in about 4 ms.

    `number` may lie outside the config's own range: `count` and `start` change no scene.
    """
    rng = np.random.default_rng((config.seed, number))
    hard = HARDNESS[config.difficulty]
    canvas = painting.background(config.px, rng, hard.tint)
    painting.scribble(canvas, rng, int(rng.integers(hard.strokes + 1)))
    easel = _Easel(canvas=canvas, hard=hard, rng=rng)
    for is_sign in _draw_kinds(hard, rng):
        easel.add(is_sign)
    pixels = painting.exposed(canvas, rng, noise=hard.noise, flat=hard.flat)
    things = easel.things()
    relations = tuple(_relations(things))
    ground = _ground(pixels[easel.owners == _BACKGROUND])
    return Scene(
        number=number,
        pixels=pixels,
        things=things,
        relations=relations,
        captions=captions(things, relations, ground, rng),
    )


def _draw_kinds(hard: Hardness, rng: np.random.Generator) -> list[bool]:
    """Draw the number of shapes and signs: `True` for a sign. Signs are last, hence in front."""
    count = int(rng.integers(hard.things[0], hard.things[1] + 1))
    signs = min(count, int(rng.choice(3, p=_SIGN_SHARES)))
    return [False] * (count - signs) + [True] * signs


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sketch:
    """A thing before it is painted: its attributes, and its polygons in pixels."""

    name: str
    colour: str
    pattern: str
    silhouette: Silhouette
    centre_xy: np.ndarray
    word: str = ""
    letter_px: float = 0.0


@dataclass(kw_only=True, slots=True)
class _Easel:
    """A scene that is being painted."""

    canvas: np.ndarray
    hard: Hardness
    rng: np.random.Generator
    owners: np.ndarray = field(init=False)
    """The index of the sketch that each pixel shows, (px, px) uint8."""
    sketches: list[_Sketch] = field(default_factory=list)
    min_pixels: list[int] = field(default_factory=list)
    """The number of pixels of each sketch that must stay visible."""

    def __post_init__(self) -> None:
        self.owners = np.full(self.canvas.shape[:2], _BACKGROUND, dtype=np.uint8)

    @property
    def px(self) -> int:
        return int(self.canvas.shape[0])

    def add(self, is_sign: bool) -> None:
        """Paint another thing, unless none of the attempts fits."""
        for _ in range(_ATTEMPTS if self.sketches else 20 * _ATTEMPTS):
            sketch = self._sign() if is_sign else self._shape()
            cover = painting.coverage(sketch.silhouette, self.px)
            mask = cover > 127
            if self._is_new(sketch) and self._fits(mask) and self._paint(sketch, cover, mask):
                share = self.hard.min_sign_visible if is_sign else self.hard.min_visible
                self.min_pixels.append(int(np.ceil(share * np.count_nonzero(mask))))
                self.owners[mask] = len(self.sketches)
                self.sketches.append(sketch)
                return

    def things(self) -> tuple[Thing, ...]:
        """Return the ground truth of the painted things."""
        return tuple(
            _thing(sketch, self.owners == index) for index, sketch in enumerate(self.sketches)
        )

    def _shape(self) -> _Sketch:
        rng = self.rng
        name = SHAPES[rng.integers(len(SHAPES))]
        # A square that is rotated too far would be a diamond.
        limit = 0.26 if name in ("square", "diamond") else 0.5
        angle = rng.uniform(-limit, limit)
        radius = self.px * rng.uniform(*self.hard.radii)
        reach = np.abs(np.concatenate(outline(name, radius=radius, angle=angle))).max(axis=0)
        margin = reach + 1.5 - self.hard.beyond_edge * radius
        centre_xy = margin + rng.random(2) * (self.px - 2 * margin)
        return _Sketch(
            name=name,
            colour=COLOURS[rng.integers(len(COLOURS))],
            pattern=PATTERNS[rng.choice(len(PATTERNS), p=_PATTERN_SHARES)],
            centre_xy=centre_xy,
            silhouette=outline(name, radius=radius, angle=angle, centre_xy=centre_xy),
        )

    def _sign(self) -> _Sketch:
        rng = self.rng
        word = WORDS[rng.integers(len(WORDS))]
        letter_px = self.px * rng.uniform(*self.hard.letters)
        width = painting.word_width(word, letter_px)
        half_wh = np.array([width / 2 + 0.5 * letter_px, 0.95 * letter_px])
        room = np.maximum(self.px - 2 * half_wh - 2, 0)
        centre_xy = half_wh + 1 + rng.random(2) * room
        return _Sketch(
            name=SIGN,
            colour=COLOURS[rng.integers(len(COLOURS))],
            pattern="solid",
            word=word,
            letter_px=letter_px,
            centre_xy=centre_xy,
            silhouette=board(half_wh, centre_xy),
        )

    def _is_new(self, sketch: _Sketch) -> bool:
        """Whether no other thing has the same name and colour, or the same word."""
        return all(
            (other.name, other.colour) != (sketch.name, sketch.colour)
            and (not sketch.word or other.word != sketch.word)
            for other in self.sketches
        )

    def _fits(self, mask: np.ndarray) -> bool:
        """Whether enough of all other things stays visible; with a gap if things must not touch."""
        if self.hard.min_visible == 1:
            import cv2

            gap = np.ones((7, 7), dtype=np.uint8)
            mask = cv2.dilate(mask.astype(np.uint8), gap).astype(bool)
        visible = np.bincount(self.owners[~mask], minlength=256)[: len(self.sketches)]
        return bool((visible >= self.min_pixels).all())

    def _paint(self, sketch: _Sketch, cover: np.ndarray, mask: np.ndarray) -> bool:
        """Paint a sketch, unless its contrast is too low; return whether it was painted."""
        rng, hard = self.rng, self.hard
        behind = self.canvas[mask].mean(axis=0)
        colour = painting.RGB[sketch.colour] + rng.uniform(-12, 12, 3)
        if rng.random() < hard.faint:
            colour = colour + rng.uniform(0.2, 0.5) * (behind - colour)
        can_be_clear = rng.random() < hard.transparent and sketch.name != SIGN
        alpha = rng.uniform(0.55, 0.9) if can_be_clear else 1.0
        if alpha * painting.distance(colour, behind) < hard.min_contrast:
            return False
        colour = np.clip(colour, 0, 255).astype(np.float32)
        window = painting.window(cover)
        height, width = cover[window].shape
        paint = painting.tones(colour, sketch.pattern, (width, height), self.px, rng)
        painting.blend(self.canvas[window], cover[window], paint, alpha)
        if sketch.word:
            painting.write(self.canvas, sketch.word, sketch.letter_px, sketch.centre_xy)
        return True


def _thing(sketch: _Sketch, mask: np.ndarray) -> Thing:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return Thing(
        name=sketch.name,
        colour=sketch.colour,
        pattern=sketch.pattern,
        word=sketch.word,
        box_xyxy=(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)),
        mask=mask,
    )


def _relations(things: tuple[Thing, ...]) -> Iterator[Relation]:
    """Yield the unambiguous relations: boxes apart on one axis, and offset mainly along it."""
    boxes = np.array([thing.box_xyxy for thing in things]).reshape(-1, 2, 2)
    for first, second in combinations(range(len(things)), 2):
        offset = boxes[second].mean(axis=0) - boxes[first].mean(axis=0)
        axis = int(np.abs(offset).argmax())
        gap = np.maximum(boxes[first, 0], boxes[second, 0]) - np.minimum(
            boxes[first, 1], boxes[second, 1]
        )
        if gap[axis] < 0 or abs(offset[axis]) < 1.5 * abs(offset[1 - axis]):
            continue
        ahead: Predicate = "above" if axis else "left of"
        predicate = ahead if offset[axis] > 0 else INVERSE[ahead]
        yield Relation(subject=first, predicate=predicate, object=second)
        yield Relation(subject=second, predicate=INVERSE[predicate], object=first)


def _ground(pixels: np.ndarray) -> str:
    """Return an adjective for a background, from its pixels, (n, 3)."""
    luminance = pixels.mean()
    return "light" if luminance > 165 else "dark" if luminance < 105 else "muted"
