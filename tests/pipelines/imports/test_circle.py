"""The whole circle: build, export, correct, import, build again; then an audit and training."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.build import put_in_place
from florilegium.pipelines.corrections.run import with_corrections
from florilegium.pipelines.dataset.status import read_status
from florilegium.pipelines.dataset.why import explain
from florilegium.pipelines.export.exporter import export
from florilegium.pipelines.export.label_studio import LabelStudioConfig, LabelStudioExporter
from florilegium.pipelines.imports.importing import import_corrections
from florilegium.pipelines.imports.label_studio import LabelStudioImporter
from florilegium.pipelines.merge.learning.audit import findings
from florilegium.pipelines.refine.audits import CorrectionsAuditor
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.survey import survey
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import configure, contents

WORLD = "shape_world://6?seed=5&px=64"
NOW = "2026-12-01T00:00:00Z"
STAGES: dict[str, Any] = {
    "shapes_colour": {},
    "shapes_edges": {},
    "boxes": {
        "use": "merge",
        "rule": "union",
        "tasks": ["object_detection"],
        "reads": ["shapes_colour", "shapes_edges"],
    },
    "shape_masks": {"reads": ["boxes"]},
}
FILTERS: dict[str, Any] = {
    "superseded": {"by": {"boxes": ["object_detection"]}},
    "region_score": {"tasks": {"object_detection": {"min_score": 0.15}}},
}


def config(output: Path) -> RunConfig:
    keys = {"specialists": STAGES, "filters": FILTERS, "shard_size": 3}
    return with_corrections(configure(WORLD, output, **keys))


def built(output: Path) -> tuple[Manifest, set[str]]:
    """Build, and return the manifest and which stages were asked."""
    progress = Progress()
    run = prepare(config(output))
    manifest = execute(run, progress)
    put_in_place(run, manifest)
    return manifest, {name for name, count in progress.asked.items() if count}


def submitted(output: Path, folder: Path, correct: Any) -> Path:
    """Export a run, correct the results of its first task, and give the project back."""
    export(str(output), LabelStudioExporter(LabelStudioConfig()), folder)
    tasks = json.loads((folder / "tasks.json").read_text("utf-8"))
    for number, task in enumerate(tasks):
        results = deepcopy(task["predictions"][0]["result"])
        if number == 0:
            correct(results)
        person = {"completed_by": {"email": "ada"}, "updated_at": "2026-01-31T12:00:00Z"}
        task["annotations"] = [{"result": results, **person}]
    path = folder / "project.json"
    path.write_text(json.dumps(tasks))
    return path


def boxes(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in results if one["type"] == "rectanglelabels"]


def correct(results: list[dict[str, Any]]) -> None:
    """Change two boxes, delete one with its mask, add one, leave the rest."""
    moved, renamed, gone = boxes(results)[:3]
    new = deepcopy(moved)
    moved["value"]["x"] += 20
    renamed["value"]["rectanglelabels"] = ["heart"]
    results.remove(gone)
    new["id"] = "Xk_9qZ"
    new["value"] |= {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["star"]}
    results.append(new)


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run before and after the circle, and what each build asked."""
    folder = tmp_path_factory.mktemp("circle")
    output = folder / "out"
    before = built(output)[0]
    first = contents(output)
    sample = next(iter(open_dataset(str(output))))
    path = submitted(output, folder / "studio", correct)
    imported = import_corrections(
        Folder(str(output)), path, LabelStudioImporter(), who="", when="2026-02-01T00:00:00Z"
    )
    unbuilt = contents(output)
    after, asked = built(output)
    return {
        "output": output, "sample": sample, "imported": imported, "asked": asked,
        "first": first, "unbuilt": unbuilt, "before": before, "after": after, "path": path,
    }  # fmt: skip


def after(circle: Any) -> tuple[Annotation, ...]:
    return next(iter(open_dataset(str(circle["output"])))).annotations


