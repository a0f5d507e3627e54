"""Scores of linear heads and of words, and images that look alike, by a tiny image-text model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Sample
from florilegium.pipelines.sample_filters.image_head import ImageHead, ImageHeadConfig, read_head
from florilegium.pipelines.sample_filters.image_prompts import ImagePrompts
from florilegium.testing import photo, sample, sample_reasons
from tests.building import build
from tests.checkpoints.image_text import write_clip

WIDTH = 12
ONE = sample(photo(48, 48, seed=2), key="one")
OTHER = sample(255 - photo(48, 48, seed=1), key="other")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_clip(tmp_path_factory.mktemp("clip")))


def head(folder: Path, **tensors: np.ndarray) -> str:
    path = folder / "head.safetensors"
    save_file({name.replace("__", "."): one for name, one in tensors.items()}, path)
    return str(path)


def score(clip: str, path: str, one: Sample) -> float:
    stage = ImageHead(ImageHeadConfig(model=clip, head=path))
    stage.load()
    (found,) = stage.measure([one])
    return float(found["score"])


def test_the_score_is_that_of_the_linear_layer(clip: str, tmp_path: Path) -> None:
    weight = np.arange(WIDTH, dtype=np.float32)[None]
    path = head(tmp_path, weight=weight, bias=np.array([2], np.float32))
    stage = ImageHead(ImageHeadConfig(model=clip, head=path))
    stage.load()
    (embedding,) = stage._image_text.look([ONE.picture])
    (found,) = stage.measure([ONE])
    assert found["score"] == pytest.approx(float(weight[0] @ embedding) + 2, abs=1e-4)
    limits = {"model": clip, "head": path, "least_score": found["score"] + 0.01}
    assert sample_reasons(ImageHead, ONE, options=limits) == ["low_score"]
    limits = {"model": clip, "head": path, "most_score": found["score"] - 0.01}
    assert sample_reasons(ImageHead, ONE, options=limits) == ["high_score"]


def test_a_head_of_several_layers_is_their_product(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(4, WIDTH)), random.normal(size=(1, 4))
    offset = random.normal(size=4)
    path = head(
        tmp_path,
        layers__0__weight=first,
        layers__0__bias=offset,
        layers__2__weight=second,
        layers__2__bias=np.array([0.5]),
    )
    weight, bias = read_head(path)
    np.testing.assert_allclose(weight, (second @ first)[0])
    assert bias == pytest.approx(float((second @ offset)[0]) + 0.5)


def test_another_head_is_another_stage_and_a_wrong_one_is_refused(
    clip: str, tmp_path: Path
) -> None:
    config = ImageHeadConfig(model=clip, head=head(tmp_path, weight=np.ones((1, WIDTH))))
    before = ImageHead(config).revision()
    head(tmp_path, weight=np.zeros((1, WIDTH)))
    assert ImageHead(config).revision() != before
    head(tmp_path, weight=np.zeros((1, WIDTH + 1)))
    with pytest.raises(ConfigError, match="wants embeddings of 13 numbers, the model gives 12"):
        ImageHead(config).load()
    for tensors, told in (
        ({"weight": np.zeros((2, WIDTH))}, "2 outputs"),
        ({"mask": np.zeros((1, WIDTH))}, "no weight or bias"),
        ({"bias": np.zeros(1)}, "do not fit"),
    ):
        with pytest.raises(ConfigError, match=told):
            read_head(head(tmp_path, **tensors))
    (tmp_path / "head.pth").write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(ConfigError, match=r"convert a \.pth"):
        read_head(str(tmp_path / "head.pth"))


def test_an_image_nearer_to_unwanted_words_is_dropped(clip: str) -> None:
    stage = ImagePrompts(ImagePrompts.Config(model=clip, unwanted=["a"], wanted=["b"]))
    stage.load()
    (found,) = stage.measure([ONE])
    swapped = ImagePrompts(ImagePrompts.Config(model=clip, unwanted=["b"], wanted=["a"]))
    swapped.load()
    (other,) = swapped.measure([ONE])
    assert float(found["unwanted"]) + float(other["unwanted"]) == pytest.approx(1, abs=1e-4)
    assert found != other
    words = {"unwanted": ["a"], "wanted": ["b"]}
    limit = {"model": clip, **words, "most_unwanted": float(found["unwanted"]) - 0.001}
    assert sample_reasons(ImagePrompts, ONE, options=limit) == ["unwanted"]
    kept = {**limit, "most_unwanted": float(found["unwanted"]) + 0.001}
    assert sample_reasons(ImagePrompts, ONE, options=kept) == [""]


def test_a_build_drops_images_that_look_like_one_of_an_earlier_shard(
    clip: str, tmp_path: Path
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    shown = Image.fromarray(photo(48, 48, seed=2))
    shown.save(album / "a.png")
    shown.save(album / "b.bmp")  # the same pixels in other bytes
    Image.fromarray(255 - photo(48, 48, seed=1)).save(album / "c.png")
    alike = {"alike": {"use": "similar_images", "model": clip, "least_cosine": 1.0}}
    options = {"sample_filters": alike, "shard_size": 1}
    manifest = build(album, tmp_path / "out", **options)
    (letter,) = [letter for _, letter in manifest.dead_letters]
    assert (letter.key, letter.reason) == ("b", "similar_image")
    assert "copy_of 'a'" in letter.message
    assert build(album, tmp_path / "out", **options).digest == manifest.digest
