"""The drawn scenes as a source: they are drawn when read, and given as PNG.

No label, name or metadata carries the ground truth; scores draw the scene again (`scene_of`).
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
        ConfigError: the URL is wrong, or `include` is set, which selects files.
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
        """List the scenes by number. The same scene in a larger world is the same item."""
        import cv2

        parameters = self.world.model_dump(exclude={"count", "start"})
        text = " ".join(f"{name}={value}" for name, value in sorted(parameters.items()))
        # Other releases of OpenCV may draw letters differently.
        signature = f"{SCHEME} {WORLD_VERSION} {text} opencv={cv2.__version__}"
        for number in self.world.numbers:
            yield Item(location=key_of(number), signature=signature)

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        import cv2

        scene = draw(self.world, int(item.location))
        _, encoded = cv2.imencode(".png", cv2.cvtColor(scene.pixels, cv2.COLOR_RGB2BGR))
        yield Reading(name=item.location, location=item.location, data=encoded.tobytes())
