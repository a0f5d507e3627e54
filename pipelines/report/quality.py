"""A line chart of the quality of the rounds: one line for each kind of label, and their mean.

A line connects a round with the rounds whose students were trained on its labels; it is dashed
where the later round was not promoted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from florilegium.pipelines.dataset.lineage import Round
from florilegium.pipelines.report.figures import Tick
from florilegium.pipelines.report.palette import colour

WIDTH, HEIGHT = 640, 240
"""Units of the figure."""
MEAN = "mean"
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 500, 20, 208
_LINE_HEIGHT = 15


@dataclass(frozen=True, kw_only=True)
class Dot:
    """The quality of one kind of label in one round."""

    x: float
    y: float
    is_promoted: bool
    tip: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One kind of label: its steps as SVG paths, and its name beside the last dot."""

    name: str
    colour: str
    steps: str
    dead_ends: str
    dots: tuple[Dot, ...]
    name_y: float


@dataclass(frozen=True, kw_only=True)
class QualityFigure:
    """The chart. `promoted_x` is the position of the promoted round."""

    lines: tuple[Line, ...]
    rounds: tuple[Tick, ...]
    levels: tuple[Tick, ...]
    """Ticks of the quality axis; their `x` is vertical."""
    promoted_x: float
    summary: str


def draw_quality(rounds: Sequence[Round], promoted: Round) -> QualityFigure:
    """Draw the quality of one or more rounds."""
    values = _values(rounds)
    levels = _levels([value for line in values.values() for value in line.values()])
    low, high = levels[0], levels[-1]
    first, last = rounds[0].number, rounds[-1].number

    def x_of(number: int) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (number - first + 0.5) / (last - first + 1), 1)

    def y_of(value: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * (value - low) / (high - low), 1)

    names_y = _spread({name: y_of([low, *line.values()][-1]) for name, line in values.items()})
    return QualityFigure(
        lines=tuple(
            _line(name, number, line, rounds, x_of, y_of, names_y[name])
            for number, (name, line) in enumerate(values.items())
        ),
        rounds=tuple(Tick(x=x_of(one.number), text=f"round {one.number}") for one in rounds),
        levels=tuple(Tick(x=y_of(level), text=f"{level:.2g}") for level in levels),
        promoted_x=x_of(promoted.number),
        summary="; ".join(f"{name} {_values_text(line)}" for name, line in values.items()),
    )


def _values(rounds: Sequence[Round]) -> dict[str, dict[int, float]]:
    """Return the quality by kind of label and round, the mean last; kinds that were never measured
    are left out."""
    kinds = sorted({kind for one in rounds for kind in one.quality})
    values = {kind: {one.number: one.quality.get(kind) for one in rounds} for kind in kinds}
    values[MEAN] = {one.number: one.mean_quality for one in rounds}
    measured = {
        name: {number: value for number, value in line.items() if value is not None}
        for name, line in values.items()
    }
    return {name: line for name, line in measured.items() if line or name == MEAN}


def _levels(values: Sequence[float]) -> list[float]:
    """Return at most six round numbers that enclose all values; 0 to 1 if there are none."""
    if not values:
        return _levels([0.0, 1.0])
    for step in (0.02, 0.05, 0.1, 0.2):
        low = math.floor(min(values) / step + 1e-9)
        high = max(math.ceil(max(values) / step - 1e-9), low + 1)
        if high - low <= 5:
            break
    return [round(number * step, 2) for number in range(low, high + 1)]


def _line(
    name: str,
    number: int,
    values: Mapping[int, float],
    rounds: Sequence[Round],
    x_of: Callable[[int], float],
    y_of: Callable[[float], float],
    name_y: float,
) -> Line:
    paths = {True: "", False: ""}
    dots = []
    for one in rounds:
        if one.number not in values:
            continue
        x, y = x_of(one.number), y_of(values[one.number])
        tip = f"{name} {values[one.number]:.3f}, round {one.number}"
        dots.append(Dot(x=x, y=y, is_promoted=one.is_promoted, tip=tip))
        if one.parent in values:
            start = f"{x_of(one.parent):g} {y_of(values[one.parent]):g}"
            paths[one.is_promoted] += f"M{start}L{x:g} {y:g}"
    return Line(
        name=name,
        colour="var(--text)" if name == MEAN else colour(number).fill,
        steps=paths[True],
        dead_ends=paths[False],
        dots=tuple(dots),
        name_y=name_y,
    )


def _spread(wanted: Mapping[str, float]) -> dict[str, float]:
    """Move overlapping names apart, from the top down and back up."""
    names = sorted(wanted, key=lambda name: wanted[name])
    placed: list[float] = []
    for name in names:
        placed.append(max(wanted[name], placed[-1] + _LINE_HEIGHT if placed else _TOP))
    lowest = float(_BOTTOM)
    for row in reversed(range(len(placed))):
        placed[row] = min(placed[row], lowest)
        lowest = placed[row] - _LINE_HEIGHT
    return {name: round(y, 1) for name, y in zip(names, placed, strict=True)}


def _values_text(line: Mapping[int, float]) -> str:
    return ", ".join(f"{value:.3f}" for value in line.values()) or "-"
