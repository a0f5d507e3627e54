"""The small recipe of FLD-5B runs from end to end, with tiny checkpoints for its models.

The large one has models that need torchvision: see tests/torchvision.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from florilegium.engine.execution import ray_pools
from florilegium.engine.execution.nodes import Nodes
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.planning.config import load_document
from florilegium.engine.planning.pools import Machines
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.build import build_dataset
from florilegium.pipelines.commands.main import app
from florilegium.pipelines.dataset.why import explain
from florilegium.pipelines.filters.region_score import LOW_SCORE, RegionScore, RegionScoreConfig
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.examples import ExampleMaker
from florilegium.pipelines.verify.verify import verify_dataset
from florilegium.specialists.florence2.format import DEFAULT_TASKS
from tests.pipelines.filters.statements import box, reasons, statements
from tests.recipes import CONFIGS, PERMISSIVE, annotation_types, tiny_recipe

Built = tuple[Path, Manifest]


@pytest.fixture(scope="module")
def built(small_photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("fld5b_small")
    config = tiny_recipe(
        "fld5b_small", folder / "models", overrides=PERMISSIVE,
        source=str(small_photographs), output=str(folder / "out"), runner={"kind": "in_process"},
    )  # fmt: skip
    return folder / "out", build_dataset(prepare(config))


def test_all_eight_annotation_types_come_out(built: Built) -> None:
    output, manifest = built
    assert manifest.totals.dead_letters == 0
    assert len(annotation_types(output)) == 8
    assert all(annotation_types(output).values()), annotation_types(output)


def test_what_comes_out_is_a_sound_dataset(built: Built) -> None:
    output, manifest = built
    assert list(verify_dataset(Folder(str(output)))) == []
    assert set(manifest.totals.specialists) == {
        "rapidocr", "objects", "captions", "region_text", "region_label", "grounding", "masks",
    }  # fmt: skip
    assert manifest.totals.drops["superseded/outvoted"] > 0
    report = (output / "report.html").read_text("utf-8")
    assert "Beside FLD-5B" in report


def test_a_region_has_its_category_and_of_all_candidates_the_chosen_text(built: Built) -> None:
    output, _ = built
    texts = 0
    for sample in open_dataset(str(output)):
        label_of = {one.id: one.label for one in sample.annotations}
        described = [one for one in sample.annotations if one.task == "region_description"]
        assert {one.specialist for one in described} == {"region_label"}
        assert len({one.parent_id for one in described}) == len(described), "one text for each box"
        for one in sample.annotations:
            if one.task == "region_category":
                assert one.label == label_of[one.parent_id]
        texts += sum(one.text not in label_of.values() for one in described)
    assert texts > 0, "no box got another text than its category"
    lines = [line.plain for line in explain(Folder(str(output)), "cat")]
    chosen = next(line for line in lines if "by region_label" in line and "merged from" in line)
    assert " score 0." in chosen


def test_every_task_of_florence2_gets_training_examples(built: Built) -> None:
    output, _ = built
    maker = ExampleMaker(TrainConfig(model="here"))
    made = {one.task for sample in open_dataset(str(output)) for one in maker.every(sample)}
    assert made == set(DEFAULT_TASKS)


def test_without_a_gpu_its_stages_run_on_cpus_and_a_note_names_them(
    small_photographs: Path, tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = Nodes(machines=Machines(cpus=2, gpus_by_node=()))
    monkeypatch.setattr(ray_pools, "nodes_of_ray", lambda _: without)
    recipe = tiny_recipe(
        "fld5b_small", tmp_path / "models",
        source=str(small_photographs), output=str(tmp_path / "out"), runner={"workers": 1},
    )  # fmt: skip
    stages = {
        name: {"use": "tests.stages:Brightest", "num_gpus": recipe.specialists[name]["num_gpus"]}
        for name in ("objects", "captions")
    }
    document = recipe.model_dump(mode="json") | {"specialists": stages, "filters": {}}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    done = CliRunner().invoke(app, ["build", str(config)])
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("no GPU in this cluster: on its CPUs run captions, objects") == 1


@pytest.mark.parametrize("name", ["fld5b", "fld5b_small"])
def test_a_region_text_is_chosen_among_all_candidates_and_judged_by_its_likeness(name: str) -> None:
    """The captioner's own score drops no candidate before the choice."""
    options = load_document(CONFIGS / f"{name}.yaml", changes={})["filters"]["region_score"]
    scores = (("region_text", 0.01), ("region_label", 0.01), ("region_label", 0))
    rows = [
        box(0, 0, 50, 50, task="region_description", score=score, specialist=specialist)
        for specialist, score in scores
    ]
    verdicts = RegionScore(RegionScoreConfig(**options)).judge(statements(rows))
    assert reasons(verdicts) == ["", "", LOW_SCORE]


@pytest.mark.parametrize("name", ["fld5b", "fld5b_small"])
def test_a_dry_run_checks_a_recipe_without_its_models(name: str, small_photographs: Path) -> None:
    arguments = [str(CONFIGS / f"{name}.yaml"), "--source", str(small_photographs)]
    done = CliRunner().invoke(app, ["build", *arguments, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert done.output.count("not here yet: hf download ") >= 6
    done = CliRunner().invoke(app, ["build", *arguments])
    assert done.exit_code != 0
