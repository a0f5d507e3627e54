from __future__ import annotations

import numpy as np

from florilegium.specialists.detection.queries import NameQueries, corners

QUERIES = NameQueries(
    phrases={"cat": ("cat", "kitten"), "car": ("car",), "dog": ("dog", "puppy", "hound")},
    negatives=("statue",),
    template="a {}",
)


def test_prompts_are_the_phrases_of_all_names_in_their_template() -> None:
    assert QUERIES.names == ("cat", "car", "dog", "statue")
    assert QUERIES.prompts == (
        *("a cat", "a kitten", "a car", "a dog", "a puppy", "a hound", "a statue"),
    )
    assert QUERIES.owner.tolist() == [0, 0, 1, 2, 2, 2, 3]


def test_a_name_is_worth_its_best_phrase() -> None:
    fit = np.array([[0.1, 0.3, 0.2, 0.0, 0.4, 0.1, 0.9], [0.5, 0.2, 0.0, 0.0, 0.0, 0.1, 0.2]])
    np.testing.assert_array_equal(QUERIES.of_names(fit), [[0.3, 0.2, 0.4, 0.9], [0.5, 0, 0.1, 0.2]])
    assert QUERIES.is_no_negative(np.arange(4)).tolist() == [True, True, True, False]


def test_what_is_heard_adds_names_and_changes_none() -> None:
    more = QUERIES.with_names(["dog", "sofa", "statue", "sofa"])
    assert more.phrases == {**QUERIES.phrases, "sofa": ("sofa",)}
    assert more.negatives == QUERIES.negatives
    assert QUERIES.with_names(["cat"]) is QUERIES


def test_parts_hold_so_many_names_and_all_negatives() -> None:
    parts = list(QUERIES.parts(2))
    assert [part.names for part in parts] == [("cat", "car", "statue"), ("dog", "statue")]


def test_parts_hold_no_more_than_there_is_room_for() -> None:
    def named(room: int) -> list[tuple[str, ...]]:
        return [tuple(part.phrases) for part in QUERIES.parts(9, room=room, size=lambda _: 2)]

    assert named(100) == [("cat", "car", "dog")]
    assert named(8) == [("cat", "car"), ("dog",)]
    assert named(6) == [("cat",), ("car",), ("dog",)]
    assert named(1) == [("cat",), ("car",), ("dog",)], "each is asked, however little room"


def test_nothing_wanted_has_no_parts() -> None:
    assert list(NameQueries(phrases={}, negatives=("statue",)).parts(3)) == []


def test_boxes_of_centre_and_size_have_corners() -> None:
    assert corners(np.array([[5.0, 6.0, 4.0, 2.0]])).tolist() == [[3, 5, 7, 7]]
