"""A small refinement: drawn scenes, two detectors, an untrained student of two folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.planning.config import validated
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.refine.loop import refine

Configure = Callable[..., RefineConfig]

LEFT = ("round.json", "manifest.json", "students/fold_0/model.safetensors",
        "students/fold_1/model.safetensors", "calibration/boxes.json")  # fmt: skip


def left(output: Path) -> dict[str, bytes]:
    """The files of all rounds that hold a result, and the shards of the promoted dataset."""
    names = [f"rounds/{number}/{name}" for number in (0, 1) for name in LEFT]
    shards = [f"shards/{name}" for name in Folder(str(output)).names("shards")]
    paths = [output / name for name in (*names, *shards, "refine.json", "manifest.json")]
    return {str(path.relative_to(output)): path.read_bytes() for path in paths if path.exists()}


@pytest.fixture(scope="session")
def configure(untrained: Path) -> Configure:
    """Return a config by output; other keys of `refine` as keywords."""

    def make(output: Path, *, keys: Mapping[str, Any] | None = None, **refine: Any) -> RefineConfig:
        train = {
            "model": str(untrained),
            "tasks": {"object_detection": 1},
            "steps": 2,
            "batch_size": 4,
            "checkpoint_every": 1,
            "workers": 0,
        }
        options = {
            "rounds": 1,
            "students": {"student": {"tasks": ["object_detection"], "max_new_tokens": 16}},
            "audit": "truth",
            "audit_samples": 12,
            "train": train | refine.pop("train", {}),
            **refine,
        }
        boxes = {
            "use": "merge",
            "tasks": ["object_detection"],
            "reads": ["shapes_colour", "shapes_edges"],
        }
        document: dict[str, Any] = {
            "source": "shape_world://24?seed=5&difficulty=easy&px=128",
            "output": str(output),
            "shard_size": 12,
            "runner": {"kind": "in_process"},
            "specialists": {"shapes_colour": {}, "shapes_edges": {}, "boxes": boxes},
            "filters": {
                "superseded": {"by": {"boxes": ["object_detection"]}},
            },
            "refine": options,
            **(keys or {}),
        }
        return validated(RefineConfig, document, where="test")

    return make


@pytest.fixture(scope="session")
def undisturbed(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a refinement that nobody stopped. Read only."""
    output = tmp_path_factory.mktemp("refined") / "out"
    refine(configure(output))
    return output
