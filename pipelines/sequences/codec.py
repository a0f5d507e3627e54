"""The interface of codecs, which write a mask or an image as a fixed number of codes.

A codec is one class, found by an entry point of `florilegium.codecs`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from florilegium.engine.core.api import API_VERSION
from florilegium.engine.planning.registry import find_installed

CODECS = "florilegium.codecs"


class Codec(ABC):
    """Turns pixels into codes and back. Loading it must be cheap; both ways are pure."""

    api_version: ClassVar[int] = API_VERSION
    """The version of the plugin API that the class is written for."""
    subject: ClassVar[Literal["mask", "image"]]
    """What it encodes: masks, bool, shape (height, width), or images, RGB, uint8, (height, width,
    3)."""

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """How many codes there are: each is a number 0..vocabulary-1."""

    @property
    @abstractmethod
    def length(self) -> int:
        """How many codes a mask or an image becomes."""

    @abstractmethod
    def encode(self, pixels: np.ndarray) -> list[int]:
        """Return the codes of a mask, which fills its box, or of an image, of any size."""

    @abstractmethod
    def decode(self, codes: Sequence[int], size_wh: tuple[int, int]) -> np.ndarray:
        """Return the mask or the image of this size.

        Raises:
            ValueError: there are more or fewer codes than `length`, or one is unknown.
        """


def find_codec(name: str) -> Codec:
    """Return the codec of this name.

    Raises:
        ConfigError: there is none.
    """
    return find_installed(CODECS, "codec", name, Codec)()  # type: ignore[type-abstract]
