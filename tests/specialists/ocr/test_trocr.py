from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, PlanError
from florilegium.engine.core.sample import Sample
from florilegium.engine.planning.graph import plan
from florilegium.pipelines.filters.superseded import MERGED
from florilegium.specialists.ocr.rapidocr import RapidOcr
from florilegium.specialists.ocr.text_lines import laid_flat
from florilegium.specialists.ocr.trocr import TrOcr, TrOcrConfig
from tests.building import build, configure, shard_file
from tests.checkpoints.trocr import write_trocr
from tests.specialists.conftest import SampleOf

TROCR = "florilegium.specialists.ocr.trocr:TrOcr"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trocr(tmp_path_factory.mktemp("trocr"))


@pytest.fixture(scope="module")
def trocr(tiny: Path) -> Callable[..., TrOcr]:
    """Load the tiny one; with the same options the same one."""

    @cache
    def loaded(**options: Any) -> TrOcr:
        config = {"model": str(tiny), "max_new_tokens": 12, "least_score": 0, **options}
        specialist = TrOcr(TrOcrConfig(**config))
        specialist.load()
        return specialist

    return loaded


@pytest.fixture(scope="module")
def page(photograph: SampleOf, rapidocr: RapidOcr) -> Sample:
    """A page with the lines that another stage read."""
    (lines,) = rapidocr.predict([photograph("page")])
    return photograph("page", *lines)


@pytest.fixture(scope="module")
def odd_pages(odd_images: list[Sample], page: Sample) -> list[Sample]:
    """Odd images of several sizes, each with two lines; one without lines last."""
    return [
        replace(
            sample,
            annotations=tuple(
                replace(one, quad=quad, box_xyxy=(4, 3, 60, 30))
                for one, quad in zip(
                    page.annotations, ((4, 3, 60, 8, 58, 30, 2, 25), ()), strict=False
                )
            ),
        )
        for sample in odd_images[:-1]
    ] + odd_images[-1:]


def test_lines_read_as_transformers_reads_them(
    trocr: Callable[..., TrOcr], tiny: Path, page: Sample, odd_pages: list[Sample]
) -> None:
    import torch
    from transformers import TrOCRProcessor, VisionEncoderDecoderModel

    processor = TrOCRProcessor.from_pretrained(tiny)
    model = VisionEncoderDecoderModel.from_pretrained(tiny)
    model.generation_config.max_length = None
    samples = [page, *odd_pages]
    for sample, predicted in zip(samples, trocr().predict(samples), strict=True):
        again = {one.merged_from[0]: one for one in predicted}
        for earlier in sample.annotations:
            quad = np.array(earlier.quad or (4, 3, 60, 3, 60, 30, 4, 30)).reshape(4, 2)
            crop = Image.fromarray(laid_flat(sample.image, quad))
            pixels = processor(images=crop, return_tensors="pt").pixel_values
            with torch.no_grad():
                answer = model.generate(
                    pixels, max_new_tokens=12, output_logits=True, return_dict_in_generate=True
                )
            (text,) = processor.batch_decode(answer.sequences, skip_special_tokens=True)
            chances = model.compute_transition_scores(
                answer.sequences, answer.logits, normalize_logits=True
            ).exp()
            assert again[earlier.id].text == text.strip()
            assert again[earlier.id].score == pytest.approx(
                float(chances.log().mean().exp()), abs=1e-4
            )
    assert any(len(one.text) < 8 for one in trocr().predict([page])[0])  # some end early


def test_a_line_keeps_its_place_and_names_the_one_it_was_read_from(
    trocr: Callable[..., TrOcr], page: Sample
) -> None:
    (predicted,) = trocr().predict([page])
    assert [one.merged_from for one in predicted] == [(one.id,) for one in page.annotations]
    assert [(one.quad, one.box_xyxy) for one in predicted] == [
        (one.quad, one.box_xyxy) for one in page.annotations
    ]
    assert len({one.text for one in predicted}) > 3
    assert all(one.task == "ocr" and not one.parent_id for one in predicted)


def test_an_answer_does_not_depend_on_the_batch(
    trocr: Callable[..., TrOcr], page: Sample, odd_pages: list[Sample]
) -> None:
    samples = [page, *odd_pages]
    together = trocr().predict(samples)
    assert together == [trocr().predict([sample])[0] for sample in samples]
    assert together[-1] == []
    assert trocr().predict([]) == []


