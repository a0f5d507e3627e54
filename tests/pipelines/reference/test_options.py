"""Options as people read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from florilegium.engine.core.stage import CONTENT, RUNTIME, THRESHOLD, StageConfig
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.planning.registry import find_source, find_stage, source_names, stage_names
from florilegium.pipelines.merge.rules import RuleOptions
from florilegium.pipelines.reference.options import Change, Option, options_of
from florilegium.pipelines.reference.plugins import EXPORT_FORMATS
from florilegium.pipelines.reference.values import yaml_lines
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.refresh.options import RefreshConfig
from florilegium.pipelines.training.config import TrainConfig


class Part(BaseModel):
    share: float = Field(default=0.5, gt=0, le=1)
    """A share."""
    name: str


class Tree(BaseModel):
    leaf: int = 1
    trees: list[Tree] = []


class Unusual(StageConfig):
    side: int = Field(default=8, alias="long-side")
    """Pixels."""
    tree: Tree = Tree()
    nothing: tuple[()] = ()


class Options(StageConfig):
    model: Annotated[str, CONTENT] = "a/b"
    """A model
    on the hub."""
    least: Annotated[float, THRESHOLD, Field(ge=0, lt=1)] = 0.25
    threads: Annotated[int, RUNTIME, Field(ge=1)] = 1
    side: int = Field(default=960, ge=16, le=4096)
    size: int | None = None
    mode: Literal["fast", "exact"] = "fast"
    many: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    names: tuple[str, ...] = Field(default=(), min_length=1)
    band: tuple[float, float] = (0.0, 1.0)
    weights: dict[str, float] = Field(default_factory=lambda: {"a": 1.0})
    parts: dict[str, Part] = Field(default={"x": Part(share=0.1, name="x")})
    part: Part | None = None
    is_on: bool = True
    anything: dict[str, Any] = Field(default={})
    needed: str


OPTIONS = {option.name: option for option in options_of(Options)}


@pytest.mark.parametrize(
    ("name", "value", "default"),
    [
        ("model", "text", "a/b"),
        ("least", "number at least 0 and below 1", "0.25"),
        ("threads", "whole number at least 1", "1"),
        ("side", "whole number 16..4096", "960"),
        ("size", "whole number or null", "null"),
        ("mode", "`fast` or `exact`", "fast"),
        ("many", "whole number at least 1 or `auto`", "auto"),
        ("names", "list of: text, not empty", "[]"),
        ("band", "list of 2: number", "[0.0, 1.0]"),
        ("weights", "mapping of names to: number", "{a: 1.0}"),
        ("parts", "mapping of names to: mapping", "{x: {name: x, share: 0.1}}"),
        ("part", "mapping or null", "null"),
        ("is_on", "`true` or `false`", "true"),
        ("anything", "mapping", "{}"),
        ("needed", "text", None),
    ],
)
def test_an_option_has_its_type_its_range_and_its_default(
    name: str, value: str, default: str | None
) -> None:
    assert (OPTIONS[name].value, OPTIONS[name].default) == (value, default)


def test_the_meaning_is_the_docstring_on_one_line() -> None:
    assert OPTIONS["model"].doc == "A model on the hub."
    assert OPTIONS["size"].doc == ""


def test_the_mark_of_a_field_says_what_a_new_value_costs() -> None:
    assert OPTIONS["threads"].change is Change.NOTHING
    assert OPTIONS["least"].change is Change.VERDICTS
    assert OPTIONS["model"].change is Change.CONTENT
    assert OPTIONS["side"].change is Change.ANSWERS
    assert {option.change for option in options_of(RunConfig)} == {None}


def test_keys_within_a_key_have_dotted_names() -> None:
    nested = {one.name: one for option in OPTIONS.values() for one in option.nested}
    assert set(nested) == {"parts.NAME.share", "parts.NAME.name", "part.share", "part.name"}
    assert nested["part.share"].value == "number above 0 and at most 1"
    assert nested["part.share"].doc == "A share."
    assert nested["part.name"].default is None


def test_the_options_of_the_class_itself_come_before_those_of_its_bases() -> None:
    names = list(OPTIONS)
    assert names[0] == "model"
    assert names[-5:] == ["batch_size", "num_gpus", "workers", "call_seconds", "round"]
    assert OPTIONS["round"].owner is StageConfig


class Device:
    """Something that JSON does not know."""


class Strange(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    size: int = 3
    device: Device = Field(default_factory=Device)
    other: Device = Field(default=Device())
    double: int = Field(default_factory=lambda values: 2 * int(values["size"]))


def test_an_option_that_json_does_not_know_does_not_hide_the_others() -> None:
    found = {option.name: (option.value, option.default) for option in options_of(Strange)}
    assert found["size"] == ("whole number", "3")
    assert found["device"][0] == found["other"][0] == "anything"
    assert found["double"] == ("whole number", "")
    double = options_of(Strange)[-1]
    assert double.default_text == "a default that code makes"
    assert "default" not in double.to_json()


def test_a_long_mapping_has_an_entry_on_each_line() -> None:
    assert yaml_lines("tasks", {"a": 1}) == ["tasks: {a: 1}"]
    long = {"first": "x" * 40, "second": "y" * 40}
    assert yaml_lines("tasks", long) == ["tasks:", f"  first: {'x' * 40}", f"  second: {'y' * 40}"]


def shipped() -> Iterator[tuple[str, type[BaseModel]]]:
    """All configs whose options a user may write."""
    for model in (RunConfig, RefineConfig, RefreshConfig, TrainConfig, RuleOptions):
        yield model.__name__, model
    yield from ((name, find_stage(name).Config) for name in stage_names())
    yield from ((name, find_source(name).Config) for name in source_names())
    yield from ((name, EXPORT_FORMATS.describe(name).config) for name in EXPORT_FORMATS.names())


def test_every_option_that_is_shipped_is_documented() -> None:
    def without(option: Option) -> Iterator[str]:
        yield from (one.name for one in option.all if not one.doc)

    silent = {
        f"{where}: {name}"
        for where, model in shipped()
        for option in options_of(model)
        for name in without(option)
    }
    assert silent == set()


def test_options_with_aliases_and_those_that_hold_themselves_are_shown() -> None:
    options = {one.name: one for top in options_of(Unusual) for one in top.all}
    assert (options["long-side"].value, options["long-side"].doc) == ("whole number", "Pixels.")
    assert options["tree.trees"].value == "list of: anything"
    assert options["tree.leaf"].default == "1"
    assert options["nothing"].value == "empty list"
