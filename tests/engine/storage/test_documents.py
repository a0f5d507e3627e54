from __future__ import annotations

import pytest

from florilegium.engine.core.errors import StorageError
from florilegium.engine.storage.documents import MAX_DEPTH, parse_json, read_json
from florilegium.engine.storage.folder import Folder


@pytest.mark.attack("changes")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is not JSON"),
        (b"\xff", "it is not JSON"),
        (b"{'a': 1}", "it is not JSON"),
        (b'{"a": NaN}', "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"[" * 1_000_000, "deep in each other"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "deep in each other"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "deep in each other"),
    ],
)
def test_what_is_no_json_or_too_deep_is_one_sentence(data: bytes, message: str) -> None:
    folder = Folder("memory://documents")
    folder.publish("a.json", data)
    with pytest.raises(
        StorageError, match=rf"a\.json is damaged: .*{message}.*; mend it$"
    ) as error:
        read_json(folder, "a.json", cure="mend it")
    assert "\n" not in str(error.value)


def test_as_deep_as_is_allowed_is_read() -> None:
    data = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert parse_json(data) is not None
    assert parse_json(b'{"a": [1, 2.5, null, "x"]}') == {"a": [1, 2.5, None, "x"]}


@pytest.mark.attack("changes")
def test_a_document_of_many_bytes_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder("memory://documents")
    folder.publish("large.json", b"[" + b" " * 100 + b"]")
    monkeypatch.setattr("florilegium.engine.storage.documents.MAX_BYTES", 100)
    with pytest.raises(StorageError, match="it has more than 100 bytes"):
        read_json(folder, "large.json", cure="")


def test_a_document_that_is_not_there_is_none() -> None:
    assert read_json(Folder("memory://documents"), "none.json", cure="") is None
