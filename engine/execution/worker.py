"""A worker: hosts stages, reads shards, runs stages over samples, publishes shards.

The same class works in this process, in a child process and inside a Ray actor. It knows neither
the schedule nor other workers; workers exchange results as layers only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from typing import Any

from florilegium.engine.core.annotation import SOURCE
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import DataLost, FlorilegiumError, RunError, SampleError
from florilegium.engine.core.spent import Spent
from florilegium.engine.execution.answer import (
    BUDGET_EXHAUSTED,
    FILE_TIMEOUT,
    SHARD_TIMEOUT,
    STAGE_TIMEOUT,
    Answer,
)
from florilegium.engine.execution.call import StoredAnswers, WorkerCall
from florilegium.engine.execution.timing import StageTiming
from florilegium.engine.execution.watch import Doing, Watch
from florilegium.engine.execution.worker_log import about
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.planning.graph import Graph, Node
from florilegium.engine.planning.partition import ShardSpec
from florilegium.engine.planning.source_opening import open_source
from florilegium.engine.results.comparison import Compared, MeasuredShard
from florilegium.engine.results.layer import Layer, StageError, join_layers, make_layer
from florilegium.engine.results.layer_store import LayerStore, Recall
from florilegium.engine.results.publication import (
    ShardStats,
    failures_of,
    publish_shard,
    reading_of,
)
from florilegium.engine.results.questions import Known
from florilegium.engine.results.sample_judging import measured_rows
from florilegium.engine.results.shard import Shard, ShardBytes, Spot, read_shard
from florilegium.engine.results.stored_comparison import Comparisons
from florilegium.engine.sources.takedown import NOTHING, TAKEN_DOWN, read_takedown
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.traces import unforeseen

WINDOW = 16
"""Images whose pixels are held at once; more only where a stage asks for larger batches."""
WINDOW_PIXELS = 48_000_000
"""Pixels that are held at once, at most, unless one image alone has more."""

LayerParts = dict[str, Layer]
"""The answers of some stages about some samples of a shard, by stage name; a stage that found
nothing in any of them may be left out."""


@dataclass(frozen=True, kw_only=True)
class ShardWork:
    """A shard and what is left to do on it.

    `todo` has, for each stage whose layer is not complete, the samples that it has to see.
    `previous_digest` is the digest of the samples that the shard held before: unchanged samples
    take their rows from that layer.
    """

    shard: Shard
    todo: dict[str, tuple[int, ...]]
    previous_digest: str
    retry: bool
    compared: Mapping[str, Compared] = field(default_factory=dict)
    """What sample filters found for the shard when they compared the run, by name."""

    @cached_property
    def asked(self) -> dict[str, frozenset[int]]:
        """The samples of `todo` as sets. They are made once: the work is complete by then."""
        return {name: frozenset(samples) for name, samples in self.todo.items()}


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a call of stages gave: its part, and what each stage did. A runner may have a reference
    to the part instead; `repeats` counts how often it made the call again, as a node was gone."""

    part: Any
    timings: tuple[StageTiming, ...]
    repeats: int = 0


Note = Callable[[Spot], None]
"""Stores the input that a reader is at, outside of the worker's process."""


