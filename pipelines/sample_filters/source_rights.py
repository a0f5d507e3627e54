"""What the source and the file of an image say of its rights: licence, author, opt-out.

The source's metadata is JSON of any kind: of img2dataset (with the EXIF data as JSON within),
WebDataset, Parquet columns, with HTTP headers or without. In the file, EXIF, IPTC and XMP are read.
Nothing is inferred from the web, and a signed C2PA manifest is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from html import unescape
from typing import Any

from florilegium.engine.core.image import pillow
from florilegium.engine.core.image.header import Bytes
from florilegium.engine.untrusted.bounded_json import parsed
from florilegium.pipelines.sample_filters.licences import UNKNOWN, spdx_of

TDM = "tdm-reservation"
"""The token of a reservation of text and data mining (TDMRep, W3C; Article 4, EU 2019/790)."""
DATA_MINING = "dmi-prohibited"
"""The token of any prohibition by the property `DataMining` of PLUS, which IPTC has, too."""
NO_AI = "noai"
_DEPTH = 8
_MAX_CHARACTERS = 300
_MAX_XMP_BYTES = 1 << 20
_EXIF_ARTIST, _EXIF_COPYRIGHT = 315, 33432
_IPTC_BYLINE, _IPTC_COPYRIGHT = (2, 80), (2, 116)

_LICENCE_KEYS = (
    *("license", "licence", "licenseurl", "licenceurl", "licensename", "cclicense"),
    *("licenses", "licences", "licenseshortname", "usageterms", "webstatement", "rights"),
    *("copyright", "copyrightnotice", "imagecopyright"),
)
"""Names of values that state a licence, the best first, without separators and prefixes."""
_AUTHOR_KEYS = (
    *("author", "creator", "photographer", "artist", "imageartist", "byline", "attribution"),
    *("credit", "authorname", "ownername"),
)
_ROBOTS_KEYS = frozenset({"xrobotstag", "robots", "robotstag", "metarobots"})
_FLAG_KEYS = {"noai": NO_AI, "noimageai": "noimageai", "optout": NO_AI, "isoptedout": NO_AI}
_TDM_KEYS = frozenset({"tdmreservation", "reservation"})
_MINING_KEYS = frozenset({"datamining", "plusdatamining"})
_TRUE = frozenset({"1", "1.0", "true", "yes", "y"})
_FALSE = frozenset({"", "0", "0.0", "false", "no", "n", "none", "null"})
_XMP = re.compile(
    r"\b(?P<name>(?:dc:(?:rights|creator)|xmpRights:(?:UsageTerms|WebStatement)|cc:license"
    r"|plus:DataMining|tdm:reservation|tdm:tdm-reservation|photoshop:Credit))"
    r"(?:\s*=\s*[\"'](?P<attribute>[^\"']{0,1000})[\"']"
    r"|(?:\s[^<>]{0,200})?>(?P<element>.{0,2000}?)</(?P=name)>)",
    re.DOTALL,
)
_TAGS = re.compile(r"<[^<>]{0,500}>")
_RESOURCE = re.compile(r"rdf:resource\s*=\s*[\"']([^\"']{1,1000})[\"']")


@dataclass(frozen=True, kw_only=True)
class SourceRights:
    """What is stated of the rights in one image; "" where nothing is.

    `licence` is an SPDX identifier, `stated` the words in which it, or another condition, is
    stated. `opt_outs` are sorted: directives for robots, and those of this module.
    """

    licence: str = UNKNOWN
    stated: str = ""
    author: str = ""
    opt_outs: tuple[str, ...] = ()


def rights_of(metadata: str, data: Bytes = b"") -> SourceRights:
    """Return what the metadata of the source, JSON text, and the bytes of an image state.

    The source comes before the file: what re-encodes an image often leaves old words in it. An
    opt-out in either counts.
    """
    pairs = [*_pairs_of_text(metadata, _DEPTH), *pairs_of_file(data)]
    licence, stated = _licence(pairs)
    authors = (value for key in _AUTHOR_KEYS for name, value in pairs if name == key and value)
    return SourceRights(
        licence=licence,
        stated=stated[:_MAX_CHARACTERS],
        author=next(authors, "")[:_MAX_CHARACTERS],
        opt_outs=tuple(
            sorted({token for name, value in pairs for token in _opt_outs(name, value)})
        ),
    )


def pairs_of_file(data: Bytes) -> list[tuple[str, str]]:
    """Return names and values of the metadata in a file; none of a block that Pillow cannot read,
    whatever is in the others."""
    if not len(data):
        return []
    pairs: list[tuple[str, str]] = []
    with suppress(Exception), pillow.opened(data) as image:  # it raises anything, if broken
        for read in (_exif, _iptc, _xmp):
            with suppress(Exception):  # of one block; the others may be whole
                pairs += read(image)
    return pairs


def _licence(pairs: list[tuple[str, str]]) -> tuple[str, str]:
    """Return the first licence that is recognised, with its words, else the first words."""
    stated = [value for key in _LICENCE_KEYS for name, value in pairs if name == key and value]
    for words in stated:
        if (licence := spdx_of(words)) != UNKNOWN:
            return licence, words
    return UNKNOWN, next(iter(stated), "")


def _opt_outs(name: str, value: str) -> Iterator[str]:
    """Yield the tokens of the opt-outs that a value of the metadata states."""
    plain = value.strip().casefold()
    if name in _ROBOTS_KEYS:
        # "noai, noimageai", or with the robot that is meant: "googlebot: noindex"
        for directive in re.split(r"[,;\s]+", plain):
            yield from re.findall(r"[a-z]{2,30}", directive.rpartition(":")[2])
    elif name in _FLAG_KEYS and plain not in _FALSE:
        yield _FLAG_KEYS[name]
    elif name in _TDM_KEYS and plain in _TRUE:
        yield TDM
    elif name in _MINING_KEYS and "prohibited" in plain:
        yield DATA_MINING


def _pairs_of_text(text: str, depth: int) -> Iterator[tuple[str, str]]:
    try:
        yield from _pairs(parsed(text, max_depth=64, max_values=100_000), depth)
    except ValueError:  # of a source of another package
        return


def _pairs(value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Yield normalised names and values, the outer ones first; a text that is JSON is read, too."""
    if not isinstance(value, dict) or not depth:
        return
    inner: list[Iterator[tuple[str, str]]] = []  # read after the outer ones
    for key, own in value.items():
        name = _plain_name(str(key))
        if isinstance(own, str | int | float):
            yield name, str(own)
        if isinstance(own, str) and own.lstrip().startswith("{"):
            inner.append(_pairs_of_text(own, depth - 1))
        elif isinstance(own, dict):
            inner.append(_pairs(own, depth - 1))
        elif isinstance(own, list):
            texts = [one for one in own if isinstance(one, str | int | float)]
            yield from ((name, str(one)) for one in texts)
            inner += [_pairs(one, depth - 1) for one in own if isinstance(one, dict)]
    for pairs in inner:
        yield from pairs


