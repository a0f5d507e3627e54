"""The contract of sample filters: what is broken is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import SampleFilter, StageConfig, one_of
from florilegium.testing import ContractBroken, check_stage, sample, sample_reasons
from tests.curating import Brightness, Large


class Repeats(SampleFilter[StageConfig]):
    """Drops images whose mean was there before."""

    measured = ("mean",)
    compares = True
    compared_texts = ("first",)

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float | str]]:
        return [{"mean": float(one.image.mean())} for one in samples]

    def compare(self, shards: Iterable[SampleColumns]) -> Iterator[dict[str, list[str]]]:
        seen: dict[float, str] = {}
        for shard in shards:
            pairs = zip(shard.key, shard.numbers["mean"], strict=True)
            first = [(seen.setdefault(mean, key), key) for key, mean in pairs]
            yield {"first": [one if one != key else "" for one, key in first]}

    def judge(self, samples: SampleColumns) -> Verdicts:
        verdicts = Verdicts(len(samples))
        verdicts.drop(samples.texts["first"] != "", "repeated")
        return verdicts


class LooksAhead(Repeats):
    """Finds what comes later, too."""

    def compare(self, shards: Iterable[SampleColumns]) -> Iterator[dict[str, list[str]]]:
        every = list(shards)
        for shard in every:
            yield {"first": [str(len(every))] * len(shard)}


class NoSnake(Large):
    """Drops for a sentence."""

    def judge(self, samples: SampleColumns) -> Verdicts:
        verdicts = Verdicts(len(samples))
        verdicts.drop(samples.width_px >= 0, "Not nice.")
        return verdicts


class TooFew(Large):
    """Forgets a sample."""

    def judge(self, samples: SampleColumns) -> Verdicts:
        return Verdicts(max(len(samples) - 1, 0))


class ByNeighbours(Large):
    """Drops the narrowest."""

    def judge(self, samples: SampleColumns) -> Verdicts:
        verdicts = Verdicts(len(samples))
        if len(samples):
            verdicts.drop(samples.width_px == samples.width_px.min(), "narrowest")
        return verdicts


class Reads(Large):
    """Reads, and measures nothing."""

    reads = (one_of("caption"),)


class Undeclared(Repeats):
    """Measures what it does not name."""

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float | str]]:
        return [{"median": float(np.median(one.image))} for one in samples]


@pytest.mark.parametrize(
    ("stage_class", "told"),
    [
        (LooksAhead, "when others come after it"),
        (NoSnake, "snake_case"),
        (TooFew, r"must return Verdicts\(len\(samples\)\)"),
        (ByNeighbours, "depends on the samples beside it"),
        (Reads, "`judge` sees no annotation"),
        (Undeclared, "undeclared measurement 'median'"),
    ],
)
def test_a_broken_sample_filter_is_named(
    stage_class: type[SampleFilter[StageConfig]], told: str
) -> None:
    with pytest.raises(ContractBroken, match=told):
        check_stage(stage_class, samples=[sample(key="a"), sample(key="b", pixels=GREY)])


GREY = np.full((20, 30), 90, np.uint8)


def test_good_ones_pass(tmp_path: Path) -> None:
    report = check_stage(Brightness, options={"log": str(tmp_path / "log")}, fixed=["log"])
    assert report.rows == report.judged == report.samples
    check_stage(Repeats)
    check_stage(Large)


def test_the_reasons_of_samples_are_those_of_a_build(tmp_path: Path) -> None:
    options = {"log": str(tmp_path / "log"), "minimum": 100}
    dark, bright = sample(GREY, key="dark"), sample(GREY + 90, key="bright")
    assert sample_reasons(Brightness, dark, bright, options=options) == ["too_dark", ""]
    assert sample_reasons(Repeats, dark, bright, sample(GREY, key="b")) == ["", "", "repeated"]


def test_samples_with_one_key_have_a_reason_each(tmp_path: Path) -> None:
    options = {"log": str(tmp_path / "log"), "minimum": 100}
    dark, bright = sample(GREY), sample(GREY + 90)
    assert sample_reasons(Brightness, dark, bright, options=options) == ["too_dark", ""]
