"""The files of corrections: only added to, the same whatever the order."""

from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.engine.core.errors import StorageError
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.corrections.store import (
    add_corrections,
    digest_of_corrections,
    file_names,
    folder_of,
    problems_of,
    read_corrections,
    strip_corrections,
)
from tests.pipelines.corrections.said import said, seen

FIRST = [said("rejected", seen("a")), said("added", None, seen("b", 20, 20, 30, 30), minute=1)]
SECOND = [said("confirmed", seen("a"), minute=2, who="Bo")]


@pytest.fixture
def output(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "out"))


def test_what_was_said_already_is_not_stored_again(output: Folder) -> None:
    assert add_corrections(output, FIRST) == FIRST
    again = [said("rejected", seen("a"), minute=9, who="Bo", tool="cvat"), FIRST[1]]
    assert add_corrections(output, again) == []
    assert len(file_names(folder_of(output))) == 1
    assert add_corrections(output, SECOND) == SECOND, "another finding about it"
    assert add_corrections(output, [said("rejected", seen("a"), minute=9)]), "and back"


def test_what_was_said_before_and_after_another_finding_is_stored_twice(output: Folder) -> None:
    add_corrections(output, [said("confirmed", seen("a"), minute=5)])
    both = [said("rejected", seen("a"), minute=one) for one in (1, 9)]
    assert add_corrections(output, both) == both
    assert read_corrections(folder_of(output))[-1].finding == "rejected"
    assert add_corrections(output, both) == []
    early = said("added", None, seen("b"), minute=1)
    add_corrections(
        output, [said("added", None, seen("b"), minute=2), said("added", None, seen("b"))]
    )
    assert add_corrections(output, [early]) == [], "it was added already"


def test_corrections_mean_the_same_in_whichever_order_they_came(tmp_path: Path) -> None:
    one, other = (Folder(str(tmp_path / name)) for name in ("one", "other"))
    for folder, parts in ((one, (FIRST, SECOND)), (other, (SECOND, FIRST))):
        for part in parts:
            add_corrections(folder, part)
    found = read_corrections(folder_of(one))
    assert found == [*FIRST, *SECOND] == read_corrections(folder_of(other))
    assert digest_of_corrections(found) == digest_of_corrections(reversed(found)) != ""
    assert digest_of_corrections([]) == ""


def test_a_file_that_was_changed_is_named_and_not_read(output: Folder) -> None:
    add_corrections(output, FIRST)
    assert list(problems_of(output)) == []
    (name,) = file_names(folder_of(output))
    data = folder_of(output).read(name) or b""
    folder_of(output).publish(name, data.replace(b'"Ada"', b'"Eve"', 1))
    folder_of(output).publish("notes.txt", b"")
    problems = list(problems_of(output))
    assert [one.partition(":")[0] for one in problems] == [
        f"corrections/{name} was changed after it was written",
        f"corrections/{name}, line 1",
        "corrections/notes.txt is no file of corrections",
    ]
    with pytest.raises(StorageError, match=r"line 1: it was changed.*restore it"):
        read_corrections(folder_of(output))


def test_a_takedown_removes_all_that_was_said_about_an_image(output: Folder) -> None:
    other = said("rejected", seen("d"), key="dog", sha256="d" * 64)
    add_corrections(output, [*FIRST, other])
    add_corrections(output, SECOND)
    assert strip_corrections(output, {"cat"}, is_dry=True) == 3
    assert len(read_corrections(folder_of(output))) == 4
    assert strip_corrections(output, set(), {"c" * 64}) == 3
    assert read_corrections(folder_of(output)) == [other]
    assert list(problems_of(output)) == []
    assert strip_corrections(output, {"cat"}) == 0
