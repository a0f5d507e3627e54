"""From a source's config to the source: by its kind, its URL or the names that lie there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from florilegium.engine.core.errors import ConfigError, FlorilegiumError
from florilegium.engine.core.image.reading import image_suffixes
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.redaction import redacted
from florilegium.engine.planning.config import SourceEntry, validated
from florilegium.engine.planning.registry import find_source, source_names
from florilegium.engine.sources.files import suffix_of
from florilegium.engine.sources.parquet import PARQUET_SUFFIXES
from florilegium.engine.sources.place import SourceFolder
from florilegium.engine.sources.sheet import SHEET_NAMES
from florilegium.engine.sources.source import FilesConfig, Source, SourceConfig
from florilegium.engine.sources.url import place_of
from florilegium.engine.sources.webdataset import TAR_SUFFIXES, stem_of
from florilegium.engine.untrusted.traces import unforeseen

_FOLDERS_TO_LOOK_AT = 1000


def open_source(
    entry: SourceEntry, *, shard_size: int, limits: Limits | None = None
) -> Source[Any]:
    """Open the source that an entry of a run config means; without `limits`, with the default ones.

    `auto` takes the kind that is the scheme of the URL (`shape_world://...`), else it looks at
    names, in the first folder that tells, or on S3 the first page of it.

    The source's own config has the kind that was found, so that workers need not look again.

    Raises:
        ConfigError: nothing is at the URL, nothing that a source reads, or an option is wrong.
        MissingPackage: the URL needs a storage package that is not installed.
    """
    config = config_of(entry)
    source_class = find_source(config.kind)
    try:
        source = source_class(config, shard_size=shard_size)
    except FlorilegiumError:
        raise
    except Exception as error:  # of any kind, from code of a plugin
        what = f"the source {redacted(entry.url)} ({config.kind}) cannot be opened"
        raise ConfigError(f"{what}: {unforeseen(error)}") from error
    source.limits = limits or source.limits
    return source


def config_of(entry: SourceEntry) -> SourceConfig:
    """Return the options of a source, checked by those of its kind.

    Raises:
        ConfigError: the kind is not found, or an option is unknown or wrong.
    """
    kind = _kind_of(entry) if entry.kind == "auto" else entry.kind
    options = {**entry.model_dump(exclude_unset=True), "kind": kind}
    where = f"source {redacted(entry.url)} ({kind})" if entry.url else f"source ({kind})"
    return validated(find_source(kind).Config, options, where=where)


def urls_of(entries: Iterable[SourceEntry]) -> list[str]:
    """Return the URLs of sources, of one that has none in its entry that which its options mean."""
    return [entry.url or config_of(entry).url for entry in entries]


def _kind_of(entry: SourceEntry) -> str:
    scheme, separator, _ = entry.url.partition("://")
    if separator and scheme in source_names():
        return scheme
    common = entry.model_dump(include=set(FilesConfig.model_fields))
    place = place_of(validated(FilesConfig, common, where=f"source {redacted(entry.url)}"))
    is_selected = place.selected()
    for folder in islice(place.parts(), _FOLDERS_TO_LOOK_AT):
        selected = [
            name
            for name in folder.files
            if is_selected(folder.path + name) and (place.names or name not in SHEET_NAMES)
        ]
        kind = _kind_of_names(selected, folder)
        if kind:
            return kind
    raise ConfigError(
        f"{entry.url} has no images, tars or Parquet files among its names; "
        f"check the URL, or say `kind`: {', '.join(source_names())}"
    )


def _kind_of_names(selected: list[str], folder: SourceFolder) -> str:
    """Tell the kind from the names in one folder; the more frequent one of images and tars."""
    tars = list(_with_suffix(selected, TAR_SUFFIXES))
    images = sum(suffix_of(name) in image_suffixes() for name in selected)
    if tars and len(tars) >= images:
        is_img2dataset = any(_has_companions(stem_of(name), folder) for name in tars)
        return "img2dataset" if is_img2dataset else "webdataset"
    if images:
        return "folder"
    return "parquet" if any(_with_suffix(selected, PARQUET_SUFFIXES)) else ""


def _has_companions(stem: str, folder: SourceFolder) -> bool:
    return f"{stem}.parquet" in folder.files or f"{stem}_stats.json" in folder.files


def _with_suffix(names: Iterable[str], suffixes: tuple[str, ...]) -> Iterator[str]:
    return (name for name in names if name.lower().endswith(suffixes))
