"""The page about the public API: signatures and docstrings of all names that a plugin may use."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from florilegium.engine.core.documented import attribute_docs
from florilegium.pipelines.reference.markdown import block, code, heading, link, prose, table
from florilegium.pipelines.reference.model_schema import joined

MODULES = ("florilegium", "florilegium.testing")
"""The modules of the public API; what their `__all__` does not have may change."""


def api_page() -> str:
    """Return the page of the public API."""
    text = heading(1, "Python API")
    for module in filter(find_spec, MODULES):
        text += _module(import_module(module))
    return text


def _module(module: ModuleType) -> str:
    names = list(module.__all__)
    text = heading(2, code(module.__name__), "api", module.__name__)
    text += f"{(module.__doc__ or '').strip()}\n\n"
    rows = (
        (link(code(name), "api", module.__name__, name), prose(_first_line(getattr(module, name))))
        for name in names
    )
    text += table(("name", "what it is"), rows)
    return text + "".join(_entry(module, name) for name in names)


def _first_line(found: Any) -> str:
    is_documented = inspect.isclass(found) or inspect.isroutine(found)
    doc = inspect.getdoc(found) if is_documented else ""
    return joined(doc or "").split("\n\n")[0]


def _entry(module: ModuleType, name: str) -> str:
    found = getattr(module, name)
    text = heading(3, code(name), "api", module.__name__, name)
    if inspect.isclass(found):
        text += block(f"class {name}{_signature(found)}", "python") + _doc(found)
        return text + "".join(_members(found))
    if inspect.isroutine(found):
        return text + block(f"def {name}{_signature(found)}", "python") + _doc(found)
    return text + block(f"{name} = {found!r}", "python")


def _members(owner: type) -> Iterator[str]:
    """Yield the documented public attributes and methods of a class, as a list."""
    docs = attribute_docs(owner)
    for name in dict.fromkeys([*docs, *dir(owner)]):
        if name.startswith("_"):
            continue
        member = inspect.getattr_static(owner, name, None)
        if name in docs:
            yield _member(name, docs[name])
        elif isinstance(member, property):
            yield _member(name, inspect.getdoc(member) or "")
        elif inspect.isfunction(member) and _is_ours(member):
            yield _member(f"{name}{_signature(member)}", inspect.getdoc(getattr(owner, name)) or "")


def _is_ours(member: Any) -> bool:
    return str(member.__module__).startswith(f"{MODULES[0]}.")


def _member(spelling: str, doc: str) -> str:
    paragraphs = doc.strip().split("\n\n")
    body = "\n\n".join(_paragraph(one) for one in paragraphs if one)
    indented = body.replace("\n", "\n  ")
    return f"* **{code(spelling)}**\n\n  {indented}\n\n" if body else f"* **{code(spelling)}**\n\n"


def _doc(found: Any) -> str:
    doc = inspect.getdoc(found) or ""
    return "".join(f"{_paragraph(one)}\n\n" for one in doc.strip().split("\n\n") if one)


def _paragraph(text: str) -> str:
    """Return a paragraph of a docstring; sections such as `Raises:` become lists, and what is
    indented code."""
    head, separator, rest = text.partition("\n")
    if separator and head.rstrip().endswith(":") and rest.startswith("    "):
        entries = joined_entries(inspect.cleandoc(rest))
        return "\n".join([f"{head}\n", *(f"* {prose(entry)}" for entry in entries)])
    if text.startswith("    "):
        return block(inspect.cleandoc(text), "text").rstrip()
    return prose(text)


def joined_entries(text: str) -> list[str]:
    """Return the entries of a section of a docstring, each on one line."""
    entries: list[str] = []
    for line in text.split("\n"):
        if line.startswith(" ") and entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line.strip())
    return entries


def _signature(found: Any) -> str:
    """Return a signature; of a class only where it has one of its own."""
    is_plain = inspect.isclass(found) and not is_dataclass(found) and "__init__" not in vars(found)
    if is_plain:
        return ""
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return ""
    if inspect.isclass(found):
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    return str(signature).replace("'", "")
