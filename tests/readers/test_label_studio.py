"""Label Studio's own library accepts what is exported: the labeling config and the predictions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from florilegium.pipelines.export.exporter import export
from florilegium.pipelines.export.label_studio import LabelStudioConfig, LabelStudioExporter
from tests.building import build

WORLD = "shape_world://3?seed=5&px=64"
STAGES = {"truth": {"use": "tests.pipelines.training.truth:Truth", "url": WORLD}}


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    build(WORLD, tmp_path / "out", specialists=STAGES)
    target = tmp_path / "studio"
    export(str(tmp_path / "out"), LabelStudioExporter(LabelStudioConfig()), target)
    return target


def test_label_studio_accepts_the_config_and_every_prediction(exported: Path) -> None:
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface((exported / "config.xml").read_text("utf-8"))
    interface.validate()
    tasks = json.loads((exported / "tasks.json").read_text("utf-8"))
    for task in tasks:
        (prediction,) = task["predictions"]
        assert interface.validate_prediction(prediction, return_errors=True) == []
        assert interface.validate_task({"data": task["data"]})
    broken = tasks[0]["predictions"][0]
    broken["result"][-1]["from_name"] = "nothing"
    assert interface.validate_prediction(broken, return_errors=True)
