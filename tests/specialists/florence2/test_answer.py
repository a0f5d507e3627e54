from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.validity import problem_of
from florilegium.specialists.florence2.answer import AnswerParser, mentions
from florilegium.specialists.florence2.checkpoint import load_florence2, resolve_florence2
from florilegium.specialists.florence2.format import (
    FLORENCE2_TASKS,
    TARGETS,
    SizeWH,
    locations,
    polygon_target,
)
from florilegium.specialists.florence2.prompts import FilledPrompt
from florilegium.specialists.florence2.scores import GeneratedAnswer
from florilegium.specialists.florence2.tokens import Tokens
from florilegium.specialists.words.occurrences import occurrences

SIZE: SizeWH = (640, 427)
CAPTION = Annotation(
    kind="text", task="caption", text="A  Cat and a dog; a cat sleeps.", language="en", id="c"
)
BOX = Annotation(
    kind="region", task="object_detection", label="cat", box_xyxy=(1.0, 2.0, 30.0, 40.0), id="b"
)


class ParserHarness:
    """Reads texts as answers of the model."""

    def __init__(self, processor: Any, vocabulary: int) -> None:
        self.processor = processor
        self.tokens = Tokens(processor.tokenizer, size=vocabulary)
        self.parser = AnswerParser(processor, self.tokens, language="en")

    def utterance(self, text: str, chances: Sequence[float] = ()) -> GeneratedAnswer:
        """Return the tokens of a text with chances of a half, or with the given ones at first."""
        ids = np.array([*self.processor.tokenizer(text, add_special_tokens=False).input_ids, 2])
        given = np.full(len(ids), 0.5)
        given[: len(chances)] = chances
        return GeneratedAnswer(ids=ids, probabilities=given)

    def parse(
        self, task: str, text: str, chances: Sequence[float] = (), **question: Any
    ) -> list[Annotation]:
        """Return what a text means, checked to be well formed."""
        about = {"task": FLORENCE2_TASKS[task], "prompt": "", "size_wh": SIZE, **question}
        found = self.parser.annotations(FilledPrompt(**about), self.utterance(text, chances))
        for one in found:
            assert not problem_of(one, width=SIZE[0], height=SIZE[1])
            assert one.task == task
        return found


@pytest.fixture(scope="module")
def harness(tiny_florence2: Callable[[int], Path]) -> ParserHarness:
    model, processor = load_florence2(resolve_florence2(str(tiny_florence2(0))))
    return ParserHarness(processor, model.config.text_config.vocab_size)


