"""A build without one driver: which slice makes which shards, and what all its slices share.

The first slice divides the source and stores the division; the others read it and list nothing, so
a source that grows meanwhile changes nothing. Slices share storage only: output and layers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from florilegium.engine.core.errors import ConfigError, UsageError
from florilegium.engine.storage.documents import damaged, read_json
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import DIVISION
from florilegium.engine.untrusted.escaped import cut

_CURE = "`florilegium build CONFIG --drop-slices` deletes it, and the next slice divides anew"
_NAMES = {
    "recipe": "other stages or thresholds",
    "shard_size": "another shard_size",
    "layers": "another folder of layers",
    "sources": "other sources",
    "readings": "other options of sources, limits or takedown list",
}
"""Differences from the first slice, for messages."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One of the slices of a build; `number` is from 1 to `of`, as the tasks of a Slurm array.

    Shards are dealt out like cards, by their number modulo `of`: neighbours cost about the same,
    as they come from one folder or tar, and new shards have the highest numbers. So each slice gets
    its share of both.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Slice:
        """Read `3/16`.

        Raises:
            UsageError: it is no such text, or there is no such slice.
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        number, of = map(int, match.groups()) if match else (0, 0)
        if not 1 <= number <= of:
            raise UsageError(
                f"--slice {cut(text)} is no slice: give a number and how many there are, from 1/16 "
                f"to 16/16"
            )
        return cls(number=number, of=of)

    @classmethod
    def with_shard(cls, shard: int, *, of: int) -> Slice:
        """Return the slice that makes a shard."""
        return cls(number=shard % of + 1, of=of)

    def has(self, shard: int) -> bool:
        """Whether this slice makes a shard."""
        return self == Slice.with_shard(shard, of=self.of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


class Division(BaseModel):
    """How the first slice divided the sources, and what every slice must have in common with it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    slices: int = Field(ge=1)
    recipe: str
    shard_size: int
    layers: str
    """The folder of layers; "" where it is in the output."""
    sources: tuple[str, ...]
    readings: tuple[str, ...]
    """A digest for each source of the options, limits and takedown list with which it is read."""
    inputs: str
    """`Partition.inputs_digest` of the shards."""
    remarks: tuple[str, ...]
    """Remarks of the sources on what was listed."""
    compared: tuple[str, ...] = ()
    """The files with what sample filters found that compare the samples of the run."""

    def refuse_others(self, other: Division, output: Folder) -> None:
        """Refuse a command that would make other shards than the slices before it.

        Raises:
            ConfigError: with all that is different.
        """
        names = [
            text for name, text in _NAMES.items() if getattr(self, name) != getattr(other, name)
        ]
        if self.slices != other.slices:
            names.insert(0, f"another number of slices ({other.slices})")
        if names:
            raise ConfigError(
                f"{output.url} is being built in {self.slices} slices, and this command has "
                f"{' and '.join(names)}: give what the first slice had, or end these slices with "
                f"`florilegium build CONFIG --drop-slices`, which keeps what is finished"
            )

    def to_json(self) -> bytes:
        """Return the content of the file of the division."""
        document = self.model_dump(exclude_defaults=True)
        return json.dumps(document, sort_keys=True, indent=1).encode()


def read_division(output: Folder) -> Division | None:
    """Return the division of the slices that are under way, or `None` when there are none.

    Raises:
        StorageError: it is damaged.
    """
    document = read_json(output, DIVISION, cure=_CURE)
    if document is None:
        return None
    try:
        return Division.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise damaged(output, DIVISION, error, cure=_CURE) from error
