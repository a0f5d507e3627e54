"""Listing S3: page by page, from several places side by side, without its client's slow parser.

The client turns a page of a thousand files into Python objects by its own model of the answer,
which takes ten times as long as reading the XML. S3 lists in the order of the bytes of the names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import chain, pairwise
from typing import Any
from xml.etree import ElementTree

from fsspec.asyn import sync

from florilegium.engine.storage.side_by_side import side_by_side

_Page = Mapping[str, Any]


def pages(fs: Any, **wanted: Any) -> Iterator[_Page]:
    """Yield the pages of a listing, as `list_objects_v2` describes them."""
    _read_fast(fs, wanted["Bucket"])
    while True:
        page = fs.call_s3("list_objects_v2", **wanted)
        yield page
        if not page.get("IsTruncated"):
            return
        wanted["ContinuationToken"] = page["NextContinuationToken"]


def pages_between(fs: Any, cuts: Sequence[str], **wanted: Any) -> Iterator[_Page]:
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


def _part(fs: Any, wanted: Mapping[str, Any], part: tuple[str, str]) -> list[_Page]:
    """List the files after one key, up to another."""
    after, last = part

    def own(entries: Sequence[_Page], key: str) -> list[_Page]:
        return [one for one in entries if one[key] > after and (not last or one[key] <= last)]

    found: list[_Page] = []
    for page in pages(fs, **wanted, **({"StartAfter": after} if after else {})):
        files, folders = page.get("Contents", []), page.get("CommonPrefixes", [])
        mine = {"Contents": own(files, "Key"), "CommonPrefixes": own(folders, "Prefix")}
        found.append(mine)
        reached = [*(one["Key"] for one in files[-1:]), *(one["Prefix"] for one in folders[-1:])]
        if last and reached and max(reached) >= last:
            break
    return found


def _is_unordered(bucket: str) -> bool:
    """Whether a bucket lists its files in no order: S3 Express One Zone does."""
    return bucket.endswith("--x-s3")


def _read_fast(fs: Any, bucket: str) -> None:
    """Let the client of a bucket give us its pages unread; done once for each client."""

    async def register() -> None:  # in the thread that sends the requests of this client
        await fs.set_session()
        events = (await fs.get_s3(bucket)).meta.events
        events.register_first("before-parse.s3.ListObjectsV2", _take_files, unique_id=__name__)

    sync(fs.loop, register)


def _take_files(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Read the files of a page, and leave the rest of it to the client."""
    if response_dict["status_code"] != 200:
        return
    try:
        page = ElementTree.fromstring(response_dict["body"])
        space = page.tag.rpartition("}")[0]
        mark = f"{space}}}Contents" if space else "Contents"
        files = [_file(one) for one in page if one.tag == mark]
    except (ElementTree.ParseError, LookupError, ValueError):
        return  # the client reads it in its own way, or reports it
    if files:
        rest = [one for one in page if one.tag != mark]
        customized_response_dict["Contents"] = files
        page[:] = rest
        response_dict["body"] = ElementTree.tostring(page)


def _file(entry: ElementTree.Element) -> dict[str, Any]:
    """Return a file as the client describes it, but for fields that have fields."""
    found: dict[str, Any] = {
        one.tag.rpartition("}")[2]: one.text or "" for one in entry if not len(one)
    }
    found["Size"] = int(found["Size"])
    found["LastModified"] = datetime.fromisoformat(found["LastModified"]).astimezone()
    return found
