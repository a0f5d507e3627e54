from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from florilegium.engine.core.annotation import Annotation, Provenance, stamp
from florilegium.engine.core.errors import MissingModel
from florilegium.engine.core.sample import Sample, fold_of
from florilegium.engine.core.stage import one_of
from florilegium.engine.core.validity import problem_of
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.planning.graph import plan
from florilegium.engine.results.questions import divided, questions_of, shown
from florilegium.specialists.florence2.checkpoint import resolve_florence2
from florilegium.specialists.florence2.config import Florence2Config
from florilegium.specialists.florence2.format import FLORENCE2_TASKS
from florilegium.specialists.florence2.generation import Florence2Network
from florilegium.specialists.florence2.scores import GeneratedAnswer
from florilegium.specialists.florence2.specialist import Florence2

Tiny = Callable[[int], Path]
SampleOf = Callable[..., Sample]

BOX = Annotation(
    kind="region", task="object_detection", label="cat", box_xyxy=(5.0, 5.0, 30.0, 20.0), score=0.9
)
CAPTION = Annotation(kind="text", task="caption", text="A cat beside a dog.", language="en")
PHRASE = Annotation(
    kind="phrase", task="phrase_grounding", text="a dog", box_xyxy=(1.0, 1.0, 9.0, 9.0),
    span=(13, 18), parent_id="caption",
)  # fmt: skip
QUESTION = Annotation(
    kind="text", task="question_answer", text="What is on the sign?", label="sale", id="question"
)
PLACE = "<loc_100><loc_200><loc_600><loc_700>"
QUAD = "<loc_100><loc_200><loc_600><loc_200><loc_600><loc_700><loc_100><loc_700>"
SPOKEN = {
    "What does the image describe?": "A cat.",
    "Describe in detail": "A cat beside a dog.",
    "Describe with a paragraph": "A cat sleeps beside a dog that watches it.",
    "What is the text in the image?": "SALE",
    "What is the text in the image, with regions?": f"SALE{QUAD}",
    "Locate the objects with category name": f"cat{PLACE}",
    "Locate the objects in the image, with their": f"a black cat{PLACE}",
    "Locate the region proposals": PLACE,
    "Locate the phrases in the caption": f"A cat{PLACE}",
    "with mask": QUAD,
    "What is the polygon mask": QUAD,
    "Locate cat<and>dog in the image.": f"dog{PLACE}",
    "Locate a bird in the image.": f"a bird{PLACE}",
    "What is the region": f"cat{PLACE}",
    "What does the region": f"a black cat{PLACE}",
    "What text is in the region": f"SALE{PLACE}",
    "<DocVQA>What is on the sign?": "SALE",
}


def stage(*folders: Path, **options: Any) -> Florence2:
    models = tuple(map(str, folders))
    options = {"max_new_tokens": 12, "model": models if len(models) > 1 else models[0], **options}
    specialist = Florence2(Florence2Config(**options))
    specialist.load()
    return specialist


def pictures(drawing: SampleOf, count: int, *annotations: Annotation) -> list[Sample]:
    rng = np.random.default_rng(0)
    tints = rng.random((count, 3)) * 255
    return [
        replace(
            drawing((rng.random((40, 60, 3)) * tint).astype(np.uint8), *annotations),
            key=str(number),
            sha256=f"{number:012x}".ljust(64, "0"),
        )
        for number, tint in enumerate(tints)
    ]


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every network answer by the book; return the prompts that it got."""
    given: list[str] = []

    def answer(
        self: Florence2Network, seen: Any, rows: Sequence[int], prompts: Sequence[str], *,
        repeats: bool,
    ) -> list[GeneratedAnswer]:  # fmt: skip
        given.extend(prompts)
        return [utterance(self, prompt) for prompt in prompts]

    def utterance(network: Florence2Network, prompt: str) -> GeneratedAnswer:
        texts = [text for start, text in SPOKEN.items() if start in prompt]
        tokens = network.processor.tokenizer(texts[-1], add_special_tokens=False)
        ids = np.array([*tokens.input_ids, network.tokens.end])
        return GeneratedAnswer(ids=ids, probabilities=np.full(len(ids), 0.5))

    monkeypatch.setattr(Florence2Network, "answer", answer)
    return given


@pytest.mark.parametrize("task", FLORENCE2_TASKS)
def test_every_task_gives_annotations_that_the_engine_believes(
    tiny_florence2: Tiny, drawing: SampleOf, spoken: list[str], task: str
) -> None:
    specialist = stage(tiny_florence2(0), tasks=[task], queries=["cat", "dog"])
    assert specialist.produces == (task,)
    [predicted] = specialist.predict(pictures(drawing, 1, BOX, CAPTION, PHRASE, QUESTION))
    [one] = stamp(predicted, Provenance(stage="student"), "sample")
    assert len(spoken) == 1
    assert one.task == task
    assert one.kind == ("phrase" if task == "phrase_grounding" else
                        "region" if "region" in task or task in ("ocr", "segmentation") or
                        task.endswith(("detection", "segmentation")) else "text")  # fmt: skip
    assert not problem_of(one, width=60, height=40)
    assert one.words or task == "region_proposal"
    assert one.kind == "text" or one.box_xyxy
    assert (one.mask_rle is not None) == task.endswith("segmentation")
    assert one.score is not None
    assert 0 < one.score < 1


def test_what_a_stage_reads_follows_from_its_tasks() -> None:
    def reads(*tasks: str) -> tuple[Any, ...]:
        return Florence2(Florence2Config(tasks=tasks, queries=("cat",))).reads

    captions = one_of("caption", "detailed_caption", "more_detailed_caption")
    assert reads("object_detection", "caption", "ocr", "open_vocabulary_detection") == ()
    assert reads("phrase_grounding") == (captions,)
    assert reads("segmentation", "region_category") == (one_of("object_detection"),)
    assert reads("referring_segmentation") == (one_of("phrase_grounding", "object_detection"),)
    assert reads("phrase_grounding", "segmentation", "object_detection") == (captions,)
    assert reads("question_answer") == (one_of("question_answer"),), "another stage asks"


def test_a_stage_answers_one_by_one_only_where_all_its_tasks_do() -> None:
    def each(*tasks: str) -> tuple[str, ...]:
        return Florence2(Florence2Config(tasks=tasks, queries=("cat",))).each

    captions = ("caption", "detailed_caption", "more_detailed_caption")
    assert each("phrase_grounding") == captions
    assert each("segmentation", "region_category") == ("object_detection",)
    assert each("phrase_grounding", "region_ocr") == (*captions, "object_detection")
    assert each("region_category", "caption") == (), "a caption is of the image"
    assert each("object_detection", "segmentation") == (), "it finds its boxes itself"
    assert each("question_answer") == ("question_answer",)
    assert each("referring_segmentation") == (), "an expression is asked once for all its boxes"


def test_of_each_box_and_caption_an_answer_has_its_own_part(
    tiny_florence2: Tiny, drawing: SampleOf
) -> None:
    options: dict[str, Any] = {"tasks": ["phrase_grounding", "region_category"]}
    specialist = stage(tiny_florence2(0), max_new_tokens=6, **options)
    other = replace(BOX, id="other", box_xyxy=(1.0, 1.0, 30.0, 30.0))
    [sample] = pictures(drawing, 1, BOX, other, CAPTION)
    questions = questions_of(specialist, sample)
    assert len(questions) == 3
    [together] = specialist.predict([sample])
    for question, part in zip(questions, divided(specialist, questions, together), strict=True):
        [alone] = specialist.predict([shown(specialist, sample, [question])])
        assert [replace(one, id="") for one in part] == [replace(one, id="") for one in alone]
    assert together


def test_a_task_may_be_about_what_the_same_stage_said(
    tiny_florence2: Tiny, drawing: SampleOf, spoken: list[str]
) -> None:
    tasks = ["segmentation", "phrase_grounding", "object_detection", "detailed_caption"]
    [predicted] = stage(tiny_florence2(0), tasks=tasks).predict(pictures(drawing, 1))
    stamped = stamp(predicted, Provenance(stage="student"), "sample")
    by_task = {one.task: one for one in stamped}
    assert set(by_task) == set(tasks)
    assert by_task["segmentation"].parent_id == by_task["object_detection"].id
    assert by_task["segmentation"].label == "cat"
    phrase, caption = by_task["phrase_grounding"], by_task["detailed_caption"]
    assert phrase.parent_id == caption.id
    assert caption.text[slice(*phrase.span)] == phrase.text == "A cat"


def test_each_caption_box_and_expression_is_asked_about(
    tiny_florence2: Tiny, drawing: SampleOf, spoken: list[str]
) -> None:
    longer = replace(CAPTION, task="detailed_caption", text="A cat and <a> dog.")
    again = replace(BOX, label="dog", box_xyxy=(-5.0, 0.0, 60.0, 40.0))
    samples = pictures(drawing, 1, BOX, again, BOX, CAPTION, longer)
    stage(tiny_florence2(0), tasks=["phrase_grounding", "segmentation"]).predict(samples)
    assert spoken == [
        "Locate the phrases in the caption: A cat beside a dog.",
        "Locate the phrases in the caption: A cat and dog.",
        "What is the polygon mask of region <loc_83><loc_125><loc_500><loc_500>",
        "What is the polygon mask of region <loc_0><loc_0><loc_999><loc_999>",
        "What is the polygon mask of region <loc_83><loc_125><loc_500><loc_500>",
    ]
    spoken.clear()
    stage(tiny_florence2(0), tasks=["referring_segmentation"]).predict(samples)
    assert spoken == ["Locate cat in the image with mask", "Locate dog in the image with mask"]
    spoken.clear()
    with_phrase = pictures(drawing, 1, BOX, PHRASE)
    stage(tiny_florence2(0), tasks=["referring_segmentation"]).predict(with_phrase)
    assert spoken == ["Locate a dog in the image with mask"]


def test_queries_are_asked_for_a_few_at_once(
    tiny_florence2: Tiny, drawing: SampleOf, spoken: list[str]
) -> None:
    options = {"tasks": ["open_vocabulary_detection"], "queries": ["cat", " ", "dog", "a bird"]}
    [predicted] = stage(tiny_florence2(0), queries_at_once=2, **options).predict(
        pictures(drawing, 1)
    )
    assert spoken == ["Locate cat<and>dog in the image.", "Locate a bird in the image."]
    assert [one.label for one in predicted] == ["dog", "a bird"]


def answering(
    monkeypatch: pytest.MonkeyPatch, say: Callable[[int, str], str]
) -> list[tuple[str, bool]]:
    """Let networks answer by the row of the image and the prompt; return the prompts that they
    got, and whether an answer may repeat itself."""
    given: list[tuple[str, bool]] = []

    def answer(
        self: Florence2Network, seen: Any, rows: Sequence[int], prompts: Sequence[str], *,
        repeats: bool,
    ) -> list[GeneratedAnswer]:  # fmt: skip
        given.extend((prompt, repeats) for prompt in prompts)
        predicted = []
        for row, prompt in zip(rows, prompts, strict=True):
            tokens = self.processor.tokenizer(say(row, prompt), add_special_tokens=False)
            ids = np.array([*tokens.input_ids, self.tokens.end])
            predicted.append(GeneratedAnswer(ids=ids, probabilities=np.full(len(ids), 0.5)))
        return predicted

    monkeypatch.setattr(Florence2Network, "answer", answer)
    return given


def sizes(drawing: SampleOf, *sizes_wh: tuple[int, int]) -> list[Sample]:
    """Return images of these sizes."""
    return [drawing(np.zeros((height, width, 3), np.uint8)) for width, height in sizes_wh]


def test_each_image_is_asked_about_its_own_boxes(
    tiny_florence2: Tiny, drawing: SampleOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["cat", "dog", "horse"]

    def say(row: int, prompt: str) -> str:
        if "category name" in prompt:
            place = "".join(f"<loc_{100 * (row + 1) + step}>" for step in (0, 10, 50, 60))
            return names[row] + place * (row > 0)
        return f"A {names[row]}."

    given = answering(monkeypatch, say)
    specialist = stage(tiny_florence2(0), tasks=["region_description", "object_detection"])
    answers = specialist.predict(sizes(drawing, (60, 40), (60, 40), (60, 40)))
    assert [[one.words for one in predicted] for predicted in answers] == [
        [],
        ["dog", "A dog."],
        ["horse", "A horse."],
    ]
    asked = [prompt for prompt, _ in given if "describe" in prompt]
    assert asked == [
        "What does the region <loc_200><loc_210><loc_250><loc_260> describe?",
        "What does the region <loc_300><loc_310><loc_350><loc_360> describe?",
    ]
    for (box, words), number in zip(answers[1:], (200, 300), strict=True):
        assert box.box_xyxy[0] == pytest.approx((number + 0.5) * 60 / 1000)
        assert words.box_xyxy == box.box_xyxy
        assert words.parent_id == box.id


def test_an_expression_is_looked_for_once_for_the_first_that_says_it(
    tiny_florence2: Tiny, drawing: SampleOf, spoken: list[str]
) -> None:
    first, other = replace(BOX, score=0.1), replace(BOX, box_xyxy=(1.0, 1.0, 9.0, 9.0))
    [sample] = pictures(drawing, 1, first, other, replace(BOX, label="dog"))
    [predicted] = stage(tiny_florence2(0), tasks=["referring_segmentation"]).predict([sample])
    assert len(spoken) == len(predicted) == 2
    boxes = sample.annotations
    assert [one.parent_id for one in predicted] == [boxes[0].id, boxes[2].id]
    assert [one.label for one in predicted] == ["cat", "dog"]


def test_what_is_found_in_the_mirror_is_turned_back_by_the_width_of_its_image(
    tiny_florence2: Tiny, drawing: SampleOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, lambda row, prompt: "cat<loc_100><loc_200><loc_300><loc_400>")
    specialist = stage(tiny_florence2(0), tasks=["object_detection"], mirrored=True)
    wide, tall = specialist.predict(sizes(drawing, (400, 50), (40, 500)))
    assert wide[0].box_xyxy == pytest.approx((400 - 120.2, 10.025, 400 - 40.2, 20.025))
    assert tall[0].box_xyxy == pytest.approx((40 - 12.02, 100.25, 40 - 4.02, 200.25))


def test_only_what_is_no_sentence_may_repeat_itself(
    tiny_florence2: Tiny, drawing: SampleOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = answering(monkeypatch, lambda row, prompt: "")
    tasks = ["caption", "object_detection", "ocr", "transcript", "segmentation"]
    stage(tiny_florence2(0), tasks=tasks).predict(pictures(drawing, 1, BOX))
    assert [repeats for _, repeats in given] == [False, False, True, True, True]


def test_a_score_at_the_limit_is_said(
    tiny_florence2: Tiny, drawing: SampleOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, lambda row, prompt: PLACE)
    for least, count in ((0.5, 1), (0.5001, 0)):
        specialist = stage(tiny_florence2(0), tasks=["region_proposal"], least_score=least)
        [predicted] = specialist.predict(pictures(drawing, 1))
        assert len(predicted) == count


def test_what_is_not_sure_enough_is_not_said(
    tiny_florence2: Tiny, drawing: SampleOf, spoken: list[str]
) -> None:
    tasks = ["object_detection", "segmentation"]
    samples = pictures(drawing, 1)
    [predicted] = stage(tiny_florence2(0), tasks=tasks).predict(samples)
    scores = {one.task: one.score for one in predicted}
    assert scores["object_detection"] < scores["segmentation"]  # type: ignore[operator]
    sure = stage(tiny_florence2(0), tasks=tasks, least_score=0.5)
    assert sure.predict(samples) == [[]], "a mask of a box without an annotation"


def test_in_cross_fit_the_model_of_the_fold_answers(
    tiny_florence2: Tiny, drawing: SampleOf
) -> None:
    samples = pictures(drawing, 4)
    folds = [fold_of(sample.sha256, 2) for sample in samples]
    assert set(folds) == {0, 1}
    own = [stage(tiny_florence2(seed), tasks=["caption"]).predict(samples) for seed in (0, 1)]
    assert own[0] != own[1]
    both = stage(tiny_florence2(0), tiny_florence2(1), tasks=["caption"])
    assert both.predict(samples) == [own[fold][row] for row, fold in enumerate(folds)]
    assert both.model == "seed-0, seed-1"
    digests = [resolve_florence2(str(tiny_florence2(seed))).digest for seed in (0, 1)]
    assert both.revision() == ", ".join(digests)


def test_answers_depend_neither_on_the_batch_nor_on_its_order(
    tiny_florence2: Tiny, drawing: SampleOf
) -> None:
    samples = pictures(drawing, 4, BOX, CAPTION)
    options: dict[str, Any] = {"tasks": ["caption", "region_category"], "max_new_tokens": 6}
    one, eight = [stage(tiny_florence2(0), batch_size=size, **options) for size in (1, 8)]
    together = eight.predict(samples)
    assert any(together)
    assert eight.predict(samples[::-1]) == together[::-1]
    assert one.predict(samples) == together
    assert eight.predict(samples[2:3]) == together[2:3]
    assert one.predict([]) == []


def test_awkward_images_are_looked_at(tiny_florence2: Tiny, awkward: list[Sample]) -> None:
    assert len(stage(tiny_florence2(0), tasks=["caption"]).predict(awkward)) == len(awkward)


def test_where_the_weights_lie_shapes_no_fingerprint(tiny_florence2: Tiny, tmp_path: Path) -> None:
    moved = shutil.copytree(tiny_florence2(0), tmp_path / "seed-0")

    def fingerprint(folder: Path) -> str:
        options = {
            "use": "florilegium.specialists.florence2.specialist:Florence2",
            "model": str(folder),
        }
        config = RunConfig(source="x", output="y", specialists={"student": options})  # type: ignore[arg-type]
        return plan(config).specialists[0].fingerprint

    assert fingerprint(tiny_florence2(0)) == fingerprint(moved) != fingerprint(tiny_florence2(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["object_detectoin"]}, "did you mean 'object_detection'"),
        ({"tasks": []}, "at least 1"),
        ({"tasks": ["open_vocabulary_detection"]}, "set `queries`"),
        ({"tasks": ["open_vocabulary_detection"], "queries": [" "]}, "set `queries`"),
        ({"model": []}, "give a folder"),
        ({"model": ""}, "give a folder"),
        ({"dtype": "int8"}, "float32"),
        ({"image_size": 0}, "16"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Florence2Config(**options)


def test_a_model_that_is_not_here_is_known_before_loading() -> None:
    specialist = Florence2(Florence2Config(model="nobody/has-this"))
    assert specialist.model == "nobody/has-this"
    with pytest.raises(MissingModel, match="hf download nobody/has-this"):
        specialist.revision()


def test_an_answer_is_of_the_question_that_another_stage_asked(
    tiny_florence2: Tiny, drawing: SampleOf, spoken: list[str]
) -> None:
    specialist = stage(tiny_florence2(0), tasks=["question_answer"])
    [sample] = pictures(drawing, 1, BOX, QUESTION)
    [[answer]] = specialist.predict([sample])
    [asked] = sample.of("question_answer")
    assert spoken == ["<DocVQA>What is on the sign?"]
    assert (answer.text, answer.label, answer.parent_id) == (asked.text, "SALE", asked.id)
