"""Listing S3: page by page, from several places side by side, as columns.

The client turns a page of a thousand files into Python objects by its own model of the answer,
which takes twenty times as long as finding their columns. S3 lists in the order of the bytes of the
names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, pairwise
from typing import Any
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc
from fsspec.asyn import sync

from florilegium.engine.storage.side_by_side import side_by_side

_FIELDS = {"Key": pa.string(), "Size": pa.int64(), "ETag": pa.string()}
_TIME = pa.timestamp("us", "UTC")
_SCHEMA = pa.schema([*_FIELDS.items(), ("LastModified", _TIME)])
_FIRST, _LAST = b"<Contents>", b"</Contents>"
_VALUES = {name: re.compile(rf"<{name}>([^<]*)</{name}>".encode()) for name in _SCHEMA.names}
_COLUMNS = f"{__name__} columns"
"""The name of the files of a page in the answer of the client."""
_EVENTS = "*.s3.ListObjectsV2"
"""With a star in front, ours are called before those of the client, of which one parses the whole
page to look for an error."""
_EVENT = "before-parse.s3.ListObjectsV2"
_is_ours: ContextVar[bool] = ContextVar("_is_ours", default=False)
"""Whether the request that is being answered was sent here: others want the client's objects."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of a listing: columns of its files (`Key`, `Size`, `ETag`, `LastModified`), the names
    of its folders, and where the next page begins; empty at the end."""

    files: pa.Table
    folders: tuple[str, ...]
    following: str = ""

    def between(self, after: str, last: str) -> Page:
        """Return what comes after one name, up to another; an empty one is no bound."""
        keys = self.files["Key"]
        is_own = pc.greater(keys, after)
        if last:
            is_own = pc.and_(is_own, pc.less_equal(keys, last))
        folders = (one for one in self.folders if one > after and (not last or one <= last))
        return replace(self, files=self.files.filter(is_own), folders=tuple(folders))

    def without(self, key: str) -> Page:
        """Return the page but for a file."""
        return replace(self, files=self.files.filter(pc.not_equal(self.files["Key"], key)))

    @property
    def reached(self) -> str:
        """The last name of the page."""
        key = self.files["Key"][-1].as_py() if self.files.num_rows else ""
        return max([key, *self.folders[-1:]])


def pages(fs: Any, **wanted: Any) -> Iterator[Page]:
    """Yield the pages of a listing; `wanted` are the parameters of `list_objects_v2`."""
    while True:
        page = sync(fs.loop, partial(_page, fs, wanted))
        yield page
        if not page.following:
            return
        wanted["ContinuationToken"] = page.following


def pages_between(fs: Any, cuts: Sequence[str], **wanted: Any) -> Iterator[Page]:
    """Yield the pages of a listing, in its order; the parts between keys are listed side by side.

    `cuts` are sorted keys. The files of a page are those of its part only: a storage that does not
    know `StartAfter` costs time and nothing else.
    """
    if not cuts or _is_unordered(wanted["Bucket"]):
        yield from pages(fs, **wanted)
        return
    parts = list(pairwise(["", *cuts, ""]))
    listed = side_by_side(partial(_part, fs, wanted), parts)
    yield from chain.from_iterable(listed)


def _part(fs: Any, wanted: Mapping[str, Any], part: tuple[str, str]) -> list[Page]:
    """List the files after one key, up to another."""
    after, last = part
    found: list[Page] = []
    for page in pages(fs, **wanted, **({"StartAfter": after} if after else {})):
        found.append(page.between(after, last))
        if last and page.reached >= last:
            break
    return found


def _is_unordered(bucket: str) -> bool:
    """Whether a bucket lists its files in no order: S3 Express One Zone does."""
    return bucket.endswith("--x-s3")


async def _page(fs: Any, wanted: Mapping[str, Any]) -> Page:
    """Ask for a page, in the thread that sends the requests of this client."""
    await fs.set_session()
    events = (await fs.get_s3(wanted["Bucket"])).meta.events
    events.register_first(_EVENTS, _on_page, unique_id=__name__)
    _is_ours.set(True)  # in this task only
    answer = await fs._call_s3("list_objects_v2", **wanted)
    files = answer.get(_COLUMNS)
    if files is None:
        files = pa.Table.from_pylist(answer.get("Contents", []), schema=_SCHEMA)
    elif answer.get("EncodingType") == "url":
        files = files.set_column(0, "Key", _unquoted(files["Key"]))
    return Page(
        files=files,
        folders=tuple(one["Prefix"] for one in answer.get("CommonPrefixes", ())),
        following=answer["NextContinuationToken"] if answer.get("IsTruncated") else "",
    )


def _unquoted(keys: pa.ChunkedArray) -> pa.Array:
    """Return keys as they are, from how a URL has them; most are the same."""
    is_quoted = pc.match_substring_regex(keys, "[%+]").combine_chunks()
    plain = [unquote_plus(one) for one in keys.filter(is_quoted).to_pylist()]
    return pc.replace_with_mask(keys.combine_chunks(), is_quoted, pa.array(plain, pa.string()))


def _on_page(event_name: str, **event: Any) -> None:
    if event_name == _EVENT and _is_ours.get():
        _take_files(event["response_dict"], event["customized_response_dict"])


def _take_files(response: dict[str, Any], answer: dict[str, Any]) -> None:
    """Read the files of a page as columns, and leave the rest of it to the client, which also reads
    a page of another form."""
    body = response["body"]
    first, end = body.find(_FIRST), body.rfind(_LAST) + len(_LAST)
    count = body.count(_FIRST)
    is_plain = response["status_code"] == 200 and count and b"<!" not in body
    if not is_plain or body.count(_LAST) != count or b"Prefix>" in body[first:end]:
        return
    found = {name: values.findall(body, first, end) for name, values in _VALUES.items()}
    if any(len(values) != count for values in found.values()):
        return
    try:
        texts = {name: pa.array(one, pa.binary()).cast(pa.string()) for name, one in found.items()}
        texts["ETag"] = pc.replace_substring(texts["ETag"], "&quot;", '"')
        if any(pc.any(pc.match_substring(texts[name], "&")).as_py() for name in ("Key", "ETag")):
            return  # other escapes of XML
        columns = [texts[field.name].cast(field.type) for field in _SCHEMA]
    except pa.ArrowInvalid:
        return
    answer[_COLUMNS] = pa.Table.from_arrays(columns, schema=_SCHEMA)
    response["body"] = body[:first] + body[end:]
