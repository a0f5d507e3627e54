"""Secrets in text on its way out: what a URL carries, what the environment holds, what looks so.

Everything that becomes an error, a dead letter, a line of a log or a field of a dataset passes
`redacted`, which masks users and passwords in URLs, signatures and keys in queries, named secrets,
tokens of known forms, and the values of secret environment variables. It knows no service.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

MASK = "***"
"""What stands in a URL where a secret stood."""
_KEY = "[key]"
"""What stands elsewhere where a secret stood."""

LEAST_CHARACTERS = 6
"""Characters of a value that is taken to be a secret: a shorter one hides nothing, and masking it
would tear words apart."""
MOST_CHARACTERS = 100_000
"""Characters of a text that are looked through; what comes after them is left out."""

_USERS_WITHOUT_PASSWORD = re.compile(
    "abfss?|adl|az|hdfs|hf|oci|ocilake|scp|sftp|smb|ssh|wasbs?|webhdfs"
)
"""Schemes in which a name before `@` is a container, a name space or a login, and no secret."""
_WITHOUT_USERS = re.compile("file|git|github|libarchive|local|memory|package|tar|zip")
"""Schemes without a host, and those in which `owner:repository@branch` is no password."""

_HEAD = r"(?:\b[A-Za-z][A-Za-z0-9+.-]{0,30})?(?::(?:\\?/){2}|%3A%2F%2F)"
_URL = re.compile(
    rf"""(?P<head>{_HEAD})(?P<rest>(?:(?!::|:\\?/\\?/|%3A%2F%2F)(?:\\/|[^\s"'<>\\]))+)""",
    re.IGNORECASE,
)
_AUTHORITY = re.compile(r"[^/?#\\]*")
_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*):\d{0,5}")

_PAIR = re.compile(
    r"""(?P<name>(?:[?&;\#]|&amp;|\\u0026|%3F|%26|%23)
    (?:[\w.~+$\[\]-]|%(?!3D|26|3F|23)[0-9A-F]{2}){1,100})
    (?P<equals>=|%3D)
    (?P<value>(?:(?!%(?:26|3F|23)[\w.~-]{1,100}(?:=|%3D))(?:\\/|[^\s&;\#"'<>\\]))*)""",
    re.IGNORECASE | re.VERBOSE,
)
"""A parameter; one within the value of another, percent-encoded, is one of its own."""

_QUERY_NAMES = re.compile(
    "auth|awsaccesskeyid|code|expires|googleaccessid|jwt|key|keypairid|pass|policy|pwd|sas|se|sig"
    "|signedurl|ske|skoid|skt|sktid|st"
)
"""Names of parameters that sign or open an address, and those that change whenever it is signed
anew: without them two signatures of one address are one source."""
_SIGNATURES = re.compile("sig")
_QUERY_PARTS = re.compile(
    "accesskey|apikey|authorization|credential|passw(?:or)?d|privatekey|secret|signature"
    "|subscriptionkey|token|xamz|xgoog"
)
"""What is in the names of others that open something."""

_OPTIONS = re.compile(
    "token|secret|credentials?|sas|passwd|(?:access|auth|bearer|hf|sas|session)token"
    "|.*(?:access|account|api|private|secret|subscription)key.*|.*(?:authorization|password).*"
    "|.*clientsecret.*"
)

_NAMED = re.compile(
    r"""(?<![\w.-])(?P<name>[\w.-]{0,60}?(?:passw(?:or)?d|secret|api[_-]?key|access[_-]?key|account
    [_-]?key|(?:access|auth|bearer|id|refresh|sas|security|session)[_-]?token|private[_-]?key
    |authorization|subscription[_-]?key|(?:shared_?access_?)signature)[\w-]{0,40})
    (?P<equals>["']?\s*(?:=>|=|:)\s*["']?(?:(?:Bearer|Basic|Token)\s+)?)
    (?P<value>(?!(?:Bearer|Basic|Token)\b)[^\s"',;&<>(){}\[\]\\]{2,})""",
    re.IGNORECASE | re.VERBOSE,
)
_HEADER = re.compile(r"\b(Bearer\s+|Basic\s+(?=\S*[0-9=+/]))([A-Za-z0-9._~+/=-]{8,})")
_TOKEN = re.compile(
    r"""(?<![\w-])(?:sk-[\w-]{16,}|hf_[A-Za-z0-9]{16,}|gh[opsru]_[A-Za-z0-9]{20,}
    |github_pat_\w{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}|xox[abeprs]-[\w-]{10,}|AIza[\w-]{30,}
    |eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)""",
    re.VERBOSE,
)

_SECRET_VARIABLE = re.compile(
    r"(?:^|_)(?:(?:API|ACCESS|ACCOUNT|PRIVATE)?_?KEY(?:_ID)?|PASS|CREDENTIALS?|SAS|AUTH"
    r"|CONNECTION_STRING|AUTHORIZATION)$"
    r"|(?:^|_)\w*(?:SECRET|TOKEN|PASSW(?:OR)?D)(?:_|$)|API_?KEY|ACCESS_?KEY",
    re.IGNORECASE,
)
"""The names of environment variables that hold secrets."""
_PATHS = ("GOOGLE_APPLICATION_CREDENTIALS", "AWS_SHARED_CREDENTIALS_FILE")


def redacted(text: str, *secrets: str) -> str:
    """Return a text with a mask in place of every secret; `secrets` are further known ones.

    The same again for a text that was redacted before.
    """
    text = without_values(text[:MOST_CHARACTERS], *secrets, *_known_values())
    text = _PAIR.sub(_pair, _URL.sub(_url, text))
    text = _NAMED.sub(_named, text)
    return _TOKEN.sub(_KEY, _HEADER.sub(rf"\1{_KEY}", text))


def redacted_urls(text: str) -> str:
    """Return a text of a source with users, passwords and signatures in its URLs masked.

    What else a query has is part of an address that the source names, and stays.
    """
    if "://" not in text and ":\\/\\/" not in text:
        return text
    return _PAIR.sub(partial(_pair, names=_SIGNATURES), _URL.sub(_url, text))


def has_user(text: str) -> bool:
    """Tell whether a URL, alone or within another, has a user or a password in it."""
    return any(_url(match) != match[0] for match in _URL.finditer(text))


def has_signature(text: str) -> bool:
    """Tell whether a URL has a signature or a key in its query."""
    return any(_pair(match) != match[0] for match in _PAIR.finditer(text))


def is_redacted(text: str) -> bool:
    """Tell whether a URL was redacted before, so that it opens nothing any more."""
    return f"={MASK}" in text or f"://{MASK}" in text


def is_secret_name(name: str) -> bool:
    """Tell whether an option or a header of this name holds a secret; `..._env` holds a name."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return not plain.endswith("env") and _OPTIONS.fullmatch(plain) is not None


def is_secret(value: str) -> bool:
    """Tell whether a value looks like a token, or is that of a secret environment variable."""
    return bool(_TOKEN.search(value) or _HEADER.search(value)) or (
        len(value) >= LEAST_CHARACTERS and value in set(_known_values())
    )


def _url(match: re.Match[str]) -> str:
    """Mask what stands before the host of a URL."""
    head, rest = match["head"], match["rest"]
    scheme = re.split(r":|%3A", head, flags=re.IGNORECASE)[0].lower()
    if _WITHOUT_USERS.fullmatch(scheme):
        return match[0]
    at = "@"
    if "%" in head:  # a URL within a query
        authority = re.split("%2F|%3F|[/?&]", rest, flags=re.IGNORECASE)[0]
        at = "%40"
    else:
        authority = _AUTHORITY.match(rest)[0]  # type: ignore[index]
        if at not in authority and ":" in authority and not _PORT.fullmatch(authority):
            authority = rest[: rest.find(at) + 1]  # a secret key with a slash in it
    user, found, _ = authority.rpartition(at)
    if not found or user == MASK:
        return match[0]
    if _USERS_WITHOUT_PASSWORD.fullmatch(scheme) and ":" not in user:
        return match[0]
    return f"{head}{MASK}{rest[len(user) :]}"


def _pair(match: re.Match[str], names: re.Pattern[str] = _QUERY_NAMES) -> str:
    """Mask the value of a parameter whose name says that it opens something."""
    name, equals = match["name"], match["equals"]
    plain = re.sub(r"[^a-z0-9]", "", unquote(name).lower())
    plain = plain.removeprefix("amp").removeprefix("u0026")
    if names.fullmatch(plain) or _QUERY_PARTS.search(plain):
        return f"{name}{equals}{MASK}"
    return match[0]


def _named(match: re.Match[str]) -> str:
    name, value = match["name"], match["value"]
    if name.lower().endswith("env") or not value.strip(".*"):
        return match[0]
    return f"{name}{match['equals']}{_KEY}"


def without_values(text: str, *values: str) -> str:
    """Return a text with a mask in place of these values, percent-encoded or in JSON too."""
    for value in sorted({one for one in values if len(one) >= LEAST_CHARACTERS}, key=len)[::-1]:
        for form in dict.fromkeys((value, quote(value, safe=""), quote(value), _in_json(value))):
            text = text.replace(form, _KEY)
    return text


def _in_json(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("/", "\\/")


def _known_values() -> Iterator[str]:
    """Yield the values of environment variables, and of fsspec's own config, that are secrets."""
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name) and name not in _PATHS and not name.endswith("_FILE"):
            yield value.strip()
    settings = sys.modules.get("fsspec.config")  # what nobody imported has told nobody
    if settings is not None:
        yield from _secrets_in(settings.conf)


def _secrets_in(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secrets_in(value)
        elif isinstance(value, str) and (is_secret_name(name) or name in ("key", "secret")):
            yield value
