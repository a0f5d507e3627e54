"""The drawn scenes as a source: they are drawn when read, and given as PNG.

No label, name or metadata carries the ground truth; scores draw the scene again (`scene_of`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator, model_validator

from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.sources.source import Item, Reading, Source, SourceConfig
from florilegium.pipelines.shape_world.drawing import draw
from florilegium.pipelines.shape_world.scene import (
    SCHEME,
    WORLD_VERSION,
    WorldConfig,
    key_of,
    world_of,
)


class ShapeWorldConfig(SourceConfig, WorldConfig):
    """Options of the drawn world: its scenes.

    `url` describes the same scenes, `shape_world://5000?seed=3&px=64`: it may replace the other
    keys, and is built from them if it is not given.
    """

    url: str = Field(default="", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _as_the_url_has_it(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not (url := values.get("url")):
            return values
        world = world_of(url).model_dump()
        for name, value in world.items():
            if str(values.get(name, value)) != str(value):
                raise ValueError(
                    f"{name} is {values[name]!r} but {value!r} in {url}: give the scenes either as "
                    f"keys or as a URL"
                )
        return {**values, **world}

    @field_validator("url")
    @classmethod
    def _names_the_scenes(cls, url: str, info: ValidationInfo) -> str:
        scenes = {name: info.data[name] for name in WorldConfig.model_fields if name in info.data}
        return url or WorldConfig(**scenes).spelling


class ShapeWorldSource(Source[ShapeWorldConfig]):
    """The scenes of a drawn world, by number."""

    Config: ClassVar[type[SourceConfig]] = ShapeWorldConfig

    def items(self) -> Iterator[Item]:
        """List the scenes by number. The same scene in a larger world is the same item."""
        import cv2

        parameters = self.config.model_dump(
            include={*WorldConfig.model_fields} - {"count", "start"}
        )
        text = " ".join(f"{name}={value}" for name, value in sorted(parameters.items()))
        # Other releases of OpenCV may draw letters differently.
        signature = f"{SCHEME} {WORLD_VERSION} {text} opencv={cv2.__version__}"
        for number in self.config.numbers:
            yield Item(location=key_of(number), signature=signature)

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        import cv2

        scene = draw(self.config, int(item.location))
        _, encoded = cv2.imencode(".png", cv2.cvtColor(scene.pixels, cv2.COLOR_RGB2BGR))
        yield Reading(name=item.location, location=item.location, data=encoded.tobytes())
