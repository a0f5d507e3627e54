"""Translations that are judged by their way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.planning.config import validated
from florilegium.pipelines.filters.round_trip import RoundTrip, RoundTripConfig
from florilegium.specialists.translation.translator import Text
from florilegium.specialists.words.chrf import chrf
from tests.building import DESCRIBED, build
from tests.checkpoints.translate import write
from tests.contract.test_runners import letters
from tests.pipelines.filters.statements import caption, reasons, statements

SOURCE = caption("A brown dog runs over the grass.", id="s", language="en")
CONFIG = {"model": "unused", "languages": ["de", "th"]}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("nllb", tmp_path_factory.mktemp("round_trip"))


@pytest.fixture(scope="module")
def loaded(tiny: Path) -> RoundTrip:
    judge = RoundTrip(RoundTripConfig(**{**CONFIG, "model": str(tiny), "max_new_tokens": 40}))
    judge.load()
    return judge


def sample(*annotations: Annotation) -> Sample:
    return Sample(key="a", width=1, height=1, picture=Picture(b""), annotations=annotations)


def german(text: str = "ein Hund near the wall", **fields: Any) -> Annotation:
    return caption(text, **{"id": text, "language": "de", "parent_id": "s", **fields})


def test_the_similarity_is_that_of_the_source_and_the_way_back(loaded: RoundTrip) -> None:
    (back,) = loaded.translator.translate([Text(german().text, "de", "en")])
    [[measured]] = loaded.measure([sample(SOURCE, german())])
    assert measured.annotation_id == german().id
    assert measured.values == {"round_trip": round(chrf(back.text, SOURCE.text), 5)}
    [[regional]] = loaded.measure([sample(SOURCE, german(language="de-AT"))])
    assert regional.values == measured.values


def test_only_translations_are_judged(loaded: RoundTrip) -> None:
    others = (
        german("a", parent_id=""), german("b", parent_id="elsewhere"), german("c", language="fr"),
        german("d", language=""), german("e", task="detailed_caption"),
    )  # fmt: skip
    assert loaded.measure([sample(SOURCE, *others), sample()]) == [[], []]


def test_what_has_no_way_back_has_the_similarity_0(loaded: RoundTrip) -> None:
    [[measured]] = loaded.measure([sample(SOURCE, german("Haus " * 70))])
    assert measured.values == {"round_trip": 0.0}


def test_a_threshold_judges_the_measured_alone() -> None:
    rows = statements([SOURCE, german(id="x"), german(id="y")],
                      measurements={"round_trip": [float("nan"), 0.39, 0.4]})  # fmt: skip
    assert reasons(RoundTrip(RoundTripConfig(**CONFIG)).judge(rows)) == ["", "unlike_source", ""]
    lenient = RoundTrip(RoundTripConfig(**CONFIG, least_similarity=None))
    assert reasons(lenient.judge(rows)) == ["", "", ""]


def test_a_build_translates_and_judges_what_came_of_it(
    tiny: Path, photographs: dict[str, Path], tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    from tests.building import shard_file

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "cat.png").write_bytes(photographs["cat"].read_bytes())
    options = {"model": str(tiny), "max_new_tokens": 40}
    manifest = build(
        tmp_path / "in",
        tmp_path / "out",
        specialists={**DESCRIBED, "translate": {**options, "to": ["de", "th"]}},
        filters={"round_trip": {**options, "languages": ["de"], "least_similarity": 1.0}},
    )
    assert letters(manifest) == {}
    rows = pq.read_table(shard_file(tmp_path / "out", ".parquet")).to_pylist()
    captions = {row["language"]: row for row in rows if row["task"] == "caption"}
    assert set(captions) == {"en", "de", "th"}
    assert {captions[one]["parent_id"] for one in ("de", "th")} == {captions["en"]["id"]}
    kept = {one: all(v["keep"] for v in row["verdicts"]) for one, row in captions.items()}
    assert kept == {"en": True, "de": False, "th": True}


def test_a_filter_without_a_language_is_refused_when_the_run_is_planned() -> None:
    with pytest.raises(ConfigError, match="names no translations to judge"):
        RoundTrip(RoundTripConfig()).revision()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"languages": ["xx"]}, "the language 'xx' is not known"),
        ({"languages": ["de"], "source": "yy"}, "the language 'yy' is not known"),
        ({"languages": ["de"], "tasks": ["ocr"]}, "'ocr' has no sentences"),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(RoundTripConfig, options, where="test")
