"""Labels of the source beside the votes of machines: small cases whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from florilegium.engine.core.annotation import SOURCE, Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.merge.learning.fit import fit
from florilegium.pipelines.merge.stage import Merge, MergeConfig
from tests.pipelines.merge.voters import VOTERS, audit_of, mask_of, sample_of, scene, voted

RULES: tuple[dict[str, Any], ...] = (
    {"rule": "agreement"},
    {"rule": "union"},
    {"rule": "replace", "student": "first"},
    {"rule": "calibrated_fusion"},
)


def merged(*annotations: Annotation, **options: Any) -> list[Annotation]:
    tasks = tuple({one.task for one in annotations})
    (answer,) = Merge(MergeConfig(tasks=tasks, **options)).predict([sample_of(*annotations)])
    return answer


def label(*box_xyxy: float, **rest: Any) -> Annotation:
    return voted(*box_xyxy, **{"specialist": SOURCE, "score": None, "id": "label", **rest})


def words(annotations: list[Annotation]) -> list[str]:
    return [one.name for one in annotations]


@pytest.mark.parametrize("options", RULES, ids=lambda options: options["rule"])
def test_a_label_of_the_source_stays_as_it_is_and_names_the_machines(options) -> None:
    found = [
        voted(10, 10, 30, 31, label="ring", specialist="first", score=0.99, id="a"),
        voted(10, 10, 30, 32, label="ring", specialist="second", score=0.98, id="b"),
        label(10, 10, 30, 30, label="star"),
    ]
    (one,) = merged(*found, **options)
    assert (one.label, one.box_xyxy) == ("star", (10, 10, 30, 30))
    assert one.merged_from == ("label", "a", "b")
    assert (one.score, one.confidence) == (None, None), "no number was invented"
    assert (one.specialist, one.stage) == ("", ""), "the engine's to fill in"


def test_where_the_config_says_so_the_source_is_one_voter_of_several() -> None:
    found = [
        voted(10, 10, 30, 30, label="ring", specialist="first", id="a"),
        voted(10, 10, 30, 30, label="ring", specialist="second", id="b"),
        label(10, 10, 30, 30, label="star"),
    ]
    (one,) = merged(*found, rule="agreement", source_first=False)
    assert (one.label, one.merged_from) == ("ring", ("a", "b", "label"))


def test_a_label_that_no_machine_found_stays() -> None:
    assert words(merged(label(10, 10, 30, 30), rule="agreement")) == ["star"]


def test_labels_are_no_votes_and_machines_agree_among_themselves() -> None:
    one = voted(60, 60, 90, 90, label="ring", specialist="first", id="a")
    other = voted(60, 60, 90, 91, label="ring", specialist="second", id="b")
    here = label(10, 10, 30, 30)
    assert words(merged(here, one, rule="agreement")) == ["star"]
    assert words(merged(here, one, other, rule="agreement")) == ["star", "ring"]
    near = label(60, 60, 90, 74.9, label="ring")  # overlaps by less than a half
    assert words(merged(near, one, rule="agreement")) == ["ring"]


def test_each_voter_is_part_of_a_label_once_and_of_the_one_that_it_overlaps_most() -> None:
    left, right = label(0, 0, 20, 20, id="left"), label(4, 0, 24, 20, id="right")
    found = [
        voted(0, 0, 20, 19, specialist="first", id="a"),
        voted(0, 0, 20, 18, specialist="first", id="a again"),
        voted(5, 0, 24, 20, specialist="second", id="b"),
    ]
    answers = merged(left, right, *found, rule="union")
    assert [one.merged_from for one in answers] == [("left", "a"), ("right", "b")]


def test_the_mean_of_machines_does_not_lie_on_a_label() -> None:
    found = [
        label(0, 0, 20, 10, label="star"),
        voted(0, 0, 20, 20.2, label="ring", specialist="first", score=0.9),
        voted(0, 0, 20, 20.2, label="ring", specialist="second", score=0.9),
    ]
    assert words(merged(*found, rule="agreement", apart=0.5)) == ["star", "ring"]
    assert words(merged(*found, rule="agreement", apart=0.49)) == ["star"]


def test_regions_about_different_queries_are_different_things() -> None:
    query = {"task": "open_vocabulary_detection"}
    found = [
        label(0, 0, 20, 20, label="cat", **query),
        voted(0, 0, 20, 20, label="animal", specialist="first", **query),
    ]
    assert words(merged(*found, rule="union", apart=0.5)) == ["cat", "animal"]


def test_a_mask_of_the_source_keeps_its_pixels() -> None:
    given = mask_of(0, 0, 20, 20, size_wh=(64, 64), specialist=SOURCE, score=None, id="label")
    found = mask_of(0, 0, 22, 20, size_wh=(64, 64), specialist="first", score=0.9, id="a")
    (one,) = merged(given, found, rule="union")
    assert (one.mask_rle, one.merged_from) == (given.mask_rle, ("label", "a"))


def caption(text: str, name: str, specialist: str, score: float | None = None) -> Annotation:
    return Annotation(
        kind="text", task="caption", text=text, id=name, specialist=specialist, score=score
    )


def test_captions_of_the_source_stay_and_equal_ones_of_machines_are_part_of_them() -> None:
    found = [
        caption("A dog runs.", "machine", "first", 0.99),
        caption("A brown dog", "label", SOURCE),
        caption("a brown dog", "same", "second", 0.9),
        caption("A dog in a field", "other label", SOURCE),
    ]
    answers = merged(*found, rule="union")
    assert [one.text for one in answers] == ["A brown dog", "A dog in a field"]
    assert [one.merged_from for one in answers] == [("label", "same"), ("other label",)]
    (best,) = merged(*found, rule="union", source_first=False)
    assert best.text == "A dog runs."


def test_what_an_earlier_merge_made_of_a_label_is_part_of_it() -> None:
    first = voted(
        10, 10, 30, 30, id="m", specialist="boxes", merged_from=("label", "a"), score=None
    )
    (one,) = merged(label(10, 10, 30, 30), first, rule="union")
    assert one.merged_from == ("label", "m")


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = Folder(str(tmp_path_factory.mktemp("calibration")))
    scenes = [scene(number) for number in range(1000, 1040)]
    learned = fit(scenes, audit_of(scenes), voters=tuple(VOTERS), tasks=("object_detection",))
    assert learned.tasks["object_detection"].fusion is not None
    learned.save(folder, "calibration.json")
    return folder.path("calibration.json")


def test_a_calibration_of_voters_serves_beside_labels_of_the_source(calibration: str) -> None:
    """What the voters found elsewhere is merged as if there were no label."""
    far = label(0.0, 0.0, 1.0, 1.0, label="dot")
    for number in range(30):
        alone = scene(number).annotations
        if not alone:
            continue
        first, *rest = merged(*alone, far, calibration=calibration)
        assert (first.label, first.confidence) == ("dot", None)
        without = merged(*alone, calibration=calibration)
        assert [replace(one, id="") for one in rest] == [replace(one, id="") for one in without]


def test_a_calibration_that_does_not_know_the_source_is_refused_where_it_is_a_voter(
    calibration: str,
) -> None:
    with pytest.raises(ConfigError, match="does not know the voter 'source'"):
        merged(label(0, 0, 9, 9), calibration=calibration, source_first=False)
