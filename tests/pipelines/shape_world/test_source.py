"""The known world as the engine reads it: pixels and nothing of the truth."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.config import SourceEntry
from florilegium.engine.planning.source_opening import config_of, open_source
from florilegium.engine.sources.source import Reading, Source
from florilegium.pipelines.shape_world.scene import WorldConfig, world_of
from florilegium.pipelines.shape_world.source import ShapeWorldConfig, ShapeWorldSource
from florilegium.pipelines.shape_world.truth import scene_of

URL = "shape_world://20?seed=3&px=64&start=5"


def _source(url: str = URL) -> ShapeWorldSource:
    return ShapeWorldSource(ShapeWorldConfig(url=url), shard_size=10)


def _readings(url: str = URL) -> list[Reading]:
    source = _source(url)
    readings = [reading for item in source.items() for reading in source.read(item)]
    assert all(isinstance(reading, Reading) for reading in readings)
    return [reading for reading in readings if isinstance(reading, Reading)]


def test_scenes_are_numbered_from_start() -> None:
    assert [item.location for item in _source().items()] == [f"{n:06d}" for n in range(5, 25)]
    assert [reading.name for reading in _readings()] == [f"{n:06d}" for n in range(5, 25)]


def test_the_bytes_are_reproducible_and_show_the_scene_of_the_key() -> None:
    readings = _readings()
    assert [reading.data for reading in readings] == [reading.data for reading in _readings()]
    for reading in readings:
        pixels = cv2.imdecode(np.frombuffer(reading.data, np.uint8), cv2.IMREAD_COLOR)
        scene = scene_of(URL, reading.name)
        assert np.array_equal(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), scene.pixels)


def test_the_source_gives_no_ground_truth() -> None:
    for reading in _readings():
        assert reading.annotations == ()
        assert reading.metadata == "{}"
        assert reading.location == reading.name
        assert _chunks(reading.data) == {b"IHDR", b"IDAT", b"IEND"}
    assert ShapeWorldSource.produces == ()


@pytest.mark.parametrize("other", ["seed=4&px=64", "seed=3&px=32", "seed=3&px=64&difficulty=easy"])
def test_the_signature_changes_with_what_changes_the_pixels(other: str) -> None:
    (same,) = {item.signature for item in _source().items()}
    assert {item.signature for item in _source("shape_world://3?px=64&seed=3").items()} == {same}
    assert {item.signature for item in _source(f"shape_world://3?{other}").items()} != {same}


def test_a_url_sets_parameters_and_the_rest_are_defaults() -> None:
    assert world_of("shape_world://") == WorldConfig()
    assert world_of("shape_world://7?seed=1&px=32&difficulty=easy&start=9") == WorldConfig(
        count=7, seed=1, px=32, difficulty="easy", start=9
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("shape_world://5?sed=3", "did you mean 'seed'"),
        ("shape_world://-5", "count is '-5'"),
        ("shape_world://0", "count is '0'"),
        ("shape_world://many", "count is 'many'"),
        ("shape_world://5?px=31", "px is '31'"),
        ("shape_world://5?px=", "px is ''"),
        ("shape_world://5?seed=x", "seed is 'x'"),
        ("shape_world://5?start=-1", "start is '-1'"),
        ("shape_world://5?difficulty=hard", "'full' or 'easy'"),
        ("shape_world://5?seed=1&seed=2", "seed is given twice"),
        ("shape_world://5?count=6", "count is given twice"),
        ("shape_world://5/6", "count is '5/6'"),
        ("shape_world:5", "write shape_world://5000"),
        ("other_world://5", "write shape_world://5000"),
    ],
)
def test_a_url_that_names_no_world_is_an_error_with_the_cure(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        _source(url)
    assert "shape_world://" in str(caught.value)


def _opened(**options: Any) -> Source[Any]:
    return open_source(SourceEntry(**options), shard_size=10)


def test_globs_are_refused_since_there_are_no_files() -> None:
    with pytest.raises(ConfigError, match=r"source shape_world://20.*unknown key 'include'"):
        _opened(url=URL, include=("*.png",))


def test_keys_and_a_url_are_two_ways_to_name_the_same_scenes() -> None:
    by_keys = _opened(kind="shape_world", count=20, seed=3, px=64, start=5)
    assert by_keys.config == _opened(url=URL).config
    assert by_keys.config.url == URL
    assert list(by_keys.items()) == list(_source(URL).items())
    assert _opened(kind="shape_world", count=7).config.url == "shape_world://7"
    again = SourceEntry(**by_keys.config.model_dump())
    assert config_of(again) == by_keys.config


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"count": 0}, "count = 0: it should be greater"),
        ({"sed": 3}, "unknown key 'sed', did you mean 'seed'"),
        ({"url": URL, "seed": 4}, f"seed is 4 but 3 in {URL}: give the scenes either as keys or"),
    ],
)
def test_wrong_options_of_a_world_are_named(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        _opened(kind="shape_world", **options)


@pytest.mark.parametrize("key", ["000004", "000025", "000005-2", "", "cat"])
def test_a_key_beyond_the_world_is_an_error_that_names_its_keys(key: str) -> None:
    with pytest.raises(ConfigError, match="its keys are 000005 to 000024"):
        scene_of(URL, key)


def test_overlapping_worlds_of_a_seed_share_scenes() -> None:
    later = "shape_world://3?seed=3&px=64&start=12"
    assert np.array_equal(scene_of(URL, "000012").pixels, scene_of(later, "000012").pixels)


def _chunks(data: bytes) -> set[bytes]:
    """Return the kinds of chunk in a PNG: anything but pixels would be an annotation."""
    kinds, place = set(), 8
    while place < len(data):
        kinds.add(data[place + 4 : place + 8])
        place += 12 + int.from_bytes(data[place : place + 4])
    return kinds
