"""A job server on loopback, and an environment without settings of Ray."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pipelines.cluster.server import JobServer


@pytest.fixture(autouse=True)
def _no_settings_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[JobServer]:
    """A job server without jobs."""
    with JobServer() as server:
        yield server
