"""Compares a dataset with the records of its build.

These are the resolved config, the index of inputs, the provenance of each annotation and, where
they still exist, the layers: the stored answers of each stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.annotation import ANNOTATION_NAMES, SOURCE, annotation_id
from florilegium.engine.core.errors import FlorilegiumError, StorageError
from florilegium.engine.core.image.header import PIXELS_VERSION
from florilegium.engine.core.sample import DeadLetter, digest_of
from florilegium.engine.planning.config import LAYERS, SECTIONS
from florilegium.engine.planning.fingerprint import fingerprint_of, recipe_of
from florilegium.engine.planning.gates import divided_stages, gate_digests
from florilegium.engine.planning.index import INDEX_NAME, Index, read_index
from florilegium.engine.results.layer import (
    ANNOTATION_SCHEMA,
    Layer,
    StageError,
    layer_file,
    parse_layer,
    samples_of_shard,
)
from florilegium.engine.results.manifest import MANIFEST
from florilegium.engine.results.publication import STATS, ShardStats
from florilegium.engine.results.shard import SOURCE_FINGERPRINT
from florilegium.engine.storage.documents import in_one_line
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.corrections.human import PEOPLE
from florilegium.pipelines.dataset.files import RUN, has_next_version
from florilegium.pipelines.dataset.resolved import is_sealed, read_resolved
from florilegium.pipelines.verify.shard_contract import ShardCheck

_STAGE_FIELDS = frozenset(
    {"name", "use", "version", "model", "revision", "reads", "config", "thresholds"}
)
_GATE_FIELDS = frozenset({"each", "gate"})
_ANSWERED = [name for name in ANNOTATION_NAMES if name != "merged_from"]  # filters append to it


class Origin:
    """The records of one dataset. Where there is a next version, config and index may be those of
    it, and are not compared with this one. `read_layers` are the layers of the dataset
    that were read."""

    def __init__(self, output: Folder, document: Mapping[str, Any]) -> None:
        self._output = output
        self._document = document
        self._stages: dict[str, dict[str, Any]] = document["stages"]
        self._has_stages = False
        self._gates: Mapping[str, str] = {}
        self._divided: Collection[str] = ()
        self._of_people = {
            fingerprint
            for fingerprint, stage in self._stages.items()
            if isinstance(stage, Mapping) and stage.get("model") == PEOPLE
        }
        self._has_next = has_next_version(output)
        self._layers: Folder | None = None
        self.read_layers: set[str] = set()
        self._inputs: Index | None = None

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the stages, the resolved config and the index."""
        wrong = list(stage_problems(self._document))
        self._has_stages = not wrong
        if self._has_stages:
            self._gates = gate_digests(self._stages)
            self._divided = divided_stages(self._stages)
        yield from wrong
        try:
            config = read_resolved(self._output)
            yield from self._check_config(config)
            self._layers = Folder(config.get("layers") or f"{self._output.url}/{LAYERS}")
        except FlorilegiumError as error:
            yield str(error)
        except (AttributeError, KeyError, TypeError) as error:
            yield f"{RUN} is damaged: {type(error).__name__}: {in_one_line(error)}"
        try:
            yield from self._check_index()
        except StorageError as error:
            yield str(error)

    def problems_of(self, shard: ShardCheck) -> Iterator[str]:
        """Yield the differences between a shard and the records."""
        if shard.stats is None or shard.table is None:
            return
        yield from self._check_inputs(shard.samples, shard.stats)
        if self._has_stages:
            yield from self._check_provenance(shard.table, shard.path)
            yield from self._check_order(shard.table, shard.path)
            yield from self._check_ids(shard)
            layers: dict[str, Layer] = {}
            yield from self._read_layers(shard.stats, into=layers)
            yield from self._check_answers(shard.table, shard.path, shard.stats, layers)

    def _check_config(self, config: Mapping[str, Any]) -> Iterator[str]:
        """Compare the resolved config with the manifest: source, images, every stage."""
        if not config:
            yield f"{RUN} is missing"
            return
        if not is_sealed(self._output.read(RUN) or b""):
            yield f"{RUN} was changed after it was written: its digest differs"
        if self._has_next or not self._has_stages:
            return
        if [one["url"] for one in config["source"]] != self._document["source"]:
            yield f"{RUN}: its source differs from the manifest"
        if config["images"] != self._document["images"]:
            yield f"{RUN}: its options of images differ from the manifest"
        sections = (config.get(section) or {} for section in SECTIONS)
        resolved = {name: one for section in sections for name, one in section.items()}
        stages = {self._stages[one]["name"]: self._stages[one] for one in self._document["order"]}
        if resolved.keys() != stages.keys():
            yield f"{RUN}: its stages differ from the manifest"
            return
        for name, stage in stages.items():
            expected = {**stage["config"], "use": stage["use"], "reads": stage["reads"]}
            if {key: resolved[name].get(key) for key in expected} != expected:
                yield f"{RUN}: the options of stage {name!r} differ from the manifest"

    def _check_index(self) -> Iterator[str]:
        index = read_index(self._output)
        if index is None:
            yield f"{INDEX_NAME} is missing"
            return
        shards, sources = set[int](), set[str]()
        for table in index.tables():  # all columns, so that all are checked
            shards.update(table["shard"].unique().to_pylist())
            sources.update(table["source"].unique().to_pylist())
        if self._has_next:
            return
        self._inputs = index
        if shards != {shard["number"] for shard in self._document["shards"]}:
            yield f"{INDEX_NAME} has other shards than the manifest"
        if len({name.rpartition("#")[0] for name in sources}) > len(set(self._document["source"])):
            yield f"{INDEX_NAME}: its sources differ from the manifest"

    def _check_inputs(
        self, samples: Mapping[str, Mapping[str, Any]], stats: ShardStats
    ) -> Iterator[str]:
        """Compare keys and locations of samples and dead letters with the index."""
        if self._inputs is None:
            return
        rows = self._inputs.rows_of(stats.number)
        inputs = list(zip(rows["key"].to_pylist(), rows["location"].to_pylist(), strict=True))
        found = {key: str(one.get("source", "")) for key, one in samples.items()}
        found |= {one.key: one.source for one in stats.dead_letters}
        keys = dict(inputs)
        is_packed = len(inputs) == 1 and found.keys() != keys.keys()
        if is_packed:
            ((key, location),) = inputs
            alike = all(
                one.startswith(key) and at.startswith(location) for one, at in found.items()
            )
        else:
            alike = found == keys and [*samples] == [key for key in keys if key in samples]
        if not alike:
            yield f"{INDEX_NAME}: its inputs, or their order, differ from shard {stats.number}"

    def _check_provenance(self, table: pa.Table, path: str) -> Iterator[str]:
        """Compare the provenance of annotations with the stages of the manifest."""
        names = ["specialist", "model", "revision", "round", "stage"]
        origins = table.select(names).group_by(names, use_threads=False).aggregate([])
        for row in origins.to_pylist():
            stage = self._stages.get(row["stage"], {})
            config = stage.get("config", {})
            is_of_people = row["stage"] in self._of_people
            known = (
                *(stage.get("name"), stage.get("model", ""), stage.get("revision", "")),
                *(config.get("round", 0), row["stage"]),
            )
            if is_of_people:  # each has its own person and time
                known = (known[0], row["model"], row["revision"], *known[3:])
            if tuple(row[name] for name in names) != known:
                origin = f"{row['specialist']!r} with the fingerprint {row['stage']!r}"
                yield f"{path}.parquet has annotations by {origin}, unknown to the manifest"

    def _check_order(self, table: pa.Table, path: str) -> Iterator[str]:
        """Look for rows of a sample that do not follow each other as the stages do."""
        ranks = {stage: n for n, stage in enumerate([SOURCE_FINGERPRINT, *self._document["order"]])}
        rows = zip(table["key"].to_pylist(), table["stage"].to_pylist(), strict=True)
        before: tuple[str, int] = ("", 0)
        for key, stage in rows:
            rank = ranks.get(stage, -1)
            if key == before[0] and rank < before[1]:
                order = "are not in the order of the stages"
                yield f"{path}.parquet: the rows of sample {key!r} {order}"
                return
            before = (key, rank)

    def _check_ids(self, shard: ShardCheck) -> Iterator[str]:
        """Compute the ids of annotations again from what the tar has of their sample: its bytes,
        its metadata and its location in the source. Where the source has labels, their digits
        went into the ids, too, and are no longer there; nor are the questions of stages whose input
        a gate may change. Those of people are the ids of corrections."""
        assert shard.table is not None
        columns = [shard.table[name].to_pylist() for name in ("key", "stage", "id")]
        of_sample: dict[str, list[tuple[str, str]]] = {}
        for key, stage, name in zip(*columns, strict=True):
            if stage not in self._divided and stage not in self._of_people:
                of_sample.setdefault(key, []).append((stage, name))
        for key, rows in of_sample.items():
            sample = shard.samples.get(key)
            if not sample or any(stage == SOURCE_FINGERPRINT for stage, _ in rows):
                continue
            texts = [sample[name] for name in ("source", "metadata")]
            digests = (
                digest_of([key, sample["sha256"], str(version), *texts, "[]"])
                for version in range(1, PIXELS_VERSION + 1)
            )
            if not any(_ids(rows, digest) == [name for _, name in rows] for digest in digests):
                what = "sha256, metadata or source that its annotations were not made from"
                yield f"{shard.path}: sample {key!r} has a {what}"

    def _read_layers(self, stats: ShardStats, *, into: dict[str, Layer]) -> Iterator[str]:
        """Read the layers of a shard that are still there, by fingerprint."""
        if self._layers is None:
            return
        for fingerprint in self._document["order"]:
            name = self._stages[fingerprint]["name"]
            path = layer_file(name, fingerprint, self._gates[fingerprint], stats.samples_digest)
            if self._layers.url == f"{self._output.url}/{LAYERS}":
                self.read_layers.add(f"{LAYERS}/{path}")
            layer = yield from layer_of(self._layers, path, is_whole=True)
            if layer is not None:
                into[fingerprint] = layer

    def _check_answers(
        self, table: pa.Table, path: str, stats: ShardStats, layers: Mapping[str, Layer]
    ) -> Iterator[str]:
        """Hold annotations and failures against what each stage answered."""
        of_stages = [letter for letter in stats.dead_letters if letter.stage != SOURCE]
        letters = [letter for letter in of_stages if not letter.dropped_by]
        drops = len(of_stages) - len(letters)
        names = {self._stages[fingerprint]["name"] for fingerprint in self._document["order"]}
        for stage in sorted({one.dropped_by or one.stage for one in of_stages} - names):
            yield f"{path}{STATS} has dead letters of {stage!r}, unknown to the manifest"
        if self._has_next:
            return  # failed samples may have been asked again
        failed = frozenset[int]().union(*(layer.failed for layer in layers.values()))
        for fingerprint, layer in layers.items():
            name = self._stages[fingerprint]["name"]
            own = [letter for letter in letters if letter.stage == name]
            if not set(map(_failure, own)) <= set(map(_failure, layer.errors)):
                yield f"{path}{STATS} differs from the layer of {name!r} in dead letters"
            is_known = len(failed) == len(letters)  # or a layer is no longer there
            if is_known and layer.table.schema == ANNOTATION_SCHEMA:
                rows = table.filter(pc.equal(table["stage"], fingerprint))
                answers = _published(layer.without(failed).table, rows, drops)
                # People's findings give what they confirm a confidence.
                columns = [one for one in _ANSWERED if one != "confidence" or not self._of_people]
                if not rows.select(columns).equals(answers.select(columns)):
                    yield f"{path}.parquet differs from the layer of {name!r} in annotations"


