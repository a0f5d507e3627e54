"""What captions are read to claim."""

from __future__ import annotations

import pytest

from florilegium.pipelines.shape_world.scene import NAMES
from florilegium.pipelines.shape_world.score.claims import Claim, claim_of, claims_of
from florilegium.specialists.captions.templates import (
    Line,
    ObjectGroup,
    brief,
    detailed,
    more_detailed,
)
from florilegium.specialists.words.nouns import plural

RED = ObjectGroup(name="circle", colour="red", boxes=((0.1, 0.1, 0.3, 0.3),), score=0.9)
SIGN = ObjectGroup(name="sign", boxes=((0.6, 0.1, 0.9, 0.3),), score=0.8)
CROSSES = ObjectGroup(
    name="cross", colour="dark blue", boxes=((0.1, 0.6, 0.3, 0.9), (0.6, 0.6, 0.9, 0.9)), score=0.7
)
LINE = Line(text="STAR", box_xyxy=(0.6, 0.1, 0.9, 0.3), score=0.9)


def test_captions_of_the_templates_are_parsed() -> None:
    things = [RED, SIGN, CROSSES]
    short = claims_of(brief(things, [LINE]))
    assert short.things == (Claim(name="circle", colour="red"),)
    middle = claims_of(detailed(things, [LINE], ["light grey"]))
    crosses = (Claim(name="cross", colour="blue"),) * 2
    everything = (Claim(name="circle", colour="red"), Claim(name="sign"), *crosses)
    assert middle.things == everything
    assert middle.quotes == ("STAR",)
    long = claims_of(more_detailed(things, [LINE], ["dark red"]))
    assert long.things == everything
    assert long.relations == ((1, "right of", 0),)
    assert long.attributes == 3


def test_a_name_within_another_word_is_no_claim() -> None:
    assert claims_of("A star-shaped cross-country sign beside a starfish.").things == (
        Claim(name="sign"),
    )


def test_the_definite_article_refers_to_a_known_object() -> None:
    claims = claims_of("A red circle and a blue circle. The blue circle is below the red circle.")
    assert len(claims.things) == 2
    assert claims.relations == ((1, "below", 0),)
    assert [mention.things for mention in claims.mentions] == [(0,), (1,), (1,), (0,)]


def test_the_definite_article_introduces_an_unknown_object() -> None:
    assert claims_of("The green star is near a ring.").things == (
        Claim(name="star", colour="green"),
        Claim(name="ring"),
    )
    assert len(claims_of("A red star. The green star is large.").things) == 2


def test_an_attribute_may_be_added_by_a_later_mention() -> None:
    claims = claims_of("A star. The yellow star is at the top.")
    assert claims.things == (Claim(name="star", colour="yellow"),)


def test_quoted_words_are_no_objects() -> None:
    claims = claims_of('A sign that says "HEART" to the left of a ring.')
    assert [thing.name for thing in claims.things] == ["sign", "ring"]
    assert claims.relations == ((0, "left of", 1),)


def test_mentions_have_their_span_in_the_text() -> None:
    text = 'The text "A STAR" is on a large pink striped heart.'
    mention = claims_of(text).mentions[0]
    assert text[mention.start : mention.stop] == "a large pink striped heart"


@pytest.mark.parametrize("name", NAMES)
def test_plurals_are_known(name: str) -> None:
    assert (
        claims_of(f"three black {plural(name)}").things == (Claim(name=name, colour="black"),) * 3
    )
    assert claims_of(f"no {plural(name)} here").things == ()


def test_parts_of_other_words_are_no_objects() -> None:
    assert claim_of("starring a signal, crossed and ringed") is None
