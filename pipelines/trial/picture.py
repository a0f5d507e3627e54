"""A picture of what a stage found: the image with boxes, quads and masks, and the texts below it.

The numbers are those of the table. Letters that the font does not have are boxes in the picture;
the table has them.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from florilegium.engine.core.annotation import ANNOTATION_NAMES, Annotation, from_json
from florilegium.engine.core.image.reading import decode
from florilegium.engine.core.task import GREY
from florilegium.pipelines.report.chips import HEIGHT, Rectangle, place_chip
from florilegium.pipelines.report.drawing import Canvas, mask_outlines
from florilegium.pipelines.report.palette import Colour, colour

SHORTEST, LONGEST = 640, 1280
"""Pixels of the picture's longer side: small images are enlarged, large ones reduced."""
MAX_LINES = 16
"""Lines of text below an image, at most."""
_FONT_SIZE, _LINE = 14, 20
_MARGIN = 8
_FILL, _FILL_OF_MASK = 0.12, 0.4
_INK = "#14120f"
_DROPPED = Colour(fill=GREY, ink="#ffffff")


@dataclass(frozen=True, kw_only=True)
class _Region:
    """A region on the canvas: its number in the table, its outlines, each int, shape (n, 2)."""

    number: int
    annotation: Annotation
    outlines: list[np.ndarray]
    colour: Colour
    is_kept: bool

    @property
    def rectangle(self) -> Rectangle:
        points = np.concatenate(self.outlines)
        return Rectangle(*points.min(axis=0).tolist(), *points.max(axis=0).tolist())

    @property
    def area(self) -> int:
        left, top, right, bottom = self.rectangle
        return (right - left) * (bottom - top)

    @property
    def chip(self) -> str:
        words = self.annotation.words
        return f"{self.number}: {words}" if words else str(self.number)


def draw(data: bytes, rows: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Draw rows of a shard over the image whose bytes these are; dropped ones are grey.

    Raises:
        SampleError: the image cannot be decoded.
    """
    pixels = decode(data)
    height, width = pixels.shape[:2]
    canvas = Canvas.over((width, height), min(max(SHORTEST, width, height), LONGEST))
    size = (canvas.width, canvas.height)
    pixels = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    regions = sorted(_regions(rows, canvas), key=lambda one: (one.is_kept, -one.area))
    for region in regions:
        _draw_outlines(pixels, region)
    picture = Image.fromarray(pixels)
    _draw_chips(picture, regions, canvas)
    texts = [(number, row) for number, row in enumerate(rows, 1) if not _has_region(row)]
    return _with_texts(picture, texts)


def _has_region(row: Mapping[str, Any]) -> bool:
    return bool(row["box_xyxy"] or row["quad"] or row["mask_rle"])


def _regions(rows: Sequence[Mapping[str, Any]], canvas: Canvas) -> Iterator[_Region]:
    """Yield the regions; those with the same name have the same colour."""
    names: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        if not _has_region(row):
            continue
        annotation = from_json({name: row[name] for name in ANNOTATION_NAMES})
        own = colour(names.setdefault(annotation.name, len(names)))
        yield _Region(
            number=number,
            annotation=annotation,
            outlines=_outlines(annotation, canvas),
            colour=own if row["kept"] else _DROPPED,
            is_kept=row["kept"],
        )


def _outlines(annotation: Annotation, canvas: Canvas) -> list[np.ndarray]:
    """Return the outlines of an annotation's mask, else of its quad or box."""
    if annotation.mask_rle and (found := mask_outlines(annotation.mask_rle, canvas)):
        return found
    if annotation.quad:
        return [canvas.points(annotation.quad)]
    left, top, right, bottom = annotation.box_xyxy or (0, 0, *canvas.image_wh)
    return [canvas.points((left, top, right, top, right, bottom, left, bottom))]


def _draw_outlines(pixels: np.ndarray, region: _Region) -> None:
    import cv2

    rgb = ImageColor.getrgb(region.colour.fill)
    inside = np.zeros(pixels.shape[:2], np.uint8)
    cv2.fillPoly(inside, region.outlines, 1)  # even-odd: holes stay open
    share = _FILL_OF_MASK if region.annotation.mask_rle else _FILL
    filled = pixels[inside == 1] * (1 - share) + np.array(rgb) * share
    pixels[inside == 1] = filled.astype(np.uint8)
    cv2.polylines(pixels, region.outlines, True, rgb, 2, cv2.LINE_AA)


def _draw_chips(picture: Image.Image, regions: Sequence[_Region], canvas: Canvas) -> None:
    """Write the number and the name of each region; where there is no room, the number alone."""
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(11)
    taken: list[Rectangle] = []
    for region in reversed(regions):  # kept ones first
        for text in (region.chip, str(region.number)):
            chip = place_chip(text, region.rectangle, canvas, taken)
            if not chip.is_crowded:
                break
        else:
            continue
        taken.append(chip.rectangle)
        right = chip.x + max(chip.width, int(font.getlength(chip.text)) + 10)
        pen.rectangle((chip.x, chip.y, right, chip.y + HEIGHT), fill=region.colour.fill)
        middle = (chip.x + 5, chip.y + HEIGHT / 2)
        pen.text(middle, chip.text, fill=region.colour.ink, font=font, anchor="lm")


def _with_texts(
    picture: Image.Image, texts: Sequence[tuple[int, Mapping[str, Any]]]
) -> Image.Image:
    """Write the texts about the whole image below it."""
    font = ImageFont.load_default(_FONT_SIZE)
    width = max(picture.width, SHORTEST // 2)
    wrapped = (
        (line, _INK if row["kept"] else GREY)
        for number, row in texts
        for line in _wrapped(_text_of(number, row), font, width - 2 * _MARGIN)
    )
    lines = list(islice(wrapped, MAX_LINES + 1))
    if not lines:
        return picture
    if len(lines) > MAX_LINES:
        lines[MAX_LINES - 1 :] = [("... the table has the others", GREY)]
    height = picture.height + len(lines) * _LINE + 2 * _MARGIN
    whole = Image.new("RGB", (width, height), "white")
    whole.paste(picture)
    pen = ImageDraw.Draw(whole)
    for place, (line, ink) in enumerate(lines):
        y = picture.height + _MARGIN + place * _LINE
        pen.text((_MARGIN, y), line, fill=ink, font=font)
    return whole


def _text_of(number: int, row: Mapping[str, Any]) -> str:
    words = row["text"] or row["label"]
    score = "" if row["score"] is None else f" {row['score']:.2f}"
    return f"{number}: {row['task']}: {words}{score}"


def _wrapped(text: str, font: Any, width: int) -> Iterator[str]:
    """Yield a text in lines that fit; a word that is too long has lines of its own."""
    line = ""
    for word in text.split():
        while font.getlength(word[:width]) > width:  # no letter is narrower than a pixel
            if line:
                yield line
                line = ""
            lengths = range(1, width + 1)
            fits = max(1, bisect(lengths, width, key=lambda n: font.getlength(word[:n])))
            yield word[:fits]
            word = word[fits:]
        joined = f"{line} {word}" if line else word
        if font.getlength(joined) > width:
            yield line
            line = word
        else:
            line = joined
    if line:
        yield line
