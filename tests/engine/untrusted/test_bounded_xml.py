"""XML of strangers: what is read, and what is refused before it can do harm."""

from __future__ import annotations

from io import BytesIO

import pytest

from florilegium.engine.untrusted import bounded_xml
from florilegium.engine.untrusted.bounded_xml import Event, events


def read(data: bytes) -> list[Event]:
    return list(events(BytesIO(data)))


def test_elements_are_given_in_their_order_with_attributes_and_text() -> None:
    found = read("<a x='1'>one<b>zw&amp;ö</b>two</a>".encode())
    assert [(one.kind, one.tag, one.text) for one in found] == [
        ("start", "a", ""),
        ("start", "b", ""),
        ("end", "b", "zw&ö"),
        ("end", "a", "onetwo"),
    ]
    assert found[-1].attributes == {"x": "1"}


@pytest.mark.attack("billion_laughs")
@pytest.mark.parametrize(
    "head",
    [
        b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;">]>',
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd">',
    ],
)
def test_document_types_and_entities_are_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match="declares a document type or an entity"):
        read(head + b"<a>&c;</a>")


@pytest.mark.parametrize("data", [b"", b"<a>", b"<a></b>", b"no", b"<a>\x00</a>", b"<a>&c;</a>"])
def test_what_is_no_xml_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="it is not XML"):
        read(data)


def test_depth_and_size_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="more than 64 deep"):
        read(b"<a>" * 65)
    monkeypatch.setattr(bounded_xml, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match="more than 10 bytes"):
        read(b"<a>0123456789</a>")
