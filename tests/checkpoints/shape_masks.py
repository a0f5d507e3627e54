"""A box that the quickstart does not give: of a thing whose colours are unlike its surroundings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample

_BOX: dict[str, Any] = {"kind": "region", "task": "object_detection", "label": "nose"}


def options(_: Path) -> dict[str, Any]:
    """Return no options: it has defaults."""
    return {}


def given(samples: list[Sample]) -> list[Sample]:
    """Return samples of which the first, the cat, has a box around its nose."""
    first, *others = samples
    nose = Annotation(**_BOX, id="nose", specialist="boxes", box_xyxy=(150, 150, 215, 205))
    return [replace(first, annotations=(*first.annotations, nose)), *others]
