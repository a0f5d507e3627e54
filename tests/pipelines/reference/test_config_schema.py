"""The JSON schema of configs: what is shipped is valid by it, typical mistakes are not."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from florilegium.engine.core.errors import UsageError
from florilegium.engine.planning.registry import stage_names
from florilegium.engine.untrusted.escaped import json_text
from florilegium.pipelines.reference.config_schema import config_schema
from florilegium.pipelines.reference.plugins import EXPORT_FORMATS, STAGES
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
KINDS = ("run", "train", *EXPORT_FORMATS.names())


@cache
def validator(kind: str = "run") -> Draft202012Validator:
    return Draft202012Validator(config_schema(kind))


def faults(text: str, kind: str = "run") -> list[str]:
    """What the schema says against a config; a run gets a source and a stage if it has none."""
    document: Any = yaml.safe_load(text)
    if kind == "run":
        document = {"specialists": {"rapidocr": None}, **document}
    return [error.message for error in validator(kind).iter_errors(document)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_one(kind: str) -> None:
    schema: Any = validator(kind).schema
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:florilegium:config:{kind}"
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_names_the_schema_beside_it_and_is_valid_by_it(path: Path) -> None:
    text = path.read_text("utf-8")
    kind, name = ("train", "train.schema") if path.stem.endswith("train") else ("run", "schema")
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={name}.json"
    stored = (path.parent / f"{name}.json").read_text("utf-8")
    command = f"florilegium schema {kind} > configs/{name}.json"
    assert stored == json_text(validator(kind).schema) + "\n", f"it is out of date: {command}"
    assert faults(text, kind) == []


@pytest.mark.parametrize("name", stage_names())
def test_the_piece_of_config_of_every_stage_is_valid(name: str) -> None:
    assert faults(STAGES.describe(name).stanza) == []


@pytest.mark.parametrize(
    "text",
    [
        "source: photos",
        "source: [photos, {url: more, include: ['*.jpg']}]",
        "source: {kind: shape_world, count: 10}",
        "source: {kind: 'acme.source:Camera', anything: 1}",
        "source: {url: photos, caption_column: text, provides: [object_detection]}",
        "runner: local",
        "runner: {kind: ray, workers: 2}",
        "plugin_path: .",
        "filters: null",
        "filters: {nms: {tasks: {ocr: {iou: 0.4}}}}",
        "specialists: {mine: {use: 'acme.mine:Mine', anything: 1}}",
        "specialists: {rapidocr: {use: detector, least_score: 0.2}}",
        "specialists: {objects: {use: detector, reads: [], sample_share: 0.5}}",
        "refresh: null",
        "refresh: {notify: {webhook_env: HOOK, 'on': failed}}",
        "refresh: {notify: [{command: ./tell}, {command: [tell, me]}]}",
        "refine: {students: {student: {tasks: [caption]}}, train: {model: x}, audit: null}",
    ],
)
def test_what_a_build_understands_is_valid(text: str) -> None:
    assert faults(text) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("shard_sise: 64", "'shard_sise' was unexpected"),
        ("shard_size: 0", "0 is less than the minimum of 1"),
        ("shard_size: many", "'many' is not of type 'integer'"),
        ("images: jpeg", "'jpeg' is not one of ['jpg', 'png', 'original']"),
        ("specialists: {}", "{} should be non-empty"),
        ("specialists: {rapidocr: {least_scor: 0.5}}", "'least_scor' was unexpected"),
        ("specialists: {rapidocr: {threads: 0}}", "0 is less than the minimum of 1"),
        ("specialists: {detector: {dtype: int8}}", "'int8' is not one of"),
        ("specialists: null", "None is not of type 'object'"),
        (
            "{refine: {students: {s: {}}, train: {model: x}}, filters: {nms: null}, "
            "specialists: {}}",
            "{} should be non-empty",
        ),
        ("specialists: {objects: {use: detectr}}", "not valid under any of the given schemas"),
        ("specialists: {objects: {use: nms}}", "not valid under any of the given schemas"),
        ("specialists: {objects: {use: detector, modle: x}}", "'modle' was unexpected"),
        ("specialists: {rapidocr: {sample_share: 2}}", "2 is greater than the maximum of 1"),
        ("specialists: {florence2: {tasks: [captions]}}", "'captions' is not one of"),
        ("specialists: {'a/b': {use: detector}}", "'a/b' does not match"),
        ("filters: {nms: {sample_share: 0.5}}", "'sample_share' was unexpected"),
        ("filters: {nms: {tasks: {orc: {iou: 0.4}}}}", "'orc' is not one of"),
        ("filters: {nms: {tasks: {ocr: {iuo: 0.4}}}}", "'iuo' was unexpected"),
        ("limits: {max_pixel: 10}", "'max_pixel' was unexpected"),
        ("refine: {students: {}, train: {model: x}}", "should be non-empty"),
        ("refine: {students: {s: {taks: []}}, train: {model: x}}", "'taks' was unexpected"),
        ("refine: {students: {s: {}}}", "'train' is a required property"),
        ("refine: {students: {s: {}}, train: {model: x, step: 3}}", "'step' was unexpected"),
        (
            "refine: {students: {s: {}}, train: {model: x}, fine_tune: {s: {steps: 3}}}",
            "'tasks' is a required property",
        ),
    ],
)
def test_a_mistake_is_found_where_it_is(text: str, fault: str) -> None:
    assert any(fault in found for found in faults(text)), faults(text)


@pytest.mark.parametrize(
    ("stages", "fault"),
    [
        (
            "specialists: {rapidcor: {threads: 2}}",
            "'rapidcor' is not one of ['azure_ocr', 'chat_caption', ",
        ),
        (
            "specialists: {rapidcor: null, detector: null}",
            "'rapidcor' is not one of ['azure_ocr', ",
        ),
        ("{filters: {rapidocr: null}, specialists: {rapidocr: null}}", "'rapidocr' is not one of"),
        (
            "specialists: {mine: {use: 'acme:Mine', x: 1}, objects: {model: x}}",
            "'use' is a required property",
        ),
        ("filters: {}", "'specialists' is a required property"),
    ],
)
def test_a_validator_finds_one_mistake_in_a_name_and_tells_it(stages: str, fault: str) -> None:
    errors = list(validator().iter_errors(yaml.safe_load(stages)))
    assert [error.message for error in errors] == [best_match(errors).message]
    assert errors[0].message.startswith(fault)


def test_filters_may_stand_alone() -> None:
    for specialists in ("", ", specialists: {}", ", specialists: null"):
        text = f"{{filters: {{nms: null}}{specialists}}}"
        assert list(validator().iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    "text",
    [
        "source: {count: 10}",
        "source: []",
        "source: 3",
        "source: {kind: shape_wrld, count: 10}",
        "source: {kind: folder, url: photos, image_column: x}",
        "source: {url: photos, shard: 3}",
        "runner: locl",
        "refresh: {limits: {max_drift: 2}}",
        "{refine: {students: {s: {}}, train: {model: x}}, refresh: {}}",
    ],
)
def test_a_mistake_where_several_forms_are_possible_is_found(text: str) -> None:
    assert faults(text)


@pytest.mark.parametrize(
    ("kind", "text", "is_valid"),
    [
        ("train", "model: x", True),
        ("train", "steps: 3", False),
        ("train", "{model: x, steps: 0}", False),
        ("few_shot", "audit: audit.jsonl", True),
        ("few_shot", "per_task: 3", False),
        ("coco", "{}", True),
        ("coco", "categorys: []", False),
        ("florence2", "tasks: {caption: 1}", True),
    ],
)
def test_trainings_and_exports_have_schemas_of_their_own(
    kind: str, text: str, is_valid: bool
) -> None:
    assert (faults(text, kind) == []) is is_valid


def test_an_editor_shows_what_an_option_means_and_what_a_new_value_costs() -> None:
    schema: Any = validator().schema
    definitions = schema["$defs"]
    own = definitions["stage.detector"]["properties"]["least_score"]
    assert own["description"] == (
        "Score that objects must exceed, 0..1. Low by default: filters judge later. "
        "A new value: asked again."
    )
    assert (own["default"], own["minimum"], own["exclusiveMaximum"]) == (0.1, 0, 1)
    shared = definitions["stage.detector"]["properties"]["num_gpus"]
    assert shared == {"$ref": "#/$defs/option.StageConfig.num_gpus"}
    assert "A new value: free." in definitions["option.StageConfig.num_gpus"]["description"]


def test_a_kind_that_is_none_is_an_error() -> None:
    with pytest.raises(UsageError, match="no config kind 'trian': did you mean 'train'"):
        config_schema("trian")
