from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from florilegium.engine.core.errors import ConfigError, UsageError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.export.exporter import export
from florilegium.pipelines.export.few_shot import FewShotConfig, FewShotExporter
from florilegium.specialists.online.examples import read_examples
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build


@pytest.fixture(scope="module")
def dataset(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photographs with a caption each; those of dark ones are dropped."""
    output = tmp_path_factory.mktemp("dataset") / "out"
    build(album, output, specialists=DESCRIBED, filters=BRIGHT_ENOUGH, shard_size=5)
    return output


@pytest.fixture(scope="module")
def captions(dataset: Path) -> list[dict[str, Any]]:
    """All rows of captions."""
    shards = sorted((dataset / "shards").glob("*.parquet"))
    rows = [row for path in shards for row in pq.read_table(path).to_pylist()]
    return [row for row in rows if row["task"] == "caption"]


def audit(path: Path, right: dict[str, bool]) -> str:
    rows = [json.dumps({"id": name, "right": is_right}) for name, is_right in right.items()]
    path.write_text("\n".join(rows), encoding="utf-8")
    return str(path)


def write_examples(dataset: str, audit: str, output: Path, per_task: int = 16) -> Mapping[str, int]:
    config = FewShotConfig(audit=audit, per_task=per_task)
    return export(dataset, FewShotExporter(config), output).tasks


def test_kept_captions_that_were_found_right_become_examples(
    dataset: Path, captions: list[dict[str, Any]], tmp_path: Path
) -> None:
    kept = [row["id"] for row in captions if row["kept"]]
    dropped = [row["id"] for row in captions if not row["kept"]]
    assert len(kept) > 2
    assert dropped
    wrong, *right = kept
    found = {wrong: False, **dict.fromkeys([*right, *dropped], True)}
    path = audit(tmp_path / "audit.jsonl", found)
    output = tmp_path / "examples"
    assert write_examples(str(dataset), path, output) == {"caption": len(right)}
    examples = read_examples(str(output / "examples.jsonl"))
    assert {one.text for one in examples.examples} == {"A picture with a bright corner."}
    assert len({one.sha256 for one in examples.examples}) == len(right)
    first = examples.examples[0]
    own = Sample(key="it", width=9, height=9, picture=Picture(b""), sha256=first.sha256)
    assert first not in examples.chosen(own, "caption", 99, 0)


def test_the_choice_is_the_same_again_and_grows_with_its_number(
    dataset: Path, captions: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = audit(tmp_path / "audit.jsonl", {row["id"]: True for row in captions})
    for name, count in (("one", 1), ("two", 2), ("again", 2)):
        assert write_examples(str(dataset), path, tmp_path / name, count) == {"caption": count}
    lines = {name: (tmp_path / name / "examples.jsonl").read_text().splitlines()
             for name in ("one", "two", "again")}  # fmt: skip
    assert lines["two"] == lines["again"]
    assert lines["one"] == lines["two"][:1]
    assert len(list((tmp_path / "two" / "images").iterdir())) == 2
    write_examples(str(dataset), path, tmp_path / "all", 99)
    examples = read_examples(str(tmp_path / "all" / "examples.jsonl")).examples
    chosen = [one.source_sha256 for one in examples]
    stored = [one.sha256 for one in open_dataset(str(dataset)) if one.sha256 in chosen]
    assert sorted(chosen) == sorted(stored)
    assert chosen != stored  # not the first images of the dataset


def test_captions_of_the_source_are_chosen_first(album: Path, tmp_path: Path) -> None:
    photographs = sorted(album.glob("*.jpg"))[:4]
    folder = tmp_path / "photographs"
    folder.mkdir()
    for path in photographs:
        (folder / path.name).write_bytes(path.read_bytes())
        (folder / path.with_suffix(".txt").name).write_text(f"People wrote {path.stem}.")
    output = tmp_path / "out"
    build(folder, output, specialists=DESCRIBED)
    (shard,) = (output / "shards").glob("*.parquet")
    ids = [row["id"] for row in pq.read_table(shard).to_pylist() if row["task"] == "caption"]
    assert len(ids) == 2 * len(photographs)
    path = audit(tmp_path / "audit.jsonl", dict.fromkeys(ids, True))
    assert write_examples(str(output), path, tmp_path / "examples", 4) == {"caption": 4}
    examples = read_examples(str(tmp_path / "examples" / "examples.jsonl")).examples
    assert {one.text for one in examples} == {f"People wrote {one.stem}." for one in photographs}


def test_what_cannot_be_written_is_named(
    dataset: Path, captions: list[dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "examples"
    wrong = audit(tmp_path / "wrong.jsonl", {row["id"]: False for row in captions})
    with pytest.raises(UsageError, match="finds no caption right"):
        write_examples(str(dataset), wrong, output)
    with pytest.raises(ConfigError, match="annotation that do not exist here"):
        write_examples(str(dataset), audit(tmp_path / "other.jsonl", {"x": True}), output)
    with pytest.raises(ConfigError, match="is not there"):
        write_examples(str(dataset), str(tmp_path / "none.jsonl"), output)
    with pytest.raises(UsageError, match="build the dataset first"):
        write_examples(str(tmp_path), wrong, output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.jsonl", "wrong.jsonl"]
    with pytest.raises(UsageError, match="exists"):
        write_examples(str(dataset), wrong, tmp_path)
