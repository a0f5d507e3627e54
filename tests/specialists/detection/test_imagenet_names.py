from __future__ import annotations

import numpy as np
import pytest

from florilegium.specialists.detection.imagenet_names import CLASSES, Families, class_names


@pytest.fixture(scope="module")
def families() -> Families:
    return Families(class_names())


def probability(families: Families, **of_labels: float) -> np.ndarray:
    values = np.zeros(CLASSES)
    for label, value in of_labels.items():
        values[families.labels.index(label.replace("_", " "))] = value
    return values


def named(families: Families, values: np.ndarray) -> dict[str, float]:
    labels = families.name(values, least=0.1, own_share=0.5)
    return {label: round(float(values[keys].sum()), 3) for label, keys in labels}


def test_every_class_has_a_plain_name(families: Families) -> None:
    assert len(families.labels) == CLASSES
    assert not [label for label in families.labels if "(" in label or "/" in label]
    assert families.labels[282] == "tiger cat"
    assert families.labels[21] == "kite"


def test_a_family_is_named_when_no_class_of_it_has_the_majority(families: Families) -> None:
    values = probability(families, Egyptian_Mau=0.35, tiger_cat=0.25, tabby_cat=0.2)
    assert named(families, values) == {"cat": 0.8}


def test_a_class_with_the_majority_keeps_its_own_name(families: Families) -> None:
    values = probability(families, Egyptian_Mau=0.6, tiger_cat=0.2, tabby_cat=0.08)
    assert named(families, values) == {"Egyptian Mau": 0.6, "tiger cat": 0.2}


def test_classes_of_one_name_are_one(families: Families) -> None:
    values = np.zeros(CLASSES)
    values[[key for key, label in enumerate(families.labels) if label == "missile"]] = 0.09
    assert named(families, values) == {"missile": 0.18}


def test_latin_and_far_fetched_synonyms_make_no_family(families: Families) -> None:
    swine = probability(families, pig=0.4, wild_boar=0.5)  # both are "Sus scrofa"
    assert named(families, swine) == {"wild boar": 0.5, "pig": 0.4}
    houses = probability(families, prison=0.3, restaurant=0.3, apiary=0.3)  # "bee house"
    assert set(named(families, houses)) == {"prison", "restaurant", "apiary"}


def test_what_is_improbable_is_not_named(families: Families) -> None:
    assert named(families, np.full(CLASSES, 1 / CLASSES)) == {}
