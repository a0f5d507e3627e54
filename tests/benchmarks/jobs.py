"""The datasets that are built to be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ANNOTATED: dict[str, Any] = {
    "specialists": {"rapidocr": {}, "imagenet_cam": {}, "template_caption": {}, "phrase_match": {}},
    "filters": {"text_filter": {}, "region_score": {}, "nms": {}, "blacklist": {}},
}
"""The quickstart without GrabCut, its dearest stage, beside which an engine costs nothing."""


def job(source: Path, output: Path, *, workers: int | None = None, **keys: Any) -> dict[str, Any]:
    """Return the config of a build on Ray."""
    runner = {"kind": "ray", "workers": workers}
    return {"source": str(source), "output": str(output), "runner": runner, **keys}


def repeated(use: str, count: int) -> dict[str, Any]:
    """Return a number of specialists of one class, none of which reads another."""
    return {
        "specialists": {
            f"stage_{number}": {"use": f"tests.benchmarks.stages:{use}"} for number in range(count)
        }
    }
