"""The language of Florence-2: quantiser, prompts and targets, against the stock processor."""

from __future__ import annotations

import numpy as np
import pytest

from florilegium.engine.core.annotation import MaskRLE
from florilegium.pipelines.shape_world.pretrain.vocabulary import make_processor, train_tokenizer
from florilegium.specialists.florence2.format import (
    BINS,
    DEFAULT_TASKS,
    FLORENCE2_TASKS,
    TARGETS,
    clean,
    dequantise,
    joined,
    locations,
    order_by_first_quad,
    polygon_target,
    prompt_of,
    quantise,
)
from florilegium.specialists.regions.outline import outline

SIZE = (200, 100)


@pytest.fixture(scope="module")
def processor():
    return make_processor(
        train_tokenizer(["a dog", "two cats"], entries=300), px=32, image_tokens=5
    )


def read(processor, task: str, target: str, size_wh=SIZE):
    """What the stock post-processor reads out of a target, in hundredths of a pixel."""
    marker = FLORENCE2_TASKS[task].marker
    enlarged = (size_wh[0] * 100, size_wh[1] * 100)  # it cuts off fractions
    return processor.post_process_generation(text=target, task=marker, image_size=enlarged)[marker]


def test_the_prompts_are_those_of_the_stock_processor(processor):
    given = {"nothing": "", "text": "a dog", "region": "<loc_1><loc_2><loc_3><loc_4>"}
    for task in FLORENCE2_TASKS.values():
        asked = task.marker + given[task.takes]
        assert processor._construct_prompts(asked) == [prompt_of(task.name, given[task.takes])]
    assert len(DEFAULT_TASKS) == 15
    assert prompt_of("question_answer", "Where is the <loc_1> dog?") == "<DocVQA>Where is the dog?"


def test_a_text_in_a_prompt_cannot_pass_as_a_token_but_queries_stay_apart():
    assert prompt_of("phrase_grounding", "a <loc_5> b") == "Locate the phrases in the caption: a b"
    asked = prompt_of("open_vocabulary_detection", joined(["a <b", "c"]))
    assert asked == "Locate a b<and>c in the image."


def test_bins_are_floors_within_0_and_999():
    edges = [[0.0, 0.0, 200.0, 100.0], [-3.0, 99.95, 200.3, 250.0], [0.2, 0.1, 0.19, 0.09]]
    assert quantise(edges, SIZE).tolist() == [[0, 0, 999, 999], [0, 999, 999, 999], [1, 1, 0, 0]]


def test_decoding_gives_the_centre_of_a_bin():
    assert dequantise([0, 999], SIZE).tolist() == [0.1, 99.95]


