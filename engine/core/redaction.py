"""Masks secrets in text that leaves the program.

Every error, dead letter, line of a log and field of a dataset passes `redacted`, which masks users
and passwords in URLs, signatures and keys in queries, named secrets, tokens of known forms, private
keys, and the values that are known (`known_secrets`). It knows no service.
"""

from __future__ import annotations

import re
from functools import partial
from urllib.parse import unquote, urlsplit

from florilegium.engine.core.known_secrets import (
    KEY_MASK,
    MIN_CHARACTERS,
    known_values,
    without_values,
)

MASK = "***"
"""Replaces a secret in a URL."""
"""Replaces a secret elsewhere."""

MAX_CHARACTERS = 100_000
"""Characters of a text that are searched; the rest of the text is left out."""
_LONGEST_TORN = 2000
"""Characters of the last word before that cut, which are left out: it may be half of a secret."""

_USERS_WITHOUT_PASSWORD = re.compile(
    "abfss?|adl|az|hdfs|hf|oci|ocilake|scp|sftp|smb|ssh|wasbs?|webhdfs"
)
"""Schemes in which a name before `@` is a container, a name space or a login, and no secret."""
_WITHOUT_USERS = re.compile("file|git|github|libarchive|local|memory|package|tar|zip")
"""Schemes without a host, and those in which `owner:repository@branch` is no password."""

_COLON = r"(?::|%(?:25)*3A|\\u003a|&\#(?:58|x3a);)"
_SLASH = r"(?:\\?/|%(?:25)*2F|\\u002f|&\#(?:47|x2f);)"
_URL = re.compile(
    rf"""(?P<head>(?:\b(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{{0,30}}))?{_COLON}{_SLASH}{{2,3}}
    |\bhttps?:/|(?<![\w:/])//)
    (?P<rest>(?:(?!::|{_COLON}{_SLASH}{{2}})(?:\\/|[^\s"'<>\\]))+)""",
    re.IGNORECASE | re.VERBOSE,
)
_AUTHORITY = re.compile(r"[^/?#\\]*")
_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*):\d{0,5}")

_PAIR = re.compile(
    r"""(?P<name>(?:[?&;\#]|&amp;|\\u0026|%(?:25)*(?:3F|26|23))
    (?:[\w.~+$\[\]-]|%(?!(?:25)*(?:3D|26|3F|23))[0-9A-F]{2}){1,100})
    (?P<equals>=|%(?:25)*3D|\\u003d)
    (?P<value>(?:(?!%(?:25)*(?:26|3F|23)[\w.~-]{1,100}(?:=|%(?:25)*3D))
    (?:\\/|[^\s&;\#"'<>\\]))*)""",
    re.IGNORECASE | re.VERBOSE,
)
"""A parameter; a percent-encoded one within the value of another counts on its own."""

_QUERY_NAMES = re.compile(
    "auth|authkey|awsaccesskeyid|bearer|code|creds?|expires|googleaccessid|hdn(?:ea|tl|ts)|hm|hmac"
    "|jwt|key|keypairid|otp|pass|passphrase|policy|pw|pwd|qak|sas|se|session(?:id|key)?|sid|sig"
    "|signed|signedurl|ske|skoid|skt|sktid|st|ticket|verify"
)
"""Names of parameters that sign or open a URL, and those that change with each new signature:
without them two signatures of one URL are one source."""
_SIGNATURES = re.compile("hm|hmac|sig")
_QUERY_PARTS = re.compile(
    "accesskey|apikey|authorization|credential|passw(?:or)?d|privatekey|secret|signature"
    "|subscriptionkey|token|xamz|xgoog"
)
"""Parts of names of other parameters that are credentials."""

_NAME = r"""(?<![\w.-])(?P<name>[\w.-]{0,60}?(?:pass_?(?:w(?:or)?d|wort|phrase)|pwd|secret
    |api[_-]?key|access[_-]?key|account[_-]?key|subscription[_-]?key|private[_-]?key
    |(?:access|api|auth|bearer|hf|id|refresh|sas|security|session)[_-]?token
    |(?:shared_?access_?)signature)[\w-]{0,40})"""
