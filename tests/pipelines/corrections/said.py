"""Corrections for tests: what Ada says about the image `cat`, one minute after the other."""

from __future__ import annotations

from typing import Any

from florilegium.engine.core.annotation import Annotation
from florilegium.pipelines.corrections.correction import Correction, Finding, stated
from tests.pipelines.filters.statements import box

SHA256 = "c" * 64


def seen(name: str, *box_xyxy: float, **rest: Any) -> Annotation:
    """Return a box of the run, with an id of 16 digits from a short name."""
    return box(*(box_xyxy or (0, 0, 9, 9)), id=name * 16, **rest)


def said(
    finding: Finding,
    about: Annotation | None = None,
    annotation: Annotation | None = None,
    *,
    minute: int = 0,
    **rest: Any,
) -> Correction:
    """Return a correction."""
    given: dict[str, Any] = {"sha256": SHA256, "key": "cat", "who": "Ada", "tool": "label-studio"}
    given |= {"when": f"2026-01-31T12:{minute:02d}:00Z", **rest}
    own = stated(annotation) if annotation else None
    return Correction(finding=finding, about=about, annotation=own, **given)
