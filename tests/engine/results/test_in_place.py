"""What an output has of its last run is read within limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.engine.results.finished_shards import in_place
from florilegium.engine.results.manifest import MANIFEST
from florilegium.engine.storage import documents
from florilegium.engine.storage.folder import Folder


def test_of_a_manifest_that_is_too_large_no_more_is_read_than_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / MANIFEST).write_text(" " * 10_000 + "{}")
    monkeypatch.setattr(documents, "MAX_BYTES", 100)
    read = Folder.read
    sizes: list[int] = []

    def counted(self: Folder, name: str, *, most: int | None = None) -> bytes | None:
        data = read(self, name, most=most)
        sizes.append(len(data or b""))
        return data

    monkeypatch.setattr(Folder, "read", counted)
    found = in_place(Folder(str(tmp_path)))
    assert max(sizes) == 101
    assert found.current == frozenset()
    assert not found.version.manifest