def _published(answers: pa.Table, rows: pa.Table, drops: int) -> pa.Table:
    """Return the answers of a layer without those about samples that a sample filter dropped after
    the stage was asked: at most so many samples, of which no answer is among `rows`."""
    if not drops:
        return answers
    is_there = pc.is_in(answers["id"], rows["id"].combine_chunks())
    gone = pc.unique(answers["sample"].filter(pc.invert(is_there)))
    if len(gone) > drops:
        return answers
    return answers.filter(pc.invert(pc.is_in(answers["sample"], gone)))


def stage_problems(document: Mapping[str, Any], name: str = MANIFEST) -> Iterator[str]:
    """Compute fingerprints and the recipe of a manifest again from the configurations in it."""
    stages, order = document["stages"], document["order"]
    if sorted([*order, SOURCE_FINGERPRINT]) != sorted(stages):
        yield f"{name}: the stages in order differ from those in stages"
        return
    if stages[SOURCE_FINGERPRINT] != {"name": SOURCE}:
        yield f"{name}: the stage {SOURCE_FINGERPRINT} is not the source"
    own = {fingerprint: stages[fingerprint] for fingerprint in order}
    names = {stage["name"]: fingerprint for fingerprint, stage in own.items()}
    for fingerprint, stage in own.items():
        try:
            if stage.keys() - _GATE_FIELDS != _STAGE_FIELDS:
                raise ValueError("its fields are not those of a stage")
            if fingerprint_of(stage, [names[name] for name in stage["reads"]]) != fingerprint:
                of = f"the fingerprint of stage {stage['name']!r}"
                yield f"{name}: {of} does not match its options"
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            yield f"{name}: the stage {fingerprint}: {in_one_line(error)}"
    try:
        gate_digests(stages)
    except ValueError as error:
        yield f"{name}: {in_one_line(error)}"
    if recipe_of(document["images"], own) != document["recipe"]:
        yield f"{name}: the recipe does not match its stages and images"


