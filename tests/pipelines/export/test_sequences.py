"""Sequences of a dataset: both directions, read back, and a small model learns from them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError, UsageError
from florilegium.engine.planning.config import validated
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.export.exporter import export
from florilegium.pipelines.export.sequences import (
    SequencesConfig,
    SequencesExported,
    SequencesExporter,
)
from florilegium.pipelines.sequences.patches import MaskPatches
from florilegium.pipelines.sequences.tokens import regions_in
from florilegium.testing.dataset import small_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn photographs with annotations of every task."""
    return small_dataset(tmp_path_factory.mktemp("dataset"))


def write(dataset: Path, output: Path, **options: Any) -> SequencesExported:
    config = validated(SequencesConfig, options, where="test")
    return export(str(dataset), SequencesExporter(config), output)


def lines_of(output: Path) -> list[dict[str, str]]:
    files = sorted(output.glob("*/sequences.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def test_all_tasks_go_both_ways(dataset: Path, tmp_path: Path) -> None:
    exported = write(dataset, tmp_path / "out", image_codec="image_patches")
    lines = lines_of(tmp_path / "out")
    assert len(lines) == sum(exported.lines.values())
    by_task = {(one["task"], one["direction"]): one for one in lines}
    tasks = ("caption", "object_detection", "segmentation", "phrase_grounding", "ocr",
             "dense_region_caption")  # fmt: skip
    for task in tasks:
        assert {(task, "forward"), (task, "reverse")} <= by_task.keys()
    drawn = by_task["caption", "reverse"]
    assert drawn["input"].startswith("Which image has this caption? ")
    assert re.fullmatch(r"<image>(<code_\d+>){256}</image>", drawn["target"])
    known = set(json.loads((tmp_path / "out" / "tokens.json").read_text()))
    for one in lines:
        assert (tmp_path / "out" / "train" / one["image"]).exists() or exported.images["train"] < 4
        assert set(re.findall("<[^>]*>", one["input"] + one["target"])) <= known


def test_detections_and_masks_are_read_back(dataset: Path, tmp_path: Path) -> None:
    from pycocotools import mask as coco_mask

    write(dataset, tmp_path / "out", tasks=["object_detection", "segmentation"])
    samples = {one.key: one for one in open_dataset(str(dataset))}
    codec = MaskPatches()
    seen = 0
    for one in lines_of(tmp_path / "out"):
        if one["direction"] != "forward":
            continue
        sample = samples[one["image"].partition(".")[0]]
        size_wh = (sample.width, sample.height)
        given = [each for each in sample.annotations if each.task == one["task"]]
        regions = list(regions_in(one["target"], size_wh, [codec]))
        seen += len(regions)
        if one["task"] == "object_detection":
            assert [region.words for region in regions] == [each.label for each in given]
            for region, each in zip(regions, given, strict=True):
                for place, (found, was) in enumerate(
                    zip(region.coordinates, each.box_xyxy, strict=True)
                ):
                    assert abs(found - was) <= size_wh[place % 2] / 2000 + 1e-9
        else:
            (region,) = regions
            assert region.mask_rle is not None
            masks = [each.mask_rle._asdict() for each in given if each.mask_rle]
            overlaps = coco_mask.iou([region.mask_rle._asdict()], masks, [False] * len(masks))
            assert overlaps.max() > 0.9
    assert seen > 8


def test_masks_can_be_polygons(dataset: Path, tmp_path: Path) -> None:
    write(dataset, tmp_path / "out", tasks=["segmentation"], mask_codec="", corners=12)
    forward = [one for one in lines_of(tmp_path / "out") if one["direction"] == "forward"]
    assert forward
    assert all(re.fullmatch(r"(<poly>(<bin_\d+>){6,24}</poly>)+", one["target"]) for one in forward)


def test_a_small_sequence_model_learns_from_it(dataset: Path, tmp_path: Path) -> None:
    """A T5 of some thousand weights reads the file with the tokens, and its loss falls."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    write(dataset, tmp_path / "out", tasks=["object_detection"])
    lines = [one for one in lines_of(tmp_path / "out") if one["direction"] == "reverse"][:8]
    pieces = [re.findall(r"<[^>]*>|\S+", f"{one['input']} | {one['target']}") for one in lines]
    numbers = {piece: n for n, piece in enumerate(sorted({p for one in pieces for p in one}), 2)}
    inputs = [[numbers[p] for p in one[: one.index("|")]] for one in pieces]
    targets = [[numbers[p] for p in one[one.index("|") + 1 :]] + [1] for one in pieces]

    def padded(rows: list[list[int]], value: int) -> torch.Tensor:
        longest = max(map(len, rows))
        return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=len(numbers) + 2, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
            decoder_start_token_id=0, dropout_rate=0.0,
        )  # fmt: skip
        model = T5ForConditionalGeneration(config)
        assert sum(weight.numel() for weight in model.parameters()) < 20_000
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        losses = []
        for _ in range(60):
            loss = model(input_ids=padded(inputs, 0), labels=padded(targets, -100)).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_wrong_options_are_named(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="encodes images, not masks"):
        write(dataset, tmp_path / "out", mask_codec="image_patches")
    with pytest.raises(ConfigError, match="no sequence is of 'region_proposal'"):
        write(dataset, tmp_path / "out", tasks=["region_proposal"])
    with pytest.raises(ConfigError, match="codec"):
        write(dataset, tmp_path / "out", image_codec="none")
    assert not (tmp_path / "out").exists()
