"""Label Studio: what is written is read back, by what people did to it, and by strangers' files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from florilegium.engine.core.errors import ConfigError, UsageError
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.commands.main import app
from florilegium.pipelines.corrections.correction import Correction
from florilegium.pipelines.corrections.store import folder_of, read_corrections
from florilegium.pipelines.export.exporter import export
from florilegium.pipelines.export.label_studio import LabelStudioConfig, LabelStudioExporter
from florilegium.pipelines.imports.importing import Imported, import_corrections
from florilegium.pipelines.imports.label_studio import LabelStudioImporter
from tests.pipelines.imports.copies import copied

Task = dict[str, Any]


@pytest.fixture(scope="module")
def tasks(truths: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    """The exported tasks, as a project gives them back when a person submits each as it is."""
    output = tmp_path_factory.mktemp("label_studio") / "out"
    exported = export(str(truths), LabelStudioExporter(LabelStudioConfig()), output)
    assert {(task, reason) for task, reason in exported.left_out} == {
        ("phrase_grounding", "task_not_exported")
    }
    config = ElementTree.parse(output / "config.xml").getroot()
    names = {one.get("name"): one.tag for one in config.iter() if one.get("toName") == "image"}
    found = json.loads((output / "tasks.json").read_text("utf-8"))
    for task in found:
        results = task["predictions"][0]["result"]
        assert {one["from_name"] for one in results} <= names.keys()
        assert {one["type"] for one in results} <= {tag.lower() for tag in names.values()}
        assert (output / "images" / task["data"]["image"].rpartition("/")[2]).is_file()
        task["annotations"] = [submitted(results)]
        task["predictions"] = [7]  # as a project gives them: by number
    return found


def submitted(results: list[dict[str, Any]], **rest: Any) -> dict[str, Any]:
    given = {"id": 1, "completed_by": {"id": 3, "email": "ada@example.org"}, "was_cancelled": False}
    given |= {"updated_at": "2026-01-31T13:00:00.5+01:00", "result": deepcopy(results), **rest}
    return given


def imported(
    tmp_path: Path, truths: Path, tasks: Any, **rest: Any
) -> tuple[Imported, list[Correction]]:
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "project.json"
    path.write_text(tasks if isinstance(tasks, str) else json.dumps(tasks))
    output = copied(truths, tmp_path / "out")
    options = {"who": "", "when": "2026-02-01T00:00:00Z", **rest}
    found = import_corrections(Folder(str(output)), path, LabelStudioImporter(), **options)
    return found, read_corrections(folder_of(Folder(str(output))))


def test_what_a_person_left_as_it_was_is_confirmed(
    truths: Path, tasks: list[Task], tmp_path: Path
) -> None:
    found, corrections = imported(tmp_path, truths, tasks)
    shown = open_dataset(str(truths)).manifest["totals"]["tasks"]
    count = sum(one["kept"] for task, one in shown.items() if task != "phrase_grounding")
    assert (found.images, dict(found.findings), found.left_out) == (3, {"confirmed": count}, {})
    assert {one.who for one in corrections} == {"ada@example.org"}
    assert {one.when for one in corrections} == {"2026-01-31T12:00:00Z"}
    assert {"segmentation", "ocr", "caption"} <= {
        one.about.task for one in corrections if one.about
    }


def test_what_a_person_changed_comes_back(truths: Path, tasks: list[Task], tmp_path: Path) -> None:
    changed = deepcopy(tasks)
    results = changed[0]["annotations"][0]["result"]
    box, other = [one for one in results if one["from_name"] == "object_detection"][:2]
    box["value"]["x"] += 10
    other["value"]["rectanglelabels"] = ["emu"]
    text = next(one for one in results if one["from_name"] == "caption")
    text["value"]["text"] = ["Something else."]
    mask = next(one for one in results if one["type"] == "polygonlabels")
    mask["value"]["points"] = [[10, 10], [60, 10], [60, 60]]
    gone = next(one for one in results if one["from_name"] == "detailed_caption")
    results.remove(gone)
    new = {**deepcopy(box), "id": "Xk_9qZ"}
    new["value"] |= {"x": 1, "y": 2, "width": 3, "height": 4}
    results.append(new)
    found, corrections = imported(tmp_path, truths, changed)
    assert {key: found.findings[key] for key in ("changed", "added", "rejected")} == {
        "changed": 4, "added": 1, "rejected": 1,
    }  # fmt: skip
    made = {one.about.id: one.annotation for one in corrections if one.about and one.annotation}
    size = tasks[0]["data"]["width"]
    moved = made[box["id"]]
    assert moved is not None
    assert moved.box_xyxy[0] == pytest.approx(box["value"]["x"] * size / 100, abs=0.01)
    assert (made[other["id"]] or moved).label == "emu"
    drawn = made[mask["id"].partition("-")[0]]
    assert drawn is not None
    assert drawn.mask_rle is not None
    assert drawn.box_xyxy == pytest.approx((6, 6, 38, 38), abs=1)
    (added,) = (one.annotation for one in corrections if one.finding == "added")
    assert added is not None
    assert added.box_xyxy == pytest.approx((0.64, 1.28, 2.56, 3.84), abs=0.01)
    assert [one.about.task for one in corrections if one.finding == "rejected" and one.about] == [
        "detailed_caption"
    ]


def skipped(task: Task) -> None:
    task["annotations"][0]["was_cancelled"] = True


def of_nobody(task: Task) -> None:
    task["annotations"] = []


@pytest.mark.parametrize("change", [skipped, of_nobody])
def test_a_task_that_nobody_submitted_says_nothing(
    change: Callable[[Task], None], truths: Path, tasks: list[Task], tmp_path: Path
) -> None:
    changed = deepcopy(tasks)
    change(changed[0])
    found, corrections = imported(tmp_path, truths, changed)
    assert found.images == 2
    assert changed[0]["data"]["key"] not in {one.key for one in corrections}


def test_of_two_people_the_later_one_is_right(
    truths: Path, tasks: list[Task], tmp_path: Path
) -> None:
    changed = deepcopy(tasks[:1])
    results = changed[0]["annotations"][0]["result"]
    later = submitted(results, completed_by=5, updated_at="2026-01-31T15:00:00Z")
    changed[0]["annotations"] = [later, submitted([])]
    found, corrections = imported(tmp_path, truths, changed)
    assert found.findings["confirmed"] == found.findings["rejected"]
    assert Counter(one.who for one in corrections[-found.findings["confirmed"] :]) == {
        "user 5": found.findings["confirmed"]
    }


def test_results_of_strangers_are_counted_and_never_raise(
    truths: Path, tasks: list[Task], tmp_path: Path
) -> None:
    changed = deepcopy(tasks[:1])
    results = changed[0]["annotations"][0]["result"]
    shape = next(one for one in results if one["type"] == "rectanglelabels")
    odd: list[Any] = [
        {**shape, "id": "0" * 16},
        {**shape, "id": "x", "value": {"x": "1"}},
        {**shape, "id": "y", "value": {**shape["value"], "width": 1e308}},
        {**shape, "id": "z", "from_name": "nothing"},
        {**shape, "id": "q", "type": "brushlabels", "value": {"rle": [1, 2]}},
        {"from_name": "segmentation", "type": "polygonlabels", "value": {"points": [[1, 2]]}},
        *("text", 7, None, []),
    ]
    changed[0]["annotations"][0]["result"] = results + odd
    found, corrections = imported(tmp_path, truths, changed)
    assert found.left_out == {"unknown_id": 1, "unusable_result": 4}
    assert found.findings["added"] == 1
    (added,) = (one.annotation for one in corrections if one.finding == "added" and one.annotation)
    assert added.box_xyxy[2] == 64, "it ends where the image ends"
    assert "left out 1, unknown_id: annotations that this run does not have" in "".join(
        found.warnings()
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "cannot be imported as label-studio"),
        ('[{"image": "a.jpg"}]', "no tasks with `data`"),
        ('[{"data": {}}]', "export as JSON, not as JSON-MIN"),
        ("[" * 99, "lists and objects within each other"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    text: str, problem: str, truths: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=problem):
        imported(tmp_path, truths, text)


def test_a_file_of_another_run_is_refused_with_its_cure(
    truths: Path, tasks: list[Task], tmp_path: Path
) -> None:
    strange = deepcopy(tasks)
    for task in strange:
        task["data"] |= {"sha256": "0" * 64}
    with pytest.raises(ConfigError, match=r"none of the 3 images.*give the run that it was"):
        imported(tmp_path / "a", truths, strange)
    other = json.dumps(tasks)
    for task in tasks:
        for name in task["data"]["ids"]:
            other = other.replace(name, name[::-1])
    with pytest.raises(ConfigError, match=r"none of the annotations.*Export this run"):
        imported(tmp_path / "b", truths, other)


def test_a_text_that_was_emptied_is_not_confirmed(
    truths: Path, tasks: list[Task], tmp_path: Path
) -> None:
    tasks = deepcopy(tasks)
    results = tasks[0]["annotations"][0]["result"]
    text = next(one for one in results if one["from_name"] == "ocr__text")
    results.remove(text)
    found, corrections = imported(tmp_path, truths, tasks[:1])
    assert found.left_out == {"unusable": 1}
    assert text["id"] not in {one.about.id for one in corrections if one.about}


def test_places_in_a_turned_image_are_counted_and_reject_nothing(
    truths: Path, tasks: list[Task], tmp_path: Path
) -> None:
    tasks = deepcopy(tasks)
    results = tasks[0]["annotations"][0]["result"]
    box = next(one for one in results if one["type"] == "rectanglelabels")
    box["image_rotation"] = 90
    found, corrections = imported(tmp_path, truths, tasks[:1])
    assert found.left_out["unusable_result"] >= 1
    assert box["id"] not in {one.about.id for one in corrections if one.about}


def test_an_image_is_found_by_its_key_and_not_by_a_part_of_it(
    truths: Path, tasks: list[Task], tmp_path: Path
) -> None:
    key = tasks[0]["data"]["key"]
    strange = deepcopy(tasks[:1])
    strange[0]["data"] |= {"sha256": "", "image": f"other/{key}.jpg", "key": f"other-{key}"}
    found, _ = imported(tmp_path / "a", truths, [*strange, tasks[1]])
    assert found.left_out == {"unknown_image": 1}


@pytest.mark.parametrize("name", [" ", "a\nb", "x" * 201])
def test_what_is_no_name_names_nobody(
    name: str, truths: Path, tasks: list[Task], tmp_path: Path
) -> None:
    tasks = deepcopy(tasks)
    tasks[0]["annotations"][0]["completed_by"] = name
    with pytest.raises(UsageError, match="give the name by --who"):
        imported(tmp_path / "a", truths, tasks)
    with pytest.raises(UsageError, match="names nobody"):
        imported(tmp_path / "b", truths, tasks, who=name)


def test_somebody_has_to_be_named(truths: Path, tasks: list[Task], tmp_path: Path) -> None:
    nameless = deepcopy(tasks)
    nameless[0]["annotations"][0]["completed_by"] = None
    with pytest.raises(UsageError, match="give the name by --who"):
        imported(tmp_path / "a", truths, nameless)
    _, corrections = imported(tmp_path / "b", truths, nameless, who="Bo")
    assert {one.who for one in corrections} == {"Bo", "ada@example.org"}


def test_the_command_counts_what_it_found_and_says_what_to_do(
    truths: Path, tasks: list[Task], tmp_path: Path
) -> None:
    path = tmp_path / "project.json"
    path.write_text(json.dumps(tasks))
    output = copied(truths, tmp_path / "out")
    words = ["import", str(output), str(path), "--format", "label-studio"]
    first, second = (CliRunner().invoke(app, words) for _ in range(2))
    count = len(read_corrections(folder_of(Folder(str(output)))))
    assert f"3 images: {count} confirmed, 0 changed, 0 added, 0 rejected" in first.output
    assert "run the same build again to apply them" in first.output
    assert "0 new corrections" in second.output
    assert "run the same build" not in second.output
