"""A takedown list is read strictly, and matches an input by key, digest or place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.sources import takedown
from florilegium.engine.sources.takedown import (
    NOTHING,
    Takedown,
    base_of,
    name_of,
    names_in,
    parse_takedown,
    read_takedown,
    taken_down,
)

DIGEST = "0123456789abcdef" * 4
URL = "https://example.org/cat.jpg"


def listed(*entries: str) -> Takedown:
    return parse_takedown("\n".join(entries).encode(), "list.txt")


def matches(entry: str, **changes: Any) -> bool:
    values: dict[str, Any] = {
        "key": "pets_cat",
        "location": "pets/cat.jpg",
        "base": "/photos",
        "metadata": f'{{"url":"{URL}","width":3}}',
        "digests": (DIGEST,),
    }
    found = listed(entry).matching(**{**values, **changes})
    assert found in ((), tuple(listed(entry).entries))
    return bool(found)


def test_comments_blank_lines_and_order_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(f"\ufeff# two\n\nkey: cat \r\nsha256:{DIGEST.upper()}\nkey:cat\n".encode())
    read = read_takedown(str(path))
    assert read == listed(f"sha256:{DIGEST}", "key:cat")
    assert read.digest == listed(f"sha256:{DIGEST}", "key:cat").digest != listed("key:cat").digest
    assert parse_takedown(read.to_bytes(), "again") == read
    assert listed("# nothing") == NOTHING


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("cat", "'cat' is no entry: write key:KEY, sha256:DIGEST or url:URL"),
        ("key:", "'key:' is no entry"),
        ("md5:00", "'md5:00' is no entry"),
        ("sha256:abc", "'abc' is no SHA-256: give its 64 hexadecimal digits"),
        ("key:" + "x" * 9000, "9000 characters, the limit is 8192"),
    ],
)
def test_a_line_that_is_no_entry_is_named_by_its_number(line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        listed("# first", "key:cat", line)
    assert str(caught.value).startswith(f"takedown = 'list.txt', line 3: {problem}")


def test_a_list_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takedown, "MAX_ENTRIES", 2)
    assert len(listed("key:a", "key:b", "key:a").entries) == 2
    with pytest.raises(ConfigError, match="line 3: the limit is 2 entries"):
        listed("key:a", "key:b", "key:c")
    monkeypatch.setattr(takedown, "MAX_BYTES", 3)
    (tmp_path / "list.txt").write_text("key:cat")
    with pytest.raises(ConfigError, match="7 bytes, the limit is 3"):
        read_takedown(str(tmp_path / "list.txt"))
    with pytest.raises(ConfigError, match="there is no such file"):
        read_takedown(str(tmp_path / "absent.txt"))
    with pytest.raises(ConfigError, match="line 2: it is no UTF-8 text"):
        parse_takedown(b"key:cat\nkey:\xff", "list.txt")


@pytest.mark.parametrize(
    "entry",
    [
        "key:pets_cat",
        f"sha256:{DIGEST}",
        f"url:{URL}",
        "url:pets/cat.jpg",
        "url:/photos/pets/cat.jpg",
    ],
)
def test_an_input_is_matched_by_all_that_names_it(entry: str) -> None:
    assert matches(entry)


@pytest.mark.parametrize(
    "entry",
    ["key:cat", "key:pets_ca", f"sha256:{'0' * 64}", "url:cat.jpg", f"url:{URL}?v=2", "url:3"],
)
def test_an_input_is_not_matched_by_a_part_of_a_name(entry: str) -> None:
    assert not matches(entry)


def test_signatures_of_urls_do_not_count() -> None:
    """Samples have them masked, and another signature leads to the same image."""
    metadata = f'{{"url":"{URL}?X-Amz-Signature=abc&v=1"}}'
    assert matches(f"url:{URL}?X-Amz-Signature=def&v=1", metadata=metadata)
    assert not matches(f"url:{URL}?X-Amz-Signature=abc&v=2", metadata=metadata)


def test_metadata_that_is_no_json_has_no_url() -> None:
    assert not matches(f"url:{URL}", metadata=URL)


def test_a_path_is_absolute_or_relative_to_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "link")
    monkeypatch.setenv("HOME", str(tmp_path))
    for url in ("~/link", str(tmp_path / "real"), f"{tmp_path}/link/*.jpg", f"{tmp_path}/real/"):
        base = base_of(url, "cat.jpg")
        assert base == str(tmp_path / "real")
        for path in ("~/real/cat.jpg", f"{tmp_path}/link/cat.jpg", "cat.jpg"):
            assert matches(f"url:{path}", base=base, location="cat.jpg")
    tar = base_of(str(tmp_path / "real" / "a.tar"), "a.tar")
    assert matches(f"url:{tmp_path}/real/a.tar/cat.jpg", base=tar, location="a.tar/cat.jpg")
    assert base_of("s3://bucket/photos/", "cat.jpg") == "s3://bucket/photos"


def test_a_dead_letter_names_entries_without_what_they_are() -> None:
    entries = (f"sha256:{DIGEST}", f"url:{URL}")
    letter = taken_down("pets_cat", "pets/cat.jpg", entries)
    assert names_in(letter) == {name_of(one) for one in entries}
    assert DIGEST not in letter.message
    assert URL not in letter.message
    assert (letter.key, letter.source, letter.stage) == ("pets_cat", "pets/cat.jpg", "source")
