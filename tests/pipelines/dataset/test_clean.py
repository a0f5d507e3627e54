"""Cleaning: what nobody needs goes, and the next build still has nothing to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from florilegium.engine.core.errors import UsageError
from florilegium.engine.results.manifest import RECIPE, sealed
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.clean import clean
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHTEST, DESCRIBED, build, contents
from tests.enriching import scoring, stages


def files(output: Path) -> dict[Path, int]:
    found = (path for path in (output / "layers").rglob("*") if path.is_file())
    return {path: path.stat().st_size for path in found}


def test_layers_of_earlier_stages_go_and_those_of_the_dataset_stay(
    album: Path, tmp_path: Path
) -> None:
    build(album, tmp_path, specialists={"other": {"use": "tests.stages:Brightest"}})
    earlier = {path: size for path, size in files(tmp_path).items() if "source-" not in str(path)}
    build(album, tmp_path, specialists=DESCRIBED)
    before = files(tmp_path)
    assert earlier.keys() < before.keys()
    cleaned = clean(Folder(str(tmp_path)))
    assert (cleaned.stages, cleaned.files) == (1, len(earlier))
    assert cleaned.bytes == sum(earlier.values())
    assert files(tmp_path).keys() == before.keys() - earlier.keys()
    assert cleaned.kept == len(files(tmp_path))
    assert not any(path.parent.exists() for path in earlier)
    assert list(verify_dataset(Folder(str(tmp_path)))) == []


def test_a_build_after_cleaning_has_nothing_to_do(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(album, tmp_path, specialists=DESCRIBED)
    before = contents(tmp_path)
    clean(Folder(str(tmp_path)))
    monkeypatch.setattr("tests.stages.Describe.predict", None)
    build(album, tmp_path, specialists=DESCRIBED, filters={"nms": {}})
    build(album, tmp_path, specialists=DESCRIBED)
    assert contents(tmp_path) == before


def test_layers_of_kept_versions_stay(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path, specialists=BRIGHTEST, keep_versions=2)
    build(album, tmp_path, specialists=DESCRIBED, keep_versions=2)
    before = files(tmp_path)
    assert clean(Folder(str(tmp_path))).files == 0
    assert files(tmp_path) == before


def test_looking_deletes_nothing(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path, specialists={"other": {"use": "tests.stages:Brightest"}})
    build(album, tmp_path, specialists=BRIGHTEST)
    before = files(tmp_path)
    assert clean(Folder(str(tmp_path)), is_dry=True).files > 0
    assert files(tmp_path) == before


def test_layers_that_others_may_share_and_those_of_an_unfinished_build_are_refused(
    album: Path, tmp_path: Path
) -> None:
    build(album, tmp_path / "one", layers=str(tmp_path / "shared"))
    with pytest.raises(UsageError, match="which other datasets may share"):
        clean(Folder(str(tmp_path / "one")))
    build(album, tmp_path / "two")
    (tmp_path / "two" / RECIPE).write_text("another")
    with pytest.raises(UsageError, match="was interrupted"):
        clean(Folder(str(tmp_path / "two")))
    with pytest.raises(UsageError, match="build the dataset first"):
        clean(Folder(str(tmp_path / "three")))


def test_layers_under_an_earlier_gate_go_and_the_dataset_stays_whole(
    album: Path, tmp_path: Path
) -> None:
    specialists = {name: one for name, one in stages(tmp_path).items() if name != "names"}
    out = tmp_path / "out"
    build(album, out, specialists=specialists, filters=scoring(0.6))
    earlier = {path for path in files(out) if path.parent.name.startswith(("texts", "summary"))}
    build(album, out, specialists=specialists, filters=scoring(0.4))
    before = files(out)
    assert list(verify_dataset(Folder(str(out)))) == []
    assert clean(Folder(str(out))).files == len(earlier) > 0
    assert files(out).keys() == before.keys() - earlier
    assert list(verify_dataset(Folder(str(out)))) == []
    after = files(out)
    manifest = json.loads((out / "manifest.json").read_bytes())
    texts = next(one for one in manifest["stages"].values() if one["name"] == "texts")
    for gate in ([], {"filters": [{"name": "none", "tasks": []}], "measured": []}):
        texts["gate"] = gate
        (out / "manifest.json").write_bytes(sealed(manifest))
        assert any("a gate cannot be read" in one for one in verify_dataset(Folder(str(out))))
        with pytest.raises(UsageError, match="a manifest was changed"):
            clean(Folder(str(out)))
        assert files(out).keys() == after.keys()