class Worker:
    """Hosts the stages of a graph. `watch` enforces limits of time and memory on its calls; without
    one there are none."""

    def __init__(
        self,
        config: RunConfig,
        graph: Graph,
        *,
        layers: Folder,
        output: Folder,
        watch: Watch | None = None,
    ) -> None:
        _import_for_threads()
        self._config = config
        self._watch = watch or Watch()
        self._graph = graph
        self._nodes = {node.name: node for node in graph.nodes}
        self._loaded: set[str] = set()
        self._loading = threading.Lock()  # a worker may take several calls at once
        self._spent: dict[str, Spent] = {}  # as reported so far, by stage
        self._spending = threading.Lock()
        self._layers = LayerStore(layers)
        self._output = output
        comparing = [node for node in graph.comparing if node.comparison]
        self._comparisons = Comparisons(
            output,
            files={node.name: node.comparison for node in comparing},
            stages={node.name: node.stage for node in comparing},
        )
        self._takedown = read_takedown(config.takedown) if config.takedown else NOTHING
        self._sources = [
            open_source(source, shard_size=config.shard_size, limits=config.limits)
            for source in config.source
        ]

    def load(self, names: Sequence[str]) -> None:
        """Load the models of these stages, those that are not loaded yet.

        Raises:
            FlorilegiumError: a model cannot be loaded.
        """
        with self._loading:
            for name in names:
                if name not in self._loaded:
                    self._load(name)

    def _load(self, name: str) -> None:
        loading = Doing(
            what=lambda: f"loading stage {name!r}",
            seconds=self._config.limits.load_seconds,
            limit="limits.load_seconds",
            reason=STAGE_TIMEOUT,
            stage=name,
        )
        try:
            with self._watch.over(loading):
                self._nodes[name].stage.load()
        except (FlorilegiumError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise RunError(f"stage {name!r} cannot be loaded: {unforeseen(error)}") from error
        self._loaded.add(name)

    def open(
        self,
        spec: ShardSpec,
        *,
        previous_digest: str,
        retry: bool,
        given_up: Mapping[Spot, SampleError] | None = None,
        note: Note | None = None,
    ) -> tuple[ShardWork, ShardBytes]:
        """Read a shard and find the samples that each stage has to see.

        With `retry`, stages are asked again about samples on which they failed. `given_up` as in
        `read_shard`; `note` is called with each input before it is read.
        """
        with about(shard=spec.name):
            shard, images = read_shard(
                spec,
                self._sources[spec.source],
                limits=self._config.limits,
                given_up=given_up,
                watched=partial(self._reading, note),
                takedown=self._takedown,
                kind=self._config.images,
            )
        work = ShardWork(
            shard=shard,
            todo={},
            previous_digest=previous_digest,
            retry=retry,
            compared=self._comparisons.of(shard.number),
        )
        is_taken_down = any(letter.reason == TAKEN_DOWN for letter in shard.dead_letters)
        for node in self._graph.layered:
            if is_taken_down and previous_digest:
                self._layers.carry_over(
                    node, shard.digest, shard.sample_digests, previous_digest=previous_digest
                )
            missing = self._layers.missing(
                node,
                shard.digest,
                shard.sample_digests,
                previous_digest=previous_digest,
                again=partial(_is_asked_again, work),
            )
            if missing is not None and not self._is_known(node, work, images, missing):
                work.todo[node.name] = missing
        return work, images

    def _is_known(
        self, node: Node[Any], work: ShardWork, images: ShardBytes, missing: Sequence[int]
    ) -> bool:
        """Whether layers under other gates have all that a stage would be asked; then its layer is
        stored, and no worker has to load its model."""
        if not self._has_known(node) or not work.todo.keys().isdisjoint(node.inputs):
            return False
        if not (node.gate.compares or self._known(node, work, missing)):
            return False
        work.todo[node.name] = tuple(missing)
        try:
            call = self._call(work, images, [node], missing)
            if not call.is_known(node, missing):
                return False
            self.store(work, [node.name], {node.name: call.part(node)})
        finally:
            del work.todo[node.name]
        return True

    def _has_known(self, node: Node[Any]) -> bool:
        """Whether a stage has, or had, a gate: layers under other gates may know its answers."""
        return node.is_divided or self._layers.has_other_gates(node)

    def _known(
        self, node: Node[Any], work: ShardWork, samples: Sequence[int]
    ) -> Mapping[int, Known]:
        """Return what layers under other gates know of some samples of a shard."""
        digests = dict.fromkeys(filter(None, (work.shard.digest, work.previous_digest)))
        wanted = {work.shard.sample_digests[number]: number for number in samples}
        return self._layers.known(node, wanted, digests)

    def _call(
        self,
        work: ShardWork,
        images: ShardBytes,
        nodes: Sequence[Node[Any]],
        samples: Sequence[int],
    ) -> WorkerCall:
        return WorkerCall(
            work.shard,
            images,
            self._stored_answers(work, nodes, samples),
            nodes=self._nodes,
            known={
                node.name: self._known(node, work, samples)
                for node in nodes
                if self._has_known(node)
            },
            compared=work.compared,
            limits=self._config.limits,
            watch=self._watch,
        )

    @contextmanager
    def _reading(self, note: Note | None, spot: Spot, location: str) -> Iterator[None]:
        """Limit the time for reading or decoding an input."""
        if note:
            note(spot)
        doing = Doing(
            what=lambda: f"{'decoding' if spot.is_decoding else 'reading'} {location}",
            seconds=self._config.limits.file_seconds,
            limit="limits.file_seconds",
            reason=FILE_TIMEOUT,
            stage=SOURCE,
            spot=spot,
        )
        with self._watch.over(doing):
            yield

    def run(
        self, work: ShardWork, images: ShardBytes, names: Sequence[str], samples: Sequence[int]
    ) -> Ran:
        """Ask stages, in the order given, about those of the samples that they have to see."""
        self.load(names)
        nodes = [self._nodes[name] for name in names]
        call = self._call(work, images, nodes, samples)
        window = max([WINDOW, *(node.stage.config.batch_size for node in nodes)])
        with about(shard=work.shard.name):
            for numbers in _windows(work.shard, samples, window):
                for node in nodes:
                    asked = work.asked[node.name]
                    own = [number for number in numbers if number in asked]
                    wanted = call.passed(node, own)
                    for batch in _batches(wanted, node.stage.config.batch_size):
                        call.ask(node, batch)
                call.forget_pixels()
        parts = {node.name: call.part(node) for node in nodes}
        return Ran(
            part={name: part for name, part in parts.items() if not part.is_empty},
            timings=tuple(call.timing(node, self._newly_spent(node)) for node in nodes),
        )

    def _newly_spent(self, node: Node[Any]) -> Spent:
        """Return what a stage has spent since it was last asked: of calls that overlap, the first
        one to end reports for all, and nothing is reported twice."""
        with self._spending:
            before = self._spent.get(node.name, Spent())
            self._spent[node.name] = now = node.stage.spent()
        return now.since(before)

    def store(self, work: ShardWork, names: Sequence[str], *parts: LayerParts) -> dict[str, Layer]:
        """Publish the layers of these stages from stored rows and new parts.

        Calling it again after the worker died half-way writes the same: stored rows of samples
        that were asked about now are left out.
        """
        layers = {}
        digests = work.shard.sample_digests
        for name in names:
            node = self._nodes[name]
            new = [part[name] for part in parts if name in part]
            recall = self._recall(node, work, is_asked=True)
            _refuse_gaps(node, recall, work.todo[name])
            layers[name] = join_layers(node, [recall.layer.without(work.todo[name]), *new])
            self._layers.write(node, work.shard.digest, layers[name], digests)
        return layers

    def keep(
        self, work: ShardWork, names: Sequence[str], samples: Collection[int], *parts: LayerParts
    ) -> None:
        """Publish what these stages have answered about some samples so far, as layers of those
        samples, which the next run takes over if this one is killed."""
        for name in names:
            node = self._nodes[name]
            answered = set(samples).intersection(work.todo[name])
            recall = self._recall(node, work)
            new = [part[name] for part in parts if name in part]
            known = set(range(len(work.shard.records))).difference(recall.missing) | answered
            layer = join_layers(node, [recall.layer.without(answered), *new])
            digests = work.shard.sample_digests
            self._layers.write_some(node, work.shard.digest, layer, digests, sorted(known))

    def publish(
        self, work: ShardWork, images: ShardBytes, names: Sequence[str], *parts: LayerParts
    ) -> ShardStats:
        """Publish the last layers, judge all annotations, and write the shard."""
        layers = self._all_layers(work, names, *parts)
        with self._publishing(work):
            return publish_shard(
                work.shard, images, self._graph, layers, self._output, compared=work.compared
            )

    def measured(
        self, work: ShardWork, images: ShardBytes, names: Sequence[str], *parts: LayerParts
    ) -> MeasuredShard:
        """Publish the last layers, and return what a filter that compares is given of the shard."""
        layers = self._all_layers(work, names, *parts)
        shard = work.shard
        with self._publishing(work):
            failures = failures_of(shard, self._graph, layers)
            return MeasuredShard(
                number=shard.number,
                samples_digest=shard.digest,
                reading=reading_of(shard.digest, shard.dead_letters),
                is_whole=not any(
                    error.reason == BUDGET_EXHAUSTED
                    for layer in layers.values()
                    for error in layer.errors
                ),
                samples=len(shard.records) - len(failures),
                dead_letters=(*shard.dead_letters, *failures.values()),
                rows=measured_rows(shard, self._graph.sample_filters, layers, work.compared),
            )

    def _all_layers(
        self, work: ShardWork, names: Sequence[str], *parts: LayerParts
    ) -> dict[str, Layer]:
        """Publish the last layers; return these and all others."""
        layers = self.store(work, names, *parts)
        stored = [node for node in self._graph.layered if node.name not in layers]
        recalls = [self._recall(node, work) for node in stored]  # all: each damaged one is found
        for node, recall in zip(stored, recalls, strict=True):
            _refuse_gaps(node, recall)
            layers[node.name] = recall.layer
        return layers

    @contextmanager
    def _publishing(self, work: ShardWork) -> Iterator[None]:
        """Limit the time in which a shard is judged and written."""
        judges = (*self._graph.sample_filters, *self._graph.filters)
        filters = ", ".join(node.name for node in judges) or "none"
        publishing = Doing(
            what=lambda: f"judging and writing shard {work.shard.name} (filters: {filters})",
            seconds=self._config.limits.shard_seconds,
            limit="limits.shard_seconds",
            reason=SHARD_TIMEOUT,
        )
        with self._watch.over(publishing), about(shard=work.shard.name):
            yield

    def _recall(self, node: Node[Any], work: ShardWork, *, is_asked: bool = False) -> Recall:
        """Return the stored rows of a stage; of one that is asked, errors that will be retried are
        left out. A stage that is asked about every sample has none."""
        shard = work.shard
        if is_asked and len(work.todo[node.name]) == len(shard.records):
            return Recall(layer=make_layer(node, {}, ()), missing=work.todo[node.name])
        again = partial(_is_asked_again, work) if is_asked else lambda error: False
        return self._layers.recall(
            node,
            shard.digest,
            shard.sample_digests,
            previous_digest=work.previous_digest,
            again=again,
            dropped_again=is_asked,
        )

    def _stored_answers(
        self, work: ShardWork, nodes: Sequence[Node[Any]], samples: Sequence[int]
    ) -> StoredAnswers:
        """Return the stored answers that these stages read, or that their gates judge.

        A stage that is about to be asked again is recalled without its failures; any other
        stage has its whole layer by now.
        """
        asked = {node.name for node in nodes}
        inputs = {name for node in nodes for name in node.inputs}
        recalls = {
            name: self._recall(self._nodes[name], work, is_asked=name in asked) for name in inputs
        }  # all, before one is refused: each damaged one is found
        answers: dict[str, dict[int, Answer]] = {}
        for name, recall in recalls.items():
            _refuse_gaps(self._nodes[name], recall, work.todo[name] if name in asked else ())
            known = sorted(set(samples).difference(recall.missing))
            answers[name] = {**recall.layer.rows(self._nodes[name], known)}
            for error in recall.layer.errors:
                answers[name][error.sample] = SampleError(error.reason, error.message)
        return answers


def _is_asked_again(work: ShardWork, error: StageError) -> bool:
    """Whether a stage sees a sample again: failures only when they are retried, samples that the
    budget did not reach always."""
    return work.retry or error.reason == BUDGET_EXHAUSTED


def _refuse_gaps(node: Node[Any], recall: Recall, todo: Sequence[int] = ()) -> None:
    """Refuse to go on with missing answers, which would look like answers without annotations.

    Raises:
        DataLost: a layer was deleted or damaged since the shard was opened.
    """
    if recall.missing != todo and (gone := set(recall.missing).difference(todo)):
        raise DataLost(
            f"the layer of stage {node.name!r} was deleted or damaged while the build ran, the "
            f"answers for {counted(len(gone), 'sample')} are gone: run the same command again"
        )


def _import_for_threads() -> None:
    """Import the packages that reading and publishing need, before other threads do.

    Reading and publishing run beside `load`, where models import heavy packages. Two threads that
    import the same package at once may each get half of it.
    """
    import cv2
    import pyarrow as pa

    with suppress(ImportError):  # an extra
        import pillow_heif  # noqa: F401

    pa.array([])  # imports pandas, where it is installed
    cv2.setNumThreads(1)  # there is a worker for every CPU


def _windows(shard: Shard, numbers: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    """Cut samples into windows whose pixels fit into memory together."""
    window: list[int] = []
    held = 0
    for number in numbers:
        record = shard.records[number]
        pixels = record.width * record.height
        if window and (len(window) == size or held + pixels > WINDOW_PIXELS):
            yield tuple(window)
            window, held = [], 0
        window.append(number)
        held += pixels
    if window:
        yield tuple(window)


def _batches(numbers: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    remaining = iter(numbers)
    while batch := tuple(islice(remaining, size)):
        yield batch
