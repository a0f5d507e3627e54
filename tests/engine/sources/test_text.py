"""Texts in the encodings that people use."""

from __future__ import annotations

import codecs

import pytest
from pydantic import ValidationError

from florilegium.engine.sources.source import FilesConfig
from florilegium.engine.sources.text import NotText, decoded, decoded_lines

TEXT = "A café, 狗 и кот\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_or_utf8_needs_no_option(encoding: str) -> None:
    assert decoded(TEXT.encode(encoding)) == TEXT
    assert decoded(TEXT.encode(encoding), "cp1252") == TEXT


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF32_BE, "utf-32-be")],
)
def test_a_byte_order_mark_tells_the_order(mark: bytes, encoding: str) -> None:
    assert decoded(mark + TEXT.encode(encoding)) == TEXT


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("naïve café", "cp1252"),
        ("一只狗坐在草地上", "gbk"),
        ("犬が芝生に座っている", "shift_jis"),
        ("犬が芝生に座っている", "iso2022_jp"),
        ("A dog", "utf-16-le"),
        ("A dog", "utf-16-be"),
        ("A dog", "utf-32-le"),
    ],
)
def test_the_encoding_of_the_source_is_the_cure(text: str, encoding: str) -> None:
    data = text.encode(encoding)
    with pytest.raises(NotText, match="set the source's `encoding`"):
        decoded(data)
    assert decoded(data, encoding) == text


@pytest.mark.parametrize("data", [codecs.BOM_UTF16_LE + b"a", codecs.BOM_UTF8 + b"\xff"])
def test_a_mark_that_the_bytes_do_not_keep_is_told(data: bytes) -> None:
    with pytest.raises(NotText, match="byte order mark of utf-"):
        decoded(data, "cp1252")


def test_a_few_damaged_lines_cost_themselves() -> None:
    lines = [*["café\n".encode()] * 3, b"caf\xe9\r\n", b"cafe"]
    assert decoded_lines(b"".join(lines)) == [*["café\n"] * 3, None, "cafe"]
    assert decoded_lines(b"".join(lines), "cp1252") == [*["café\n"] * 3, "café\r\n", "cafe"]


def test_a_damaged_line_after_a_byte_order_mark_costs_itself() -> None:
    data = codecs.BOM_UTF8 + "file_name,é\n".encode() + b"a.jpg,\xe9\n"
    assert decoded_lines(data) == ["file_name,é\n", None]


def test_lines_that_fit_utf8_by_chance_are_not_believed() -> None:
    lines = ["一只狗\n", "拢\n", "地\n", "dog\n"]
    data = "".join(lines).encode("gbk")
    assert "拢".encode("gbk").decode() == "£"
    assert decoded_lines(data) == [None, None, None, "dog\n"]
    assert decoded_lines(data, "gbk") == lines


@pytest.mark.parametrize("name", ["cp12520", "base64", "rot13"])
def test_an_encoding_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="encoding"):
        FilesConfig(url="x", encoding=name)
    assert FilesConfig(url="x", encoding="utf-16").encoding == "utf-16"
