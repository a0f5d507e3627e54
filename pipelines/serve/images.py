"""Images as the browser gets them: the bytes in the tar, or a small JPEG made from them."""

from __future__ import annotations

import io
import os
from threading import BoundedSemaphore

from PIL import Image, ImageOps
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image.reading import decode, read_header
from florilegium.pipelines.serve.answers import NotFound, Question
from florilegium.pipelines.serve.cache import Cache
from florilegium.pipelines.serve.rounds import Rounds

_TYPES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
}
"""Formats that every browser shows; others are sent as JPEG."""
_LARGE_SIDE = 2048
"""Longer side of an image in another format, in pixels."""
_CACHE_BYTES = 64 << 20
_JPEG_QUALITY = 82


class AskedImage(Question):
    """An image, as its key and, where it is known, the index of its shard; with `side`, so many
    pixels wide or high at most."""

    key: str = Field(min_length=1, max_length=1000)
    shard: int | None = Field(default=None, ge=0)
    round: int | None = Field(default=None, ge=0)
    side: int | None = Field(default=None, ge=16, le=_LARGE_SIDE)


class Images:
    """Reads images of the rounds of a run; what was made small is kept, some megabytes of it."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds
        self._small: Cache[AskedImage, bytes] = Cache(_CACHE_BYTES, len)
        self._decoding = BoundedSemaphore(os.cpu_count() or 1)

    async def endpoint(self, request: Request) -> Response:
        """Answer a request for an image."""
        asked = AskedImage.model_validate(dict(request.query_params))
        data, kind = await run_in_threadpool(self.image, asked)
        return Response(data, media_type=kind, headers={"Cache-Control": "private, max-age=600"})

    def image(self, asked: AskedImage) -> tuple[bytes, str]:
        """Return the bytes of an image and their type.

        Raises:
            NotFound: there is no such image, or it cannot be shown.
            StorageError: its shard cannot be read.
        """
        catalogue = self._rounds.catalogue(asked.round)
        place = catalogue.place(asked.key, asked.shard)
        kind = _TYPES.get(place.image.extension)
        if asked.side is None and kind is not None:
            return catalogue.read(place, place.image), kind

        def made() -> bytes:
            data = catalogue.read(place, place.image)
            with self._decoding:  # each may take half a gigabyte
                return _small(data, asked.side or _LARGE_SIDE)

        try:
            return self._small.get(asked, made), "image/jpeg"
        except SampleError as error:
            raise NotFound(f"{asked.key} cannot be shown: {error}") from error


def _small(data: bytes, side: int) -> bytes:
    """Return an upright JPEG at most so many pixels wide and high. The header is checked first.

    Raises:
        SampleError: it is no image, or a damaged or too large one.
    """
    header = read_header(data)
    image = _reduced_jpeg(data, side) if header.extension == "jpg" else None
    if image is None:
        image = Image.fromarray(decode(data))
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def _reduced_jpeg(data: bytes, side: int) -> Image.Image | None:
    """Return a JPEG at a reduced scale, upright; `None` where it has to be read strictly."""
    try:
        image = Image.open(io.BytesIO(data), formats=["JPEG"])
        image.draft("RGB", (side, side))
        return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
