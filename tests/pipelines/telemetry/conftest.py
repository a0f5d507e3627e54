"""A receiver, and an environment in which no other service is named."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A service on loopback that takes what is sent."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings of telemetry but those of the test; the client of OpenLineage adds its own."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("OTEL_", "OPENLINEAGE", "TRACEPARENT", "TRACESTATE")):
            del os.environ[name]
    os.environ["NO_PROXY"] = "127.0.0.1"
    yield
    os.environ.clear()
    os.environ |= before
