from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.errors import ConfigError, MissingPackage, SampleError
from florilegium.engine.core.sample import Sample
from florilegium.specialists.pretrained.checkpoint import resolve
from florilegium.specialists.pretrained.network import Network, preprocess
from florilegium.specialists.pretrained.views import Given
from florilegium.specialists.similarity.image_text import (
    FAMILY,
    CropConfig,
    ImageText,
    ImageTextConfig,
    crop,
    sentences,
)
from tests.checkpoints.image_text import write_clip, write_metaclip2, write_naflex, write_siglip

FAMILIES = {
    "clip": write_clip,
    "metaclip_2": write_metaclip2,
    "siglip": write_siglip,
    "siglip2": write_naflex,
}
NAMES = ("a cat", "a cup of coffee", "astronaut", "p.")
LONG = (
    "A woman in an orange suit smiles. Behind her is a flag! "
    "Is that a model of a space shuttle over there?"
)
"""Longer than 77 letters and ends, each sentence shorter than 64."""

Loaded = Callable[..., ImageText]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in FAMILIES.items()}


@pytest.fixture(scope="module")
def loaded(checkpoints: dict[str, Path]) -> Loaded:
    def load(family: str, **options: Any) -> ImageText:
        config = ImageTextConfig(model=str(checkpoints[family]), **options)
        return ImageText(Network(resolve(config.model, FAMILY), config), config)

    return load


def logits(folder: Path, image: np.ndarray, texts: list[str]) -> np.ndarray:
    """What the model says of an image and texts, as its model card asks it."""
    import torch
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    is_siglip = "siglip" in model.config.model_type
    padding = {"padding": "max_length", "max_length": 64} if is_siglip else {"padding": True}
    # Both halves on their own: that of SigLIP 2 as a whole knows patches of 16 pixels only.
    inputs = {
        **processor.image_processor(Image.fromarray(image), return_tensors="pt"),
        **processor.tokenizer(texts, return_tensors="pt", truncation=True, **padding),
    }
    with torch.inference_mode():
        return model(**inputs).logits_per_image[0].numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_chances_are_those_of_the_zero_shot_pipeline(
    family: str, loaded: Loaded, checkpoints: dict[str, Path], odd_images: list[Sample]
) -> None:
    from transformers import pipeline

    model = loaded(family)
    pipe = pipeline("zero-shot-image-classification", model=str(checkpoints[family]), device="cpu")
    read = np.concatenate(
        list(model.read(f"This is a photo of {name}." for name in NAMES).values())
    )
    images = [sample.image for sample in odd_images]
    for image, seen in zip(images, model.look([*map(Given, images)]), strict=True):
        wanted = pipe(Image.fromarray(image), candidate_labels=list(NAMES))
        scores = {one["label"]: one["score"] for one in wanted}
        found = model.probabilities(seen, read)
        np.testing.assert_allclose(found, [scores[name] for name in NAMES], atol=1e-5)
        assert np.ptp(found) > 0.01, "they do not tell anything apart"


