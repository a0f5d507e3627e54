"""The outlines of the shapes, as polygons around the origin.

A silhouette is a list of closed rings, each (n, 2), with a radius of about 1; a ring inside a ring
is a hole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Silhouette = list[np.ndarray]


def outline(
    name: str, *, radius: float, angle: float = 0.0, centre_xy: np.ndarray | float = 0.0
) -> Silhouette:
    """Return the rings of a shape; `radius` and centre in pixels, `angle` in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = radius * np.array([[cos, sin], [-sin, cos]])
    return [ring @ turn + centre_xy for ring in _SILHOUETTES[name]]


def board(half_wh: np.ndarray, centre_xy: np.ndarray) -> Silhouette:
    """Return the upright rectangle of a sign, in pixels."""
    return [np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half_wh + centre_xy]


def _round(radius: float = 1.0) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _regular(*radii: float, corners: int) -> np.ndarray:
    """Return a polygon whose corners alternate between the given radii; the first is on top."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) - np.pi / 2
    lengths = np.resize(radii, corners)
    return np.stack([lengths * np.cos(angles), lengths * np.sin(angles)], axis=1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y - 2.5], axis=1) / 16


def _cross(arm: float = 0.34) -> np.ndarray:
    quarter = np.array([(-arm, -1), (arm, -1), (arm, -arm)])
    turns = [np.array([[c, s], [-s, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return np.concatenate([quarter @ turn for turn in turns])


def _silhouettes() -> Mapping[str, Silhouette]:
    drawn: Mapping[str, Callable[[], Silhouette]] = {
        "circle": lambda: [_round()],
        "square": lambda: [np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.84],
        "triangle": lambda: [_regular(1.1, corners=3) + np.array((0, 0.2))],
        "star": lambda: [_regular(1.1, 0.45, corners=10)],
        "heart": lambda: [_heart()],
        "cross": lambda: [_cross()],
        "ring": lambda: [_round(), _round(0.52)],
        "diamond": lambda: [np.array([(0, -1.15), (0.68, 0), (0, 1.15), (-0.68, 0)])],
    }
    return {name: make() for name, make in drawn.items()}


_SILHOUETTES = _silhouettes()
