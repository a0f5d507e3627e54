"""Chat templates: programs of a stranger, in Jinja, that write the prompt of a model.

`transformers` runs them in a sandbox, which keeps them from files, attributes and imports, but
lets them count for ever. Here they may take so many steps; products and powers, whose one step
may take for ever, are refused before a template is compiled. What a template writes into memory
is held by the limits of its process alone. It is rendered once, when a model is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from engine.core.errors import ConfigError

MAX_CHARACTERS = 100_000
"""Characters of a template; the longest of today's have 20,000."""
MAX_STEPS = (200_000, 200)
"""Lines of Python that compiling and rendering a template may take: so many, and so many more for
each of its characters. Compiling takes half of them."""
MAX_NUMBER = 100_000
"""The largest number in a template: by a larger one a text could be repeated."""


def rendered_chat(processor: Any, conversation: Sequence[Mapping[str, Any]]) -> str:
    """Return a conversation as the template of a processor writes it, with room for an answer.

    Raises:
        ConfigError: the template computes what it must not, or comes to no end.
    """
    templates = list(_templates_of(processor))
    for template in templates:
        _refuse_products(template)
    first, each = MAX_STEPS
    with _at_most(first + each * max(map(len, templates), default=0)):
        rendered: str = processor.apply_chat_template(conversation, add_generation_prompt=True)
    return rendered


def _templates_of(processor: Any) -> Iterator[str]:
    for owner in (processor, getattr(processor, "tokenizer", None)):
        found = getattr(owner, "chat_template", None)
        yield from found.values() if isinstance(found, dict) else [found] if found else []


def _refuse_products(template: str) -> None:
    """Look at the words of a template before it is compiled, which computes what is constant."""
    from jinja2 import Environment

    if len(template) > MAX_CHARACTERS:
        raise ConfigError(f"its chat template has more than {MAX_CHARACTERS} characters")
    for _, kind, word in Environment().lex(template):
        if kind == "operator" and word in ("*", "**"):
            raise ConfigError(
                f"its chat template computes with {word!r}, whose single step may take for ever"
            )
        if kind == "integer" and int(word.replace("_", ""), 0) > MAX_NUMBER:
            raise ConfigError(f"its chat template computes with {word}, more than {MAX_NUMBER}")


@contextmanager
def _at_most(steps: int) -> Iterator[None]:
    """Stop what runs here in Python after so many lines."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        if count > steps:
            sys.settrace(None)
            raise ConfigError(f"its chat template has not ended after {steps} steps")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
