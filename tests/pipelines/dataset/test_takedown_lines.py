"""Entries of the log about images that were taken down go; entries about others stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.execution.log import LOG, log_dead_letters, run_log
from florilegium.engine.results.takedowns import Match
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.takedown_lines import strip_log

LETTERS = (
    ("000012", "000012.png", "it is too dark"),
    ("000013", "000013.png", "what a pity"),
    ("a", "a.jpg", "empty"),
    ("a (1)", "a (1).jpg", "a (a.b): empty"),
    ("b/a", "b/a.webp", "a: nothing"),
    ("scene", "scene", "a scene of 000012: nothing"),
    ("last", "last.jpg", "unlike the sample 'scene'"),
)
"""Key, source and message of dead letters of shard 12."""


@pytest.mark.parametrize(
    ("key", "source", "gone"),
    [
        ("000012", "000012.png", ["000012"]),
        ("a", "a.jpg", ["a"]),
        ("a", "before/a.jpg", ["a"]),
        ("a (1)", "a (1).jpg", ["a (1)"]),
        ("b/a", "", ["b/a"]),
        ("scene", "scene", ["scene", "last"]),
        ("other", "000013.png", ["000013"]),
        ("nothing", "nothing", []),
        ("000012-0123456789abcdef", "WARNING", []),
    ],
)
def test_entries_about_an_image_are_those_that_name_it(
    tmp_path: Path, key: str, source: str, gone: list[str]
) -> None:
    folder = Folder(str(tmp_path))
    with run_log(folder):
        log_dead_letters(
            "000012-0123456789abcdef",
            [
                DeadLetter(key=one, source=place, stage="source", reason="empty", message=message)
                for one, place, message in LETTERS
            ],
        )
    before = (folder.read(LOG) or b"").decode().splitlines()
    assert strip_log(folder, [Match(entries=(), key=key, source=source)]) == len(gone)
    kept = [line for line, one in zip(before, LETTERS, strict=True) if one[0] not in gone]
    assert (folder.read(LOG) or b"").decode().splitlines() == kept
