"""Scores side by side."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from florilegium.pipelines.shape_world.score.table import score_table
from tests.pipelines.shape_world.score.labels import perfect, scene, scored, spoilt


def shown(table: Table) -> list[list[str]]:
    console = Console(width=120, record=True, color_system="standard", force_terminal=True)
    with console.capture() as capture:
        console.print(table)
    return [line.split("│") for line in capture.get().splitlines()]


def row(lines: list[list[str]], title: str) -> list[str]:
    return next(line[3:-1] for line in lines if len(line) > 3 and title in line[2])


def test_the_better_of_two_is_bold() -> None:
    worse = scored(spoilt("ocr", 0, lambda line: None))
    lines = shown(score_table({"before": worse, "after": scored(perfect(scene()))}))
    before, after = row(lines, "character error rate")
    assert "1.000" in before
    assert "\x1b[1m" in after
    assert "\x1b[1m" not in before
    assert all("\x1b[1m" not in cell for cell in row(lines, "mAP at IoU .5 to .95"))


def test_an_unmeasured_score_is_a_dash() -> None:
    nothing = [one for one in perfect(scene()) if one.kind == "region"]
    lines = shown(score_table({"round 0": scored(nothing)}))
    assert row(lines, "recall at 1")[0].strip() == "-"
