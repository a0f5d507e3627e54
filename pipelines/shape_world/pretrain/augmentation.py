"""Varies easy scenes while a model trains on them: the usual augmentations, and no others.

Mirror, shift, copy-paste of things from another scene, fading, contrast, colour, blur, noise.
Boxes stay those of the visible pixels. This module knows no model and draws nothing new.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from pipelines.shape_world.pretrain.scenes import NOBODY, Drawing
from pipelines.shape_world.scene import NAMES, SIGN

_MOST_THINGS = 6
_LEAST_VISIBLE, _LEAST_SIGN_VISIBLE = 0.4, 0.9
"""Share of a thing's pixels that must survive shifting and pasting."""
_SPARSE = np.s_[::4, ::4]
"""A sixteenth of the pixels, enough for a mean."""
_MIRRORED = {"left": "right", "right": "left"}


def varied(drawing: Drawing, donor: Drawing, rng: np.random.Generator) -> Drawing:
    """Return a variant of a drawing; things of `donor` may be pasted on it.

    A variant that no caption of the original fits any more has none.
    """
    if rng.random() < 0.5:
        drawing = mirrored(drawing)
    if rng.random() < 0.3:
        drawing = _shifted(drawing, rng)
    if rng.random() < 0.5:
        drawing = _pasted(drawing, donor, rng)
    return replace(drawing, pixels=_exposed(_faded(drawing, rng), rng))


def mirrored(drawing: Drawing) -> Drawing:
    """Swap left and right, in the pixels, the boxes and the captions."""
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


def _shifted(drawing: Drawing, rng: np.random.Generator, most_px: int = 12) -> Drawing:
    """Move everything, so that a thing may reach beyond the edge; the edge's colour fills in."""
    down, right = rng.integers(0, 2 * most_px + 1, 2)
    px = drawing.pixels.shape[0]
    window = np.s_[down : down + px, right : right + px]
    owners = np.pad(drawing.owners, most_px, constant_values=NOBODY)[window]
    if not _all_visible(owners, _counts(drawing.owners, len(drawing.kinds)), drawing):
        return drawing
    around = ((most_px, most_px), (most_px, most_px), (0, 0))
    return replace(
        drawing,
        pixels=np.pad(drawing.pixels, around, mode="edge")[window],
        owners=owners,
        boxes_xyxy=_boxes(owners, len(drawing.kinds)),
        captions={},
    )


def _pasted(drawing: Drawing, donor: Drawing, rng: np.random.Generator) -> Drawing:
    """Lay things of another drawing over this one, some transparent, while all stay visible."""
    for place, kind in enumerate(donor.kinds):
        mask = donor.owners == place
        owners = np.where(mask, np.uint8(len(drawing.kinds)), drawing.owners)
        before = _counts(drawing.owners, len(drawing.kinds))
        is_new = not (drawing.kinds[:, :2] == kind[:2]).all(axis=1).any()
        if not is_new or len(drawing.kinds) == _MOST_THINGS:
            continue
        if not _all_visible(owners, before, drawing):
            continue
        alpha = rng.uniform(0.55, 0.9) if rng.random() < 0.3 else 1.0
        laid = alpha * donor.pixels[mask] + (1 - alpha) * drawing.pixels[mask]
        pixels = drawing.pixels.copy()
        pixels[mask] = laid.astype(np.uint8)
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
    """Draw some things towards the background's colour; return float32 pixels."""
    pixels = drawing.pixels.astype(np.float32)
    faded = np.flatnonzero(rng.random(len(drawing.kinds)) < 0.3)
    if len(faded):
        ground = pixels[_SPARSE][drawing.owners[_SPARSE] == NOBODY].mean(axis=0)
    for place in faded:
        mask = drawing.owners == place
        pixels[mask] += np.float32(rng.uniform(0.1, 0.5)) * (ground - pixels[mask])
    return pixels


def _exposed(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary contrast, brightness and the balance of colours, blur, add noise; uint8."""
    import cv2

    contrast = rng.uniform(0.4, 1.0) if rng.random() < 0.35 else rng.uniform(0.85, 1.1)
    gains = np.float32(contrast * rng.uniform(0.93, 1.07, 3))
    middle = pixels[_SPARSE].mean(axis=(0, 1))
    pixels *= gains
    pixels += middle * (1 - gains) + np.float32(rng.uniform(-18, 18))
    if rng.random() < 0.1:
        pixels = cv2.blur(pixels, (3, 3))
    if rng.random() < 0.75:
        # Uniform noise: as good as normal noise here, and four times as fast.
        spread = np.float32(rng.uniform(0, 17) * 12**0.5)
        pixels += spread * (rng.random(pixels.shape, dtype=np.float32) - np.float32(0.5))
    return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)


def _all_visible(owners: np.ndarray, before: np.ndarray, drawing: Drawing) -> bool:
    is_sign = drawing.kinds[:, 0] == NAMES.index(SIGN)
    share = np.where(is_sign, _LEAST_SIGN_VISIBLE, _LEAST_VISIBLE)
    return bool((_counts(owners, len(before)) >= share * before).all())


def _counts(owners: np.ndarray, things: int) -> np.ndarray:
    """Count the visible pixels of each thing."""
    return np.bincount(owners.reshape(-1), minlength=NOBODY + 1)[:things]


def _boxes(owners: np.ndarray, things: int) -> np.ndarray:
    """Bound the visible pixels of each thing."""
    boxes = np.empty((things, 4), dtype=np.float32)
    for place in range(things):
        mask = owners == place
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes[place] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes
