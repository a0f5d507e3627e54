from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from florilegium.engine.core.annotation import SOURCE, Annotation, Provenance, stamp
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.specialists.captions.answer_text import cleaned, whole_sentences
from florilegium.specialists.captions.image_chat import UNFINISHED_ANSWER, ChatReply
from florilegium.specialists.captions.region_text import (
    CHAT_PROMPT,
    PLAIN_PROMPT,
    RegionText,
    RegionTextConfig,
)
from florilegium.specialists.pretrained.views import View
from tests.checkpoints.chat_caption import WRITERS, pipeline_answers

BOXES = ((10.0, 10.0, 50.0, 40.0), (0.0, 30.0, 60.0, 64.0), (20.0, 5.0, 79.0, 60.0))


@pytest.fixture(scope="module")
def blip2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WRITERS["blip-2"](tmp_path_factory.mktemp("blip-2"))


def stage(folder: Path, **options: Any) -> RegionText:
    specialist = RegionText(RegionTextConfig(model=str(folder), **options))
    specialist.load()
    return specialist


def box(box_xyxy: Sequence[float], **fields: Any) -> Annotation:
    fields = {"task": "object_detection", "label": "thing"} | fields
    return Annotation(kind="region", box_xyxy=tuple(box_xyxy), **fields)


def with_boxes(sample: Sample, *boxes: Annotation) -> Sample:
    return replace(sample, annotations=tuple(stamp(boxes, Provenance(), sample.key)))


@pytest.fixture(scope="module")
def samples(odd_images: list[Sample]) -> list[Sample]:
    """Images of six kinds, with three boxes, two, one and none."""
    return [
        with_boxes(sample, *(box(box_xyxy) for box_xyxy in BOXES[: 3 - number % 4]))
        for number, sample in enumerate(odd_images)
    ]


