from __future__ import annotations

import pytest
from pydantic import ValidationError

from florilegium.specialists.regions.crops import BoxesConfig, CropConfig, crop_window

SIZE = (200, 40)


def window(*box_xyxy: float, size_wh: tuple[int, int] = SIZE, **options: float) -> object:
    return crop_window(box_xyxy, size_wh, CropConfig(**{"margin": 0.0, **options}))


def test_a_box_is_shown_with_its_margin_within_a_long_image() -> None:
    assert window(50, 10, 150, 30) == (50, 10, 150, 30)
    assert window(50, 10, 150, 30, margin=0.1) == (40, 8, 160, 32)
    assert window(50, 10, 150, 30, margin=1) == (0, 0, 200, 40)
    assert window(10, 50, 30, 150, size_wh=(40, 200), margin=1) == (0, 0, 40, 200)


def test_only_the_part_inside_the_image_counts() -> None:
    assert window(180, -20, 230, 30) == (180, 0, 200, 30)
    assert window(180, 0, 230, 40, margin=0.5) == (170, 0, 200, 40)
    assert window(190, 0, 400, 40) is None, "ten pixels of it are seen"


@pytest.mark.parametrize(
    ("box_xyxy", "is_seen"),
    [
        ((10, 10, 26, 26), True),
        ((10, 10, 25.9, 40), False),
        ((10, 10, 150, 25.9), False),
        ((10, 10, 150, 26), True),
    ],
)
def test_a_box_is_seen_from_its_shorter_side_on(box_xyxy: tuple[float, ...], is_seen: bool) -> None:
    assert (window(*box_xyxy, least_side=16) is not None) == is_seen


def test_no_box_is_no_window() -> None:
    assert window() is None


def test_tasks_without_boxes_are_refused() -> None:
    assert BoxesConfig(tasks=("ocr", "ocr", "object_detection")).tasks == (
        "ocr",
        "object_detection",
    )
    with pytest.raises(ValidationError, match="'region_category' has no boxes"):
        BoxesConfig(tasks=("region_category",))
