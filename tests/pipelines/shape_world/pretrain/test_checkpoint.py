"""The shipped student loads like any Florence-2 and finds what is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from florilegium import specialists
from florilegium.pipelines.shape_world.pretrain.measure import generate, measure_detection
from florilegium.pipelines.shape_world.pretrain.scenes import Drawing, drawings
from florilegium.pipelines.shape_world.scene import WorldConfig

FOLDER = Path(specialists.__file__).parent / "tiny_florence2"


@pytest.fixture(scope="module")
def student() -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(FOLDER, local_files_only=True)
    return model.eval(), AutoProcessor.from_pretrained(FOLDER, local_files_only=True)


@pytest.fixture(scope="module")
def unseen() -> list[Drawing]:
    return list(drawings(WorldConfig(count=20, seed=77, difficulty="easy")))


def test_the_shipped_student_finds_most_things_in_easy_scenes(
    student: tuple[Any, Any], unseen: list[Drawing]
) -> None:
    assert measure_detection(*student, unseen).f1 > 0.8


def test_captions_of_the_shipped_student_name_present_shapes(
    student: tuple[Any, Any], unseen: list[Drawing]
) -> None:
    answers = generate(*student, unseen, "<CAPTION>")
    named = [
        any(name in answer for name in drawing.names)
        for drawing, answer in zip(unseen, answers, strict=True)
    ]
    assert sum(named) > 14


def test_the_shipped_student_is_small_and_has_no_pickle() -> None:
    files = {file.name: file.stat().st_size for file in FOLDER.iterdir()}
    assert sum(files.values()) < 6e6
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= set(files)
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
