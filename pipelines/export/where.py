"""Expressions that choose annotations by their columns: `label == 'cat' and score >= 0.5`.

The grammar is that of Python's expressions, of which only comparisons of a column with constants,
`and`, `or`, `not` and parentheses are known. Nothing is evaluated here: the text becomes an
expression of Arrow.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.errors import UsageError, nearest
from florilegium.engine.results.contract import SHARD_SCHEMA

AREA = "area"
"""A column that is not stored: the area of the box in pixels, else that of the mask."""
IMAGE_COLUMNS = ("key", "width", "height")
"""What is known of an image without its annotations."""
_NOT_SCALAR = ("kept", "verdicts")
COLUMNS: Mapping[str, pa.DataType] = {
    **{
        one.name: one.type
        for one in SHARD_SCHEMA
        if not pa.types.is_nested(one.type) and one.name not in _NOT_SCALAR
    },
    AREA: pa.float64(),
}
"""What an expression may name, with the types."""
_MAX_CHARACTERS = 4000
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_KNOWN = (
    "compare a column with a constant by == != < <= > >=, `column in ('a', 'b')`, "
    "`'part' in column` or `column is None`, and join them by and, or, not"
)


@dataclass(frozen=True, kw_only=True)
class Where:
    """An expression, the columns that it names, and what of it is about images: there, every other
    comparison is null."""

    expression: pc.Expression
    columns: frozenset[str]
    of_image: pc.Expression

    @property
    def is_of_images(self) -> bool:
        """Whether it may tell something of an image without its annotations."""
        return bool(self.columns & set(IMAGE_COLUMNS))

    def may_hold(self, **image: str | int) -> bool:
        """Return whether the expression can be true for annotations of an image.

        Args:
            image: the values of `IMAGE_COLUMNS`. All other columns count as not known.
        """
        row = {name: pa.array([value], COLUMNS[name]) for name, value in image.items()}
        return pa.table(row).filter(~self.of_image).num_rows == 0


def parse_where(text: str) -> Where:
    """Return the expression that a text stands for.

    Raises:
        UsageError: it is none, names no column, or compares a column with another type.
    """
    if len(text) > _MAX_CHARACTERS:
        raise UsageError(f"the expression has {len(text)} characters: at most {_MAX_CHARACTERS}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        parser, of_image = _Parser(text, COLUMNS), _Parser(text, IMAGE_COLUMNS)
        return Where(
            expression=parser.parsed(tree),
            of_image=of_image.parsed(tree),
            columns=frozenset(parser.columns),
        )
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{text!r:.200} is no expression ({error}): {_KNOWN}") from error


class _Parser:
    """Turns a tree into an expression, in which comparisons of other columns than the `known` ones
    are null."""

    def __init__(self, text: str, known: Collection[str]) -> None:
        self.columns: set[str] = set()
        self._text = text
        self._known = known

    def parsed(self, node: ast.expr) -> pc.Expression:
        match node:
            case ast.BoolOp(op=op, values=[first, *others]):
                join = operator.and_ if isinstance(op, ast.And) else operator.or_
                whole = self.parsed(first)
                for one in others:
                    whole = join(whole, self.parsed(one))
                return whole
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.parsed(operand)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._compared(left, op, right)
        raise self._refused(node)

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pc.Expression:
        if isinstance(op, (ast.In, ast.NotIn)):
            found = self._contained(left, right)
            return ~found if isinstance(op, ast.NotIn) else found
        name = self._column(left)
        if isinstance(op, (ast.Is, ast.IsNot)) and _is_none(right):
            missing = self._about(name, pc.field(name).is_null())
            return ~missing if isinstance(op, ast.IsNot) else missing
        compare = _COMPARE.get(type(op))
        if compare is None:
            raise self._refused(right)
        return self._about(name, compare(pc.field(name), self._constant(name, right)))

    def _about(self, name: str, comparison: pc.Expression) -> pc.Expression:
        return comparison if name in self._known else pc.scalar(pa.scalar(None, pa.bool_()))

    def _contained(self, left: ast.expr, right: ast.expr) -> pc.Expression:
        """Return the expression of `column in (...)` or `'part' in column`."""
        if isinstance(left, ast.Constant):
            name = self._column(right)
            part = self._constant(name, left)
            if not isinstance(part, str):
                raise UsageError(f"{name} is a number: it contains no text")
            return self._about(name, pc.match_substring(pc.field(name), part))
        name = self._column(left)
        if not isinstance(right, (ast.Tuple, ast.List)) or not right.elts:
            raise self._refused(right)
        values = [self._constant(name, one) for one in right.elts]
        # no `isin`: of a null, it is false and not null
        return self._about(name, reduce(operator.or_, [pc.field(name) == one for one in values]))

    def _column(self, node: ast.expr) -> str:
        if not isinstance(node, ast.Name):
            raise self._refused(node)
        if node.id not in COLUMNS:
            if node.id in ("reason", "kept", "verdicts"):
                raise UsageError(
                    f"{node.id!r} is about dropped annotations, of which an export has none"
                )
            raise UsageError(f"there is no column {node.id!r}: {nearest(node.id, COLUMNS)}")
        self.columns.add(node.id)
        return node.id

    def _constant(self, name: str, node: ast.expr) -> str | float:
        """Return a constant that a column can be compared with."""
        sign = 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            node, sign = node.operand, -1
        if not isinstance(node, ast.Constant):
            raise self._refused(node)
        value = node.value
        if COLUMNS[name] == pa.string():
            if sign > 0 and isinstance(value, str):
                return value
            raise UsageError(f"{name} is a text: compare it with one in quotes, not {value!r:.50}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UsageError(f"{name} is a number: compare it with one, not {value!r:.50}")
        return float(sign * value)

    def _refused(self, node: ast.AST) -> UsageError:
        part = ast.get_source_segment(self._text.strip(), node) or self._text
        return UsageError(f"{part!r:.200} is not known in an expression: {_KNOWN}")


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
