"""Annotations of a mirror image become those of the picture itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.pipelines.shape_world.truth import scene_of
from florilegium.specialists.florence2.config import Florence2Config
from florilegium.specialists.florence2.mirror import mirrored, mirrored_pixels
from florilegium.specialists.florence2.specialist import Florence2
from tests.specialists.conftest import SampleOf

SHIPPED = "package://florilegium/specialists/tiny_florence2"


def boxes(specialist: Florence2, sample: Sample) -> list[tuple[str, tuple[float, ...]]]:
    return sorted((one.label, one.box_xyxy) for one in specialist.predict([sample])[0])


@pytest.fixture(scope="module")
def both() -> tuple[Florence2, Florence2]:
    """A student that looks straight and one that looks into the mirror."""
    stages = [Florence2(Florence2Config(model=SHIPPED, mirrored=way)) for way in (False, True)]
    for stage in stages:
        stage.load()
    return stages[0], stages[1]


def test_a_box_that_is_mirrored_twice_is_where_it_was() -> None:
    box = Annotation(kind="region", task="object_detection", box_xyxy=(1.0, 2.0, 30.0, 8.0))
    assert mirrored(box, 100).box_xyxy == (70.0, 2.0, 99.0, 8.0)
    assert mirrored(mirrored(box, 100), 100) == box


def test_a_statement_without_a_box_is_the_same_in_the_mirror() -> None:
    text = Annotation(kind="text", task="caption", text="A star.")
    assert mirrored(text, 100) == text


def test_asking_the_mirror_about_a_flipped_picture_is_asking_about_the_picture(
    both: tuple[Florence2, Florence2], drawing: SampleOf
) -> None:
    straight, mirror = both
    pixels = scene_of("shape_world://3?seed=9&difficulty=easy", "000001").pixels
    predicted = boxes(straight, drawing(pixels))
    found = boxes(mirror, drawing(mirrored_pixels(pixels)))
    assert predicted
    assert [name for name, _ in found] == [name for name, _ in predicted]
    for (_, box), (_, expected) in zip(found, predicted, strict=True):
        width = pixels.shape[1]
        back = (width - box[2], box[1], width - box[0], box[3])
        assert np.allclose(back, expected, atol=0.02)


def test_what_cannot_be_read_in_a_mirror_is_refused() -> None:
    with pytest.raises(ValidationError, match="caption"):
        Florence2Config(model=str(Path("x")), tasks=("object_detection", "caption"), mirrored=True)
