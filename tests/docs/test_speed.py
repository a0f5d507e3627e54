"""What the page on speed computes follows from what it says was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "speed.md"
IMAGES = {"1 M images": 1e6, "10 M images": 10e6, "126 M images": 126e6}
GPUS = 64
DOLLARS = 3


def _rows(heading: str) -> dict[str, dict[str, str]]:
    """Return the rows of the first table under a heading, by their first cell."""
    section = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ") for line in section.splitlines() if line.startswith("|")]
    names, _, *rows = ([cell.strip() for cell in line.split("|")] for line in lines)
    return {row[0]: dict(zip(names, row, strict=False)) for row in rows}


def _number(cell: str) -> float:
    return float(cell.split()[0].replace(",", ""))


def _rounded(cell: str, value: float) -> bool:
    """Whether a cell is a value with the digits that it shows."""
    shown = cell.split()[0].replace(",", "")
    return float(shown) == round(value, len(shown.partition(".")[2]))


def test_costs_are_computed_from_what_was_measured() -> None:
    measured, computed = _rows("One H200"), _rows("What a dataset costs")
    assert computed.keys() == measured.keys()
    for stage, row in computed.items():
        images_s = _number(measured[stage]["engine"])
        assert _number(row["images/s, measured"]) == images_s
        hours = {name: images / images_s / 3600 for name, images in IMAGES.items()}
        for name, value in hours.items():
            assert _rounded(row[name], value), (stage, name, value)
        whole = hours["126 M images"]
        assert _rounded(row[f"126 M on {GPUS} GPUs"], whole / GPUS)
        assert _number(row["126 M, dollars"]) == pytest.approx(DOLLARS * whole, rel=1e-3)
