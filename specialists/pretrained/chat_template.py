"""Chat templates: untrusted Jinja programs that write the prompt of a model.

`transformers` runs them in a sandbox without files, attributes and imports, but without a limit on
time. Here the number of steps is limited; products and powers, a single step of which may take
forever, are refused before a template is compiled. Memory is limited by the process only. A
template is rendered once, when a model is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from florilegium.engine.core.errors import ConfigError

MAX_CHARACTERS = 100_000
"""Maximum characters of a template; the longest known ones have 20,000."""
MAX_STEPS = (200_000, 200)
"""Maximum lines of Python for compiling and rendering a template: a constant, and a number for each
of its characters. Compiling takes half of them."""
MAX_NUMBER = 100_000
"""Maximum integer in a template; larger ones could repeat a text too often."""


def rendered_chat(processor: Any, conversation: Sequence[Mapping[str, Any]]) -> str:
    """Return a conversation rendered by the processor's template, with a prompt for the answer.

    Raises:
        ConfigError: the template contains a forbidden operation, or takes too many steps.
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
    """Check the tokens of a template before it is compiled, as compiling evaluates constants."""
    from jinja2 import Environment

    if len(template) > MAX_CHARACTERS:
        raise ConfigError(f"its chat template has more than {MAX_CHARACTERS} characters")
    for _, kind, word in Environment().lex(template):
        if kind == "operator" and word in ("*", "**"):
            raise ConfigError(
                f"its chat template computes with {word!r}, a single step of which may take forever"
            )
        if kind == "integer" and int(word.replace("_", ""), 0) > MAX_NUMBER:
            raise ConfigError(f"its chat template computes with {word}, more than {MAX_NUMBER}")


@contextmanager
def _at_most(steps: int) -> Iterator[None]:
    """Stop the Python code of the block after a number of lines."""
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
