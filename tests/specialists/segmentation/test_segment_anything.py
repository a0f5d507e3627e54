from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from pydantic import ValidationError

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.errors import ConfigError, MissingPackage, SampleError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.stage import one_of
from florilegium.specialists.pretrained.config import RANDOM_WEIGHTS
from florilegium.specialists.pretrained.network import NOT_A_NUMBER, TOO_THIN
from florilegium.specialists.segmentation.segment_anything import (
    SegmentAnything,
    SegmentAnythingConfig,
)
from tests.checkpoints.segment_anything import write_sam, write_sam_hq
from tests.specialists.conftest import SampleOf
from tests.specialists.segmentation.masks import (
    assert_alike,
    assert_as_expected,
    expected,
    pixels_of,
    with_boxes,
)

FAMILIES = {
    "sam": (write_sam, transformers.SamProcessor),
    "sam_hq": (write_sam_hq, transformers.SamHQProcessor),
}
Made = Callable[..., SegmentAnything]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, (write, _) in FAMILIES.items()}


@pytest.fixture(scope="module")
def make(folders: dict[str, Path]) -> Made:
    """Load a specialist of a family, with options."""

    def made(family: str = "sam", **options: Any) -> SegmentAnything:
        model = str(folders[family])
        specialist = SegmentAnything(SegmentAnythingConfig(model=model, **options))
        specialist.load()
        return specialist

    return made


@pytest.fixture(scope="module")
def sam(make: Made) -> SegmentAnything:
    return make()


@pytest.fixture(scope="module")
def cat(photograph: SampleOf) -> Sample:
    return with_boxes(photograph("cat"))


