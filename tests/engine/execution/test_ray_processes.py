"""Which processes a Ray of our own has; no Ray is started."""

from __future__ import annotations

import pytest
from ray._private import services
from ray._private.node import Node

from florilegium.engine.execution.ray_processes import few_processes


@pytest.mark.parametrize(
    ("method", "service"),
    [
        ("start_monitor", "start_monitor"),
        ("start_log_monitor", "start_log_monitor"),
        ("start_api_server", "start_api_server"),
    ],
)
def test_what_a_run_does_not_use_is_not_started_by_ray(
    method: str, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object, **options: object) -> None:
        raise AssertionError(f"{service} was called")

    monkeypatch.setattr(services, service, started)
    own = getattr(Node, method)
    node = object.__new__(Node)
    options = {"include_dashboard": False, "raise_on_failure": False}
    with few_processes():
        getattr(node, method)(**(options if method == "start_api_server" else {}))
    assert getattr(Node, method) is own


def test_without_a_dashboard_it_has_no_address() -> None:
    node = object.__new__(Node)
    with few_processes():
        node.start_api_server(include_dashboard=False, raise_on_failure=False)
    assert node.webui_url == ""


def test_ray_starts_all_again_after_an_error() -> None:
    own = Node.start_monitor
    with pytest.raises(OSError, match="no room"), few_processes():
        raise OSError("no room")
    assert Node.start_monitor is own
