"""A finished dataset, read back with the readers that people use."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from PIL import Image

from florilegium.engine.core.annotation import ANNOTATION_NAMES
from florilegium.engine.core.image.reading import decode
from tests.end_to_end.conftest import Command

pytestmark = pytest.mark.filterwarnings(
    # webdataset and the streaming of datasets leave files to the garbage collector
    "ignore:unclosed file",
    "ignore:Exception ignored in",
)
Samples = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def samples(quickstart: Path) -> Samples:
    """The json of every sample by key, read with the standard library."""
    found: Samples = {}
    for path in sorted((quickstart / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    sample = json.load(tar.extractfile(member))  # type: ignore[arg-type]
                    found[sample["key"]] = sample
    return found


def test_the_dataset_has_everything_that_a_reader_may_stumble_over(samples: Samples) -> None:
    """Otherwise the tests below would prove less than they say."""
    annotations = [one for sample in samples.values() for one in sample["annotations"]]
    assert len(samples) == 6
    assert {one["kind"] for one in annotations} == {"text", "region", "phrase"}
    assert {one["score"] is None for one in annotations} == {True, False}
    for name in ("box_xyxy", "quad", "mask_rle"):
        assert {bool(one[name]) for one in annotations} == {True, False}, name
    first = next(iter(samples.values()))
    assert not any(one["mask_rle"] or one["quad"] for one in first["annotations"])
    assert {sample["orientation"] for sample in samples.values()} == {1, 6}


def read_with_webdataset(folder: Path, decode: str = "") -> list[dict[str, Any]]:
    import webdataset as wds

    urls = sorted(map(str, (folder / "shards").glob("*.tar")))
    reader = wds.WebDataset(urls, shardshuffle=False)
    samples = list(reader.decode(decode) if decode else reader)
    del reader
    gc.collect()
    return samples


def test_webdataset_reads_every_sample_with_its_image(
    quickstart: Path, samples: Samples, holiday: Path
) -> None:
    read = read_with_webdataset(quickstart, "pil")
    assert [one["__key__"] for one in read] == list(samples)
    for one in read:
        sample = samples[one["__key__"]]
        assert one["json"] == sample
        assert set(one) - {"__key__", "__url__", "__local_path__"} == {"jpg", "json", "txt"}
        assert one["jpg"].size == (sample["width"], sample["height"])
        captions = [one["text"] for one in sample["annotations"] if one["task"] == "caption"]
        assert one["txt"] == (captions or [""])[0]
        assert (holiday / sample["source"]).stem == one["__key__"]


def test_images_are_upright_and_those_that_were_keep_their_bytes(
    quickstart: Path, samples: Samples, holiday: Path
) -> None:
    kept = 0
    for one in read_with_webdataset(quickstart):
        sample = samples[one["__key__"]]
        source = (holiday / sample["source"]).read_bytes()
        assert hashlib.sha256(source).hexdigest() == sample["sha256"]
        assert hashlib.sha256(one["jpg"]).hexdigest() == sample["image_sha256"]
        with Image.open(io.BytesIO(one["jpg"])) as image:
            assert image.getexif().get(0x0112, 1) == 1
            difference = np.asarray(image).astype(int) - decode(source)
        assert np.abs(difference).mean() < 3
        kept += one["jpg"] == source
    assert 0 < kept < len(samples)


def test_torch_trains_on_batches_of_images_and_boxes(quickstart: Path, samples: Samples) -> None:
    import torch
    import webdataset as wds

    def boxes(sample: dict[str, Any]) -> Any:
        found = [one["box_xyxy"] for one in sample["annotations"] if one["box_xyxy"]]
        return torch.tensor(found).reshape(-1, 4)

    urls = sorted(map(str, (quickstart / "shards").glob("*.tar")))
    pairs = wds.WebDataset(urls, shardshuffle=False).decode("torchrgb").to_tuple("jpg", "json")
    loader = torch.utils.data.DataLoader(pairs, batch_size=None)
    count = 0
    for image, sample in loader:
        count += 1
        height, width = image.shape[1:]
        limits = torch.tensor([width, height, width, height])
        assert (boxes(sample) <= limits).all()
        assert (width, height) == (sample["width"], sample["height"])
    assert count == len(samples)
    del loader, pairs
    gc.collect()


def test_datasets_loads_the_folder_first_time_with_every_field(
    quickstart: Path, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    dataset = datasets.load_dataset(str(quickstart), split="train", cache_dir=str(tmp_path))
    assert dataset.num_rows == len(samples)
    assert set(dataset.features) == {"jpg", "json", "txt", "__key__", "__url__"}
    assert isinstance(dataset.features["jpg"], datasets.Image)
    annotation = dataset.features["json"]["annotations"].feature
    assert list(annotation) == list(ANNOTATION_NAMES)
    assert annotation["box_xyxy"] == datasets.List(datasets.Value("float64"))
    assert annotation["span"] == datasets.List(datasets.Value("int32"))
    assert annotation["score"] == datasets.Value("float64")
    assert annotation["mask_rle"]["counts"] == datasets.Value("string")
    for row in dataset:
        sample = samples[row["__key__"]]
        assert row["json"] == sample
        assert row["jpg"].size == (sample["width"], sample["height"])


def test_datasets_streams_the_folder(
    quickstart: Path, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    stream = datasets.load_dataset(
        str(quickstart), split="train", streaming=True, cache_dir=str(tmp_path)
    )
    assert {row["__key__"]: row["json"] for row in stream} == samples
    del stream
    gc.collect()


def test_pycocotools_decodes_every_mask(samples: Samples) -> None:
    from pycocotools import mask as coco

    count = 0
    for sample in samples.values():
        for one in sample["annotations"]:
            if not one["mask_rle"]:
                continue
            count += 1
            pixels = coco.decode(one["mask_rle"])
            assert pixels.shape == (sample["height"], sample["width"])
            area = int(coco.area(one["mask_rle"]))
            assert 0 < area == pixels.sum() <= sample["width"] * sample["height"]
            left, top, width, height = coco.toBbox(one["mask_rle"])
            assert 0 <= left < left + width <= sample["width"]
            assert 0 <= top < top + height <= sample["height"]
    assert count > 0


def test_a_mask_lies_where_its_box_does(samples: Samples) -> None:
    from pycocotools import mask as coco

    for sample in samples.values():
        by_id = {one["id"]: one for one in sample["annotations"]}
        for one in by_id.values():
            if not one["mask_rle"]:
                continue
            x1, y1, x2, y2 = by_id[one["parent_id"]]["box_xyxy"]
            parent = coco.frPyObjects(
                [[x1, y1, x2, y1, x2, y2, x1, y2]], sample["height"], sample["width"]
            )
            shared = coco.area(coco.merge([one["mask_rle"], parent[0]], intersect=True))
            assert shared >= 0.5 * coco.area(one["mask_rle"])


def test_boxes_are_in_the_upright_frame(samples: Samples) -> None:
    turned = samples["turned_cup"]
    assert (turned["orientation"], turned["width"], turned["height"]) == (6, 400, 280)
    for sample in samples.values():
        for one in sample["annotations"]:
            if one["box_xyxy"]:
                x1, y1, x2, y2 = one["box_xyxy"]
                assert 0 <= x1 <= x2 <= sample["width"]
                assert 0 <= y1 <= y2 <= sample["height"]
    labels = {one["label"] for one in turned["annotations"]}
    assert labels & {"cup", "coffee cup", "drink", "container"}, labels


def test_a_phrase_is_the_span_of_its_caption(samples: Samples) -> None:
    count = 0
    for sample in samples.values():
        by_id = {one["id"]: one for one in sample["annotations"]}
        for one in by_id.values():
            if one["kind"] == "phrase":
                count += 1
                start, stop = one["span"]
                assert by_id[one["parent_id"]]["text"][start:stop] == one["text"]
    assert count > 0


def test_pyarrow_reads_all_annotations_with_their_verdicts(
    quickstart: Path, samples: Samples
) -> None:
    files = sorted(map(str, (quickstart / "shards").glob("*.parquet")))
    table = ds.dataset(files, format="parquet").to_table()
    kept = table.filter(pc.field("kept"))
    in_tars = [(key, one["id"]) for key, sample in samples.items() for one in sample["annotations"]]
    assert list(zip(kept["key"].to_pylist(), kept["id"].to_pylist(), strict=True)) == in_tars
    manifest = json.loads((quickstart / "manifest.json").read_bytes())
    totals = manifest["totals"]
    assert (kept.num_rows, table.num_rows - kept.num_rows) == (
        totals["annotations_kept"],
        totals["annotations_dropped"],
    )
    for row in table.to_pylist():
        reasons = [verdict["reason"] for verdict in row["verdicts"] if not verdict["keep"]]
        assert (reasons == []) == row["kept"]
        assert all(reasons)
        assert row["stage"] in manifest["stages"]
    filters = {verdict["filter"] for row in table.to_pylist() for verdict in row["verdicts"]}
    assert {"text_filter", "region_score", "nms", "blacklist"} <= filters | {"blacklist"}


def test_datasets_reads_the_parquet_too(
    quickstart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    files = sorted(map(str, (quickstart / "shards").glob("*.parquet")))
    dataset = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path)
    )
    assert {"key", *ANNOTATION_NAMES, "kept", "verdicts"} <= set(dataset.column_names)


def test_a_finished_dataset_passes_its_own_check(quickstart: Path, florilegium: Command) -> None:
    assert florilegium("verify", quickstart).code == 0
