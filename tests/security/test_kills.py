"""A build that is killed anywhere is completed by the same command, byte for byte."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED
from tests.security.points import Point, build_and_die, files_of, points_of, whole_build

pytestmark = pytest.mark.attack("faults")

KEYS: dict[str, Any] = {"specialists": DESCRIBED, "filters": BRIGHT_ENOUGH, "shard_size": 3}
LENIENT = {"enough": {**BRIGHT_ENOUGH["enough"], "minimum": 0.2}}
KILLS = 50


class Case(NamedTuple):
    """A build that is to be disturbed: what was there before, and what it makes undisturbed."""

    source: Path
    before: Path | None
    keys: dict[str, Any]
    points: list[Point]
    whole: dict[str, bytes]


@pytest.fixture(scope="module")
def fresh(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A first build; one of its inputs is no image."""
    folder = tmp_path_factory.mktemp("fresh")
    source, out = folder / "album", folder / "out"
    shutil.copytree(album, source)
    (source / "broken.jpg").write_bytes(b"this is no image")
    points = points_of(source, out, KEYS)
    return Case(source, None, KEYS, points, files_of(out))


@pytest.fixture(scope="module")
def refresh(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A second build: images came, changed and went, a threshold is another; versions are kept."""
    folder = tmp_path_factory.mktemp("refresh")
    source, before, out = folder / "album", folder / "before", folder / "out"
    shutil.copytree(album, source)
    keys = {**KEYS, "keep_versions": 2}
    whole_build(source, before, **keys)
    shutil.copy(album / "cat.jpg", source / "cup.jpg")
    shutil.copy(album / "cat.jpg", source / "zebra.jpg")
    (source / "flower.jpg").unlink()
    shutil.copytree(before, out)
    keys |= {"filters": LENIENT}
    points = points_of(source, out, keys)
    return Case(source, before, keys, points, files_of(out))


def chosen(points: list[Point], seed: int) -> int:
    """Choose a point; each seed takes the next kind, so that every kind has its turn."""
    kinds = sorted({point.kind for point in points})
    kind = kinds[seed // 2 % len(kinds)]
    numbers = [number for number, point in enumerate(points) if point.kind == kind]
    return random.Random(seed).choice(numbers)


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_build_that_is_killed_anywhere_is_completed_by_the_next(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    seed: int,
    record_property: Any,
) -> None:
    case: Case = request.getfixturevalue("refresh" if seed % 2 else "fresh")
    out, at = tmp_path / "out", chosen(case.points, seed)
    if case.before:
        shutil.copytree(case.before, out)
    record_property("killed at", case.points[at].kind)
    build_and_die(case.source, out, case.keys, at)
    totals = whole_build(case.source, out, **case.keys).totals
    assert totals.inputs == totals.samples + totals.dead_letters
    assert totals.inputs == sum(path.is_file() for path in case.source.iterdir())
    assert files_of(out) == case.whole
    assert list(verify_dataset(Folder(str(out)))) == []


@pytest.mark.parametrize("kind", ["receipt", "report"])
def test_a_driver_of_worker_processes_that_is_killed_is_completed_by_the_next(
    fresh: Case, tmp_path: Path, kind: str
) -> None:
    out, keys = tmp_path / "out", {**KEYS, "runner": {"kind": "local"}}
    points = points_of(fresh.source, tmp_path / "undisturbed", keys)
    build_and_die(fresh.source, out, keys, [point.kind for point in points].index(kind))
    whole_build(fresh.source, out, **keys)
    assert files_of(out) == files_of(tmp_path / "undisturbed")


def test_the_kills_are_spread_over_start_reading_answers_and_every_kind_of_file(
    fresh: Case, refresh: Case
) -> None:
    hit = {
        case.points[chosen(case.points, seed)].kind
        for seed in range(KILLS)
        for case in [refresh if seed % 2 else fresh]
    }
    assert hit == {point.kind for case in (fresh, refresh) for point in case.points}
    assert {"start", "reading", "answers", "lease", "index", "receipt", "layer", "tar", "parquet",
            "shard statistics", "manifest", "version"} <= hit  # fmt: skip
