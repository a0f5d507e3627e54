"""What a sample filter drops is no sample, no other stage is asked about it, and nothing is asked
twice when a threshold changes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from florilegium.engine.results.manifest import Manifest
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.status import read_status
from florilegium.pipelines.dataset.why import explain
from florilegium.pipelines.report.page import write_report
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import build, contents

GREYS = {"a": 10, "bb": 90, "ccc": 150, "dddd": 230}


@pytest.fixture(scope="module")
def greys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("greys")
    for place, (key, grey) in enumerate(GREYS.items()):
        Image.new("RGB", (20 + place, 16), (grey, grey, grey)).save(folder / f"{key}.png")
    return folder


class Curated:
    """A dataset of four greys with captions and tags, and what its stages were asked."""

    def __init__(self, greys: Path, folder: Path) -> None:
        self.greys, self.out, self.logs = greys, folder / "out", folder / "logs"
        self.logs.mkdir(parents=True)

    def build(
        self, bright: float = 0, *, words: float = 0, width: int = 0, **changes: Any
    ) -> Manifest:
        """Build with these thresholds; forget what was asked before."""
        for log in self.logs.iterdir():
            log.unlink()
        refused = changes.pop("refused", {})

        def stage(name: str, use: str, **options: Any) -> dict[str, Any]:
            own = {"log": str(self.logs / name), "refused": refused.get(name, "")}
            return {name: {"use": f"tests.curating:{use}", **own, **options}}

        keys: dict[str, Any] = {
            "sample_filters": {
                **stage("wordy", "OfCaptions", minimum=words),  # though first, it is asked later
                **stage("bright", "Brightness", minimum=bright),
                "large": {"use": "tests.curating:Large", "minimum": width},
            },
            "specialists": {**stage("tags", "Tags"), **stage("captions", "Captions")},
            **changes,
        }
        return build(self.greys, self.out, **keys)

    def asked(self, name: str) -> list[str]:
        """Return what a stage was asked in the last build."""
        log = self.logs / name
        return sorted({*log.read_text().split()} - {"loaded"}) if log.exists() else []


@pytest.fixture
def curated(greys: Path, tmp_path: Path) -> Curated:
    return Curated(greys, tmp_path / "first")


def lines(curated: Curated, key: str) -> str:
    return "\n".join(text.plain for text in explain(Folder(str(curated.out)), key))


def test_no_stage_is_asked_about_a_dropped_sample_unless_the_filter_needs_its_answer(
    curated: Curated,
) -> None:
    totals = curated.build(50, words=3, width=22).totals
    assert curated.asked("bright") == ["a", "bb", "ccc", "dddd"]
    assert curated.asked("captions") == ["ccc", "dddd"], "asked before the filter of captions"
    assert curated.asked("wordy") == ["ccc", "dddd"]
    assert curated.asked("tags") == ["ccc", "dddd"]
    assert totals.sample_drops == {"bright/too_dark": 1, "large/too_narrow": 1}
    assert (totals.inputs, totals.samples, totals.dead_letters) == (4, 2, 2)
    assert totals.failures == {}
    totals = curated.build(50, words=4).totals
    assert totals.sample_drops == {"bright/too_dark": 1, "wordy/few_words": 2}
    assert curated.asked("captions") == ["bb"], "no longer dropped by its width"
    assert curated.asked("tags") == []


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [(200, 100, ["ccc"]), (0, 200, []), (100, 300, []), (300, 100, ["ccc", "dddd"])],
)
def test_a_threshold_asks_about_what_was_not_asked_and_gives_the_bytes_of_a_new_build(
    curated: Curated, greys: Path, tmp_path: Path, before: float, after: float, new: list[str]
) -> None:
    curated.build(before)
    curated.build(after)
    assert curated.asked("bright") == []
    assert curated.asked("captions") == curated.asked("tags") == new
    assert (curated.logs / "tags").exists() == bool(new), "loaded only where there is a question"
    fresh = Curated(greys, tmp_path / "fresh")
    fresh.build(after)
    assert contents(curated.out) == contents(fresh.out)
    assert not list(verify_dataset(Folder(str(curated.out))))


def test_a_first_sample_filter_asks_no_specialist_again(curated: Curated) -> None:
    curated.build(sample_filters={})
    curated.build(100)
    assert curated.asked("bright") == ["a", "bb", "ccc", "dddd"]
    assert curated.asked("captions") == curated.asked("tags") == []
    totals = curated.build(50, words=3).totals
    assert totals.sample_drops == {"bright/too_dark": 1, "wordy/few_words": 1}
    assert curated.asked("captions") == curated.asked("tags") == []


def test_without_its_last_sample_filter_only_what_it_dropped_is_asked(
    curated: Curated, greys: Path, tmp_path: Path
) -> None:
    curated.build(100)
    curated.build(sample_filters={})
    assert curated.asked("captions") == curated.asked("tags") == ["a", "bb"]
    fresh = Curated(greys, tmp_path / "fresh")
    fresh.build(sample_filters={})
    assert contents(curated.out) == contents(fresh.out)
    assert not list(verify_dataset(Folder(str(curated.out))))


def test_a_sample_filter_that_dropped_nothing_goes_without_a_question(
    curated: Curated, greys: Path, tmp_path: Path
) -> None:
    curated.build(0)
    curated.build(sample_filters={})
    assert not (curated.logs / "tags").exists(), "not even loaded"
    fresh = Curated(greys, tmp_path / "fresh")
    fresh.build(sample_filters={})
    assert contents(curated.out) == contents(fresh.out)


def test_a_dropped_sample_is_explained_and_is_no_failure(curated: Curated) -> None:
    manifest = curated.build(50, words=3)
    told = lines(curated, "a")
    assert "dropped by a sample filter" in told
    assert "bright: too_dark: mean 10, name 'name of a' (minimum = 50.0)" in told
    status = read_status(Folder(str(curated.out)))
    assert status.sample_drops == {"bright/too_dark": 1, "wordy/few_words": 1}
    card = (curated.out / "README.md").read_text()
    assert "| bright | too_dark | 1 |" in card.replace("\\_", "_")
    assert {
        row["stage"] for row in pq.read_table(curated.out / "dead_letters.parquet").to_pylist()
    } == {
        "sample_filters/bright",
        "sample_filters/wordy",
    }
    write_report(Folder(str(curated.out)), manifest.shards)
    page = (curated.out / "report.html").read_text()
    assert "No input failed." in page
    assert "Sample filters dropped 2 images." in page
    assert re.search(r"<bdi>too_dark</bdi> <span[^>]*>1</span>", page)
    assert not list(verify_dataset(Folder(str(curated.out))))
    before = contents(curated.out)
    curated.build(50, words=3, retry=True, max_dead_letter_share=0)
    assert contents(curated.out) == before
    assert curated.asked("bright") == curated.asked("tags") == []


def test_a_sample_that_cannot_be_measured_is_a_failure_which_is_tried_again(
    curated: Curated,
) -> None:
    loose = {"max_dead_letter_share": 1}
    totals = curated.build(50, refused={"bright": "dddd"}, **loose).totals
    assert totals.failures == {"too_odd": 1}
    assert totals.sample_drops == {"bright/too_dark": 1}
    assert curated.asked("tags") == ["bb", "ccc"]


def test_a_dataset_may_be_curated_only(curated: Curated) -> None:
    totals = curated.build(
        specialists={},
        sample_filters={"large": {"use": "tests.curating:Large", "minimum": 22}},
    ).totals
    assert (totals.samples, totals.annotations_kept) == (2, 0)
    assert "large: too_narrow: width 21 (minimum = 22)" in lines(curated, "bb")


def test_a_dataset_without_sample_filters_says_nothing_of_them(curated: Curated) -> None:
    curated.build(sample_filters={})
    assert "sample_filter" not in (curated.out / "run.yaml").read_text()
    assert b"sample_drops" not in (curated.out / "manifest.json").read_bytes()
    assert "sample_drops" not in json.dumps(read_status(Folder(str(curated.out))).to_json())
