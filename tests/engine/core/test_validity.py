from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.tasks import TABLE, TASKS
from florilegium.engine.core.validity import problem_of

WHOLE: dict[str, Any] = {
    "text": "a cat",
    "label": "cat",
    "box_xyxy": (0.0, 0.0, 4.0, 3.0),
    "mask_rle": MaskRLE((3, 4), "<"),
    "span": (0, 5),
    "parent_id": "caption",
}
"""A value for every field that a task may want, of an image of 4x3 pixels."""


def masked(size: Any, counts: Any) -> str:
    annotation = Annotation(kind="region", task="segmentation", mask_rle=MaskRLE(size, counts))
    return problem_of(annotation, width=4, height=3)


def test_the_mask_of_pycocotools_as_it_is_has_the_call_that_is_meant() -> None:
    mask: Any = {"size": [3, 4], "counts": b"<"}
    annotation = Annotation(kind="region", task="segmentation", mask_rle=mask)
    problem = problem_of(annotation, width=4, height=3)
    assert "is no MaskRLE: {'size': [3, 4], 'counts': b'<'}" in problem
    assert "MaskRLE(size=(height, width), counts=...)" in problem


@pytest.mark.parametrize("seed", range(20))
def test_a_mask_of_pycocotools_is_believed(seed: int) -> None:
    from pycocotools import mask as coco

    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(1, 300, 2))
    pixels = (random.random((height, width)) < random.random()).astype(np.uint8)
    rle = coco.encode(np.asfortranarray(pixels))
    mask = MaskRLE(tuple(rle["size"]), rle["counts"].decode())
    annotation = Annotation(kind="region", task="segmentation", mask_rle=mask)
    assert problem_of(annotation, width=width, height=height) == ""


@pytest.mark.parametrize(
    "counts", ["", "zzzz", "0", "\x00", "P", "01", "é", "\ud800", 5, None, "o" * 50]
)
def test_runs_that_do_not_fill_the_image_are_noticed(counts: Any) -> None:
    assert "do not fill the image" in masked((3, 4), counts)


@pytest.mark.parametrize(
    ("counts", "runs"),
    [("M?", [-3, 15]), ("5M:", [5, -3, 10]), ("58O", [5, 8, -1]), ("05K7", [0, 5, -5, 12]),
     ("543JO", [5, 4, 3, -2, 2])],
)  # fmt: skip
def test_a_negative_run_is_noticed_though_the_sum_is_right(counts: str, runs: list[int]) -> None:
    """A decoder would write before the memory that it has."""
    assert sum(runs) == 12
    assert "do not fill the image" in masked((3, 4), counts)


@pytest.mark.parametrize("size_wh", [(200, 10), (10, 200)])
def test_a_box_is_outside_beyond_either_side_of_a_long_image(size_wh: tuple[int, int]) -> None:
    width, height = size_wh

    def problem(*box_xyxy: float) -> str:
        annotation = Annotation(
            kind="region", task="object_detection", label="a", box_xyxy=box_xyxy
        )
        return problem_of(annotation, width=width, height=height)

    outside = f"a box outside the {width}x{height} image"
    far = (width - 5, height - 5)
    assert problem(*far, width + 50, height + 50) == ""
    assert problem(-50, -50, 1, 1) == ""
    assert outside in problem(width + 0.01, height - 5, width + 9, height)
    assert outside in problem(width - 5, height + 0.01, width, height + 9)
    assert outside in problem(-9, 1, -0.01, 5)
    assert outside in problem(1, -9, 5, -0.01)
    # One that only touches the image is a filter's business.
    assert problem(width, 1, width + 9, 5) == problem(1, height, 5, height + 9) == ""
    assert problem(-9, 1, 0, 5) == problem(1, -9, 5, 0) == ""


@pytest.mark.parametrize("size", [(4, 3), (0, 0), (10**5, 10**5), ("3", 4), (10**5000, 1)])
def test_a_mask_of_another_size_is_noticed(size: Any) -> None:
    assert "the image is (3, 4)" in masked(size, "<")


@pytest.mark.parametrize(
    ("fields", "problem"),
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
def test_nonsense_is_named(fields: dict[str, Any], problem: str) -> None:
    annotation = Annotation(**{"kind": "text", "task": "caption", **fields})
    assert problem in problem_of(annotation, width=4, height=3)


@pytest.mark.parametrize("task", TASKS)
def test_what_a_task_wants_is_enough(task: str) -> None:
    wanted = TABLE[task]
    for field in wanted.either or wanted.needs:
        given = {one: WHOLE[one] for one in (*wanted.needs, field)}
        assert problem_of(Annotation(kind=wanted.kind, task=task, **given), width=4, height=3) == ""


@pytest.mark.parametrize(
    ("task", "field"), [(task, field) for task in TASKS for field in TABLE[task].needs]
)
def test_a_field_that_a_task_wants_is_named_where_it_is_missing(task: str, field: str) -> None:
    given = {**WHOLE, field: type(WHOLE[field])() if field != "mask_rle" else None}
    problem = problem_of(Annotation(kind=TABLE[task].kind, task=task, **given), width=4, height=3)
    assert f"{task} needs `{field}`; it has only `" in problem


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"text": "sharp"}, "a tag needs `label`; it has only `text`"),
        ({"label": " "}, "a tag needs `label`; it has nothing"),
        ({"kind": "region", "label": "sharp"}, "a tag is of kind 'text', not 'region'"),
        (
            {"kind": "region", "task": "ocr", "quad": (0.0,) * 8},
            "an ocr needs `text`, `box_xyxy`; it has only `quad`",
        ),
        (
            {"kind": "region", "task": "referring_segmentation", "mask_rle": MaskRLE((3, 4), "<")},
            "a referring_segmentation needs `text` or `label`; it has only `mask_rle`",
        ),
    ],
)
def test_an_annotation_without_what_its_task_wants_is_refused(
    fields: dict[str, Any], problem: str
) -> None:
    annotation = Annotation(**{"kind": "text", "task": "tag", **fields})
    assert problem_of(annotation, width=4, height=3) == problem


def test_a_task_of_ones_own_wants_nothing_but_a_kind() -> None:
    assert problem_of(Annotation(kind="text", task="mood"), width=4, height=3) == ""
