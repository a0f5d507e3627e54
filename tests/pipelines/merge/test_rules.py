"""Which hypotheses are kept, and in which order: small cases whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.config import validated
from florilegium.pipelines.merge.calibration import Fusion, TaskCalibration
from florilegium.pipelines.merge.candidates import candidates_of
from florilegium.pipelines.merge.hypotheses import Hypotheses, feature_names, hypotheses_of
from florilegium.pipelines.merge.rules import (
    MERGE_RULES,
    Agreement,
    CalibratedFusion,
    Case,
    Choice,
    Rule,
    RuleOptions,
    Union,
    separate,
)
from florilegium.pipelines.merge.stage import Merge, MergeConfig
from tests.pipelines.merge.voters import sample_of, voted, worth

VOTERS = ("a", "b", "c")


def hypotheses(*given: Annotation) -> Hypotheses:
    return hypotheses_of(candidates_of(given, given[0].task, VOTERS), iou=0.5)


def case(found: Hypotheses, **known: Any) -> Case:
    return Case(**{"candidates": found.candidates, "size_wh": (200, 100), **known})


def agreement(found: Hypotheses, **options: Any) -> Choice:
    return Agreement(RuleOptions(**options)).choose(found, case(found))


def union(found: Hypotheses, **options: Any) -> Choice:
    return Union(RuleOptions(**options)).choose(found, case(found))


def calibrated_fusion(found: Hypotheses, learned: TaskCalibration, **options: Any) -> Choice:
    rule = CalibratedFusion(RuleOptions(**options))
    return rule.choose(found, case(found, calibration=learned))


def words(found: Hypotheses, choice: Choice) -> list[str]:
    return found.words[choice.row].tolist()


def line(text: str, who: str, score: float | None, top: float = 0) -> Annotation:
    return voted(0, top, 40, top + 10, text=text, task="ocr", specialist=who, score=score)


def test_of_as_many_votes_the_words_nearest_to_what_is_trusted_win() -> None:
    found = hypotheses(line("ZOO", "a", 0.9), line("BAR", "b", 0.5), line("BAT", "c", 0.3))
    # BAR: (0.5 + 0.3 x 2/3) / 3, BAT: (0.3 + 0.5 x 2/3) / 3; both round BAx to a vote: 2 each.
    # ZOO has its own vote alone, and all of 0.9.
    assert words(found, agreement(found, min_votes=2, apart=0.5)) == ["bar"]
    sure = hypotheses(line("ZOO", "a", 0.9), line("BAR", "b", 0.3), line("BAT", "c", 0.5))
    assert words(sure, agreement(sure, min_votes=2, apart=0.5)) == ["bat"]
    assert words(found, agreement(found, min_votes=3, apart=0.5)) == []


def test_places_with_more_votes_come_first_and_a_vote_outweighs_any_trust() -> None:
    found = hypotheses(
        line("one", "a", 1.0),
        *(line("two", who, 0.9, top=20) for who in ("a", "b")),
        *(line("three", who, None, top=40) for who in VOTERS),
        line("more", "b", 0.9, top=60),
    )
    choice = agreement(found, min_votes=1, apart=0.5)
    assert words(found, choice) == ["three", "two", "one", "more"]
    np.testing.assert_equal(choice.confidence, [np.nan] * 4)


def test_support_is_shared_by_all_who_speak_of_the_place() -> None:
    alone = line("alone", "a", 0.6)
    contested = [line("claim", "a", 0.9, top=20), line("other", "b", 0.1, top=20)]
    found = hypotheses(*contested, alone)
    # 0.6 / 1 before 0.9 / 2.
    assert words(found, agreement(found, min_votes=1, apart=0.5)) == ["alone", "claim"]


def test_union_says_the_surest_of_each_place_with_what_its_word_is_worth() -> None:
    learned = TaskCalibration(voters={"a": worth(slope=1), "b": worth(intercept=np.log(9))})
    given = [
        voted(50, 0, 70, 10, label="cross", specialist="a", score=0.6),
        voted(0, 0, 20, 10, label="ring", specialist="b", score=0.1),
        voted(0, 0, 20, 10, label="star", specialist="a", score=0.8),
    ]
    candidates = candidates_of(given, "object_detection", ("a", "b")).trusted(learned)
    found = hypotheses_of(candidates, iou=0.5, calibration=learned)
    choice = union(found, apart=0.5)
    assert words(found, choice) == ["ring", "cross"]
    assert choice.confidence == pytest.approx([0.9, 0.6])


def fused(least_confidence: float, *, apart: float = 0.5) -> tuple[list[str], list[float]]:
    """Believe voter `a` when it speaks for a name, and doubt `b`."""
    found = hypotheses(
        voted(0, 0, 20, 10, label="doubted", specialist="b"),
        voted(50, 0, 70, 10, label="star", specialist="a"),
        voted(50, 0, 70, 10, label="ring", specialist="c", score=0.99),
        voted(50, 0, 70, 18, label="twin", specialist="a", score=0.1),
    )
    weights = dict.fromkeys(feature_names(VOTERS, ["twin"]), 0.0)
    weights |= {"agrees/a": 2.0, "agrees/b": -1.0, "name/twin": -0.5}
    fusion = Fusion(weights=weights, intercept=0.5, names=("twin",))
    learned = TaskCalibration(voters={}, fusion=fusion)
    choice = calibrated_fusion(found, learned, least_confidence=least_confidence, apart=apart)
    return words(found, choice), choice.confidence.tolist()


def test_fusion_says_the_most_probable_of_each_place_from_the_least_confidence_on() -> None:
    star, twin, doubted = (1 / (1 + np.exp(-value)) for value in (2.5, 2.0, -0.5))
    assert fused(0.0) == (["star", "doubted"], pytest.approx([star, doubted]))
    assert fused(doubted)[0] == ["star", "doubted"]
    assert fused(doubted + 1e-9)[0] == ["star"]
    assert fused(0.0, apart=0.6) == (
        ["star", "twin", "doubted"],
        pytest.approx([star, twin, doubted]),
    )


def test_without_a_fusion_nothing_is_fused_and_the_reason_is_named() -> None:
    learned = TaskCalibration(voters={}, reason="too_few_audited")
    with pytest.raises(ValueError, match="nothing is fused: too_few_audited"):
        calibrated_fusion(hypotheses(voted(0, 0, 9, 9)), learned, least_confidence=0, apart=0.5)


def test_what_lies_on_the_place_of_a_better_one_is_left_out_from_that_overlap_on() -> None:
    found = hypotheses(
        voted(0, 0, 10, 10, label="small", specialist="a"),
        voted(0, 0, 10, 20, label="large", specialist="a"),
        voted(0, 0, 10, 40, label="larger", specialist="a"),
    )
    place = {word: row for row, word in enumerate(found.words.tolist())}

    def kept(*order: str, apart: float = 0.5) -> list[str]:
        rows = np.array([place[word] for word in order])
        return found.words[separate(found, rows, apart)].tolist()

    assert kept("large", "small", "larger") == ["large"]
    # `larger` overlaps `large`, which is not there itself, and `small` by a quarter.
    assert kept("small", "large", "larger") == ["small", "larger"]
    assert kept("larger", "small", "large", apart=0.500001) == ["larger", "small", "large"]


def test_of_equally_strong_places_the_surest_cluster_comes_first_however_many_there_are() -> None:
    given = [
        line(f"{place}", "a", 0.9 if place % 3 else 0.5, top=20 * place) for place in range(60)
    ]
    order = sorted(range(60), key=lambda place: place % 3 == 0)
    found = hypotheses(*given)
    assert words(found, union(found, apart=0.5)) == [f"{place}" for place in order]
    twice = [replace(one, specialist="b", score=0.5) for one in given[::3]]
    found = hypotheses(*given, *twice)
    order = sorted(range(60), key=lambda place: place % 3 > 0)
    choice = agreement(found, min_votes=1, apart=0.5)
    assert words(found, choice) == [f"{place}" for place in order]
    silent = hypotheses(*(replace(one, score=None) for one in given))
    choice = agreement(silent, min_votes=1, apart=0.5)
    assert words(silent, choice) == [f"{place}" for place in range(60)]


class Longest(Rule):
    """A rule of a plugin: the longest text, whoever says it."""

    def merge(self, case: Case) -> list[Annotation]:
        longest = max(case.candidates.annotations, key=lambda one: len(one.text))
        return [replace(longest, id="", merged_from=(longest.id,))]


class Calibrated(Longest):
    """The same, with a calibration only."""

    needs_calibration = True


@pytest.fixture
def _plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = [*entry_points(group=MERGE_RULES)]
    for name, rule in (("longest", Longest), ("calibrated_longest", Calibrated)):
        value = f"{__name__}:{rule.__name__}"
        installed.append(EntryPoint(name=name, value=value, group=MERGE_RULES))
    monkeypatch.setattr(
        "florilegium.engine.planning.registry.entry_points", lambda group: installed
    )


@pytest.mark.usefixtures("_plugin")
def test_a_rule_of_a_plugin_is_found_and_used() -> None:
    lines = [line("BANK", "a", 0.9), line("BANKNOTE", "b", 0.1), line("BANK", "c", 0.9)]
    sample = sample_of(*lines)
    stage = Merge(MergeConfig(rule="longest", tasks=("ocr",)))
    assert stage.model == "longest"
    [[merged]] = stage.predict([sample])
    assert (merged.text, merged.specialist) == ("BANKNOTE", "b")
    uncalibrated = Merge(MergeConfig(rule="calibrated_longest", tasks=("ocr",)))
    assert uncalibrated.model == "agreement"
    [[agreed]] = uncalibrated.predict([sample])
    assert agreed.text == "BANK"


def test_only_what_is_installed_is_a_rule_and_the_nearest_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown merge rule 'unoin', did you mean 'union'"):
        validated(MergeConfig, {"rule": "unoin"}, where="test")
    with pytest.raises(ConfigError, match="unknown merge rule"):
        validated(MergeConfig, {"rule": f"{__name__}:Longest"}, where="test")
