"""The stages of a round: where students join in, and in which order merges are calibrated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError, PlanError
from florilegium.engine.planning.config import validated
from florilegium.engine.planning.graph import plan
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.merge.calibration import Calibration
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.refine.stages import (
    levels,
    round_config,
    voters_of,
    with_calibrations,
    with_students,
    without_audit,
)

SPECIALISTS: dict[str, Any] = {
    "shapes_colour": {},
    "shapes_edges": {},
    "boxes": {
        "use": "merge",
        "tasks": ["object_detection"],
        "reads": ["shapes_colour", "shapes_edges"],
    },
    "grabcut": {"reads": ["boxes"]},
    "masks": {"use": "merge", "tasks": ["segmentation"], "reads": ["grabcut", "boxes"]},
}


def configure(**refine: Any) -> RefineConfig:
    options = {
        "students": {"student": {"tasks": ["object_detection"]}},
        "train": {"model": "start"},
        **refine,
    }
    document = {
        "source": "shape_world://4",
        "output": "out",
        "specialists": SPECIALISTS,
        "refine": options,
    }
    return validated(RefineConfig, document, where="test")


def test_a_student_is_read_by_the_merges_of_its_tasks_and_by_no_other() -> None:
    stages = with_students(configure(), ["a", "b"], 3)
    assert stages["boxes"]["reads"] == ["shapes_colour", "shapes_edges", "student"]
    assert stages["masks"]["reads"] == ["grabcut", "boxes"]
    assert stages["student"]["model"] == ["a", "b"]
    assert stages["student"]["round"] == stages["boxes"]["round"] == 3
    assert "round" not in stages["masks"]


def test_a_fine_tuned_student_has_checkpoints_of_its_own() -> None:
    students = {name: {"tasks": ["object_detection"]} for name in ("student", "writer")}
    config = configure(students=students, fine_tune={"writer": {"tasks": {"caption": 1}}})
    stages = with_students(config, ["a", "b"], 1, fine_tuned={"writer": ["c", "d"]})
    assert [stages[name]["model"] for name in students] == [["a", "b"], ["c", "d"]]


def test_a_fine_tuning_is_the_training_with_other_options() -> None:
    train = {"model": "start", "tasks": {"caption": 1}, "steps": 7, "learning_rate": 0.01}
    tuning = {"tasks": {"detailed_caption": 2}, "sample_share": 0.25, "steps": 3}
    config = configure(train=train, fine_tune={"student": tuning}).refine.tuning("student")
    assert (config.chosen, config.sample_share, config.steps) == (("detailed_caption",), 0.25, 3)
    assert config.learning_rate == 0.01


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"writer": {"tasks": {"caption": 1}}}, r"fine_tune\.writer is no student, .*student"),
        ({"student": {"steps": 3}}, "needs tasks of its own"),
        ({"student": {"tasks": {"caption": 1}, "model": "x"}}, "and no `model`"),
        ({"student": {"tasks": {"caption": 1}, "step": 3}}, r"unknown key 'step'"),
    ],
)
def test_a_fine_tuning_that_makes_no_sense_is_refused(tuning: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure(fine_tune=tuning)


def test_a_share_of_samples_is_no_option_of_a_student() -> None:
    config = configure(students={"student": {"tasks": ["object_detection"], "sample_share": 0.5}})
    stages = with_students(config, ["a"], 1)
    assert stages["student"]["sample_share"] == 0.5


def test_a_build_merges_by_votes_what_has_no_calibration(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    Calibration(voters=("grabcut", "boxes"), tasks={}).save(Folder(str(tmp_path)), path.name)
    config = configure()
    config.specialists["masks"] = {**SPECIALISTS["masks"], "calibration": str(path)}
    run = without_audit(config)
    assert run.specialists["boxes"] == {**SPECIALISTS["boxes"], "rule": "agreement"}
    assert run.specialists["masks"] == config.specialists["masks"]
    assert (run.output, run.layers) == ("out", "out/layers")
    assert "rule" not in config.specialists["boxes"]


def test_the_config_itself_is_not_changed_by_a_round() -> None:
    config = configure()
    with_students(config, ["a"], 1)
    assert config.specialists == SPECIALISTS


def test_a_student_that_no_merge_reads_is_refused_with_the_stage_to_add() -> None:
    config = configure(students={"student": {"tasks": ["caption"]}})
    with pytest.raises(ConfigError, match=r"tasks: \[caption\]"):
        with_students(config, ["a"], 1)


def test_a_student_joins_a_merge_that_takes_every_task() -> None:
    config = configure()
    config.specialists["boxes"] = {"use": "merge", "reads": ["shapes_colour", "shapes_edges"]}
    stages = with_students(config, ["a"], 1)
    assert stages["boxes"]["reads"] == ["shapes_colour", "shapes_edges", "student"]


def test_tasks_that_are_not_a_list_are_refused() -> None:
    config = configure(students={"student": {"tasks": "object_detection"}})
    with pytest.raises(ConfigError, match=r"refine\.students\.student: tasks = 'object_detection'"):
        with_students(config, ["a"], 1)


def test_a_configured_calibration_is_kept_and_refuses_students(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    Calibration(voters=("grabcut", "boxes"), tasks={}).save(Folder(str(tmp_path)), path.name)
    config = configure()
    config.specialists["masks"] = {**SPECIALISTS["masks"], "calibration": str(path)}
    assert [one.merges for one in levels(plan(round_config(config, output="out")))] == [("boxes",)]
    assert with_students(config, ["a"], 1)["masks"]["calibration"] == str(path)
    config.specialists["boxes"] = {**SPECIALISTS["boxes"], "calibration": str(path)}
    with pytest.raises(ConfigError, match=r"boxes\.calibration.*without the students.*audit"):
        with_students(config, ["a"], 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measure": "audit", "audit": "truth"}, "set `audit` to its path"),
        ({"measure": "audit"}, "set `audit` to its path"),
        ({"students_at_once": 2, "train": {"model": "a", "workers": 0}}, "workers: 1"),
    ],
)
def test_contradictory_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure(**options)


def test_a_student_cannot_take_the_name_of_a_specialist() -> None:
    config = configure(students={"boxes": {"tasks": ["object_detection"]}})
    with pytest.raises(ConfigError, match="rename one"):
        with_students(config, ["a"], 1)


def test_merges_are_calibrated_after_those_that_their_voters_build_on() -> None:
    graph = plan(round_config(configure(), output="out"))
    first, second = levels(graph)
    assert (first.merges, second.merges) == (("boxes",), ("masks",))
    assert first.voters == {"shapes_colour", "shapes_edges"}
    assert second.voters == {"grabcut", "boxes", "shapes_colour", "shapes_edges"}


def test_voters_of_a_later_merge_run_at_the_earliest_level() -> None:
    config = configure()
    config.specialists["imagenet_cam"] = {}
    config.specialists["masks"] = {**SPECIALISTS["masks"], "reads": ["grabcut", "boxes"]}
    config.specialists["grabcut"] = {"reads": ["imagenet_cam"]}
    first, second = levels(plan(round_config(config, output="out")))
    assert first.voters == {"shapes_colour", "shapes_edges", "imagenet_cam", "grabcut"}
    assert second.voters == first.voters | {"boxes"}


def test_a_rule_that_needs_no_calibration_has_no_level() -> None:
    config = configure()
    config.specialists["boxes"] = {**SPECIALISTS["boxes"], "rule": "union"}
    assert [one.merges for one in levels(plan(round_config(config, output="out")))] == [("masks",)]


def test_without_an_audit_a_merge_uses_agreement() -> None:
    stages = with_calibrations(SPECIALISTS, {"boxes": None, "masks": Path("m.json")})
    assert stages["boxes"]["rule"] == "agreement"
    assert stages["masks"]["calibration"] == "m.json"
    assert "rule" not in SPECIALISTS["boxes"]


def test_a_round_keeps_source_and_layers_and_may_leave_the_filters_out() -> None:
    config = configure().model_copy(update={"filters": {"nms": {}}})
    run = round_config(
        config, output="out/rounds/1", stages={"shapes_edges": {}}, has_filters=False
    )
    assert (run.output, run.layers, run.filters) == ("out/rounds/1", "out/layers", {})
    assert run.source == config.source


def test_an_unknown_key_of_refine_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'rounds'"):
        configure(round=2)


def test_no_student_at_all_is_refused() -> None:
    with pytest.raises((ConfigError, PlanError), match="students"):
        configure(students={})


@pytest.mark.parametrize(("source_first", "others"), [(True, ()), (False, ("source",))])
def test_the_source_is_a_voter_to_calibrate_only_where_it_does_not_come_first(
    source_first: bool, others: tuple[str, ...]
) -> None:
    boxes = {**SPECIALISTS["boxes"], "source_first": source_first}
    graph = plan(round_config(configure(), output="out", stages={**SPECIALISTS, "boxes": boxes}))
    merge = next(node for node in graph.specialists if node.name == "boxes")
    assert voters_of(merge) == ("shapes_colour", "shapes_edges", *others)
