"""The stored layers: which samples of a stage are missing, and what other layers know of them.

A layer of all samples of its shard is done. One of some of them was under way when a build was
killed: the others are missing. Where there is none, rows of unchanged samples come from the layer
of the shard as it was before; where only a gate is another one, answers come from the layers under
other gates, question by question.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from florilegium.engine.planning.graph import Node
from florilegium.engine.results.layer import (
    DAMAGE,
    Layer,
    StageError,
    empty_layer_bytes,
    layer_bytes,
    layer_file,
    layer_folder,
    layer_schema,
    make_layer,
    parse_layer,
    parse_metadata,
)
from florilegium.engine.results.questions import Asked, Known
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.parquet import footer_size, from_sealed_parquet, schema_in_footer

_log = logging.getLogger(__name__)

TAIL_BYTES = 1 << 16
"""Bytes at the end of a layer that are read to learn what it has; more for a larger footer."""


@dataclass(frozen=True, kw_only=True)
class Recall:
    """The stored rows of a stage's layer, and the samples for which there are none."""

    layer: Layer
    missing: tuple[int, ...]


class LayerStore:
    """The layers of a run, or of many runs that share the cache."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def write(
        self, node: Node[Any], shard_digest: str, layer: Layer, sample_digests: Sequence[str]
    ) -> None:
        """Publish a layer; `sample_digests` are those of all samples of the shard."""
        data = (
            empty_layer_bytes(node.stage.rows, tuple(sample_digests))
            if layer.is_empty
            else layer_bytes(layer, sample_digests)
        )
        self._publish(node, shard_digest, data)

    def write_some(
        self,
        node: Node[Any],
        shard_digest: str,
        layer: Layer,
        sample_digests: Sequence[str],
        numbers: Sequence[int],
    ) -> None:
        """Publish the answers about some samples of a shard, in place of its layer: the others are
        missing."""
        places = {number: place for place, number in enumerate(numbers)}
        some = [sample_digests[number] for number in numbers]
        data = layer_bytes(layer.renumbered(places), some, of=sample_digests)
        self._publish(node, shard_digest, data)

    def _publish(self, node: Node[Any], shard_digest: str, data: bytes) -> None:
        name = layer_file(node.name, node.fingerprint, node.gate.digest, shard_digest)
        self._folder.publish(name, data, durable=False)

    def read(self, node: Node[Any], shard_digest: str) -> tuple[Layer, list[str]] | None:
        """Return a layer and its sample digests, or `None` when absent or damaged.

        A damaged layer is the trace of a power cut. It is deleted, so that it is made again.
        """
        name = layer_file(node.name, node.fingerprint, node.gate.digest, shard_digest)
        return self._read(node, name)

    def _read(self, node: Node[Any], name: str) -> tuple[Layer, list[str]] | None:
        data = self._folder.read(name)
        if data is None:
            return None
        try:
            layer, samples = parse_layer(data)
            if layer.table.schema == layer_schema(node):
                return layer, samples
            problem = "it has other columns"
        except ValueError as error:
            problem = str(error)
        _log.warning("layer %s is damaged and is made again: %s", name, problem)
        self._folder.remove(name)
        return None

    def carry_over(
        self, node: Node[Any], digest: str, samples: Sequence[str], *, previous_digest: str
    ) -> None:
        """Write the layer of a shard that only lost samples from the one before, with the failures
        of those that stayed, which are not asked about again."""
        name = layer_file(node.name, node.fingerprint, node.gate.digest, digest)
        if digest == previous_digest or self._folder.exists(name):
            return
        old = self.read(node, previous_digest)
        if old is None:
            return
        layer, before = old
        number_of = {sample: number for number, sample in enumerate(samples)}
        numbers = {old: number_of[one] for old, one in enumerate(before) if one in number_of}
        if len(numbers) == len(samples):
            self.write(node, digest, layer.renumbered(numbers), samples)

    def missing(
        self,
        node: Node[Any],
        digest: str,
        samples: Sequence[str],
        *,
        previous_digest: str,
        again: Callable[[StageError], bool],
    ) -> tuple[int, ...] | None:
        """Return the samples that the stage has to see, or `None` when its layer is complete.

        Like `recall` with `dropped_again`, but reads only the end of a file. Damage to the rows of
        a large layer is found by `recall`.
        """
        stored = self._look(node, digest)
        if stored:
            errors, some, asked = stored
            seen_again = _failed(filter(again, errors)) | _dropped(node, asked)
            if some == list(samples):
                return tuple(sorted(seen_again)) or None
            return _without(samples, _unchanged(seen_again, some, samples))
        old = self._look(node, previous_digest) if previous_digest else None
        if old is None:
            return _without(samples, {})
        errors, some, asked = old
        numbers = _unchanged(_failed(errors) | _dropped(node, asked), some, samples)
        return _without(samples, numbers)

    def recall(
        self,
        node: Node[Any],
        digest: str,
        samples: Sequence[str],
        *,
        previous_digest: str,
        again: Callable[[StageError], bool],
        dropped_again: bool = False,
    ) -> Recall:
        """Return the stored rows of a stage for the samples with these digests.

        Samples whose error is to be asked `again` count as missing, and with `dropped_again` those
        that a gate dropped which compares: it may keep them now. When the layer is not there,
        the rows of unchanged samples come from the layer of the shard of `previous_digest`.
        """
        stored = self.read(node, digest)
        if stored and stored[1] == list(samples):
            layer, _ = stored
            seen_again = _failed(filter(again, layer.errors))
            seen_again |= _dropped(node, layer.asked) if dropped_again else frozenset()
            return Recall(layer=layer.without(seen_again), missing=tuple(sorted(seen_again)))
        old = stored or (self.read(node, previous_digest) if previous_digest else None)
        if old is None:
            return Recall(layer=make_layer(node, {}, ()), missing=tuple(range(len(samples))))
        layer, old_samples = old
        seen_again = _failed(filter(again, layer.errors) if stored else layer.errors)
        seen_again |= _dropped(node, layer.asked) if dropped_again else frozenset()
        numbers = _unchanged(seen_again, old_samples, samples)
        return Recall(layer=layer.renumbered(numbers), missing=_without(samples, numbers))

    def _look(
        self, node: Node[Any], digest: str
    ) -> tuple[tuple[StageError, ...], list[str], Mapping[int, Asked]] | None:
        """Return errors, sample digests and questions from the end of a layer, or `None` when
        absent or damaged; of a small layer, the end is all of it."""
        name = layer_file(node.name, node.fingerprint, node.gate.digest, digest)
        try:
            schema = schema_of_layer(self._folder, name)
            if schema is None or schema.remove_metadata() != layer_schema(node):
                return None
            return parse_metadata(schema)
        except DAMAGE:
            return None

    def known(
        self, node: Node[Any], samples: Mapping[str, int], digests: Iterable[str]
    ) -> dict[int, Known]:
        """Return what the layers of a stage under other gates know of the samples with these
        digests, by number; `digests` are those of the shard, now and before. A layer that was made
        without any gate has no questions: what it answers is about whole samples."""
        found: dict[int, Known] = {}
        for folder in self._folders_under_other_gates(node):
            for digest in digests:
                layer, stored = self._read(node, f"{folder}/{digest}.parquet") or (None, [])
                if layer is None:
                    continue
                number_of = {old: samples[one] for old, one in enumerate(stored) if one in samples}
                if folder == layer_folder(node.name, node.fingerprint, "") and not layer.asked:
                    answered = sorted(number_of.keys() - layer.failed)
                    for old, rows in layer.rows(node, answered).items():
                        known = found.get(number_of[old], Known())
                        found[number_of[old]] = replace(known, whole=rows)
                    continue
                wanted = sorted(layer.asked.keys() & number_of.keys())
                for old, rows in layer.rows(node, wanted).items():
                    asked = layer.asked[old]
                    if sum(count for _, count in asked) == len(rows):
                        found.setdefault(number_of[old], Known()).add(asked, rows)
        return found

    def has_any(self, node: Node[Any]) -> bool:
        """Whether a stage has a layer of any shard, under any gate: else it was never asked."""
        return bool(self._folders_of(node))

    def has_other_gates(self, node: Node[Any]) -> bool:
        """Whether a stage has layers under other gates than its own."""
        return bool(self._folders_under_other_gates(node))

    def _folders_under_other_gates(self, node: Node[Any]) -> list[str]:
        own = layer_folder(node.name, node.fingerprint, node.gate.digest)
        return [one for one in self._folders_of(node) if one != own]

    def _folders_of(self, node: Node[Any]) -> list[str]:
        first = layer_folder(node.name, node.fingerprint, "")
        return [one for one in self._folders if one == first or one.startswith(f"{first}-")]

    @cached_property
    def _folders(self) -> list[str]:
        """The folders of layers as they were when first asked for: those that are made meanwhile
        are of this run, which has each stage under one gate."""
        return self._folder.names()


def schema_of_layer(folder: Folder, name: str) -> pa.Schema | None:
    """Return columns and metadata from the end of a layer, or `None` when it is absent; of a small
    layer, the end is all of it.

    Raises:
        One of `DAMAGE`: the layer is damaged.
    """
    size = TAIL_BYTES
    tail = folder.tail(name, size)
    if tail and len(tail) == size < footer_size(tail):
        size = footer_size(tail)
        tail = folder.tail(name, size)
    if tail is None:
        return None
    return from_sealed_parquet(tail).schema if len(tail) < size else schema_in_footer(tail)


def _failed(errors: Iterable[StageError]) -> frozenset[int]:
    return frozenset(error.sample for error in errors)


def _dropped(node: Node[Any], asked: Mapping[int, Asked]) -> frozenset[int]:
    """Return the samples without a question, where a gate that compares may have dropped them."""
    return frozenset(one for one, what in asked.items() if not what and node.gate.compares)


def _unchanged(
    seen_again: Collection[int], old: Sequence[str], new: Sequence[str]
) -> dict[int, int]:
    """Return the new numbers of samples that are not seen again and are in the shard still, by
    old."""
    position = {digest: number for number, digest in enumerate(new)}
    return {
        number: position[digest]
        for number, digest in enumerate(old)
        if digest in position and number not in seen_again
    }


def _without(samples: Sequence[str], numbers: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(sorted(set(range(len(samples))) - set(numbers.values())))
