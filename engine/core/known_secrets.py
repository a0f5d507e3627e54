"""Masks secrets whose value is known, however a text writes them.

The values are those of secret environment variables and of fsspec's config. A value is found as it
is, in upper or lower case, percent-encoded once or more, in JSON, HTML or source code, in base64 at
any offset, in hex, and broken over lines.
"""

from __future__ import annotations

import html
import os
import re
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

KEY_MASK = "[key]"
"""What stands in place of a secret."""
MIN_CHARACTERS = 6
"""Least characters of a secret value: masking shorter ones would damage ordinary words."""
_MAX_PLAIN = 512
"""Characters of a value that are looked for; a longer one, such as a key in a file's text, is found
by its beginning and masked as far as it goes on without a space."""

_VARIABLE = re.compile(
    r"(?:^|_)(?:(?:API|ACCESS|ACCOUNT|PRIVATE)?_?KEY(?:_ID)?|PASS|CREDENTIALS?|SAS|AUTH"
    r"|CONNECTION_STRING|AUTHORIZATION)$"
    r"|(?:^|_)\w*(?:SECRET|TOKEN|PASSW(?:OR)?D)(?:_|$)|API_?KEY|ACCESS_?KEY",
    re.IGNORECASE,
)
"""The names of environment variables that hold secrets."""
_PATHS = ("GOOGLE_APPLICATION_CREDENTIALS", "AWS_SHARED_CREDENTIALS_FILE")
_OPTIONS = re.compile(
    "token|secret|credentials?|sas|passwd|(?:access|auth|bearer|hf|sas|session)token"
    "|.*(?:access|account|api|private|secret|subscription)key.*|.*(?:authorization|password).*"
    "|.*(?:clientsecret|passphrase).*"
)
_BREAK = r"""(?:["']?\\?[ \t]*(?:\r?\n|\\+n)[ \t>|]*b?["']?)?"""
"""What may be between two characters where a text is broken over lines."""


def is_secret_name(name: str) -> bool:
    """Whether an option or a header of this name holds a secret; `..._env` holds a name."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return not plain.endswith("env") and _OPTIONS.fullmatch(plain) is not None


def is_secret_variable(name: str) -> bool:
    """Whether an environment variable of this name holds a secret; some hold the path of one."""
    is_path = name in _PATHS or name.endswith("_FILE")
    return not is_path and _VARIABLE.search(name) is not None


def known_values() -> Iterator[str]:
    """Yield the values of environment variables, and of fsspec's own config, that are secrets."""
    for name, value in os.environ.items():
        if is_secret_variable(name):
            yield value.strip()
    settings = sys.modules.get("fsspec.config")  # not imported: it has read no config
    if settings is not None:
        yield from _secrets_in(settings.conf)


def _secrets_in(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secrets_in(value)
        elif isinstance(value, str) and (is_secret_name(name) or name in ("key", "secret")):
            yield value


def without_values(text: str, *values: str) -> str:
    """Return a text with a mask in place of these values, however they are written."""
    for value in sorted({one for one in values if len(one) >= MIN_CHARACTERS}, key=len)[::-1]:
        for pattern in _patterns_of(value):
            text = pattern.sub(KEY_MASK, text)
    return text


@lru_cache(maxsize=256)
def _patterns_of(value: str) -> tuple[re.Pattern[str], ...]:
    is_long = len(value) > _MAX_PLAIN
    plain = _BREAK.join(map(_character, value[:_MAX_PLAIN])) + r"\S*" * is_long
    data = value[:_MAX_PLAIN].encode("utf-8", "surrogateescape")
    encoded = "|".join(_BREAK.join(map(_digit, core)) for core in _in_base64(data))
    return (
        re.compile(f"{plain}|{data.hex()}", re.IGNORECASE),
        re.compile(rf"(?:{encoded})[\w+/-]*(?:=|%3D){{0,2}}"),
    )


def _character(one: str) -> str:
    """Return a pattern for one character in all its encodings."""
    code = ord(one)
    data = one.encode("utf-8", "surrogateescape")
    numbers = rf"&\#(?:0*{code}|x0*{code:x});|\\+(?:u{code:04x}|U{code:08x}"
    numbers += rf"|x{code:02x})" if code < 256 else ")"
    forms = [re.escape(one), "".join(f"%(?:25)*{byte:02x}" for byte in data), numbers]
    if not one.isascii():
        forms.append("".join(rf"\\+x{byte:02x}" for byte in data))
    elif one == " ":
        forms.append(r"\+")
    elif not one.isalnum():
        forms += [rf"\\+{re.escape(one)}", re.escape(html.escape(one))]
    return f"(?:{'|'.join(forms)})"


def _in_base64(data: bytes) -> Iterator[str]:
    """Yield the base64 digits that depend on the data only, for each of the three offsets."""
    for offset in range(3):
        digits = b64encode(bytes(offset) + data).decode()
        yield digits[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]


def _digit(one: str) -> str:
    return {"+": "(?:[+-]|%2B)", "/": r"(?:\\?/|_|%2F)"}.get(one, one)
