"""The dataset of these tests."""

from __future__ import annotations

from tests.pipelines.conftest import scenes

__all__ = ["scenes"]
