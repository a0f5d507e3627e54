from __future__ import annotations

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.config import validated
from florilegium.pipelines.filters.grounded import NESTED, UNGROUNDED, Grounded, GroundedConfig
from tests.pipelines.filters.statements import box, caption, phrase, reasons, statements


def judged(*rows, dropped=(), sample=None, **options):
    rows = statements(rows, dropped=dropped, sample=sample)
    verdicts = Grounded(GroundedConfig(**options)).judge(rows)
    verdicts.restrict(rows.is_live)
    return verdicts


def words(text, start, parent="c"):
    span = (start, start + len(text))
    return phrase(0, 0, 9, 9, text=text, span=span, parent_id=parent)


BRIEF = caption("a dog in a field of flowers", id="c")
LONG = caption("A field.", id="d", task="detailed_caption")


def test_a_caption_without_a_grounded_phrase_is_dropped() -> None:
    assert reasons(judged(BRIEF, LONG, words("a dog", 0))) == ["", UNGROUNDED, ""]
    assert reasons(judged(BRIEF, LONG, box(0, 0, 9, 9))) == [UNGROUNDED, UNGROUNDED, ""]


def test_phrases_that_were_dropped_before_ground_nothing() -> None:
    assert reasons(judged(BRIEF, words("a dog", 0), dropped=[1])) == [UNGROUNDED, ""]
    verdicts = judged(BRIEF, words("a dog", 0), dropped=[0, 1])
    assert reasons(verdicts) == ["", ""]
    assert not verdicts.is_judged.any()


def test_only_captions_of_the_chosen_tasks_are_judged() -> None:
    verdicts = judged(BRIEF, LONG, words("a dog", 0), captions=("detailed_caption",))
    assert reasons(verdicts) == ["", UNGROUNDED, ""]
    assert verdicts.is_judged.tolist() == [False, True, False]
    assert not judged(BRIEF, LONG, captions=()).is_judged.any()


def test_a_phrase_grounds_the_caption_of_its_own_sample() -> None:
    rows = [BRIEF, words("a dog", 0), BRIEF]
    assert reasons(judged(*rows, sample=[0, 0, 1])) == ["", "", UNGROUNDED]


def test_of_nested_phrases_the_outermost_is_kept_with_all_its_boxes() -> None:
    rows = [
        BRIEF,
        words("a field of flowers", 9),
        words("a dog in a field of flowers", 0),
        words("a dog in a field of flowers", 0),
        words("a dog", 0),
        words("flowers", 20),
        LONG,
        words("A field", 0, "d"),
    ]
    found = judged(*rows, drop_nested=True)
    assert reasons(found) == ["", NESTED, "", "", NESTED, NESTED, "", ""]
    assert found.is_judged.all()
    assert reasons(judged(*rows)) == [""] * 8
    without = judged(*rows, drop_nested=True, dropped=[2, 3])
    assert reasons(without) == ["", "", "", "", "", NESTED, "", ""]


def test_phrases_that_overlap_or_stand_apart_are_not_nested() -> None:
    rows = [BRIEF, words("a dog in", 0), words("in a field", 6), words("flowers", 20)]
    assert reasons(judged(*rows, drop_nested=True)) == [""] * 4


def test_nothing_is_judged_where_nothing_is() -> None:
    assert reasons(judged(drop_nested=True)) == []


def test_other_tasks_are_refused() -> None:
    with pytest.raises(ConfigError, match="no caption task, did you mean 'caption'"):
        validated(GroundedConfig, {"captions": ["captions"]}, where="filters.grounded")
