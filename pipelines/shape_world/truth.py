"""The ground truth of a sample: its scene, drawn again from the URL of the world and the key."""

from __future__ import annotations

from florilegium.engine.core.errors import ConfigError
from florilegium.pipelines.shape_world.drawing import draw
from florilegium.pipelines.shape_world.scene import Scene, key_of, world_of


def scene_of(url: str, key: str) -> Scene:
    """Draw the scene of a sample, with its ground truth.

    Raises:
        ConfigError: the URL is wrong, or the world has no scene with this key.
    """
    config = world_of(url)
    numbers = config.numbers
    if not key.isdecimal() or int(key) not in numbers:
        first, last = key_of(numbers[0]), key_of(numbers[-1])
        raise ConfigError(f"{url} has no scene {key!r}; its keys are {first} to {last}")
    return draw(config, int(key))
