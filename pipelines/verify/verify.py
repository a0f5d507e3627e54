"""Checking a finished dataset: every file against the manifest, every number against the labels.

`shard_contract.py` checks single shards, `origin.py` the source and the stages of a dataset,
`rounds.py` the rounds of a refinement. An edit with matching digests is noticed if the edited
values can be counted again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict
from typing import Any

from florilegium.engine.core.errors import StorageError
from florilegium.engine.execution.log import LOG
from florilegium.engine.planning.config import LAYERS
from florilegium.engine.planning.fingerprint import FORMAT_VERSION
from florilegium.engine.planning.index import INDEX_NAME
from florilegium.engine.results.comparison import COMPARED
from florilegium.engine.results.manifest import (
    DEAD_LETTERS,
    MANIFEST,
    MANIFEST_NAMES,
    RECIPE,
    SIGNATURE,
    Manifest,
    read_dead_letters,
    read_manifest,
    sealed,
)
from florilegium.engine.results.publication import SHARDS, STATS, FileStats, ShardStats
from florilegium.engine.results.state import STATE
from florilegium.engine.results.takedowns import TAKEDOWNS
from florilegium.engine.results.versions import VERSIONS, live_shards, version_files
from florilegium.engine.sources.source import RECEIPTS
from florilegium.engine.storage.documents import in_one_line, parse_json
from florilegium.engine.storage.folder import Folder, is_left_over
from florilegium.engine.storage.lease import LEASES, PARTS
from florilegium.pipelines.audit.problems import audit_problems
from florilegium.pipelines.corrections.store import CORRECTIONS, problems_of
from florilegium.pipelines.dataset.card import card_of, claims_of
from florilegium.pipelines.dataset.files import (
    CARD,
    HELD_BACK,
    HELD_BACK_PAGE,
    REFRESH,
    REFRESH_PAGE,
    REPORT,
    RUN,
    SPENT,
    STATISTICS,
    has_next_version,
    named_by_manifest,
)
from florilegium.pipelines.dataset.refreshed import read_refreshed, read_spent
from florilegium.pipelines.dataset.takedown_lines import AUDIT, AUDIT_LOG
from florilegium.pipelines.report.statistics import Statistics
from florilegium.pipelines.telemetry.progress_file import PROGRESS
from florilegium.pipelines.verify.comparisons import check_comparisons
from florilegium.pipelines.verify.differences import differences
from florilegium.pipelines.verify.origin import Origin, layer_of, stage_problems
from florilegium.pipelines.verify.rounds import REFINED, check_rounds
from florilegium.pipelines.verify.shard_contract import ShardCheck
from florilegium.pipelines.verify.takedowns import TakedownCheck

_FILES = (CARD, DEAD_LETTERS, REPORT, STATISTICS, MANIFEST, SIGNATURE, RUN, INDEX_NAME, LOG, RECIPE)
_REFRESHED = (REFRESH, REFRESH_PAGE, HELD_BACK, HELD_BACK_PAGE, SPENT)
_KNOWN = {
    **dict.fromkeys((*_FILES, *_REFRESHED, PROGRESS, STATE, AUDIT), "file"),
    **dict.fromkeys(
        (SHARDS, VERSIONS, LEASES, PARTS, LAYERS, TAKEDOWNS, CORRECTIONS, COMPARED, AUDIT_LOG),
        "directory",
    ),
}
"""Entries that the folder of a dataset may have. Log, progress, state, leases, what slices leave
and layers change with every run."""
_SHARD_FILE = re.compile(r"[0-9]{6,}-[0-9a-f]{16}(\.tar|\.parquet|_stats\.json)")
_LEASE = re.compile(r"lock|[0-9]{6,}\.json")
_PART = re.compile(r"[1-9][0-9]*|division\.json|\.lease")
_LAYERS = re.compile(r"[A-Za-z0-9_.-]+-[0-9a-f]{16}")
_LAYER = re.compile(r"[0-9a-f]{32}\.parquet")
_RECEIPT = re.compile(r"[0-9a-f]{32}")


def verify_dataset(output: Folder, *, checked: set[str] | None = None) -> Iterator[str]:
    """Yield what is wrong with a dataset, one sentence for each problem.

    The names of the files that are read are added to `checked`.
    """
    yield from _verify(output, set() if checked is None else checked)


def _verify(output: Folder, checked: set[str]) -> Iterator[str]:
    try:
        document = read_manifest(output)
    except StorageError as error:
        yield str(error)
        return
    if document is None:
        yield f"{MANIFEST} is missing: the build has not finished, run it again, it resumes"
        return
    checked.add(MANIFEST)
    if problem := _format_problem(document["format"]):
        yield problem
        return
    if output.read(MANIFEST) != sealed(document):
        yield f"{MANIFEST} was changed after it was written: its digest differs"
    yield from _check_names(output, document)
    takedown = TakedownCheck(output)
    yield from _check_content(output, document, takedown, checked)
    yield from _check_versions(output, document, takedown, checked)
    yield from _check_refreshes(output, checked)
    yield from problems_of(output)
    yield from audit_problems(output, checked)
    checked.update(f"{CORRECTIONS}/{name}" for name in output.names(CORRECTIONS))
    yield from check_rounds(output, _verify, checked)


def _format_problem(version: int) -> str:
    """Return the problem of a dataset in another format than the one that can be checked."""
    if version == FORMAT_VERSION:
        return ""
    if version < FORMAT_VERSION:
        return (
            f"{MANIFEST} was written by an earlier version, in format {version}: run the same "
            f"build again, which writes format {FORMAT_VERSION} from the layers, and verify that"
        )
    return (
        f"{MANIFEST} has format {version}, and this version checks format {FORMAT_VERSION}: "
        f"verify it with the version that wrote it"
    )


def _check_names(output: Folder, document: Mapping[str, Any]) -> Iterator[str]:
    """Yield files that are missing, unknown, or no regular files."""
    known = {**_KNOWN, **REFINED}  # `rounds` checks those of a refinement
    for name, entry in sorted(output.entries().items()):
        if name not in known:
            yield f"{name} is not in the manifest"
        elif entry.kind != known[name]:
            yield f"{name} is a {entry.kind}, not a {known[name]}"
    suffixes = (".tar", ".parquet", STATS)
    wanted = {f"{shard['name']}{suffix}" for shard in document["shards"] for suffix in suffixes}
    kept = {f"{name}{suffix}" for name in live_shards(output) for suffix in suffixes}
    there = output.entries(SHARDS)
    for name in sorted((wanted | kept) - there.keys()):
        yield f"{SHARDS}/{name} is missing"
    for name, entry in sorted(there.items()):
        if name in wanted | kept and entry.kind != "file":
            yield f"{SHARDS}/{name} is a {entry.kind}, not a file"
    recipe = output.read(RECIPE)
    if recipe is not None and not re.fullmatch(rb"[0-9a-f]{32}", recipe):
        yield f"{RECIPE} is none: no build that is under way wrote it"
    has_next = has_next_version(output)
    for name in sorted(there.keys() - wanted - kept):
        if not (has_next and (_SHARD_FILE.fullmatch(name) or is_left_over(name))):
            yield f"{SHARDS}/{name} is not in the manifest"
    for name in output.names(LEASES):
        if not (_LEASE.fullmatch(name) or is_left_over(name)):
            yield f"{LEASES}/{name} is no lease"
    for name in output.names(PARTS):
        if not _PART.fullmatch(name):
            yield f"{PARTS}/{name} is no part of a build in slices"


def _check_content(
    output: Folder, document: Mapping[str, Any], takedown: TakedownCheck, checked: set[str]
) -> Iterator[str]:
    """Read every shard, and compare the manifest with the content."""
    if document.keys() != MANIFEST_NAMES:
        unlike = ", ".join(sorted(document.keys() ^ MANIFEST_NAMES))
        yield f"{MANIFEST} has not the fields of the contract: {unlike}"
        return
    numbers = [entry["number"] for entry in document["shards"]]
    if numbers != sorted(set(numbers)):
        yield f"{MANIFEST}: its shards are not in the order of their numbers, or one is there twice"
    origin = Origin(output, document)
    statistics = Statistics.of_shards(len(numbers))
    stats: list[ShardStats] = []
    tables = 0
    yield from origin.problems()
    yield from takedown.problems(document, checked)
    checked.update((RUN, INDEX_NAME))
    for index, entry in enumerate(document["shards"]):
        shard = ShardCheck(output, entry)
        yield from shard.problems(document["recipe"])
        yield from origin.problems_of(shard)
        yield from takedown.problems_of(shard)
        checked.update(f"{SHARDS}/{entry['name']}{end}" for end in (".tar", ".parquet", STATS))
        stats += [shard.stats] if shard.stats else []
        if shard.table is not None:
            tables += 1
            if index in statistics.sampled:
                statistics.add(shard.table)
    manifest = Manifest.from_document(document, stats)
    yield from check_comparisons(output, manifest, checked, has_next=has_next_version(output))
    for path, stated, found in differences(document["totals"], manifest.totals.to_document()):
        yield f"{MANIFEST}: {path} is {stated}, the shards add up to {found}"
    is_counted = len(stats) == tables == len(numbers)
    yield from _check_beside(output, manifest, statistics if is_counted else None)
    checked.update(document["files"])
    yield from _check_other_layers(output, origin.read_layers)


def _check_other_layers(output: Folder, known: Set[str]) -> Iterator[str]:
    """Read the layers that belong to no shard, and yield files that are no layers."""
    for folder, entry in sorted(output.entries(LAYERS).items()):
        if entry.kind != "directory" or not _LAYERS.fullmatch(folder):
            yield f"{LAYERS}/{folder} is no folder of layers"
            continue
        for name, file in sorted(output.entries(f"{LAYERS}/{folder}").items()):
            path = f"{LAYERS}/{folder}/{name}"
            wanted = _RECEIPT if folder.startswith(RECEIPTS) else _LAYER
            if file.kind != "file" or not (wanted.fullmatch(name) or is_left_over(name)):
                yield f"{path} is no layer"
            elif wanted is _LAYER and path not in known and not is_left_over(name):
                yield from layer_of(output, path, is_whole=False)


def _check_beside(
    output: Folder, manifest: Manifest, statistics: Statistics | None
) -> Iterator[str]:
    """Compare the files beside the shards with the manifest and, if all shards could be counted,
    with the counts."""
    names = named_by_manifest(output)
    for name in sorted(manifest.files.keys() ^ names):
        yield f"{MANIFEST}: {name} is in its files or in the dataset, and not in both"
    for name in sorted(names & manifest.files.keys()):
        if not output.exists(name):
            yield f"{name} is missing"
            continue
        try:
            if FileStats.read(output, name) != manifest.files[name]:
                yield f"{name}: its digest or size differs from the manifest"
            if statistics is not None:
                yield from _claims_of(output, name, manifest, statistics)
        except (StorageError, ValueError) as error:
            yield f"{name}: {in_one_line(error)}"


def _claims_of(
    output: Folder, name: str, manifest: Manifest, statistics: Statistics
) -> Iterator[str]:
    """Yield values of a file beside the shards that differ from their content."""
    if name == DEAD_LETTERS:
        rows = [{"shard": shard, **asdict(one)} for shard, one in manifest.dead_letters]
        if read_dead_letters(output) != rows:
            yield f"{name} has other rows than the statistics of the shards"
    elif name == STATISTICS:
        stored = parse_json(output.read(name) or b"")
        for path, stated, found in differences(stored, statistics.to_json()):
            yield f"{name}: {path} is {stated}, the shards have {found}"
    elif name == CARD and claims_of(output.read(name) or b"") != claims_of(card_of(manifest)):
        yield f"{name}: its numbers or shards differ from those of the dataset"


def _check_versions(
    output: Folder, current: Mapping[str, Any], takedown: TakedownCheck, checked: set[str]
) -> Iterator[str]:
    """Check the earlier versions that are kept: their manifests, and their shards."""
    read = {shard["name"]: shard for shard in current["shards"]}
    for name, entry in sorted(output.entries(VERSIONS).items()):
        path = f"{VERSIONS}/{name}"
        if path not in version_files(output) or entry.kind != "file":
            yield f"{path} is no manifest of an earlier version"
            continue
        checked.add(path)
        try:
            document = read_manifest(output, path)
        except StorageError as error:
            yield str(error)
            continue
        if document is None or document["format"] != FORMAT_VERSION:
            continue  # written by an earlier version of the program
        yield from _check_version(output, path, document, read, takedown, checked)


def _check_refreshes(output: Folder, checked: set[str]) -> Iterator[str]:
    """Check the records of refreshes, which no manifest names, by their own digests."""
    there = set(output.names())
    for name in sorted(there & {REFRESH, HELD_BACK}):
        try:
            if read_refreshed(output, name):
                checked.add(name)
        except StorageError as error:
            yield str(error)
    try:
        if SPENT in there:
            read_spent(output)
    except StorageError as error:
        yield str(error)


def _check_version(
    output: Folder,
    path: str,
    document: Mapping[str, Any],
    read: dict[str, Any],
    takedown: TakedownCheck,
    checked: set[str],
) -> Iterator[str]:
    """Check an earlier version; `read` are shards whose files were checked before."""
    if output.read(path) != sealed(document):
        yield f"{path} was changed after it was written: its digest differs"
    if document.keys() != MANIFEST_NAMES:
        unlike = ", ".join(sorted(document.keys() ^ MANIFEST_NAMES))
        yield f"{path} has not the fields of the contract: {unlike}"
        return
    yield from stage_problems(document, path)
    stats: list[ShardStats] = []
    for entry in document["shards"]:
        shard, recipe = ShardCheck(output, entry), document["recipe"]
        is_read = read.setdefault(entry["name"], entry) is not entry
        yield from shard.check_stats(recipe) if is_read else shard.problems(recipe)
        yield from () if is_read else takedown.problems_of(shard)
        checked.update(f"{SHARDS}/{entry['name']}{end}" for end in (".tar", ".parquet", STATS))
        stats += [shard.stats] if shard.stats else []
    if len(stats) == len(document["shards"]):
        totals = Manifest.from_document(document, stats).totals.to_document()
        for key, stated, found in differences(document["totals"], totals):
            yield f"{path}: {key} is {stated}, the shards add up to {found}"
