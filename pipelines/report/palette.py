"""A colour for each specialist, from a palette for colour-blind readers.

The colours are those of Okabe and Ito (Color Universal Design, 2008). After seven they repeat;
names are always written beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

_OKABE_ITO = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#f0e442")
_DARK_INK, _LIGHT_INK = "#14120f", "#ffffff"


@dataclass(frozen=True, kw_only=True)
class Colour:
    """A fill colour, and a text colour that is readable on it."""

    fill: str
    ink: str


def colour(number: int) -> Colour:
    """Return the colour of the specialist with this number."""
    fill = _OKABE_ITO[number % len(_OKABE_ITO)]
    return Colour(fill=fill, ink=_DARK_INK if _luminance(fill) > 0.18 else _LIGHT_INK)


def _luminance(fill: str) -> float:
    """Return the relative luminance of a colour (WCAG 2), 0..1."""
    channels = (int(fill[start : start + 2], 16) / 255 for start in (1, 3, 5))
    red, green, blue = (((channel + 0.055) / 1.055) ** 2.4 for channel in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
