from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import ValidationError

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.planning.config import validated
from florilegium.pipelines.sample_filters.licences import is_allowed, spdx_of
from florilegium.pipelines.sample_filters.rights import Rights, RightsConfig
from florilegium.pipelines.sample_filters.source_rights import rights_of
from tests.pipelines.sample_filters.columns import of_rows

LICENCES = {
    "CC-BY-4.0": "CC-BY-4.0",
    "cc by-sa 3.0": "CC-BY-SA-3.0",
    "CC_BY_NC_ND_2.0": "CC-BY-NC-ND-2.0",
    "https://creativecommons.org/licenses/by-nc-sa/2.0/": "CC-BY-NC-SA-2.0",
    "http://www.creativecommons.org/licenses/by-sa/3.0/de/": "CC-BY-SA-3.0-DE",
    "https://creativecommons.org/licenses/by/4.0/deed.de": "CC-BY-4.0",
    "https://creativecommons.org/licenses/by/4.0/legalcode": "CC-BY-4.0",
    "https://creativecommons.org/publicdomain/zero/1.0/": "CC0-1.0",
    "https://creativecommons.org/publicdomain/mark/1.0/": "CC-PDM-1.0",
    "Creative Commons Attribution-ShareAlike 4.0 International License": "CC-BY-SA-4.0",
    "CC0": "CC0-1.0",
    "Public domain": "CC-PDDC",
    "mit": "MIT",
    "CC BY": "CC-BY",
    "": "",
    "unknown": "",
    "All rights reserved": "",
    "© 2024 Jane Doe": "",
    "CC BY-NC 4.0 or MIT": "",
    "not CC-BY-4.0": "",
    "CC-BY-4.0 for the text only": "",
    "https://example.org/?creativecommons.org/licenses/by/4.0/": "",
    "CC-NC-4.0": "",
    "https://creativecommons.org/licenses/devnations/2.0/": "",
    "https://creativecommons.org/licenses/by-sampling/1.0/": "",
}


@pytest.mark.parametrize(("text", "licence"), LICENCES.items())
def test_a_licence_is_recognised_whole_or_not_at_all(text: str, licence: str) -> None:
    assert spdx_of(text) == licence


def test_a_star_stands_for_versions_and_not_for_other_conditions() -> None:
    allowed = frozenset({"CC-BY-*", "CC0-1.0"})
    good = ["CC-BY-4.0", "CC-BY-2.0", "CC-BY", "CC-BY-3.0-DE", "CC0-1.0"]
    bad = ["CC-BY-NC-4.0", "CC-BY-SA-4.0", "CC-PDM-1.0", "MIT", ""]
    assert [is_allowed(one, allowed) for one in (*good, *bad)] == [True] * 5 + [False] * 5


@pytest.mark.parametrize(
    ("entry", "licence", "is_good"),
    [
        ("CC0-*", "CC0-1.0", True),
        ("cc0-*", "CC0-1.0", True),
        ("CC-PDM-*", "CC-PDM-1.0", True),
        ("CC-BY-*", "CC-BY-3.0-DE", True),
        ("CC0-*", "CC-BY-4.0", False),
    ],
)
def test_a_star_is_taken_for_every_licence_of_creative_commons(
    entry: str, licence: str, is_good: bool
) -> None:
    (allowed,) = RightsConfig(allowed=(entry,)).allowed or ()
    assert is_allowed(licence, frozenset({allowed})) == is_good


@pytest.mark.parametrize("entry", ["ODbL-*", "MIT-*", "CC-*", "-*", "CC0-1.0-*"])
def test_a_star_after_another_licence_is_refused(entry: str) -> None:
    with pytest.raises(ValidationError, match="is no known licence"):
        RightsConfig(allowed=(entry,))


METADATA: dict[str, tuple[dict[str, Any], tuple[str, str, tuple[str, ...]]]] = {
    "columns": ({"license": "CC0", "author": "Jane"}, ("CC0-1.0", "Jane", ())),
    "img2dataset": (
        {
            "url": "https://example.org/a.jpg",
            "exif": json.dumps({"Image Copyright": "CC BY 4.0", "Image Artist": "Jane"}),
        },
        ("CC-BY-4.0", "Jane", ()),
    ),
    "the first licence that is known": (
        {"rights": "© Jane", "license_url": "https://creativecommons.org/licenses/by/2.0/"},
        ("CC-BY-2.0", "", ()),
    ),
    "headers": (
        {"headers": {"X-Robots-Tag": "noai, noimageai", "tdm-reservation": "1"}},
        ("", "", ("noai", "noimageai", "tdm-reservation")),
    ),
    "one robot": ({"x_robots_tag": "somebot: noindex"}, ("", "", ("noindex",))),
    "a robot without directives": ({"robots": "a" * 60_000 + ":"}, ("", "", ())),
    "meta": ({"meta": {"robots": "index, follow"}}, ("", "", ("follow", "index"))),
    "list of headers": ({"headers": [{"X-Robots-Tag": "noai"}]}, ("", "", ("noai",))),
    "no reservation": ({"tdm-reservation": 0, "noai": False}, ("", "", ())),
    "flags": ({"noai": True}, ("", "", ("noai",))),
    "property of IPTC": (
        {"plus:DataMining": "http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING"},
        ("", "", ("dmi-prohibited",)),
    ),
    "allowed by IPTC": ({"plus:DataMining": "DMI-ALLOWED"}, ("", "", ())),
    "nothing": ({"url": "https://example.org/noai/license"}, ("", "", ())),
}


