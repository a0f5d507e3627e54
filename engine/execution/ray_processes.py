"""Starting a Ray of our own without those of its processes that a run has no use for.

They are three programs in Python, which take about 175 MB while the run lasts and more than a
second of its start. Ray has options for them on the command line only, whose processes would
outlive a driver that is killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def few_processes() -> Iterator[None]:
    """Start no autoscaler, no copying of logs to the driver, and no server of a dashboard, as long
    as the block lasts. The agents of the nodes are started, and metrics are exported by them.

    With a version of Ray whose classes have other methods, what it does not have is not left out.
    """
    from ray._private.node import Node

    unused = {
        "start_monitor": _start_nothing,
        "start_log_monitor": _start_nothing,
        "start_api_server": _start_no_server,
    }
    own = {name: getattr(Node, name) for name in unused if hasattr(Node, name)}
    try:
        for name in own:
            setattr(Node, name, unused[name])
        yield
    finally:
        for name, method in own.items():
            setattr(Node, name, method)


def _start_nothing(node: Any) -> None:
    """Start no process."""


def _start_no_server(node: Any, **options: Any) -> None:
    """Note that there is no address of a dashboard, as Ray does when it serves none."""
    node._webui_url = ""
