"""Stages that talk to a server, opened for a test and closed after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

Opened = Callable[[Any], Any]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Load a stage that asks a service; its connection is closed at the end."""
    with ExitStack() as stack:

        def load(stage: Any) -> Any:
            stage.load()
            stack.callback(stage.service.close)
            return stage

        yield load
