"""Names of licences in one form: the identifiers of SPDX, with the URLs of Creative Commons.

Sources write a licence as an identifier (`CC-BY-4.0`), a URL, or words ("CC BY 4.0", "Public domain
(CC0)"). What is not recognised has no identifier, and is never guessed.
"""

from __future__ import annotations

import re

UNKNOWN = ""
"""The identifier of what is no known licence."""
PUBLIC_DOMAIN = "CC-PDDC"
"""Public domain by dedication or certification, as SPDX has it."""

_CC_URL = re.compile(
    r"creativecommons\.org/(?:licenses/(?P<kind>[a-z+-]+)/(?P<version>\d\.\d)"
    r"|publicdomain/(?P<deed>zero|mark)/1\.0)(?:/(?P<port>[a-z]{2,3}))?(?![\w])"
)
_CC_WORDS = re.compile(
    r"(?:cc|creative commons)(?P<kind>(?:[ _-]?(?:by|nc|nd|sa|attribution|"
    r"noncommercial|non-commercial|noderivatives|noderivs|no-derivatives|sharealike|share-alike))+)"
    r"(?:[ _-]?v?(?P<version>\d\.\d))?(?:[ _-](?P<port>[a-z]{2,3}))?"
    r"(?: (?:international|generic|unported|licen[cs]e))*"
)
_ZERO = re.compile(r"cc[ _-]?(?:0|zero)(?:[ _-]?(?:v ?)?1\.0)?(?: universal)?(?: licen[cs]e)?")
_PART = re.compile(r"by|nc|nd|sa|attribution|non-?commercial|no-?deriv(?:ative)?s|share-?alike")
_SHORT = {"attribution": "BY", "noncommercial": "NC", "sharealike": "SA"}
_ORDER = ("BY", "NC", "ND", "SA")
_NAMES = {
    **{name.casefold(): name for name in ("CC0-1.0", PUBLIC_DOMAIN, "CC-PDM-1.0")},
    **{
        name.casefold(): name
        for name in ("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "Unlicense", "0BSD")
    },
    **{name.casefold(): name for name in ("ODbL-1.0", "ODC-By-1.0", "PDDL-1.0", "OGL-UK-3.0")},
    **{name.casefold(): name for name in ("GFDL-1.2-or-later", "GFDL-1.3-or-later", "FAL-1.3")},
    "mit license": "MIT",
    "apache license 2.0": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "pdm": "CC-PDM-1.0",
    "public domain mark 1.0": "CC-PDM-1.0",
    "public domain": PUBLIC_DOMAIN,
    "pd": PUBLIC_DOMAIN,
    "opendatacommons.org/licenses/odbl/1-0": "ODbL-1.0",
    "opendatacommons.org/licenses/by/1-0": "ODC-By-1.0",
    "opendatacommons.org/licenses/pddl/1-0": "PDDL-1.0",
    "apache.org/licenses/license-2.0": "Apache-2.0",
    "opensource.org/licenses/mit": "MIT",
}
_URL = re.compile(r"^(?:https?://)?(?:www\.)?")
_PORTLESS = "4.0"
"""From this version on, licences of Creative Commons have no ports to countries."""


def spdx_of(text: str) -> str:
    """Return the SPDX identifier of a licence, `UNKNOWN` where it is not recognised.

    One of Creative Commons without a version has none: what it permits depends on it, and
    `family_of` names what is known. `CC-PDM-1.0` is no licence of SPDX before 3.27.
    """
    plain = _plain(text)
    if name := _NAMES.get(plain):
        return name
    if _ZERO.fullmatch(plain):
        return "CC0-1.0"
    if url := _CC_URL.match(plain):
        if url["deed"]:
            return "CC0-1.0" if url["deed"] == "zero" else "CC-PDM-1.0"
        return _creative_commons(url)
    if words := _CC_WORDS.fullmatch(plain):
        return _creative_commons(words)
    return UNKNOWN


def kind_of_versions(text: str) -> str:
    """Return what the identifiers of all versions of a licence of Creative Commons begin with, such
    as `CC-BY` or `CC0`; `UNKNOWN` where it is none."""
    for version in ("-4.0", "-1.0"):  # CC0 and the mark of the public domain have the second only
        known = spdx_of(f"{text}{version}")
        if known.startswith("CC") and known.endswith(version):
            return known.removesuffix(version)
    return UNKNOWN


def is_allowed(licence: str, allowed: frozenset[str]) -> bool:
    """Return whether an identifier is in a list, of which an entry such as `CC-BY-*` stands for all
    versions and ports of one licence."""
    kind = re.match(r"(?:CC0|CC(?:-[A-Z]{2})+|CC-PDM)(?=-\d|$)", licence)
    return licence in allowed or bool(kind and f"{kind.group()}-*" in allowed)


def _plain(text: str) -> str:
    plain = " ".join(text.strip().strip("()[].").casefold().split())
    return _URL.sub("", plain).rstrip("/").removesuffix("/legalcode").removesuffix("/deed.en")


def _creative_commons(match: re.Match[str]) -> str:
    """Return the identifier of a licence of Creative Commons from its parts."""
    if _PART.sub("", match["kind"]).strip(" _-"):  # of another kind, such as `sampling+`
        return UNKNOWN
    found = {_short(part) for part in _PART.findall(match["kind"])}
    parts = [part for part in _ORDER if part in found]
    if "BY" not in parts:  # versions from 2.0 on all require attribution
        return UNKNOWN
    port = match["port"]
    suffix = f"-{port.upper()}" if port and match["version"] != _PORTLESS else ""
    version = f"-{match['version']}{suffix}" if match["version"] else ""
    return f"CC-{'-'.join(parts)}{version}"


def _short(part: str) -> str:
    plain = part.replace("-", "")
    return "ND" if plain.startswith("noderiv") else _SHORT.get(plain, plain.upper())
