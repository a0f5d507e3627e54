"""YAML from outside: text, numbers, lists and mappings only; aliases that multiply are refused.

Keys are text and unique. Dates are text. An error names the line.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.composer import Composer
from yaml.cyaml import CSafeLoader

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.untrusted.escaped import LONGEST, cut, visible

MAX_BYTES = 1 << 20
"""Bytes of a file of YAML."""
MAX_DEPTH = 64
"""Depth of nested lists and mappings, aliases expanded."""
MAX_VALUES = 100_000
"""Values of a file, aliases expanded."""
_MAX_DIGITS = 100
_MAX_INTEGER = 2**63
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_TAG = "tag:yaml.org,2002:"
_TAGS = ("str", "int", "float", "bool", "null", "seq", "map")


def read_yaml_file(path: Path) -> Any:
    """Return the value in a file of YAML.

    Raises:
        ConfigError: it cannot be read, or is refused.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the config {path}: {reason}") from error
    return read_yaml(data, where=str(path))


def read_yaml(data: bytes, *, where: str) -> Any:
    """Return the value of a YAML document; errors begin with `where`, its file or option.

    Raises:
        ConfigError: it is no YAML, has tags that configs do not need, or is too large.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{where} has more than {MAX_BYTES} bytes: that is no config")
    try:
        return yaml.load(data.decode(), _Loader)
    except _Refused as error:
        raise ConfigError(f"{where}, {_line(error)}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, KeyError, IndexError) as error:
        raise ConfigError(f"{where} is not YAML: {_reason(error)}") from None


class _Refused(yaml.MarkedYAMLError):
    """YAML that is no config."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(Composer, CSafeLoader):
    """The safe loader of PyYAML with the parser of libyaml, which takes a tenth of the time; not
    with its composer, which bounds no depth."""

    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        f"{_TAG}{tag}": yaml.SafeLoader.yaml_constructors[f"{_TAG}{tag}"] for tag in _TAGS
    }
    yaml_implicit_resolvers = {  # noqa: RUF012 - as its base declares it
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        CSafeLoader.__init__(self, text)
        Composer.__init__(self)
        self._depth = 0

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            _measure(node, {})
        return node

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _too_deep(self.peek_event())
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == f"{_TAG}merge":
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_TAG}str":
                shown = f"{cut(key.value)} is" if isinstance(key, yaml.ScalarNode) else "is"
                raise _Refused(f"a key {shown} no text: put it in quotes", key.start_mark)
            if key.value in lines:
                first = lines[key.value]
                raise _Refused(
                    f"the key {cut(key.value)} is there already, in line {first}: remove one",
                    key.start_mark,
                )
            lines[key.value] = key.start_mark.line + 1
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Return a number that fits into 64 bits."""
        if len(node.value) > _MAX_DIGITS:
            raise _Refused(f"the number {cut(node.value)} is too long", node.start_mark)
        if ":" in node.value or _OCTAL.fullmatch(node.value):
            to = "60" if ":" in node.value else "8"
            what = f"{cut(node.value)} is a number to the base of {to}: put it in quotes if it is a"
            raise _Refused(f"{what} text, else write it to the base of ten", node.start_mark)
        is_float = node.tag == f"{_TAG}float"
        number = self.construct_yaml_float(node) if is_float else self.construct_yaml_int(node)
        if isinstance(number, int) and not -_MAX_INTEGER <= number < _MAX_INTEGER:
            raise _Refused(f"the number {cut(node.value)} has over 64 bits", node.start_mark)
        return number

    def refuse(self, node: yaml.Node) -> Hashable:
        """Refuse a tag."""
        tag = node.tag.replace(_TAG, "!!")
        raise _Refused(f"the tag {cut(tag)} means nothing in a config", node.start_mark)


_Loader.add_constructor(f"{_TAG}int", _Loader.construct_number)
_Loader.add_constructor(f"{_TAG}float", _Loader.construct_number)
_Loader.add_constructor(None, _Loader.refuse)


def _measure(node: Any, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return the number of values in a node and its depth, aliases expanded.

    Raises:
        _Refused: too many, too deep, or endless.
    """
    if id(node) in known:
        found = known[id(node)]
        if found is None:
            raise _Refused("an alias is within its own anchor", node.start_mark)
        return found
    if isinstance(node, yaml.ScalarNode) and "\0" in node.value:
        raise _Refused(f"the text {cut(node.value)} has NUL", node.start_mark)
    known[id(node)] = None
    children = node.value if isinstance(node, yaml.CollectionNode) else ()
    size, depth = 1, 0
    for child in children:
        for one in child if isinstance(child, tuple) else (child,):
            of_one = _measure(one, known)
            size, depth = size + of_one[0], max(depth, of_one[1])
    if size > MAX_VALUES:
        raise _Refused(f"that is more than {MAX_VALUES} values", node.start_mark)
    if depth >= MAX_DEPTH:
        raise _too_deep(node)
    known[id(node)] = size, depth + 1
    return size, depth + 1


def _too_deep(where: Any) -> _Refused:
    return _Refused(f"lists and mappings lie over {MAX_DEPTH} deep in each other", where.start_mark)


def _line(error: yaml.MarkedYAMLError) -> str:
    return f"line {error.problem_mark.line + 1}" if error.problem_mark else "somewhere"


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        problem = " ".join(filter(None, (error.context, error.problem)))
        return f"{_line(error)}: {visible(problem)[: 2 * LONGEST]}"
    return visible(" ".join(str(error).split()))[: 2 * LONGEST]
