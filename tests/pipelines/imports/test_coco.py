"""COCO on the way back in: with and without ids, with what nobody checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pycocotools import mask as coco_mask

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.corrections.store import folder_of, read_corrections
from florilegium.pipelines.export.coco import CocoConfig, CocoExporter
from florilegium.pipelines.export.exporter import export
from florilegium.pipelines.imports.coco import CocoImporter
from florilegium.pipelines.imports.importing import Imported, import_corrections
from tests.pipelines.imports.copies import copied


@pytest.fixture(scope="module")
def exported(truths: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("coco") / "out"
    export(str(truths), CocoExporter(CocoConfig()), output)
    return output / "annotations"


def imported(tmp_path: Path, truths: Path, document: Any, **rest: Any) -> Imported:
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(document))
    output = copied(truths, tmp_path / "out")
    options = {"who": "Ada", "when": "2026-02-01T00:00:00Z", **rest}
    return import_corrections(Folder(str(output)), path, CocoImporter(), **options)


def document(exported: Path, name: str = "instances") -> Any:
    return json.loads((exported / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["instances", "captions"])
@pytest.mark.parametrize("has_ids", [True, False])
def test_what_a_person_left_as_it_was_is_confirmed(
    name: str, has_ids: bool, truths: Path, exported: Path, tmp_path: Path
) -> None:
    own = document(exported, name)
    for one in own["annotations"]:
        if not has_ids:
            one.pop("annotation_id", None)
    found = imported(tmp_path, truths, own, exported=exported / f"{name}.json")
    masks = sum("segmentation" in one for one in own["annotations"])
    assert dict(found.findings) == {"confirmed": len(own["annotations"]) + masks}


def test_what_a_person_changed_comes_back(truths: Path, exported: Path, tmp_path: Path) -> None:
    own = document(exported)
    first, second, third = own["annotations"][:3]
    first["bbox"][0] += 5
    own["annotations"].remove(second)
    third["segmentation"] = [[1, 1, 20, 1, 20, 20, 1, 20]]
    own["annotations"].append({"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]})
    own["info"] = {"date_created": "2026-01-31"}
    found = imported(tmp_path, truths, own, exported=exported / "instances.json")
    changes = {key: value for key, value in found.findings.items() if key != "confirmed"}
    assert changes == {"changed": 2, "rejected": 2, "added": 1}, "a box is gone with its mask"
    corrections = read_corrections(folder_of(Folder(str(tmp_path / "out"))))
    assert {one.when for one in corrections} == {"2026-01-31T00:00:00Z"}
    (drawn,) = (one for one in corrections if one.annotation and one.annotation.mask_rle)
    assert drawn.annotation is not None
    assert drawn.annotation.mask_rle is not None
    assert coco_mask.area(drawn.annotation.mask_rle._asdict()) == pytest.approx(361, abs=40)


def test_what_cannot_be_used_is_counted(truths: Path, exported: Path, tmp_path: Path) -> None:
    own = document(exported)
    base = own["annotations"][0]
    size = [64, 64]
    own["annotations"] += [
        {**base, "category_id": 999},
        {**base, "bbox": [1, 2, "3", 4]},
        {**base, "bbox": [1, 2, 3]},
        {**base, "segmentation": {"size": size, "counts": "~~~~"}},
        {**base, "segmentation": {"size": [9, 9], "counts": "0"}},
        {**base, "segmentation": {"size": size, "counts": [1, 2]}},
        {**base, "segmentation": [[1, 2]]},
    ]
    own["annotations"] += [None, {"image_id": []}]
    own["images"].append({"id": 99, "file_name": "none.jpg", "width": 9, "height": 9})
    found = imported(tmp_path, truths, own)
    assert found.left_out == {"unusable_annotation": 7, "unknown_image": 1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [({}, "no lists"), ([], "no lists"), ({"images": [{}], "annotations": []}, "no width")],
)
def test_a_file_of_another_kind_is_refused(
    text: Any, problem: str, truths: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=problem):
        imported(tmp_path, truths, text)


def test_a_file_that_is_not_there_is_named(truths: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read nowhere\.json: No such file"):
        import_corrections(
            Folder(str(truths)), Path("nowhere.json"), CocoImporter(), who="Ada", when=""
        )
