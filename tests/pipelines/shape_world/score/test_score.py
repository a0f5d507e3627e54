"""Labels beside truth: what is right scores 1, and each fault lowers its own number."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, UsageError
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.shape_world.scene import key_of
from florilegium.pipelines.shape_world.score.measure import score_dataset, score_labels, truth_of
from florilegium.pipelines.shape_world.score.score import Score
from florilegium.pipelines.shape_world.truth import scene_of
from tests.pipelines.shape_world.score.labels import (
    SIDE,
    empty_scene,
    labelled,
    mask,
    perfect,
    phrase,
    region,
    scene,
    scored,
    spoilt,
)

WORLD = "shape_world://200?seed=5"


def moved(by: float) -> Callable[[Annotation], Annotation]:
    return lambda one: replace(one, box_xyxy=tuple(edge + by for edge in one.box_xyxy))


def saying(text: str) -> Callable[[Annotation], Annotation]:
    return lambda one: replace(one, text=text)


def caption_score(text: str, task: str = "detailed_caption") -> Score:
    return scored(spoilt(task, 0, saying(text)))


def test_perfect_labels_of_the_world_score_one_everywhere() -> None:
    scenes = {key_of(number): scene_of(WORLD, key_of(number)) for number in range(60)}
    samples = [labelled(each, perfect(each)) for each in scenes.values()]
    score = score_labels(samples, scenes.__getitem__)
    numbers = score.numbers()
    faults = {name: value for name, value in numbers.items() if name.endswith((".cer", ".ece"))}
    assert score.samples == 60
    assert "ocr.cer" in faults
    assert "reliability.object_detection.ece" in faults
    assert set(faults.values()) == {0.0}
    counts = (".predicted", ".true", ".rated", "samples")
    for name, value in numbers.items():
        if name not in faults and not name.endswith(counts):
            assert value == pytest.approx(10.0 if name.endswith("cider") else 1.0), name


def test_no_labels_score_zero() -> None:
    numbers = scored([]).numbers()
    shares = {
        name: value for name, value in numbers.items() if not name.endswith((".true", "ples"))
    }
    assert shares.pop("ocr.cer") == 1.0
    # No caption names a thing rightly, so no phrase is expected.
    assert shares.pop("phrases.recall_at_1") is None
    assert shares.pop("phrases.precision") is None
    assert shares.pop("phrases.f1") is None
    assert shares.pop("captions.more_detailed_caption.relations.recall") == 0.0
    assert set(shares.values()) == {0.0}


def test_no_samples_and_empty_scenes_have_nothing_to_measure() -> None:
    empty = score_labels([], lambda key: scene())
    assert empty.boxes.f1 is None
    assert empty.captions["caption"].cider is None
    nothing = scored([], empty_scene())
    assert (nothing.boxes.f1, nothing.masks.iou, nothing.ocr.cer) == (None, None, None)
    hallucinated = scored([region("object_detection", (1, 1, 9, 9), "star")], empty_scene())
    assert (hallucinated.boxes.precision, hallucinated.boxes.f1) == (0.0, 0.0)


def test_excluded_samples_are_not_scored() -> None:
    good, bad = labelled(scene(0), perfect(scene(0))), labelled(scene(1), [])
    assert score_labels([good, bad], lambda key: scene(int(key))).boxes.f1 < 1
    score = score_labels([good, bad], lambda key: scene(int(key)), without={bad.key})
    assert (score.samples, score.boxes.f1) == (1, 1.0)


def test_a_moved_box_is_a_false_positive_and_a_miss() -> None:
    score = scored(spoilt("object_detection", 0, moved(15)))
    assert (score.boxes.precision, score.boxes.recall, score.boxes.f1) == (0.75, 0.75, 0.75)
    assert score.boxes.f1_any_name == 0.75
    assert score.masks.f1 == 1.0


def test_boxes_and_masks_match_from_an_iou_of_one_half() -> None:
    for bottom, f1 in ((50.0, 1.0), (50.1, 0.75)):
        box = (10.0, 10.0, 30.0, bottom)
        score = scored(
            spoilt("object_detection", 0, lambda old, box=box: replace(old, box_xyxy=box))
        )
        assert (score.boxes.f1, score.boxes.f1_any_name) == (f1, f1)
    for rows, above_50, above_75 in (
        (10, 1.0, 0.75),
        (9, 0.75, 0.75),
        (15, 1.0, 1.0),
        (14, 1, 0.75),
    ):
        pixels = np.zeros((SIDE, SIDE), dtype=bool)
        pixels[10 : 10 + rows, 10:30] = True
        masks = scored(spoilt("segmentation", 0, lambda old, pixels=pixels: mask(pixels))).masks
        assert (masks.above_50, masks.above_75) == (above_50, above_75), rows
        assert masks.f1 == above_50


def test_a_slightly_moved_box_costs_only_the_strict_average_precision() -> None:
    score = scored(spoilt("object_detection", 0, moved(2)))
    assert (score.boxes.f1, score.boxes.map50) == (1.0, pytest.approx(1.0))
    assert score.boxes.map is not None
    assert score.boxes.map < 0.95


def test_a_swapped_label_is_still_a_box_without_its_name() -> None:
    score = scored(spoilt("object_detection", 0, lambda box: replace(box, label="star")))
    assert (score.boxes.f1, score.boxes.f1_any_name) == (0.75, 1.0)


def test_a_duplicate_box_is_a_false_positive() -> None:
    twice = [*perfect(scene()), region("object_detection", (10, 10, 30, 31), "circle")]
    assert scored(twice).boxes.precision == 0.8


def test_a_box_with_an_unknown_label_is_a_false_positive() -> None:
    score = scored([*perfect(scene()), region("object_detection", (1, 1, 9, 9), "lamp")])
    assert score.boxes.precision == 0.8


def test_half_a_mask_lowers_the_iou() -> None:
    half = np.zeros((SIDE, SIDE), dtype=bool)
    half[10:22, 10:30] = True
    score = scored(spoilt("segmentation", 0, lambda old: mask(half)))
    assert score.masks.iou == pytest.approx(0.9)
    assert score.masks.iou_of_things == pytest.approx(0.9)
    assert (score.masks.above_50, score.masks.above_75) == (1.0, 0.75)


def test_a_missed_mask_lowers_the_iou_of_things_only() -> None:
    score = scored(spoilt("segmentation", 0, lambda old: None))
    assert (score.masks.iou, score.masks.iou_of_things) == (1.0, 0.75)
    assert score.masks.f1 == pytest.approx(6 / 7)


def test_a_mask_of_another_image_size_covers_nothing() -> None:
    other = mask(np.ones((SIDE, SIDE + 1), dtype=bool))
    assert scored(spoilt("segmentation", 0, lambda old: other)).masks.above_50 == 0.75


def test_a_misread_letter_adds_one_edit() -> None:
    score = scored(spoilt("ocr", 0, saying("ST0P")))
    assert (score.ocr.cer, score.ocr.word_accuracy, score.ocr.precision) == (0.25, 0.0, 0.0)


def test_a_missing_sign_counts_as_deleted() -> None:
    score = scored(spoilt("ocr", 0, lambda line: None))
    assert (score.ocr.cer, score.ocr.word_accuracy, score.ocr.predicted) == (1.0, 0.0, 0)


def test_the_right_word_elsewhere_is_not_read_on_the_sign() -> None:
    score = scored(spoilt("ocr", 0, moved(-45)))
    assert (score.ocr.cer, score.ocr.precision) == (1.0, 0.0)


def test_the_highest_ranked_line_reads_the_sign() -> None:
    doubtful = replace(region("ocr", (52, 62, 93, 78), text="SHOP"), confidence=0.3)
    score = scored([doubtful, *perfect(scene())])
    assert (score.ocr.cer, score.ocr.word_accuracy, score.ocr.precision) == (0.0, 1.0, 0.5)


def test_a_hallucinated_object_lowers_object_precision() -> None:
    score = caption_score("The picture shows a red circle, a blue square and a pink heart.")
    captions = score.captions["detailed_caption"]
    assert captions.objects.precision == pytest.approx(2 / 3)
    assert captions.objects.recall == pytest.approx(2 / 4)
    assert captions.attributes.precision == pytest.approx(2 / 3)
    assert score.captions["caption"].objects.f1 == 1.0


def test_any_true_claim_counts_for_recall() -> None:
    captions = caption_score("A blue square above a green sign.", "caption").captions["caption"]
    assert (captions.objects.f1, captions.relations.f1) == (1.0, 1.0)


def test_a_wrong_colour_is_a_wrong_attribute_of_a_right_object() -> None:
    captions = caption_score("A green square and a red circle.").captions["detailed_caption"]
    assert captions.objects.precision == 1.0
    assert captions.attributes.precision == 0.5


def test_a_shade_of_the_colour_is_right() -> None:
    captions = caption_score("A dark red circle and a light blue square.")
    assert captions.captions["detailed_caption"].attributes.precision == 1.0


def test_one_colour_for_two_objects_is_half_right() -> None:
    captions = caption_score("Two red circles and a sign.").captions["detailed_caption"]
    assert captions.objects.precision == 1.0
    assert captions.attributes.precision == 0.5


def test_a_reversed_relation_is_wrong() -> None:
    template = "A red circle and a blue square. The circle is to the {} of the square."
    right = caption_score(template.format("left")).captions["detailed_caption"]
    wrong = caption_score(template.format("right")).captions["detailed_caption"]
    assert (right.relations.precision, right.objects.precision) == (1.0, 1.0)
    assert (wrong.relations.precision, wrong.objects.precision) == (0.0, 1.0)


def test_a_relation_to_an_absent_object_is_wrong() -> None:
    captions = caption_score("A red circle to the left of a black star.")
    assert captions.captions["detailed_caption"].relations.precision == 0.0


def test_cider_falls_with_the_wording() -> None:
    scenes = [scene_of(WORLD, key_of(number)) for number in range(20)]

    def cider(change: Callable[[str], str]) -> float:
        samples = [
            labelled(each, [Annotation(kind="text", task=task, text=change(text))])
            for each in scenes
            for task, text in each.captions.items()
            if task == "detailed_caption"
        ]
        score = score_labels(samples, lambda key: scene_of(WORLD, key))
        return score.captions["detailed_caption"].cider or 0.0

    halved = cider(lambda text: text[: len(text) // 2])
    assert 0 < halved < cider(str.upper)
    assert cider(lambda text: "nothing") == 0


def test_a_phrase_on_another_thing_lowers_precision_and_recall() -> None:
    right = scored(perfect(scene())).phrases
    wrong = scored(spoilt("phrase_grounding", 0, moved(30))).phrases
    assert (right.precision, right.recall_at_1) == (1.0, 1.0)
    assert wrong.precision == pytest.approx((right.predicted - 1) / right.predicted)
    assert wrong.recall_at_1 == pytest.approx((right.true - 1) / right.true)


def test_only_the_highest_ranked_phrase_finds_a_thing() -> None:
    caption = Annotation(kind="text", task="caption", text="A blue square.", id="c")
    right = replace(phrase(caption, (0, 13), (60, 10, 80, 30)), confidence=0.4)
    wrong = replace(phrase(caption, (0, 13), (10, 60, 40, 90)), confidence=0.6)
    score = scored([caption, right, wrong]).phrases
    assert (score.precision, score.recall_at_1) == (0.5, 0.0)


def test_a_plural_finds_as_many_things_as_it_claims() -> None:
    caption = Annotation(kind="text", task="caption", text="Two circles.", id="c")
    first = phrase(caption, (0, 11), (10, 10, 30, 30))
    again = replace(first, confidence=0.9)
    second = replace(phrase(caption, (0, 11), (10, 60, 40, 90)), confidence=0.5)
    assert scored([caption, first, again]).phrases.recall_at_1 == 0.5
    assert scored([caption, first, again, second]).phrases.recall_at_1 == 1.0


def test_no_more_things_are_found_than_a_mention_claims_rightly() -> None:
    """A caption has three circles where two are: each mention expects one phrase."""
    caption = Annotation(kind="text", task="caption", text="A circle and two circles.", id="c")
    given = [phrase(caption, (13, 24), box) for box in ((10, 10, 30, 30), (10, 60, 40, 90))]
    score = scored([caption, *given]).phrases
    assert (score.true, score.recall_at_1, score.precision) == (2, 0.5, 1.0)


def test_a_phrase_refers_to_the_thing_of_its_colour() -> None:
    caption = Annotation(kind="text", task="caption", text="A blue circle.", id="c")
    assert scored([caption, phrase(caption, (0, 13), (10, 10, 30, 30))]).phrases.precision == 0.0
    assert scored([caption, phrase(caption, (0, 13), (10, 60, 40, 90))]).phrases.precision == 1.0


def test_overconfidence_is_a_calibration_error() -> None:
    labels = [replace(one, label="star", confidence=0.9) for one in perfect(scene())[:4]]
    reliability = scored(labels).reliability["object_detection"]
    assert (reliability.rated, reliability.right) == (4, 0.0)
    assert reliability.ece == pytest.approx(0.9)


def test_labels_without_confidence_are_not_rated() -> None:
    labels = [replace(one, confidence=None, score=0.5) for one in perfect(scene())]
    assert scored(labels).reliability == {}


def test_json_is_sorted_rounded_and_plain() -> None:
    document = scored(spoilt("phrase_grounding", 0, moved(30))).to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert list(document) == sorted(document)
    precision = document["phrases"]["precision"]
    assert precision == round(precision, 5)
    assert set(document["captions"]) == set(CAPTION_TASKS)


def test_truth_needs_a_single_world() -> None:
    assert truth_of(["shape_world://5?seed=1"])("000003").number == 3
    for urls in (["folder:///photographs"], ["shape_world://5", "shape_world://9"], []):
        with pytest.raises(ConfigError, match="shape_world://"):
            truth_of(urls)


def test_an_unfinished_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="build the dataset first"):
        score_dataset(Folder(str(tmp_path)))


def test_a_thing_mentioned_twice_is_found_by_the_higher_ranked_phrase() -> None:
    text = "A circle and a sign. The circle is at the top."
    caption = Annotation(kind="text", task="caption", text=text, id="c")
    sign = (50, 60, 95, 80)
    first = replace(phrase(caption, (0, 8), sign), confidence=0.9)
    second = replace(phrase(caption, (21, 31), (10, 10, 30, 30)), confidence=0.5)
    again = replace(phrase(caption, (21, 31), sign), confidence=0.1)
    assert scored([caption, first, second]).phrases.recall_at_1 == 0.0
    assert scored([caption, first, second, again]).phrases.recall_at_1 == 0.0
    surer = replace(second, confidence=0.95)
    assert scored([caption, first, surer, again]).phrases.recall_at_1 == 0.5


def test_a_relation_of_a_surplus_object_is_wrong() -> None:
    text = "A red circle, a blue circle and a sign. A black circle is to the left of a blue square."
    captions = caption_score(text).captions["detailed_caption"]
    assert captions.objects.precision == 0.8
    assert captions.relations.precision == 0.0


def test_recall_of_captions_is_at_most_one() -> None:
    captions = caption_score("A sign, a square and two circles.", "caption").captions["caption"]
    assert (captions.objects.precision, captions.objects.recall) == (1.0, 1.0)