@pytest.mark.parametrize("name", METADATA)
def test_the_metadata_of_sources_is_read(name: str) -> None:
    metadata, wanted = METADATA[name]
    found = rights_of(json.dumps(metadata))
    assert (found.licence, found.author, found.opt_outs) == wanted


@pytest.mark.parametrize("metadata", ["", "no json", "[1]", "[" * 99, '{"license": null}'])
def test_metadata_that_is_none_states_nothing(metadata: str) -> None:
    found = rights_of(metadata)
    assert (found.licence, found.stated, found.opt_outs) == ("", "", ())


XMP = """<x:xmpmeta><rdf:RDF><rdf:Description plus:DataMining="DMI-PROHIBITED">
<dc:creator><rdf:Seq><rdf:li>Jane &amp; Joe</rdf:li></rdf:Seq></dc:creator>
<cc:license rdf:resource="https://creativecommons.org/licenses/by/4.0/"/>
<xmpRights:UsageTerms><rdf:Alt><rdf:li xml:lang="x-default">CC0</rdf:li></rdf:Alt>
</xmpRights:UsageTerms></rdf:Description></rdf:RDF></x:xmpmeta>"""


def jpeg(**more: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", **more)
    return buffer.getvalue()


def test_exif_of_the_file_is_read() -> None:
    exif = Image.Exif()
    exif[315], exif[33432] = "Jane", "CC BY-NC 4.0"
    found = rights_of("{}", jpeg(exif=exif))
    assert (found.licence, found.stated, found.author) == ("CC-BY-NC-4.0", "CC BY-NC 4.0", "Jane")


def test_xmp_of_the_file_is_read() -> None:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP)
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG", pnginfo=info)
    for data in (jpeg(xmp=XMP.encode()), png.getvalue()):
        found = rights_of("{}", data)
        assert found.licence in ("CC0-1.0", "CC-BY-4.0")
        assert (found.author, found.opt_outs) == ("Jane & Joe", ("dmi-prohibited",))


def test_the_source_comes_before_the_file_and_opt_outs_of_both_count() -> None:
    found = rights_of('{"license": "MIT", "noai": 1}', jpeg(xmp=XMP.encode()))
    assert (found.licence, found.opt_outs) == ("MIT", ("dmi-prohibited", "noai"))


def test_broken_metadata_of_a_file_states_nothing() -> None:
    assert rights_of("{}", b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00garbage").licence == ""
    assert rights_of("{}", jpeg(xmp=b"<cc:license" + b"<" * 50_000)).licence == ""


def test_a_broken_block_does_not_hide_the_opt_out_in_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(image: Any) -> Any:
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(Image.Image, "getexif", broken)
    assert rights_of("{}", jpeg(xmp=XMP.encode())).opt_outs == ("dmi-prohibited",)


def reasons(metadata: list[dict[str, Any]], **policy: Any) -> list[str]:
    stage = Rights(validated(RightsConfig, policy, where="sample_filters.rights"))
    samples = [
        Sample(key="a", width=8, height=8, picture=Picture(b""), metadata=json.dumps(one))
        for one in metadata
    ]
    return stage.judge(of_rows(stage.measure(samples))).reason.tolist()


def test_a_policy_judges_licences_and_opt_outs() -> None:
    images = [
        {"license": "CC BY 4.0"},
        {"license": "CC BY-NC 4.0"},
        {"license": "all mine"},
        {"license": "CC0", "noai": True},
        {"license": "CC0", "robots": "noindex"},
    ]
    assert reasons(images) == ["", "", "", "opted_out", ""]
    assert reasons(images, opt_outs=[]) == [""] * 5
    assert reasons(images, opt_outs=["noindex"]) == ["", "", "", "", "opted_out"]
    urls = ["https://creativecommons.org/licenses/by/4.0/", "CC0-1.0"]
    judged = ["", "licence_not_allowed", "", "opted_out", ""]
    assert reasons(images, allowed=urls) == judged
    judged[2] = "unknown_licence"
    assert reasons(images, allowed=["CC-BY-*", "cc0"], unknown="drop") == judged


def test_a_policy_with_an_unknown_licence_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'CC-BE-4\.0' is no known licence"):
        validated(RightsConfig, {"allowed": ["CC-BE-4.0"]}, where="sample_filters.rights")
