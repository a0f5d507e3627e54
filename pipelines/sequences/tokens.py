"""Tokens for coordinates, regions and codes, and regions as text in them.

    <box><bin_12><bin_40><bin_500><bin_999></box>    left, top, right, bottom
    <quad>...8 bins...</quad>                        corners, clockwise from the top left of a text
    <poly>...x, y of each corner...</poly>           one polygon
    <mask>...4 bins...<code_7>...</mask>             the box that the mask fills, then its codes
    <image><code_3>...</image>                       an image

A bin is one of 1,000 equal parts of the width or the height, as in OFA and Unified-IO.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pycocotools.mask as coco_mask

from florilegium.engine.core.annotation import MaskRLE
from florilegium.pipelines.sequences.codec import Codec
from florilegium.specialists.florence2.format import BINS, clean, dequantise, quantise
from florilegium.specialists.regions.outline import outline
from florilegium.specialists.regions.window import Window, encoded, tight_box

SizeWH = tuple[int, int]
Form = Literal["box", "quad", "poly", "mask", "image"]
_FORMS: tuple[Form, ...] = ("box", "quad", "poly", "mask", "image")
_ITEM = re.compile(rf"<({'|'.join(_FORMS)})>((?:<(?:bin|code)_[0-9]{{1,9}}>)*)</\1>")
_TOKEN = re.compile(r"<(bin|code)_(\d+)>")
_OUTLINE_IOU = 0.95
_BOX_BINS = 4
_LENGTHS = {"box": 4, "quad": 8}


@dataclass(frozen=True, kw_only=True)
class Region:
    """A region or an image as it is read from a sequence, with the words that follow it.

    `coordinates` are pixels, x, y, x, y, ...: of a mask its box. `mask_rle` is that of a mask,
    `pixels` those of an image, RGB, uint8.
    """

    form: Form
    words: str = ""
    coordinates: tuple[float, ...] = ()
    mask_rle: MaskRLE | None = None
    pixels: np.ndarray | None = field(default=None, repr=False)


def special_tokens(*codecs: Codec) -> list[str]:
    """Return all tokens that a tokenizer has to learn; codecs share their numbers."""
    marks = [mark for form in _FORMS for mark in (f"<{form}>", f"</{form}>")]
    codes = max((codec.vocabulary for codec in codecs), default=0)
    return [*marks, *map(_bin, range(BINS)), *map(_code, range(codes))]


def words_of(text: str) -> str:
    """Return a text in which nothing can be taken for a token: no `<`, single blanks."""
    return clean(text)


def box_text(box_xyxy: Sequence[float], size_wh: SizeWH) -> str:
    """Write a box in pixels."""
    return _item("box", _bins(box_xyxy, size_wh))


def quad_text(quad: Sequence[float], size_wh: SizeWH) -> str:
    """Write the four corners of a text in pixels."""
    return _item("quad", _bins(quad, size_wh))


def polygons_text(mask: MaskRLE, *, corners: int) -> str:
    """Write the outline of a mask as polygons; holes are filled."""
    size_wh = (mask.size[1], mask.size[0])
    polygons = outline(mask, corners=corners, min_iou=_OUTLINE_IOU)
    return "".join(_item("poly", _bins(one.reshape(-1), size_wh)) for one in polygons)


def mask_text(mask: MaskRLE, codec: Codec) -> str:
    """Write a mask as its box and the codes of what the box holds; empty for an empty mask."""
    pixels = coco_mask.decode(mask._asdict()).astype(bool)
    if not pixels.any():
        return ""
    height, width = mask.size
    box_xyxy = tight_box(pixels, Window(0, 0, width, height))
    left, top, right, bottom = map(int, box_xyxy)
    codes = codec.encode(pixels[top:bottom, left:right])
    return _item("mask", [*_bins(box_xyxy, (width, height)), *map(_code, codes)])


def image_text(pixels: np.ndarray, codec: Codec) -> str:
    """Write an image, RGB, uint8, (height, width, 3), as codes."""
    return _item("image", map(_code, codec.encode(pixels)))


def regions_in(text: str, size_wh: SizeWH, codecs: Iterable[Codec] = ()) -> Iterator[Region]:
    """Read the regions of a sequence, each with the words after it, in pixels of this size.

    What is no whole region is passed over, as a model may write anything; so is a mask or an image
    whose codes no codec reads.
    """
    by_subject: dict[str, Codec] = {codec.subject: codec for codec in codecs}
    items = list(_ITEM.finditer(text))
    ends = [*(one.start() for one in items), len(text)][1:]
    for item, end in zip(items, ends, strict=True):
        form: Form = item[1]  # type: ignore[assignment]
        tokens = _TOKEN.findall(item[2])
        bins = [int(number) for kind, number in tokens if kind == "bin"]
        codes = [int(number) for kind, number in tokens if kind == "code"]
        region = _region(form, bins, codes, size_wh, by_subject)
        if region is not None:
            words = " ".join(_TOKEN.sub(" ", text[item.end() : end]).split())
            yield Region(**{**vars(region), "words": words})


def _region(
    form: Form,
    bins: Sequence[int],
    codes: Sequence[int],
    size_wh: SizeWH,
    codecs: Mapping[str, Codec],
) -> Region | None:
    """Return a region, if it is whole."""
    if any(number >= BINS for number in bins):
        return None
    if form == "image":
        pixels = _decoded(codecs.get("image"), codes, size_wh)
        return None if pixels is None or bins else Region(form=form, pixels=pixels)
    if len(bins) % 2 or not bins or len(bins) != _LENGTHS.get(form, len(bins)):
        return None
    coordinates = tuple(dequantise(bins, size_wh).tolist())
    if form != "mask":
        return None if codes else Region(form=form, coordinates=coordinates)
    window = Window(*(round(edge) for edge in coordinates)) if len(bins) == _BOX_BINS else None
    if window is None or min(window.size_wh) < 1:
        return None
    mask = _decoded(codecs.get("mask"), codes, window.size_wh)
    if mask is None:
        return None
    rle = encoded(mask, window, (size_wh[1], size_wh[0]))
    return Region(form=form, coordinates=coordinates, mask_rle=rle)


def _decoded(codec: Codec | None, codes: Sequence[int], size_wh: SizeWH) -> np.ndarray | None:
    if codec is None:
        return None
    try:
        return codec.decode(codes, size_wh)
    except ValueError:
        return None


def _bins(coordinates: Sequence[float] | np.ndarray, size_wh: SizeWH) -> list[str]:
    return [_bin(number) for number in quantise(coordinates, size_wh).tolist()]


def _bin(number: int) -> str:
    return f"<bin_{number}>"


def _code(number: int) -> str:
    return f"<code_{number}>"


def _item(form: Form, tokens: Iterable[str]) -> str:
    return f"<{form}>{''.join(tokens)}</{form}>"
