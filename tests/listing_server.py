"""A server that lists a bucket of any number of objects, page by page, as S3 does.

Each object is `FOLDER/NUMBER.jpg`. It has no other answers; moto sorts all keys for each page.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.serving import serving

_HEAD = "<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
_OBJECT = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;{number:032x}&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass>"
    "</Contents>"
)


@dataclass(kw_only=True)
class Listing:
    """A running server; `pages` has the number of objects of each page that was asked for."""

    objects: int
    page: int
    address: str = ""
    pages: list[int] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    listing: Listing

    def do_GET(self) -> None:
        """Answer with one page of the objects below the prefix."""
        query = parse_qs(urlsplit(self.path).query)
        folder = query["prefix"][0]
        first = int(query.get("continuation-token", ["0"])[0])
        stop = min(first + int(query.get("max-keys", [self.listing.page])[0]), self.listing.objects)
        self.listing.pages.append(stop - first)
        is_cut = stop < self.listing.objects
        rows = [
            _OBJECT.format(key=f"{folder}{number:09d}.jpg", number=number)
            for number in range(first, stop)
        ]
        more = f"<NextContinuationToken>{stop}</NextContinuationToken>" if is_cut else ""
        truth = str(is_cut).lower()
        data = "".join([_HEAD, f"<IsTruncated>{truth}</IsTruncated>", more, *rows]).encode()
        data += b"</ListBucketResult>"
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def listing_of(objects: int, *, page: int) -> Iterator[Listing]:
    """Run a server that lists so many objects, so many a page, while the block runs."""
    listing = Listing(objects=objects, page=page)
    handler = type("Handler", (_Handler,), {"listing": listing})
    with serving(handler) as listing.address:
        yield listing
