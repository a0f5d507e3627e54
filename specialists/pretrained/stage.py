"""What all stages with a `transformers` model have in common: name, revision, loading.

A stage of this kind is a subclass of `Pretrained` and of `Specialist` or `Filter`; it names its
`Family`, prepares inputs, and reads what the network says.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

from engine.core.stage import Stage
from specialists.pretrained.checkpoint import Checkpoint, Family, model_name, resolve
from specialists.pretrained.config import PretrainedConfig
from specialists.pretrained.network import Network

PretrainedT = TypeVar("PretrainedT", bound=PretrainedConfig)


class Pretrained(Stage[PretrainedT]):
    """A stage with one model of `transformers`; `network` is there after `load`."""

    family: ClassVar[Family]
    """The checkpoints that it can use."""
    calls_at_once: ClassVar[int] = 2
    network: Network

    @property
    def model(self) -> str:
        """The hub id, or of a folder only its name."""
        return self.config.named(model_name(self.config.model))

    def revision(self) -> str:
        """Name the commit on the hub or the digest of the files."""
        return self.checkpoint().digest

    def caveat(self) -> str:
        """Say so when nobody trained the weights."""
        return self.config.caveat

    def checkpoint(self) -> Checkpoint:
        """Find the checkpoint.

        Raises:
            ConfigError: it is not here or cannot be used; the message says what to do.
        """
        return resolve(
            self.config.model,
            self.family,
            self.config.revision,
            is_random=bool(self.config.caveat),
        )

    def load(self) -> None:
        """Load the weights onto the device."""
        self.network = Network(self.checkpoint(), self.config)