_EQUALS = r"""["']?\s*(?:=+>|->|:=|={1,2}|:|>|%(?:25)*(?:3D|3A)(?:%(?:25)*20)?
    |(?<=["'])\s*,)\s*(?!\[key\])[\[({]?\s*b?"""
_NAMED = re.compile(
    rf"""{_NAME}(?P<equals>{_EQUALS})
    (?:(?P<quote>["'])(?P<quoted>(?:\\.|(?!(?P=quote))[^\\\n])*)
    |(?P<value>(?!(?:Bearer|Basic|Token)\b)(?:[^\s"',;&<>(){{}}\[\]\\]{{2,}}|\([^\s"'<>]+)))""",
    re.IGNORECASE | re.VERBOSE,
)
_HEADER = re.compile(
    r"""(?<![\w.-])(?P<name>[\w-]{0,40}(?:authorization|cookie))
    (?P<equals>["']?\s*(?::|(?<=["']),)\s*b?)(?P<quote>["'])?
    (?P<scheme>(?:Bearer|Basic|Digest|Token|ApiKey|SharedKey|AWS4-HMAC-SHA256)\s+)?
    (?P<value>(?(quote)(?:(?!(?P=quote))[^\n])+|[^\n]+))""",
    re.IGNORECASE | re.VERBOSE,
)
"""A header with credentials, to the end of its line or of its quotes."""
_SCHEME = re.compile(r"\b(Bearer\s+|Basic\s+(?=\S*[0-9=+/]))([A-Za-z0-9._~+/=-]{8,})")
_RANDOM = r"(?=[^\s\"'<>,;&]*\d)(?=[^\s\"'<>,;&]*[A-Za-z])[\w.~+/=%@!$^*-]{12,}"
_WEAKLY_NAMED = re.compile(
    rf"""(?<![\w-])((?:--[\w-]*(?:password|token|secret|key)|[\w-]{{0,40}}token|sig|signature
    |credentials?|session(?:_?id)?|hmac|jwt|pass|bearer|api[ -]?key(?:\ provided)?)
    (?:["']?\s*(?:=|:|%3D)\s*|["']\s*,\s*|\s+)b?["']?){_RANDOM}""",
    re.IGNORECASE | re.VERBOSE,
)
"""Names that also have other meanings, before a value that looks like a secret."""
_PRIVATE_KEY = re.compile(
    r"-{5}BEGIN[A-Z ]{0,30} PRIVATE KEY(?: BLOCK)?-{5}[\s\S]*?(?:-{5}END[A-Z ]{0,50}-{5}|\Z)"
)
_TOKEN = re.compile(
    r"""(?<![\w-])(?:sk-[\w-]{16,}|(?i:hf)_[A-Za-z0-9]{16,}|gh[opsru]_[A-Za-z0-9]{20,}
    |github_pat_\w{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}|xox[abeprs]-[\w-]{10,}|AIza[\w-]{30,}
    |eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*|(?:glpat|nvapi|pplx|pypi|tskey|xai)-[\w-]{16,}
    |(?:api_org|dckr_pat|dop_v1|gsk|lin_api|npm|r8|shpat|whsec|[rs]k_live|[rs]k_test)_[\w-]{16,}
    |ya29\.[\w-]{16,}|hvs\.[\w-]{16,}|SG\.[\w-]{16,}\.[\w-]+|1//0[\w-]{20,}|ATATT3x[\w=-]{16,})""",
    re.VERBOSE,
)


