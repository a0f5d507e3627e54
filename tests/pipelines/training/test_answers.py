"""Targets on an image twice as wide as high, so that no axis can stand for the other."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import blake2b
from random import Random
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.training.answers import SOURCE_TASKS
from florilegium.pipelines.training.config import CustomTask, TrainConfig
from florilegium.pipelines.training.examples import Example, ExampleMaker, _random
from florilegium.pipelines.training.templates import fill
from florilegium.specialists.florence2.format import FLORENCE2_TASKS
from tests.pipelines.merge.voters import mask_of
from tests.pipelines.training.labels import examples, phrase, region, sample, text

WIDE = (200, 100)
"""Of 1000 bins an axis, a pixel across is 5 and one down is 10."""
SMALL, LARGE = (20.0, 10.0, 60.0, 30.0), (100.0, 40.0, 180.0, 90.0)
SMALL_TOKENS = "<loc_100><loc_100><loc_300><loc_300>"
LARGE_TOKENS = "<loc_500><loc_400><loc_900><loc_900>"
BOXES = (
    region("object_detection", SMALL, label="dog", id="1"),
    region("object_detection", LARGE, label="cat", id="2"),
)


def wide(*annotations: Annotation, **changes: Any) -> DatasetSample:
    given = [replace(one, id=one.id or f"id {place}") for place, one in enumerate(annotations)]
    return replace(sample(*given), width=WIDE[0], height=WIDE[1], **changes)


def made(*annotations: Annotation, task: str, **options: Any) -> Example | None:
    return examples(wide(*annotations), task, **options).get(task)


def target(*annotations: Annotation, task: str, **options: Any) -> str:
    example = made(*annotations, task=task, **options)
    return example.target if example else "nothing"


def test_boxes_are_written_left_top_right_bottom() -> None:
    assert target(*BOXES, task="object_detection") == f"cat{LARGE_TOKENS}dog{SMALL_TOKENS}"
    described = [replace(one, text="something else") for one in BOXES]
    assert target(*described, task="object_detection") == f"cat{LARGE_TOKENS}dog{SMALL_TOKENS}"
    assert target(*BOXES, task="region_proposal") == LARGE_TOKENS + SMALL_TOKENS
    dense = [
        region("dense_region_caption", SMALL, label="dog", text="a sad dog"),
        region("dense_region_caption", LARGE, label="cat"),
    ]
    found = target(*dense, task="dense_region_caption")
    assert found == f"cat{LARGE_TOKENS}a sad dog{SMALL_TOKENS}"


@pytest.mark.parametrize(
    "task",
    [
        name
        for name in SOURCE_TASKS
        if len(SOURCE_TASKS[name]) > 1 and FLORENCE2_TASKS[name].answers != "polygons"
    ],
)
def test_annotations_of_the_task_itself_are_preferred(task: str) -> None:
    own, other = SOURCE_TASKS[task]
    given = [
        region(name, place, text=f"{word} words", label=f"{word} words", id=word)
        for name, word, place in ((other, "other", LARGE), (own, "own", SMALL))
    ]
    first, last = made(*given, task=task), made(given[0], task=task)
    is_described = [
        (word in one.prompt + one.target, tokens in one.prefix + one.target)
        for one, word, tokens in ((first, "own", SMALL_TOKENS), (last, "other", LARGE_TOKENS))
    ]
    has_words, has_place = task != "region_proposal", task != "transcript"
    assert is_described == [(has_words, has_place)] * 2
    assert "other" not in first.prompt + first.target
    assert LARGE_TOKENS not in first.prefix + first.target


def test_dense_captions_are_made_of_the_texts_of_regions_one_for_each_box() -> None:
    texts = [
        region("region_description", SMALL, text="a sad dog", parent_id="1"),
        region("region_description", LARGE, text="a striped cat", parent_id="2"),
        region("region_description", SMALL, text="dog", parent_id="3"),
    ]
    example = made(*BOXES, *texts, task="dense_region_caption")
    assert example.prompt == "Locate the objects in the image, with their descriptions."
    assert example.target == f"a striped cat{LARGE_TOKENS}a sad dog{SMALL_TOKENS}"


def test_a_region_prompt_is_answered_by_the_text_of_its_box_and_the_box_again() -> None:
    asked = {SMALL_TOKENS: f"dog{SMALL_TOKENS}", LARGE_TOKENS: f"cat{LARGE_TOKENS}"}
    seen = set()
    for seed in range(8):
        example = made(*BOXES, region("object_detection", SMALL), task="region_category", seed=seed)
        place = example.prefix.removeprefix("<REGION_TO_CATEGORY>")
        assert example.target == asked[place]
        assert example.prompt == f"What is the region {place}?"
        seen.add(place)
    assert seen == set(asked), "the box without a word is never asked"
    assert target(region("object_detection", SMALL), task="region_category") == "nothing"
    assert target(region("object_detection", (), label="x"), task="region_category") == "nothing"
    unreadable = region("object_detection", SMALL, label="<loc_1>", text="cat")
    assert target(unreadable, task="region_category") == "nothing"


def test_a_category_is_a_label_and_a_description_a_text() -> None:
    both = {"label": "cat", "text": "a sad cat"}

    def words(task: str, **fields: str) -> str:
        return target(region(task, SMALL, **fields), task=task).removesuffix(SMALL_TOKENS)

    assert words("region_category", **both) == "cat"
    assert words("region_description", **both) == "a sad cat"
    assert words("region_category", text="cat") == "cat"
    assert words("region_ocr", label="EXIT") == "EXIT"


def test_lines_are_written_as_quads_in_reading_order() -> None:
    quad = (20.0, 60.0, 100.0, 62.0, 100.0, 72.0, 20.0, 70.0)
    lines = [
        region("ocr", (), text="world", quad=quad),
        region("ocr", SMALL, text="Hello"),
        region("ocr", (), text="nowhere"),
    ]
    written = "<loc_100><loc_100><loc_300><loc_100><loc_300><loc_300><loc_100><loc_300>"
    below = "<loc_100><loc_600><loc_500><loc_620><loc_500><loc_720><loc_100><loc_700>"
    assert target(*lines, task="ocr") == f"Hello{written}world{below}"
    assert target(lines[2], task="ocr") == "nothing"
    assert target(*lines[:2], task="transcript") == "Helloworld"
    # What has no place is read first, as if it stood in the corner.
    assert target(*lines, task="transcript") == "nowhereHelloworld"
    assert target(region("ocr", SMALL, text=" "), task="transcript") == "nothing"
    assert target(*lines, text("transcript", "Hello, world"), task="transcript") == "Hello, world"
    assert made(*lines, task="ocr").prefix == "<OCR_WITH_REGION>"
    assert made(*lines, task="transcript").prefix == "<OCR>"
    assert made(text("transcript", "Hello"), task="transcript").prefix == "<OCR>"


def test_of_several_texts_each_is_drawn_and_empty_ones_never() -> None:
    given = [text("caption", words) for words in ("one", "<loc_1>", "two")]
    drawn = {target(*given, task="caption", seed=seed) for seed in range(9)}
    assert drawn == {"one", "two"}
    assert target(given[1], task="caption") == "nothing"


def test_queries_are_answered_with_all_their_boxes_the_largest_first() -> None:
    again = region("object_detection", (60.0, 10.0, 180.0, 90.0), label="dog")
    low = region("object_detection", (0.0, 80.0, 30.0, 100.0), label="dog")
    strange = region("object_detection", (), label="cup")
    found = {
        example.prompt: example.target
        for seed in range(20)
        if (
            example := made(
                low, *BOXES, again, strange, task="open_vocabulary_detection", seed=seed
            )
        )
    }
    lowest = "dog<loc_0><loc_800><loc_150><loc_999>"
    dogs = f"dog<loc_300><loc_100><loc_900><loc_900>dog{SMALL_TOKENS}{lowest}"
    assert found == {
        "Locate cat in the image.": f"cat{LARGE_TOKENS}",
        "Locate dog in the image.": dogs,
        "Locate cat<and>dog in the image.": f"cat{LARGE_TOKENS}{dogs}",
        "Locate dog<and>cat in the image.": f"{dogs}cat{LARGE_TOKENS}",
    }


DESCRIBED = (
    region("region_description", SMALL, text="A dog on the left", parent_id="1"),
    region("region_description", LARGE, text="cat", parent_id="2"),
)


def test_a_text_of_one_region_is_a_referring_expression_beside_names() -> None:
    task, expression = "open_vocabulary_detection", "A dog on the left"
    drawn = [made(*BOXES, DESCRIBED[0], task=task, seed=seed) for seed in range(60)]
    found = {one.prompt: one.target for one in drawn}
    assert found[f"Locate {expression} in the image."] == f"{expression}{SMALL_TOKENS}"
    assert found["Locate dog in the image."] == f"dog{SMALL_TOKENS}"
    assert 20 < sum(expression in one.prompt for one in drawn) < 40
    assert not any(expression in one.prompt and "<and>" in one.prompt for one in drawn)
    assert target(DESCRIBED[0], task=task) == f"{expression}{SMALL_TOKENS}", "without any name"
    dense = region("dense_region_caption", SMALL, text="a sad dog")
    assert target(dense, task=task) == f"a sad dog{SMALL_TOKENS}"
    assert target(*DESCRIBED, task=task, absent_share=1.0, classes=("hat",)) == ""


def test_there_is_no_expression_in_a_mirrored_image_or_where_names_are_ambiguous() -> None:
    of = wide(*BOXES, *DESCRIBED)
    tasks = {"open_vocabulary_detection": 1.0}
    mirroring = TrainConfig(model="m", tasks=tasks, mirrored_share=1.0, absent_share=0)
    drawn = [ExampleMaker(mirroring).draw(of, epoch) for epoch in range(12)]
    assert all(one.is_mirrored and "left" not in one.prompt for one in drawn)
    config = mirroring.model_copy(update={"mirrored_share": 0.0})
    doubtful = ExampleMaker(config, ambiguous=frozenset({(of.key, "object_detection")}))
    assert doubtful.draw(of, 0) is None


@pytest.mark.parametrize("task", ["open_vocabulary_detection", "phrase_grounding"])
def test_absent_objects_are_asked_for_at_the_configured_share(task: str) -> None:
    given = (*BOXES, text("caption", "a dog", id="c"), phrase("a dog", SMALL, 0, "c"))
    words = {"classes": ("tree", "hill", "dog"), "phrases": ("a tree", "a hill", "a dog")}

    def absent(share: float) -> int:
        drawn = [made(*given, task=task, absent_share=share, seed=seed, **words)
                 for seed in range(60)]  # fmt: skip
        assert all(("tree" in one.prompt or "hill" in one.prompt) == (one.target == "")
                   for one in drawn)  # fmt: skip
        return sum(one.target == "" for one in drawn)

    assert absent(0.0) == 0
    assert absent(1.0) == 60
    assert 5 < absent(0.25) < 28


def test_phrases_are_those_of_one_caption_in_the_order_of_mention() -> None:
    given = [
        text("caption", "A dog and a cat.", id="c"),
        text("detailed_caption", "One cat.", id="d"),
        phrase("a cat", LARGE, 10, "c"),
        phrase("One cat", SMALL, 0, "d"),
        phrase("A dog", SMALL, 0, "c"),
        phrase("and", (), 6, "c"),
        phrase("a bird", LARGE, 0, "dropped"),
    ]
    drawn = [made(*given, task="phrase_grounding", seed=seed) for seed in range(9)]
    found = {one.prefix + one.target for one in drawn}
    marker = "<CAPTION_TO_PHRASE_GROUNDING>"
    assert found == {
        f"{marker}A dog and a cat.A dog{SMALL_TOKENS}a cat{LARGE_TOKENS}",
        f"{marker}One cat.One cat{SMALL_TOKENS}",
    }
    assert target(given[0], phrase(" ", LARGE, 0, "c"), task="phrase_grounding") == "nothing"


SMALL_MASK = mask_of(20, 10, 60, 30, size_wh=WIDE, box_xyxy=SMALL)
LARGE_MASK = mask_of(100, 40, 180, 90, size_wh=WIDE, box_xyxy=LARGE)


def corners(polygon: str) -> set[tuple[int, int]]:
    """Return the corners of a written polygon, whole pixels."""
    numbers = [int(one) for one in polygon.removesuffix(">").removeprefix("<loc_").split("><loc_")]
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return {(round(across / 5), round(down / 10)) for across, down in pairs}


SMALL_CORNERS = {(20, 10), (60, 10), (60, 30), (20, 30)}
LARGE_CORNERS = {(100, 40), (180, 40), (180, 90), (100, 90)}


def test_a_mask_answers_its_parents_box_else_its_own() -> None:
    around = region("object_detection", (0.0, 0.0, 80.0, 40.0), label="dog", id="box")
    cut = replace(SMALL_MASK, parent_id="box")
    example = made(around, cut, task="segmentation")
    assert example.prefix == "<REGION_TO_SEGMENTATION><loc_0><loc_0><loc_400><loc_400>"
    assert corners(example.target) == SMALL_CORNERS
    alone = made(cut, task="segmentation")
    assert alone.prefix == f"<REGION_TO_SEGMENTATION>{SMALL_TOKENS}"
    boxless = replace(around, box_xyxy=(), kind="text", task="caption", text="x")
    assert made(boxless, cut, task="segmentation").prefix == alone.prefix
    assert target(region("segmentation", SMALL), task="segmentation") == "nothing"
    assert target(replace(cut, box_xyxy=()), task="segmentation") == "nothing"


def test_the_mask_of_a_phrase_answers_its_own_box() -> None:
    """Both masks of "two dogs" may have the first box of the phrase as their parent."""
    both = [phrase("two dogs", box, 0, "c") for box in (SMALL, LARGE)]
    given = [text("caption", "two dogs", id="c"), replace(both[0], id="p"), both[1]]
    masks = [
        replace(mask, task="referring_segmentation", parent_id="p", text="two dogs")
        for mask in (SMALL_MASK, LARGE_MASK)
    ]
    drawn = [made(*given, *masks, task="segmentation", seed=seed) for seed in range(9)]
    assert {(one.prefix, frozenset(corners(one.target))) for one in drawn} == {
        (f"<REGION_TO_SEGMENTATION>{SMALL_TOKENS}", frozenset(SMALL_CORNERS)),
        (f"<REGION_TO_SEGMENTATION>{LARGE_TOKENS}", frozenset(LARGE_CORNERS)),
    }
    preferred = made(*masks, replace(SMALL_MASK, box_xyxy=LARGE), task="segmentation")
    assert preferred.prefix.endswith(LARGE_TOKENS), "a mask of the task itself comes first"
    assert corners(preferred.target) == SMALL_CORNERS


def test_each_mask_is_drawn_with_its_own_box() -> None:
    drawn = [made(SMALL_MASK, LARGE_MASK, task="segmentation", seed=seed) for seed in range(9)]
    marker = "<REGION_TO_SEGMENTATION>"
    found = {(one.prefix.removeprefix(marker), frozenset(corners(one.target))) for one in drawn}
    assert found == {
        (SMALL_TOKENS, frozenset(SMALL_CORNERS)), (LARGE_TOKENS, frozenset(LARGE_CORNERS)),
    }  # fmt: skip


def test_a_phrase_is_answered_by_its_own_mask_before_that_of_its_box() -> None:
    own = replace(LARGE_MASK, task="referring_segmentation", text="a dog", label="cup")
    given = [text("caption", "a dog", id="c"), phrase("a dog", SMALL, 0, "c"), SMALL_MASK]
    asked = made(*given, task="referring_segmentation")
    assert asked.prompt == "Locate a dog in the image with mask"
    assert corners(asked.target) == SMALL_CORNERS
    assert corners(target(*given, own, task="referring_segmentation")) != SMALL_CORNERS
    named = replace(own, text="")
    assert made(named, task="referring_segmentation").prompt == "Locate cup in the image with mask"
    assert target(replace(named, label=" "), task="referring_segmentation") == "nothing"
    assert target(replace(own, mask_rle=None), task="referring_segmentation") == "nothing"


def test_a_phrase_of_several_captions_is_answered_by_the_masks_of_its_first_mention() -> None:
    own = replace(SMALL_MASK, task="referring_segmentation", text="a dog")
    given = [
        text("caption", "a dog", id="c"),
        text("detailed_caption", "a dog", id="d"),
        replace(phrase("a dog", SMALL, 0, "c"), id="1"),
        replace(own, parent_id="1"),
        replace(phrase("a dog", SMALL, 0, "d"), id="2"),
        replace(own, parent_id="2"),
    ]
    once = target(*given, task="referring_segmentation")
    assert corners(once) == SMALL_CORNERS
    assert once == target(*given[:4], task="referring_segmentation")
    # "a dog ... a dog" in one caption does not tell which of the two is meant.
    again = replace(phrase("a dog", LARGE, 20, "c"), id="3")
    mask = replace(LARGE_MASK, task="referring_segmentation", text="a dog", parent_id="3")
    assert target(*given, again, mask, task="referring_segmentation") == "nothing"


def test_a_phrase_of_two_objects_is_answered_by_both_masks() -> None:
    given = [text("caption", "two dogs", id="c"),
            phrase("two dogs", SMALL, 0, "c"), phrase("two dogs", LARGE, 0, "c")]  # fmt: skip
    both = target(*given, LARGE_MASK, SMALL_MASK, task="referring_segmentation")
    first, second = both.removeprefix("<poly>").removesuffix("</poly>").split("</poly><poly>")
    assert corners(first) == SMALL_CORNERS
    assert corners(second) == LARGE_CORNERS
    assert target(*given, SMALL_MASK, task="referring_segmentation") == "nothing"
    # The same words of another caption mean one thing: they are no contradiction.
    other = [text("caption", "two dogs", id="d"), phrase("two dogs", SMALL, 0, "d")]
    assert target(*given, *other, LARGE_MASK, SMALL_MASK, task="referring_segmentation") == both


def test_corners_are_shared_out_among_the_masks_of_a_phrase() -> None:
    down, across = np.mgrid[:100, :200]

    def disc(left: int) -> np.ndarray:
        return (across - left - 30) ** 2 + (down - 50) ** 2 < 30**2

    def house(left: int) -> np.ndarray:
        return (abs(across - left - 40) <= 40) & (down < 90) & (down > abs(across - left - 40))

    def masked(pixels: np.ndarray) -> Annotation:
        counts = coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8))["counts"].decode()
        return region("referring_segmentation", SMALL, text="a",
                      mask_rle=MaskRLE((100, 200), counts))  # fmt: skip

    def count(*shapes: np.ndarray, corners: int) -> list[int]:
        asked = map(masked, shapes)
        written = target(
            *asked, task="referring_segmentation", polygon_corners=corners, polygon_iou=1.0
        )
        return [part.count("<loc_") // 2 for part in written.removeprefix("<poly>").split("<poly>")]

    whole, halves = count(disc(0), corners=24), count(disc(0), disc(100), corners=24)
    assert 12 < whole[0] <= 24
    assert len(halves) == 2
    assert all(6 < one <= 12 for one in halves)
    assert count(house(0), house(100), corners=10) == [5, 5]
    assert max(count(house(0), house(100), corners=4)) <= 4, "four each, not two or five"
    assert target(masked(down < 0), task="referring_segmentation") == "nothing"


def comb(teeth: int) -> np.ndarray:
    """A mask of many parts, each with many corners."""
    down, across = np.mgrid[:100, :200]
    middle = 100 / teeth * (2 * (across * teeth // 200) + 1)
    return np.hypot(down - 50, (across - middle) * teeth / 4) < 45


@pytest.mark.parametrize("tokens", [40, 64, 100, 256])
@pytest.mark.parametrize("masks", [[comb(1)], [comb(4)], [comb(1), comb(2)]])
def test_polygons_keep_within_the_tokens_of_a_target(tokens: int, masks: list[np.ndarray]) -> None:
    asked = [
        region(
            "referring_segmentation",
            SMALL,
            text="a",
            mask_rle=MaskRLE((100, 200), coco_mask.encode(
                np.asfortranarray(pixels, dtype=np.uint8))["counts"].decode()),
        )
        for pixels in masks
    ]  # fmt: skip
    written = target(
        *asked, task="referring_segmentation", max_target_tokens=tokens, polygon_iou=1.0
    )
    length = written.count("<") + 2  # <s> and </s>
    assert length <= tokens
    assert length > 8, "a polygon of four corners always fits"


def test_a_mirrored_box_has_the_same_distance_to_the_other_side() -> None:
    def drawn(*given: Annotation, **tasks: float) -> Example:
        config = TrainConfig(model="m", tasks=tasks, mirrored_share=1.0, absent_share=0.0)
        return ExampleMaker(config).draw(wide(*given), 0)

    found = drawn(*BOXES, object_detection=1)
    assert found.is_mirrored
    assert found.target == (
        "cat<loc_100><loc_400><loc_500><loc_900>dog<loc_700><loc_100><loc_900><loc_300>"
    )
    assert drawn(*BOXES, region_proposal=1).is_mirrored
    straight = drawn(*BOXES, region_category=1)
    assert not straight.is_mirrored
    assert straight.prefix.endswith((SMALL_TOKENS, LARGE_TOKENS))


def test_the_configured_share_is_mirrored() -> None:
    config = TrainConfig(model="m", tasks={"object_detection": 1}, mirrored_share=0.25)
    maker = ExampleMaker(config)
    drawn = [maker.draw(wide(*BOXES), epoch).is_mirrored for epoch in range(400)]
    assert 70 < sum(drawn) < 130
    never = ExampleMaker(config.model_copy(update={"mirrored_share": 0.0}))
    assert not any(never.draw(wide(*BOXES), epoch).is_mirrored for epoch in range(50))


def test_an_example_depends_on_seed_epoch_and_image_alone() -> None:
    def drawn(seed: int, epoch: int, digest: str, key: str = "a") -> str:
        config = TrainConfig(model="m", seed=seed)
        one = ExampleMaker(config).draw(wide(*BOXES, sha256=digest, key=key), epoch)
        return one.task + one.prefix + one.target

    plain = [drawn(0, epoch, "aa" * 32) for epoch in range(12)]
    assert plain == [drawn(0, epoch, "aa" * 32, key="other") for epoch in range(12)]
    assert len(set(plain)) > 1
    assert plain != [drawn(1, epoch, "aa" * 32) for epoch in range(12)]
    assert plain != [drawn(0, epoch, "bb" * 32) for epoch in range(12)]
    both = (text("caption", "one"), text("caption", "two"))
    config = TrainConfig(model="m", tasks={"caption": 1})
    images = [wide(*both, sha256=f"{number:064x}") for number in range(12)]
    assert {next(ExampleMaker(config).every(one)).target for one in images} == {"one", "two"}


def test_the_random_seed_is_a_digest_of_its_parts() -> None:
    """Another digest would train another model from the same labels."""
    number = int.from_bytes(blake2b(b"0/7/ab", digest_size=8).digest(), "big")
    assert _random(0, 7, "ab").random() == Random(number).random()


def test_every_example_names_its_sample_its_task_and_its_image() -> None:
    of = wide(*BOXES, key="k", image=b"pixels", metadata=json.dumps({"q": "How many?"}))
    custom = {"ask": CustomTask(prompt="{metadata.q}", target="two")}
    config = TrainConfig(model="m", custom=custom, tasks={"object_detection": 1, "ask": 1})
    found = sorted(ExampleMaker(config).every(of), key=lambda one: one.task, reverse=True)
    assert [(one.key, one.task, one.image, one.is_mirrored) for one in found] == [
        ("k", "object_detection", b"pixels", False),
        ("k", "ask", b"pixels", False),
    ]
    assert (found[0].prefix, found[0].prompt) == (
        "<OD>",
        FLORENCE2_TASKS["object_detection"].prompt,
    )
    assert (found[1].prefix, found[1].prompt, found[1].target) == ("How many?", "How many?", "two")


def test_an_ambiguous_task_is_left_out_of_its_own_sample_only() -> None:
    ambiguous = frozenset({("k", "object_detection")})
    dense = region("dense_region_caption", SMALL, text="a dog")
    config = TrainConfig(model="m")
    maker = ExampleMaker(config, ambiguous=ambiguous)
    tasks = {
        key: {one.task for one in maker.every(wide(*BOXES, dense, key=key))} for key in ("k", "l")
    }
    assert tasks["k"] == {"dense_region_caption", "region_description"}
    assert tasks["l"] > tasks["k"]
    mirroring = ExampleMaker(
        config.model_copy(update={"mirrored_share": 1.0, "tasks": {"object_detection": 1}}),
        ambiguous=ambiguous,
    )
    assert mirroring.draw(wide(*BOXES, key="k"), 0) is None


def test_a_template_takes_values_from_lists_mappings_and_indices() -> None:
    quad = (20.0, 10.0, 60.0, 10.0, 60.0, 30.0, 20.0, 30.0)
    line = region("ocr", SMALL, text="<b>EXIT", label="sign", quad=quad)
    metadata = json.dumps(
        {"who": {"name": "Ann", "pets": ["cat"]}, "list": ["x", "y"], "n": 0, "none": None}
    )
    of = wide(line, region("object_detection", LARGE, label="cat"), metadata=metadata)

    def filled(prompt: str, answer: str = "yes", each: str = "") -> list[tuple[str, str]]:
        return fill(CustomTask(prompt=prompt, target=answer, each=each), of)

    assert filled("{metadata.who.name} {metadata.list.1} {metadata.n}") == [("Ann y 0", "yes")]
    for missing in ("none", "who", "list", "list.2", "who.age", "who.name.first", "list.one"):
        assert filled(f"{{metadata.{missing}}}") == [], missing
        assert filled("yes", f"{{metadata.{missing}}}") == [], missing
    places = "<loc_100><loc_100><loc_300><loc_100><loc_300><loc_300><loc_100><loc_300>"
    written = filled("{text}, {label}, {metadata.who.name}", "{box}; {quad}", each="ocr")
    assert written == [("EXIT, sign, Ann", f"{SMALL_TOKENS}; {places}")]
    assert filled("{box}", each="object_detection") == [(LARGE_TOKENS, "yes")]
    assert filled("{quad}", each="object_detection") == [], "it has none"
    assert filled("{value}", each="metadata.list") == [("x", "yes"), ("y", "yes")]
    assert filled("{value}", each="metadata.who") == [], "it is no list"
    assert filled("{value}", each="metadata.who.pets") == [("cat", "yes")]
    assert fill(CustomTask(prompt="{metadata.a}", target="b"), wide(metadata="")) == []


def test_of_several_examples_of_a_custom_task_each_is_drawn() -> None:
    of = wide(metadata=json.dumps({"pairs": [{"q": "1", "a": "one"}, {"q": "2", "a": "two"}]}))
    task = CustomTask(prompt="{q}", target="{a}", each="metadata.pairs")
    config = TrainConfig(model="m", custom={"ask": task}, tasks={"ask": 1})
    maker = ExampleMaker(config)
    drawn = {(one.prompt, one.target) for epoch in range(12) if (one := maker.draw(of, epoch))}
    assert drawn == {("1", "one"), ("2", "two")}
    assert maker.draw(wide(), 0) is None


def test_a_question_is_paired_with_its_answer_after_the_marker() -> None:
    asked = text("question_answer", "Where is the cat?", label="top left")
    found = made(asked, text("question_answer", "Unanswered?"), task="question_answer")
    assert found is not None
    assert (found.prompt, found.target) == ("<DocVQA>Where is the cat?", "top left")
    custom = {"asked": {"each": "question_answer", "prompt": "<DocVQA>{text}", "target": "{label}"}}
    own = examples(wide(asked), "asked", custom=custom)["asked"]
    assert (own.prompt, own.target) == (found.prompt, found.target)