def boxes(count: int, seed: int = 0) -> np.ndarray:
    """Boxes of at least 4 px within the image."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.8, (count, 2)) * SIZE
    high = low + 4 + rng.uniform(0, 1, (count, 2)) * (np.array(SIZE) - low - 4)
    return np.concatenate([low, high], axis=1)


def bins(*numbers: int) -> str:
    return "".join(f"<loc_{number}>" for number in numbers)


def nearest_error(found: Sequence[tuple[float, ...]], predicted: np.ndarray) -> np.ndarray:
    """Return, for each thing of the answer, its distance in bins to the nearest found one."""
    size = np.tile(SIZE, predicted.shape[1] // 2)
    distance = np.abs(np.array(found)[:, None] - predicted[None]) / size * 1000
    return distance.max(axis=2).min(axis=0)


@pytest.mark.parametrize(
    "task", ["object_detection", "dense_region_caption", "region_proposal", "phrase_grounding",
             "open_vocabulary_detection"],
)  # fmt: skip
def test_boxes_come_back_within_half_a_bin(harness: ParserHarness, task: str) -> None:
    predicted = boxes(40)
    labels = ["a cat", "dog", "a cat", "dog"] * 10
    target = TARGETS[task](labels, predicted, SIZE)
    caption = replace(CAPTION, text=", ".join(labels))
    found = harness.parse(task, target, subject=caption if "phrase" in task else None,
                          queries=("dog", "a cat"))  # fmt: skip
    assert len(found) == 40
    assert (nearest_error([one.box_xyxy for one in found], predicted) <= 0.5 + 1e-9).all()
    if task == "object_detection":
        for label, box in zip(labels, predicted, strict=True):
            same = [one.box_xyxy for one in found if one.label == label]
            assert nearest_error(same, box[None])[0] <= 0.5 + 1e-9


def test_the_borders_of_the_image_come_back_within_half_a_bin(harness: ParserHarness) -> None:
    [whole] = harness.parse("region_proposal", locations((0, 0, *SIZE), SIZE))
    assert whole.box_xyxy == pytest.approx((0.32, 0.2135, 639.68, 426.7865))


def test_quads_come_back_within_half_a_bin_with_their_hull(harness: ParserHarness) -> None:
    predicted = np.array(
        [[10, 20, 110, 25, 108, 45, 8, 40], [300, 200, 400, 200, 400, 230, 300, 230]]
    )
    found = harness.parse("ocr", TARGETS["ocr"](["SALE", "50 % off"], predicted, SIZE))
    assert [one.text for one in found] == ["SALE", "50 % off"]
    assert (nearest_error([one.quad for one in found], predicted.astype(float)) <= 0.5 + 1e-9).all()
    x, y = np.array(found[0].quad).reshape(4, 2).T
    assert found[0].box_xyxy == (x.min(), y.min(), x.max(), y.max())


def polygon(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def area(one: Annotation) -> float:
    assert one.mask_rle is not None
    height, width = one.mask_rle.size
    return float(coco_mask.area({"size": [height, width], "counts": one.mask_rle.counts}))


def test_a_mask_of_several_polygons_is_their_union(harness: ParserHarness) -> None:
    parts = [polygon(10, 10, 110, 60), polygon(200, 100, 300, 200)]
    [mask] = harness.parse("segmentation", polygon_target([parts], SIZE), subject=BOX, label="cat")
    assert area(mask) == pytest.approx(100 * 50 + 100 * 100, rel=0.03)
    assert mask.box_xyxy == pytest.approx((10, 10, 300, 200), abs=1.5)
    assert (mask.label, mask.parent_id, mask.text) == ("cat", "b", "")


def test_several_instances_are_several_masks(harness: ParserHarness) -> None:
    first = [polygon(10, 10, 110, 60), polygon(200, 100, 300, 200)]
    second = [polygon(400, 300, 500, 400)]
    target = polygon_target([first, second], SIZE)
    found = harness.parse("referring_segmentation", target, subject=BOX, label="a cat")
    assert [area(one) for one in found] == pytest.approx([15_000, 10_000], rel=0.03)


def test_open_vocabulary_may_answer_with_masks(harness: ParserHarness) -> None:
    target = f"dog<poly>{locations(polygon(10, 10, 110, 60), SIZE)}</poly>"
    [mask] = harness.parse("open_vocabulary_detection", target, queries=("Dog",))
    assert mask.label == "Dog"
    assert area(mask) == pytest.approx(5000, rel=0.03)


def test_unrequested_labels_are_dropped(harness: ParserHarness) -> None:
    target = f"dog{bins(1, 2, 30, 40)}cat{bins(5, 6, 70, 80)}"
    found = harness.parse("open_vocabulary_detection", target, queries=("cat", "bird"))
    assert [one.label for one in found] == ["cat"]


@pytest.mark.parametrize(
    "label", ["Straßenbahn", "猫", "собака", "smörgås 🍞", "a>b", "x\\y", "naïve\ncat"]
)
def test_labels_in_any_script_are_kept(harness: ParserHarness, label: str) -> None:
    found = harness.parse("object_detection", f"{label}{bins(1, 2, 30, 40)}cat{bins(5, 6, 70, 80)}")
    assert [one.label for one in found] == [" ".join(label.split()), "cat"]
    [line] = harness.parse("ocr", f"{label}{bins(1, 2, 30, 2, 30, 40, 1, 40)}")
    assert line.text == " ".join(label.split())


def test_texts_in_any_script_are_kept(harness: ParserHarness) -> None:
    [caption] = harness.parse("caption", " Eine weiße 猫 schläft. ")
    assert caption.text == "Eine weiße 猫 schläft."
    assert (caption.kind, caption.language) == ("text", "en")
    [transcript] = harness.parse("transcript", "ÉTÉ")
    assert (transcript.text, transcript.language) == ("ÉTÉ", "")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("cat", 0),
        (f"cat{bins(1, 2, 3)}", 0),
        (f"cat{bins(1, 2, 30, 40, 5)}", 1),
        (bins(1, 2, 30, 40), 0),
        (f" {bins(1, 2, 30, 40)}", 0),
        (f"cat{bins(30, 2, 1, 40)}", 0),
        (f"cat{bins(1, 2, 1, 40)}", 0),
        (f"cat{bins(1, 2, 30, 40, 1, 2, 30, 40)}", 1),
        (f"cat{bins(1, 2, 30, 40)}cat{bins(1, 2, 30, 40)}", 1),
        (f"cat<mask>{bins(1, 2, 30, 40)}", 0),
        (f"cat{bins(1, 2, 30, 40)}<sep>{bins(2, 2, 30, 40)}", 1),
        (f"cat<loc_1000>{bins(1, 2, 30, 40)}", 1),
        (f"<sep><poly>cat{bins(1, 2, 30, 40)}</poly>", 1),
        (f"a < b{bins(1, 2, 30, 40)}", 1),
    ],
)
def test_malformed_boxes_give_no_annotation(harness: ParserHarness, text: str, count: int) -> None:
    assert len(harness.parse("object_detection", text)) == count


@pytest.mark.parametrize("text", ["", bins(1, 2), bins(1, 2, 3, 4, 5), "<poly></poly>", "<sep>" * 5,
                                  bins(1, 2, 30, 40, 50, 60)])  # fmt: skip
def test_malformed_polygons_give_no_mask(harness: ParserHarness, text: str) -> None:
    assert len(harness.parse("segmentation", text, subject=BOX)) == (text.count("loc") == 6)


def test_a_phrase_has_its_span_in_the_caption(harness: ParserHarness) -> None:
    target = f"a cat{bins(1, 2, 30, 40, 50, 60, 70, 80)}a dog{bins(5, 6, 70, 80)}"
    target += f"a cat{bins(9, 9, 50, 50)}"
    found = harness.parse("phrase_grounding", target, subject=CAPTION)
    assert [(one.text, one.span) for one in found] == [
        ("A  Cat", (0, 6)),
        ("A  Cat", (0, 6)),
        ("a dog", (11, 16)),
        ("a cat", (18, 23)),
    ]
    assert {(one.kind, one.parent_id, one.language) for one in found} == {("phrase", "c", "en")}


def test_a_phrase_absent_from_the_caption_is_dropped(harness: ParserHarness) -> None:
    target = f"a horse{bins(1, 2, 30, 40)}a dog{bins(5, 6, 70, 80)}"
    found = harness.parse("phrase_grounding", target, subject=CAPTION)
    assert [one.text for one in found] == ["a dog"]


def test_a_phrase_is_whole_words_of_the_caption(harness: ParserHarness) -> None:
    text = "A bear with one ear and a mandolin next to a man"
    caption = replace(CAPTION, text=text)
    target = f"ear{bins(1, 2, 30, 40)}man{bins(5, 6, 70, 80)}mandolin{bins(5, 6, 70, 90)}"
    found = harness.parse("phrase_grounding", target, subject=caption)
    assert [(one.text, one.span) for one in found] == [
        ("ear", (16, 19)),
        ("man", (45, 48)),
        ("mandolin", (26, 34)),
    ]
    assert harness.parse("phrase_grounding", f"ears{bins(1, 2, 3, 4)}", subject=caption) == []


def wanted_phrases(phrases: Sequence[str], caption: str) -> list[str]:
    """Return a mark for each phrase: how often it stands before in the caption, or nothing."""
    spans = mentions(phrases, caption)
    chosen = [span for span in spans if span]
    assert len(set(chosen)) == len(chosen)
    return [str(occurrences(one, caption).index(span)) if span else "-"
            for one, span in zip(phrases, spans, strict=True)]  # fmt: skip


@pytest.mark.parametrize(
    ("phrases", "caption", "wanted"),
    [
        ("a man, a dog, a man", "A man, a dog and a man.", "0 0 1"),
        ("a man, a man, a dog", "A man, a dog and a man.", "0 1 0"),
        ("a dog, a man", "A man, a dog and a man.", "0 1"),
        ("a man, a dog", "A man, a dog and a man.", "0 0"),
        ("a man", "A man and a man.", "-"),
        ("a man, a man", "A man, a man and a man.", "- -"),
        ("a cat, a cat, a dog", "A cat, a cat, a cat and a dog.", "- - 0"),
        ("a man, a hat", "A man in a hat and a man in a hat.", "- -"),
        ("a man, a man, a man", "A man and a man.", "0 1 -"),
        ("the man", "A man sits. The man smiles. The man laughs.", "0"),
        ("a dog, the man", "The man calls a dog and the man pays.", "0 1"),
        ("a man's hat, a man", "A man's hat and a man.", "0 1"),
        ("a dog, a cat, a man", "A man, a cat, a dog and a man.", "0 0 -"),
    ],
)
def test_each_mention_gets_its_own_phrase_or_none(phrases: str, caption: str, wanted: str) -> None:
    assert " ".join(wanted_phrases(phrases.split(", "), caption)) == wanted


@given(data=strategies.data())
@settings(derandomize=True, max_examples=100)
def test_phrases_in_the_order_of_mention_come_back_where_they_stand(
    data: strategies.DataObject,
) -> None:
    names = strategies.sampled_from(["a man", "a mandolin", "a bear", "an ear", "ÉTÉ", "a T-shirt"])
    phrases = data.draw(strategies.lists(names, max_size=8))
    joints = strategies.sampled_from([" and ", ", ", " near mandarins and earrings, ", " — "])
    caption, spans = "", []
    for phrase in phrases:
        caption += data.draw(joints)
        predicted = data.draw(
            strategies.sampled_from([phrase, phrase.upper(), phrase.replace(" ", "  ")])
        )
        spans.append((len(caption), len(caption) + len(predicted)))
        caption += predicted
    assert mentions(phrases, caption) == spans


def test_each_box_of_a_label_has_its_own_score(harness: ParserHarness) -> None:
    text = f"cat{bins(1, 2, 30, 40, 50, 60, 70, 80)}"
    letters = len(harness.utterance("cat").ids) - 1
    chances = [0.9] * letters + [0.8, 0.8, 0.8, 0.8] + [0.4, 0.9, 0.1, 0.6]
    first, second = harness.parse("object_detection", text, chances)
    assert first.score == pytest.approx(0.9**letters * 0.8, abs=1e-4)
    second_place = (0.4 * 0.9 * 0.1 * 0.6) ** (1 / 4)
    assert second.score == pytest.approx(0.9**letters * second_place, abs=1e-4)


def test_of_duplicate_instances_the_first_is_kept(harness: ParserHarness) -> None:
    box = bins(1, 2, 30, 40)
    letters = len(harness.utterance("cat").ids) - 1
    chances = [*[0.9] * letters, *[0.8] * 4, *[0.7] * letters, *[0.6] * 4]
    [found] = harness.parse("object_detection", f"cat{box}cat{box}", chances)
    assert found.score == pytest.approx(0.9**letters * 0.8, abs=1e-4)


def test_scores_find_their_instance_when_others_are_passed_over(harness: ParserHarness) -> None:
    bad, good = f"dog{bins(1, 2, 3)}", f"dog{bins(1, 2, 3, 4)}"
    before = len(harness.utterance(bad).ids) - 1
    letters = len(harness.utterance("dog").ids) - 1
    chances = [0.1] * before + [0.9] * (letters + 4)
    [dog] = harness.parse("object_detection", bad + good, chances)
    assert dog.score == pytest.approx(0.9 ** (letters + 1), abs=1e-4)


def test_a_description_is_not_scored_lower_for_its_length(harness: ParserHarness) -> None:
    text = f"a very big red cat that sleeps{bins(1, 2, 30, 40)}"
    letters = len(harness.utterance(text).ids) - 5
    [found] = harness.parse("dense_region_caption", text, [0.6] * letters + [0.5] * 4)
    assert (found.text, found.label) == ("a very big red cat that sleeps", "")
    assert found.score == pytest.approx(0.6 * 0.5, abs=1e-4)


def test_the_score_of_a_text_is_the_geometric_mean_of_its_tokens(harness: ParserHarness) -> None:
    count = len(harness.utterance("red circle").ids)
    chances = np.linspace(0.2, 0.9, count)
    [caption] = harness.parse("caption", "red circle", chances.tolist())
    assert caption.score == pytest.approx(float(np.prod(chances)) ** (1 / count), abs=1e-4)


def test_the_score_of_a_mask_is_that_of_all_its_corners(harness: ParserHarness) -> None:
    target = polygon_target([[polygon(10, 10, 110, 60)], [polygon(200, 100, 300, 200)]], SIZE)
    chances = [0.5, *[0.9] * 8, 0.5, 0.5, *[0.3] * 8, 0.5]
    found = harness.parse("segmentation", target, chances, subject=BOX)
    assert [one.score for one in found] == pytest.approx([0.9, 0.3], abs=1e-4)


@pytest.mark.parametrize(
    ("task", "label", "text"),
    [
        ("region_category", "red circle", ""),
        ("region_description", "", "red circle"),
        ("region_ocr", "", "red circle"),
    ],
)
def test_text_about_a_region_has_its_box(
    harness: ParserHarness, task: str, label: str, text: str
) -> None:
    [found] = harness.parse(task, "red circle", subject=BOX)
    assert (found.kind, found.label, found.text) == ("region", label, text)
    assert (found.box_xyxy, found.parent_id) == (BOX.box_xyxy, "b")
    assert harness.parse(task, " ", subject=BOX) == []


@pytest.mark.parametrize("task", ["region_category", "region_description", "region_ocr"])
def test_a_repeated_region_is_neither_text_nor_score(harness: ParserHarness, task: str) -> None:
    text = f"red circle{bins(1, 4, 46, 93)}"
    letters = len(harness.utterance("red circle").ids) - 1
    chances = [*[0.9] * letters, *[0.01] * 4, 0.8]
    [found] = harness.parse(task, text, chances, subject=BOX)
    [plain] = harness.parse(task, "red circle", [*[0.9] * letters, 0.8], subject=BOX)
    assert found == plain
    assert found.name == "red circle"
    is_name = task == "region_category"
    wanted = 0.9**letters * 0.8
    assert found.score == pytest.approx(
        wanted if is_name else wanted ** (1 / (letters + 1)), abs=1e-4
    )


def test_what_follows_a_repeated_region_is_no_text_of_it(harness: ParserHarness) -> None:
    again = f"cat{bins(1, 4, 46, 93)}"
    [found] = harness.parse("region_category", again + again, subject=BOX)
    assert found.label == "cat"
    assert harness.parse("region_category", bins(1, 4, 46, 93), subject=BOX) == []


def test_start_tokens_within_an_answer_do_not_count(harness: ParserHarness) -> None:
    letters = len(harness.utterance("cat").ids) - 1
    [found] = harness.parse("caption", "<s><s>cat", [0.1, 0.1, *[0.9] * letters, 0.8])
    assert found.text == "cat"
    assert found.score == pytest.approx((0.9**letters * 0.8) ** (1 / (letters + 1)), abs=1e-4)


def test_proposals_have_no_names(harness: ParserHarness) -> None:
    found = harness.parse("region_proposal", f"cat{bins(1, 2, 30, 40, 5, 6, 70, 80)}")
    assert [(one.label, one.text) for one in found] == [("", ""), ("", "")]
    assert [one.score for one in found] == [0.5, 0.5]


def test_an_answer_to_a_task_of_a_plugin_is_read_by_its_form(harness: ParserHarness) -> None:
    predicted = boxes(6)
    logos = replace(FLORENCE2_TASKS["object_detection"], name="logo", marker="<LOGO>")
    target = TARGETS["object_detection"](["acme", "bank"] * 3, predicted, SIZE)
    prompt = FilledPrompt(task=logos, prompt="", size_wh=SIZE)
    found = harness.parser.annotations(prompt, harness.utterance(target))
    assert {(one.task, one.label) for one in found} == {("logo", "acme"), ("logo", "bank")}
    assert (nearest_error([one.box_xyxy for one in found], predicted) <= 0.5 + 1e-9).all()
