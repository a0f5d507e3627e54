from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.annotation import Annotation, Provenance, stamp
from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.engine.planning.config import validated
from florilegium.pipelines.filters.image_text import (
    LOW_SIMILARITY,
    ImageTextFilter,
    ImageTextFilterConfig,
)
from tests.checkpoints.image_text import write_clip, write_siglip
from tests.pipelines.filters.statements import box, caption, phrase, reasons, statements

FAMILIES = {"clip": write_clip, "siglip": write_siglip}
LONG = "A tabby cat looks up. " * 4

Filtering = Callable[..., ImageTextFilter]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in FAMILIES.items()}


@pytest.fixture(scope="module")
def filtering(checkpoints: dict[str, Path]) -> Filtering:
    def load(family: str = "siglip", **options: Any) -> ImageTextFilter:
        own = ImageTextFilter(ImageTextFilterConfig(model=str(checkpoints[family]), **options))
        own.load()
        return own

    return load


@pytest.fixture(scope="module")
def sample_of(photographs: dict[str, Path]) -> Callable[..., Sample]:
    """Make a sample of a photograph of 160 by 120 pixels, with annotations that have ids."""

    def make(name: str, *annotations: Annotation) -> Sample:
        file = io.BytesIO()
        with Image.open(photographs[name]) as photograph:
            photograph.convert("RGB").resize((160, 120)).save(file, format="PNG")
        return Sample(
            key=name,
            width=160,
            height=120,
            picture=Picture(file.getvalue()),
            annotations=tuple(stamp(annotations, Provenance(stage="earlier"), name)),
        )

    return make


def similarities(own: ImageTextFilter, *samples: Sample) -> list[dict[str, float]]:
    """What was measured of each sample, by what the annotations say."""
    found = []
    for sample, rows in zip(samples, own.measure(samples), strict=True):
        text = {one.id: one.words for one in sample.annotations}
        found.append({text[row.annotation_id]: row.values["similarity"] for row in rows})
    return found


def similarity_of(folder: Path, image: Image.Image, text: str) -> float:
    """What the model says of an image and a text: a probability, or a cosine."""
    import torch
    from transformers import AutoModel, AutoProcessor

    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    is_siglip = model.config.model_type == "siglip"
    padding = {"padding": "max_length", "max_length": 64} if is_siglip else {}
    inputs = processor(text=[text], images=image, return_tensors="pt", **padding)
    with torch.no_grad():
        logits = model.eval()(**inputs).logits_per_image
        score = logits.sigmoid() if is_siglip else (logits / model.logit_scale.exp()).clamp(0, 1)
    return float(score)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_caption_is_compared_with_the_image_and_a_region_with_its_crop(
    family: str, filtering: Filtering, checkpoints: dict[str, Path], sample_of
) -> None:
    place, window = (20.0, 10.0, 80.0, 60.0), (14, 5, 86, 65)
    annotations = [
        caption("a cat"),
        caption("a cat that looks up", "detailed_caption", box_xyxy=place),
        phrase(*place, text="an eye", span=(0, 6)),
        box(*place, label="furry thing", task="region_category"),
        box(*place, label="cat", text="a green eye", task="region_description"),
    ]
    sample = sample_of("cat", *annotations)
    tasks = (*CAPTION_TASKS, "phrase_grounding", "region_category", "region_description")
    (found,) = similarities(filtering(family, tasks=tasks), sample)
    whole = Image.fromarray(sample.image)
    wanted = {
        text: similarity_of(
            checkpoints[family], whole if "cat" in text else whole.crop(window), text
        )
        for text in ("a cat", "a cat that looks up", "an eye", "furry thing", "a green eye")
    }
    assert found == pytest.approx(wanted, abs=1e-5)
    assert len(set(found.values())) > 3, "they do not tell anything apart"


def test_what_is_measured_does_not_depend_on_the_neighbours(filtering, sample_of) -> None:
    own = filtering()
    samples = [
        sample_of(name, caption(f"a {name}"), caption(LONG, "more_detailed_caption"))
        for name in ("cat", "cup", "rocket")
    ]
    together = similarities(own, *samples)
    for sample, found in zip(samples, together, strict=True):
        assert found == pytest.approx(similarities(own, sample)[0], abs=2e-5)
    assert own.measure([]) == []


