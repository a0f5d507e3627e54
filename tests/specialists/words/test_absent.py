from __future__ import annotations

from random import Random

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.pipelines.training.config import TrainConfig
from florilegium.specialists.words.absent import Absence
from florilegium.specialists.words.relations import read_relations


def is_asked(wanted: str, *annotations: Annotation) -> bool:
    path = TrainConfig(model="here").kinds_and_parts
    drawn = Absence(read_relations(path)).draw(annotations, (wanted,), Random(0))
    assert drawn in ("", wanted)
    return bool(drawn)


def box(label: str) -> Annotation:
    return Annotation(
        kind="region", task="object_detection", label=label, box_xyxy=(0.0, 0.0, 9.0, 9.0)
    )


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("man", "men"),
        ("people", "person"),
        ("child", "children"),
        ("mouse", "mice"),
        ("mice", "mouse"),
        ("knife", "knives"),
        ("shelf", "shelves"),
        ("sheep", "sheep"),
        ("goose", "geese"),
        ("tooth", "teeth"),
        ("bus", "buses"),
        ("boxes", "box"),
        ("cherries", "a cherry"),
        ("cookie", "cookies"),
        ("tomatoes", "tomato"),
        ("snowman", "snowmen"),
        ("dress", "Dresses"),
        ("cactus", "cacti"),
    ],
)
def test_singular_and_plural_of_a_label_are_not_absent(there, wanted):
    assert not is_asked(wanted, box(there))


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("traffic light", "light"),
        ("light", "traffic light"),
        ("car wheel", "wheel"),
        ("car wheel", "car"),
        ("car", "car wheel"),
        ("streetlights", "light"),
        ("hot dog", "hotdog"),
        ("hotdog", "hot dogs"),
        ("bookshelf", "shelf"),
    ],
)
def test_a_name_that_shares_a_word_with_a_label_is_not_absent(there, wanted):
    assert not is_asked(wanted, box(there))


@pytest.mark.parametrize(
    ("there", "wanted", "may_ask"),
    [
        ("florbshelf", "shelf", False),
        ("shelfflorb", "shelf", False),
        ("shelf", "florbshelf", False),
        ("blashelf", "shelf", False),
        ("blshelf", "shelf", True),
        ("florbshelfflorb", "shelf", True),
        ("florbdoor", "door", False),
        ("florbcar", "car", True),
    ],
)
def test_a_word_may_open_or_close_one_that_no_list_knows(there, wanted, may_ask):
    assert is_asked(wanted, box(there)) is may_ask


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("car", "wheel"),
        ("cars", "tires"),
        ("taxi", "wheel"),
        ("woman", "hair"),
        ("policeman", "face"),
        ("house", "windows"),
        ("trees", "leaf"),
        ("elephant", "trunk"),
        ("laptop", "keyboard"),
        ("crowd", "face"),
    ],
)
def test_a_part_of_a_labelled_object_is_not_absent(there, wanted):
    assert not is_asked(wanted, box(there))


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("man", "person"),
        ("person", "man"),
        ("puppy", "dog"),
        ("puppy", "animals"),
        ("animal", "puppy"),
        ("couch", "sofa"),
        ("bike", "bicycle"),
        ("eyeglasses", "glasses"),
    ],
)
def test_hypernyms_and_synonyms_of_a_label_are_not_absent(there, wanted):
    assert not is_asked(wanted, box(there))


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("dog", "horse"),
        ("dog", "cats"),
        ("car", "bus"),
        ("woman", "man"),
        ("wheel", "dog"),
        ("a black dog", "a black cat"),
        ("red car", "red apple"),
        ("traffic light", "stop sign"),
        ("bicycle", "motorcycle"),
        ("house", "rose"),
        ("bus", "bee"),
        ("glass", "grass"),
        ("stable", "cup"),
    ],
)
def test_an_unrelated_name_is_absent(there, wanted):
    assert is_asked(wanted, box(there))


def test_words_of_captions_tags_phrases_and_ocr_are_not_absent():
    texts = (
        Annotation(kind="text", task="caption", text="Two men ride horses past a shop."),
        Annotation(kind="text", task="tag", text="hats"),
        Annotation(kind="phrase", task="phrase_grounding", text="a wagon", span=(0, 7)),
        Annotation(kind="region", task="ocr", text="TAXI"),
    )
    for wanted in ("horse", "person", "hat", "wheel", "a taxi", "mane"):
        assert not is_asked(wanted, *texts), wanted
    assert is_asked("dog", *texts)


def test_a_phrase_without_content_words_is_compared_by_all_its_words():
    assert not is_asked("the red one", box("red one"))
    assert not is_asked("", box("cat"))
    assert not is_asked("?!", box("cat"))
