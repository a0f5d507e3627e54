"""The JSON schema of a config, with the options of all that is installed.

It knows what an editor can check while a line is written. What depends on other lines, such as
which stage produces what another one reads, the planner checks: `florilegium build --dry-run`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from florilegium.engine.core.errors import UsageError, nearest
from florilegium.engine.core.stage import Specialist, Stage
from florilegium.engine.planning.config import SECTIONS, RunConfig
from florilegium.engine.planning.fingerprint import SAMPLE_SHARE
from florilegium.engine.planning.registry import (
    find_source,
    find_stage,
    installed_names,
    source_names,
    stage_names,
)
from florilegium.engine.untrusted.escaped import cut
from florilegium.engine.untrusted.names import LONGEST
from florilegium.pipelines.export.exporter import EXPORTERS, find_exporter
from florilegium.pipelines.reference.model_schema import REFERENCE, Schema, names_of, schemas_of
from florilegium.pipelines.reference.options import change_of, owner_of
from florilegium.pipelines.reference.stage import is_asked
from florilegium.pipelines.refine.config import RefineOptions
from florilegium.pipelines.refresh.options import RefreshOptions
from florilegium.pipelines.training.config import TrainConfig

RUN, TRAIN = "run", "train"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
AUTO = "auto"
NAME = r"^[A-Za-z0-9_.-]+$"
"""The names that a stage may have (`check_name`)."""
STUDENT = "florence2"
"""The stage that a student is, unless its `use` names another."""
_MODULE = {"type": "string", "pattern": r"^[\w.]+:[\w.]+$"}
"""A class that is not installed, `package.module:Class`: its options are unknown here."""


def config_schema(kind: str = RUN) -> Schema:
    """Return the schema of a config: `run`, which has the sections `refine` and `refresh`, `train`,
    or the options of an export format.

    Raises:
        UsageError: there is no such kind.
    """
    formats = installed_names(EXPORTERS)
    if kind not in (RUN, TRAIN, *formats):
        hint = nearest(kind, (RUN, TRAIN, *formats))
        raise UsageError(f"no config kind {cut(kind)}: {hint}")
    if kind == RUN:
        schema = _run()
    else:
        model = TrainConfig if kind == TRAIN else find_exporter(kind).Config
        names, definitions = schemas_of([model])
        schema = {**definitions.pop(names[model]), "$defs": definitions}
    title = f"A config of florilegium: {kind}"
    return {"$schema": DIALECT, "$id": f"urn:florilegium:config:{kind}", "title": title, **schema}


def _run() -> Schema:
    """Return the schema of a run, its refinement and its refreshes."""
    stages = {name: find_stage(name) for name in stage_names()}
    sources = {name: find_source(name).Config for name in source_names()}
    sections: list[type[BaseModel]] = [RefineOptions, RefreshOptions, TrainConfig]
    entries: list[type[BaseModel]] = [RunConfig, *sources.values()]
    entries += (stage.Config for stage in stages.values())
    names, definitions = schemas_of([*sections, *entries])
    root = definitions[names[RunConfig]]
    ours = {
        **_stages(stages, {name: definitions[names[one.Config]] for name, one in stages.items()}),
        **_sources({kind: definitions[names[model]] for kind, model in sources.items()}),
        "student": {"type": "object", **_named(STUDENT, Specialist.section)},
        "tuning": _tuning(definitions[names[TrainConfig]]),
    }
    refine = definitions[names[RefineOptions]]["properties"]
    refine["students"]["additionalProperties"] = _reference("student")
    refine["fine_tune"]["additionalProperties"] = _reference("tuning")
    keys = root["properties"]
    keys["source"] = {"description": keys["source"]["description"], **_one_or_more("source")}
    for section in SECTIONS:
        keys[section] = {"description": keys[section]["description"], **_reference(section)}
    keys["refine"] = _reference(names[RefineOptions])
    keys["refresh"] = {"anyOf": [_reference(names[RefreshOptions]), {"type": "null"}]}
    used = {names[model] for model in entries}
    rest = {name: one for name, one in definitions.items() if name not in used}
    del root["required"]  # source and output may be given on the command line
    rules = {"not": {"required": ["refine", "refresh"]}, **_some_stages()}
    return {**root, **rules, "$defs": rest | ours}


def _some_stages() -> Schema:
    """Return the rule that a run has stages of any kind, and a refinement specialists."""
    some = {
        section: {
            "required": [section],
            "properties": {section: {"type": "object", "minProperties": 1}},
        }
        for section in SECTIONS
    }
    specialists = some.pop(Specialist.section)
    is_refined = {"required": ["refine"]}
    judges = {"anyOf": list(some.values())}
    return {"if": {"anyOf": [is_refined, {"not": judges}]}, "then": specialists}


def _stages(stages: Mapping[str, type[Stage[Any]]], options: Mapping[str, Schema]) -> Schema:
    """Return the definitions of all stages, of the sections, and of a stage in each; options
    that several stages have are definitions of their own."""
    found: Schema = {}
    for name, stage in stages.items():
        found[f"stage.{name}"] = {
            **options[name],
            "type": ["object", "null"],
            "properties": {
                **(_OF_SPECIALISTS if issubclass(stage, Specialist) else _OF_STAGES),
                **dict(_options(stage, options[name].get("properties", {}), found)),
            },
        }
    for section in SECTIONS:
        names = [name for name, stage in stages.items() if stage.section == section]
        found[f"{section}.use"] = _by_use(names)
        found[section] = {
            "type": ["object", "null"],
            "propertyNames": {"pattern": NAME, "maxLength": LONGEST},
            "properties": {name: _named(name, section) for name in names},
            **_others(names, _reference(f"{section}.use")),
        }
    return found


def _others(names: Iterable[str], by_use: Schema) -> Schema:
    """Return the rule for stages that have no name of an installed one: their `use` names a class.
    Where none of them has a `use`, it is the name that is refused: probably it is mistyped."""
    installed = dict.fromkeys(names, True)
    return {
        "if": {"properties": installed, "additionalProperties": {"not": _HAS_USE}},
        "then": {"propertyNames": {"enum": list(installed)}},
        "else": {"properties": installed, "additionalProperties": by_use},
    }


def _options(
    stage: type[Stage[Any]], options: Schema, found: Schema
) -> Iterator[tuple[str, Schema]]:
    """Yield the options of a stage, with what a new value costs; those of a base are put among the
    definitions found, and referred to."""
    names = names_of(stage.Config)
    for key, option in options.items():
        name = names[key]
        change = f"A new value: {change_of(stage.Config, name, is_asked=is_asked(stage))}."
        text = " ".join(filter(None, [option.get("description"), change]))
        schema = {**option, "description": text}
        owner = owner_of(stage.Config, name)
        shared = f"option.{owner.__name__}.{name}"
        is_shared = owner is not stage.Config and found.setdefault(shared, schema) == schema
        yield key, _reference(shared) if is_shared else schema


_OF_STAGES: Mapping[str, Schema] = {
    "use": {
        "type": "string",
        "description": "The class of the stage: an installed name, or `package.module:Class`. By "
        "default the stage's own name.",
    },
    "reads": {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}},
            {"type": "null"},
        ],
        "description": "The stages to read, by name; by default all that produce what it reads.",
    },
}
"""The keys of a stage that the planner reads."""
_OF_SPECIALISTS: Mapping[str, Schema] = {
    **_OF_STAGES,
    SAMPLE_SHARE: {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "default": 1,
        "description": "The share of the images that the stage is asked about.",
    },
}


_HAS_USE: Schema = {"type": "object", "required": ["use"]}


def _named(name: str, section: str) -> Schema:
    """Return the schema of a stage that has the name of an installed one: it is of another class
    where `use` says so."""
    return {
        "if": _HAS_USE,
        "then": _reference(f"{section}.use"),
        "else": _reference(f"stage.{name}"),
    }


def _by_use(names: Iterable[str]) -> Schema:
    """Return the schema of a stage whose class `use` names."""
    return {
        "type": "object",
        "required": ["use"],
        "properties": {"use": {"anyOf": [{"enum": list(names)}, _MODULE]}},
        "allOf": [_if_is("use", name, f"stage.{name}") for name in names],
    }


def _sources(options: Mapping[str, Schema]) -> Schema:
    """Return the definitions of a source: one of each kind, one whose kind is not given, and one of
    any kind."""
    found = {f"source.{kind}": schema for kind, schema in options.items()}
    keys = {name: one for schema in options.values() for name, one in schema["properties"].items()}
    unknown = {"properties": keys, "required": ["url"], "additionalProperties": False}
    is_other = {"properties": {"kind": {"not": {"const": AUTO}}}, "required": ["kind"]}
    kinds = {"anyOf": [{"enum": [AUTO, *options]}, _MODULE]}
    of_kind = {
        "type": "object",
        "properties": {"kind": kinds},
        "if": is_other,
        "then": {"allOf": [_if_is("kind", kind, f"source.{kind}") for kind in options]},
        "else": unknown,
    }
    return {**found, "source": {"anyOf": [{"type": "string"}, of_kind]}}


def _if_is(key: str, value: str, then: str) -> Schema:
    is_value = {"properties": {key: {"const": value}}, "required": [key]}
    return {"if": is_value, "then": _reference(then)}


def _one_or_more(name: str) -> Schema:
    one = _reference(name)
    return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}


def _tuning(training: Schema) -> Schema:
    """Return the schema of how one student is trained further: what differs from `train`."""
    properties = {name: one for name, one in training["properties"].items() if name != "model"}
    return {**training, "properties": properties, "required": ["tasks"]}


def _reference(name: str) -> Schema:
    return {"$ref": f"{REFERENCE}{name}"}
