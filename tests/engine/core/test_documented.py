"""Docstrings of attributes, from the source of their classes."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from pydantic import BaseModel

from florilegium.engine.core import documented, stage
from florilegium.engine.core.documented import attribute_docs, constant_docs


class Base(BaseModel):
    kept: int = 1
    """Of the base."""
    told_again: int = 1
    """Of the base."""
    silent: int = 1


class Child(Base):
    told_again: int = 2
    """Of the child,
    on two lines."""
    kept: int = 2
    own: int = 3
    "Own."


@dataclass
class Holder:
    class Inner:
        deep: int = 1
        """Of a class in a class."""

    number: int = 1
    """Of a dataclass."""


def test_a_field_has_the_string_below_it_its_own_before_that_of_the_base() -> None:
    docs = attribute_docs(Child)
    assert docs["kept"] == "Of the base."
    assert docs["told_again"] == "Of the child,\non two lines."
    assert docs["own"] == "Own."
    assert "silent" not in docs


def test_classes_within_classes_and_functions_are_found() -> None:
    class Local:
        here: int = 1
        """Of a local class."""

    assert attribute_docs(Local) == {"here": "Of a local class."}
    assert attribute_docs(Holder) == {"number": "Of a dataclass."}
    assert attribute_docs(Holder.Inner) == {"deep": "Of a class in a class."}


def test_a_class_without_source_has_no_docstrings() -> None:
    made = type("Made", (), {"__module__": "nowhere"})
    assert attribute_docs(made) == {}
    assert attribute_docs(int) == {}


def test_constants_of_a_module_have_the_string_below_them() -> None:
    assert constant_docs(stage)["RUNTIME"].startswith("The field changes how fast")
    assert constant_docs(documented) == {}
    assert constant_docs(ModuleType("made")) == {}