@pytest.mark.parametrize("family", FAMILIES)
def test_similarity_is_what_the_model_says(
    family: str, loaded: Loaded, checkpoints: dict[str, Path], odd_images: list[Sample]
) -> None:
    """The probability that an image and a text belong together, or their cosine."""
    model = loaded(family)
    image = odd_images[0].image
    predicted = logits(checkpoints[family], image, list(NAMES))
    wanted = (
        1 / (1 + np.exp(-predicted)) if "siglip" in family else (predicted / np.exp(2.0)).clip(0, 1)
    )
    (seen,), read = model.look([Given(image)]), model.read(NAMES)
    found = [model.similarity(seen, read[name]) for name in NAMES]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_seen_and_read_does_not_depend_on_the_neighbours(
    family: str, loaded: Loaded, odd_images: list[Sample]
) -> None:
    model = loaded(family, batch_size=2)
    images = [sample.image for sample in odd_images] * 2
    alone = [model.look([Given(image)])[0] for image in images]
    np.testing.assert_allclose(model.look([*map(Given, images)]), alone, atol=1e-6)
    together = model.read([*NAMES, LONG])
    for text, vectors in together.items():
        np.testing.assert_allclose(vectors, model.read([text])[text], atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_says_nearly_the_same(
    family: str, loaded: Loaded, odd_images: list[Sample]
) -> None:
    image = odd_images[-1].image
    predicted = []
    for dtype in ("float32", "bfloat16"):
        model = loaded(family, dtype=dtype)
        (seen,), read = model.look([Given(image)]), model.read(NAMES)
        predicted.append([model.similarity(seen, read[name]) for name in NAMES])
    assert predicted[0] != predicted[1]
    np.testing.assert_allclose(predicted[1], predicted[0], atol=0.05)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_half_precision_does_not_round_the_scale_of_scores(
    family: str, tmp_path: Path, odd_images: list[Sample]
) -> None:
    """A scale and bias as trained models have them, which bfloat16 does not."""
    from safetensors.torch import load_file, save_file

    folder = FAMILIES[family](tmp_path)
    weights = load_file(folder / "model.safetensors")
    for name, value in (("logit_scale", 4.7654), ("logit_bias", -12.932)):
        if name in weights:
            weights[name].fill_(value)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    exact, half = (
        ImageText(Network(resolve(config.model, FAMILY), config), config)
        for config in (ImageTextConfig(model=str(folder), dtype=d) for d in ("float32", "bfloat16"))
    )
    (seen,), read = exact.look([odd_images[0].picture]), exact.read(NAMES)
    for text in NAMES:
        assert half.similarity(seen, read[text]) == exact.similarity(seen, read[text])
    together = np.concatenate(list(read.values()))
    np.testing.assert_array_equal(
        half.probabilities(seen, together), exact.probabilities(seen, together)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_images_of_any_shape_are_seen(family: str, loaded: Loaded, awkward: list[Sample]) -> None:
    """A strip of 3 by 20,000 pixels must not become one of 24 by 160,000."""
    seen = loaded(family).look([sample.picture for sample in awkward])
    assert len(seen) == len(awkward)
    assert np.isfinite(seen).all()


def test_of_a_long_strip_the_middle_is_seen(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resized whole before its middle is cut out, it would fill the memory."""
    shapes = []

    def seen_by(image_processor: Any, pixels: np.ndarray) -> dict[str, Any]:
        shapes.append(pixels.shape)
        return preprocess(image_processor, pixels)

    monkeypatch.setattr("florilegium.specialists.similarity.image_text.preprocess", seen_by)
    strip = np.zeros((4, 400, 3), np.uint8)
    strip[:, 190:210] = 255
    (whole,), (middle,) = (loaded("clip").look([Given(one)]) for one in (strip, strip[:, 170:230]))
    np.testing.assert_allclose(whole, middle, atol=1e-5)
    loaded("siglip").look([Given(strip)])
    assert shapes == [(4, 64, 3), (4, 60, 3), (4, 400, 3)]


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_text_that_is_too_long_is_the_mean_of_its_sentences(
    family: str, loaded: Loaded, odd_images: list[Sample]
) -> None:
    model = loaded(family)
    (seen,) = model.look([odd_images[0].picture])
    parts = sentences(LONG)
    read = model.read([LONG, *parts])
    scores = [model.similarity(seen, read[part]) for part in parts]
    assert len(set(scores)) == 3
    assert model.similarity(seen, read[LONG]) == pytest.approx(np.mean(scores), abs=1e-6)
    assert len(read[LONG]) == 3


def test_a_text_that_just_fits_is_read_at_once(loaded: Loaded) -> None:
    fits = "Dots. " * 12 + "abc"  # 60 letters without white space, 75 in all with both ends
    read = loaded("clip").read([fits])[fits]
    assert len(read) == 1
    assert len(loaded("siglip").read([fits])[fits]) == 13


def test_of_a_sentence_that_is_too_long_the_beginning_is_read(loaded: Loaded) -> None:
    model = loaded("siglip")
    letters = "a" * 64
    read = model.read([letters + "b" * 100, letters + "c" * 100])
    one, other = read.values()
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("A cup. It is red! Is it? Yes", ["A cup.", "It is red!", "Is it?", "Yes"]),
        ('A sign says "Stop." It is 3.5 m high.', ['A sign says "Stop."', "It is 3.5 m high."]),
        (" one ", ["one"]),
        ("", [""]),
    ],
)
def test_texts_are_cut_at_the_ends_of_sentences(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts


def test_threads_read_at_once(loaded: Loaded) -> None:
    """As two calls of one stage do; a tokenizer has settings that both would change."""
    model = loaded("siglip")
    texts = [f"{LONG} {number}" for number in range(150)]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            together = list(threads.map(model.read, [texts] * 8))
    finally:
        sys.setswitchinterval(usual)
    assert {len(vectors) for read in together for vectors in read.values()} == {4}


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_images_can_be_seen_in_another_size(
    family: str, loaded: Loaded, odd_images: list[Sample]
) -> None:
    """All of the square that is cut out: a larger side is finer, not nearer."""
    image = odd_images[0].image
    large, usual = loaded(family, image_size=48), loaded(family)
    fine, coarse = (
        model._preprocess(Given(image))["pixel_values"].numpy() for model in (large, usual)
    )
    shrunk = fine.reshape(3, 24, 2, 24, 2).mean(axis=(2, 4))
    assert np.corrcoef(shrunk.ravel(), coarse.ravel())[0, 1] > 0.97
    assert len(large.look([Given(image)])) == 1


def test_a_size_that_the_model_cannot_take_is_refused(loaded: Loaded) -> None:
    with pytest.raises(ConfigError, match="leave `image_size` out"):
        loaded("siglip2", image_size=48)
    model = loaded("clip")
    model._network.model.get_image_features = _failing
    with pytest.raises(ConfigError, match="cannot take images of 48 px: no"):
        model._try("a/model", 48)


def _failing(**_: object) -> None:
    raise RuntimeError("no")


def test_random_weights_can_be_timed(
    checkpoints: dict[str, Path], odd_images: list[Sample]
) -> None:
    config = ImageTextConfig(model=str(checkpoints["siglip"]), weights="random")
    network = Network(resolve(config.model, FAMILY, is_random=True), config)
    assert len(ImageText(network, config).look([odd_images[0].picture])) == 1


@pytest.mark.parametrize("model_type", ["bert", "siglip_vision_model", None])
def test_a_model_of_another_kind_is_refused(model_type: str | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ConfigError, match="an image-text model of the CLIP or SigLIP kind is need"):
        resolve(str(tmp_path), FAMILY)


def test_a_tokenizer_that_needs_sentencepiece_says_so_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_siglip(tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config | {"tokenizer_class": "SiglipTokenizer"})
    )
    monkeypatch.setattr("florilegium.specialists.pretrained.checkpoint.find_spec", lambda _: None)
    with pytest.raises(MissingPackage, match="pip install sentencepiece"):
        resolve(str(folder), FAMILY)
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        resolve(str(folder), FAMILY)


def test_a_model_that_computes_nan_is_an_error(loaded: Loaded, odd_images: list[Sample]) -> None:
    model = loaded("clip")
    model._model.visual_projection.weight.data.fill_(float("nan"))
    with pytest.raises(SampleError, match="NaN"):
        model.look([odd_images[0].picture])


def test_a_siglip_with_a_sentencepiece_tokenizer_is_read(
    tmp_path: Path, odd_images: list[Sample]
) -> None:
    """As those before SigLIP 2 have it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    from transformers import SiglipTokenizer

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([LONG.lower(), *NAMES] * 10),
        model_prefix=str(tmp_path / "spiece"),
        vocab_size=30,
        minloglevel=2,
        bos_id=-1,
        pad_id=-1,
    )
    folder = write_siglip(
        tmp_path / "model", tokenizer=SiglipTokenizer(str(tmp_path / "spiece.model"))
    )
    config = ImageTextConfig(model=str(folder))
    model = ImageText(Network(resolve(config.model, FAMILY), config), config)
    (seen,), read = model.look([odd_images[0].picture]), model.read(NAMES)
    found = [model.similarity(seen, read[name]) for name in NAMES]
    wanted = 1 / (1 + np.exp(-logits(folder, odd_images[0].image, list(NAMES))))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


IMAGE = np.arange(100 * 200 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 200, 3)


@pytest.mark.parametrize(
    ("box_xyxy", "rows", "columns"),
    [
        ((40, 20, 80, 60), slice(16, 64), slice(36, 84)),
        ((-5, -5, 40, 40), slice(0, 44), slice(0, 44)),
        ((150, 50, 230, 99.5), slice(45, 100), slice(145, 200)),
        ((0, 0, 200, 100), slice(0, 100), slice(0, 200)),
    ],
)
def test_a_crop_has_a_margin_and_ends_with_the_image(drawing, box_xyxy, rows, columns) -> None:
    view = crop(drawing(IMAGE), box_xyxy, CropConfig())
    assert view is not None
    np.testing.assert_array_equal(view.pixels(), IMAGE[rows, columns])


@pytest.mark.parametrize(
    "box_xyxy", [(10, 10, 17, 60), (195, 10, 300, 60), (10, 100, 60, 100), (10, 10, 10, 10)]
)
def test_what_is_too_small_to_be_seen_has_no_crop(drawing, box_xyxy) -> None:
    sample = drawing(IMAGE)
    assert crop(sample, box_xyxy, CropConfig(least_side=8)) is None
    view = crop(sample, (10, 10, 17, 60), CropConfig(least_side=7, margin=0))
    assert view is not None
    assert view.pixels().shape == (50, 7, 3)
