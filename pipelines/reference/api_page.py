"""The page about the public API: signatures and docstrings of all names that a plugin may use."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from textwrap import dedent, indent
from types import ModuleType
from typing import Any, ForwardRef

from florilegium.engine.core.documented import attribute_docs, constant_docs
from florilegium.pipelines.reference.markdown import block, code, heading, link, prose, table
from florilegium.pipelines.reference.model_schema import joined

MODULES = ("florilegium", "florilegium.testing")
"""The modules of the public API; what their `__all__` does not have may change."""
_OURS = "florilegium."
_SECTIONS = ("Args:", "Returns:", "Yields:", "Raises:")
_INDENTED = "    "
_LONGEST = 90
"""Characters of a signature on one line."""


def api_page() -> str:
    """Return the page of the public API."""
    text = heading(1, "Python API")
    for module in filter(find_spec, MODULES):
        text += _module(import_module(module))
    return text


def _module(module: ModuleType) -> str:
    names = list(module.__all__)
    text = heading(2, code(module.__name__), "api", module.__name__)
    text += f"{docstring(module.__doc__ or '')}\n\n"
    links = (link(code(name), "api", module.__name__, name) for name in names)
    lines = (prose(_first_line(name, getattr(module, name))) for name in names)
    text += table(("name", "what it is"), zip(links, lines, strict=True))
    return text + "".join(_entry(module, name) for name in names)


def _first_line(name: str, found: Any) -> str:
    return joined(_documentation(name, found)).split("\n\n")[0]


def _documentation(name: str, found: Any) -> str:
    """Return the docstring of a class or a function, or that below a constant."""
    if inspect.isclass(found) or inspect.isroutine(found):
        return inspect.getdoc(found) or ""
    modules = [one for where, one in sys.modules.items() if where.startswith(_OURS)]
    own = (constant_docs(one) for one in modules if vars(one).get(name) is found)
    return next((docs[name] for docs in own if name in docs), "")


def _entry(module: ModuleType, name: str) -> str:
    found = getattr(module, name)
    text = heading(3, code(name), "api", module.__name__, name)
    if inspect.isclass(found):
        text += block(f"class {name}{_signature(found)}", "python")
    elif inspect.isroutine(found):
        text += block(f"def {name}{_signature(found)}", "python")
    else:
        text += block(f"{name} = {found!r}", "python")
    text += f"{docstring(_documentation(name, found))}\n\n"
    return text + ("".join(_members(found)) if inspect.isclass(found) else "")


def _members(owner: type) -> Iterator[str]:
    """Yield the documented public attributes and methods of a class, as a list; not those of other
    packages' classes that it derives from."""
    ours = [one for one in owner.__mro__ if one.__module__.startswith(_OURS)]
    docs = attribute_docs(owner)
    named = dict.fromkeys(
        name for one in ours for name in (*vars(one).get("__annotations__", {}), *vars(one))
    )
    for name in named:
        member = inspect.getattr_static(owner, name, None)
        if name.startswith("_") or name == "model_config":
            continue
        if name in docs:
            yield _member(name, docs[name])
        elif isinstance(member, property):
            yield _member(name, inspect.getdoc(member) or "")
        elif inspect.isfunction(member):
            yield _member(f"{name}{_signature(member)}", inspect.getdoc(getattr(owner, name)) or "")


def _member(spelling: str, doc: str) -> str:
    line = " ".join(spelling.split()).replace("( ", "(").replace(", )", ")")
    fence = f"* **{code(line)}**\n\n"
    return f"{fence}{indent(docstring(doc), '  ')}\n\n" if doc else fence


def docstring(text: str) -> str:
    """Return a docstring as Markdown: sections such as `Raises:` become lists, and what is indented
    becomes code."""
    paragraphs = text.strip("\n").split("\n\n")
    parts: list[str] = []
    for is_code, group in groupby(paragraphs, key=lambda one: one.startswith(_INDENTED)):
        if is_code:
            parts.append(block(dedent("\n\n".join(group)), "python").rstrip())
        else:
            parts += map(_paragraph, filter(None, group))
    return "\n\n".join(parts)


def _paragraph(text: str) -> str:
    head, _, rest = text.partition("\n")
    if head in _SECTIONS:
        return "\n".join([f"{head}\n", *(f"* {prose(one)}" for one in _entries(dedent(rest)))])
    return prose(text)


def _entries(text: str) -> list[str]:
    """Return the entries of a section of a docstring, each on one line."""
    entries: list[str] = []
    for line in text.split("\n"):
        if line.startswith(" ") and entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line.strip())
    return entries


class _Written:
    """An annotation as it stands in the source, which `inspect` would show in quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _signature(found: Any) -> str:
    """Return a signature, a line for each parameter where it is long; of a class only where it has
    one of its own."""
    is_own = is_dataclass(found) or not {"__init__", "__new__"}.isdisjoint(vars(found))
    if inspect.isclass(found) and not is_own:
        return ""
    signature = inspect.signature(found)
    parameters = [
        one.replace(annotation=_written(one.annotation)) for one in signature.parameters.values()
    ]
    returns = signature.empty if inspect.isclass(found) else _written(signature.return_annotation)
    signature = signature.replace(parameters=parameters, return_annotation=returns)
    text = str(signature)
    if len(text) <= _LONGEST:
        return text
    end = text[text.rindex(")") :]
    star = ["*"] if any(one.kind is one.KEYWORD_ONLY for one in parameters) else []
    positional = [str(one) for one in parameters if one.kind is not one.KEYWORD_ONLY]
    named = [str(one) for one in parameters if one.kind is one.KEYWORD_ONLY]
    return "(\n" + "".join(f"    {one},\n" for one in (*positional, *star, *named)) + end


def _written(annotation: Any) -> Any:
    if isinstance(annotation, ForwardRef):  # of a named tuple
        annotation = annotation.__forward_arg__
    return _Written(annotation.strip("\"'")) if isinstance(annotation, str) else annotation
