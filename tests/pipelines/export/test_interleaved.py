"""Pages go out as they came in: their texts and images in order, with our annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.errors import ConfigError, UsageError
from florilegium.engine.planning.config import validated
from florilegium.pipelines.export.exporter import export
from florilegium.pipelines.export.interleaved import (
    InterleavedConfig,
    InterleavedExported,
    InterleavedExporter,
)
from tests.building import BRIGHTEST, DESCRIBED, build
from tests.pipelines.export.tars import samples_in

PAGE = """# Birds

![a finch](0.jpg) eats <|endofchunk|>.

![](1.jpg)

![](broken.jpg) and

![an owl](2.jpg) sleeps.
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for number in range(3):
        pixels = np.full((30, 40, 3), 60 + 60 * number, np.uint8)
        pixels[:9, :9] = 255
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "birds.md").write_text(PAGE)
    (folder / "one.html").write_text("<p>One</p><img src=1.jpg alt=it>")
    output = tmp_path_factory.mktemp("dataset") / "out"
    manifest = build([{"url": str(folder), "kind": "pages"}], output, specialists=DESCRIBED)
    assert (manifest.totals.samples, manifest.totals.dead_letters) == (4, 1)
    return output


def write(dataset: Path, output: Path, **options: Any) -> InterleavedExported:
    config = validated(InterleavedConfig, options, where="test")
    return export(str(dataset), InterleavedExporter(config), output)


def pages(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        row["__key__"]: {**json.loads(row["json"]), "files": sorted(row)}
        for row in samples_in(folder)
    }


def test_texts_and_images_keep_their_order(dataset: Path, tmp_path: Path) -> None:
    exported = write(dataset, tmp_path / "out")
    found = pages(tmp_path / "out")
    birds = found["birds_md"]
    assert birds["text"] == (
        "Birds<|endofchunk|>"
        "<image>eats < |endofchunk|>.<|endofchunk|>"
        "<image>and<|endofchunk|>"  # of the image that cannot be read only the text is left
        "<image>sleeps.<|endofchunk|>"
    )
    assert [one["position"] for one in birds["images"]] == [0, 1, 3]
    assert [one["alt"] for one in birds["images"]] == ["a finch", "", "an owl"]
    assert [name for name in birds["files"] if name.endswith("jpg")] == ["0.jpg", "1.jpg", "2.jpg"]
    (caption,) = [one for one in birds["images"][0]["annotations"] if one["task"] == "caption"]
    assert caption["text"] == "A picture with a bright corner."
    assert found["one_html"]["text"] == "One<|endofchunk|><image><|endofchunk|>"
    assert (exported.pages, exported.samples, exported.images) == (2, 2, 4)
    assert list(exported.warnings()) == ["pages of which images are missing: 1"]


def test_a_long_page_becomes_several_samples_and_loses_no_text(
    dataset: Path, tmp_path: Path
) -> None:
    exported = write(dataset, tmp_path / "out", max_images=2)
    found = pages(tmp_path / "out")
    assert exported.samples == 3
    whole = write(dataset, tmp_path / "whole")
    assert whole.samples == 2
    one = pages(tmp_path / "whole")["birds_md"]["text"]
    assert found["birds_md"]["text"] + found["birds_md_2"]["text"] == one


def test_an_image_can_be_described(dataset: Path, tmp_path: Path) -> None:
    write(dataset, tmp_path / "out", describe=["alt", "caption"])
    first, second = pages(tmp_path / "out")["birds_md"]["text"].split("<image>")[1:3]
    assert first.startswith("a finch\neats")
    assert second.startswith("A picture with a bright corner.\nand")
    with pytest.raises(ConfigError, match="'ocr' describes no image"):
        write(dataset, tmp_path / "other", describe=["ocr"])


def test_a_dataset_without_pages_is_an_error(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path / "dataset", specialists=BRIGHTEST)
    with pytest.raises(UsageError, match="comes from a page"):
        write(tmp_path / "dataset", tmp_path / "out")
