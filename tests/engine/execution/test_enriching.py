"""What passes the filters is enriched, and nothing is asked twice when a threshold changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.building import build, contents, shard_file
from tests.enriching import scoring, stages

Enrich = Callable[..., "Enriched"]


class Enriched:
    """A dataset of two photographs with four boxes each, and what its stages were asked."""

    def __init__(self, photos: Path, folder: Path) -> None:
        self.photos = photos
        self.out = folder / "out"
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True)

    def build(self, minimum: float | None, *, options: Any = None, **keys: Any) -> None:
        """Build with a minimum of the boxes' scores; forget what was asked before."""
        for log in self._logs.iterdir():
            log.unlink()
        filters = {} if minimum is None else scoring(minimum)
        keys = {"filters": filters, "specialists": stages(self._logs, **(options or {})), **keys}
        build(self.photos, self.out, **keys)

    def asked(self, name: str) -> list[str]:
        """Return what a stage was asked in the last build."""
        log = self._logs / name
        lines = log.read_text().splitlines() if log.exists() else []
        return sorted(line for line in lines if line != "loaded")

    def is_loaded(self, name: str) -> bool:
        """Whether a stage was loaded in the last build."""
        return (self._logs / name).exists()

    def texts(self, task: str = "region_description") -> list[str]:
        """Return the texts of a task in the dataset, dropped ones too, sorted."""
        rows = pq.read_table(shard_file(self.out, ".parquet")).to_pylist()
        return sorted(row["text"] or row["label"] for row in rows if row["task"] == task)

    def layers(self, name: str) -> dict[str, bytes]:
        """Return the layers of a stage, by their names."""
        found = (self.out / "layers").glob(f"{name}-*/*.parquet")
        return {str(path.relative_to(self.out)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def photos(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    for name in ("cat", "cup"):
        shutil.copy(album / f"{name}.jpg", folder)
    return folder


@pytest.fixture
def enriched(photos: Path, tmp_path: Path) -> Enrich:
    def make(name: str = "first") -> Enriched:
        return Enriched(photos, tmp_path / name)

    return make


def about(*corners: int) -> list[str]:
    return sorted(f"{key} corner {one}" for key in ("cat", "cup") for one in corners)


def test_what_a_filter_drops_is_not_enriched(enriched: Enrich) -> None:
    dataset = enriched()
    dataset.build(0.6)
    assert dataset.asked("texts") == about(0, 1)
    assert dataset.asked("names") == [f"{one} 1" for one in about(0, 1)]
    assert len(dataset.texts("object_detection")) == 8, "dropped boxes stay in the dataset"
    assert dataset.texts("caption") == ["2 corners."] * 2


def test_all_is_enriched_where_the_config_says_so_or_nothing_filters(enriched: Enrich) -> None:
    for name, minimum, keys in (("all", 0.6, {"enrich": "all"}), ("none", None, {})):
        dataset = enriched(name)
        dataset.build(minimum, **keys)
        assert dataset.asked("texts") == about(0, 1, 2, 3)


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [(0.6, 0.0, (2, 3)), (0.6, 0.8, ()), (None, 0.6, ())],
)
def test_another_threshold_asks_what_is_new_and_gives_what_a_build_from_nothing_gives(
    enriched: Enrich, before: float | None, after: float, new: tuple[int, ...]
) -> None:
    changed, fresh = enriched("changed"), enriched("fresh")
    changed.build(before)
    changed.build(after)
    fresh.build(after)
    assert changed.asked("texts") == about(*new)
    assert changed.asked("names") == [f"{one} 1" for one in about(*new)]
    assert changed.is_loaded("texts") == bool(new)
    assert contents(changed.out) == contents(fresh.out)
    for name in ("texts", "names", "summary"):
        assert fresh.layers(name).items() <= changed.layers(name).items()


def test_a_stage_that_reads_an_enriched_sample_is_asked_again_only_if_that_changed(
    enriched: Enrich,
) -> None:
    dataset = enriched()
    dataset.build(0.6)
    dataset.build(0.65)
    assert not dataset.is_loaded("summary"), "the same boxes pass"
    dataset.build(0.8)
    assert dataset.asked("summary") == ["cat", "cup"]
    assert dataset.texts("caption") == ["1 corners."] * 2
    dataset.build(0.6)
    assert not dataset.is_loaded("summary"), "that was asked before"
    assert dataset.texts("caption") == ["2 corners."] * 2


def test_a_number_of_boxes_is_cut_among_those_that_pass(enriched: Enrich) -> None:
    changed, fresh = enriched("changed"), enriched("fresh")
    changed.build(0.6, options={"most": 3})
    assert changed.asked("texts") == about(0, 1)
    changed.build(0.0, options={"most": 3})
    assert changed.asked("texts") == about(2), "the fourth is one too many"
    fresh.build(0.0, options={"most": 3})
    assert contents(changed.out) == contents(fresh.out)


@pytest.mark.parametrize(
    ("before", "after", "refused", "asked"),
    [
        # The new box alone would fail the sample; with the others it does not.
        (0.6, 0.4, "corner 2", about(2) + about(0, 1, 2)),
        # What is left is the box that is never described: asked alone, it fails the sample.
        (0.6, 0.8, "corner 0", about(0)),
    ],
)
def test_where_a_part_of_a_sample_fails_all_of_it_is_asked(
    enriched: Enrich, before: float, after: float, refused: str, asked: list[str]
) -> None:
    changed, fresh = enriched("changed"), enriched("fresh")
    options, lenient = {"refused": refused}, {"max_dead_letter_share": 1}
    changed.build(before, options=options, **lenient)
    changed.build(after, options=options, **lenient)
    assert changed.asked("texts") == sorted(asked)
    fresh.build(after, options=options, **lenient)
    assert contents(changed.out) == contents(fresh.out)


def test_an_answer_about_nothing_that_was_asked_fails_the_sample(enriched: Enrich) -> None:
    dataset = enriched()
    dataset.build(0.6, options={"foreign": True}, max_dead_letter_share=1)
    letters = pq.read_table(dataset.out / "dead_letters.parquet").to_pylist()
    assert {(one["stage"], one["reason"]) for one in letters} == {("texts", "invalid_output")}
    assert "answers about the annotations that it is asked about" in letters[0]["message"]


def test_photographs_that_come_and_go_ask_nothing_about_those_that_stay(
    enriched: Enrich, album: Path, tmp_path: Path
) -> None:
    dataset = enriched()
    dataset.photos = shutil.copytree(dataset.photos, tmp_path / "changing")
    shutil.copy(album / "flower.jpg", dataset.photos)
    dataset.build(0.6)
    (dataset.photos / "cup.jpg").unlink()
    dataset.build(0.6)
    assert dataset.asked("texts") == []
    dataset.build(0.4)
    assert dataset.asked("texts") == ["cat corner 2", "flower corner 2"]
    (dataset.photos / "cat.jpg").unlink()
    shutil.copy(album / "pagoda.jpg", dataset.photos)
    dataset.build(0.0)  # another shard and another threshold at once
    new = [f"pagoda corner {one}" for one in range(4)]
    assert dataset.asked("texts") == ["flower corner 3", *new]
    assert dataset.texts("caption") == ["4 corners."]


def test_a_measured_filter_judges_before_and_is_not_measured_again(
    enriched: Enrich, tmp_path: Path
) -> None:
    dataset = enriched()
    log = tmp_path / "measured"
    filters = {"enough": {"use": "tests.stages:BrightEnough", "minimum": 0.6, "log": str(log)}}
    dataset.build(None, filters=filters)
    assert dataset.asked("texts") == about(0, 1)
    filters["enough"]["minimum"] = 0.4
    dataset.build(None, filters=filters)
    assert dataset.asked("texts") == about(2)
    assert log.read_text().splitlines() == ["cat", "cup"]


def test_where_a_filter_before_a_stage_fails_the_stage_is_not_asked(enriched: Enrich) -> None:
    dataset = enriched()
    filters = {"broken": {"use": "tests.enriching:CannotMeasure", "key": "cat"}}
    dataset.build(None, filters=filters, max_dead_letter_share=1)
    assert dataset.asked("texts") == [f"cup corner {one}" for one in range(4)]
    letters = pq.read_table(dataset.out / "dead_letters.parquet").to_pylist()
    assert [(one["key"], one["stage"], one["reason"]) for one in letters] == [
        ("cat", "broken", "stage_failed")
    ]


def test_a_retry_asks_again_about_what_failed_behind_a_gate(enriched: Enrich) -> None:
    dataset = enriched()
    keys: Any = {"options": {"refused": "corner 0"}, "max_dead_letter_share": 1}
    dataset.build(0.8, **keys)
    dataset.build(0.8, **keys)
    assert dataset.asked("texts") == []
    dataset.build(0.8, retry=True, **keys)
    assert dataset.asked("texts") == about(0)


def test_an_answer_of_parts_has_no_more_rows_than_one_of_the_whole(enriched: Enrich) -> None:
    """Two names a box: those of the third box are too many, whenever they are asked for."""
    changed, fresh = enriched("changed"), enriched("fresh")
    keys: Any = {"limits": {"max_annotations": 5}, "max_dead_letter_share": 1}
    changed.build(0.6, **keys)
    assert len(changed.texts("region_category")) == 8
    changed.build(0.4, **keys)
    fresh.build(0.4, **keys)
    for dataset in (changed, fresh):
        letters = pq.read_table(dataset.out / "dead_letters.parquet").to_pylist()
        assert [one["reason"] for one in letters] == ["too_many_annotations"] * 2
    assert contents(changed.out) == contents(fresh.out)
