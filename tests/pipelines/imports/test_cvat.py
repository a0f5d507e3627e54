"""CVAT: what is written is read back exactly, masks too; what strangers wrote is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.corrections.correction import Correction
from florilegium.pipelines.corrections.store import folder_of, read_corrections
from florilegium.pipelines.export.cvat import CvatConfig, CvatExporter
from florilegium.pipelines.export.exporter import export
from florilegium.pipelines.imports.cvat import CvatImporter
from florilegium.pipelines.imports.cvat_shapes import mask_of_cvat, rle_of, shape_of
from florilegium.pipelines.imports.drawing import as_mask
from florilegium.pipelines.imports.importing import Imported, import_corrections
from tests.pipelines.imports.copies import copied


@pytest.fixture(scope="module")
def exported(truths: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("cvat") / "out"
    export(str(truths), CvatExporter(CvatConfig()), output)
    return output / "annotations.xml"


def imported(
    tmp_path: Path, truths: Path, path: Path, **rest: Any
) -> tuple[Imported, list[Correction]]:
    output = copied(truths, tmp_path / "out")
    options = {"who": "Ada", "when": "2026-02-01T00:00:00Z", **rest}
    found = import_corrections(Folder(str(output)), path, CvatImporter(), **options)
    return found, read_corrections(folder_of(Folder(str(output))))


def edited(exported: Path, tmp_path: Path, edit: Any) -> Path:
    tree = ElementTree.parse(exported)
    edit(tree.getroot())
    path = tmp_path / "edited.xml"
    tree.write(path, encoding="utf-8", xml_declaration=True)
    return path


def test_what_a_person_left_as_it_was_is_confirmed(
    truths: Path, exported: Path, tmp_path: Path
) -> None:
    shown = open_dataset(str(truths)).manifest["totals"]["tasks"]
    count = sum(one["kept"] for task, one in shown.items() if task != "phrase_grounding")
    archive = tmp_path / "task.zip"
    with ZipFile(archive, "w") as file:
        file.write(exported, "annotations.xml")
    for number, path in enumerate((exported, archive)):
        found, _ = imported(tmp_path / str(number), truths, path, exported=exported)
        assert (found.images, dict(found.findings)) == (3, {"confirmed": count})


def edit(root: ElementTree.Element) -> None:
    image = root.find("image")
    assert image is not None
    first, second = image.findall("box")[:2]
    first.set("xbr", str(float(first.get("xbr", "0")) + 3))
    image.remove(second)
    ElementTree.SubElement(
        image, "box", label="emu", source="manual", xtl="1", ytl="2", xbr="30", ybr="40"
    )
    ElementTree.SubElement(image, "polygon", label="emu", points="5,5;20,5;20,20")
    ElementTree.SubElement(image, "polyline", label="emu", points="5,5;20,5")
    ElementTree.SubElement(
        image, "mask", label="emu", rle="9", left="60", top="0", width="9", height="9"
    )
    meta = root.find("meta/task")
    assert meta is not None
    ElementTree.SubElement(meta, "updated").text = "2026-01-31 12:00:00.123456+00:00"
    for who, name in (("owner", "root"), ("assignee", "bo")):
        ElementTree.SubElement(ElementTree.SubElement(meta, who), "username").text = name


def test_what_a_person_changed_comes_back(truths: Path, exported: Path, tmp_path: Path) -> None:
    path = edited(exported, tmp_path, edit)
    found, corrections = imported(tmp_path, truths, path, exported=exported, who="")
    kinds = {key: value for key, value in found.findings.items() if key != "confirmed"}
    assert kinds == {"changed": 1, "added": 2, "rejected": 1}
    assert found.left_out == {"polyline_has_no_meaning": 1, "unusable_mask": 1}
    assert {(one.who, one.when) for one in corrections} == {("bo", "2026-01-31T12:00:00Z")}
    added = [one.annotation for one in corrections if one.finding == "added" and one.annotation]
    assert {(one.task, one.label) for one in added} == {
        ("object_detection", "emu"),
        ("segmentation", "emu"),
    }


def test_an_image_in_another_folder_is_that_of_the_exported_file(
    truths: Path, exported: Path, tmp_path: Path
) -> None:
    def moved(root: ElementTree.Element) -> None:
        image = root.findall("image")[0]
        image.set("name", f"share/{image.get('name')}")
        image.remove(image.findall("box")[0])

    path = edited(exported, tmp_path, moved)
    found, _ = imported(tmp_path, truths, path, exported=exported)
    assert (found.findings["rejected"], found.left_out) == (1, {})


def test_without_the_exported_file_nothing_is_rejected(
    truths: Path, exported: Path, tmp_path: Path
) -> None:
    found, _ = imported(tmp_path, truths, edited(exported, tmp_path, edit))
    assert found.findings["rejected"] == 0


def test_a_mask_is_the_same_after_the_round_trip() -> None:
    generator = np.random.default_rng(7)
    for _ in range(20):
        pixels = (generator.random((11, 17)) < 0.4).astype(np.uint8)
        pixels[:2] = 0
        mask = as_mask(coco_mask.encode(np.asfortranarray(pixels)))
        written = rle_of(mask)
        assert written is not None
        assert mask_of_cvat(written, (17, 11)) == mask


@pytest.mark.parametrize(
    "change",
    [
        {"rle": "1,2"},
        {"rle": "5,-1,5"},
        {"rle": "99999999999999999999"},
        {"left": "-1"},
        {"width": "999999999"},
        {"rle": "9"},
    ],
)
def test_run_lengths_that_do_not_fit_are_refused(change: dict[str, str]) -> None:
    good = {"rle": "0,9", "left": "0", "top": "0", "width": "3", "height": "3"}
    assert mask_of_cvat(good, (4, 4))
    with pytest.raises((ValueError, OverflowError)):
        mask_of_cvat({**good, **change}, (4, 4))
    with pytest.raises(ValueError, match="a mask of 65536 x 65536 pixels"):
        mask_of_cvat(good, (1 << 16, 1 << 16))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<other/>", "no <annotations>"),
        ("<annotations><track/></annotations>", "tracks of a video"),
        ("<annotations><image name='a'/></annotations>", "no width and height"),
        ("not xml", "it is not XML"),
        ("<!DOCTYPE a><annotations/>", "declares a document type"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    text: str, problem: str, truths: Path, tmp_path: Path
) -> None:
    path = tmp_path / "strange.xml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        imported(tmp_path, truths, path)


def test_a_turned_box_is_read_with_its_corners() -> None:
    values = {"label": "ocr", "xtl": "10", "ytl": "20", "xbr": "30", "ybr": "24", "rotation": "90"}
    shape = shape_of("box", values, {"text": "EXIT"}, (64, 64))
    assert shape.annotation.box_xyxy == pytest.approx((18, 12, 22, 32))
    assert shape.annotation.quad == pytest.approx((22, 12, 22, 32, 18, 32, 18, 12))
    assert (shape.annotation.task, shape.annotation.text) == ("ocr", "EXIT")


def test_a_text_that_was_emptied_is_stated_and_one_that_was_dropped_is_not() -> None:
    values = {"label": "ocr", "xtl": "1", "ytl": "2", "xbr": "3", "ybr": "4"}
    emptied, dropped = (shape_of("box", values, own, (9, 9)) for own in ({"text": " "}, {}))
    assert (emptied.annotation.text, emptied.fields) == ("", ("text", "box_xyxy"))
    assert dropped.fields == ("box_xyxy",)


def test_a_damaged_archive_is_refused(truths: Path, exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "task.zip"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.write(exported, "annotations.xml")
    data = bytearray(path.read_bytes())
    data[200:400] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="cannot be imported as cvat"):
        imported(tmp_path, truths, path)
