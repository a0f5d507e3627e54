"""Builds what a filter is asked from annotations, the way the engine does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from florilegium.engine.core.annotation import Annotation, to_columns
from florilegium.engine.core.judgement import Statements, Verdicts


def statements(
    annotations: Sequence[Annotation],
    *,
    sample: Sequence[int] | None = None,
    image_wh: tuple[int, int] = (100, 100),
    dropped: Sequence[int] = (),
    measurements: Mapping[str, Sequence[float]] | None = None,
) -> Statements:
    """Return annotations as rows, all of one sample unless `sample` numbers them.

    An annotation without an id gets its row's: `a0`, `a1`, ... An earlier filter has dropped
    the rows in `dropped`.
    """
    named = [
        annotation if annotation.id else replace(annotation, id=f"a{row}")
        for row, annotation in enumerate(annotations)
    ]
    is_live = np.ones(len(named), dtype=bool)
    is_live[list(dropped)] = False
    return Statements(
        table=pa.table(to_columns(named)),
        sample=np.array(sample if sample is not None else [0] * len(named), dtype=np.int64),
        image_wh=np.tile(np.array(image_wh, dtype=np.float64), (len(named), 1)),
        is_live=is_live,
        measurements={
            name: np.array(values, dtype=np.float64)
            for name, values in (measurements or {}).items()
        },
    )


def box(*box_xyxy: float, label: str = "cat", score: float | None = 0.9, **rest: Any) -> Annotation:
    """Return a detected box."""
    given: dict[str, Any] = {
        "kind": "region",
        "task": "object_detection",
        "specialist": "detector",
        "box_xyxy": box_xyxy,
        "label": label,
        "score": score,
    }
    return Annotation(**{**given, **rest})


def phrase(*box_xyxy: float, text: str, span: tuple[int, int], **rest: Any) -> Annotation:
    """Return a grounded phrase of the caption `caption`."""
    given: dict[str, Any] = {
        "kind": "phrase",
        "task": "phrase_grounding",
        "specialist": "grounder",
        "box_xyxy": box_xyxy,
        "text": text,
        "span": span,
        "score": 0.9,
        "parent_id": "caption",
    }
    return Annotation(**{**given, **rest})


def caption(text: str, task: str = "caption", **rest: Any) -> Annotation:
    """Return a caption."""
    return Annotation(kind="text", task=task, text=text, **rest)


def reasons(verdicts: Verdicts) -> list[str]:
    """Return each row's reason, empty where it is kept."""
    return [str(reason) for reason in verdicts.reason]
