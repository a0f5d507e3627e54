"""Augmentation of easy scenes: mirror, shift, copy-paste, fading, contrast, colour, blur, noise.

Boxes remain those of the visible pixels. Probabilities and ranges were chosen by hand.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from florilegium.pipelines.shape_world.pretrain.scenes import BACKGROUND, Drawing
from florilegium.pipelines.shape_world.scene import NAMES, SIGN

_MAX_THINGS = 6
_MIN_VISIBLE, _MIN_SIGN_VISIBLE = 0.4, 0.9
"""Minimum share of a thing's pixels that must stay visible after shifting and pasting."""
_SPARSE = np.s_[::4, ::4]
"""Every 16th pixel: enough to estimate a mean."""
_MIRRORED = {"left": "right", "right": "left"}


def varied(drawing: Drawing, donor: Drawing, rng: np.random.Generator) -> Drawing:
    """Return an augmented drawing; things of `donor` may be pasted on it.

    Shifting and pasting remove the captions, which may no longer be true.
    """
    if rng.random() < 0.5:
        drawing = mirrored(drawing)
    if rng.random() < 0.3:
        drawing = _shifted(drawing, rng)
    if rng.random() < 0.5:
        drawing = _pasted(drawing, donor, rng)
    return replace(drawing, pixels=_exposed(_faded(drawing, rng), rng))


def mirrored(drawing: Drawing) -> Drawing:
    """Swap left and right in the pixels, the boxes and the captions."""
    px = drawing.pixels.shape[1]
    boxes = drawing.boxes_xyxy.copy()
    boxes[:, [0, 2]] = px - boxes[:, [2, 0]]
    captions = {
        task: re.sub(r"\b(left|right)\b", lambda found: _MIRRORED[found[0]], text)
        for task, text in drawing.captions.items()
    }
    return replace(
        drawing,
        pixels=drawing.pixels[:, ::-1],
        owners=drawing.owners[:, ::-1],
        boxes_xyxy=boxes,
        captions=captions,
    )


def _shifted(drawing: Drawing, rng: np.random.Generator, max_px: int = 12) -> Drawing:
    """Shift the image, padded with its edge; things may be cut by the border."""
    down, right = rng.integers(0, 2 * max_px + 1, 2)
    px = drawing.pixels.shape[0]
    window = np.s_[down : down + px, right : right + px]
    owners = np.pad(drawing.owners, max_px, constant_values=BACKGROUND)[window]
    if not _all_visible(owners, _counts(drawing.owners, len(drawing.kinds)), drawing):
        return drawing
    around = ((max_px, max_px), (max_px, max_px), (0, 0))
    return replace(
        drawing,
        pixels=np.pad(drawing.pixels, around, mode="edge")[window],
        owners=owners,
        boxes_xyxy=_boxes(owners, len(drawing.kinds)),
        captions={},
    )


def _pasted(drawing: Drawing, donor: Drawing, rng: np.random.Generator) -> Drawing:
    """Paste things of another drawing, some transparent, as long as all things stay visible."""
    for index, kind in enumerate(donor.kinds):
        mask = donor.owners == index
        owners = np.where(mask, np.uint8(len(drawing.kinds)), drawing.owners)
        before = _counts(drawing.owners, len(drawing.kinds))
        is_new = not (drawing.kinds[:, :2] == kind[:2]).all(axis=1).any()
        if not is_new or len(drawing.kinds) == _MAX_THINGS:
            continue
        if not _all_visible(owners, before, drawing):
            continue
        alpha = rng.uniform(0.55, 0.9) if rng.random() < 0.3 else 1.0
        blended = alpha * donor.pixels[mask] + (1 - alpha) * drawing.pixels[mask]
        pixels = drawing.pixels.copy()
        pixels[mask] = blended.astype(np.uint8)
        kinds = np.concatenate([drawing.kinds, kind[None]])
        drawing = replace(
            drawing,
            pixels=pixels,
            owners=owners,
            boxes_xyxy=_boxes(owners, len(kinds)),
            kinds=kinds,
            captions={},
        )
    return drawing


def _faded(drawing: Drawing, rng: np.random.Generator) -> np.ndarray:
    """Mix the colours of some things with that of the background; return float32 pixels."""
    pixels = drawing.pixels.astype(np.float32)
    faded = np.flatnonzero(rng.random(len(drawing.kinds)) < 0.3)
    if len(faded):
        ground = pixels[_SPARSE][drawing.owners[_SPARSE] == BACKGROUND].mean(axis=0)
    for index in faded:
        mask = drawing.owners == index
        pixels[mask] += np.float32(rng.uniform(0.1, 0.5)) * (ground - pixels[mask])
    return pixels


def _exposed(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary contrast, brightness and colour balance, blur, add noise; return uint8 pixels."""
    import cv2

    contrast = rng.uniform(0.4, 1.0) if rng.random() < 0.35 else rng.uniform(0.85, 1.1)
    gains = np.float32(contrast * rng.uniform(0.93, 1.07, 3))
    middle = pixels[_SPARSE].mean(axis=(0, 1))
    pixels *= gains
    pixels += middle * (1 - gains) + np.float32(rng.uniform(-18, 18))
    if rng.random() < 0.1:
        pixels = cv2.blur(pixels, (3, 3))
    if rng.random() < 0.75:
        # Uniform noise is four times as fast as normal noise, and as good here.
        spread = np.float32(rng.uniform(0, 17) * 12**0.5)
        pixels += spread * (rng.random(pixels.shape, dtype=np.float32) - np.float32(0.5))
    return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)


def _all_visible(owners: np.ndarray, before: np.ndarray, drawing: Drawing) -> bool:
    is_sign = drawing.kinds[:, 0] == NAMES.index(SIGN)
    share = np.where(is_sign, _MIN_SIGN_VISIBLE, _MIN_VISIBLE)
    return bool((_counts(owners, len(before)) >= share * before).all())


def _counts(owners: np.ndarray, things: int) -> np.ndarray:
    """Count the visible pixels of each thing."""
    return np.bincount(owners.reshape(-1), minlength=BACKGROUND + 1)[:things]


def _boxes(owners: np.ndarray, things: int) -> np.ndarray:
    """Return the bounding boxes of the visible pixels of the things, (things, 4)."""
    boxes = np.empty((things, 4), dtype=np.float32)
    for index in range(things):
        mask = owners == index
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes[index] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes
