"""Rounds in the terminal."""

from __future__ import annotations

from rich.text import Text

from pipelines.refine.lineage import Round


def round_line(one: Round) -> Text:
    """Return what came of a round in one line."""
    kinds = "  ".join(f"{kind} {value:.3f}" for kind, value in one.quality.items())
    verdict = ("promoted", "green") if one.is_promoted else ("not promoted", "yellow")
    line = Text(f"round {one.number}  {kinds}  mean {one.mean_quality:.4f} ")
    return line.append(f"by {one.measured_by}, ").append(*verdict).append(f": {one.reason}")
