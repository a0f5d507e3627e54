"""The base class of stages with a `transformers` model: name, revision, loading.

Such a stage is a subclass of `Pretrained` and of `Specialist` or `Filter`; it has a `Family`,
preprocesses inputs, and interprets the outputs of the network.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from florilegium.engine.core.stage import Stage
from florilegium.specialists.pretrained.checkpoint import Checkpoint, Family, model_name, resolve
from florilegium.specialists.pretrained.config import PretrainedConfig
from florilegium.specialists.pretrained.network import CALLS_AT_ONCE, Network


@runtime_checkable
class HasCheckpoints(Protocol):
    """A stage that loads checkpoints of this machine, also where it is no `Pretrained`."""

    def checkpoints(self) -> list[Checkpoint]:
        """Find all checkpoints that it loads.

        Raises:
            MissingModel: one is not in the local cache of the hub.
            ConfigError: one cannot be used.
        """


@runtime_checkable
class HasNetworks(Protocol):
    """A stage that has loaded networks, also where it is no `Pretrained`."""

    def networks(self) -> list[Network]:
        """Return all networks that it has loaded."""


PretrainedT = TypeVar("PretrainedT", bound=PretrainedConfig)


class Pretrained(Stage[PretrainedT]):
    """A stage with one `transformers` model; `load` sets `network`."""

    family: ClassVar[Family]
    """The checkpoints that it supports."""
    calls_at_once: ClassVar[int] = CALLS_AT_ONCE
    network: Network

    @property
    def model(self) -> str:
        """The hub id, or the name of a folder without its path."""
        return self.config.named(model_name(self.config.model))

    def revision(self) -> str:
        """Name the commit on the hub or the digest of the files."""
        return self.checkpoint().digest

    def caveat(self) -> str:
        """Return a caveat for random weights."""
        return self.config.caveat

    def checkpoint(self) -> Checkpoint:
        """Find the checkpoint.

        Raises:
            ConfigError: it is missing or cannot be used.
        """
        return resolve(
            self.config.model,
            self.family,
            self.config.revision,
            is_random=bool(self.config.caveat),
        )

    def checkpoints(self) -> list[Checkpoint]:
        """Find all checkpoints that it loads."""
        return [self.checkpoint()]

    def networks(self) -> list[Network]:
        """Return all networks that it has loaded."""
        return [self.network]

    def load(self) -> None:
        """Load the weights onto the device."""
        self.network = Network(self.checkpoint(), self.config)
