from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, MissingPackage, SampleError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.specialists.captions.answer_text import cleaned, whole_sentences
from florilegium.specialists.captions.chat_caption import ChatCaption, ChatCaptionConfig
from florilegium.specialists.captions.image_chat import EMPTY_ANSWER, FAMILY, UNFINISHED_ANSWER
from florilegium.specialists.pretrained import checkpoint
from florilegium.specialists.pretrained.network import NOT_A_NUMBER
from tests.checkpoints import written_once
from tests.checkpoints.chat_caption import WRITERS, pipeline_answers

Written = Callable[[str], Path]
FAMILIES = sorted(set(WRITERS) - set(FAMILY.needs_torchvision))
PROMPT = "a red cat on the table"
TOKENS = 24


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Write a tiny model of a family, once."""
    return written_once(lambda name, folder: WRITERS[name](folder), tmp_path_factory)


@pytest.fixture(scope="module")
def samples(odd_images: list[Sample], photograph: Callable[..., Sample]) -> list[Sample]:
    return [*odd_images, photograph("cat")]


def stage(folder: Path, **options: Any) -> ChatCaption:
    asked = {"prompts": {"caption": PROMPT}, "max_new_tokens": {"caption": TOKENS}}
    specialist = ChatCaption(ChatCaptionConfig(model=str(folder), **(asked | options)))
    specialist.load()
    return specialist


def with_settings(folder: Path, copied: Path, **settings: Any) -> Path:
    """Copy a checkpoint with other settings of generation."""
    copied.mkdir()
    for path in folder.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    path = copied / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return copied


def text(predicted: Sequence[Annotation] | SampleError) -> str:
    """The only caption, or the reason why there is none."""
    if isinstance(predicted, SampleError):
        return predicted.reason
    (caption,) = predicted
    return caption.text


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_says_what_its_pipeline_says(
    name: str, written: Written, samples: list[Sample]
) -> None:
    predicted = [text(one) for one in stage(written(name)).predict(samples)]
    expected = [
        cleaned(answer if is_finished else whole_sentences(answer)) or UNFINISHED_ANSWER
        for answer, is_finished in pipeline_answers(written(name), samples, PROMPT, TOKENS)
    ]
    assert predicted == expected
    assert len(set(predicted)) > 1


@pytest.mark.parametrize("name", FAMILIES)
def test_an_answer_does_not_depend_on_the_batch(
    name: str, written: Written, samples: list[Sample]
) -> None:
    specialist = stage(written(name), batch_size=3)
    together = list(map(str, specialist.predict(samples)))
    assert together == [str(specialist.predict([sample])[0]) for sample in samples]
    assert together == list(map(str, specialist.predict(samples[::-1])))[::-1]


@pytest.mark.parametrize("name", ["blip-2", "gemma3", "idefics3"])
def test_each_family_runs_in_bfloat16(name: str, written: Written, samples: list[Sample]) -> None:
    predicted = stage(written(name), dtype="bfloat16").predict(samples)
    scores = [one[0].score for one in predicted if not isinstance(one, SampleError)]
    assert scores
    assert all(score is not None and 0 < score < 1 for score in scores)


def test_images_of_one_shape_are_asked_about_together(
    written: Written, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    specialist = stage(written("llava"), batch_size=len(samples))
    sizes = []
    generate = specialist.network.model.generate

    def recorded(**inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        return generate(**inputs)

    monkeypatch.setattr(specialist.network.model, "generate", recorded)
    specialist.predict(samples)
    assert sizes == [len(samples)]


def test_a_score_is_the_geometric_mean_of_the_probabilities_of_the_tokens(
    written: Written, samples: list[Sample]
) -> None:
    specialist = stage(written("idefics3"), max_new_tokens={"caption": 60})
    model, processor = specialist.network.model, specialist.network.processor
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    for sample, predicted in zip(samples, specialist.predict(samples), strict=True):
        assert not isinstance(predicted, SampleError)
        asked = processor(
            images=Image.fromarray(sample.image),
            text=prompt,
            return_tensors="pt",
            add_special_tokens=False,
        )
        generated = model.generate(
            **asked, max_new_tokens=60, output_scores=True, return_dict_in_generate=True
        )
        chances = model.compute_transition_scores(
            generated.sequences, generated.scores, normalize_logits=True
        )
        assert predicted[0].score == pytest.approx(chances[0].mean().exp().item(), abs=1e-4)


def test_an_answer_that_reaches_the_limit_is_scored_by_what_is_kept_of_it(
    written: Written, samples: list[Sample]
) -> None:
    specialist = stage(written("gemma3"), max_new_tokens={"caption": 12})
    whole = list(pipeline_answers(written("gemma3"), samples, PROMPT, 12))
    predicted = specialist.predict(samples)
    cut = [
        number
        for number, (answer, is_finished) in enumerate(whole)
        if not is_finished and text(predicted[number]) not in (answer.strip(), UNFINISHED_ANSWER)
    ]
    assert cut
    for number in cut:
        assert text(predicted[number]).endswith(".")
        words = len(text(predicted[number]).split())
        shorter = stage(written("gemma3"), max_new_tokens={"caption": words})
        assert shorter.predict([samples[number]]) == [predicted[number]]


def test_captions_of_three_lengths_are_asked_for_by_default(
    written: Written, samples: list[Sample]
) -> None:
    specialist = ChatCaption(ChatCaptionConfig(model=str(written("idefics3"))))
    specialist.load()
    assert specialist.produces == CAPTION_TASKS
    (predicted,) = specialist.predict(samples[:1])
    assert not isinstance(predicted, SampleError)
    assert [one.task for one in predicted] == list(CAPTION_TASKS)
    assert {(one.kind, one.language) for one in predicted} == {("text", "en")}
    assert len({one.text for one in predicted}) > 1


def test_only_captions_with_a_prompt_are_said(written: Written, samples: list[Sample]) -> None:
    prompts = {"more_detailed_caption": "a house", "caption": "a boat"}
    specialist = stage(written("idefics3"), prompts=prompts, language="")
    assert specialist.produces == ("caption", "more_detailed_caption")
    for one, prompt in zip(specialist.predict(samples[:1])[0], ("a boat", "a house"), strict=True):
        alone = stage(written("idefics3"), prompts={one.task: prompt}, language="")
        assert alone.predict(samples[:1]) == [[one]]


def test_each_caption_has_a_limit_of_its_own(written: Written, samples: list[Sample]) -> None:
    prompts = {"caption": PROMPT, "detailed_caption": PROMPT}
    limits = {"caption": 4, "detailed_caption": 30}
    predicted = stage(written("gemma3"), prompts=prompts, max_new_tokens=limits).predict(samples)
    lengths = [
        [len(one.text.split()) for one in each] for each in predicted if isinstance(each, list)
    ]
    assert max(brief for brief, _ in lengths) <= 4 < max(detailed for _, detailed in lengths)


def test_an_image_is_prepared_once_for_all_prompts(
    written: Written, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    specialist = stage(written("idefics3"), prompts=dict.fromkeys(CAPTION_TASKS, PROMPT))
    images = type(specialist.network.processor.image_processor)
    prepared = []
    prepare = images.preprocess

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        prepared.append(args)
        return prepare(self, *args, **options)

    monkeypatch.setattr(images, "preprocess", counted)
    specialist.predict(samples)
    assert len(prepared) == len(samples)


def test_a_model_that_says_nothing_is_an_error_of_the_image(
    written: Written, samples: list[Sample], tmp_path: Path
) -> None:
    size = len(json.loads((written("llava") / "tokenizer.json").read_text())["model"]["vocab"])
    end = json.loads((written("llava") / "generation_config.json").read_text())["eos_token_id"][0]
    settings = {"suppress_tokens": [one for one in range(size) if one != end]}
    mute = with_settings(written("llava"), tmp_path / "mute", min_new_tokens=0, **settings)
    predicted = stage(mute).predict(samples)
    assert {text(one) for one in predicted} == {EMPTY_ANSWER}
    assert all(PROMPT in str(one) for one in predicted)


def test_what_the_model_says_in_the_name_of_others_is_left_out(
    written: Written, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    specialist = stage(written("llava"))
    monkeypatch.setattr(
        specialist.network.processor.tokenizer,
        "decode",
        lambda ids, **_: "Assistant: A cat\nUser: Where is it? It is"[: 8 * len(ids)],
    )
    assert {text(one) for one in specialist.predict(samples)} == {"A cat"}


def test_an_answer_without_a_whole_sentence_is_an_error_with_the_cure(
    written: Written, samples: list[Sample]
) -> None:
    predicted = stage(written("llava"), max_new_tokens={"caption": 3}).predict(samples)
    errors = [one for one in predicted if isinstance(one, SampleError)]
    assert errors
    assert {one.reason for one in errors} == {UNFINISHED_ANSWER}
    assert "caption: no sentence ends within 3 tokens" in str(errors[0])
    assert "`max_new_tokens`" in str(errors[0])


def test_a_broken_image_costs_only_itself(written: Written, samples: list[Sample]) -> None:
    broken = Sample(key="cut", width=120, height=80, picture=Picture(b"\xff\xd8\xff"))
    specialist = stage(written("idefics3"))
    first, second, third = specialist.predict([samples[0], broken, samples[1]])
    assert text(second) == "not_an_image"
    assert [first, third] == specialist.predict(samples[:2])


def test_awkward_images_have_captions_or_a_reason(written: Written, awkward: list[Sample]) -> None:
    for predicted in stage(written("idefics3")).predict(awkward):
        assert isinstance(predicted, SampleError) or 0 <= (predicted[0].score or 0) <= 1


def test_weights_that_overflow_are_an_error(written: Written, samples: list[Sample]) -> None:
    specialist = stage(written("llava"))
    with torch.no_grad():
        specialist.network.model.lm_head.weight.fill_(torch.nan)
    with pytest.raises(SampleError, match="NaN") as caught:
        specialist.predict(samples[:1])
    assert caught.value.reason == NOT_A_NUMBER


def test_a_larger_image_size_gives_more_tiles(written: Written, samples: list[Sample]) -> None:
    usual, larger = stage(written("idefics3")), stage(written("idefics3"), image_size=192)
    assert larger.network.processor.image_processor.size["longest_edge"] == 192
    assert usual.predict(samples[:1]) != larger.predict(samples[:1])


def test_a_model_that_cannot_answer_fails_at_loading(written: Written) -> None:
    with pytest.raises(ConfigError, match=r"cannot answer about a blank image.*change the"):
        stage(written("llava"), prompts={"caption": "what is in <image> here"})


@pytest.mark.parametrize("kind", ["detr", "clip", "florence2"])
def test_a_model_of_another_kind_is_refused_before_loading(kind: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(ConfigError, match=rf"{kind}.*an image-text-to-text model is needed"):
        ChatCaption(ChatCaptionConfig(model=str(tmp_path))).revision()


@pytest.mark.parametrize(
    ("kind", "package"), [("qwen2_5_vl", "torchvision"), ("smolvlm", "num2words")]
)
def test_what_a_processor_needs_is_named_before_loading(
    kind: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    monkeypatch.setattr(checkpoint, "find_spec", lambda name: None if name == package else name)
    with pytest.raises(MissingPackage, match=f"{kind}.*pip install .*{package}"):
        ChatCaption(ChatCaptionConfig(model=str(tmp_path))).revision()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"prompts": {"captoin": "what?"}}, "did you mean 'caption'"),
        ({"prompts": {}}, "at least 1"),
        ({"max_new_tokens": {"tag": 3}}, "'tag' is no caption task"),
        ({"max_new_tokens": {"caption": 0}}, "at least 1 token"),
        ({"promts": {}}, "promts"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        ChatCaptionConfig(**options)


def test_all_model_types_are_image_text_to_text_models_of_transformers() -> None:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN,
    )

    assert set(FAMILY.model_types) == {name.split(" ")[0] for name in WRITERS}
    assert set(FAMILY.model_types) <= set(KNOWN)


def test_pixels_stay_as_they_were(written: Written, samples: list[Sample]) -> None:
    before = samples[0].image.copy()
    stage(written("blip")).predict(samples[:1])
    np.testing.assert_array_equal(samples[0].image, before)


def test_other_languages_are_asked_for_by_name_or_by_prompts_of_their_own(
    written: Written, samples: list[Sample]
) -> None:
    prompts = {"caption": "a boat", "detailed_caption": "a house"}
    own = "人と船"
    specialist = stage(
        written("idefics3"), prompts=prompts, max_new_tokens=dict.fromkeys(prompts, 30),
        other_languages={"de": {}, "ja": {"caption": own}},
    )  # fmt: skip
    (predicted,) = specialist.predict(samples[:1])
    assert isinstance(predicted, list)
    asked = {
        ("caption", "en"): "a boat",
        ("detailed_caption", "en"): "a house",
        ("caption", "de"): "a boat Answer in German.",
        ("detailed_caption", "de"): "a house Answer in German.",
        ("caption", "ja"): own,
        ("detailed_caption", "ja"): "a house Answer in Japanese.",
    }
    assert [(one.task, one.language) for one in predicted] == list(asked)
    for one, prompt in zip(predicted, asked.values(), strict=True):
        alone = stage(
            written("idefics3"), prompts={one.task: prompt}, max_new_tokens={one.task: 30}
        )
        ((answer,),) = alone.predict(samples[:1])
        assert (answer.text, answer.score) == (one.text, one.score)


def test_other_languages_may_be_longer_and_are_no_part_of_a_stage_without_them() -> None:
    more = ChatCaptionConfig(other_languages={"hi": {}}, max_new_tokens={"caption": 7})
    limits = [(one.language, one.prompt.max_new_tokens) for one in more.asked]
    assert limits == [("en", 7), ("en", 160), ("en", 400), ("hi", 7), ("hi", 480), ("hi", 1200)]
    assert "other_languages" in more.stored()
    assert "other_languages" not in ChatCaptionConfig().stored()


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"xx": {}}, "the language 'xx' is not known"),
        ({"en": {}}, "'en' is the language of `prompts` already"),
        ({"en-US": {}}, "'en-US' is the language of `prompts` already"),
        ({"pt": {}, "pt-BR": {}}, "'pt-BR' is asked for as 'pt' already"),
        ({"de": {"ocr": "Lies."}}, "'ocr' is no caption task"),
        ({"de": {"caption": "Was?"}}, "asks for caption in 'de', and `prompts` not"),
    ],
)
def test_languages_that_cannot_be_asked_for_are_refused(
    others: dict[str, dict[str, str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ChatCaptionConfig(prompts={"detailed_caption": "Say."}, other_languages=others)
