from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.annotation import Annotation, MaskRLE
from engine.validity import problem_of


def masked(size: Any, counts: Any) -> str:
    said = Annotation(kind="region", task="segmentation", mask_rle=MaskRLE(size, counts))
    return problem_of(said, width=4, height=3)


@pytest.mark.parametrize("seed", range(20))
def test_a_mask_of_pycocotools_is_believed(seed: int) -> None:
    from pycocotools import mask as coco

    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(1, 300, 2))
    pixels = (random.random((height, width)) < random.random()).astype(np.uint8)
    rle = coco.encode(np.asfortranarray(pixels))
    mask = MaskRLE(tuple(rle["size"]), rle["counts"].decode())
    said = Annotation(kind="region", task="segmentation", mask_rle=mask)
    assert problem_of(said, width=width, height=height) == ""


@pytest.mark.parametrize(
    "counts", ["", "zzzz", "0", "\x00", "P", "01", "é", "\ud800", 5, None, "o" * 50]
)
def test_runs_that_do_not_fill_the_image_are_noticed(counts: Any) -> None:
    assert "do not fill the image" in masked((3, 4), counts)


@pytest.mark.parametrize("size", [(4, 3), (0, 0), (10**5, 10**5), ("3", 4), (10**5000, 1)])
def test_a_mask_of_another_size_is_noticed(size: Any) -> None:
    assert "the image is (3, 4)" in masked(size, "<")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"kind": "banana"}, "a kind of 'banana'"),
        ({"kind": []}, "a kind of"),
        ({"text": 5}, "a text that is no text"),
        ({"text": "\ud800"}, "not Unicode"),
        ({"label": None}, "a label that is no text"),
        ({"score": float("nan")}, "a score of nan"),
        ({"score": "high"}, "a score of 'high'"),
        ({"support": -0.5}, "a score of -0.5"),
        ({"confidence": 1.5}, "a score of 1.5"),
        ({"box_xyxy": (0, 0, 10**400, 1)}, "not a finite number"),
        ({"box_xyxy": (0, 0, "1", 1)}, "not a finite number"),
        ({"quad": (1.0,) * 7}, "a quad of 7 numbers"),
        ({"span": (1, 10**12)}, "a span of"),
        ({"span": (1.0, 2.0)}, "a span of"),
        ({"span": (10**5000, 1)}, "a span of"),
    ],
)
def test_nonsense_is_named(fields: dict[str, Any], told: str) -> None:
    said = Annotation(**{"kind": "text", "task": "caption", **fields})
    assert told in problem_of(said, width=4, height=3)
