"""Which images come first: those about whose boxes specialists disagree most."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from florilegium.engine.core.annotation import Annotation
from florilegium.pipelines.serve import disagreement
from florilegium.pipelines.serve.disagreement import disagreements
from florilegium.specialists.regions.overlap import box_overlap
from tests.pipelines.report.dataset import box

LEFT, NEAR, RIGHT = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 9.0), (50.0, 0.0, 60.0, 10.0)


def table(*rows: tuple[str, Annotation]) -> pa.Table:
    """Return the rows of a shard."""
    columns: dict[str, list[Any]] = {
        "key": [key for key, _ in rows],
        **{
            name: [getattr(one, name) for _, one in rows]
            for name in ("task", "label", "text", "box_xyxy", "merged_from", "specialist")
        },
    }
    types = {"box_xyxy": pa.list_(pa.float64()), "merged_from": pa.list_(pa.string())}
    return pa.table({name: pa.array(one, types.get(name)) for name, one in columns.items()})


def by(who: str, place: tuple[float, ...], label: str = "cat", **changes: Any) -> Annotation:
    return box(specialist=who, box_xyxy=place, label=label, **changes)


def test_boxes_that_overlap_and_have_one_name_agree() -> None:
    assert disagreements(table(("k", by("a", LEFT)), ("k", by("b", NEAR, "Cat")))) == {}


def test_another_name_is_a_disagreement_of_both() -> None:
    found = disagreements(table(("k", by("a", LEFT)), ("k", by("b", NEAR, "dog"))))
    assert found == {"k": pytest.approx(2 * 2 / 2)}


def test_a_box_that_only_one_has_is_a_disagreement() -> None:
    rows = [("k", by("a", LEFT)), ("k", by("b", NEAR)), ("k", by("b", RIGHT))]
    assert disagreements(table(*rows)) == {"k": pytest.approx(1 * 1 / 3)}


def test_an_image_of_which_one_says_nothing_counts_where_it_speaks_elsewhere() -> None:
    rows = [("k", by("a", LEFT)), ("other", by("a", LEFT)), ("other", by("b", LEFT))]
    assert disagreements(table(*rows)) == {"k": pytest.approx(1.0)}


def test_boxes_of_one_specialist_do_not_make_up_for_another() -> None:
    rows = [("k", by("a", LEFT)), ("k", by("a", NEAR)), ("k", by("b", RIGHT))]
    assert disagreements(table(*rows)) == {"k": pytest.approx(3.0)}


def test_merged_boxes_other_tasks_and_texts_are_left_out() -> None:
    rows = [
        ("k", by("a", LEFT)),
        ("k", by("merge", RIGHT, merged_from=("a",))),
        ("k", by("b", RIGHT, task="region_proposal")),
        ("k", by("c", ())),
    ]
    assert disagreements(table(*rows)) == {}


def test_of_very_many_boxes_the_first_ones_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disagreement, "_MOST_BOXES", 2)
    rows = [("k", by(who, LEFT)) for who in ("a", "b")] + [("k", by("a", RIGHT))] * 5
    assert disagreements(table(*rows)) == {}


@pytest.mark.parametrize("pairs_at_once", [1, 40, 1_000_000])
def test_many_images_are_compared_as_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, pairs_at_once: int
) -> None:
    monkeypatch.setattr(disagreement, "_PAIRS_AT_ONCE", pairs_at_once)
    random = np.random.default_rng(3)
    rows = [
        (str(random.integers(9)), by("abc"[random.integers(3)], (x, y, x + 9.0, y + 9.0)))
        for x, y in random.uniform(0, 20, (120, 2)).tolist()
    ]
    expected = {}
    for key in {key for key, _ in rows}:
        here = [one for name, one in rows if name == key]
        agreeing = [{one.specialist for one in here if _is_same(box, one)} for box in here]
        apart = sum(2 - len(others) for others in agreeing)
        expected[key] = pytest.approx(apart * apart / (2 * len(here)))
    assert disagreements(table(*rows)) == expected


def _is_same(one: Annotation, other: Annotation) -> bool:
    overlap = box_overlap([one.box_xyxy], [other.box_xyxy])[0].item()
    return one.specialist != other.specialist and overlap >= 0.5


def test_images_are_ranked_over_all_shards(client: TestClient) -> None:
    found = client.get("/api/disagreements").json()
    assert [card["key"] for card in found["cards"]][:1] == ["cat1"]
    scores = [card["score"] for card in found["cards"]]
    assert scores == sorted(scores, reverse=True)
    assert found["searched"] == found["shards"] == 2
    assert client.get("/api/disagreements?start=1").json()["cards"] == found["cards"][1:]
