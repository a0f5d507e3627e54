"""Checking a finished dataset against its manifest: digests, adjacency, counts, schema."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.annotation import ANNOTATION_NAMES
from engine.manifest import DEAD_LETTERS, MANIFEST, Totals, read_dead_letters, read_manifest
from engine.parquet import from_parquet
from engine.publication import SHARDS, finished_shards
from engine.storage import Folder

SAMPLE_NAMES = (
    "key",
    "sha256",
    "width",
    "height",
    "orientation",
    "source",
    "metadata",
    "annotations",
)
"""The fields of a sample's JSON."""


MANIFEST_NAMES = frozenset({"shards", "totals", "stages"})


def verify_dataset(output: Folder) -> Iterator[str]:
    """Yield what is wrong with a dataset, one sentence each; nothing when all is right."""
    try:
        manifest = read_manifest(output)
    except ValueError as error:
        yield f"{MANIFEST} is not JSON: {error}"
        return
    if manifest is not None and not (
        isinstance(manifest, dict) and set(manifest) >= MANIFEST_NAMES
    ):
        yield f"{MANIFEST} is not a manifest: it has not {', '.join(sorted(MANIFEST_NAMES))}"
        return
    if manifest is None:
        yield f"{MANIFEST} is missing: the build has not finished, run it again, it resumes"
        return
    live = {shard["name"]: shard for shard in manifest["shards"]}
    yield from _check_files(output, set(live))
    for shard in live.values():
        yield from _check_shard(output, shard)
    yield from _check_totals(output, manifest)


def _check_files(output: Folder, live: set[str]) -> Iterator[str]:
    wanted = {f"{name}{end}" for name in live for end in (".tar", ".parquet", "_stats.json")}
    there = set(output.names(SHARDS))
    for name in sorted(wanted - there):
        yield f"{SHARDS}/{name} is missing"
    for name in sorted(there - wanted):
        yield f"{SHARDS}/{name} is not in the manifest"


def _check_shard(output: Folder, shard: dict[str, Any]) -> Iterator[str]:
    path = f"{SHARDS}/{shard['name']}"
    for kind in ("tar", "parquet"):
        data = output.read(f"{path}.{kind}")
        if data is None:
            return  # said already
        if sha256(data).hexdigest() != shard[kind]["sha256"]:
            yield f"{path}.{kind} has another digest than the manifest says"
    try:
        samples = list(_read_samples(output, path))
        table = from_parquet(output.read(f"{path}.parquet") or b"")
        kept = table.filter(table["kept"])
    except (tarfile.TarError, pa.ArrowException, OSError, KeyError, ValueError) as error:
        yield f"{path}: {error}"
        return
    if len(samples) != shard["samples"]:
        yield f"{path}.tar has {len(samples)} samples, the manifest says {shard['samples']}"
    ids = [(sample["key"], one["id"]) for sample in samples for one in sample["annotations"]]
    stored = list(zip(kept["key"].to_pylist(), kept["id"].to_pylist(), strict=True))
    if sorted(ids) != sorted(stored):
        yield f"{path}: the annotations in the tar are not the kept rows of the Parquet file"
    dropped = table.num_rows - kept.num_rows
    counted = (shard["annotations_kept"], shard["annotations_dropped"])
    if (kept.num_rows, dropped) != counted:
        yield f"{path}.parquet has {kept.num_rows} kept and {dropped} dropped rows, not {counted}"
    unjudged = pc.sum(pc.equal(pc.list_value_length(table["verdicts"]), 0)).as_py() or 0
    if unjudged > kept.num_rows:
        yield f"{path}.parquet has dropped rows without a verdict"


def _read_samples(output: Folder, path: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON of each sample of a tar.

    Raises:
        ValueError: members of a sample are not adjacent, or a field or a digest is wrong.
    """
    seen: set[str] = set()
    members: dict[str, bytes] = {}
    current = ""
    with output.opened(f"{path}.tar") as file, tarfile.open(fileobj=file, mode="r|") as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            if key != current:
                if current:
                    yield _checked(current, members)
                if key in seen:
                    raise ValueError(f"the files of sample {key!r} are not adjacent")
                seen.add(key)
                current, members = key, {}
            content = tar.extractfile(member)
            members[extension] = content.read() if content else b""
    if current:
        yield _checked(current, members)


def _checked(key: str, members: dict[str, bytes]) -> dict[str, Any]:
    images = [name for name in members if name not in ("json", "txt")]
    if len(images) != 1 or len(members) != 3:
        raise ValueError(f"sample {key!r} has {sorted(members)}, not image, json and txt")
    sample: dict[str, Any] = json.loads(members["json"])
    if tuple(sorted(sample)) != tuple(sorted(SAMPLE_NAMES)) or sample["key"] != key:
        raise ValueError(f"the json of sample {key!r} has not the fields of the contract")
    for annotation in sample["annotations"]:
        if sorted(annotation) != sorted(ANNOTATION_NAMES):
            raise ValueError(f"an annotation of sample {key!r} has not the fields of the contract")
    if sha256(members[images[0]]).hexdigest() != sample["sha256"]:
        raise ValueError(f"the image of sample {key!r} has another digest than its json says")
    return sample


def _check_totals(output: Folder, manifest: dict[str, Any]) -> Iterator[str]:
    live = {shard["name"] for shard in manifest["shards"]}
    totals = Totals.of([stats for stats in finished_shards(output) if stats.name in live])
    for name, value in asdict(totals).items():
        said = manifest["totals"].get(name)
        if said != value:
            yield f"{MANIFEST}: {name} is {said}, the shards add up to {value}"
    try:
        letters = len(read_dead_letters(output))
    except (pa.ArrowException, OSError) as error:
        yield f"{DEAD_LETTERS}: {error}"
        return
    if letters != totals.dead_letters:
        yield f"{DEAD_LETTERS} has {letters} rows, the shards have {totals.dead_letters}"
