"""What the commands say about stages, sources, merge rules and export formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from florilegium.engine.core.errors import PlanError
from florilegium.engine.core.stage import Specialist, StageConfig, maybe, one_of
from florilegium.engine.core.tasks import TASKS
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.engine.planning.graph import plan
from florilegium.engine.planning.registry import find_source, source_names, stage_names
from florilegium.engine.planning.source_opening import config_of
from florilegium.pipelines.merge.rules import rule_names
from florilegium.pipelines.merge.stage import MergeConfig
from florilegium.pipelines.reference.options import Change
from florilegium.pipelines.reference.plugin import Plugin
from florilegium.pipelines.reference.plugins import EXPORT_FORMATS, RULES, SOURCES, STAGES
from florilegium.pipelines.reference.text import WIDTH, lines_of
from tests.checkpoints.few_shot_caption import write_examples


class NeedyConfig(StageConfig):
    """Options of `Needy`."""

    path: str
    """A file that must be given."""


class Needy(Specialist[NeedyConfig]):
    """Needs a path. And more.

    A second paragraph.
    """

    Config: ClassVar[type[StageConfig]] = NeedyConfig
    version = 3
    needs = ("florilegium", "no_such_package")
    reads = (one_of("object_detection", "ocr"), maybe("caption"))
    produces = ("tag",)

    def predict(self, samples: Any) -> Any:
        raise NotImplementedError


NEEDY = f"{__name__}:Needy"


@pytest.fixture
def needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the examples in the pieces of config name."""
    write_examples(tmp_path / "examples", count=5)
    monkeypatch.setenv("VISION_KEY", "0" * 32)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("needed")
@pytest.mark.parametrize("name", stage_names())
def test_the_piece_of_config_of_a_stage_is_planned_and_means_the_defaults(name: str) -> None:
    document = yaml.safe_load(STAGES.describe(name).stanza)
    (section,) = document
    (own,) = document[section]
    assert own == name
    # A filter `superseded` names a stage `merge`, and `human_first` one `human`: they have to be
    # there.
    others = {"shapes_edges": None, "merge": {"rule": "union", "reads": "shapes_edges"}}
    others |= {"human": None}
    specialists = {**others, **document.get("specialists", {})}
    values = {"source": "photos", "output": "out", **document, "specialists": specialists}
    graph = plan(validated(RunConfig, values, where="stanza"), source_tasks=TASKS, is_dry=True)
    stage = next(node.stage for node in graph.nodes if node.name == name)
    fields = type(stage.config).model_fields
    examples = {name: field.examples[0] for name, field in fields.items() if field.examples}
    assert stage.config == type(stage.config)(**examples)


@pytest.mark.parametrize("kind", source_names())
def test_the_piece_of_config_of_a_source_is_understood(kind: str) -> None:
    document = yaml.safe_load(SOURCES.describe(kind).stanza)
    values = {"output": "out", "specialists": {"shapes_edges": None}, **document}
    (entry,) = validated(RunConfig, values, where="stanza").source
    assert isinstance(config_of(entry), find_source(kind).Config)


@pytest.mark.parametrize("name", rule_names())
def test_the_piece_of_config_of_a_merge_rule_is_understood(name: str) -> None:
    document = yaml.safe_load(RULES.describe(name).stanza)
    assert validated(MergeConfig, document["specialists"]["merge"], where="stanza").rule == name


@pytest.mark.parametrize("name", EXPORT_FORMATS.names())
def test_the_piece_of_config_of_an_export_format_is_understood(name: str) -> None:
    plugin = EXPORT_FORMATS.describe(name)
    validated(plugin.config, yaml.safe_load(plugin.stanza) or {}, where="stanza")


def test_a_stage_of_a_module_is_described_with_what_is_missing_and_what_must_be_given() -> None:
    plugin = STAGES.describe(NEEDY)
    assert plugin.title == "Needs a path."
    assert plugin.facts["version"] == ("3",)
    assert plugin.facts["reads"] == (
        "object_detection or ocr",
        "where a stage produces it: caption",
    )
    assert plugin.facts["produces"] == ("tag",)
    needs, missing = plugin.facts["packages"]
    assert needs == "florilegium, no_such_package"
    assert missing == (
        "stage 'needy' needs no_such_package, not installed: pip install no_such_package"
    )
    assert plugin.facts["defaults"] == ("it cannot be made with them: path: Field required",)
    assert plugin.stanza == f"specialists:\n  needy:\n    use: {NEEDY}\n    path: PATH\n"


def test_what_is_installed_says_so() -> None:
    assert STAGES.describe("rapidocr").facts["packages"] == (
        "extra `starter`: rapidocr, onnxruntime: installed",
    )
    assert "packages" not in STAGES.describe("nms").facts


def test_a_filter_says_what_it_measures_and_when_it_can_judge() -> None:
    facts = STAGES.describe("text_filter").facts
    assert facts["kind"] == ("filter",)
    assert "object_complexity" in facts["measures"]
    assert facts["a verdict depends on"][0].startswith("the annotation alone")


def test_a_filter_that_measures_nothing_is_not_asked_again_whatever_changes() -> None:
    changes = {option.name: option.change for option in STAGES.describe("nms").options}
    assert changes["round"] is Change.VERDICTS
    assert changes["batch_size"] is Change.NOTHING
    changes = {option.name: option.change for option in STAGES.describe("text_filter").options}
    assert changes["round"] is Change.ANSWERS
    assert changes["tasks"] is Change.VERDICTS


def test_a_name_that_is_not_installed_is_an_error() -> None:
    with pytest.raises(PlanError, match="did you mean 'rapidocr'"):
        STAGES.describe("rapidoc")


@pytest.mark.parametrize("kind", [STAGES, SOURCES, RULES, EXPORT_FORMATS])
def test_a_description_fits_a_terminal_and_has_all_options(kind: Any) -> None:
    for plugin in kind.all():
        assert isinstance(plugin, Plugin)
        lines = [line for text in lines_of(plugin) for line in text.split("\n")]
        stanza = {line.strip() for line in plugin.stanza.split("\n")}
        wide = [line for line in lines if len(line) > WIDTH and line.strip() not in stanza]
        assert wide == []
        for option in plugin.options:
            assert any(line.startswith(f"  {option.name}: ") for line in lines), option.name


def test_a_description_has_what_a_new_value_costs() -> None:
    text = "\n".join(lines_of(STAGES.describe("detector")))
    assert "least_score: number at least 0 and below 1; default 0.1" in text
    assert "Low by default: filters judge later.\n      [asked again]" in text
    assert "Images handed to the stage at once. [free]" in text
    assert "No answer changes, and nothing is asked again." in text


def test_a_description_is_json_too() -> None:
    document = STAGES.describe("nms").to_json()
    iou = document["options"][0]["options"][0]
    assert (iou["name"], iou["default"], iou["is_required"]) == ("tasks.NAME.iou", 0.6, False)
    assert document["options"][0]["change"] == "judged again"
