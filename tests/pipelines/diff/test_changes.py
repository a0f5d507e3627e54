"""What became of the labels of one image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from pycocotools import mask as coco

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.pipelines.diff.changes import Changes, compare
from tests.pipelines.refine.rounds import SIDE, box, text


def counts(found: Changes) -> Counter[str]:
    made = Counter(change.how for change in found.changes)
    return made + Counter(same=len(found.same))


def phrase(words: str, *box_xyxy: float) -> Annotation:
    return box("", *box_xyxy, kind="phrase", task="phrase_grounding", text=words)


def mask(label: str, *, width: int) -> Annotation:
    pixels = np.zeros((SIDE, SIDE), np.uint8, order="F")
    pixels[10:40, 10 : 10 + width] = 1
    rle = coco.encode(pixels)
    mask_rle = MaskRLE(tuple(rle["size"]), rle["counts"].decode())
    return box(label, 0, 0, SIDE, SIDE, task="segmentation", mask_rle=mask_rle)


SQUARE, DISC = box("square", 10, 10, 30, 30), box("disc", 40, 40, 60, 60)
QUAD = (10.0, 10.0, 50.0, 10.0, 50.0, 20.0, 10.0, 20.0)
SIGN = Annotation(kind="region", task="ocr", text="EXIT", quad=QUAD)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([SQUARE], [SQUARE], {"same": 1}),
        ([SQUARE], [box("square", 10.2, 10, 30, 30)], {"same": 1}),
        ([SQUARE], [box("square", 12, 10, 30, 30)], {"changed": 1}),
        ([SQUARE], [box("square", 10, 10, 30, 29)], {"changed": 1}),
        ([SQUARE], [box("square", 10, 10, 30, 20)], {"changed": 1}),
        ([SQUARE], [box("square", 10, 10, 30, 19.9)], {"added": 1, "dropped": 1}),
        ([SQUARE], [box("diamond", 10, 10, 30, 30)], {"changed": 1}),
        ([SQUARE], [box("square", 22, 10, 42, 30)], {"added": 1, "dropped": 1}),
        ([SQUARE], [SQUARE, DISC], {"same": 1, "added": 1}),
        ([SQUARE, DISC], [DISC], {"same": 1, "dropped": 1}),
        ([SQUARE], [box("square", 10, 10, 30, 30, task="region_proposal")], None),
        ([box("dot", 5, 5, 5, 5)], [box("dot", 5, 5, 5, 5)], {"same": 1}),
        ([SIGN], [SIGN], {"same": 1}),
        ([SIGN], [box("", 10, 10, 50, 20, task="ocr", text="EXIT")], {"same": 1}),
        ([SIGN], [box("", 10, 10, 50, 20, task="ocr", text="EXLT")], {"changed": 1}),
        ([mask("cat", width=30)], [mask("cat", width=29)], {"same": 1}),
        ([mask("cat", width=30)], [mask("cat", width=20)], {"changed": 1}),
        ([mask("cat", width=30)], [mask("cat", width=10)], {"added": 1, "dropped": 1}),
        ([text("A cat.")], [text("A cat.")], {"same": 1}),
        ([text("A cat.")], [text("A dog.")], {"changed": 1}),
        ([], [text("A dog.")], {"added": 1}),
        ([text("cat", "tag")], [text("dog", "tag")], {"added": 1, "dropped": 1}),
        ([text("a", "tag"), text("b", "tag")], [text("b", "tag")], {"same": 1, "dropped": 1}),
        ([phrase("a cat", 0, 0, 20, 20)], [phrase("a cat", 0, 0, 20, 20)], {"same": 1}),
        ([phrase("a cat", 0, 0, 20, 20)], [phrase("a cat", 0, 0, 16, 20)], {"changed": 1}),
        (
            [phrase("a cat", 0, 0, 20, 20)],
            [phrase("a dog", 0, 0, 20, 20)],
            {"added": 1, "dropped": 1},
        ),
    ],
)
def test_each_kind_of_label_is_paired_in_its_own_way(
    before: Sequence[Annotation], after: Sequence[Annotation], expected: dict[str, int] | None
) -> None:
    found = compare(before, after)
    assert counts(found) == Counter(expected or {"added": 1, "dropped": 1})


def test_labels_of_one_place_are_paired_by_their_words_first() -> None:
    before = [box("person", 0, 0, 40, 60), box("coat", 0, 10, 40, 60)]
    after = [box("coat", 0, 0, 40, 60), box("person", 0, 10, 40, 60)]
    found = compare(before, after)
    assert counts(found) == Counter(changed=2)
    assert not any(change.is_reworded for change in found.changes)


def test_a_label_is_paired_only_once() -> None:
    assert counts(compare([SQUARE, SQUARE], [SQUARE])) == Counter(same=1, dropped=1)


def test_a_label_that_moved_a_little_weighs_little() -> None:
    (moved,) = compare([SQUARE], [box("square", 12, 10, 30, 30)]).changes
    assert moved.overlap == pytest.approx(0.9)
    assert moved.weight == pytest.approx(0.1)
    (renamed,) = compare([SQUARE], [box("diamond", 12, 10, 30, 30)]).changes
    (rewritten,) = compare([text("A cat.")], [text("A dog.")]).changes
    (added,) = compare([], [SQUARE]).changes
    assert renamed.weight == rewritten.weight == added.weight == 1
