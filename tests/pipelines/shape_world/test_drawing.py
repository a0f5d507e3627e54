"""The truth of a scene is what its pixels show."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.pipelines.shape_world import painting
from florilegium.pipelines.shape_world.captions import phrase
from florilegium.pipelines.shape_world.drawing import HARDNESS, draw
from florilegium.pipelines.shape_world.scene import (
    COLOURS,
    INVERSE,
    NAMES,
    PATTERNS,
    SHAPES,
    SIGN,
    WORDS,
    Difficulty,
    Predicate,
    Relation,
    Scene,
    Thing,
    WorldConfig,
)
from florilegium.pipelines.shape_world.shapes import outline

COUNT = 150
DIFFICULTIES: tuple[Difficulty, ...] = ("full", "easy")


@pytest.fixture(scope="module", params=DIFFICULTIES)
def scenes(request: pytest.FixtureRequest) -> list[Scene]:
    config = WorldConfig(seed=11, difficulty=request.param)
    return [draw(config, number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def easy() -> list[Scene]:
    config = WorldConfig(seed=11, difficulty="easy")
    return [draw(config, number) for number in range(COUNT)]


def test_a_scene_depends_on_its_number_not_on_the_range() -> None:
    first = draw(WorldConfig(seed=4, count=10), 7)
    again = draw(WorldConfig(seed=4, count=5, start=100), 7)
    assert np.array_equal(first.pixels, again.pixels)
    assert first.captions == again.captions
    assert [_described(thing) for thing in first.things] == [
        _described(thing) for thing in again.things
    ]
    assert first.relations == again.relations


@pytest.mark.parametrize("other", [WorldConfig(seed=5), WorldConfig(seed=4, difficulty="easy")])
def test_another_seed_difficulty_or_number_is_another_scene(other: WorldConfig) -> None:
    scene = draw(WorldConfig(seed=4), 7)
    assert not np.array_equal(scene.pixels, draw(other, 7).pixels)
    assert not np.array_equal(scene.pixels, draw(WorldConfig(seed=4), 8).pixels)


@pytest.mark.parametrize("px", [32, 64, 200])
def test_a_scene_has_the_configured_size(px: int) -> None:
    scene = draw(WorldConfig(px=px), 3)
    assert scene.pixels.shape == (px, px, 3)
    assert scene.pixels.dtype == np.uint8
    assert all(thing.mask.shape == (px, px) for thing in scene.things)


def test_boxes_are_the_bounds_of_the_visible_pixels(scenes: list[Scene]) -> None:
    for thing in _things(scenes):
        rows, columns = np.nonzero(thing.mask)
        bounds = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert thing.box_xyxy == bounds


def test_no_pixel_shows_two_things(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert np.sum([thing.mask for thing in scene.things], axis=0).max() == 1


def test_every_scene_has_as_many_things_as_its_difficulty_allows() -> None:
    for difficulty in DIFFICULTIES:
        fewest, most = HARDNESS[difficulty].things
        config = WorldConfig(seed=11, difficulty=difficulty)
        counts = {len(draw(config, number).things) for number in range(COUNT)}
        assert counts == set(range(fewest, most + 1))


def test_every_name_colour_and_pattern_occurs(scenes: list[Scene]) -> None:
    things = _things(scenes)
    assert {thing.name for thing in things} == set(NAMES)
    assert {thing.colour for thing in things} == set(COLOURS)
    assert {thing.pattern for thing in things} == set(PATTERNS)


def test_signs_and_only_signs_have_a_word(scenes: list[Scene]) -> None:
    for thing in _things(scenes):
        assert (thing.word in WORDS) if thing.name == SIGN else not thing.word


def test_no_two_things_of_a_scene_share_name_and_colour(scenes: list[Scene]) -> None:
    for scene in scenes:
        names = [(thing.name, thing.colour) for thing in scene.things]
        assert len(set(names)) == len(names)


def test_the_pixels_have_the_colour_of_the_truth(easy: list[Scene]) -> None:
    for scene in easy:
        for thing in scene.things:
            if thing.pattern != "solid" or thing.name == SIGN:
                continue
            seen = np.median(scene.pixels[thing.mask], axis=0)
            nearest = min(COLOURS, key=lambda name: painting.distance(seen, painting.RGB[name]))
            assert nearest == thing.colour


def test_patterns_have_two_tones_and_solid_things_one(easy: list[Scene]) -> None:
    for scene in easy:
        for thing in scene.things:
            if thing.name == SIGN:
                continue
            inner = _eroded(thing.mask)
            spread = scene.pixels[inner].std(axis=0).max() if inner.any() else 0.0
            assert spread < 2 if thing.pattern == "solid" else spread > 15


def test_masks_have_the_silhouette_of_their_name(easy: list[Scene]) -> None:
    """A circle fills pi/4 of its box, a ring has a hole, and so on: by area against the box."""
    fill: dict[str, list[float]] = {name: [] for name in NAMES}
    for thing in _things(easy):
        x1, y1, x2, y2 = thing.box_xyxy
        fill[thing.name].append(thing.mask.sum() / ((x2 - x1) * (y2 - y1)))
    medians = {name: float(np.median(values)) for name, values in fill.items()}
    assert medians[SIGN] > 0.98
    assert medians["circle"] == pytest.approx(np.pi / 4, abs=0.03)
    assert medians["ring"] == pytest.approx(np.pi / 4 * (1 - 0.52**2), abs=0.06)
    assert medians["star"] < medians["heart"] < medians["square"]


def test_silhouettes_of_different_shapes_overlap_little() -> None:
    centre_xy = np.array([32.0, 32.0])
    masks = {
        name: painting.coverage(outline(name, radius=25, centre_xy=centre_xy), 64) > 127
        for name in SHAPES
    }
    for first, second in combinations(SHAPES, 2):
        shared = (masks[first] & masks[second]).sum() / (masks[first] | masks[second]).sum()
        assert shared < 0.85, (first, second)


def test_easy_things_are_whole_apart_and_clear(easy: list[Scene]) -> None:
    for scene in easy:
        covered = np.zeros(scene.pixels.shape[:2], dtype=bool)
        for thing in scene.things:
            x1, y1, x2, y2 = thing.box_xyxy
            assert min(x1, y1) > 0
            assert max(x2, y2) < scene.pixels.shape[0]
            assert not (_dilated(thing.mask) & covered).any()
            covered |= thing.mask


def test_easy_backgrounds_are_smooth_and_full_ones_are_not() -> None:
    def roughness(difficulty: Difficulty) -> float:
        config = WorldConfig(seed=11, difficulty=difficulty)
        rough = []
        for number in range(30):
            scene = draw(config, number)
            things = np.any([_dilated(thing.mask) for thing in scene.things], axis=0)
            steps = np.abs(np.diff(scene.pixels.astype(int), axis=0)).max(axis=2)
            rough.append(steps[~(things[1:] | things[:-1])].max())
        return float(np.mean(rough))

    assert roughness("easy") <= 2
    assert roughness("full") > 20


def test_full_scenes_occlude_things_within_the_limit() -> None:
    scenes = [draw(WorldConfig(seed=11), number) for number in range(COUNT)]
    circles = [thing for thing in _things(scenes) if thing.name == "circle"]
    shares = []
    for thing in circles:
        x1, y1, x2, y2 = thing.box_xyxy
        shares.append(thing.mask.sum() / (np.pi / 4 * max(x2 - x1, y2 - y1) ** 2))
    assert min(shares) < 0.8
    # The circle itself may be larger than what is seen of it, and then the share is too high.
    assert min(shares) > 0.9 * HARDNESS["full"].min_visible


def test_relations_hold_between_the_boxes_and_come_with_their_inverse(
    scenes: list[Scene],
) -> None:
    assert sum(len(scene.relations) for scene in scenes) > COUNT / 2
    for scene in scenes:
        for relation in scene.relations:
            subject = scene.things[relation.subject].box_xyxy
            other = scene.things[relation.object].box_xyxy
            holds = {
                "left of": subject[2] <= other[0],
                "right of": subject[0] >= other[2],
                "above": subject[3] <= other[1],
                "below": subject[1] >= other[3],
            }
            assert holds[relation.predicate]
            offset = np.subtract(_middle(other), _middle(subject))
            assert abs(offset).max() >= 1.5 * abs(offset).min()
            assert _inverse(relation) in scene.relations


def test_captions_grow_in_length_and_name_what_is_there(scenes: list[Scene]) -> None:
    lengths = np.array(
        [[len(scene.captions[task].split()) for task in CAPTION_TASKS] for scene in scenes]
    )
    assert (np.diff(lengths, axis=1) > 0).all()
    brief, detailed, more_detailed = np.median(lengths, axis=0)
    assert 6 <= brief <= 11
    assert 18 <= detailed <= 32
    assert 35 <= more_detailed <= 70
    for scene in scenes:
        for task in ("detailed_caption", "more_detailed_caption"):
            text = scene.captions[task]
            assert all(f"{thing.colour} " in text.lower() for thing in scene.things)
            assert all(thing.word in text for thing in scene.things)
        for thing in scene.things:
            assert phrase(thing) in scene.captions["detailed_caption"]


def test_captions_state_true_relations_and_none_twice(scenes: list[Scene]) -> None:
    assert any(_relations_told(scene) for scene in scenes)
    for scene in scenes:
        stated = _relations_told(scene)
        assert all(relation in scene.relations for relation in stated)
        assert len({frozenset((each.subject, each.object)) for each in stated}) == len(stated)


def _relations_told(scene: Scene) -> list[Relation]:
    """Read the relations back out of the longest caption, whose grammar is fixed."""
    places = {phrase(thing, "the"): place for place, thing in enumerate(scene.things)}
    english: dict[str, Predicate] = {
        "is to the left of": "left of",
        "is to the right of": "right of",
        "is above": "above",
        "is below": "below",
    }
    stated = []
    for sentence in scene.captions["more_detailed_caption"].lower().rstrip(".").split(". "):
        subject = next((name for name in places if sentence.startswith(f"{name} ")), None)
        if subject is not None:
            rest = sentence.removeprefix(f"{subject} ")
            verb = rest[: rest.rindex(" the ")]
            other = rest.removeprefix(f"{verb} ")
            stated.append(
                Relation(subject=places[subject], predicate=english[verb], object=places[other])
            )
    return stated


def _things(scenes: list[Scene]) -> list[Thing]:
    return [thing for scene in scenes for thing in scene.things]


def _middle(box_xyxy: tuple[float, ...]) -> np.ndarray:
    return np.reshape(box_xyxy, (2, 2)).mean(axis=0)


def _described(thing: Thing) -> tuple[object, ...]:
    return (thing.name, thing.colour, thing.pattern, thing.word, thing.box_xyxy)


def _inverse(relation: Relation) -> Relation:
    return Relation(
        subject=relation.object, predicate=INVERSE[relation.predicate], object=relation.subject
    )


def _dilated(mask: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), dtype=np.uint8)).astype(bool)


def _eroded(mask: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.erode(mask.astype(np.uint8), np.ones((3, 3), dtype=np.uint8)).astype(bool)
