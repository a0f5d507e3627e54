"""A flipped bit or an edit of anything that a finished dataset consists of: `verify` tells.

Every published file gets bits flipped at seeded places, is cut, lengthened, replaced and deleted;
every leaf of every JSON is edited, with and without digests that fit the edit.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from florilegium.engine.results.manifest import sealed
from florilegium.engine.results.publication import to_json
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, shard_file
from tests.sealing import reseal, reseal_files

pytestmark = pytest.mark.attack("changes")
FLIPS = 8
"""Bits that are flipped in each file."""
TROUBLE = {"use": "tests.stages:Trouble", "key": "cat", "how": "raise"}
PUBLISHED = (
    *("manifest.json", "README.md", "report.html", "statistics.json", "run.yaml"),
    *("dead_letters.parquet", "index.parquet"),
    *("shards/*.tar", "shards/*.parquet", "shards/*_stats.json", "layers/[!s]*-*/*.parquet"),
)
"""Patterns of the files of a dataset; of `layers`, what stages answered."""
UNCOUNTABLE = {"digest", "remarks"}
"""What a manifest says that nothing else tells: its digest, which is made to fit, and remarks on
what the source had beside its images. Only a signature holds those against who can compute one."""


@pytest.fixture(scope="module")
def finished(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with kept, dropped and lost inputs, and a label of the source. Read only."""
    folder = tmp_path_factory.mktemp("finished")
    source = shutil.copytree(album, folder / "source")
    (source / "cup.txt").write_text("a cup of coffee", encoding="utf-8")
    (source / "broken.jpg").write_bytes(b"no image")
    build(
        source,
        folder / "out",
        shard_size=7,
        specialists={**DESCRIBED, "trouble": TROUBLE},
        filters=BRIGHT_ENOUGH,
    )
    return folder / "out"


@pytest.fixture
def dataset(finished: Path, tmp_path: Path) -> Path:
    copied = shutil.copytree(finished, tmp_path / "out")
    assert problems(copied) == []
    return copied


def problems(dataset: Path) -> list[str]:
    return list(verify_dataset(Folder(str(dataset))))


def files(dataset: Path, pattern: str) -> list[Path]:
    found = sorted(dataset.glob(pattern))
    assert found
    return found


@pytest.mark.parametrize("pattern", PUBLISHED)
def test_a_flipped_bit_is_told(dataset: Path, pattern: str) -> None:
    random = Random(pattern)
    for path in files(dataset, pattern):
        whole = path.read_bytes()
        for _ in range(FLIPS):
            place = random.randrange(8 * len(whole))
            data = bytearray(whole)
            data[place // 8] ^= 1 << place % 8
            path.write_bytes(data)
            assert problems(dataset), f"bit {place} of {path.name}"
        path.write_bytes(whole)


@pytest.mark.parametrize("pattern", PUBLISHED)
def test_a_file_that_is_cut_lengthened_or_replaced_is_told(dataset: Path, pattern: str) -> None:
    for path in files(dataset, pattern):
        whole = path.read_bytes()
        for other in (
            *(whole[:-1], whole + b"\n", b"", b"null"),
            *(b"[" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
        ):
            path.write_bytes(other)
            found = problems(dataset)
            assert found, (path.name, other[:20])
            assert not any("\n" in one for one in found)
        path.write_bytes(whole)


@pytest.mark.parametrize("pattern", PUBLISHED[:-1])
def test_a_file_that_is_gone_a_link_or_a_folder_is_told(dataset: Path, pattern: str) -> None:
    for path in files(dataset, pattern):
        elsewhere = dataset.parent / path.name
        path.rename(elsewhere)
        assert problems(dataset), f"{path.name} is gone"
        path.symlink_to(elsewhere)
        assert problems(dataset), f"{path.name} is a link"
        path.unlink()
        path.mkdir()
        assert problems(dataset), f"{path.name} is a folder"
        path.rmdir()
        elsewhere.rename(path)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each leaf; an empty list or object is one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    if isinstance(value, dict | list) and value:
        for name, one in inner:
            yield from (
                leaves(one, (*path, name)) if isinstance(one, dict | list) else [(*path, name)]
            )
    else:
        yield path


def edits(value: Any) -> list[Any]:
    """Return other values: near ones, and one of another type."""
    if isinstance(value, bool | None):
        return [not value, "x"]
    if isinstance(value, int | float):
        return [value + 1, float(value) if isinstance(value, int) else str(value)]
    if isinstance(value, str):
        return [f"{value}x", 7]
    return [["x"], None]


def edited(document: Any, random: Random, share: float) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield the document with one leaf edited, leaf after leaf, of a share of all leaves."""
    for path in leaves(document):
        if random.random() > share:
            continue
        changed = copy.deepcopy(document)
        place = changed
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = random.choice(edits(place[path[-1]]))
        yield path, changed


def test_an_edit_of_any_leaf_of_the_manifest_is_told(dataset: Path) -> None:
    path = dataset / "manifest.json"
    for place, changed in edited(json.loads(path.read_bytes()), Random(1), 1):
        path.write_bytes(to_json(changed, indent=1))
        assert problems(dataset), f"{place}, with the digest of before"
        path.write_bytes(sealed(changed))
        assert problems(dataset) or place[0] in UNCOUNTABLE, f"{place}, with a digest that fits"


def test_an_edit_of_any_leaf_of_statistics_is_told(dataset: Path) -> None:
    path = dataset / "statistics.json"
    for place, changed in edited(json.loads(path.read_bytes()), Random(2), 0.06):
        path.write_bytes(to_json(changed, indent=1))
        reseal_files(dataset)
        assert any("statistics.json" in one for one in problems(dataset)), place


def is_uncountable(place: tuple[Any, ...], stats: Any) -> bool:
    """Whether nothing else tells: digests, which are made to fit, and why the source lost an
    input, which only the source knows."""
    if place[0] == "dead_letters":
        letter = stats["dead_letters"][place[1]]
        return letter["stage"] == "source" and place[2] not in ("key", "source", "stage")
    return place[0] in ("tar", "parquet")


def test_an_edit_of_any_leaf_of_a_shard_s_statistics_is_told(
    finished: Path, tmp_path: Path
) -> None:
    document = json.loads(shard_file(finished, "_stats.json").read_bytes())
    for number, (place, changed) in enumerate(edited(document, Random(3), 1)):
        dataset = shutil.copytree(finished, tmp_path / str(number))
        shard_file(dataset, "_stats.json").write_bytes(to_json(changed, indent=1))
        assert problems(dataset), f"{place}, with the digest of before"
        if not is_uncountable(place, document):
            try:
                reseal(dataset)
            except ValueError:
                continue  # of another type: there is nothing that fits
            assert problems(dataset), f"{place}, with digests that fit"
        shutil.rmtree(dataset)
