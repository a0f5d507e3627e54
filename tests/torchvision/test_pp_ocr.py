from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, MissingModel
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.validity import problem_of
from florilegium.specialists.ocr.pp_ocr import PpOcr, PpOcrConfig, crop_size
from florilegium.specialists.ocr.text_lines import hulls_of, laid_flat, order_by_gaps, sizes_of
from tests.checkpoints.pp_ocr import DETECTORS, RECOGNISERS, write_detector, write_recogniser

Write = Callable[..., Path]
DETECTOR, RECOGNISER = DETECTORS[0], RECOGNISERS[0]


@pytest.fixture(scope="session")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Write the tiny checkpoint of a model type, once."""

    @cache
    def written(model_type: str, seed: int = 0) -> Path:
        folder = tmp_path_factory.mktemp("pp_ocr")
        maker = write_detector if model_type in DETECTORS else write_recogniser
        return maker(folder, model_type, seed)

    return written


@pytest.fixture(scope="session")
def configure(write: Write) -> Callable[..., PpOcrConfig]:
    def make(detector: str = DETECTOR, recogniser: str = RECOGNISER, **options: Any) -> PpOcrConfig:
        paths = {"model": str(write(detector)), "recogniser": str(write(recogniser))}
        return PpOcrConfig(**{**paths, "least_score": 0, **options})

    return make


@pytest.fixture(scope="session")
def pp_ocr(configure: Callable[..., PpOcrConfig]) -> Callable[..., PpOcr]:
    """Load a specialist with tiny checkpoints; without options the same one each time."""

    @cache
    def loaded(**options: Any) -> PpOcr:
        specialist = PpOcr(configure(**options))
        specialist.load()
        return specialist

    return loaded


@pytest.fixture(scope="session")
def samples(photograph: Any, odd_images: list[Sample]) -> list[Sample]:
    return [photograph("page"), photograph("cup"), *odd_images]


def lines_of_transformers(detector: Path, sample: Sample, **options: Any) -> dict[Any, float]:
    """What the library finds, by its corners: the score of each quad."""
    import torch
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    processor = AutoImageProcessor.from_pretrained(detector)
    model = AutoModelForObjectDetection.from_pretrained(detector)
    inputs = processor(images=Image.fromarray(sample.image), return_tensors="pt", **options)
    with torch.no_grad():
        answer = model(pixel_values=inputs["pixel_values"])
    (found,) = processor.post_process_object_detection(answer, target_sizes=inputs["target_sizes"])
    corners = [tuple(sorted(map(tuple, quad))) for quad in found["boxes"].tolist()]
    return dict(zip(corners, found["scores"].tolist(), strict=True))


def corners(answer: Annotation) -> tuple[tuple[float, ...], ...]:
    return tuple(sorted(map(tuple, np.array(answer.quad).reshape(4, 2).tolist())))


def same(one: Sequence[Annotation], other: Sequence[Annotation], score: float = 1e-4) -> bool:
    assert [(line.text, line.quad, line.box_xyxy) for line in one] == [
        (line.text, line.quad, line.box_xyxy) for line in other
    ]
    assert [line.score for line in one] == pytest.approx([line.score for line in other], abs=score)
    return True


@pytest.mark.parametrize("detector", DETECTORS)
def test_lines_are_where_transformers_finds_them(
    detector: str, pp_ocr: Callable[..., PpOcr], write: Write, samples: list[Sample]
) -> None:
    answers = pp_ocr(detector=detector).predict(samples)
    assert sum(map(len, answers)) > 10
    for sample, answer in zip(samples, answers, strict=True):
        wanted = lines_of_transformers(write(detector), sample)
        # A quad in which nothing was read is left out.
        assert {corners(one) for one in answer} <= set(wanted)
        assert len(answer) >= 0.8 * len(wanted)
        for one in answer:
            assert one.support == pytest.approx(wanted[corners(one)], abs=1e-4)
            assert not problem_of(one, width=sample.width, height=sample.height)


@pytest.mark.parametrize("recogniser", RECOGNISERS)
def test_lines_read_as_transformers_reads_them(
    recogniser: str, pp_ocr: Callable[..., PpOcr], write: Write, samples: list[Sample]
) -> None:
    import torch
    from transformers import AutoImageProcessor, AutoModelForTextRecognition

    processor = AutoImageProcessor.from_pretrained(write(recogniser))
    model = AutoModelForTextRecognition.from_pretrained(write(recogniser))
    answers = pp_ocr(recogniser=recogniser).predict(samples)
    checked = 0
    for sample, answer in zip(samples, answers, strict=True):
        for one in answer:
            quad = np.array(one.quad).reshape(4, 2)
            size_wh = crop_size(sizes_of(quad[None])[0], height=48, widths=(320, 3200))
            crop = Image.fromarray(laid_flat(sample.image, quad, size_wh))
            with torch.no_grad():
                seen = model(**processor(images=crop, return_tensors="pt"))
            (wanted,) = processor.post_process_text_recognition(seen)
            assert one.text == wanted["text"].strip()
            assert one.score == pytest.approx(wanted["score"], abs=1e-4)
            checked += 1
    assert checked > 10


def test_an_answer_does_not_depend_on_the_batch(
    pp_ocr: Callable[..., PpOcr], samples: list[Sample]
) -> None:
    specialist = pp_ocr()
    together = specialist.predict(samples)
    alone = [specialist.predict([sample])[0] for sample in reversed(samples)][::-1]
    assert any(together)
    assert all(same(*pair) for pair in zip(together, alone, strict=True))
    assert specialist.predict([]) == []


def test_lines_come_in_reading_order_from_the_corner_where_they_begin(
    pp_ocr: Callable[..., PpOcr], photograph: Any
) -> None:
    (answer,) = pp_ocr().predict([photograph("page")])
    quads = np.array([one.quad for one in answer]).reshape(-1, 4, 2)
    assert order_by_gaps(quads).tolist() == list(range(len(quads)))
    wide, high = sizes_of(quads).T
    assert (high < 1.5 * wide).all()  # none runs down as seen from its own corner
    assert (hulls_of(quads) == [one.box_xyxy for one in answer]).all()


def test_lines_are_cut_out_at_few_widths_and_hardly_stretched() -> None:
    aspects = np.geomspace(0.5, 80, 400)
    seen: set[int] = set()
    for high in (7.0, 48.0, 131.0):
        for aspect in aspects:
            wide, tall = crop_size(np.array([aspect * high, high]), height=48, widths=(320, 3200))
            assert tall == max(high, 48)
            at_height = wide / tall * 48
            if at_height > 320:
                seen.add(int(at_height))
            if aspect * 48 < 3200:
                assert at_height == pytest.approx(aspect * 48, rel=0.051, abs=1)
    assert len(seen) < 40
    assert max(seen) == 3200


def test_half_precision_finds_nearly_the_same(
    pp_ocr: Callable[..., PpOcr], photograph: Any
) -> None:
    (whole,), (half,) = (
        specialist.predict([photograph("page")])
        for specialist in (pp_ocr(), pp_ocr(dtype="bfloat16"))
    )
    assert half
    assert abs(len(half) - len(whole)) <= len(whole) / 2
    assert all(isinstance(one.score, float) and 0 <= one.score <= 1 for one in half)


def test_awkward_images_are_no_trouble(pp_ocr: Callable[..., PpOcr], awkward: list[Sample]) -> None:
    for sample, answer in zip(awkward, pp_ocr().predict(awkward), strict=True):
        for one in answer:
            assert not problem_of(one, width=sample.width, height=sample.height)


def test_a_strip_longer_than_the_processor_counts_is_read(
    pp_ocr: Callable[..., PpOcr], drawing: Any
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)
    wide = np.asarray(Image.fromarray(noise).resize((40_000, 20)))
    (answer,) = pp_ocr().predict([drawing(wide)])
    assert answer
    assert max(one.box_xyxy[2] for one in answer) > 33_000
    assert all(not problem_of(one, width=40_000, height=20) for one in answer)


def test_the_image_size_is_the_long_side_that_the_detector_sees(
    pp_ocr: Callable[..., PpOcr], write: Write, photograph: Any
) -> None:
    sample = photograph("cup")
    (answer,) = pp_ocr(image_size=128).predict([sample])
    assert answer
    wanted = lines_of_transformers(write(DETECTOR), sample, limit_side_len=128, limit_type="max")
    assert {corners(one) for one in answer} <= set(wanted)


def test_thresholds_are_heard(pp_ocr: Callable[..., PpOcr], photograph: Any) -> None:
    sample = photograph("page")
    (all_lines,) = pp_ocr().predict([sample])
    for name, measured in (("least_score", "score"), ("least_support", "support")):
        values = sorted(getattr(one, measured) for one in all_lines)
        least = values[len(values) // 2] - 1e-6
        (answer,) = pp_ocr(**{name: least}).predict([sample])
        assert [one.quad for one in answer] == [
            one.quad for one in all_lines if getattr(one, measured) >= least
        ]


def test_who_speaks_names_detector_and_recogniser(
    configure: Callable[..., PpOcrConfig], write: Write
) -> None:
    specialist = PpOcr(configure())
    detector, recogniser = (write(name) for name in (DETECTOR, RECOGNISER))
    assert specialist.model == f"{detector.name}, {recogniser.name}"
    first, second = specialist.revision().split(", ")
    assert first != second
    other = PpOcr(configure(recogniser=RECOGNISERS[1])).revision()
    assert other.split(", ")[0] == first
    assert other.split(", ")[1] != second


def test_both_models_are_fetched_in_one_go(configure: Callable[..., PpOcrConfig]) -> None:
    missing = {"model": "nobody/det", "recogniser": "nobody/rec", "recogniser_revision": "v2"}
    with pytest.raises(MissingModel) as caught:
        PpOcr(PpOcrConfig(**missing)).revision()
    assert caught.value.commands == (
        "hf download nobody/det",
        "hf download nobody/rec --revision v2",
    )
    half = configure().model_copy(update={"recogniser": "nobody/rec"})
    with pytest.raises(MissingModel, match="'nobody/rec'"):
        PpOcr(half).revision()


@pytest.mark.parametrize(
    ("option", "wrong", "message"),
    [
        ("model", RECOGNISER, "a PP-OCR detector is needed"),
        ("recogniser", DETECTOR, "a PP-OCR recogniser is needed"),
    ],
)
def test_a_checkpoint_for_the_other_task_is_refused(
    configure: Callable[..., PpOcrConfig], write: Write, option: str, wrong: str, message: str
) -> None:
    config = configure().model_copy(update={option: str(write(wrong))})
    with pytest.raises(ConfigError, match=message):
        PpOcr(config).revision()


def test_a_recogniser_with_letters_missing_is_refused(
    configure: Callable[..., PpOcrConfig], tmp_path: Path
) -> None:
    from transformers import AutoImageProcessor

    folder = write_recogniser(tmp_path)
    processor = AutoImageProcessor.from_pretrained(folder)
    processor.character_list = processor.character_list[:5]
    processor.save_pretrained(folder)
    specialist = PpOcr(configure().model_copy(update={"recogniser": str(folder)}))
    with pytest.raises(ConfigError, match="has 28 classes of letters, but its processor 5"):
        specialist.load()


def test_random_weights_are_marked(configure: Callable[..., PpOcrConfig], photograph: Any) -> None:
    specialist = PpOcr(configure(weights="random"))
    assert specialist.caveat()
    assert specialist.model.endswith("(random weights)")
    specialist.load()
    specialist.predict([photograph("cup")])
