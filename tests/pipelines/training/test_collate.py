"""Tensors, compared with those of the model's own processor."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from florilegium.pipelines.training.collate import IGNORED, Collator, PixelReader
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.examples import Example
from florilegium.pipelines.training.reader import Part
from florilegium.pipelines.training.survey import Survey
from florilegium.pipelines.training.worker import TrainingJob, _reader
from florilegium.specialists.florence2.format import prompt_of
from tests.pipelines.training.labels import SIZE, ellipse, sample


@pytest.fixture(scope="module")
def opened(untrained):
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(untrained)


def picture(size_wh: tuple[int, int], kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (*size_wh[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def example(task: str, given: str, target: str, image: bytes) -> Example:
    return Example(
        key="a", task=task, prefix="", prompt=prompt_of(task, given), target=target, image=image
    )


def examples() -> list[Example]:
    region = "<loc_1><loc_2><loc_3><loc_4>"
    return [
        example("object_detection", "", f"circle{region}square{region}", picture((32, 32))),
        example(
            "phrase_grounding", "a circle, Überraschung", f"a circle{region}", picture((47, 31))
        ),
        example("region_category", region, "square", picture((20, 64), "JPEG")),
        example("open_vocabulary_detection", "dog", "", picture((32, 32))),
    ]


def collator(processor, **limits) -> Collator:
    return Collator(processor, start_id=2, **{"max_tokens": 100, "positions": 256, **limits})


def test_inputs_are_those_of_the_processor(opened):
    given = examples()
    collate = collator(opened)
    batch = collate([collate.encode(one) for one in given])
    images = [Image.open(io.BytesIO(one.image)) for one in given]
    prompts = [one.prompt for one in given]
    expected = opened(images=images, text=prompts, return_tensors="pt", padding=True)
    for name in ("pixel_values", "input_ids", "attention_mask"):
        assert batch[name].dtype == expected[name].dtype
        assert batch[name].tolist() == expected[name].tolist()


def test_labels_are_the_tokens_of_the_targets_and_padding_is_ignored(opened):
    given = examples()
    collate = collator(opened)
    labels = collate([collate.encode(one) for one in given])["labels"]
    for row, one in zip(labels.tolist(), given, strict=True):
        tokens = [token for token in row if token != IGNORED]
        assert opened.tokenizer.decode(tokens) == f"<s>{one.target}</s>"
    assert opened.tokenizer.tokenize("<loc_7>") == ["<loc_7>"]
    assert (labels == IGNORED).any()


def test_the_decoder_input_is_shifted_by_one_token(opened):
    import torch
    from transformers.models.bart.modeling_bart import shift_tokens_right

    collate = collator(opened)
    batch = collate([collate.encode(one) for one in examples()])
    expected = shift_tokens_right(batch["labels"], opened.tokenizer.pad_token_id, 2)
    assert torch.equal(batch["decoder_input_ids"], expected)


def test_an_example_that_is_too_long_is_left_out(opened):
    long = example("caption", "", "circle " * 50, picture((32, 32)))
    assert collator(opened).encode(long) is not None
    assert collator(opened, max_tokens=20).encode(long) is None
    assert collator(opened, positions=6).encode(long) is None


def test_an_example_of_maximum_length_is_kept(opened):
    one = example("caption", "", "circle square circle", picture((32, 32)))
    encoded = collator(opened).encode(one)
    prompt, target = len(encoded.prompt_ids), len(encoded.target_ids)
    assert prompt > target
    for most, is_kept in ((target, True), (target - 1, False)):
        assert bool(collator(opened, max_tokens=most).encode(one)) == is_kept
    for positions, is_kept in ((prompt, True), (prompt - 1, False)):
        assert bool(collator(opened, positions=positions).encode(one)) == is_kept
    long = example("caption", "", "circle " * 40, picture((32, 32)))
    assert len(collator(opened).encode(long).target_ids) > prompt
    assert collator(opened, positions=prompt).encode(long) is None, "its target has no positions"


def test_an_image_is_resized_to_the_width_and_the_height_of_the_processor():
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(size={"height": 12, "width": 36}, do_center_crop=False)
    for size_wh in ((40, 30), (36, 12), (12, 36)):
        image = picture(size_wh)
        expected = processor(Image.open(io.BytesIO(image)), return_tensors="np")["pixel_values"][0]
        assert expected.shape == (3, 12, 36)
        np.testing.assert_allclose(PixelReader(processor)(image), expected, atol=1e-6)


def test_a_processor_that_crops_is_called_for_each_image():
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 24}, crop_size={"height": 20, "width": 20}
    )
    image = picture((40, 30))
    expected = processor(Image.open(io.BytesIO(image)), return_tensors="np")["pixel_values"][0]
    assert np.array_equal(PixelReader(processor)(image), expected)


def test_a_mirrored_example_shows_its_image_with_left_and_right_exchanged(opened):
    straight = example("object_detection", "", "circle", picture((32, 32)))
    collate = collator(opened)
    both = [collate.encode(one) for one in (straight, replace(straight, is_mirrored=True))]
    pixels = collate(both)["pixel_values"].numpy()
    assert (pixels[1] == pixels[0][:, :, ::-1]).all()
    assert (pixels[1] != pixels[0]).any()


def test_a_target_has_no_more_tokens_than_the_model_has_positions(opened):
    assert collator(opened, max_tokens=1024, positions=256).max_tokens == 256
    assert collator(opened, max_tokens=100, positions=256).max_tokens == 100


def test_a_worker_makes_polygons_that_its_model_has_room_for(opened, scenes):
    """Of a circle that must be followed closely; with more corners it would be left out."""
    box = (5.0, 5.0, 95.0, 95.0)
    of = sample(ellipse(box), size_wh=SIZE)
    config = TrainConfig(model="here", tasks={"segmentation": 1}, polygon_iou=1.0)
    job = TrainingJob(
        dataset=str(scenes), config=config, part=Part(), survey=Survey(kept={}), output=scenes
    )
    small = collator(opened, max_tokens=1024, positions=100)
    target = _reader(job, small).draw(of, 0).target
    assert 40 <= target.count("<loc_") <= 98
    assert _reader(job, collator(opened, max_tokens=1024)).draw(of, 0).target != target
