from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from florilegium.specialists.pretrained.batches import stacked
from florilegium.specialists.pretrained.by_table import by_table

SQUARE = {"height": 96, "width": 96}
BY_TABLE = {
    "CLIPImageProcessorPil": {"size": SQUARE, "do_center_crop": False, "resample": 3},
    "SiglipImageProcessorPil": {"size": SQUARE},
    "ViTImageProcessorPil": {"size": {"height": 32, "width": 32}},
    "DetrImageProcessorPil": {"size": {"shortest_edge": 48, "longest_edge": 96}},
    "RTDetrImageProcessorPil": {"size": {"height": 64, "width": 64}},
    "GroundingDinoImageProcessorPil": {"size": {"shortest_edge": 60, "longest_edge": 90}},
}
OTHERS = {
    "SamImageProcessorPil": {"size": {"longest_edge": 96}, "pad_size": SQUARE},
    "Owlv2ImageProcessorPil": {"size": SQUARE},
}
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def processor(name: str, options: dict[str, Any]) -> Any:
    return getattr(transformers, name)(**options)


def shown(photographs: dict[str, Path]) -> list[np.ndarray]:
    found = []
    for name in ("cat", "rocket", "page"):
        with Image.open(photographs[name]) as photograph:
            found.append(np.asarray(photograph.convert("RGB").resize((211, 140))))
    return [*found, np.ascontiguousarray(found[0].transpose(1, 0, 2)), found[1][:3]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), BY_TABLE.items())
def test_all_bits_are_those_of_the_processor(
    name: str, options: dict[str, Any], dtype: torch.dtype, photographs: dict[str, Path]
) -> None:
    usual = processor(name, options)
    plain, table = by_table(usual, dtype)
    assert table
    assert usual.do_rescale, "the processor itself stays as it is"
    for pixels in shown(photographs):
        if name.startswith(("Detr", "Grounding")) and len(pixels) == 3:
            continue  # a strip that they cannot resize
        wanted, features = (
            one(images=Image.fromarray(pixels), return_tensors="pt") for one in (usual, plain)
        )
        assert [*features] == [*wanted]
        assert features["pixel_values"].dtype == torch.uint8
        again = [{"pixel_values": image} for image in features["pixel_values"]] * 2
        batch = stacked(again, dtype, table=table)["pixel_values"]
        for found in batch:
            assert torch.equal(found, wanted["pixel_values"][0].to(dtype))
        assert batch.is_contiguous()
        assert batch.data_ptr() % 64 == 0
        del features["pixel_values"]
        assert all(torch.equal(features[key], wanted[key]) for key in features)


def test_arrays_are_looked_up_as_well(photographs: dict[str, Path]) -> None:
    usual = processor("CLIPImageProcessorPil", BY_TABLE["CLIPImageProcessorPil"])
    plain, table = by_table(usual, torch.float32)
    for pixels in shown(photographs):
        features, wanted = (
            one(pixels, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
            for one in (plain, usual)
        )
        inputs = [{"pixel_values": features[0]}]
        assert torch.equal(stacked(inputs, torch.float32, table=table)["pixel_values"], wanted)


@pytest.mark.parametrize(("name", "options"), OTHERS.items())
def test_a_processor_that_does_more_is_used_as_it_is(name: str, options: dict[str, Any]) -> None:
    usual = processor(name, options)
    assert by_table(usual, torch.bfloat16) == (usual, None)


def test_what_takes_no_images_is_used_as_it_is() -> None:
    class Odd:
        def __call__(self, images: Any, **options: Any) -> Any:
            raise ValueError("no images today")

    odd = Odd()
    assert by_table(odd, torch.float32) == (odd, None)
