"""The one picture of the concepts: `python docs/pictures/diagram.py` writes `engine.svg` beside it.

A picture of boxes and arrows as data. It has its own background and follows the reader's choice of
light or dark. The report's picture is made by `screenshot.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

PICTURE = Path(__file__).with_name("engine.svg")
WIDTH, HEIGHT = 1000, 372
_LINE_PX = 17
_STYLE = """
  .ground { fill: #fdfcf9; stroke: #d9d4c8; }
  .room { fill: #f1ede3; stroke: none; }
  .box { fill: #ffffff; stroke: #8a8577; stroke-width: 1.2; }
  .kept { fill: #e4f3ec; stroke: #3b8f6b; }
  .lost { fill: #fbeae3; stroke: #c2663f; }
  .arrow { fill: none; stroke: #8a8577; stroke-width: 1.6; marker-end: url(#tip); }
  .back { stroke-dasharray: 5 4; }
  .tip { fill: #8a8577; }
  text { font: 13px system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; fill: #5d584c; }
  .title { font-weight: 600; font-size: 15px; fill: #22201b; }
  .note { font-size: 12px; font-style: italic; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #1b1d20; stroke: #3a3d42; }
    .room { fill: #25282c; }
    .box { fill: #2e3237; stroke: #7f868f; }
    .kept { fill: #1f3a30; stroke: #58b38c; }
    .lost { fill: #43291f; stroke: #d98a67; }
    .arrow { stroke: #9aa1aa; }
    .tip { fill: #9aa1aa; }
    text { fill: #b9bec5; }
    .title { fill: #f2f3f5; }
  }
"""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box with its title and what is in it, line by line; pixels from the top left."""

    title: str
    lines: tuple[str, ...]
    x: int
    y: int
    width: int = 128
    height: int = 112
    looks: str = "box"


BOXES = (
    Box(title="source", lines=("folder, tars,", "Parquet, s3://"), x=24, y=56),
    Box(
        title="samples",
        lines=("one image each,", "a fixed list of", "them is a shard"),
        x=186,
        y=56,
    ),
    Box(
        title="specialists",
        lines=("caption, detect,", "ground, segment,", "read, tag, merge"),
        x=364,
        y=56,
    ),
    Box(title="filters", lines=("measure each", "annotation"), x=526, y=56),
    Box(title="verdicts", lines=("threshold: keep,", "or drop with", "a reason"), x=704, y=56),
    Box(
        title="shards",
        lines=("WebDataset tar,", "Parquet with all", "verdicts"),
        x=850,
        y=56,
        width=126,
        looks="box kept",
    ),
    Box(
        title="dead letters",
        lines=("stage, reason,", "traceback"),
        x=186,
        y=230,
        height=84,
        looks="box lost",
    ),
    Box(
        title="layers",
        lines=("the answers of one stage about one", "shard, stored: nothing is asked twice"),
        x=364,
        y=230,
        width=290,
        height=84,
    ),
)
ARROWS = (
    *("M152 112 H180", "M314 112 H358", "M492 112 H520", "M654 112 H698", "M832 112 H844"),
    *("M250 168 V224", "M428 168 V224", "M590 168 V224", "M654 272 H768 V174"),
)
RETURN = "M913 168 V344 H340 V140 H358"
"""From the finished shards back to the specialists: the loop of refinement."""
NOTES = (
    ("worker processes of Ray, in batches", 509, 40),
    ("refinement: Florence-2 is trained on the shards and becomes a specialist", 626, 362),
)


def drawn() -> str:
    """Return the picture as SVG."""
    return "\n".join(_parts()) + "\n"


def _parts() -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">'
    )
    yield "<title>From a source to shards: samples, stages, layers, verdicts</title>"
    yield f"<style>{_STYLE}</style>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="tip" d="M0 0 L10 5 L0 10 Z"/></marker></defs>'
    )
    yield f'<rect class="ground" x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="12"/>'
    yield '<rect class="room" x="350" y="18" width="318" height="166" rx="10"/>'
    yield from (f'<path class="arrow" d="{path}"/>' for path in ARROWS)
    yield f'<path class="arrow back" d="{RETURN}"/>'
    for box in BOXES:
        yield from _box(box)
    for text, x, y in NOTES:
        yield f'<text class="note" x="{x}" y="{y}" text-anchor="middle">{escape(text)}</text>'
    yield "</svg>"


def _box(box: Box) -> Iterator[str]:
    yield (
        f'<rect class="{box.looks}" x="{box.x}" y="{box.y}" width="{box.width}" '
        f'height="{box.height}" rx="8"/>'
    )
    middle = box.x + box.width // 2
    title = f'<text class="title" x="{middle}" y="{box.y + 28}" text-anchor="middle">'
    yield f"{title}{box.title}</text>"
    for number, line in enumerate(box.lines):
        y = box.y + 52 + number * _LINE_PX
        yield f'<text x="{middle}" y="{y}" text-anchor="middle">{escape(line)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(drawn(), "utf-8")
