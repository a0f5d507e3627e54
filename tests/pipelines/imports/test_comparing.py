"""An image that came back against what the run has of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation
from florilegium.pipelines.imports.comparing import Compared, Subject, Told, compare, shown_in
from florilegium.pipelines.imports.drawing import as_mask, box_around, mask_of, polygons_of
from florilegium.pipelines.imports.importer import ReturnedImage, Shape
from tests.pipelines.corrections.said import SHA256, seen
from tests.pipelines.filters.statements import caption

TOLD = Told(who="Ada", when="2026-01-31T12:00:00Z", tool="cvat")
BOX = ("label", "box_xyxy")
A, B = seen("a", 0, 0, 20, 20), seen("b", 40, 40, 60, 60, label="dog")


def ring() -> Annotation:
    """Return a mask with a hole, and a second part."""
    pixels = np.zeros((100, 100), np.uint8, order="F")
    pixels[10:40, 10:40] = 1
    pixels[20:30, 20:30] = 0
    pixels[60:70, 60:75] = 1
    mask = as_mask(coco_mask.encode(pixels))
    whole = {"task": "segmentation", "mask_rle": mask, "box_xyxy": box_around(mask)}
    return replace(seen("c"), **whole, parent_id="a" * 16)


def subject(*rows: Annotation, kept: int | None = None) -> Subject:
    own = {one.id: one for one in rows}
    named = frozenset(list(own)[:kept])
    return Subject(key="cat", sha256=SHA256, size_wh=(100, 100), annotations=own, kept=named)


def shape(one: Annotation, fields: tuple[str, ...] = BOX, **rest: Any) -> Shape:
    return Shape(**{"id": one.id, "annotation": one, "fields": fields, **rest})


def compared(*shapes: Shape, rows: Any = (A, B), shown: Any = (A, B), **rest: Any) -> Compared:
    ids = None if shown is None else frozenset(one.id for one in shown)
    image = ReturnedImage(name="cat.jpg", shapes=shapes, shown=ids, **rest)
    return compare(image, subject(*rows), TOLD)


def findings(found: Compared) -> list[tuple[str, str]]:
    own = ((one.finding, one.about.id[0] if one.about else "") for one in found.corrections)
    return sorted(own, key=lambda one: one[::-1])


def test_what_is_as_it_was_is_confirmed_though_programs_round() -> None:
    found = compared(shape(replace(A, box_xyxy=(0.4, 0, 20, 20.3))), shape(B))
    assert findings(found) == [("confirmed", "a"), ("confirmed", "b")]
    assert found.corrections[0].about == A
    assert (found.corrections[0].who, found.corrections[0].tool) == ("Ada", "cvat")


def test_moved_renamed_added_and_deleted_ones_are_told_apart() -> None:
    moved = replace(A, box_xyxy=(0, 0, 20, 24.0))
    new = Annotation(kind="region", task="object_detection", label="emu", box_xyxy=(1, 2, 3, 4))
    found = compared(shape(moved), shape(new, id=""), who="Bo", when="2026-01-30T00:00:00Z")
    assert findings(found) == [("added", ""), ("changed", "a"), ("rejected", "b")]
    change, added = (one.annotation for one in found.corrections[:2])
    assert change is not None
    assert (change.box_xyxy, change.label, change.id, change.score) == (
        moved.box_xyxy,
        "cat",
        "",
        None,
    )
    assert added == new
    assert {(one.who, one.when) for one in found.corrections} == {("Bo", "2026-01-30T00:00:00Z")}
    assert not any(one.problem() for one in found.corrections)
    renamed = compared(shape(replace(A, label="dog")), shape(B))
    assert findings(renamed) == [("changed", "a"), ("confirmed", "b")]


def test_what_nobody_was_shown_is_not_rejected() -> None:
    assert findings(compared(shape(A), shown=None)) == [("confirmed", "a")]
    assert findings(compared(shape(A), shown=(A,))) == [("confirmed", "a")]


def test_ids_that_the_run_does_not_have_are_counted() -> None:
    stranger = seen("e")
    found = compared(shape(stranger), shape(A), shown=(A, seen("f")))
    assert findings(found) == [("confirmed", "a")]
    assert found.left_out == {"unknown_id": 2}


def test_a_copy_with_the_id_of_another_is_new_and_a_lost_id_is_recognised() -> None:
    copy = replace(A, box_xyxy=(5, 50, 25, 70))
    found = compared(shape(copy), shape(A), shape(B, id=""))
    assert findings(found) == [("added", ""), ("confirmed", "a"), ("confirmed", "b")]


def test_a_box_outside_of_the_image_is_counted_and_not_taken() -> None:
    found = compared(shape(replace(A, box_xyxy=(500, 0, 600, 9))), shape(B))
    assert findings(found) == [("confirmed", "b")]
    assert found.left_out == {"unusable": 1}


def test_an_outline_that_nobody_touched_leaves_the_exact_mask() -> None:
    mask = ring()
    assert mask.mask_rle
    drawn = mask_of(polygons_of(mask.mask_rle), (100, 100))
    assert drawn not in (None, mask.mask_rle), "the hole is filled"
    outlined = shape(replace(mask, mask_rle=drawn), ("label", "mask_rle"), is_outline=True)
    assert findings(compared(outlined, rows=(mask,), shown=(mask,))) == [("confirmed", "c")]
    renamed = replace(outlined, annotation=replace(outlined.annotation, label="dog"))
    (change,) = compared(renamed, rows=(mask,), shown=(mask,)).corrections
    assert change.annotation is not None
    assert (change.annotation.label, change.annotation.mask_rle) == ("dog", mask.mask_rle)
    smaller = mask_of([np.array([[10, 10], [30, 10], [30, 40], [10, 40]])], (100, 100))
    redrawn = replace(outlined, annotation=replace(mask, mask_rle=smaller))
    (change,) = compared(redrawn, rows=(mask,), shown=(mask,)).corrections
    assert change.annotation is not None
    assert (change.finding, change.annotation.mask_rle) == ("changed", smaller)
    assert change.annotation.box_xyxy == (10, 10, 30, 40)
    assert change.annotation.parent_id == "a" * 16


def test_texts_without_ids_are_paired_with_those_of_their_task() -> None:
    texts = [
        replace(caption(text), id=name * 16) for name, text in (("d", "A cat."), ("e", "Cats."))
    ]
    returned = [Shape(annotation=caption(text), fields=("text",)) for text in ("A dog.", "A cat. ")]
    found = compared(*returned, rows=texts, shown=texts)
    assert findings(found) == [("confirmed", "d"), ("changed", "e")], "not in their order"
    found = compared(returned[1], rows=texts, shown=texts)
    assert findings(found) == [("confirmed", "d"), ("rejected", "e")]


@pytest.mark.parametrize("has_parent", [True, False])
def test_the_mask_of_an_object_is_found_by_its_box_and_a_mask_alone_by_itself(
    has_parent: bool,
) -> None:
    mask = ring() if has_parent else replace(ring(), parent_id="")
    rows = (A, mask) if has_parent else (mask,)
    own = A if has_parent else mask
    image = ReturnedImage(
        name="",
        shapes=(
            shape(replace(own, task="object_detection", mask_rle=None, kind="region")),
            shape(replace(mask, parent_id=own.id), ("mask_rle",), id=""),
        ),
    )
    found = compare(image, subject(*rows), TOLD)
    assert findings(found) == [("confirmed", one.id[0]) for one in rows]
    assert shown_in(image, subject(*rows)) == {one.id for one in rows}


def test_what_came_back_unusable_was_not_rejected() -> None:
    masked = replace(ring(), parent_id=A.id)
    found = compared(rows=(A, B, masked), shown=(A, B, masked), unusable=frozenset({A.id}))
    assert findings(found) == [("rejected", "b")], "nor what was made from it"


def test_a_time_that_is_still_to_come_is_now() -> None:
    found = compared(shape(A), shown=(A,), when="2099-01-01T00:00:00Z")
    assert [one.when for one in found.corrections] == [TOLD.when]
