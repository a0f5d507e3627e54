"""Other values of an option are found by its type, and are only such as its config accepts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from florilegium.engine.core.stage import StageConfig
from florilegium.testing.values import other_values


class Shade(StrEnum):
    """Light or dark."""

    LIGHT = "light"
    DARK = "dark"


class Limits(BaseModel):
    """Limits of a task."""

    model_config = ConfigDict(extra="forbid")
    least: float = Field(default=0.5, ge=0, le=1)
    most: float | None = None


class Config(StageConfig):
    """Options of many types."""

    flag: bool = True
    share: float = Field(default=0.5, ge=0, le=1)
    part: float = Field(default=0.5, gt=0, lt=1)
    count: int = Field(default=8, ge=1)
    size: int = 64
    step: int = Field(default=32, ge=32, multiple_of=32)
    shade: Shade = Shade.LIGHT
    kind: Literal["a", "b", "c"] = "b"
    fixed: Literal["only"] = "only"
    least: Annotated[float, Field(ge=0, le=1)] | None = None
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    word: str = "en"
    names: tuple[Literal["x", "y"], ...] = ("x",)
    limits: tuple[float, float] = (1.0, 4.0)
    by_task: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default={})
    by_name: dict[str, Limits] = Field(default={"dog": Limits()})
    even: int = Field(default=4, ge=1, le=9)
    anything: Any = None

    @field_validator("even")
    @classmethod
    def _is_even(cls, even: int) -> int:
        if even % 2:
            raise ValueError("an even number is wanted")
        return even


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("flag", [False]),
        ("share", [0.0, 1.0]),
        ("part", [0.25, 0.75]),
        ("count", [1, 17]),
        ("size", [32, 129]),
        ("step", [64]),
        ("shade", ["dark"]),
        ("kind", ["a", "c"]),
        ("fixed", []),
        ("least", [0.0, 1.0]),
        ("threads", [1, 3]),
        ("word", ["en2"]),
        ("names", [["y"], [], ["x", "y"]]),
        ("limits", [[0.5, 2.0], [3.0, 9.0]]),
        ("by_task", [{"tag": 0.0}, {"tag": 1.0}]),
        (
            "by_name",
            [{"dog": {"least": 0.0, "most": -1.0}}, {"dog": {"least": 1.0, "most": 1.0}}, {}],
        ),
        ("even", []),
        ("anything", []),
    ],
)
def test_other_values_are_found_by_type(name: str, values: list[Any]) -> None:
    assert other_values(Config(), name, given={}, names=["tag"]) == values


def test_other_values_are_other_than_the_one_given() -> None:
    given = {"flag": False, "share": 1.0}
    assert other_values(Config(**given), "flag", given=given) == [True]
    assert other_values(Config(**given), "share", given=given) == [0.0]


def test_a_text_is_made_up_only_where_that_is_harmless() -> None:
    assert other_values(Config(), "word", given={}, has_any_text=False) == []
    assert other_values(Config(), "threads", given={}, has_any_text=False) == [1, 3]


class Thing:
    """Is of no type that JSON has."""


class Odd(StageConfig):
    """Options of which one has no schema."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    thing: Thing = Thing()
    flag: bool = False


def test_a_config_without_a_schema_has_no_other_values() -> None:
    assert other_values(Odd(), "flag", given={}) == []
