"""The commands around a refinement, as a user calls them one after the other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.conftest import ROOT, Command, Ended
from tests.end_to_end.refinement import write_refinement

pytestmark = [
    # Ray Data, which Ray Train imports, warns of its own defaults.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]


def export_lines(florilegium: Command, dataset: Path, config: Path, output: Path) -> Ended:
    given = ("--format", "florence2", "--config", config, "--output", output)
    return florilegium("export", dataset, *given)


def words(text: str) -> str:
    """A text without the line breaks of a narrow terminal."""
    return " ".join(text.split())


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a config and of the output of its refinement by the shipped student."""
    from florilegium.pipelines.refine.config import RefineConfig
    from florilegium.pipelines.refine.loop import refine
    from tests.configs import load_config

    folder = tmp_path_factory.mktemp("refined")
    path = write_refinement(folder / "refine.yaml", folder / "out", folds=2)
    refine(load_config(path, model=RefineConfig))
    return folder


@pytest.fixture
def output(refined: Path, tmp_path: Path) -> Path:
    """A copy of the refined dataset."""
    return Path(shutil.copytree(refined / "out", tmp_path / "out"))


def test_a_dry_run_writes_nothing(florilegium: Command, tmp_path: Path) -> None:
    config = write_refinement(tmp_path / "refine.yaml", tmp_path / "out")
    done = florilegium("refine", config, "--dry-run")
    assert done.code == 0
    for line in (
        "audit      by truth, 6 samples",
        "rounds     1 round with students at most; fewer when one gains less than 0.005",
        "students   1 a round",
        "trained from package://florilegium/specialists/tiny_florence2 on object_detection: 2 step",
        "student produces object_detection, merged by boxes",
    ):
        assert line in done.out
    for name in ("shapes_colour", "shapes_edges", "boxes", "superseded"):
        assert name in done.out
    assert "not here yet" not in done.out
    assert not (tmp_path / "out").exists()


def test_a_config_that_describes_no_refinement_names_the_right_command(
    florilegium: Command,
) -> None:
    done = florilegium("refine", ROOT / "configs" / "quickstart.yaml")
    assert done.code == 2
    assert "the key 'refine' is missing; `florilegium build` needs none" in done.err


def test_a_dry_run_tells_what_is_missing_all_of_it(florilegium: Command, tmp_path: Path) -> None:
    config = write_refinement(
        tmp_path / "refine.yaml", tmp_path / "out",
        train={"model": "nobody/has-this"}, audit=str(tmp_path / "audit.jsonl"), rounds=3, folds=2,
    )  # fmt: skip
    done = florilegium("refine", config, "--dry-run")
    assert done.code == 0, done.err
    assert "not here yet: hf download nobody/has-this" in done.out
    assert f"{tmp_path / 'audit.jsonl'}, not here yet: `refine --until candidates`" in done.out
    assert "students   2 a round, each without one fold of the samples" in done.out
    assert florilegium("refine", config).code == 2


def test_a_refinement_tells_of_every_round_and_where_the_dataset_is(
    florilegium: Command, refined: Path, output: Path
) -> None:
    done = florilegium("refine", refined / "refine.yaml", "--output", output)
    assert done.code == 0
    lines = done.out.splitlines()
    first, second = (line for line in lines if line.startswith("round"))
    assert first.startswith("round 0  boxes 0.")
    assert "by truth, promoted: it is the first round" in first
    assert "by truth, " in second
    assert "boxes: object_detection is merged by agreement of the voters: too few" in done.out
    assert f"report   {output}/report.html" in done.out
    assert (output / "report.html").exists()


def test_status_verify_and_why_know_a_refined_dataset(florilegium: Command, output: Path) -> None:
    status = florilegium("status", output)
    assert status.code == 0
    assert "round 0  boxes" in status.out
    assert "round 1  boxes" in status.out
    assert json.loads(florilegium("status", output, "--json").out)["is_finished"] is True
    for folder in (output, output / "rounds" / "0", output / "rounds" / "1"):
        assert florilegium("verify", folder).code == 0
    done = florilegium("why", output / "rounds" / "1", "000003").out
    assert "by student" in done
    assert "superseded: merged" in done
    assert "merged from" in done


def test_scores_are_told_round_by_round(florilegium: Command, output: Path) -> None:
    done = florilegium("score", output)
    assert done.code == 0
    assert "round 0" in done.out
    assert "round 1" in done.out
    assert "F1 at IoU .5" in done.out
    scores = json.loads(florilegium("score", output, "--json").out)
    assert list(scores) == ["round 0", "round 1"]
    assert all(score["samples"] == 6 for score in scores.values())
    lineage = json.loads((output / "refine.json").read_text())["rounds"]
    for score, entry in zip(scores.values(), lineage, strict=True):
        assert score["boxes"]["f1"] == pytest.approx(entry["quality"]["boxes"], abs=1e-4)


def test_a_diff_counts_labels_that_add_up(florilegium: Command, output: Path) -> None:
    done = florilegium("diff", output, 0, 1)
    assert done.code == 0
    assert "object_detection" in done.out
    assert "samples changed" in done.out
    total = json.loads(florilegium("diff", output, 0, 1, "--json").out)["total"]
    assert total["before"] == total["same"] + total["changed"] + total["dropped"]
    assert total["after"] == total["same"] + total["changed"] + total["added"]


