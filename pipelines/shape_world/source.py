"""The known world as a source: scenes drawn when they are read, as PNG, pixels only.

No label, name or piece of metadata carries the truth; who is to measure against it draws the
scene again (`scene_of`). This module knows no file: nothing is stored.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.core.errors import ConfigError
from engine.core.sample import DeadLetter
from engine.sources.source import Item, Reading, Source, SourceConfig
from pipelines.shape_world.drawing import draw
from pipelines.shape_world.scene import SCHEME, WORLD_VERSION, key_of, world_of


class ShapeWorldSource(Source):
    """The scenes of `shape_world://5000?seed=3&px=128&difficulty=easy&start=0`, by number.

    Raises:
        ConfigError: the URL names no world, or `include` is given, which is for files.
    """

    def __init__(self, config: SourceConfig, *, shard_size: int) -> None:
        super().__init__(config, shard_size=shard_size)
        self.world = world_of(config.url)
        if config.include:
            raise ConfigError(
                f"{config.url}: a drawn world has no files for include: {list(config.include)} to "
                f"select; choose scenes by their numbers: {SCHEME}://COUNT?start=NUMBER"
            )

    def items(self) -> Iterator[Item]:
        """List the scenes by number. The same scene of a longer world is the same item."""
        import cv2

        said = self.world.model_dump(exclude={"count", "start"})
        parameters = " ".join(f"{name}={value}" for name, value in sorted(said.items()))
        # Another OpenCV may draw a letter differently, and then the bytes are others.
        signature = f"{SCHEME} {WORLD_VERSION} {parameters} opencv={cv2.__version__}"
        for number in self.world.numbers:
            yield Item(location=key_of(number), signature=signature)

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        import cv2

        scene = draw(self.world, int(item.location))
        _, encoded = cv2.imencode(".png", cv2.cvtColor(scene.pixels, cv2.COLOR_RGB2BGR))
        yield Reading(name=item.location, location=item.location, data=encoded.tobytes())
