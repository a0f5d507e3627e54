"""Which rows of a shard are counted."""

from __future__ import annotations

import pyarrow as pa

from florilegium.engine.core.annotation import SOURCE, Annotation, to_columns
from florilegium.pipelines.report.repeats import without_repeats
from tests.pipelines.report.dataset import box


def counted(*annotations: Annotation, dropped: tuple[str, ...] = (), keys: str = "") -> list[str]:
    """Return the ids of the counted rows; all are of one image unless `keys` has a letter each."""
    columns = to_columns(annotations)
    table = pa.table(
        {
            "key": list(keys or "a" * len(annotations)),
            **columns,
            "kept": [one.id not in dropped for one in annotations],
        }
    )
    return without_repeats(table).column("id").to_pylist()


def proposal(name: str, **rest: object) -> Annotation:
    return box(name, task="region_proposal", label="", **rest)


def test_the_region_that_is_first_in_rank_is_counted() -> None:
    other = box("found", task="open_vocabulary_detection", score=0.99)
    assert counted(box("seen"), other, proposal("again")) == ["found"]
    human = box("human", specialist=SOURCE, score=None)
    assert counted(other, human) == ["human"]
    merged = box("merged", score=None, merged_from=("human",))
    assert counted(other, merged, human, dropped=("human",)) == ["merged", "human"]


def test_other_images_and_dropped_rows_are_other_places() -> None:
    rows = (box("named"), proposal("again"))
    assert counted(*rows, keys="ab") == ["named", "again"]
    assert counted(*rows, dropped=("named",)) == ["named", "again"]
    assert counted(*rows, dropped=("named", "again")) == ["named"]


def test_a_line_of_text_is_no_name_of_the_object_that_it_is_on() -> None:
    line = box("line", task="ocr", label="", text="STOP")
    assert counted(proposal("sign"), line) == ["sign", "line"]


def test_a_text_of_a_repeated_region_goes_unless_it_is_the_only_one() -> None:
    described = {"task": "region_description", "label": "", "text": "a cat"}
    rows = (box("named"), proposal("again"), box("mask", task="segmentation", parent_id="again"))
    here, again = (
        box("here", parent_id="named", **described),
        box("more", parent_id="again", **described),
    )
    assert counted(*rows, here, again) == ["named", "mask", "here"]
    assert counted(*rows, again) == ["named", "mask", "more"]


def test_without_regions_nothing_is_left_out() -> None:
    caption = Annotation(kind="text", task="caption", text="A cat.", id="caption")
    assert counted(caption, box("named")) == ["caption", "named"]
