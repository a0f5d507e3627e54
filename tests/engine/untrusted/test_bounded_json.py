"""The depth of JSON, counted before it is parsed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from florilegium.engine.untrusted.bounded_json import depth_of, parsed

TEXTS = st.text('[]{}"\\a,:é', max_size=8)
VALUES = st.recursive(
    TEXTS | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0


@given(VALUES, st.booleans())
def test_the_depth_is_that_of_the_value(value: Any, ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii)
    assert depth_of(text) == _depth(value)
    assert parsed(text, max_depth=_depth(value)) == value


@pytest.mark.attack("files")
@pytest.mark.parametrize("text", ["[" * 10**6, '{"a":' * 10**6, '["' + '\\"[' * 10**6])
@pytest.mark.parametrize("max_depth", [1, 10**9])
def test_what_is_too_deep_or_no_json_is_one_kind_of_error(text: str, max_depth: int) -> None:
    with pytest.raises(ValueError, match=r"within each other|Expecting|Unterminated|delimiter"):
        parsed(text, max_depth=max_depth)
