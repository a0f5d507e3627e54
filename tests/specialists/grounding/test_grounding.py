from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, SampleError, UsageError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import one_of
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.engine.core.validity import problem_of
from florilegium.specialists.detection.grounding_dino import GroundingDino, GroundingText
from florilegium.specialists.grounding.grounding import Grounding, GroundingConfig
from florilegium.specialists.pretrained.network import TOO_THIN
from florilegium.specialists.words.english import english_revision
from tests.checkpoints import written_once
from tests.checkpoints.grounding import LONGEST, MODEL_TYPES, write_grounding_dino

Written = Callable[[str], Path]
SampleOf = Callable[..., Sample]
DINO, MM_DINO = MODEL_TYPES
CAPTION = "A red cat with the old man, and it sits on A CUP. Is the dog in the cup?"
LEAST = 0.1


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Write a tiny Grounding DINO of a model type, once."""
    return written_once(lambda name, folder: write_grounding_dino(folder, name), tmp_path_factory)


def stage(folder: Path, **options: Any) -> Grounding:
    grounding = Grounding(GroundingConfig(model=str(folder), **({"least_score": LEAST} | options)))
    grounding.load()
    return grounding


def captioned(sample: Sample, *texts: str, task: str = "caption", language: str = "en") -> Sample:
    captions = (
        Annotation(kind="text", task=task, text=text, language=language, id=f"{task}-{number}")
        for number, text in enumerate(texts)
    )
    return replace(sample, annotations=tuple(captions))


def raw(name: str, folder: Path, samples: Sequence[Sample], text: str) -> Iterator[Any]:
    """Yield (input, output, post-processed answer) of `transformers` for one text."""
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    for sample in samples:
        image = Image.fromarray(sample.image)
        inputs = processor(images=image, text=text, return_tensors="pt")
        with torch.inference_mode():
            predicted = model(**inputs)
        (found,) = processor.post_process_grounded_object_detection(
            predicted, threshold=LEAST, target_sizes=[(sample.height, sample.width)]
        )
        yield inputs, predicted, found


def pairs(predicted: Sequence[Annotation]) -> list[Any]:
    return [(one.score, one.box_xyxy) for one in predicted]


def assert_close(ours: Sequence[Any], theirs: Sequence[Any]) -> None:
    """Compare score and box, the surest first."""
    ours, theirs = (sorted(one, key=lambda row: -row[0]) for one in (ours, theirs))
    assert [score for score, _ in ours] == pytest.approx([score for score, _ in theirs], abs=1e-3)
    np.testing.assert_allclose([box for _, box in ours], [box for _, box in theirs], atol=0.2)


@pytest.mark.parametrize("name", MODEL_TYPES)
def test_boxes_are_those_of_the_post_processing(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    predicted = stage(written(name)).predict([captioned(one, CAPTION) for one in odd_images])
    expected = raw(name, written(name), odd_images, CAPTION.lower())
    for sample, own, (_, _, found) in zip(odd_images, predicted, expected, strict=True):
        boxes = found["boxes"].numpy().clip(0, [sample.width, sample.height] * 2)
        rows = zip(found["scores"].tolist(), boxes.tolist(), strict=True)
        theirs = [row for row in rows if row[1][2] > row[1][0] and row[1][3] > row[1][1]]
        assert len(theirs) > 2
        assert_close(pairs(own), theirs)


@pytest.mark.parametrize("name", MODEL_TYPES)
def test_each_box_goes_to_the_one_phrase_that_fits_it_best(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    from transformers import AutoTokenizer

    sample = odd_images[-1]
    (predicted,) = stage(written(name)).predict([captioned(sample, CAPTION)])
    ((inputs, output, _),) = raw(name, written(name), [sample], CAPTION.lower())
    words = AutoTokenizer.from_pretrained(written(name)).convert_ids_to_tokens(
        inputs["input_ids"][0]
    )
    # "red cat", "old man", "cup", "dog", "cup": the tokens of the phrases, without the articles.
    place = [n for n, word in enumerate(words) if word == "cup"]
    old = words.index("the") + 1
    tokens = {
        "A red cat": range(words.index("red"), words.index("cat") + 1),
        "the old man": range(old, words.index("man") + 1),
        "A CUP": [place[0]],
        "the dog": [words.index("dog")],
        "the cup": [place[1]],
    }
    probability = output.logits[0].sigmoid().numpy()
    fit = np.stack([probability[:, list(own)].mean(axis=1) for own in tokens.values()], axis=1)
    scores = probability.max(axis=1)
    assert len({one.text for one in predicted}) > 2
    for one in predicted:
        box = np.abs(scores - one.score).argmin()
        assert one.text == list(tokens)[fit[box].argmax()]
        assert one.support == pytest.approx(fit[box].max(), abs=1e-3)
    assert len({one.box_xyxy for one in predicted}) == len(predicted), "one phrase for each box"


def test_a_phrase_names_its_place_its_noun_and_its_caption(
    written: Written, odd_images: list[Sample]
) -> None:
    (predicted,) = stage(written(DINO), least_score=0).predict([captioned(odd_images[-1], CAPTION)])
    heads = {"A red cat": "cat", "the old man": "man", "A CUP": "cup", "the dog": "dog"}
    for one in predicted:
        assert (one.kind, one.task, one.parent_id) == ("phrase", "phrase_grounding", "caption-0")
        assert one.text == CAPTION[slice(*one.span)]
        assert one.label == heads.get(one.text, "cup")
        assert one.language == "en"
    assert [one.span for one in predicted] == sorted(one.span for one in predicted)
    for first, second in pairwise(predicted):
        assert first.span < second.span or (first.score or 0) >= (second.score or 0)


def test_an_expanded_phrase_has_the_box_and_the_noun_of_its_noun_phrase(
    written: Written, odd_images: list[Sample]
) -> None:
    sample = captioned(odd_images[-1], "The man with a red cup and a dog in the cup of a cat.")
    (plain,) = stage(written(DINO), least_score=0).predict([sample])
    (found,) = stage(written(DINO), least_score=0, expand="dependents").predict([sample])
    longer = {"The man": "The man with a red cup", "a dog": "a dog", "the cup": "the cup of a cat"}
    assert longer.keys() <= {one.text for one in plain}
    assert [one.text for one in found] == [longer.get(one.text, one.text) for one in plain]
    for one, short in zip(found, plain, strict=True):
        assert one.text == sample.annotations[0].text[slice(*one.span)]
        assert replace(one, text=short.text, span=short.span) == short


def test_all_three_captions_are_grounded_or_those_that_are_asked_for(
    written: Written, odd_images: list[Sample]
) -> None:
    sample = odd_images[-1]
    captions = [
        one for task in CAPTION_TASKS for one in captioned(sample, CAPTION, task=task).annotations
    ]
    every = replace(sample, annotations=tuple(captions))
    (predicted,) = stage(written(DINO)).predict([every])
    (alone,) = stage(written(DINO)).predict([captioned(sample, CAPTION)])
    assert [one.parent_id for one in predicted] == [
        f"{task}-0" for task in CAPTION_TASKS for _ in alone
    ]
    brief = stage(written(DINO), captions=["caption"])
    assert brief.predict([every])[0] == alone
    assert brief.reads == (one_of("caption"),)


def test_a_caption_that_is_too_long_is_asked_part_after_part(
    written: Written, odd_images: list[Sample]
) -> None:
    half = f"A red cat {'and a dog ' * 5}is with the man. The old cup. A big red dog."
    text = f"{half} {half}"
    grounding = stage(written(MM_DINO), least_score=0)
    assert len(half.split()) < LONGEST < len(grounding._dino.token_spans(text))
    (predicted,) = grounding.predict([captioned(odd_images[-1], text)])
    (once,) = grounding.predict([captioned(odd_images[-1], half)])
    assert all(one.text == text[slice(*one.span)] for one in predicted)
    later = len(half) + 1
    again = [replace(one, span=(one.span[0] + later, one.span[1] + later)) for one in once]
    assert [one.span for one in predicted] == [one.span for one in [*once, *again]]
    assert_close(pairs(predicted), pairs([*once, *again]))


def test_capitals_accents_and_a_missing_stop_leave_characters_in_their_places(
    written: Written, odd_images: list[Sample]
) -> None:
    grounding = stage(written(DINO), least_score=0)
    lower = "the man with a red cup"
    for text in (lower, "The MAN with a Red Cup", f"{lower}.", f"{lower}  "):
        (predicted,) = grounding.predict([captioned(odd_images[-1], text)])
        assert {one.text.lower() for one in predicted} <= {"the man", "a red cup"}
        assert len({one.text for one in predicted}) == 2
    (predicted,) = grounding.predict([captioned(odd_images[-1], "An İİİ café and a red cup")])
    assert "a red cup" in {one.text for one in predicted}


def test_the_tokens_of_a_phrase_are_its_own(written: Written, odd_images: list[Sample]) -> None:
    dino = GroundingDino(stage(written(DINO)).network)
    question = GroundingText(text="İİ cat. A dog", phrases=((3, 6), (8, 13), (40, 50)))
    text, weight = dino._encoded(question)
    tokens = dino._tokenizer.convert_ids_to_tokens(text["input_ids"])
    spoken = [[tokens[n] for n in np.flatnonzero(own)] for own in weight.T]
    assert spoken == [["cat"], ["a", "dog"], []]
    np.testing.assert_allclose(weight.sum(axis=0), [1, 1, 0], rtol=1e-6)
    assert len(tokens) % 16 == 0
    (answer,) = dino.answer(dino.look(odd_images[:1]), [0], [question])
    assert (answer.phrase_score[:, 2] == 0).all()


@pytest.mark.parametrize("text", ["", "It is.", "Running, jumping!", "   "])
def test_a_caption_without_a_noun_phrase_is_not_asked_about(
    text: str, written: Written, odd_images: list[Sample]
) -> None:
    class Unseen:
        def pixels(self) -> np.ndarray:
            raise AssertionError("somebody looked")

    unseen = replace(odd_images[0], picture=Unseen())  # type: ignore[arg-type]
    grounding = stage(written(DINO))
    assert grounding.predict([captioned(unseen, text)]) == [[]]
    assert grounding.predict([captioned(unseen, "Un gato rojo.", language="es")]) == [[]]


@pytest.mark.parametrize("name", MODEL_TYPES)
def test_an_answer_does_not_depend_on_the_neighbours(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    grounding = stage(written(name))
    texts = (CAPTION, "A dog.", "", "The man with a cup", "A cat", "A cup and the dog.")
    samples = [captioned(one, text) for one, text in zip(odd_images, texts, strict=True)]
    together = grounding.predict(samples)
    assert sum(map(bool, together)) == 5
    for own, sample in zip(together, samples, strict=True):
        (alone,) = grounding.predict([sample])
        assert [one.span for one in own] == [one.span for one in alone]
        assert_close(pairs(own), pairs(alone))


@pytest.mark.parametrize("name", MODEL_TYPES)
def test_any_attention_keeps_the_phrases_of_a_text_apart(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    samples = [captioned(sample, CAPTION) for sample in odd_images[:2]]
    some, others = (
        stage(written(name), attention=attention).predict(samples)
        for attention in ("auto", "eager")
    )
    for one, other in zip(some, others, strict=True):
        assert one
        assert_close(pairs(one), pairs(other))


@pytest.mark.parametrize("name", MODEL_TYPES)
def test_bfloat16_says_nearly_the_same(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    sample = [captioned(odd_images[-1], CAPTION)]
    (narrow,) = stage(written(name), dtype="bfloat16", least_score=0).predict(sample)
    (wide,) = stage(written(name), least_score=0).predict(sample)
    exact = np.array([one.box_xyxy for one in wide])
    distance = [np.abs(exact - one.box_xyxy).max(axis=1).min() for one in narrow]
    assert narrow
    assert np.median(distance) < 2


@pytest.mark.parametrize("name", MODEL_TYPES)
def test_awkward_images_have_boxes_inside_or_a_reason(
    name: str, written: Written, awkward: list[Sample]
) -> None:
    grounding = stage(written(name), least_score=0)
    for sample in (captioned(one, CAPTION) for one in awkward):
        if max(sample.width, sample.height) == 20_000:
            with pytest.raises(SampleError, match="cannot be resized") as caught:
                grounding.predict([sample])
            assert caught.value.reason == TOO_THIN
            continue
        (predicted,) = grounding.predict([sample])
        assert predicted
        for one in predicted:
            assert not problem_of(one, width=sample.width, height=sample.height)
            assert one.box_xyxy[2] <= sample.width
            assert one.box_xyxy[3] <= sample.height


def test_what_cannot_work_is_known_before_anything_is_loaded(
    written: Written, tmp_path: Path
) -> None:
    def revision(folder: Path) -> str:
        return Grounding(GroundingConfig(model=str(folder))).revision()

    (tmp_path / "config.json").write_text('{"model_type": "owlv2"}')
    with pytest.raises(ConfigError, match="'owlv2'; a Grounding DINO is needed"):
        revision(tmp_path)
    with pytest.raises(UsageError, match="hf download IDEA-Research/none"):
        revision(Path("IDEA-Research/none"))
    assert revision(written(DINO)).endswith(english_revision())
    with pytest.raises(ValidationError, match="did you mean 'detailed_caption'"):
        GroundingConfig(captions=("detail_caption",))
