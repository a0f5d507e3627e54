"""What a source is: a place that images and their first labels come from.

A source lists *items* without opening them (a file, a tar, a range of Parquet rows) and reads
one item at a time. It knows nothing of shards, keys on disk or stages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from florilegium.engine.core.annotation import SOURCE, Annotation
from florilegium.engine.core.api import API_VERSION
from florilegium.engine.core.errors import nearest
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.core.tasks import TASKS
from florilegium.engine.untrusted.escaped import cut

if TYPE_CHECKING:
    import pyarrow as pa

RECEIPTS = f"{SOURCE}-"
"""How the folders beside the layers begin whose files note which samples an input gave, so that an
unchanged input is not read again."""


class SourceConfig(BaseModel):
    """Options that every source has; a kind's own `Config` adds to them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    """What names the source in the dataset; of files where they are."""
    kind: str = "auto"
    """`folder`, `webdataset`, `img2dataset`, `parquet` or another installed kind of source;
    `auto` looks at the URL, then at the names that lie there."""
    provides: tuple[str, ...] = ()
    """Tasks of which the source has labels that stages may build on: `object_detection`, ..."""

    @model_validator(mode="before")
    @classmethod
    def _has_no_old_key(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "brings" in values:
            raise ValueError("the key 'brings' of a source is now called 'provides'")
        return values

    @field_validator("provides")
    @classmethod
    def _are_tasks(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task not in TASKS:
                raise ValueError(f"unknown task {cut(task)}, {nearest(task, TASKS)}")
        return tasks


class FilesConfig(SourceConfig):
    """Options of sources that read files.

    `url` is an fsspec URL or a path; `package://NAME/FOLDER` is a folder in an installed package.
    """

    include: tuple[str, ...] = ()
    """Glob patterns for locations relative to the URL; when given, only matching items are read.
    As in .gitignore, a pattern without a slash means the name in any folder."""
    follow_links: bool = False
    """Whether links on a local disk are followed out of the source's folder, and to hidden places
    in it; for folders of your own: a stranger's link may lead to your private files."""
    encoding: str = ""
    """The encoding of captions, sheets and other texts that have no byte order mark and are no
    UTF-8, such as `cp1252`, `gbk` or `shift_jis`; without it their labels are left out."""

    @field_validator("encoding")
    @classmethod
    def _is_text_encoding(cls, name: str) -> str:
        try:
            b"a".decode(name or "utf-8")
        except UnicodeDecodeError:
            pass  # one letter is not enough for UTF-16
        except LookupError as error:
            raise ValueError(f"{error}; give one of Python's, such as cp1252 or gbk") from error
        return name


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """What a source reads in one go.

    `location` is relative to the source's URL and printable UTF-8, `signature` changes whenever
    the content does (size and modification time, or an ETag). `start` and `stop` bound rows
    within a file. `size` is the number of its bytes where the listing tells it, else 0.
    """

    location: str
    signature: str
    start: int = 0
    stop: int = 0
    size: int = field(default=0, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One input as the source gives it: bytes that are not yet checked, and first labels.

    `name` is what the source calls it (any characters), `location` where it lies, for people.
    `metadata` is what the source knew, as JSON text with sorted keys. Annotations have no
    provenance yet; an `id` is only a name by which a `parent_id` among them finds it.
    """

    name: str
    location: str
    data: bytes
    metadata: str = "{}"
    annotations: tuple[Annotation, ...] = ()


LISTED = 32_768
"""Items that become rows together."""


def item_schema() -> pa.Schema:
    """Return the columns of items: the fields of `Item`."""
    import pyarrow as pa

    texts = [(name, pa.string()) for name in ("location", "signature")]
    return pa.schema(texts + [(name, pa.int64()) for name in ("start", "stop", "size")])


ConfigT = TypeVar("ConfigT", bound=SourceConfig)


class Source(ABC, Generic[ConfigT]):
    """A place that images come from."""

    Config: ClassVar[type[SourceConfig]] = SourceConfig
    """The pydantic model of the source's options."""
    produces: ClassVar[tuple[str, ...]] = ()
    """Tasks of which every source of this kind has labels; a config adds to them by `provides`."""
    api_version: ClassVar[int] = API_VERSION
    """The version of the plugin API that the class is written for; a class of another package gives
    the number, and is refused by a florilegium that has another one."""
    is_packed: ClassVar[bool] = False
    """True when an item holds many inputs and is a shard of its own."""
    limits: Limits = Limits()
    """What a file may cost; `open_source` puts those of the run here, once the source is made."""

    def __init__(self, config: ConfigT, *, shard_size: int) -> None:
        self.config: ConfigT = config
        self.shard_size = shard_size

    @abstractmethod
    def items(self) -> Iterator[Item]:
        """List the items in a stable order, by name; opens no image, streams.

        Raises:
            ConfigError: there is nothing at the URL, or nothing that this source reads.
        """

    def item_tables(self) -> Iterator[pa.Table]:
        """List the items as rows of `item_schema`, in the order of `items`; a source that lists
        millions may make columns without an `Item` for each."""
        import pyarrow as pa

        schema = item_schema()
        rows: list[list[Any]] = [[] for _ in schema]
        locations, signatures, starts, stops, sizes = rows
        for item in self.items():  # none is kept: the garbage collector would look at them
            locations.append(item.location)
            signatures.append(item.signature)
            starts.append(item.start)
            stops.append(item.stop)
            sizes.append(item.size)
            if len(locations) == LISTED:
                yield pa.Table.from_arrays(list(map(pa.array, rows, schema.types)), schema=schema)
                for column in rows:
                    column.clear()
        if locations:
            yield pa.Table.from_arrays(list(map(pa.array, rows, schema.types)), schema=schema)

    @abstractmethod
    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        """Read one item, streaming. An unreadable input comes as a dead letter, never an error."""

    def remarks(self) -> tuple[str, ...]:
        """Return what people should know of the listing, such as files that are not read.

        Complete when `items` is exhausted; the same listing gives the same lines.
        """
        return ()