@pytest.mark.parametrize("shape", [(7, 4), (5, 8), (9, 2), (3, 5, 2)])
def test_no_coordinate_moves_more_than_half_a_bin(shape):
    corners = np.random.default_rng(0).uniform(0, SIZE * (shape[-1] // 2), size=shape)
    moved = np.abs(dequantise(quantise(corners, SIZE), SIZE) - corners)
    half_a_bin = np.resize(np.array(SIZE) / BINS / 2, shape[-1])
    assert (moved <= half_a_bin + 1e-9).all()


def test_detection_names_classes_alphabetically_once_and_large_boxes_first():
    labels = ["dog", "cat", "dog"]
    boxes = [[0, 0, 2, 1], [0, 0, 20, 10], [0, 0, 100, 50]]
    target = TARGETS["object_detection"](labels, boxes, SIZE)
    assert target == (
        "cat<loc_0><loc_0><loc_100><loc_100>"
        "dog<loc_0><loc_0><loc_500><loc_500><loc_0><loc_0><loc_10><loc_10>"
    )


def test_a_long_thin_box_is_smaller_than_a_square_one():
    wide, square, tall = (0, 0, 180, 4), (20, 20, 60, 60), (100, 0, 108, 96)
    written = {box: locations(box, SIZE) for box in (wide, square, tall)}
    by_area = [written[square], written[tall], written[wide]]
    boxes = np.array([wide, tall, square])
    assert TARGETS["region_proposal"](["", "", ""], boxes, SIZE) == "".join(by_area)
    named = TARGETS["dense_region_caption"](["wide", "tall", "square"], boxes, SIZE)
    assert named == f"square{by_area[0]}tall{by_area[1]}wide{by_area[2]}"


def test_descriptions_and_proposals_go_by_area():
    boxes = [[0, 0, 2, 1], [0, 0, 20, 10]]
    predicted = TARGETS["dense_region_caption"](["a dog", "a cat"], boxes, SIZE)
    assert predicted.startswith("a cat<loc_0>")
    proposed = TARGETS["region_proposal"]([], boxes, SIZE)
    assert proposed == "<loc_0><loc_0><loc_100><loc_100><loc_0><loc_0><loc_10><loc_10>"


def test_a_query_is_repeated_and_a_phrase_is_not():
    boxes = [[0, 0, 2, 1], [0, 0, 20, 10]]
    assert TARGETS["open_vocabulary_detection"](["b", "b"], boxes, SIZE).count("b") == 2
    assert TARGETS["phrase_grounding"](["b", "b"], boxes, SIZE).count("b") == 1


def test_phrases_keep_the_order_of_mention():
    boxes = [[0, 0, 2, 1], [0, 0, 20, 10]]
    assert TARGETS["phrase_grounding"](["z", "a"], boxes, SIZE).startswith("z<loc_0>")


@pytest.mark.parametrize("task", sorted(TARGETS))
def test_nothing_to_say_is_an_empty_target(task):
    assert TARGETS[task]([], [], SIZE) == ""


def test_what_has_no_label_is_left_out_and_labels_hold_no_tokens():
    boxes = [[0, 0, 2, 1], [0, 0, 20, 10]]
    assert TARGETS["object_detection"](["<loc_3>", " x <y "], boxes, SIZE).startswith("x y<loc_0>")
    assert clean("a<s>b</s> <  c\n d") == "a b c d"


def test_text_is_read_line_by_line_from_the_left():
    def quad(left: float, top: float) -> list[float]:
        return [left, top, left + 20, top, left + 20, top + 10, left, top + 10]

    quads = [quad(60, 52), quad(60, 3), quad(10, 0), quad(10, 50), quad(110, 1)]
    assert order_by_first_quad(quads) == [2, 1, 4, 3, 0]
    assert order_by_first_quad([]) == []


@pytest.mark.parametrize(
    "task",
    ["object_detection", "dense_region_caption", "open_vocabulary_detection", "phrase_grounding"],
)
def test_the_stock_parser_reads_labels_and_boxes_back(processor, task):
    labels, boxes = (
        ["dog", "dog", "wild boar"],
        np.array([[1, 2, 50, 60], [3, 4, 199, 99], [0, 0, 9, 9]]),
    )
    answer = read(processor, task, TARGETS[task](labels, boxes, SIZE))
    read_labels = answer.get("labels") or answer["bboxes_labels"]
    found = sorted(zip(read_labels, answer["bboxes"], strict=True))
    assert [label for label, _ in found] == labels
    expected = sorted(zip(labels, boxes.tolist(), strict=True))
    for (_, places), (_, box) in zip(found, expected, strict=True):
        assert np.abs(np.array(places) / 100 - box).max() <= 0.1 + 0.01


def test_the_stock_parser_reads_quads_back(processor):
    quad = [10, 5, 90, 8, 88, 20, 9, 18]
    answer = read(processor, "ocr", TARGETS["ocr"](["Café 7"], [quad], SIZE))
    assert answer["labels"] == ["Café 7"]
    assert np.abs(np.array(answer["quad_boxes"][0]) / 100 - quad).max() <= 0.1 + 0.01


def test_the_stock_parser_reads_one_instance_of_two_parts_and_several_instances(processor):
    part, other = [[0, 0], [50, 0], [50, 40]], [[100, 50], [150, 50], [150, 90]]
    one = read(processor, "referring_segmentation", polygon_target([[part, other]], SIZE))
    assert [len(polygons) for polygons in one["polygons"]] == [2]
    two = read(processor, "segmentation", polygon_target([[part], [other]], SIZE))
    assert [len(polygons) for polygons in two["polygons"]] == [1, 1]
    assert np.abs(np.array(two["polygons"][1][0]) / 100 - np.ravel(other)).max() <= 0.1 + 0.01


def disc(side: int, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] + 0.5
    return np.hypot(rows - side / 2, columns - side / 2) < radius


def drawn(polygons: list[np.ndarray], side: int) -> np.ndarray:
    from pycocotools.mask import decode, frPyObjects

    encoded = frPyObjects([polygon.ravel().tolist() for polygon in polygons], side, side)
    return decode(encoded).any(axis=2)


@pytest.mark.parametrize(("corners", "min_iou"), [(40, 0.97), (12, 0.94), (8, 0.85), (4, 0.6)])
def test_an_outline_is_as_close_as_its_corners_allow(corners, min_iou):
    mask = disc(64, 20)
    polygons = outline(mask, corners=corners, min_iou=1.0)
    again = drawn(polygons, 64)
    assert sum(map(len, polygons)) <= corners
    assert (again & mask).sum() / (again | mask).sum() >= min_iou


def test_an_outline_covers_the_pixels_to_their_edges():
    mask = np.zeros((100, 100), dtype=bool)
    mask[20:40, 30:70] = True
    (polygon,) = outline(mask, corners=10, min_iou=1.0)
    assert (
        np.abs([*polygon.min(axis=0), *polygon.max(axis=0)] - np.array([30, 20, 70, 40])).max()
        < 0.2
    )


def test_small_parts_go_first_when_corners_are_few():
    mask = disc(64, 12)
    mask[2:5, 2:5] = mask[58:62, 2:6] = True
    assert len(outline(mask, corners=40, min_iou=1.0)) == 3
    polygons = outline(mask, corners=5, min_iou=1.0)
    assert len(polygons) == 1
    assert 20 < polygons[0].mean() < 44


def test_nothing_has_no_outline_and_a_single_pixel_has_one():
    mask = np.zeros((9, 9), dtype=bool)
    assert outline(mask, corners=10, min_iou=1.0) == []
    mask[4, 4] = True
    assert len(outline(mask, corners=10, min_iou=1.0)) == 1


def test_run_lengths_are_outlined_like_pixels():
    from pycocotools.mask import encode

    mask = disc(40, 10)
    rle = encode(np.asfortranarray(mask.astype(np.uint8)))
    predicted = MaskRLE(size=tuple(rle["size"]), counts=rle["counts"].decode())
    runs, plain = (outline(one, corners=12, min_iou=1.0) for one in (predicted, mask))
    for left, right in zip(runs, plain, strict=True):
        assert (left == right).all()


def test_locations_of_a_region_are_its_tokens_in_order():
    assert locations([[0, 0], [199.9, 99.9]], SIZE) == "<loc_0><loc_0><loc_999><loc_999>"


def rectangle(left: float, top: float, right: float, bottom: float) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def test_lines_of_text_are_written_in_reading_order_whatever_their_own():
    quads = [rectangle(0, 50, 40, 60), rectangle(100, 11, 140, 21), rectangle(5, 10, 45, 20)]
    target = TARGETS["ocr"](["last", "second", "first"], quads, SIZE)
    first, second, last = (target.index(word) for word in ("first", "second", "last"))
    assert first < second < last
    for word, quad in zip(("last", "second", "first"), quads, strict=True):
        assert f"{word}{locations(quad, SIZE)}" in target


def test_a_quad_is_of_a_line_whose_bottom_is_below_its_middle():
    line = rectangle(100, 10, 140, 20)
    assert order_by_first_quad([line, rectangle(0, 15, 40, 24.9)]) == [1, 0]
    assert order_by_first_quad([line, rectangle(0, 15, 40, 25)]) == [0, 1]
