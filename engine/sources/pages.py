"""Pages with images: HTML and Markdown files, and the images that lie beside them.

An item is a folder of pages, or a part of it. Each image of a page is an input; its metadata has
the page, its position there, its alt text, and the text before and after it. An image is read from
a file of the source or from a data URL; none is ever downloaded.
"""

from __future__ import annotations

import base64
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from pydantic import Field

from florilegium.engine.core.errors import SampleError, StorageError
from florilegium.engine.core.image.header import TOO_MANY_BYTES
from florilegium.engine.core.image.reading import image_suffixes
from florilegium.engine.core.sample import DeadLetter, digest_of
from florilegium.engine.sources.files import (
    LeftAlone,
    dead_letter,
    nothing_found,
    suffix_of,
    unreadable,
)
from florilegium.engine.sources.metadata import metadata_json
from florilegium.engine.sources.page_text import PageText, read_html, read_markdown
from florilegium.engine.sources.place import UNOPENED, Place, original, printable
from florilegium.engine.sources.source import FilesConfig, Item, Reading, Source, SourceConfig
from florilegium.engine.sources.text import NotText, decoded
from florilegium.engine.sources.url import place_of
from florilegium.engine.untrusted.escaped import cut

HTML_SUFFIXES = (".html", ".htm", ".xhtml")
MARKDOWN_SUFFIXES = (".md", ".markdown")
PAGE_SUFFIXES = (*HTML_SUFFIXES, *MARKDOWN_SUFFIXES)

NO_ADDRESS = "no_address"
NOT_IN_SOURCE = "image_not_in_source"
"""The address of an image is on the web, or outside of the source."""
UNREADABLE_PAGE = "unreadable_page"
PAGE_TOO_LARGE = "page_too_large"
"""A MiB of Markdown takes 2 to 12 s, and the whole of a page must not take `file_seconds`."""
TOO_MANY_IMAGES = "too_many_images"

_DATA = re.compile(r"data:[^,;]*(?:;[^,;]*)*?(;base64)?,", re.IGNORECASE)


class PagesConfig(FilesConfig):
    """Options of pages with images."""

    parts: int = Field(default=1, ge=1, le=10_000)
    """Parts into which the pages of each folder are divided, by a digest of their names. A part is
    a shard: choose more for folders of more than some hundred pages. Another number gives other
    shards."""


