"""Specialists loaded once for all tests, and samples of photographs and drawn images."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.annotation import Annotation, Provenance, stamp
from florilegium.engine.core.image.reading import read_header
from florilegium.engine.core.sample import Picture, Sample
from florilegium.specialists.captions.template_caption import TemplateCaption, TemplateCaptionConfig
from florilegium.specialists.detection.imagenet_cam import ImageNetCam, ImageNetCamConfig
from florilegium.specialists.grounding.phrase_match import PhraseMatch, PhraseMatchConfig
from florilegium.specialists.ocr.rapidocr import RapidOcr, RapidOcrConfig
from florilegium.specialists.segmentation.grabcut import GrabCut, GrabCutConfig

SampleOf = Callable[..., Sample]


@pytest.fixture(scope="session")
def photograph(photographs: dict[str, Path]) -> SampleOf:
    """Make a sample of a photograph by its name, with annotations that have ids."""

    def make(name: str, *annotations: Annotation) -> Sample:
        data = photographs[name].read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
        return Sample(
            key=name,
            width=width,
            height=height,
            picture=Picture(data),
            annotations=tuple(stamp(annotations, Provenance(stage="earlier"), name)),
        )

    return make


@pytest.fixture(scope="session")
def drawing() -> SampleOf:
    """Make a sample of RGB or grey pixels, with annotations that have ids."""

    def make(pixels: np.ndarray, *annotations: Annotation) -> Sample:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format="PNG")
        return Sample(
            key="drawing",
            width=pixels.shape[1],
            height=pixels.shape[0],
            picture=Picture(file.getvalue()),
            annotations=tuple(stamp(annotations, Provenance(stage="earlier"), "drawing")),
        )

    return make


@pytest.fixture(scope="session")
def awkward(drawing: SampleOf) -> list[Sample]:
    """One pixel, thin strips both ways, one grey tone."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 20_000, 3), dtype=np.uint8)
    return [
        drawing(np.zeros((1, 1, 3), np.uint8)),
        drawing(noise),
        drawing(noise.transpose(1, 0, 2)),
        drawing(np.full((300, 200), 127, np.uint8)),
    ]


@pytest.fixture(scope="session")
def odd_images(photographs: dict[str, Path]) -> list[Sample]:
    """One photograph, small, in each shape that datasets bring: turned by EXIF, grey, with a
    palette, with alpha, 16 bits deep, and plain RGB of another size."""
    with Image.open(photographs["astronaut"]) as whole:
        small = whole.convert("RGB").crop((0, 0, 480, 320)).resize((120, 80))
    turned = Image.Exif()
    turned[0x0112] = 6
    seen = small.copy()
    seen.putalpha(Image.linear_gradient("L").resize(small.size))
    deep = Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257)
    return [
        _saved("turned", small, format="JPEG", exif=turned),
        _saved("grey", small.convert("L"), format="PNG"),
        _saved("palette", small.quantize(64), format="PNG"),
        _saved("alpha", seen, format="PNG"),
        _saved("deep", deep, format="PNG"),
        _saved("plain", small.resize((101, 67)), format="PNG"),
    ]


def _saved(key: str, image: Image.Image, **options: Any) -> Sample:
    file = io.BytesIO()
    image.save(file, **options)
    header = read_header(file.getvalue())
    return Sample(
        key=key, width=header.width, height=header.height, picture=Picture(file.getvalue())
    )


@pytest.fixture(scope="session")
def rapidocr() -> RapidOcr:
    specialist = RapidOcr(RapidOcrConfig())
    specialist.load()
    return specialist


@pytest.fixture(scope="session")
def imagenet_cam() -> ImageNetCam:
    specialist = ImageNetCam(ImageNetCamConfig())
    specialist.load()
    return specialist


@pytest.fixture(scope="session")
def grabcut() -> GrabCut:
    specialist = GrabCut(GrabCutConfig())
    specialist.load()
    return specialist


@pytest.fixture(scope="session")
def template_caption() -> TemplateCaption:
    specialist = TemplateCaption(TemplateCaptionConfig())
    specialist.load()
    return specialist


@pytest.fixture(scope="session")
def phrase_match() -> PhraseMatch:
    specialist = PhraseMatch(PhraseMatchConfig())
    specialist.load()
    return specialist


@pytest.fixture(scope="session")
def tiny_florence2(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Write an untrained Florence-2 of some thousand weights; another seed, other weights."""
    from florilegium.pipelines.shape_world.pretrain.architecture import (
        TINIEST,
        build_tiny,
        save_tiny,
    )

    written: dict[int, Path] = {}

    def write(seed: int = 0) -> Path:
        if seed not in written:
            written[seed] = tmp_path_factory.mktemp("florence2") / f"seed-{seed}"
            save_tiny(
                written[seed], *build_tiny(["red circle", "blue square"], size=TINIEST, seed=seed)
            )
        return written[seed]

    return write
