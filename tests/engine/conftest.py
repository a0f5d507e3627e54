"""A small real image."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(scope="session")
def jpeg(photographs: dict[str, Path]) -> bytes:
    """A photograph, 64x43 pixels, as JPEG."""
    with Image.open(photographs["rocket"]) as image:
        image.thumbnail((64, 64))
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()
