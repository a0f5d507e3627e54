"""Whether a run would write where its sources look for images.

The next run would take the output for input, or this one would delete what it reads. Local
folders are compared by what the file system says they are, so links, `..`, `~` and other
spellings of a path make no difference.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from fsspec.implementations.local import LocalFileSystem

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.planning.partition import Partition
from florilegium.engine.results.publication import SHARDS
from florilegium.engine.sources.place import Place, original
from florilegium.engine.sources.source import FilesConfig, Source, SourceConfig
from florilegium.engine.sources.url import place_of
from florilegium.engine.storage.folder import Folder, file_system

_GLOB = re.compile(r"[*?\[]")


def refuse_nesting(source: SourceConfig, output: Folder, layers: Folder) -> None:
    """Refuse an output or layers in a folder that the source lists, or a source in one of theirs.

    A source of named files lists no folder: an output beside them is allowed.

    Raises:
        ConfigError: with the folder and the source.
    """
    place = _place_of(source)
    if place is None:
        return
    listed = list(_listed_folders(place))
    for folder in (output, layers):
        spot = _Path.of_url(folder.url)
        if any(_may_reach(base, below, spot) for base, below in listed):
            raise _refusal(folder, source)
    files = [posixpath.join(place.root, name) for name in place.names]
    # A link and its target both count: the target is read, the link may be deleted.
    read = [_Path.of(place.fs, path) for file in files for path in (file, posixpath.dirname(file))]
    read += [base for base, _ in listed]
    for folder, written in _written(output, layers):
        if any(spot.is_in(written) for spot in read):
            raise _refusal(folder, source)


def refuse_links(
    sources: Sequence[Source[Any]], shards: Partition, output: Folder, layers: Folder
) -> None:
    """Refuse sources with a link into the output or the layers, as the listing has shown.

    Raises:
        ConfigError: with the folder and the source.
    """
    for number, source in enumerate(sources):
        place = _place_of(source.config)
        if place is None or not place.is_local or place.names:
            continue
        root = _Path.of(place.fs, place.root)
        for location in sorted(shards.folders_of(number)):
            spot = _Path.of(place.fs, posixpath.join(place.root, original(location)))
            if Path(spot.path).is_relative_to(root.path):
                continue  # not by a link
            for folder, written in _written(output, layers):
                if _Path.of_url(folder.url).is_in(spot) or spot.is_in(written):
                    raise _refusal(folder, source.config)


class _Path(NamedTuple):
    """A folder on a file system; of a local one, the real path."""

    protocol: str
    path: str

    @classmethod
    def of(cls, fs: Any, path: str) -> _Path:
        if isinstance(fs, LocalFileSystem):
            return cls("", os.path.realpath(path))
        protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
        return cls(protocol, posixpath.normpath(f"/{path.lstrip('/')}"))

    @classmethod
    def of_url(cls, url: str) -> _Path:
        return cls.of(*file_system(url))

    def is_in(self, root: _Path) -> bool:
        """Whether this is the other folder or below it."""
        if self.protocol != root.protocol:
            return False
        if Path(self.path).is_relative_to(root.path):
            return True
        # A disk may be mounted twice, or ignore the case of names.
        above = (Path(self.path), *Path(self.path).parents)
        return (
            not self.protocol
            and os.path.exists(root.path)
            and any(one.exists() and one.samefile(root.path) for one in above)
        )


def _place_of(source: SourceConfig) -> Place | None:
    """Return the location of a source's files, or `None` when it has none."""
    if source.url.startswith(f"{source.kind}://"):
        return None
    files = source if isinstance(source, FilesConfig) else FilesConfig(url=source.url)
    try:
        return place_of(files)
    except ConfigError:  # a source of another package may define its URLs differently
        return None


def _listed_folders(place: Place) -> Iterator[tuple[_Path, list[str]]]:
    """Yield each folder that is listed, with the patterns of the folders below it that are, too."""
    if not place.names and not place.patterns:
        yield _Path.of(place.fs, place.root), ["**"]
    for pattern in place.patterns:
        folders = pattern.split("/")[:-1]
        plain = list(takewhile(lambda one: not _GLOB.search(one), folders))
        base = _Path.of(place.fs, posixpath.join(place.root, *plain))
        yield base, folders[len(plain) :]


def _may_reach(base: _Path, below: Sequence[str], folder: _Path) -> bool:
    """Whether a folder may be listed by a pattern, or folders in it."""
    if not folder.is_in(base):
        return False
    if not Path(folder.path).is_relative_to(base.path):
        return True  # one folder under two paths: no relative path
    for pattern, name in zip(below, Path(folder.path).relative_to(base.path).parts, strict=False):
        if "**" in pattern:
            return True
        if not fnmatch(name.lower(), pattern.lower()):  # some disks ignore the case of names
            return False
    return True


def _written(output: Folder, layers: Folder) -> Iterator[tuple[Folder, _Path]]:
    """Yield each folder with the one in it whose files are written and deleted."""
    yield output, _Path.of_url(f"{output.url.rstrip('/')}/{SHARDS}")
    yield layers, _Path.of_url(layers.url)


def _refusal(folder: Folder, source: SourceConfig) -> ConfigError:
    return ConfigError(
        f"{folder.url} lies inside the source {source.url}, or the source inside it: the next run "
        f"would read it as images; choose an `output` and `layers` outside"
    )
