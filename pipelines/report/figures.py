"""Histograms as SVG paths, with ticks and a summary as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from florilegium.engine.core.counted import counted
from florilegium.pipelines.report.distributions import (
    ASPECT_EDGES,
    SIDE_EDGES,
    WORD_EDGES,
    Boxes,
    Distributions,
    quantile,
)

WIDTH, HEIGHT = 300, 178
"""Units of a plot."""
_CAPTION_HEIGHT = 34


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark on the axis below a plot."""

    x: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """SVG paths of kept annotations and of dropped ones stacked on them; `summary` as text."""

    title: str
    kept: str
    dropped: str
    height: int
    ticks: tuple[Tick, ...]
    summary: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the heat map; `strength` is 0..1."""

    x: int
    y: int
    strength: float


def side_histogram(boxes: Boxes) -> Histogram:
    """Draw the sizes of boxes: the square root of their share of the image's area."""
    ticks = [(share, f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)]
    return _histogram("Box size", boxes.side, SIDE_EDGES, ticks, "{:.0%} of the side")


def aspect_histogram(boxes: Boxes) -> Histogram:
    """Draw the aspect ratios of boxes: the logarithm of width / height."""
    marks = ((-4, "1:16"), (-2, "1:4"), (0, "1:1"), (2, "4:1"), (4, "16:1"))
    return _histogram("Box aspect", boxes.aspect, ASPECT_EDGES, marks, _ratio)


def caption_histograms(distributions: Distributions) -> list[Histogram]:
    """Draw the lengths of captions in words, by task, on a common axis."""
    used = [counts.sum(axis=0) for counts in distributions.words.values()]
    last = max((int(np.flatnonzero(counts)[-1]) for counts in used if counts.any()), default=0)
    stop = min(-(-(last + 1) // 10) * 10, len(WORD_EDGES) - 1)
    edges = WORD_EDGES[: stop + 1]
    step = int(edges[-1]) // 4
    ticks = [(words, f"{words}") for words in range(0, int(edges[-1]) + 1, step)]
    if stop == len(WORD_EDGES) - 1:
        ticks[-1] = (ticks[-1][0], f"{ticks[-1][1]}+")
    return [
        _histogram(
            task.replace("_", " ").capitalize(),
            counts[:, :stop],
            edges,
            ticks,
            lambda words: counted(round(words), "word"),
            height=_CAPTION_HEIGHT,
        )
        for task, counts in distributions.words.items()
        if counts.any()
    ]


def heat_map(boxes: Boxes) -> list[Cell]:
    """Return the cells that contain centres of kept boxes."""
    centres = boxes.centres
    most = max(int(centres.max()), 1)
    lines, columns = np.nonzero(centres)
    return [
        # The square root keeps rare positions visible: most centres lie in the middle.
        Cell(x=x, y=y, strength=round(float((centres[y, x] / most) ** 0.5), 2))
        for y, x in zip(lines.tolist(), columns.tolist(), strict=True)
    ]


def _histogram(
    title: str,
    counts: np.ndarray,
    edges: np.ndarray,
    ticks: Sequence[tuple[float, str]],
    unit: str | Callable[[float], str],
    *,
    height: int = HEIGHT,
) -> Histogram:
    kept, dropped = counts
    most = max(int((kept + dropped).max()), 1)
    low = np.zeros_like(kept)
    start, stop = edges[0], edges[-1]
    median = quantile(kept, edges, 0.5)
    spell = unit.format if isinstance(unit, str) else unit
    return Histogram(
        title=title,
        kept=_area(low, kept, most, height),
        dropped=_area(kept, kept + dropped, most, height),
        height=height,
        ticks=tuple(
            Tick(x=round((value - start) / (stop - start) * WIDTH, 1), text=text)
            for value, text in ticks
        ),
        summary="nothing kept" if median is None else f"median {spell(median)}",
    )


def _area(low: np.ndarray, high: np.ndarray, most: int, height: int) -> str:
    """Return the path between two stepped lines, bin by bin; empty bins are left out."""
    edges = np.linspace(0, WIDTH, len(low) + 1).round(1).tolist()
    bottom, top = ((height - values / most * height).round(1).tolist() for values in (low, high))
    return "".join(
        f"M{edges[bin_]:g} {bottom[bin_]:g}V{top[bin_]:g}H{edges[bin_ + 1]:g}V{bottom[bin_]:g}Z"
        for bin_ in np.flatnonzero(high > low).tolist()
    )


def _ratio(log2: float) -> str:
    ratio = 2.0 ** abs(log2)
    return f"{ratio:.1f}:1" if log2 >= 0 else f"1:{ratio:.1f}"
