"""From the URL of a source to the files that it names.

Understands fsspec URLs and paths, `package://NAME/FOLDER`, brace ranges
(`photos-{000000..000009}.tar`) and globs (`*.tar`, `**/*.jpg`). A path that exists as written is
not a pattern. This module opens no file.
"""

from __future__ import annotations

import os
import posixpath
import re
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from florilegium.engine.core.errors import ConfigError, MissingPackage, nearest
from florilegium.engine.core.redaction import has_signature, redacted
from florilegium.engine.sources.place import Place
from florilegium.engine.sources.source import FilesConfig
from florilegium.engine.storage.failure import storage_error
from florilegium.engine.storage.folder import file_system
from florilegium.engine.storage.object_storage import is_folder
from florilegium.engine.untrusted.escaped import LONGEST, cut

_PACKAGE = "package://"
_PHOTOGRAPHS = ("skimage", "sklearn")
"""Packages with photographs, which an extra of this distribution installs."""
_OURS = Path(__file__).parents[2]
_MAGIC = re.compile(r"[*?\[{]")
_GLOB = re.compile(r"[*?\[]")
_RANGE = re.compile(r"\{(-?[0-9]+)\.\.(-?[0-9]+)")
_MAX_NAMES = 1_000_000
_MAX_CHARACTERS = 10_000
"""Names that a pattern expands to, and characters of a pattern, at most."""


def place_of(config: FilesConfig) -> Place:
    """Find the files that a source's URL names.

    Raises:
        ConfigError: nothing exists there, or the URL is not understood.
        MissingPackage: the URL needs a storage package that is not installed.
    """
    url = config.url
    fs, path = reached(url)
    path, query = _signed(path)
    common: dict[str, Any] = {
        "url": redacted(config.url),
        "fs": fs,
        "include": config.include,
        "follow_links": config.follow_links,
        "query": query,
    }
    path = path.rstrip("/") or path
    try:
        if not query and is_folder(fs, path):
            return Place(root=path, **common)
        if fs.exists(f"{path}{query}"):
            root, name = posixpath.split(path)
            return Place(root=root, names=(name,), **common)
    except Exception as error:  # each storage client has its own errors
        raise ConfigError(str(storage_error("look at", config.url, error))) from error
    if not _MAGIC.search(path):
        raise ConfigError(f"{config.url} does not exist; {_hint(fs, path)}")
    root, names = _split(path)
    if not _is_web(path) and not is_folder(fs, root):
        raise ConfigError(f"{config.url}: the folder {root!r} does not exist; {_hint(fs, root)}")
    if any(_GLOB.search(name) for name in names):
        return Place(root=root, patterns=names, **common)
    return Place(root=root, names=names, **common)


def reached(url: str) -> tuple[Any, str]:
    """Return the file system of a source's URL, and the path within it.

    Raises:
        ConfigError: the protocol or the package is unknown.
        MissingPackage: its storage, or our own photographs, need a package that is not installed.
    """
    return file_system(package_folder(url) if url.startswith(_PACKAGE) else url)


def package_folder(url: str) -> str:
    """Find a folder within an installed package, without running the package's code.

    Raises:
        ConfigError: there is no such package or folder, or it is outside of the package.
        MissingPackage: our own photographs need a package that is not installed.
    """
    name, _, folder = url.removeprefix(_PACKAGE).partition("/")
    top, *below = name.split(".")
    shown = url if len(url) <= 2 * LONGEST else f"{url[: 2 * LONGEST]}..."
    is_within = not folder.startswith("/") and ".." not in folder.split("/")
    if not is_within or set("\\\0") & set(folder) or not all(map(str.isidentifier, below)):
        raise ConfigError(
            f"{cut(url)} leads out of its package: write package://NAME/FOLDER, without `..`"
        )
    try:
        spec = find_spec(top) if top.isidentifier() else None
    except ValueError:  # a module without one, such as `__main__`
        spec = None
    if spec is None and top in _PHOTOGRAPHS:
        raise MissingPackage(
            f"{url}: {top} is not installed: pip install 'florilegium[photographs]'",
            install="florilegium[photographs]",
        )
    if spec is None:
        raise ConfigError(f"{shown}: no package {cut(top)} is installed here; install it with pip")
    tops = [Path(base) for base in spec.submodule_search_locations or ()]
    bases = [one.joinpath(*below) for one in tops]
    for one, base in zip(tops, bases, strict=True):
        if os.path.exists(base / folder):
            if not _is_within(base / folder, one):
                raise ConfigError(f"{cut(url)} is a link out of its package: give the path itself")
            return str(base / folder)
    fs, _ = file_system(str(bases[0] if bases else "."))
    hint = _hint(fs, str(bases[0] / folder)) if bases else "it is a single module"
    raise ConfigError(f"{shown}: package {cut(name)} has no {cut(folder)}; {hint}")


def _is_within(path: Path, package: Path) -> bool:
    """Whether a path stays in a package when links are followed. In a checkout, the folders of our
    own package are links to those beside it, which belong to it."""
    folders = [package]
    if package.samefile(_OURS):
        folders += [one for one in package.iterdir() if one.is_dir()]
    return any(path.resolve().is_relative_to(one.resolve()) for one in folders)


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _signed(path: str) -> tuple[str, str]:
    """Split the URL of a file on a web server into URL and signature."""
    address, mark, query = path.partition("?")
    is_signed = _is_web(path) and has_signature(f"?{query}")
    return (address, f"{mark}{query}") if is_signed else (path, "")


def _split(path: str) -> tuple[str, tuple[str, ...]]:
    """Split a pattern at its last folder without magic, and expand the braces of the rest."""
    from braceexpand import braceexpand

    root = posixpath.dirname(path[: _MAGIC.search(path).start()])  # type: ignore[union-attr]
    rest = path[len(root) :].lstrip("/")
    ranges = (abs(int(stop) - int(start)) for start, stop in _RANGE.findall(rest))
    try:
        is_too_many = len(rest) > _MAX_CHARACTERS or any(one >= _MAX_NAMES for one in ranges)
        names = () if is_too_many else tuple(islice(braceexpand(rest), _MAX_NAMES + 1))
    except ValueError as error:  # UnbalancedBracesError, or a number with thousands of digits
        shown = cut(path)
        raise ConfigError(f"{shown}: {error}; a range is written {{000000..000009}}") from error
    if is_too_many or len(names) > _MAX_NAMES:
        cure = "name a folder, or a pattern such as `*.tar`"
        raise ConfigError(f"{cut(path)} means more than {_MAX_NAMES:,} files: {cure}")
    return root or path[:1], names


def _hint(fs: Any, path: str) -> str:
    """Return a hint with the existing name nearest to a path that does not exist."""
    parent, name = posixpath.split(path)
    try:
        while parent and parent != "/" and not fs.isdir(parent):
            parent, name = posixpath.split(parent)
        names = [posixpath.basename(entry.rstrip("/")) for entry in fs.ls(parent, detail=False)]
    except Exception:  # without a hint
        return "check the URL"
    return f"in {parent!r}, {nearest(name, names)}"
