"""From labels to prompts and targets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.examples import ExampleMaker
from tests.pipelines.training.labels import (
    BOX,
    BOX_TOKENS,
    OTHER,
    OTHER_TOKENS,
    ellipse,
    examples,
    mask,
    phrase,
    region,
    sample,
    text,
)

BOXES = (
    region("object_detection", BOX, label="cat", id="1"),
    region("object_detection", OTHER, label="dog", id="2"),
)
GROUNDED = (
    text("caption", "A dog and a cat.", id="c"),
    phrase("a cat", BOX, 10, "c"),
    phrase("A dog", OTHER, 0, "c"),
)


def test_boxes_feed_detection_proposals_queries_and_categories():
    made = examples(sample(*BOXES))
    assert set(made) == {
        "object_detection",
        "region_proposal",
        "open_vocabulary_detection",
        "region_category",
    }
    assert made["object_detection"].target == f"cat{BOX_TOKENS}dog{OTHER_TOKENS}"
    assert made["object_detection"].prompt == "Locate the objects with category name in the image."
    assert made["object_detection"].prefix == "<OD>"
    assert made["region_proposal"].target == OTHER_TOKENS + BOX_TOKENS
    asked = {
        f"<REGION_TO_CATEGORY>{BOX_TOKENS}": f"cat{BOX_TOKENS}",
        f"<REGION_TO_CATEGORY>{OTHER_TOKENS}": f"dog{OTHER_TOKENS}",
    }
    assert asked[made["region_category"].prefix] == made["region_category"].target


def test_queries_are_answered_in_the_order_in_which_they_are_asked():
    seen = set()
    for seed in range(12):
        example = examples(sample(*BOXES), "open_vocabulary_detection", seed=seed)[
            "open_vocabulary_detection"
        ]
        asked = example.prefix.removeprefix("<OPEN_VOCABULARY_DETECTION>").split("<and>")
        tokens = {"cat": BOX_TOKENS, "dog": OTHER_TOKENS}
        assert example.target == "".join(word + tokens[word] for word in asked)
        seen.add(tuple(asked))
    assert seen == {("cat",), ("dog",), ("cat", "dog"), ("dog", "cat")}


def test_the_boxes_of_a_query_come_by_their_area():
    flat, square, tall = (0.0, 0.0, 90.0, 2.0), (10.0, 10.0, 30.0, 30.0), (50.0, 0.0, 55.0, 50.0)
    boxes = [region("object_detection", box, label="cat") for box in (flat, tall, square)]
    made = examples(sample(*boxes), "open_vocabulary_detection")["open_vocabulary_detection"]
    assert made.target == (
        f"cat{BOX_TOKENS}cat<loc_500><loc_0><loc_550><loc_500>cat<loc_0><loc_0><loc_900><loc_20>"
    )


def test_the_target_is_about_the_region_of_the_prompt():
    seen = set()
    for seed in range(12):
        example = examples(sample(*BOXES), "region_category", seed=seed)["region_category"]
        seen.add((example.prefix, example.target))
    assert seen == {
        (f"<REGION_TO_CATEGORY>{BOX_TOKENS}", f"cat{BOX_TOKENS}"),
        (f"<REGION_TO_CATEGORY>{OTHER_TOKENS}", f"dog{OTHER_TOKENS}"),
    }


def test_a_phrase_for_a_crowd_has_four_corners_for_each():
    boxes = [(5.0 + 9 * number, 10.0, 12.0 + 9 * number, 60.0) for number in range(9)]
    rows = [region("object_detection", box, label="man", id=f"b{n}") for n, box in enumerate(boxes)]
    given = [text("caption", "Men.", id="c"), *(phrase("Men", box, 0, "c") for box in boxes)]
    masks = [mask(box, parent_id=f"b{n}") for n, box in enumerate(boxes)]
    made = examples(sample(*rows, *given, *masks), "referring_segmentation")
    parts = made["referring_segmentation"].target.split("</poly>")[:-1]
    assert [part.count("<loc_") // 2 for part in parts] == [4] * 9


def test_the_masks_of_a_phrase_share_its_corners():
    """An ellipse that must be followed closely has as many corners as it may."""
    given = (*GROUNDED[:2], phrase("a cat", OTHER, 10, "c"))
    masks = (ellipse(BOX, parent_id="1"), ellipse(OTHER, parent_id="2"))
    made = examples(
        sample(*BOXES, *given, *masks),
        "referring_segmentation",
        polygon_corners=16,
        polygon_iou=1.0,
    )
    parts = made["referring_segmentation"].target.split("</poly>")[:-1]
    assert [part.count("<loc_") // 2 for part in parts] == [8, 8]


def test_captions_are_their_text():
    made = examples(sample(text("caption", "A <loc_3>cat.")))
    assert made["caption"].target == "A cat."


def test_every_caption_of_an_image_is_trained_on():
    texts = {"A fox.", "It runs.", "An animal."}
    captions = (text("caption", words, id=words) for words in sorted(texts))
    maker, of = ExampleMaker(TrainConfig(model="here", tasks={"caption": 1})), sample(*captions)
    drawn = (maker.draw(of, epoch) for epoch in range(40))
    assert {example.target for example in drawn if example} == texts


def test_phrases_are_grounded_in_the_order_of_mention_within_their_caption():
    other = text("detailed_caption", "Nothing is grounded here.", id="d")
    made = examples(sample(*GROUNDED, other), "phrase_grounding")["phrase_grounding"]
    assert made.prompt == "Locate the phrases in the caption: A dog and a cat."
    assert made.target == f"A dog{OTHER_TOKENS}a cat{BOX_TOKENS}"


def test_a_phrase_that_occurs_twice_is_written_twice():
    given = (text("caption", "A cat, a cat.", id="c"), phrase("a cat", OTHER, 7, "c"),
            phrase("A cat", BOX, 0, "c"), phrase("A cat", OTHER, 0, "c"))  # fmt: skip
    made = examples(sample(*given), "phrase_grounding")["phrase_grounding"]
    assert made.target == f"A cat{BOX_TOKENS}{OTHER_TOKENS}a cat{OTHER_TOKENS}"
    alike = (text("caption", "a cat, a cat", id="c"), phrase("a cat", OTHER, 7, "c"),
             phrase("a cat", BOX, 0, "c"))  # fmt: skip
    made = examples(sample(*alike), "phrase_grounding")["phrase_grounding"]
    assert made.target == f"a cat{BOX_TOKENS}a cat{OTHER_TOKENS}"


def test_an_ambiguous_phrase_of_a_caption_is_skipped():
    given = (text("caption", "a cat, a cat", id="c"), phrase("a cat", BOX, 0, "c"),
            phrase("a cat", OTHER, 7, "c"))  # fmt: skip
    masks = (mask(BOX, parent_id="1"), mask(OTHER, parent_id="2"))
    assert not examples(sample(*BOXES, *given, *masks), "referring_segmentation")
    again = (*given[:2], phrase("a cat", BOX, 7, "c"))
    assert examples(sample(*BOXES, *again, *masks), "referring_segmentation")


def test_a_phrase_whose_caption_was_dropped_grounds_nothing():
    assert not examples(sample(*GROUNDED[1:]), "phrase_grounding")


def test_a_mask_answers_the_box_it_was_made_from():
    inner = (12.0, 12.0, 28.0, 28.0)
    made = examples(sample(*BOXES, mask(inner, parent_id="1")), "segmentation")["segmentation"]
    assert made.prefix == f"<REGION_TO_SEGMENTATION>{BOX_TOKENS}"
    assert made.target.count("<loc_") == 8


def test_a_phrase_refers_to_the_mask_of_its_box():
    masks = (mask(BOX, parent_id="1"),)
    made = examples(sample(*BOXES, *GROUNDED, *masks), "referring_segmentation")
    assert made["referring_segmentation"].prompt == "Locate a cat in the image with mask"


def test_a_phrase_of_two_objects_with_one_mask_is_skipped():
    given = (*GROUNDED, phrase("a cat", OTHER, 10, "c"))
    alone = sample(*BOXES, *given[:2], given[3], mask(BOX, parent_id="1"))
    assert not examples(alone, "referring_segmentation")
    both = sample(
        *BOXES, *given[:2], given[3], mask(BOX, parent_id="1"), mask(OTHER, parent_id="2")
    )
    assert (
        examples(both, "referring_segmentation")["referring_segmentation"].target.count("<poly>")
        == 2
    )


def test_lines_of_text_feed_reading_with_and_without_regions():
    lines = (
        region("ocr", (10.0, 60.0, 30.0, 70.0), text="world"),
        region("ocr", BOX, text="Hello"),
    )
    made = examples(sample(*lines))
    assert made["transcript"].target == "Helloworld"
    assert made["ocr"].target.startswith("Hello<loc_100><loc_100><loc_300><loc_100>")
    below = "<loc_100><loc_600><loc_300><loc_700>"
    assert made["region_ocr"].target in (f"Hello{BOX_TOKENS}", f"world{below}")


def test_dense_captions_take_the_description_and_not_the_class():
    dense = region("dense_region_caption", BOX, text="a striped cat", label="cat")
    made = examples(sample(dense))
    assert made["dense_region_caption"].target == f"a striped cat{BOX_TOKENS}"
    assert made["region_description"].target == f"a striped cat{BOX_TOKENS}"


def test_a_task_skips_a_sample_with_an_ambiguous_annotation_of_the_task():
    made = examples(sample(*BOXES, *GROUNDED), ambiguous=frozenset({("a", "object_detection")}))
    assert "object_detection" not in made
    assert "region_category" not in made
    assert "phrase_grounding" in made


def test_an_ambiguous_annotation_of_another_sample_changes_nothing():
    of_other = frozenset({("b", "object_detection")})
    assert examples(sample(*BOXES), ambiguous=of_other) == examples(sample(*BOXES))


def test_another_seed_epoch_or_image_draws_another_example():
    tasks = {"object_detection": 1.0, "region_category": 1.0, "region_proposal": 1.0}
    of = sample(*BOXES)

    def drawn(seed: int = 0, image: str = "0f" * 32) -> list[str]:
        maker = ExampleMaker(TrainConfig(model="here", tasks=tasks, seed=seed))
        found = (maker.draw(replace(of, sha256=image), epoch) for epoch in range(40))
        return [one.prefix for one in found if one]

    assert len(set(drawn())) > 2, "epochs differ"
    assert len({tuple(drawn(seed)) for seed in range(4)}) == 4
    assert len({tuple(drawn(image=digit * 64)) for digit in "0123"}) == 4


def test_each_task_of_a_sample_has_its_own_random_generator():
    """Else the region that is described were always the one that is named."""
    dense = (region("region_description", BOX, text="a"), region("region_description", OTHER,
             text="b"), region("region_category", BOX, label="a"),
             region("region_category", OTHER, label="b"))  # fmt: skip
    pairs = set()
    for seed in range(20):
        made = examples(sample(*dense), "region_description", "region_category", seed=seed)
        pairs.add((made["region_description"].target, made["region_category"].target))
    assert len(pairs) == 4


def test_one_of_the_examples_of_a_custom_task_is_drawn():
    task = {"reads": {"prompt": "Read {box}", "target": "{text}", "each": "ocr"}}
    of = sample(region("ocr", text="one"), region("ocr", text="two"), region("ocr", text="three"))
    targets = {examples(of, "reads", custom=task, seed=seed)["reads"].target for seed in range(20)}
    assert targets == {"one", "two", "three"}


@pytest.mark.parametrize("task", ["open_vocabulary_detection", "phrase_grounding"])
def test_absent_objects_have_an_empty_target(task):
    words = {"classes": ("cat", "dog", "horse"), "phrases": ("a black cat", "a horse")}
    made = examples(sample(*BOXES, *GROUNDED), task, absent_share=1.0, **words)[task]
    assert made.target == ""
    assert "horse" in made.prompt


def test_no_absent_object_is_asked_for_if_all_are_present():
    made = examples(
        sample(*BOXES), "open_vocabulary_detection", absent_share=1.0, classes=("cats", "dog")
    )
    assert made["open_vocabulary_detection"].target


def test_tasks_are_drawn_by_weight_reproducibly():
    config = TrainConfig(
        model="here",
        tasks={"object_detection": 3, "caption": 1, "ocr": 50},
    )
    maker = ExampleMaker(config)
    of = sample(*BOXES, *GROUNDED)
    drawn = [maker.draw(of, epoch) for epoch in range(400)]
    counted = Counter(example.task for example in drawn if example)
    assert set(counted) == {"object_detection", "caption"}
    assert 2.2 < counted["object_detection"] / counted["caption"] < 4.2
    assert drawn == [ExampleMaker(config).draw(of, epoch) for epoch in range(400)]


def test_a_sample_that_feeds_no_task_gives_no_example():
    maker = ExampleMaker(TrainConfig(model="here", tasks={"ocr": 1}))
    assert maker.draw(sample(*BOXES), 0) is None


def test_a_mirrored_example_has_mirrored_boxes_and_is_marked():
    config = TrainConfig(model="m", tasks={"object_detection": 1}, mirrored_share=1.0)
    never = config.model_copy(update={"mirrored_share": 0.0})
    wide = sample(*BOXES, size_wh=(200, 100))
    made, straight = (ExampleMaker(one).draw(wide, 0) for one in (config, never))
    assert made.is_mirrored
    assert not straight.is_mirrored
    assert straight.target == (
        "cat<loc_50><loc_100><loc_150><loc_300>dog<loc_200><loc_400><loc_450><loc_900>"
    )
    assert made.target == (
        "cat<loc_850><loc_100><loc_950><loc_300>dog<loc_550><loc_400><loc_800><loc_900>"
    )


def test_location_tokens_are_shares_of_width_and_height():
    made = examples(sample(*BOXES, mask(BOX, parent_id="1"), size_wh=(100, 200)))
    assert made["object_detection"].target == (
        "cat<loc_100><loc_50><loc_300><loc_150>dog<loc_400><loc_200><loc_900><loc_450>"
    )
    assert made["segmentation"].prefix == (
        "<REGION_TO_SEGMENTATION><loc_100><loc_50><loc_300><loc_150>"
    )


def test_text_tasks_are_never_mirrored():
    config = TrainConfig(model="m", tasks={"caption": 1}, mirrored_share=1.0)
    assert not ExampleMaker(config).draw(sample(*GROUNDED), 0).is_mirrored
