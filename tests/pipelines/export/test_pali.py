"""PaLI's task formats, read back."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, StorageError, UsageError
from florilegium.engine.planning.config import validated
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.export import pali
from florilegium.pipelines.export.exporter import LeftOut, export
from florilegium.pipelines.export.pali import PaliConfig, PaliExported, PaliExporter, examples_of
from florilegium.pipelines.export.pali_format import (
    NamedBox,
    PaliExample,
    read_boxes,
    read_pali,
    write_boxes,
)
from florilegium.pipelines.export.parts import TEST, TRAIN, VALID
from tests.building import DESCRIBED, build
from tests.pipelines.training.labels import BOX, OTHER, phrase, region, sample, text

CONFIG = PaliConfig(sentinel="", ocr_language="en", expressions=("phrase_grounding",))


def examples(*annotations: Annotation, **options: Any) -> tuple[list[PaliExample], LeftOut]:
    left_out = LeftOut()
    config = CONFIG.model_copy(update=options)
    return list(examples_of(sample(*annotations), config, left_out)), left_out


def lines(*annotations: Annotation, **options: Any) -> list[tuple[str, str]]:
    return [(one.prefix, one.suffix) for one in examples(*annotations, **options)[0]]


@pytest.fixture(scope="module")
def exported(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PaliExported, Path]:
    output = tmp_path_factory.mktemp("pali") / "out"
    captions = ("caption", "detailed_caption")
    config = PaliConfig(undeclared="en", ocr_language="en", captions=captions)
    return export(str(scenes), PaliExporter(config), output), output


def test_a_caption_is_asked_for_in_its_language() -> None:
    given = [text("caption", "Eine Katze.", language="de"), text("caption", "猫。", language="ja")]
    assert lines(*given) == [
        ("Generate the alt_text in DE at 0:", "Eine Katze."),
        ("Generate the alt_text in JA at 0:", "猫。"),
    ]
    assert lines(text("caption", "A cat."), undeclared="pt-BR")[0][0].endswith("in PT-BR at 0:")
    assert lines(given[0], sentinel="<extra_id_0>")[0][0].endswith("in DE at 0: <extra_id_0>")


def test_a_question_is_answered_in_its_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pali, "QUESTION_TASKS", ("question_answer",))
    asked = text("question_answer", "How many cats?", label="two", language="en")
    assert lines(asked) == [("Answer in EN: How many cats?", "two")]
    _, left_out = examples(text("question_answer", "Why?", language="en"))
    assert left_out == {("question_answer", "no_answer"): 1}


def test_text_in_the_image_is_one_answer_for_each_language() -> None:
    given = [region("ocr", text=one, language=language) for one, language in
             (("STOP", ""), ("HALT", "de"), ("NOW", "en"))]  # fmt: skip
    assert lines(*given) == [
        ("Generate the ocr_text in EN:", "STOP\nNOW"),
        ("Generate the ocr_text in DE:", "HALT"),
    ]
    _, left_out = examples(*given, ocr_language="")
    assert left_out == {("ocr", "no_language"): 1}


def test_boxes_are_top_left_bottom_right_in_thousandths_under_their_sorted_names() -> None:
    wide = (10.0, 20.0, 30.0, 50.0)
    given = [region("object_detection", box, label=label)
             for box, label in ((wide, "dog"), (OTHER, "cat"), (BOX, "dog"))]  # fmt: skip
    assert lines(*given) == [
        (
            "detect cat and dog",
            "cat [400, 400, 900, 900]; dog [200, 100, 500, 300]; dog [100, 100, 300, 300]",
        )
    ]


def test_an_expression_refers_to_all_its_places() -> None:
    spoken = text("caption", "the red cat here", language="en", id="c")
    given = [spoken, phrase("the red cat", BOX, 0, "c"), phrase("the red cat", OTHER, 0, "c")]
    assert lines(*given, captions=()) == [
        ("detect the red cat", "the red cat [100, 100, 300, 300]; the red cat [400, 400, 900, 900]")
    ]
    (one,), _ = examples(*given[1:2])
    assert one.kind == "referring"
    assert [box.name for box in one.boxes()] == ["the red cat"]


def test_what_cannot_be_written_is_counted_with_its_reason() -> None:
    found, left_out = examples(
        text("caption", "A cat."), text("detailed_caption", "A cat.", language="en"),
        region("object_detection", label="salt and pepper"),
        region("object_detection", label="a;b"),
        phrase("a [cat]", BOX, 0, "c"), region("object_detection", (), label="cat"),
    )  # fmt: skip
    assert found == []
    assert left_out == {
        ("caption", "no_language"): 1,
        ("detailed_caption", "task_not_exported"): 1,
        ("object_detection", "ambiguous_name"): 2,
        ("object_detection", "no_box"): 1,
        ("phrase_grounding", "ambiguous_name"): 1,
    }


SIZES = st.integers(1, 9000)
NAMES = st.text("a0é猫 ,;]'\n\u2028", min_size=1, max_size=9).filter(str.strip)
SHARES = st.tuples(*[st.floats(0, 1)] * 4)


@given(SIZES, SIZES, st.lists(st.tuples(NAMES, SHARES), min_size=1, max_size=4))
def test_every_box_comes_back_within_half_a_bin(
    width: int, height: int, named: list[tuple[str, tuple[float, ...]]]
) -> None:
    sides = (width, height) * 2
    boxes = [
        NamedBox(name=name, box_xyxy=tuple(np.multiply(shares, sides).tolist()))
        for name, shares in named
    ]
    back = read_boxes(write_boxes(boxes, (width, height)), (width, height))
    assert [one.name for one in back] == [name for name, _ in named]
    for one, other in zip(boxes, back, strict=True):
        for edge, read, side in zip(one.box_xyxy, other.box_xyxy, (width, height) * 2, strict=True):
            assert abs(edge - read) <= side / 2000 * (1 + 1e-9)


@pytest.mark.parametrize("answer", ["cat", "cat [1, 2, 3]", "cat [1, 2, 3, 4] dog", "[1, 2, 3, 4]"])
def test_an_answer_that_is_no_list_of_boxes_is_refused(answer: str) -> None:
    with pytest.raises(ValueError, match="no boxes as in"):
        read_boxes(answer, (10, 10))
    assert read_boxes("", (10, 10)) == []


def test_a_dataset_comes_back_with_every_box_and_caption(
    exported: tuple[PaliExported, Path], scenes: Path
) -> None:
    result, output = exported
    by_image: dict[str, list[PaliExample]] = {}
    for part in (TRAIN, VALID, TEST):
        for one in read_pali(output / part):
            by_image.setdefault(one.image, []).append(one)
            with Image.open(output / part / one.image) as image:
                assert image.size == one.size_wh
    samples = list(open_dataset(str(scenes)))
    assert len(by_image) == len(samples) == sum(result.images.values())
    for one in samples:
        own = by_image[f"{one.key}.jpg"]
        captions = {a.text for a in one.annotations if a.task in ("caption", "detailed_caption")}
        assert {example.suffix for example in own if example.kind == "caption"} == captions
        things = [a for a in one.annotations if a.task == "object_detection"]
        (detection,) = [example for example in own if example.kind == "detection"]
        back = detection.boxes()
        ordered = sorted(things, key=lambda thing: thing.label)
        assert [box.name for box in back] == [thing.label for thing in ordered]
        for box, thing in zip(back, ordered, strict=True):
            half_bin = max(detection.size_wh) / 2000 + 1e-6
            assert box.box_xyxy == pytest.approx(thing.box_xyxy, rel=0, abs=half_bin)
    assert result.examples == Counter(one.kind for own in by_image.values() for one in own)
    assert {"caption", "ocr", "detection", "referring"} <= set(result.examples)
    assert any("task_not_exported" in line for line in result.warnings())
    assert f"caption    {result.examples['caption']} examples" in list(result.summary())


def test_images_of_an_original_dataset_are_exported_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 48), "green").save(tmp_path / "photos" / "a.jpg", exif=exif)
    build(tmp_path / "photos", tmp_path / "out", images="original", specialists=DESCRIBED)
    export(str(tmp_path / "out"), PaliExporter(PaliConfig()), tmp_path / "pali")
    (name,) = (tmp_path / "pali").glob("*/a.*")
    with Image.open(name) as image:
        assert image.size == (48, 64)
    found = list(read_pali(name.parent))
    assert {one.kind for one in found} == {"caption", "detection"}
    assert {one.size_wh for one in found} == {(48, 64)}


def test_a_dataset_without_an_example_is_refused_and_a_damaged_file_named(
    scenes: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="gives an example"):
        export(str(scenes), PaliExporter(PaliConfig(captions=(), objects=(), expressions=())),
               tmp_path / "out")  # fmt: skip
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "annotations.jsonl").write_text(json.dumps({"image": "a"}))
    with pytest.raises(StorageError, match="no file of examples of PaLI"):
        list(read_pali(tmp_path))


def test_a_line_separator_of_unicode_ends_no_line(tmp_path: Path) -> None:
    row = {"kind": "caption", "prefix": "", "suffix": "A\u2028cat.\x85", "size_wh": (4, 3)}
    line = json.dumps({"image": "a.jpg", **row}, ensure_ascii=False)
    (tmp_path / "annotations.jsonl").write_text(f"{line}\n", "utf-8")
    assert [one.suffix for one in read_pali(tmp_path)] == ["A\u2028cat.\x85"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"captions": ["ocr"]}, "'ocr' is no caption task"),
        ({"objects": ["segmentatio"]}, "'segmentatio' has no labels to detect"),
        ({"expressions": ["caption"]}, "'caption' has no referring expressions"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(PaliConfig, options, where="test")