def layer_of(layers: Folder, path: str, *, is_whole: bool) -> Generator[str, None, Layer | None]:
    """Read a layer; yield what is wrong with it, and return it if it exists and is undamaged.

    Only a layer of a finished shard has to be whole: a build that was killed leaves others.
    """
    try:
        data = layers.read(path)
        if data is None:
            return None
        layer, samples = parse_layer(data)
        shard = samples if is_whole else samples_of_shard(data)
        if digest_of(shard) != PurePosixPath(path).stem:
            raise ValueError("it is of other samples")
        return layer
    except (FlorilegiumError, ValueError, TypeError, AttributeError) as error:
        why = f"{in_one_line(error)}; the next build of the shard asks the stage again"
        yield f"{LAYERS}/{path.removeprefix(f'{LAYERS}/')} is damaged: {why}"
        return None


def _ids(rows: Sequence[tuple[str, str]], digest: str) -> list[str]:
    """Return the ids that these rows have if the sample has this digest."""
    places: Counter[str] = Counter()
    found = []
    for stage, _ in rows:
        found.append(annotation_id(stage, digest, places[stage]))
        places[stage] += 1
    return found


def _failure(one: DeadLetter | StageError) -> tuple[str, str, int, str]:
    return one.reason, one.message, one.attempt, one.traceback
