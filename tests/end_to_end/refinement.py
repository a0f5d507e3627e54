"""A refinement in small, as a file: drawn scenes, two detectors, one student."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SCENES = "shape_world://12?seed=5&difficulty=easy&px=128"


def write_refinement(
    path: Path,
    output: Path,
    *,
    keys: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    **refine: Any,
) -> Path:
    """Write a config and return its path; `keys` replace those of the run."""
    reads = ["shapes_colour", "shapes_edges"]
    document = {
        "source": SCENES,
        "output": str(output),
        "shard_size": 6,
        "runner": "in_process",
        "specialists": {
            "shapes_colour": {},
            "shapes_edges": {},
            "boxes": {"use": "merge", "tasks": ["object_detection"], "reads": reads},
        },
        "filters": {"superseded": {"by": {"boxes": ["object_detection"]}}},
        "refine": {
            "rounds": 1,
            "folds": 1,
            "students": {"student": {"tasks": ["object_detection"], "max_new_tokens": 24}},
            "audit": "truth",
            "audit_samples": 6,
            "train": {
                "model": "package://florilegium/specialists/tiny_florence2",
                "tasks": {"object_detection": 1},
                "steps": 2,
                "batch_size": 4,
                "workers": 0,
                **(train or {}),
            },
            **refine,
        },
        **(keys or {}),
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path