def test_a_task_of_ones_own_is_trained_and_exported(
    florilegium: Command, output: Path, tmp_path: Path
) -> None:
    config = tmp_path / "train.yaml"
    what = {"each": "object_detection", "prompt": "What is at {box}?", "target": "a {label}"}
    document = {
        "model": "package://florilegium/specialists/tiny_florence2",
        "tasks": {"object_detection": 1},
        "custom": {"what_is_at": what},
        "steps": 2,
        "batch_size": 4,
        "workers": 0,
    }
    config.write_text(yaml.safe_dump(document))
    done = florilegium("train", output, config, "--output", tmp_path / "student")
    assert done.code == 0
    assert "what_is_at" in done.out
    assert f"checkpoint {tmp_path / 'student'}" in words(done.out)
    again = florilegium("train", output, config, "--output", tmp_path / "student")
    assert again.out == done.out
    done = export_lines(florilegium, output, config, tmp_path / "lines")
    assert done.code == 0
    lines = (tmp_path / "lines" / "train" / "annotations.jsonl").read_text().splitlines()
    asked = {json.loads(line)["prefix"].split("<loc")[0] for line in lines}
    assert asked == {"<OD>", "What is at "}
    assert f"{len(lines)} lines" in done.out


def test_tasks_without_an_example_are_reported(
    florilegium: Command, output: Path, tmp_path: Path
) -> None:
    config = tmp_path / "train.yaml"
    document = {
        "model": "package://florilegium/specialists/tiny_florence2",
        "tasks": {"object_detection": 1, "region_description": 1},
        "steps": 1,
        "batch_size": 2,
        "workers": 0,
    }
    config.write_text(yaml.safe_dump(document))
    line = "warning region_description: no examples in this dataset, it is not trained"
    for done in (
        florilegium("train", output, config, "--output", tmp_path / "student"),
        export_lines(florilegium, output, config, tmp_path / "lines"),
    ):
        assert done.code == 0
        assert line in words(done.err)
        assert "object_detection: no" not in done.err
    document["tasks"] = {"region_description": 1}
    config.write_text(yaml.safe_dump(document))
    for done in (
        florilegium("train", output, config, "--output", tmp_path / "no_student"),
        export_lines(florilegium, output, config, tmp_path / "no_lines"),
    ):
        assert done.code == 2
        assert "no kept labels to train region_description" in words(done.err)


@pytest.mark.parametrize("name", ["known_truth", "known_distilled", "florence2_refine", "fld5b"])
def test_the_configs_that_are_shipped_can_run(
    florilegium: Command, album: Path, tmp_path: Path, name: str
) -> None:
    """Models that are not here are named, and nothing else is missing."""
    options: list[object] = ["--output", tmp_path / "out"]
    is_drawn = name.startswith("known")
    if not is_drawn:
        options += ["--source", album]
    done = florilegium("refine", ROOT / "configs" / f"{name}.yaml", "--dry-run", *options)
    assert done.code == 0, done.err
    assert done.err == ""
    assert ("not here yet: hf download" in done.out) is not is_drawn


def test_the_plan_of_the_large_recipe_tells_who_captions_what(
    florilegium: Command, album: Path, tmp_path: Path
) -> None:
    recipe = ROOT / "configs" / "fld5b.yaml"
    given = ("--source", album, "--output", tmp_path / "out", "--dry-run")
    done = florilegium("refine", recipe, *given)
    for line in (
        "annotator is asked about 1% of the images",
        "at http://annotator:8000 (--set specialists.annotator.url=...)",
        "writer produces detailed_caption, more_detailed_caption, merged by captions",
        "writer is fine-tuned on detailed_caption, more_detailed_caption: 2,000 steps of 256",
        "with 1% of the samples",
    ):
        assert line in words(done.out)
    local = ("--set", "specialists.annotator.url=http://127.0.0.1:8000/v1")
    done = florilegium("refine", recipe, *given, *local)
    assert "is each worker's own machine" in words(done.err)
    done = florilegium("build", recipe, *given, *local)
    assert done.code == 0, done.err
    assert "is each worker's own machine" in words(done.err)
    assert "`florilegium refine" in done.out


def test_a_build_of_a_refinement_is_its_round_0_and_refuses_a_refined_output(
    florilegium: Command, refined: Path, tmp_path: Path
) -> None:
    config = refined / "refine.yaml"
    done = florilegium("build", config)
    assert done.code == 2
    assert "was refined, and a build would put round 0 in its place" in words(done.err)
    done = florilegium("build", config, "--output", tmp_path / "out")
    assert done.code == 0, done.err
    assert "no round of refinement: merged by votes, and without students" in words(done.out)
    assert florilegium("verify", tmp_path / "out").code == 0
    stages = json.loads((tmp_path / "out" / "manifest.json").read_text())["stages"].values()
    rules = {one["name"]: one["config"]["rule"] for one in stages if one.get("use") == "merge"}
    assert rules == {"boxes": "agreement"}


def test_the_training_config_that_is_shipped_is_understood() -> None:
    from florilegium.engine.planning.config import load_document, validated
    from florilegium.pipelines.training.config import TrainConfig

    path = ROOT / "configs" / "train.yaml"
    config = validated(TrainConfig, load_document(path), where=str(path))
    assert config.custom.keys() <= config.tasks.keys()
