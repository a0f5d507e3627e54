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


def attribute_docs(owner: type) -> dict[str, str]:
    """Return the docstrings of a class's attributes by name, those of its bases included; an
    attribute that is declared again without one keeps that of the base."""
    docs: dict[str, str] = {}
    for one in reversed(owner.__mro__):
        docs |= _classes(_source_of(one)).get(one.__qualname__, {})
    return docs


def _source_of(owner: type) -> str:
    """Return the source of a class's module; empty where there is none, as of a built-in."""
    module = sys.modules.get(owner.__module__)
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
        targets: list[ast.expr] = [field.target] if isinstance(field, ast.AnnAssign) else []
        if isinstance(field, ast.Assign):
            targets = list(field.targets)
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(text.value.value, str):
                yield target.id, inspect.cleandoc(text.value.value)
