"""Conversations about images in LLaVA's form."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.export.exporter import ExportConfig, LeftOut, export
from florilegium.pipelines.export.llava import LlavaExporter, _pairs, pair_of
from florilegium.pipelines.export.selected import SelectedSample
from florilegium.pipelines.export.selection import parse_selection
from tests.pipelines.training.labels import BOX, OTHER, phrase, region, text

SIZE_WH = (100, 200)


def test_captions_and_phrases_are_questions_with_answers(scenes: Path, tmp_path: Path) -> None:
    selection = parse_selection(split="train=.5,val=.5")
    exported = export(str(scenes), LlavaExporter(ExportConfig()), tmp_path / "out", selection)
    samples = {one.key: one for one in open_dataset(str(scenes))}
    turns = 0
    for part in ("train", "val"):
        for one in json.loads((tmp_path / f"out/{part}.json").read_text()):
            sample = samples.pop(one["id"])
            assert (tmp_path / "out/images" / one["image"]).read_bytes() == sample.image
            talk = one["conversations"]
            assert [turn["from"] for turn in talk] == ["human", "gpt"] * (len(talk) // 2)
            marks = [turn["value"].count("<image>") for turn in talk]
            assert marks == [1] + [0] * (len(talk) - 1)
            answers = [turn["value"] for turn in talk[1::2]]
            texts = [one.text for one in sample.annotations if one.kind == "text"]
            assert set(texts) <= set(answers)
            phrases = [one for one in sample.annotations if one.kind == "phrase"]
            questions = [turn["value"] for turn in talk[::2]]
            assert all(any(one.text in asked for asked in questions) for one in phrases)
            turns += len(answers)
    assert not samples
    assert turns == exported.turns


def test_what_each_task_asks() -> None:
    assert pair_of(text("question_answer", "How many?", label="Two."), SIZE_WH) == (
        "How many?",
        "Two.",
    )
    assert pair_of(text("caption", "A cat."), SIZE_WH) == (
        "What does the image describe?",
        "A cat.",
    )
    question, answer = pair_of(phrase("A cat", BOX, 0, "text"), SIZE_WH) or ("", "")
    assert question.endswith(": A cat")
    assert answer == "[0.100, 0.050, 0.300, 0.150]"
    described = region("dense_region_caption", BOX, text="a red cat")
    question, answer = pair_of(described, SIZE_WH) or ("", "")
    assert question.endswith("[0.100, 0.050, 0.300, 0.150]")
    assert answer == "a red cat"
    assert pair_of(region("object_detection", BOX, label="cat"), SIZE_WH) is None
    assert pair_of(Annotation(kind="text", task="tag", label="cat"), SIZE_WH) is None


def test_several_regions_of_a_phrase_are_one_answer() -> None:
    sample = SelectedSample(
        key="a",
        sha256="0" * 64,
        width=100,
        height=100,
        image=b"",
        annotations=(
            text("caption", "Two cats.", id="text"),
            text("caption", "Cats.", id="other"),
            phrase("cats", BOX, 4, "text"),
            phrase("cats", OTHER, 4, "text"),
            text("caption", "An <image>.", id="mark"),
        ),
    )
    left_out = LeftOut()
    pairs = list(_pairs(sample, left_out))
    assert [answer for _, answer in pairs] == [
        "Two cats.",
        "Cats.",
        "[0.100, 0.100, 0.300, 0.300], [0.400, 0.400, 0.900, 0.900]",
    ]
    assert left_out == {("caption", "text_with_the_mark_of_an_image"): 1}


def test_references_open_where_the_images_lie(scenes: Path, tmp_path: Path) -> None:
    selection = parse_selection(images="reference", tasks="caption")
    export(str(scenes), LlavaExporter(ExportConfig()), tmp_path / "out", selection)
    first = json.loads((tmp_path / "out/conversations.json").read_text())[0]
    with fsspec.open(first["image"]) as file:
        assert file.read() == next(iter(open_dataset(str(scenes)))).image
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["conversations.json"]
