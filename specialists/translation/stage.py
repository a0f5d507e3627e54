"""The base class of stages that translate: a specialist and a filter."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.pretrained.checkpoint import Family
from florilegium.specialists.pretrained.network import Network
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.translation.translator import (
    FAMILY,
    TranslationConfig,
    Translator,
    load_translation,
)

TranslatingT = TypeVar("TranslatingT", bound=TranslationConfig)


class Translating(Pretrained[TranslatingT]):
    """A stage with a translation model; `load` sets `translator` for the directions of the
    config."""

    family: ClassVar[Family] = FAMILY
    without_languages: ClassVar[str]
    """What is wrong, and the cure, where the config names no direction."""
    translator: Translator

    def revision(self) -> str:
        """Name the commit on the hub or the digest of the files.

        Raises:
            ConfigError: no language is named.
        """
        if not self.config.pairs:
            raise ConfigError(self.without_languages)
        return super().revision()

    def load(self) -> None:
        """Load the weights, and check that the model has the languages."""
        self.network = Network(self.checkpoint(), self.config, load=load_translation)
        self.translator = Translator(self.network, self.config, self.config.pairs)
