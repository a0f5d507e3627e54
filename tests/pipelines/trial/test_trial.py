"""What a trial finds, what it costs, and how failures are reported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, RunError
from florilegium.engine.core.sample import Sample
from florilegium.pipelines.trial.table import sample_line
from tests.building import BRIGHT_ENOUGH as ENOUGH
from tests.building import build
from tests.pipelines.trial.conftest import BRIGHT_ENOUGH, BRIGHTEST, TROUBLE, Try, config_of
from tests.specialists.online.server import MisbehavingServer
from tests.stages import BrightEnough, Silent


class BadLoad(Silent):
    def load(self) -> None:
        self._parse("{")

    def _parse(self, text: str) -> None:
        raise ValueError(f"no number: {text}")


class BadJudge(BrightEnough):
    def judge(self, statements: Any) -> Any:
        raise IndexError("no such column")


class SlowAtFirst(Silent):
    """Takes longer for the first image, by the clock of the test."""

    asked = 0

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        type(self).asked += 1
        CLOCK.append(5.0 if self.asked == 1 else 1.0)
        return super().predict(samples)


CLOCK: list[float] = []


def test_a_specialist_finds_what_it_finds_in_a_build(
    tried: Try, album: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    build(album, tmp_path / "built", specialists={"Brightest": {"use": BRIGHTEST}})
    [shard] = (tmp_path / "built" / "shards").glob("*.parquet")
    rows = {row["key"]: row for row in pq.read_table(shard).to_pylist()}
    trial = tried(BRIGHTEST, [str(album / "cat.jpg")])
    [image] = trial.images
    wanted = {name: value for name, value in rows["cat"].items() if name != "id"}
    assert [{name: row[name] for name in wanted} for row in image.rows] == [wanted]


def test_a_filter_shows_what_it_judges_with_measurements(tried: Try, images: list[str]) -> None:
    options = {"config": config_of(), "overrides": ["minimum=0.99"]}
    trial = tried(BRIGHT_ENOUGH, images, **options)
    [row] = trial.images[0].rows
    [verdict] = row["verdicts"]
    assert (verdict["filter"], verdict["keep"], verdict["reason"]) == (
        "BrightEnough",
        False,
        "too_dark",
    )
    assert verdict["measurement"] == [{"name": "brightness", "value": row["score"]}]


def test_each_image_is_a_call_of_its_own(
    tried: Try, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(10_000))
    monkeypatch.setattr(
        "florilegium.engine.execution.timing.time.perf_counter",
        lambda: next(now) * 1e-3 + sum(CLOCK),
    )
    names = [str(album / f"{name}.jpg") for name in ("cat", "cup", "flower")]
    trial = tried("tests.pipelines.trial.test_trial:SlowAtFirst", names)
    [cost] = trial.costs
    assert len(cost.image_s) == 3
    assert cost.first_s == pytest.approx(5.0, abs=0.1)
    assert cost.later_s == pytest.approx(1.0, abs=0.1)


def test_one_image_has_no_later_call(tried: Try, images: list[str]) -> None:
    [cost] = tried(BRIGHTEST, images[:1]).costs
    assert cost.first_s is not None
    assert cost.later_s is None


def test_memory_is_that_of_this_process(tried: Try, images: list[str]) -> None:
    trial = tried(BRIGHTEST, images)
    assert 20 < trial.base_mib <= trial.peak_mib


def test_an_image_that_fails_has_the_traceback_of_the_stage_alone(
    tried: Try, images: list[str]
) -> None:
    trial = tried(TROUBLE, images, overrides=["key=cat"])
    cat, cup = trial.images
    assert cup.failure is None
    assert len(cup.rows) == 1
    assert cat.failure is not None
    assert cat.rows == ()
    assert (cat.failure.stage, cat.failure.reason) == ("Trouble", "stage_failed")
    first, *_ = cat.failure.traceback.splitlines()
    assert first.strip().startswith(f"tests{os.sep}stages.py, line ")
    assert trial.failures == [cat]
    assert trial.costs[0].failures == 1


@pytest.mark.parametrize("how", ["nan", "outside", "score", "count"])
def test_an_answer_that_makes_no_sense_fails_as_in_a_build(
    tried: Try, images: list[str], how: str
) -> None:
    trial = tried(TROUBLE, images, overrides=["key=cat", f"how={how}"])
    assert [image.name for image in trial.failures] == [images[0]]
    letter = trial.images[0].failure
    assert letter is not None
    assert letter.reason == "invalid_output"


def test_an_image_that_fails_earlier_is_not_asked_about(tried: Try, images: list[str]) -> None:
    earlier = {"trouble": {"use": TROUBLE, "key": "cat"}}
    trial = tried("tests.stages:Describe", images, config=config_of(specialists=earlier))
    assert trial.images[0].failure is not None
    assert trial.images[0].failure.stage == "trouble"
    assert [len(cost.image_s) for cost in trial.costs] == [2, 1]


def test_what_is_no_image_is_a_failure(tried: Try, images: list[str], tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_bytes(b"no image")
    trial = tried(BRIGHTEST, [*images, str(tmp_path / "note.jpg")])
    *fine, note = trial.images
    assert [image.failure for image in fine] == [None, None]
    assert note.failure is not None
    assert (note.failure.stage, note.failure.reason) == ("source", "not_an_image")
    assert note.data is None


def test_a_stage_that_cannot_be_loaded_is_an_error_with_its_traceback(
    tried: Try, images: list[str]
) -> None:
    with pytest.raises(RunError) as caught:
        tried("tests.pipelines.trial.test_trial:BadLoad", images)
    first, *trace = str(caught.value).splitlines()
    assert first == "stage 'BadLoad' cannot be loaded: ValueError: no number: {"
    where = [line.strip() for line in trace if ", line " in line]
    assert all('trial/test_trial.py", line ' in line for line in where)
    assert [line.rpartition(" in ")[2] for line in where] == ["load", "_parse"]


def test_a_foreseen_error_of_loading_stays_as_it_is(tried: Try, images: list[str]) -> None:
    with pytest.raises(ConfigError, match="the weights are not there: fetch them first"):
        tried("tests.stages:Unloadable", images)


def test_a_filter_that_cannot_judge_is_an_error_with_its_traceback(
    tried: Try, images: list[str]
) -> None:
    with pytest.raises(RunError) as caught:
        tried("tests.pipelines.trial.test_trial:BadJudge", images, config=config_of())
    first, where, *_ = str(caught.value).splitlines()
    assert first == "IndexError: no such column"
    assert 'trial/test_trial.py", line ' in where
    assert where.endswith("in judge")


def test_captions_beside_the_image_are_read(tried: Try, album: Path, tmp_path: Path) -> None:
    image = tmp_path / "cat.jpg"
    image.write_bytes((album / "cat.jpg").read_bytes())
    image.with_suffix(".txt").write_text("a cat on a chair")
    [tried_image] = tried("tests.stages:Echo", [str(image)]).images
    assert [row["label"] for row in tried_image.rows] == ["a cat on a chair"]


def test_a_service_is_asked_once_for_each_image_and_what_it_cost_is_known(
    tried: Try, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPBACK_KEY", "sk-none")
    with MisbehavingServer() as server:
        options = [f"url={server.url}", "api_key_env=LOOPBACK_KEY", "model=tiny"]
        trial = tried("tests.specialists.online.stages:AskedCaption", images, overrides=options)
        assert len(server.requests) == 2
    [cost] = trial.costs
    assert (cost.spent.requests, cost.spent.tokens) == (2, 240)
    assert all(len(image.rows) == 1 for image in trial.images)


def test_filters_of_the_config_that_do_not_judge_before_are_left_out(
    tried: Try, images: list[str]
) -> None:
    config = config_of(filters={"enough": {**ENOUGH["enough"], "minimum": 1.0}})
    [row] = tried("bright", images[:1], config=config).images[0].rows
    assert row["kept"]
    assert row["verdicts"] == []


def test_a_sample_filter_tells_what_it_measured_and_what_it_drops(
    tried: Try, greys: list[str]
) -> None:
    options = [f"log={os.devnull}", "minimum=100"]
    trial = tried("tests.curating:Brightness", greys, overrides=options)
    dark, bright = trial.images
    assert dark.dropped is not None
    assert (dark.dropped.dropped_by, dark.dropped.reason) == ("Brightness", "too_dark")
    assert bright.measured == {"mean": 200.0, "name": "name of bright"}
    assert sample_line(bright).endswith("bright.png: kept: mean 200, name 'name of bright'")
    assert "dropped by Brightness: too_dark: mean 20, " in sample_line(dark)
    assert trial.failures == []


@pytest.fixture
def greys(tmp_path: Path) -> list[str]:
    paths = []
    for name, grey in (("dark", 20), ("bright", 200)):
        paths.append(str(tmp_path / f"{name}.png"))
        Image.new("L", (16, 16), grey).save(paths[-1])
    return paths
