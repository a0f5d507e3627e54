"""The state of a dataset: what is known of all its finished shards, in one file.

    OUTPUT/state.parquet     written when a version was published or held back

It spares the next run to ask about each shard, and decides nothing: the files of each shard stay
the truth. A row counts only while the listing of the shard's files is what it was. A state that is
missing, damaged or of another version of the program is made again from the shards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.planning.fingerprint import FORMAT_VERSION
from florilegium.engine.results.publication import FileStats
from florilegium.engine.results.shard_table import INPUTS, NO_SHARDS, SCHEMA, TIMES, ShardTable
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.parquet import from_sealed_parquet, to_sealed_parquet
from florilegium.engine.untrusted.names import SHARD_NAME

STATE = "state.parquet"
_FORMAT = f"1 {FORMAT_VERSION}"
"""The format of the columns, and that of what they are made from."""
_CURRENT = pa.field("is_current", pa.bool_())
_SCHEMA = SCHEMA.append(_CURRENT)


@dataclass(frozen=True, kw_only=True)
class Version:
    """The version of a dataset that is in place.

    `manifest` is the SHA-256 of the file of its manifest, `digest` that of its content without the
    files beside the shards, empty for one of another format, and `files` are those.
    """

    manifest: str = ""
    digest: str = ""
    files: Mapping[str, FileStats] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class State:
    """Finished shards as they were listed; the version in place, and the names of its shards.

    `earlier` are the paths of the manifests of earlier versions.
    """

    shards: ShardTable = NO_SHARDS
    version: Version = Version()
    current: frozenset[str] = frozenset()
    earlier: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        is_current = [name in self.current for name in self.shards.names]
        table = self.shards.table.append_column(_CURRENT, pa.array(is_current, pa.bool_()))
        about = {"version": asdict(self.version), "earlier": self.earlier}
        metadata = {"format": _FORMAT, "about": json.dumps(about, sort_keys=True)}
        return to_sealed_parquet(table.replace_schema_metadata(metadata))


NOTHING_KNOWN = State()


def read_state(output: Folder) -> State:
    """Return the state of a dataset; an empty one where there is none that can be used."""
    data = output.read(STATE)
    if data is None:
        return NOTHING_KNOWN
    try:
        table = from_sealed_parquet(data)
        metadata = table.schema.metadata or {}
        if not table.schema.equals(_SCHEMA) or metadata.get(b"format") != _FORMAT.encode():
            return NOTHING_KNOWN
        about = json.loads(metadata[b"about"])
        earlier = tuple(about["earlier"])
        files = {name: FileStats(**one) for name, one in about["version"].pop("files").items()}
        version = Version(**about["version"], files=files)
        is_current = table.column(_CURRENT.name)
        names = table.column("name").filter(is_current).to_pylist()
        shards = ShardTable(table.drop_columns([_CURRENT.name]).replace_schema_metadata(None))
        _refuse_unlike(shards)
    except (pa.ArrowException, OSError, AttributeError, LookupError, TypeError, ValueError):
        return NOTHING_KNOWN
    return State(shards=shards, version=version, current=frozenset(names), earlier=earlier)


def write_state(output: Folder, state: State) -> None:
    """Write the state of a dataset, if it is another one than before."""
    data = state.to_bytes()
    if output.read(STATE) != data:
        output.publish(STATE, data, durable=False)


def _refuse_unlike(shards: ShardTable) -> None:
    """Refuse rows that no run wrote.

    Raises:
        ValueError: there is one.
    """
    may_lack = {*TIMES, *INPUTS}
    if any(shards.table.column(name).null_count for name in SCHEMA.names if name not in may_lack):
        raise ValueError("a shard lacks a value")
    names, numbers = shards.table.column("name"), shards.table.column("number")
    own = pc.replace_substring_regex(names, "-.*$", "")
    if not (
        pc.all(pc.match_substring_regex(names, f"^{SHARD_NAME}$"), min_count=0).as_py()
        and own.cast(pa.int64()).equals(numbers)
    ):
        raise ValueError("a name is none of a shard, or not that of its number")
