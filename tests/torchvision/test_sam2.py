from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from florilegium.engine.core.sample import Sample
from florilegium.specialists.segmentation.segment_anything import (
    SegmentAnything,
    SegmentAnythingConfig,
)
from tests.checkpoints.segment_anything import (
    write_sam2,
    write_sam2_video,
    write_sam3_tracker,
)
from tests.specialists.conftest import SampleOf
from tests.specialists.segmentation.masks import (
    assert_alike,
    assert_as_expected,
    expected,
    pixels_of,
    with_boxes,
)

FAMILIES = {
    "sam2": (write_sam2, transformers.Sam2Processor),
    "sam2_video": (write_sam2_video, transformers.Sam2Processor),
    "sam3_tracker": (write_sam3_tracker, transformers.Sam3TrackerProcessor),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, (write, _) in FAMILIES.items()}


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_masks_are_those_of_transformers(
    family: str,
    multimask: bool,
    folders: dict[str, Path],
    photograph: SampleOf,
    odd_images: list[Sample],
) -> None:
    folder, processor = folders[family], FAMILIES[family][1]
    specialist = SegmentAnything(SegmentAnythingConfig(model=str(folder), multimask=multimask))
    specialist.load()
    samples = [with_boxes(one) for one in [*map(photograph, ("cat", "rocket")), *odd_images]]
    answers = specialist.predict(samples)
    for sample, answer in zip(samples, answers, strict=True):
        assert_as_expected(answer, expected(folder, processor, sample, multimask=multimask))
    masks = pixels_of(answers[0])
    assert (masks[0] != masks[-1]).any()
    assert 0.01 < masks.mean() < 0.99


def test_half_precision_and_strips_are_answered(
    folders: dict[str, Path], awkward: list[Sample]
) -> None:
    options = {"model": str(folders["sam2"]), "dtype": "bfloat16"}
    specialist = SegmentAnything(SegmentAnythingConfig(**options))
    specialist.load()
    _, *samples = map(with_boxes, awkward)
    for sample, answer in zip(samples, specialist.predict(samples), strict=True):
        assert answer
        assert_alike(answer, specialist.predict([sample])[0])
