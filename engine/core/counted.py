"""A count with its noun: 1 image, 2 images, 2,500 images."""

from __future__ import annotations


def counted(count: float, noun: str, plural: str = "") -> str:
    """Return a count and its noun; `plural` where that is not the noun with an s."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun if count == 1 else plural or f'{noun}s'}"