class PagesSource(Source[PagesConfig]):
    """HTML and Markdown files below a folder, with the images that they show."""

    Config: ClassVar[type[SourceConfig]] = PagesConfig
    is_packed: ClassVar[bool] = True

    def __init__(self, config: PagesConfig, *, shard_size: int) -> None:
        super().__init__(config, shard_size=shard_size)
        self.place = place_of(config)
        self._left_alone = LeftAlone()

    def items(self) -> Iterator[Item]:
        """List the folders that have pages.

        An image may lie anywhere in the source: when one changes, all pages are read again.
        """
        self._left_alone = LeftAlone()
        images = blake2b(digest_size=8)
        parts: list[tuple[str, int, str]] = []
        others: Counter[str] = Counter()
        for folder in self.place.folders():
            pages = self._pages(folder.path, folder.files)
            for number, names in sorted(self._by_part(pages).items()):
                listed = [f"{name}\n{folder.files[name]}" for name in names]
                parts.append((folder.path, number, digest_of(listed)))
            for name, signature in folder.files.items():
                if name in pages:
                    continue
                others[suffix_of(name)] += 1
                if suffix_of(name) in image_suffixes():
                    images.update(f"{folder.path}{name}\n{signature}\n".encode(errors="replace"))
                else:
                    self._left_alone.add(name)
        if not parts:
            raise nothing_found(self.place, f"{' or '.join(PAGE_SUFFIXES)} files", others)
        for path, number, digest in parts:
            yield Item(
                location=printable(path) or ".",
                signature=f"{digest} images={images.hexdigest()}",
                start=number,
                stop=number + 1,
            )

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        path = "" if item.location == "." else original(item.location)
        try:
            files = _files_of(self.place, path)
        except StorageError:
            raise
        except Exception as error:  # each storage client has its own errors
            yield unreadable(item.location, error)
            return
        for name in self._by_part(self._pages(path, files)).get(item.start, ()):
            yield from self._images_of(path + name)

    def remarks(self) -> tuple[str, ...]:
        return self._left_alone.remarks()

    def _pages(self, path: str, files: Mapping[str, str]) -> list[str]:
        """Return the names of a folder's pages, sorted; of a folder that is locked "" stands for
        all."""
        is_selected = self.place.selected()
        return [
            name
            for name, signature in files.items()
            if (suffix_of(name) in PAGE_SUFFIXES and is_selected(path + name))
            or (not name and signature in UNOPENED)
        ]

    def _by_part(self, pages: list[str]) -> Mapping[int, list[str]]:
        parts: defaultdict[int, list[str]] = defaultdict(list)
        for name in pages:
            digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            parts[int.from_bytes(digest) % self.config.parts].append(name)
        return parts

    def _images_of(self, path: str) -> Iterator[Reading | DeadLetter]:
        """Yield the images of a page."""
        location = printable(path)
        try:
            page = self._page(path)
        except StorageError:
            raise
        except Exception as error:  # each storage client has its own errors
            yield unreadable(location, error)
            return
        most = self.limits.max_archive_members
        if len(page.images) > most:
            message = f"{len(page.images)} images in a page, the limit is {most}"
            yield dead_letter(location, location, TOO_MANY_IMAGES, message)
            return
        for number, image in enumerate(page.images):
            name, where = f"{posixpath.basename(location)}/{number:03d}", f"{location}#{number}"
            try:
                data = self._data(path, image.address)
            except StorageError:
                raise
            except Exception as error:
                yield replace(unreadable(where, error), key=name)
                continue
            metadata = _metadata(location, page, number)
            yield Reading(name=name, location=where, data=data, metadata=metadata)

    def _page(self, path: str) -> PageText:
        try:
            data = self.place.read(path, limit=self.limits.max_label_bytes)
        except SampleError as error:
            if error.reason != TOO_MANY_BYTES:
                raise
            raise SampleError(
                PAGE_TOO_LARGE, f"{error.message}; `limits.max_label_bytes` is that of a page"
            ) from error
        try:
            text = decoded(data, self.config.encoding)
        except NotText as error:
            raise SampleError(UNREADABLE_PAGE, str(error)) from error
        return read_markdown(text) if suffix_of(path) in MARKDOWN_SUFFIXES else read_html(text)

    def _data(self, page: str, address: str) -> bytes:
        """Return the bytes of an image that a page shows.

        Raises:
            SampleError: it is not in the source, or too large.
            OSError: it cannot be read.
        """
        limit = self.limits.max_file_bytes
        if not address:
            raise SampleError(NO_ADDRESS, "an image without an address")
        if match := _DATA.match(address):
            return _embedded(address[match.end() :], is_base64=bool(match[1]), limit=limit)
        return self.place.read(_path_of(page, address), limit=limit)


def _files_of(place: Place, path: str) -> Mapping[str, str]:
    """List one folder of a place."""
    if place.names:
        return next((one.files for one in place.folders() if one.path == path), {})
    below = replace(place, root=posixpath.join(place.root, path).rstrip("/") or "/", patterns=())
    return next(iter(below.folders())).files


def _path_of(page: str, address: str) -> str:
    """Return the path of an image below the source from its address in a page.

    Raises:
        SampleError: the address is on the web, or leads out of the source or to a hidden place.
    """
    try:
        parts = urlsplit(address)
        path = unquote(parts.path, errors="surrogateescape")
    except ValueError:
        parts, path = None, ""
    if parts is None or parts.scheme or parts.netloc or "\0" in path:
        raise SampleError(
            NOT_IN_SOURCE,
            f"{cut(address)} is no file of the source: download it and give its path in the page",
        )
    folder = "" if path.startswith("/") else posixpath.dirname(page)
    found = posixpath.normpath(posixpath.join(folder, path.lstrip("/")))
    if any(part.startswith(".") for part in found.split("/")):
        raise SampleError(
            NOT_IN_SOURCE, f"{cut(address)} leads out of the source, or to a hidden place in it"
        )
    return found


def _embedded(text: str, *, is_base64: bool, limit: int) -> bytes:
    """Return the bytes of a data URL.

    Raises:
        SampleError: it is too large, or damaged.
    """
    if len(text) * 3 // 4 > limit + 3:
        raise SampleError(TOO_MANY_BYTES, f"a data URL of {len(text)} characters; {limit} bytes")
    try:
        plain = unquote(text, encoding="latin-1")
        if not is_base64:
            return plain.encode("latin-1")
        return base64.b64decode("".join(plain.split()), validate=True)
    except ValueError as error:
        raise SampleError(UNREADABLE_PAGE, f"a damaged data URL: {error}") from error


def _metadata(location: str, page: PageText, number: int) -> str:
    image = page.images[number]
    return metadata_json(
        {
            "page": location,
            "title": page.title,
            "position": number,
            "positions": len(page.images),
            "alt": image.alt,
            "before": image.before,
            "after": page.after(number),
        }
    )