def box(*box_xyxy: float, **rest: Any) -> Annotation:
    given = {"kind": "region", "task": "object_detection", "label": "cat"} | rest
    return Annotation(box_xyxy=box_xyxy, **given)


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_masks_are_those_of_transformers(
    family: str, multimask: bool, make: Made, folders: dict[str, Path], photograph: SampleOf
) -> None:
    specialist = make(family, multimask=multimask)
    samples = [with_boxes(photograph(name), 4) for name in ("cat", "rocket", "page")]
    processor = FAMILIES[family][1]
    for sample, predicted in zip(samples, specialist.predict(samples), strict=True):
        assert_as_expected(
            predicted, expected(folders[family], processor, sample, multimask=multimask)
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_odd_images_are_seen_as_transformers_sees_their_pixels(
    family: str, make: Made, folders: dict[str, Path], odd_images: list[Sample]
) -> None:
    samples = [with_boxes(sample) for sample in odd_images]
    for sample, predicted in zip(samples, make(family).predict(samples), strict=True):
        assert_as_expected(predicted, expected(folders[family], FAMILIES[family][1], sample))


def test_half_precision_gives_the_masks_of_transformers_in_half_precision(
    make: Made, folders: dict[str, Path], cat: Sample
) -> None:
    (predicted,) = make(dtype="bfloat16").predict([cat])
    wanted = expected(folders["sam"], transformers.SamProcessor, cat, dtype=torch.bfloat16)
    assert_as_expected(predicted, wanted)


def test_the_masks_say_something(sam: SegmentAnything, cat: Sample) -> None:
    """Otherwise the comparisons would hold for a network that answers everything alike."""
    (predicted,) = sam.predict([cat])
    masks = pixels_of(predicted)
    assert 0.1 < masks.mean() < 0.9
    assert all((masks[0] != other).mean() > 0.01 for other in masks[1:])
    assert all(0.05 < (one.support or 0) < 0.99 for one in predicted)
    assert len({one.score for one in predicted}) == len(predicted)


def test_a_mask_repeats_the_words_of_what_it_was_made_from(
    sam: SegmentAnything, photograph: SampleOf
) -> None:
    sample = photograph(
        "cat",
        box(50, 20, 300, 250),
        box(
            60, 30, 200, 200, kind="phrase", task="phrase_grounding", text="a tabby", span=(0, 7),
            language="en", parent_id="caption",
        ),
    )  # fmt: skip
    (predicted,) = sam.predict([sample])
    assert [(one.kind, one.task) for one in predicted] == [
        ("region", "segmentation"),
        ("region", "referring_segmentation"),
    ]
    assert [(one.label, one.text, one.language) for one in predicted] == [
        ("cat", "", ""),
        ("cat", "a tabby", "en"),
    ]
    assert [one.parent_id for one in predicted] == [one.id for one in sample.annotations]
    assert predicted[0].mask_rle is not None
    assert predicted[0].mask_rle.size == (sample.height, sample.width)


def test_an_image_is_encoded_once_and_a_box_decoded_once(make: Made, photograph: SampleOf) -> None:
    specialist = make(boxes_at_once=2)
    boxes = [(9 * n, 5.0, 200.0 + n, 150.0) for n in range(5)]
    sample = photograph("cat", *(box(*corners) for corners in [*boxes, boxes[2], boxes[0]]))
    encoded: list[int] = []
    decoded: list[int] = []
    specialist.network.model.vision_encoder.register_forward_hook(lambda *_: encoded.append(1))
    specialist.network.model.prompt_encoder.register_forward_hook(
        lambda _, __, predicted: decoded.append(len(predicted[0]))
    )
    (predicted,) = specialist.predict([sample])
    assert (len(encoded), decoded) == (1, [2, 2, 1])
    assert (predicted[5].mask_rle, predicted[6].mask_rle) == (
        predicted[2].mask_rle,
        predicted[0].mask_rle,
    )
    assert [one.parent_id for one in predicted] == [one.id for one in sample.annotations]


def test_a_mask_does_not_depend_on_its_neighbours(
    make: Made, sam: SegmentAnything, cat: Sample, photograph: SampleOf
) -> None:
    other = with_boxes(photograph("rocket"), 5)
    together = sam.predict([other, cat, other])
    assert_alike(together[1], sam.predict([cat])[0])
    assert_alike(together[2], sam.predict([other])[0])
    assert_alike(together[1], make(boxes_at_once=1).predict([cat])[0])


def test_large_images_are_enlarged_mask_by_mask(
    sam: SegmentAnything, cat: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = sam.predict([cat])
    monkeypatch.setattr("florilegium.specialists.segmentation.segment_anything._PIXELS_AT_ONCE", 1)
    assert sam.predict([cat]) == at_once


def test_a_predicted_overlap_above_one_is_one(make: Made, cat: Sample) -> None:
    specialist = make()
    head = specialist.network.model.mask_decoder.iou_prediction_head
    torch.nn.init.constant_(head.proj_out.bias, 3.0)
    assert {one.score for one in specialist.predict([cat])[0]} == {1.0}


def test_a_network_that_computes_no_numbers_is_told(make: Made, cat: Sample) -> None:
    specialist = make()
    token = specialist.network.model.mask_decoder.mask_tokens
    torch.nn.init.constant_(token.weight, float("nan"))
    with pytest.raises(SampleError) as error:
        specialist.predict([cat])
    assert error.value.reason == NOT_A_NUMBER


def test_an_empty_mask_is_not_said(make: Made, cat: Sample) -> None:
    specialist = make()
    for network in specialist.network.model.mask_decoder.output_hypernetworks_mlps:
        torch.nn.init.zeros_(network.proj_out.weight)
        torch.nn.init.zeros_(network.proj_out.bias)
    assert specialist.predict([cat]) == [[]]


def test_boxes_are_clipped_and_those_outside_are_no_prompts(
    sam: SegmentAnything, photograph: SampleOf
) -> None:
    width, height = (photograph("cat").width, photograph("cat").height)
    sample = photograph(
        "cat",
        box(-40, -9, 100, 90),
        box(0, 0, 100, 90),
        box(width, 0, width + 50, 90),
        box(20, 30, 20, 90),
        Annotation(kind="region", task="object_detection", mask_rle=MaskRLE((height, width), "x")),
    )
    (predicted,) = sam.predict([sample])
    assert [one.parent_id for one in predicted] == [one.id for one in sample.annotations[:2]]
    assert predicted[0].mask_rle == predicted[1].mask_rle


def test_a_crowd_of_boxes_is_cut_out_to_the_last_one(
    sam: SegmentAnything, drawing: SampleOf
) -> None:
    boxes = [box(0, 0, 20 + number % 20, 20 + number // 20) for number in range(300)]
    (predicted,) = sam.predict([drawing(np.full((48, 48, 3), 90, np.uint8), *boxes)])
    assert len(predicted) > 256


def test_images_without_boxes_are_not_looked_at(sam: SegmentAnything, cat: Sample) -> None:
    broken = Sample(key="broken", width=5, height=5, picture=Picture(b"not an image"))
    proposal = replace(broken, annotations=(box(0, 0, 4, 4, task="region_proposal"),))
    predicted = sam.predict([broken, cat, proposal])
    assert (predicted[0], predicted[2]) == ([], [])
    assert predicted[1]


def test_one_pixel_and_one_tone_are_images_and_a_hair_is_told(
    sam: SegmentAnything, awkward: list[Sample]
) -> None:
    pixel, row, column, grey = map(with_boxes, awkward)
    for sample, predicted in zip((pixel, grey), sam.predict([pixel, grey]), strict=True):
        assert all(one.mask_rle.size == (sample.height, sample.width) for one in predicted)
    for hair in (row, column):
        with pytest.raises(SampleError) as error:
            sam.predict([hair])
        assert error.value.reason == TOO_THIN


def test_it_reads_and_says_what_its_tasks_ask_for() -> None:
    specialist = SegmentAnything(
        SegmentAnythingConfig(tasks=("region_proposal", "object_detection", "region_proposal"))
    )
    assert specialist.reads == (one_of("region_proposal", "object_detection"),)
    assert specialist.produces == ("segmentation",)


def test_of_the_boxes_of_one_place_the_one_with_a_name_gets_the_mask() -> None:
    tasks = ("region_proposal", "object_detection", "phrase_grounding")
    specialist = SegmentAnything(SegmentAnythingConfig(tasks=tasks))
    named, phrase = box(0, 0, 9, 9, id="named"), box(0, 0, 9, 9, id="phrase")
    phrase = replace(phrase, kind="phrase", task="phrase_grounding")
    proposals = [
        box(0, 0, 9, 9, task="region_proposal", label="", score=0.9, id="again"),
        box(20, 0, 30, 9, task="region_proposal", label="", score=0.8, id="other"),
    ]
    sample = Sample(
        key="s", width=40, height=40, picture=Picture(b""), annotations=(*proposals, named, phrase)
    )
    chosen = [one.id for one in specialist.chosen(sample)]
    assert sorted(chosen) == ["named", "other", "phrase"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # within torch
def test_of_a_compiled_network_the_part_that_looks_is_compiled(make: Made) -> None:
    model = make(compile=True).network.model
    assert model.vision_encoder._compiled_call_impl is not None
    assert model._compiled_call_impl is None


def test_random_weights_are_told(folders: dict[str, Path], cat: Sample) -> None:
    config = SegmentAnythingConfig(model=str(folders["sam"]), weights="random")
    specialist = SegmentAnything(config)
    specialist.load()
    specialist.predict([cat])
    assert specialist.caveat() == RANDOM_WEIGHTS


def test_another_image_size_is_refused() -> None:
    with pytest.raises(ValidationError, match="images of one size only"):
        SegmentAnythingConfig(image_size=512)


def test_another_kind_of_model_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(ConfigError, match=r"'detr'; a Segment Anything model is needed .*sam_hq"):
        SegmentAnything(SegmentAnythingConfig(model=str(tmp_path))).revision()


def test_a_sam_2_without_torchvision_names_the_package(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "sam2"}')
    with pytest.raises(MissingPackage, match=r"florilegium\[torchvision\]"):
        SegmentAnything(SegmentAnythingConfig(model=str(tmp_path))).revision()