def test_what_cannot_be_compared_is_not_measured(filtering, sample_of) -> None:
    sample = sample_of(
        "cat",
        caption("  "),
        phrase(0, 0, 9, 9, text="too small", span=(0, 3)),
        phrase(text="nowhere", span=(0, 7)),
        box(0, 0, 90, 90, label="not asked"),
        box(0, 0, 90, 90, label="", task="region_description"),
    )
    assert similarities(filtering(), sample) == [{}]
    assert sample.picture._pixels is None, "the size of a box is known without its pixels"


def test_an_image_about_which_nothing_was_said_is_not_decoded(filtering, sample_of) -> None:
    sample = sample_of("cat")
    assert filtering().measure([sample]) == [[]]
    assert sample.picture._pixels is None


def test_a_broken_image_is_an_error_of_its_own(filtering, sample_of) -> None:
    sample = replace(sample_of("cat", caption("a cat")), picture=Picture(b"no image"))
    with pytest.raises(SampleError):
        filtering().measure([sample])


ROWS = [
    caption("a cat"),
    caption("a dog", "more_detailed_caption"),
    phrase(0, 0, 50, 50, text="a cat", span=(0, 5)),
    box(0, 0, 50, 50, task="region_description", text="an ear"),
]


def judged(similarity: list[float], rows=ROWS, dropped=(), **options: Any):
    """Judge without a checkpoint: thresholds need none."""
    own = ImageTextFilter(ImageTextFilterConfig(model="", **options))
    measurements = {"similarity": similarity}
    return own.judge(statements(rows, measurements=measurements, dropped=dropped))


def test_low_similarity_is_dropped_and_similarity_at_the_limit_stays() -> None:
    least = dict.fromkeys(("caption", "more_detailed_caption", "phrase_grounding"), 0.2)
    verdicts = judged([0.19, 0.2, 0.1999, 0.1], least_similarity=least)
    assert reasons(verdicts) == [LOW_SIMILARITY, "", LOW_SIMILARITY, ""]
    assert verdicts.measurements["similarity"].tolist() == [0.19, 0.2, 0.1999, 0.1]


def test_each_task_has_a_threshold_and_a_config_changes_only_what_it_names() -> None:
    assert reasons(judged([0.005] * 4)) == [LOW_SIMILARITY, LOW_SIMILARITY, "", ""]
    options = {"least_similarity": {"caption": None, "region_description": 0.5}}
    assert reasons(judged([0.005] * 4, **options)) == ["", LOW_SIMILARITY, "", LOW_SIMILARITY]


def test_what_was_not_measured_or_is_dropped_already_is_not_judged() -> None:
    verdicts = judged([np.nan, 0.0, 0.0, 0.0], dropped=[1], tasks=("caption", "phrase_grounding"))
    assert verdicts.is_judged.tolist() == [False, False, True, False]
    assert reasons(verdicts) == ["", "", LOW_SIMILARITY, ""]


def test_only_the_wanted_tasks_are_read() -> None:
    own = ImageTextFilter(ImageTextFilterConfig(tasks=("caption", "region_category", "caption")))
    assert [str(wanted) for wanted in own.reads] == ["caption|region_category"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["captoin"]}, "did you mean 'caption'"),
        ({"tasks": ["ocr"]}, "'ocr' is nothing to compare"),
        ({"tasks": []}, "at least 1"),
        ({"least_similarity": {"captoin": 0.1}}, "did you mean 'caption'"),
        ({"least_similarity": {"caption": 1.1}}, "less than or equal to 1"),
        ({"least_similarity": 0.1}, "dict"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(ImageTextFilterConfig, options, where="filters.image_text")


def test_a_config_reads_back_as_itself() -> None:
    config = ImageTextFilterConfig(least_similarity={"caption": 0.3})
    assert ImageTextFilterConfig.model_validate(config.model_dump()) == config


def test_a_model_of_another_kind_is_found_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "owlv2"}))
    with pytest.raises(ConfigError, match="is of type 'owlv2'; an image-text model"):
        ImageTextFilter(ImageTextFilterConfig(model=str(tmp_path))).revision()