def test_the_corrections_win_and_say_who(circle: Any) -> None:
    findings = circle["imported"].findings
    assert (findings["changed"], findings["rejected"], findings["added"]) == (2, 1, 1)
    own = [one for one in after(circle) if one.specialist == "human"]
    detected = [one for one in own if one.task == "object_detection"]
    was = [one for one in circle["sample"].annotations if one.task == "object_detection"]
    (added,) = (one for one in detected if not one.merged_from)
    by_source = {one.merged_from[0]: one for one in detected if one.merged_from}
    assert by_source[was[0].id].box_xyxy[0] == pytest.approx(was[0].box_xyxy[0] + 12.8, abs=0.01)
    assert (by_source[was[1].id].label, by_source[was[1].id].box_xyxy) == ("heart", was[1].box_xyxy)
    assert (added.label, len(detected)) == ("star", 3)
    who_and_when = {(one.model, one.revision, one.confidence) for one in own}
    assert who_and_when == {("ada", "2026-01-31T12:00:00Z", 1.0)}
    assert not {one.id for one in was[:3]} & {one.id for one in after(circle)}
    confirmed = [one for one in after(circle) if one.id in {other.id for other in was[3:]}]
    assert [one.confidence for one in confirmed] == [1.0] * len(was[3:])
    lines = [line.plain.strip() for line in explain(Folder(str(circle["output"])), "000000")]
    assert sum("by human ada 2026-01-31T12:00:00Z" in one for one in lines) == len(own)
    assert "human_first: rejected_by_human  rejected 1" in lines
    assert any(one.startswith("human_first: corrected  replacement") for one in lines)


def test_a_confirmed_mask_stays_with_the_box_that_was_changed(circle: Any) -> None:
    masks = {one.parent_id: one for one in after(circle) if one.task == "segmentation"}
    renamed = next(one for one in after(circle) if one.label == "heart" and not one.mask_rle)
    assert (masks[renamed.id].specialist, masks[renamed.id].label) == ("human", "heart")


def test_no_other_stage_is_asked_and_the_dataset_is_whole(circle: Any) -> None:
    assert circle["unbuilt"] == circle["first"], "an import alone changes no dataset"
    assert circle["asked"] == {"human", "human_first"}
    stages = [set(circle[name].stages) for name in ("before", "after")]
    assert stages[0] < stages[1], "the same fingerprints, and two more"
    output = Folder(str(circle["output"]))
    assert list(verify_dataset(output)) == []
    assert read_status(output).corrections == circle["imported"].new
    again, asked = built(circle["output"])
    assert (again.digest, asked) == (circle["after"].digest, set())


def test_the_same_corrections_give_the_same_bytes_elsewhere(circle: Any, tmp_path: Path) -> None:
    built(tmp_path / "out")
    import_corrections(
        Folder(str(tmp_path / "out")),
        circle["path"],
        LabelStudioImporter(),
        who="",
        when="2026-12-01T00:00:00Z",
    )
    built(tmp_path / "out")
    assert contents(tmp_path / "out") == contents(circle["output"])


def test_refine_reads_the_corrections_as_an_audit(circle: Any) -> None:
    auditor = CorrectionsAuditor(str(circle["output"] / "corrections"))
    candidates = open_dataset(str(circle["output"])).select(
        specialists=["shapes_colour", "shapes_edges"], verdict="all"
    )
    audited = auditor.review(candidates)
    assert len(audited.samples) == 6
    assert auditor.keys == {f"{number:06d}" for number in range(6)}
    auditor.check()
    sample, earlier = audited.samples[0], audited.earlier[0]
    found = findings(audited.audit, earlier.annotations, "object_detection")
    verdicts, _ = found.of(sample.annotations)
    was = {one.id: one for one in circle["sample"].annotations}
    made_of = {name: one for one in was.values() for name in one.merged_from}
    right = {
        one.id: bool(verdict)
        for one, verdict in zip(sample.annotations, verdicts.tolist(), strict=True)
        if verdict == verdict
    }
    boxes = [one for one in was.values() if one.task == "object_detection"]
    assert {right[name] for name in boxes[2].merged_from} == {False}, "it was deleted"
    for one in boxes[3:]:
        same = [name for name in one.merged_from if _label(sample, name) == one.label]
        assert {right[name] for name in same} == {True}, "they were confirmed"
    assert made_of.keys() >= right.keys()


def _label(sample: Any, name: str) -> str:
    return next(one.label for one in sample.annotations if one.id == name)


def test_what_people_said_is_never_ambiguous_for_training(circle: Any) -> None:
    config = TrainConfig(model="here", tasks={"object_detection": 1}, ambiguous=(0.0, 1.0))
    found = survey(open_dataset(str(circle["output"])), config)
    assert ("000000", "object_detection") not in found.ambiguous
    assert found.kept["object_detection"] > 0