def test_a_line_that_runs_down_is_turned_before_it_is_read(
    trocr: Callable[..., TrOcr], page: Sample, drawing: SampleOf
) -> None:
    first = page.annotations[0]
    left, top, right, bottom = (round(edge) for edge in first.box_xyxy)
    line = page.image[top:bottom, left:right]
    height, width = line.shape[:2]

    def reading(pixels: np.ndarray, box: tuple[float, ...], quad: tuple[float, ...] = ()) -> str:
        predicted = Annotation(kind="region", task="ocr", text="x", box_xyxy=box, quad=quad)
        ((one,),) = trocr().predict([drawing(pixels, predicted)])
        assert (one.box_xyxy, one.quad) == (box, quad)
        return one.text

    flat = reading(line, (0, 0, width, height))
    down, up, tall = np.rot90(line, k=-1), np.rot90(line, k=1), (0, 0, height, width)
    assert reading(down, tall) == flat
    assert reading(up, tall) != flat
    assert reading(down, tall, (height, 0, height, width, 0, width, 0, 0)) == flat
    assert reading(up, tall, (0, width, 0, 0, height, 0, height, width)) == flat
    assert reading(np.rot90(line, k=2), (0, 0, width, height),
                   (width, height, 0, height, 0, 0, width, 0)) == flat  # fmt: skip


def test_half_precision_reads_something(trocr: Callable[..., TrOcr], page: Sample) -> None:
    (predicted,) = trocr(dtype="bfloat16").predict([page])
    assert len(predicted) == len(page.annotations)
    assert all(one.score is not None and 0 < one.score <= 1 for one in predicted)


def test_the_least_score_is_heard(trocr: Callable[..., TrOcr], page: Sample) -> None:
    (predicted,) = trocr().predict([page])
    least = sorted(one.score or 0 for one in predicted)[len(predicted) // 2]
    (sure,) = trocr(least_score=least).predict([page])
    assert sure == [one for one in predicted if (one.score or 0) >= least]


def test_awkward_images_and_lines_are_no_trouble(
    trocr: Callable[..., TrOcr], awkward: list[Sample], page: Sample
) -> None:
    places = ((0, 0, 1, 1), (0, 0, 20_000, 3), (0, 0, 3, 20_000), (100, 100, 100, 100))
    samples = [
        replace(
            sample,
            annotations=(replace(page.annotations[0], quad=(), box_xyxy=place),
                         replace(page.annotations[1], quad=(0.0, 0, 1, 1, 2, 2, 1, 1))),
        )
        for sample, place in zip(awkward, places, strict=True)
    ]  # fmt: skip
    assert [len(predicted) for predicted in trocr().predict(samples)] == [2, 2, 2, 2]


def test_the_earlier_line_steps_back_in_a_built_dataset(
    tiny: Path, photographs: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "page.png").write_bytes(photographs["page"].read_bytes())
    again = {"use": TROCR, "model": str(tiny), "max_new_tokens": 12, "least_score": 0}
    build(
        tmp_path / "in",
        tmp_path / "out",
        specialists={"rapidocr": {}, "trocr": again},
        filters={"superseded": {"by": {"trocr": ["ocr"]}}},
    )
    rows = pq.read_table(shard_file(tmp_path / "out", ".parquet")).to_pylist()
    kept = {"rapidocr": 0, "trocr": 0}
    for row in rows:
        (verdict,) = row["verdicts"]
        kept[row["specialist"]] += verdict["keep"]
        assert verdict["reason"] == (MERGED if row["specialist"] == "rapidocr" else "")
    assert kept == {"rapidocr": 0, "trocr": len(rows) / 2}
    assert len(rows) > 6


def test_a_graph_without_lines_is_refused(tiny: Path) -> None:
    config = configure(
        "photos", Path("out"), specialists={"trocr": {"use": TROCR, "model": str(tiny)}}
    )
    with pytest.raises(PlanError, match="reads ocr, which no stage here produces"):
        plan(config)


def test_released_weights_lack_what_no_answer_depends_on(
    trocr: Callable[..., TrOcr], tmp_path: Path, page: Sample
) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_trocr(tmp_path / "released")
    weights = load_file(folder / "model.safetensors")
    pooler = [name for name in weights if ".pooler." in name]
    assert pooler
    kept = {name: weight for name, weight in weights.items() if name not in pooler}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert trocr(model=str(folder)).predict([page]) == trocr().predict([page])
    kept.pop("decoder.output_projection.weight")
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="1 weight is missing"):
        TrOcr(TrOcrConfig(model=str(folder))).load()


def test_another_vision_encoder_decoder_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    folder = write_trocr(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["decoder"]["model_type"] = "mbart"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="decoder of type 'mbart'; a TrOCR is needed"):
        TrOcr(TrOcrConfig(model=str(folder))).revision()


def test_an_image_size_that_the_encoder_cannot_see_is_refused(tiny: Path) -> None:
    assert TrOcr(TrOcrConfig(model=str(tiny), image_size=32)).revision()
    with pytest.raises(ConfigError, match="takes images of 32 px only"):
        TrOcr(TrOcrConfig(model=str(tiny), image_size=64)).revision()
