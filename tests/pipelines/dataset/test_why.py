"""Why: what is read for an answer, and what never reaches the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.results import shard_files
from florilegium.engine.results.contract import SHARD_SCHEMA
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.why import explain
from tests.building import build
from tests.pipelines.report.dataset import Photo, box, caption, plain, publish

NASTY = "a cat\x1b[2J\x1b]0;title\x07 \x9b31m\r\x7f\u202e"


def explained(output: Folder, key: str) -> str:
    return "\n".join(line.plain for line in explain(output, key))


def test_control_characters_of_strangers_are_shown_escaped(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    annotations = (caption(NASTY, model=NASTY), box(label=NASTY, specialist=NASTY, revision=NASTY))
    publish(output, [Photo(key="cat", data=plain(), annotations=annotations)])
    text = explained(output, "cat")
    assert not any(ord(one) < 32 or 127 <= ord(one) < 160 for one in text.replace("\n", ""))
    assert r"a cat\x1b[2J\x1b]0;title\x07 \x9b31m\r\x7f\u202e" in text


def test_letters_of_any_script_are_left_as_they_are(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    publish(output, [Photo(key="cat", data=plain(), annotations=(caption("Kätzchen 猫 חתול"),))])
    assert "Kätzchen 猫 חתול" in explained(output, "cat")


def test_a_small_score_is_shown_with_its_digits(tmp_path: Path) -> None:
    """Probabilities of SigLIP, by which region texts are chosen, are small."""
    output = Folder(str(tmp_path))
    publish(output, [Photo(key="cat", data=plain(), annotations=(box(score=0.00012),))])
    assert "score 0.00012 " in explained(output, "cat")


def test_only_the_shard_with_the_key_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Folder(str(tmp_path))
    names = ("cat", "dog", "emu")
    publish(output, *([Photo(key=key, data=plain(), annotations=(caption(),))] for key in names))
    asked: list[list[str] | None] = []
    read = shard_files.from_parquet

    def note(file: IO[bytes], *, columns: list[str] | None = None) -> pa.Table:
        asked.append(columns)
        return read(file, columns=columns)

    monkeypatch.setattr(shard_files, "from_parquet", note)
    assert "A cat sleeps." in explained(output, "dog")
    assert asked == [["key"], ["key"], ["key"], SHARD_SCHEMA.names]


def test_the_hint_knows_the_keys_of_all_shards(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    names: Any = ("motorcycle", "cup")
    publish(output, *([Photo(key=key, data=plain(), annotations=(caption(),))] for key in names))
    with pytest.raises(ConfigError, match="did you mean 'motorcycle'"):
        explained(output, "motorcycel")


def test_a_failure_inside_a_stage_is_shown_with_its_traceback(album: Path, tmp_path: Path) -> None:
    trouble = {"use": "tests.stages:Trouble", "key": "cup", "how": "raise"}
    build(album, tmp_path / "out", specialists={"trouble": trouble})
    lines = explained(Folder(str(tmp_path / "out")), "cup").splitlines()
    assert lines[2] == "  trouble: stage_failed: ValueError: this image is not to my taste"
    assert lines[3].startswith("      tests/stages.py, line ")
    assert lines[-2:] == [
        '        raise ValueError("this image is not to my taste")',
        "    ValueError: this image is not to my taste",
    ]
