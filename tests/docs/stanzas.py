"""YAML of the documentation: a config or a part of one, checked by the models that read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from florilegium.engine.core.tasks import TASKS
from florilegium.engine.planning.config import RunConfig, load_document, validated
from florilegium.engine.planning.graph import plan
from florilegium.engine.planning.plugins import search_for_plugins
from florilegium.engine.planning.registry import find_stage
from florilegium.engine.untrusted.safe_yaml import read_yaml
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.refresh.options import load_run
from florilegium.pipelines.training.config import TrainConfig
from tests.conftest import ROOT

_SECTIONS = {*RunConfig.model_fields, "refresh", "refine"}
_MINIMAL = {"source": "photographs", "output": "out", "specialists": {"rapidocr": {}}}


def check_yaml(text: str) -> None:
    """Check a run config, some of its sections, stages by name, or the options of a training.

    What is missing is added, so that a part is read as it would be in a whole config.

    Raises:
        ValueError: it is none of these.
        UsageError: what the models find wrong.
    """
    document = read_yaml(text.encode(), where="the block")
    if not isinstance(document, dict):
        raise ValueError("the block is no mapping")
    if set(document) <= _SECTIONS:
        _check_run(document)
    elif _are_stages(document):
        _check_run(_in_sections(document))
    elif set(document) <= set(TrainConfig.model_fields):
        validated(TrainConfig, {"model": "FOLDER", **document}, where="the block")
    else:
        raise ValueError(
            "the block is neither a config nor sections of one, nor stages by name: say with a "
            "comment `not run` what it is"
        )


def _check_run(document: Mapping[str, Any]) -> None:
    whole = {**_MINIMAL, **document}
    if "refine" in document:
        known = load_document(ROOT / "configs" / "known_truth.yaml")
        whole["refine"] = {**known["refine"], **document["refine"]}
        config: RunConfig = validated(RefineConfig, whole, where="the block")
    else:
        config, _ = load_run(whole, where="the block")
    search_for_plugins(config.plugin_path)
    plan(config, source_tasks=TASKS, is_dry=True)


def _are_stages(document: Mapping[str, Any]) -> bool:
    return all(options is None or isinstance(options, dict) for options in document.values())


def _in_sections(stages: Mapping[str, Any]) -> dict[str, Any]:
    """Put stages by name into the sections of their classes."""
    sections: dict[str, Any] = {}
    for name, options in stages.items():
        section = find_stage((options or {}).get("use", name)).section
        sections.setdefault(section, {})[name] = options
    return sections
