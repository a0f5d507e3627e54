"""Samples of any depth become eight bits; transparent pixels become white.

One rule for depth: an image keeps its upper eight bits by the range that the file declares. Only
float, which declares none, is stretched from its minimum to its maximum.
"""

from __future__ import annotations

import numpy as np


def eight_bits(samples: np.ndarray, maximum: int) -> np.ndarray:
    """Return unsigned samples of the range 0..`maximum` as uint8 of the range 0..255."""
    if maximum == 255:
        return samples.astype(np.uint8, copy=False)
    if maximum < 255:
        table = (np.arange(maximum + 1) * 510 + maximum) // (2 * maximum)  # rounded
        return table.astype(np.uint8)[samples]
    levels = maximum + 1
    if levels & (levels - 1) == 0:
        return (samples >> (levels.bit_length() - 9)).astype(np.uint8)
    return (samples.astype(np.uint64) * 256 // levels).astype(np.uint8)


def unsigned(samples: np.ndarray) -> np.ndarray:
    """Return signed integers moved to the unsigned range of the same width."""
    if samples.dtype.kind != "i":
        return samples
    bits = samples.dtype.itemsize * 8
    native = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    wanted = np.dtype(f"u{samples.dtype.itemsize}")
    return native.view(wanted) ^ wanted.type(1 << (bits - 1))


def stretched(values: np.ndarray) -> np.ndarray:
    """Return floats as uint8, the smallest 0, the largest 255; what is not finite counts as 0."""
    with np.errstate(all="ignore"):  # values may be anything, NaN and the largest float too
        floats = values.astype(np.float64)
        np.nan_to_num(floats, copy=False, posinf=0.0, neginf=0.0)
        floats /= 255  # first, as the difference of two large values may overflow
        low, high = float(floats.min()), float(floats.max())
        floats -= low
        floats *= 255 / max(high - low, 1e-300)
        return floats.astype(np.uint8)


def over_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return uint8 colours (..., channels) blended over white by their alpha (...)."""
    opacity = alpha.astype(np.uint16)[..., None]
    blend = colours * opacity + (255 * (255 - opacity) + 128)
    return ((blend + (blend >> 8)) >> 8).astype(np.uint8)


def premultiplied_over_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Like `over_white`, for colours that were multiplied by alpha already."""
    blend = colours.astype(np.uint16) + (255 - alpha.astype(np.uint16))[..., None]
    return np.minimum(blend, 255).astype(np.uint8)


def as_rgb(colours: np.ndarray) -> np.ndarray:
    """Return grey (height, width[, 1]) or RGB as contiguous RGB (height, width, 3)."""
    if colours.ndim == 2:
        colours = colours[..., None]
    if colours.shape[2] == 1:
        colours = np.broadcast_to(colours, (*colours.shape[:2], 3))
    return np.ascontiguousarray(colours)
