"""The chat models whose processors prepare videos too."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Sample
from florilegium.specialists.captions.answer_text import cleaned, whole_sentences
from florilegium.specialists.captions.chat_caption import ChatCaption, ChatCaptionConfig
from florilegium.specialists.captions.image_chat import FAMILY, UNFINISHED_ANSWER
from florilegium.specialists.pretrained.network import TOO_THIN
from tests.checkpoints import written_once
from tests.checkpoints.chat_caption import WRITERS, pipeline_answers

Written = Callable[[str], Path]
SampleOf = Callable[..., Sample]
PROMPT = "a red cat on the table"
TOKENS = 24
FAMILIES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name == "smolvlm" and find_spec("num2words") is None, reason="num2words is missing"
        ),
    )
    for name in FAMILY.needs_torchvision
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Write a tiny model of a family, once."""
    return written_once(lambda name, folder: WRITERS[name](folder), tmp_path_factory)


def stage(folder: Path, **options: Any) -> ChatCaption:
    asked = {"prompts": {"caption": PROMPT}, "max_new_tokens": {"caption": TOKENS}}
    specialist = ChatCaption(ChatCaptionConfig(model=str(folder), **(asked | options)))
    specialist.load()
    return specialist


def texts(specialist: ChatCaption, samples: list[Sample]) -> list[str]:
    """Return the caption of each sample, or the reason why there is none."""
    return [
        one.reason if isinstance(one, SampleError) else one[0].text
        for one in specialist.predict(samples)
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_says_what_its_pipeline_says(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    answers = texts(stage(written(name)), odd_images)
    expected = [
        cleaned(answer if is_finished else whole_sentences(answer)) or UNFINISHED_ANSWER
        for answer, is_finished in pipeline_answers(written(name), odd_images, PROMPT, TOKENS)
    ]
    assert answers == expected
    assert len(set(answers)) > 2


@pytest.mark.parametrize("name", FAMILIES)
def test_an_answer_does_not_depend_on_the_batch(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    specialist = stage(written(name), batch_size=3)
    together = list(map(str, specialist.predict(odd_images)))
    assert together == [str(specialist.predict([sample])[0]) for sample in odd_images]
    assert together == list(map(str, specialist.predict(odd_images[::-1])))[::-1]


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_runs_in_bfloat16(
    name: str, written: Written, odd_images: list[Sample]
) -> None:
    answers = stage(written(name), dtype="bfloat16").predict(odd_images)
    scores = [one[0].score for one in answers if not isinstance(one, SampleError)]
    assert scores
    assert all(score is not None and 0 < score < 1 for score in scores)


def test_images_lying_and_standing_share_a_batch(
    written: Written, drawing: SampleOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patches of several images follow each other; each has a grid of its own."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    samples = [drawing(noise), drawing(noise.transpose(1, 0, 2).copy()), drawing(noise)]
    specialist = stage(written("qwen2_5_vl"))
    sizes = []
    generate = specialist.network.model.generate

    def noted(**inputs: Any) -> Any:
        sizes.append((len(inputs["input_ids"]), inputs["image_grid_thw"].tolist()))
        return generate(**inputs)

    monkeypatch.setattr(specialist.network.model, "generate", noted)
    first, second, third = texts(specialist, samples)
    assert sizes == [(3, [[1, 4, 6], [1, 6, 4], [1, 4, 6]])]
    assert first == third != second


def test_the_image_size_of_a_family_that_counts_pixels_is_the_side_of_a_square(
    written: Written, odd_images: list[Sample]
) -> None:
    specialist = stage(written("qwen2_5_vl"), image_size=48)
    for sample in odd_images:
        image = Image.fromarray(sample.image)
        patches = specialist.network.processor.image_processor(image)["pixel_values"]
        assert 0.6 * 48**2 <= len(patches) * 8 * 8 <= 1.5 * 48**2
    assert len(set(texts(specialist, odd_images))) > 2


def test_an_image_too_thin_for_a_family_is_an_error_of_its_own(
    written: Written, awkward: list[Sample], odd_images: list[Sample]
) -> None:
    specialist = stage(written("qwen2_5_vl"))
    strip, usual = texts(specialist, [awkward[1], odd_images[0]])
    assert strip == TOO_THIN
    assert [usual] == texts(specialist, odd_images[:1])
