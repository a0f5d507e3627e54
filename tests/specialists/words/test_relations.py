from __future__ import annotations

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.words.relations import Relations, name_of, names_in, read_relations

LINES = (
    "# a comment",
    "same: sofa, couch",
    "kinds of animal: dog, cat",
    "kinds of dog: puppy  # a small one",
    "parts of animal: tail",
    "parts of dog: paw",
    "parts of paw: claw",
    "parts of sofa: cushion",
)


def implied(*names: str) -> set[str]:
    return {" ".join(one) for one in Relations(LINES).implied(name_of(name) for name in names)}


def test_a_thing_implies_its_kinds_and_all_their_parts():
    assert implied("Puppies") == {"puppi", "dog", "animal", "tail", "paw", "claw"}


def test_a_kind_may_mean_any_of_its_things_but_a_thing_not_its_siblings():
    assert implied("animal") == {"animal", "dog", "cat", "puppi", "tail", "paw", "claw"}
    assert implied("cat") == {"cat", "animal", "tail"}


def test_a_part_implies_no_whole():
    assert implied("paw") == {"paw", "claw"}


def test_another_name_has_the_same_parts():
    assert implied("couches") == {"couch", "sofa", "cushion"}


def test_an_unknown_name_stands_for_itself():
    assert implied("zebra crossing") == {"zebra crossing"}


def test_every_run_of_words_is_a_name():
    assert list(names_in(("a", "b", "c"), 2)) == [("a",), ("a", "b"), ("b",), ("b", "c"), ("c",)]


@pytest.mark.parametrize("line", ["dog: cat", "kinds of: dog", "kinds of dog", "same: a,,b"])
def test_a_line_that_is_no_relation_is_refused_with_its_number(line):
    with pytest.raises(ConfigError, match="line 2 of the relations"):
        Relations(["same: a, b", line])


def test_the_digest_is_that_of_the_relations():
    digest = Relations(LINES).digest
    assert Relations(reversed(LINES)).digest == digest
    assert Relations(LINES[1:]).digest == digest
    assert Relations(LINES[2:]).digest != digest


def test_the_list_that_ships_can_be_read():
    shipped = read_relations("configs/kinds_and_parts.txt")
    assert name_of("wheel") in shipped.implied({name_of("car")})