class Saying:
    """In the place of a network: says a text of each crop, and remembers their shapes."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.shapes: list[tuple[int, ...]] = []

    def answer(self, crops: Sequence[View]) -> list[list[ChatReply | SampleError]]:
        self.shapes += [crop.pixels().shape for crop in crops]
        predicted = [self.texts[number % len(self.texts)] for number in range(len(crops))]
        return [
            [ChatReply(text=text, score=0.5) if text else SampleError("empty_answer", "nothing")]
            for text in predicted
        ]


@pytest.fixture(scope="module")
def english(blip2: Path) -> RegionText:
    return stage(blip2)


def saying(*texts: str, **options: Any) -> tuple[RegionText, Saying]:
    specialist = RegionText(RegionTextConfig(**options))
    chat = Saying(*texts)
    specialist._chat = chat  # type: ignore[assignment]
    return specialist, chat


def test_a_description_is_what_the_pipeline_says_of_the_crop(
    blip2: Path, samples: list[Sample], drawing: Any
) -> None:
    options = {"margin": 0, "max_new_tokens": 30, "batch_size": 4, "noun_phrases": False}
    predicted = stage(blip2, **options).predict(samples)
    descriptions = 0
    for sample, of_sample in zip(samples, predicted, strict=True):
        assert isinstance(of_sample, list)
        crops = [
            drawing(sample.image[int(y1) : int(y2), int(x1) : int(x2)])
            for x1, y1, x2, y2 in (one.box_xyxy for one in sample.annotations)
        ]
        expected = [
            (
                cleaned(text if is_finished else whole_sentences(text)),
                one.id,
                one.box_xyxy,
            )
            for one, (text, is_finished) in zip(
                sample.annotations, pipeline_answers(blip2, crops, PLAIN_PROMPT, 30), strict=True
            )
        ]
        found = [(one.text, one.parent_id, one.box_xyxy) for one in of_sample]
        assert found == [one for one in expected if one[0]]
        descriptions += len(found)
    assert descriptions > 6


def test_an_answer_does_not_depend_on_the_batch(blip2: Path, samples: list[Sample]) -> None:
    specialist = stage(blip2, batch_size=3)
    together = specialist.predict(samples)
    assert together == [specialist.predict([sample])[0] for sample in samples]
    assert together == list(specialist.predict(samples[::-1]))[::-1]


def test_noun_phrases_follow_their_caption_without_article_each_once(samples: list[Sample]) -> None:
    text = "A photo of a red car, the old house and a Red car. It is on his street."
    specialist, _ = saying(text)
    sample = with_boxes(samples[0], box(BOXES[0]))
    (predicted,) = specialist.predict([sample])
    assert isinstance(predicted, list)
    (parent,) = sample.annotations
    assert [(one.task, one.text, one.label) for one in predicted] == [
        ("region_description", text, ""),
        ("region_description", "red car", ""),
        ("region_description", "old house", ""),
        ("region_description", "his street", ""),
    ]
    assert {(one.parent_id, one.box_xyxy, one.score) for one in predicted} == {
        (parent.id, BOXES[0], 0.5)
    }


def test_a_caption_that_is_a_noun_phrase_is_predicted_once(samples: list[Sample]) -> None:
    specialist, _ = saying("Red car")
    (found,) = specialist.predict([with_boxes(samples[0], box(BOXES[0]))])
    assert isinstance(found, list)
    assert [one.text for one in found] == ["Red car"]


def test_without_noun_phrases_a_box_has_one_text_and_no_parser_is_needed(
    blip2: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    specialist, _ = saying("A red car by the old house.", noun_phrases=False)
    monkeypatch.setattr("florilegium.specialists.captions.region_text.parse", None)
    (found,) = specialist.predict([with_boxes(samples[0], box(BOXES[0]))])
    assert isinstance(found, list)
    assert [one.text for one in found] == ["A red car by the old house."]
    monkeypatch.setattr("florilegium.specialists.captions.region_text.english_revision", None)
    alone = RegionText(RegionTextConfig(model=str(blip2), noun_phrases=False))
    alone.require()
    assert alone.revision() == alone.checkpoint().digest


def test_a_crop_has_a_margin_and_stays_within_the_image(samples: list[Sample]) -> None:
    specialist, chat = saying("a cat", margin=0.5)
    sample = samples[1]
    assert (sample.width, sample.height) == (120, 80)
    specialist.predict([with_boxes(sample, box((40, 20, 60, 40)), box((-30, 10, 20, 90)))])
    assert sorted(chat.shapes) == [(40, 40, 3), (80, 30, 3)]


def test_of_the_boxes_of_one_place_the_one_with_a_name_is_described(samples: list[Sample]) -> None:
    specialist, chat = saying("a cat", max_boxes=2)
    sample = with_boxes(
        samples[0],
        *(box(one, task="region_proposal", label="", score=0.9) for one in BOXES),
        *(box(one, score=0.5) for one in BOXES),
    )
    (predicted,) = specialist.predict([sample])
    assert len(chat.shapes) == 2
    assert isinstance(predicted, list)
    described = list(dict.fromkeys(one.parent_id for one in predicted))
    assert described == [one.id for one in sample.annotations[3:5]]
    assert [one.id for one in specialist.chosen(sample)] == described


def test_boxes_of_one_task_at_one_place_are_asked_about_once(samples: list[Sample]) -> None:
    specialist, chat = saying("a cat")
    sample = with_boxes(samples[0], box(BOXES[0]), box(BOXES[0], label="other"))
    (predicted,) = specialist.predict([sample])
    assert len(chat.shapes) == 1
    assert isinstance(predicted, list)
    assert [one.parent_id for one in predicted if one.text == "a cat"] == [
        one.id for one in sample.annotations
    ]


def test_boxes_of_the_source_are_the_last_to_be_cut(samples: list[Sample]) -> None:
    rows = stamp([box(BOXES[0], score=0.99)], Provenance(specialist="detector"), "found")
    rows += stamp([box(BOXES[1], score=None)], Provenance(specialist=SOURCE), "labels")
    sample = replace(samples[0], annotations=tuple(rows))
    (predicted,) = saying("a cat", max_boxes=1)[0].predict([sample])
    assert isinstance(predicted, list)
    assert {one.parent_id for one in predicted} == {rows[1].id}
    (predicted,) = saying("a cat", max_boxes=1, source_first=False)[0].predict([sample])
    assert isinstance(predicted, list)
    assert {one.parent_id for one in predicted} == {rows[0].id}


def test_the_surest_boxes_are_described_and_the_small_ones_are_not(samples: list[Sample]) -> None:
    specialist, _ = saying("a cat", max_boxes=2, least_side=16)
    boxes = (
        box((0, 0, 30, 30), score=0.2),
        box((5, 0, 30, 30)),
        box((10, 0, 30, 30), score=0.9),
        box((10, 0, 25, 60), score=0.8),
    )
    sample = with_boxes(samples[0], *boxes)
    (predicted,) = specialist.predict([sample])
    assert isinstance(predicted, list)
    assert {one.parent_id for one in predicted} == {sample.annotations[n].id for n in (0, 2)}
    of_source = replace(sample.annotations[1], specialist="source")
    (predicted,) = specialist.predict(
        [replace(sample, annotations=(*sample.annotations, of_source))]
    )
    assert isinstance(predicted, list)
    assert {one.parent_id for one in predicted} == {sample.annotations[n].id for n in (1, 2)}


def test_a_box_of_which_nothing_is_said_has_no_description(samples: list[Sample]) -> None:
    sample = with_boxes(samples[0], *map(box, BOXES[:2]))
    (predicted,) = saying("", "a cat")[0].predict([sample])
    assert isinstance(predicted, list)
    assert len({one.parent_id for one in predicted}) == 1
    (predicted,) = saying("")[0].predict([sample])
    assert isinstance(predicted, SampleError)
    assert predicted.reason == "empty_answer"


def test_an_image_without_boxes_is_not_looked_at() -> None:
    broken = Sample(key="cut", width=120, height=80, picture=Picture(b""))
    specialist, chat = saying("a cat")
    assert specialist.predict([broken]) == [[]]
    assert not chat.shapes


def test_a_broken_image_costs_only_itself(english: RegionText, samples: list[Sample]) -> None:
    broken = Sample(key="cut", width=120, height=80, picture=Picture(b""))
    first, second, third = english.predict(
        [samples[0], with_boxes(broken, box(BOXES[0])), samples[1]]
    )
    assert isinstance(second, SampleError)
    assert second.reason == "not_an_image"
    assert [first, third] == english.predict(samples[:2])


def test_awkward_boxes_have_a_description_or_a_reason(
    english: RegionText, awkward: list[Sample]
) -> None:
    whole = [with_boxes(one, box((0, 0, one.width, one.height))) for one in awkward]
    first, *others = english.predict(whole)
    assert first == []
    for predicted in others:
        assert isinstance(predicted, SampleError) or all(one.box_xyxy for one in predicted)


def test_the_prompt_fits_the_kind_of_model(
    blip2: Path, english: RegionText, samples: list[Sample], tmp_path: Path
) -> None:
    sample = samples[:1]
    assert stage(blip2, prompt=PLAIN_PROMPT).predict(sample) == english.predict(sample)
    assert stage(blip2, prompt=CHAT_PROMPT).predict(sample) != english.predict(sample)
    chat = WRITERS["idefics3"](tmp_path)
    assert stage(chat).predict(sample) == stage(chat, prompt=CHAT_PROMPT).predict(sample)


def test_a_description_that_cannot_end_is_an_error(blip2: Path, samples: list[Sample]) -> None:
    predicted = stage(blip2, max_new_tokens=1).predict(samples)
    reasons = {one.reason for one in predicted if isinstance(one, SampleError)}
    assert reasons == {UNFINISHED_ANSWER}


def test_who_speaks_are_the_weights_and_the_parser(english: RegionText) -> None:
    weights, parser = english.revision().split(", ")
    assert weights == english.checkpoint().digest
    assert parser.startswith("en_core_web_sm")


def test_only_boxes_of_the_tasks_are_read(samples: list[Sample]) -> None:
    specialist, chat = saying("a cat", tasks=["region_proposal"])
    assert [str(one) for one in specialist.reads] == ["region_proposal"]
    assert specialist.predict([samples[0]]) == [[]]
    assert not chat.shapes


@pytest.mark.parametrize("task", ["region_description", "caption", "object_detektion"])
def test_a_task_without_boxes_is_refused(task: str) -> None:
    with pytest.raises(ValidationError, match="has no boxes"):
        RegionTextConfig(tasks=(task,))


def test_scores_are_those_of_the_description(english: RegionText, samples: list[Sample]) -> None:
    for predicted in english.predict(samples[:3]):
        assert isinstance(predicted, list)
        scores = {one.parent_id: one.score for one in predicted}
        assert all(0 < (score or 0) < 1 for score in scores.values())
        assert all(one.score == scores[one.parent_id] for one in predicted)
    assert np.isfinite([score or 0 for score in scores.values()]).all()


def test_other_languages_have_texts_of_their_own_without_noun_phrases(
    blip2: Path, samples: list[Sample]
) -> None:
    def texts(language: str, **options: Any) -> list[tuple[str, str]]:
        (predicted,) = stage(blip2, max_new_tokens=30, **options).predict(samples[:1])
        assert isinstance(predicted, list)
        return [(one.parent_id, one.text) for one in predicted if one.language == language]

    both = {"other_languages": {"de": "", "ja": "a red"}, "prompt": "a"}
    assert texts("en", **both) == texts("en", prompt="a")
    plain = {"noun_phrases": False}
    assert texts("de", **both) == texts("en", prompt="a Answer in German.", **plain)
    assert texts("ja", **both) == texts("en", prompt="a red", **plain) != []
    with pytest.raises(ValidationError, match="'en' is the language of `prompts` already"):
        RegionTextConfig(other_languages={"en": ""})
