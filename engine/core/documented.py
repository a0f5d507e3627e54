"""Docstrings of attributes: the string below a field, from the source of its class.

Read when documentation is asked for, so that an import costs nothing. pydantic's
`use_attribute_docstrings` would read the sources of all configs whenever a worker starts: it adds
a fifth to the import of a run's config.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from types import ModuleType


def attribute_docs(owner: type) -> dict[str, str]:
    """Return the docstrings of a class's attributes by name, those of its bases included; an
    attribute that is declared again without one keeps that of the base."""
    docs: dict[str, str] = {}
    for one in reversed(owner.__mro__):
        docs |= _classes(_source_of(sys.modules.get(one.__module__))).get(one.__qualname__, {})
    return docs


def constant_docs(module: ModuleType) -> dict[str, str]:
    """Return the docstrings of a module's constants by name."""
    return dict(_attributes(ast.parse(_source_of(module)).body))


def _source_of(module: ModuleType | None) -> str:
    """Return the source of a module; empty where there is none, as of a built-in one."""
    try:
        return inspect.getsource(module) if module else ""
    except (OSError, TypeError):
        return ""


@lru_cache(maxsize=256)
def _classes(source: str) -> Mapping[str, Mapping[str, str]]:
    """Return the docstrings of the attributes of all classes in a source, by qualified name."""
    return dict(_in_body(ast.parse(source).body, prefix=""))


def _in_body(body: list[ast.stmt], *, prefix: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    for one in body:
        if isinstance(one, ast.ClassDef):
            name = f"{prefix}{one.name}"
            yield name, dict(_attributes(one.body))
            yield from _in_body(one.body, prefix=f"{name}.")
        elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _in_body(one.body, prefix=f"{prefix}{one.name}.<locals>.")


def _attributes(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, text in pairwise(body):
        if not (isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)):
            continue
        target: ast.expr | None = field.target if isinstance(field, ast.AnnAssign) else None
        if isinstance(field, ast.Assign):
            target = field.targets[0]
        if isinstance(target, ast.Name) and isinstance(text.value.value, str):
            yield target.id, inspect.cleandoc(text.value.value)
