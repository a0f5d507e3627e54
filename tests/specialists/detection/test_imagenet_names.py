from __future__ import annotations

import numpy as np
import pytest

from florilegium.specialists.detection.imagenet_names import (
    CLASSES,
    NOTHING,
    SURE,
    HedgedNames,
    class_names,
    group_names,
)


@pytest.fixture(scope="module")
def names() -> HedgedNames:
    return HedgedNames(class_names(), group_names())


def probability(**of_labels: float) -> np.ndarray:
    labels = class_names()
    values = np.zeros(CLASSES)
    for label, value in of_labels.items():
        values[labels.index(label.replace("_", " "))] = value
    return values


def named(names: HedgedNames, values: np.ndarray, **options: float) -> dict[str, float]:
    found = names.name(values, **{"least": 0.3, "own_share": 0.6} | options)
    return {label: round(float(values[keys].sum()), 3) for label, keys in found}


def test_every_class_has_a_plain_name() -> None:
    labels = class_names()
    assert len(labels) == CLASSES
    assert not [label for label in labels if "(" in label or "/" in label]
    assert labels[282] == "tiger cat"
    assert labels[21] == "kite"


def test_broader_names_hold_the_classes_that_a_reader_expects(names: HedgedNames) -> None:
    """Counts of WordNet's subtrees (of its 398 animals four are never named), and some classes."""
    labels, groups = class_names(), group_names()
    sizes = {"animal": 394, "dog": 118, "bird": 59, "snake": 17, "fish": 16, "car": 10, "truck": 8}
    assert {name: len(set(groups[name])) for name in sizes} == sizes
    kinds = {
        "dog": "Pekingese",
        "cat": "Siamese cat",
        "bird": "king penguin",
        "motor vehicle": "school bus",
        "vehicle": "mountain bike",
        "building": "palace",
        "fruit": "banana",
        "musical instrument": "violin",
        "clothing": "jeans",
    }
    for name, label in kinds.items():
        assert labels.index(label) in groups[name]
    others = {
        "dog": "grey wolf",
        "clothing": "seat belt",
        "container": "school bus",
        "food": "plate",
    }
    for name, label in others.items():
        assert labels.index(label) not in groups[name]


def test_no_two_names_are_of_the_same_classes(names: HedgedNames) -> None:
    named_once = {row.tobytes() for row in names.holds}
    assert len(named_once) == len(names.labels) == len(set(names.labels))


def test_names_that_nobody_says_are_not_used(names: HedgedNames) -> None:
    unsaid = {
        "entity",
        "artifact",
        "instrumentality",
        "whole",
        "ungulate",
        "placental",
        "carnivore",
    }
    assert not unsaid & set(names.labels)


def test_every_line_of_the_table_is_of_classes_that_exist() -> None:
    for name, keys in group_names().items():
        assert keys == sorted(set(keys)), name
        assert 0 <= keys[0] <= keys[-1] < CLASSES, name


def test_what_is_never_named_is_in_no_broader_name() -> None:
    groups = group_names()
    never = set(groups.pop(NOTHING))
    assert not [name for name, keys in groups.items() if never & set(keys)]


def test_a_broader_name_is_used_when_no_class_has_enough(names: HedgedNames) -> None:
    values = probability(Egyptian_Mau=0.35, tiger_cat=0.25, tabby_cat=0.2)
    assert named(names, values) == {"cat": 0.8}
    assert named(names, values + probability(red_fox=0.1, lion=0.1)) == {"cat": 0.8}
    assert named(names, probability(tabby_cat=0.2, Pekingese=0.2, goose=0.2)) == {"animal": 0.6}


def test_a_class_with_enough_keeps_its_own_name(names: HedgedNames) -> None:
    values = probability(Egyptian_Mau=0.7, tiger_cat=0.2, tabby_cat=0.1)
    assert named(names, values) == {"Egyptian Mau": 0.7}
    assert named(names, values, own_share=0.8) == {"cat": 1.0}


def test_a_single_class_may_have_a_plainer_name(names: HedgedNames) -> None:
    assert named(names, probability(electric_fan=0.9)) == {"fan": 0.9}


def test_every_flower_is_a_flower_for_there_are_only_two_kinds(names: HedgedNames) -> None:
    assert named(names, probability(daisy=0.9)) == {"flower": 0.9}
    assert named(names, probability(missile=0.9)) == {"rocket": 0.9}


def test_classes_of_one_name_are_one() -> None:
    names = HedgedNames(["cup", "missile", "missile"], {})
    assert names.name(np.array([0.2, 0.2, 0.2]), least=0.3, own_share=0.6)[0][0] == "missile"


def test_several_things_are_named_if_each_is_probable(names: HedgedNames) -> None:
    assert named(names, probability(school_bus=0.5, banana=0.4)) == {
        "school bus": 0.5,
        "banana": 0.4,
    }


def test_what_is_improbable_is_not_named(names: HedgedNames) -> None:
    assert named(names, np.zeros(CLASSES)) == {}
    assert named(names, probability(school_bus=0.29)) == {}


def test_what_drawings_and_text_are_taken_for_is_never_named(names: HedgedNames) -> None:
    assert named(names, probability(envelope=0.9)) == {}
    assert named(names, probability(website=0.6, Pekingese=0.35)) == {"Pekingese": 0.35}


def test_a_tusker_is_an_elephant(names: HedgedNames) -> None:
    assert named(names, probability(tusker=0.5)) == {"elephant": 0.5}


def test_a_name_that_hurts_where_it_is_wrong_must_be_sure(names: HedgedNames) -> None:
    assert SURE in group_names()
    assert named(names, probability(gorilla=0.6)) == {}
    assert named(names, probability(gorilla=0.4, Pekingese=0.2)) == {}, "an animal by a gorilla"
    assert named(names, probability(gorilla=0.66)) == {"gorilla": 0.66}


@pytest.mark.parametrize("label", ["bra", "revolver", "prison", "hair_wig", "chimpanzee"])
def test_what_embarrasses_needs_half_the_doubt(names: HedgedNames, label: str) -> None:
    assert named(names, probability(**{label: 0.6})) == {}
    assert list(named(names, probability(**{label: 0.7})).values()) == [0.7]
