from __future__ import annotations

import numpy as np
import pytest

from florilegium.engine.core.image.blurring import CELLS, blurred


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_a_box_has_few_colours_and_the_rest_stays(noise: np.ndarray) -> None:
    made = blurred(noise, [(20, 10, 50, 40)])
    box = made[10:40, 20:50].reshape(-1, 3)
    assert len(np.unique(box, axis=0)) <= CELLS**2
    np.testing.assert_allclose(box.mean(axis=0), noise[10:40, 20:50].mean((0, 1)), atol=6)
    outside = np.ones((60, 90), bool)
    outside[7:43, 17:53] = False  # with a margin of a tenth
    assert (made[outside] == noise[outside]).all()


@pytest.mark.parametrize(
    "box", [(-30, -30, 10, 10), (80, 50, 200, 200), (20.4, 20.4, 20.6, 20.6), (0, 0, 90, 60)]
)
def test_boxes_at_the_edge_and_tiny_ones_are_blurred(noise: np.ndarray, box: tuple) -> None:
    made = blurred(noise, [box])
    x1, y1, x2, y2 = (int(one) for one in np.clip(box, 0, (90, 60, 90, 60)))
    part = made[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
    assert part.size
    assert len(np.unique(part.reshape(-1, 3), axis=0)) <= CELLS**2


def test_a_box_outside_the_image_changes_nothing(noise: np.ndarray) -> None:
    assert (blurred(noise, [(100, 10, 120, 30), (-9, -9, -1, -1)]) == noise).all()