def _plain_name(key: str) -> str:
    """Return a name without prefix, separators and case: `xmpRights:UsageTerms` is `usageterms`."""
    return re.sub(r"[\W_]+", "", key.rpartition(":")[2] or key).casefold()


def _exif(image: Any) -> list[tuple[str, str]]:
    exif = image.getexif()
    found = (("artist", exif.get(_EXIF_ARTIST)), ("copyright", exif.get(_EXIF_COPYRIGHT)))
    return [(name, _text(value)) for name, value in found if value]


def _iptc(image: Any) -> list[tuple[str, str]]:
    from PIL import IptcImagePlugin

    iptc = IptcImagePlugin.getiptcinfo(image) or {}
    names = (("byline", _IPTC_BYLINE), ("copyrightnotice", _IPTC_COPYRIGHT))
    return [(name, _text(iptc[key])) for name, key in names if iptc.get(key)]


def _xmp(image: Any) -> list[tuple[str, str]]:
    """Return some properties of an XMP packet, by its text: XML from outside is not parsed."""
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if not packet:
        return []
    text = packet if isinstance(packet, str) else packet[:_MAX_XMP_BYTES].decode("utf-8", "replace")
    found = []
    for match in _XMP.finditer(text):
        resource = _RESOURCE.search(match.group())
        words = match["attribute"] or (
            resource[1] if resource else _TAGS.sub(" ", match["element"])
        )
        found.append((_plain_name(match["name"]), " ".join(unescape(words).split())))
    return found


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