def redacted(text: str, *secrets: str) -> str:
    """Return a text with a mask in place of every secret; `secrets` are further known ones.

    Redacting a text twice changes nothing.
    """
    if len(text) > MAX_CHARACTERS:
        whole = MAX_CHARACTERS - _LONGEST_TORN
        text = text[:whole] + "".join(re.findall(r"\S*\s", text[whole:MAX_CHARACTERS]))
    text = _PRIVATE_KEY.sub(KEY_MASK, without_values(text, *secrets, *known_values()))
    text = _PAIR.sub(_pair, _URL.sub(_url, text))
    text = _NAMED.sub(_named, _HEADER.sub(_named, text))
    text = _WEAKLY_NAMED.sub(rf"\1{KEY_MASK}", _TOKEN.sub(KEY_MASK, text))
    return _SCHEME.sub(rf"\1{KEY_MASK}", text)


def redacted_urls(text: str) -> str:
    """Return a text of a source with users, passwords and signatures in its URLs masked.

    Other parts of a query belong to the URL that the source names, and stay.
    """
    if "://" not in text and ":\\/\\/" not in text:
        return text
    return _PAIR.sub(partial(_pair, names=_SIGNATURES), _URL.sub(_url, text))


def has_user(text: str) -> bool:
    """Whether a URL, alone or within another, has a user or a password in it."""
    try:
        has_password = bool(urlsplit(text).password)  # with a space in it, too
    except ValueError:
        has_password = False
    is_other = _WITHOUT_USERS.fullmatch(text.partition(":")[0].lower())
    return (has_password and not is_other) or any(
        _url(match) != match[0] for match in _URL.finditer(text)
    )


def has_signature(text: str) -> bool:
    """Whether a URL has a signature or a key in its query."""
    return any(_pair(match) != match[0] for match in _PAIR.finditer(text))


def is_redacted(text: str) -> bool:
    """Whether a URL was redacted, so that it cannot be used any more."""
    return f"={MASK}" in text or f"://{MASK}" in text


def is_secret(value: str) -> bool:
    """Whether a value looks like a token, or is that of a secret environment variable."""
    return bool(_TOKEN.search(value) or _SCHEME.search(value)) or (
        len(value) >= MIN_CHARACTERS and value in set(known_values())
    )


def _url(match: re.Match[str]) -> str:
    """Mask user and password before the host of a URL."""
    head, rest = match["head"], match["rest"]
    scheme = (match["scheme"] or "").lower()
    if _WITHOUT_USERS.fullmatch(scheme):
        return match[0]
    if "%" in head:  # a URL within a query
        authority = re.split("%(?:25)*(?:2F|3F)|[/?&]", rest, flags=re.IGNORECASE)[0]
    else:
        authority = _AUTHORITY.match(rest)[0]  # type: ignore[index]
        if "@" not in authority and ":" in authority and not _PORT.fullmatch(authority):
            authority = rest[: rest.find("@") + 1]  # a secret key with a slash in it
    *_, at = [None, *re.finditer("@|%(?:25)*40" if "%" in head else "@", authority)]
    user = authority[: at.start()] if at else ""
    if not user or user == MASK:
        return match[0]
    needs_password = _USERS_WITHOUT_PASSWORD.fullmatch(scheme) or head == "//"
    if needs_password and ":" not in user:
        return match[0]
    return f"{head}{MASK}{rest[len(user) :]}"


def _pair(match: re.Match[str], names: re.Pattern[str] = _QUERY_NAMES) -> str:
    """Mask the value of a parameter with the name of a credential."""
    name, equals = match["name"], match["equals"]
    plain = re.sub(r"[^a-z0-9]", "", unquote(name).lower())
    plain = plain.removeprefix("amp").removeprefix("u0026")
    if names.fullmatch(plain) or _QUERY_PARTS.search(plain):
        return f"{name}{equals}{MASK}"
    return match[0]


def _named(match: re.Match[str]) -> str:
    """Mask the value of a named secret; `..._env` names a variable."""
    parts = match.groupdict()
    value = parts["value"] or parts.get("quoted") or ""
    is_masked = value in (KEY_MASK, "") or not value.strip(".*")
    if match["name"].lower().endswith("env") or is_masked:
        return match[0]
    start = f"{match['name']}{match['equals']}{parts['quote'] or ''}{parts.get('scheme') or ''}"
    return f"{start}{KEY_MASK}"
