"""Escapes control characters and invisible ones in text for a terminal or a log.

With ESC or CSI a label could move the cursor and overwrite what is shown, with a direction mark
reverse it, with a line break forge a line, with characters without width hide words.
"""

from __future__ import annotations

import json
import re
from typing import Any

LONGEST = 100
"""Characters of a value that a message shows at most."""
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""Invisible characters that Unicode calls printable: fillers, joiners, variant selectors."""
_LIKE_ESCAPED = re.compile(r"\\(?=u[0-9a-f]{4}|U[0-9a-f]{8})")


def visible(text: str, *, keep: str = "") -> str:
    """Escape what a terminal would obey or not show, as in source code, but not `keep`.

    Escaped text is left as it is, so that a text may pass twice.
    """
    if text.isascii() and text.isprintable():
        return text
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    return "".join(one if one in keep else _character(one) for one in text)


def has_ink(text: str) -> bool:
    """Whether a text has a visible character."""
    return any(one.isprintable() and not one.isspace() and not _UNSEEN.match(one) for one in text)


def escaped(value: Any) -> Any:
    """Escape every text of a JSON-like value, on one line and reversibly: a backslash that looks
    like an escape of this module becomes `\\x5c`."""
    if isinstance(value, str):
        return visible(_LIKE_ESCAPED.sub(r"\\x5c", value))
    if isinstance(value, list):
        return [escaped(one) for one in value]
    if isinstance(value, dict):
        return {escaped(name): escaped(one) for name, one in value.items()}
    return value


def cut(value: Any, longest: int = LONGEST) -> str:
    """Return a value as a message quotes it: on one line, visible, and no longer than that."""
    constants = {None: "null", True: "true", False: "false"}
    is_constant = value is None or isinstance(value, bool)
    text = constants[value] if is_constant else visible(repr(value))
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"


def json_text(value: Any) -> str:
    """Return JSON for a terminal: sorted, indented, in ASCII of which all is printable."""
    return json.dumps(value, indent=1, sort_keys=True).replace("\x7f", "\\u007f")


def _character(one: str) -> str:
    if one.isprintable() and not _UNSEEN.match(one):
        return one
    return one.encode("unicode_escape").decode()
