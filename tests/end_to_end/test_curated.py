"""The recipe `curated` from end to end: what each sample filter drops, and what is exported.

Its models arrive as packages, so they are the real ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter, ImageOps

from florilegium.engine.core.sample import dropped_by
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.planning.config import load_document
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.build import build_dataset
from florilegium.pipelines.sample_filters.perceptual_hash import perceptual_hash
from florilegium.specialists.detection.imagenet_names import HedgedNames, class_names, group_names
from tests.end_to_end.conftest import Command
from tests.recipes import CONFIGS, tiny_recipe

GOOD = ("cat", "cup", "motorcycle")
"""Photographs to keep: of no known licence, of one that is allowed, and without metadata."""
DROPPED = {
    "tiny": "image_size/too_small",
    "strip": "image_size/too_long",
    "no_derivatives": "rights/licence_not_allowed",
    "opted_out": "rights/opted_out",
    "compressed": "jpeg_quality/low_jpeg_quality",
    "blurred": "sharpness/blurred",
    "dark": "image_exposure/underexposed",
    "framed": "borders/framed",
    "copy": "duplicates/in_benchmark",
    "mug": "duplicates/near_duplicate",
}
LICENCES = """file_name,license,robots
cat.png,All rights reserved,
cup.png,CC BY 4.0,index
no_derivatives.png,https://creativecommons.org/licenses/by-nd/2.0/,
opted_out.png,CC0-1.0,noai
"""


@pytest.fixture(scope="module")
def curated(photographs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished dataset. Read only."""
    folder = tmp_path_factory.mktemp("curated")
    source = folder / "source"
    source.mkdir()
    images = {name: _small(photographs[name]) for name in (*GOOD, "astronaut", "pagoda", "rocket")}
    for name in GOOD:
        images[name].save(source / f"{name}.png")
    astronaut = images["astronaut"]
    _write_bad(astronaut, source)
    (source / "metadata.csv").write_text(LICENCES, "utf-8")
    pagoda = images["pagoda"]
    for name, kept in (("copy", pagoda), ("mug", images["cup"])):
        kept.resize((kept.width * 3 // 4, kept.height * 3 // 4)).save(source / f"{name}.jpg")
    found = perceptual_hash(np.asarray(pagoda))
    assert found is not None
    (folder / "benchmark.txt").write_text(f"{found:016x}\n", "utf-8")
    config = tiny_recipe(
        "curated", folder / "models",
        overrides=[f"sample_filters.duplicates.benchmarks=[{folder / 'benchmark.txt'}]"],
        source=str(source), output=str(folder / "out"), runner={"kind": "in_process"},
    )  # fmt: skip
    build_dataset(prepare(config))
    return folder / "out"


def _small(path: Path) -> Image.Image:
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((420, 420))
    return small


def _write_bad(good: Image.Image, source: Path) -> None:
    """Write images that are each bad in one way, made of one that is good."""
    width, height = good.size
    good.resize((120, 120)).save(source / "tiny.png")
    good.crop((0, 0, width, 165)).resize((700, 165)).save(source / "strip.png")
    good.save(source / "no_derivatives.png")
    good.save(source / "opted_out.png")
    good.save(source / "compressed.jpg", quality=15)
    good.filter(ImageFilter.GaussianBlur(6)).save(source / "blurred.png")
    good.point(lambda value: value // 20).filter(ImageFilter.UnsharpMask(2, 400)).save(
        source / "dark.png"
    )
    ImageOps.expand(good, border=height // 5, fill=(250, 250, 240)).save(source / "framed.png")


def test_each_bad_image_is_dropped_for_its_reason_and_the_good_ones_are_kept(curated: Path) -> None:
    letters = pq.read_table(curated / "dead_letters.parquet").to_pylist()
    dropped = {one["key"]: f"{dropped_by(one['stage'])}/{one['reason']}" for one in letters}
    assert dropped == DROPPED
    assert tuple(sample.key for sample in open_dataset(str(curated))) == GOOD


def test_why_and_the_report_name_what_was_dropped(curated: Path, florilegium: Command) -> None:
    for key, drop in DROPPED.items():
        judge, _, reason = drop.partition("/")
        explained = florilegium("why", curated, key)
        assert explained.code == 0
        assert f"  {judge}: {reason}" in explained.out
    assert "copy_of 'cup', copy 'near'" in florilegium("why", curated, "mug").out
    report = (curated / "report.html").read_text("utf-8")
    assert "Images dropped by sample filters" in report
    section = report.partition('id="dropped-samples"')[2].partition("</section>")[0]
    for key, drop in DROPPED.items():
        assert f">{key}</bdi>" in section
        assert f"<bdi>{drop.partition('/')[2]}</bdi>" in section


def test_questions_are_asked_of_what_was_found(curated: Path) -> None:
    questions = {
        sample.key: {
            (one.text, one.label) for one in sample.annotations if one.task == "question_answer"
        }
        for sample in open_dataset(str(curated)).select(verdict="kept")
    }
    asked = {answer for text, answer in questions["motorcycle"] if "motorcycle" in text}
    assert ("Is there a motorcycle in the picture?", "yes") in questions["motorcycle"]
    assert "centre" in asked, "where it is"
    answers = [answer for own in questions.values() for _, answer in own]
    assert answers.count("yes") == answers.count("no") > 0


def test_what_is_asked_for_as_absent_is_known_to_the_detector() -> None:
    document = load_document(CONFIGS / "curated.yaml", changes={})
    labels = HedgedNames(class_names(), group_names()).labels
    vocabulary = document["specialists"]["template_questions"]["vocabulary"]
    assert set(vocabulary) <= {*labels, *(label.split()[-1] for label in labels)}


def _in_train(folder: Path, lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train" / lines).read_text("utf-8").splitlines()]


def _episode_tasks(folder: Path) -> set[str]:
    return {tar.parents[1].name for tar in folder.glob("train/*/01/*.tar")}


def _sequence_tasks(folder: Path) -> set[str]:
    return {line["task"] for line in _in_train(folder, "sequences.jsonl")}


def _pali_kinds(folder: Path) -> set[str]:
    return {line["kind"] for line in _in_train(folder, "annotations.jsonl")}


def _florence2_prompts(folder: Path) -> set[str]:
    return {line["prefix"] for line in _in_train(folder, "annotations.jsonl")}


def _coco_categories(folder: Path) -> set[str]:
    instances = json.loads((folder / "annotations" / "instances.json").read_text("utf-8"))
    assert len(instances["images"]) == len(GOOD)
    return {one["name"] for one in instances["categories"]}


EXPORTS: dict[str, tuple[tuple[str, ...], Callable[[Path], set[str]], set[str]]] = {
    "episodes": (("--set", "shots=[0,1]"), _episode_tasks, {"caption", "question_answer"}),
    "sequences": ((), _sequence_tasks, {"caption", "object_detection", "question_answer"}),
    "pali": (("--set", "ocr_language=en"), _pali_kinds, {"caption", "question", "detection"}),
    "florence2": ((), _florence2_prompts, {"<CAPTION>", "<OD>"}),
    "coco": ((), _coco_categories, {"coffee cup", "motorcycle"}),
}
"""Options, how an export is read, and what is in it at least. All three images are in `train`."""


@pytest.mark.parametrize("name", EXPORTS)
def test_it_is_exported(name: str, curated: Path, tmp_path: Path, florilegium: Command) -> None:
    options, read, least = EXPORTS[name]
    done = florilegium("export", curated, "--format", name, "--output", tmp_path / name, *options)
    assert done.code == 0, done.err
    assert least <= read(tmp_path / name)
