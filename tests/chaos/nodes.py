"""A Ray of several nodes on this machine, each with processes of its own, that can be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.benchmarks.processes import Family

CPUS = 1
GPUS = 1
"""Of each node. The GPU is bookkeeping only."""
NODES = 2
"""Beside the head, which has no CPU: no worker runs there."""
STORE_MB = 80
SETTINGS: dict[str, Any] = {
    # By default a node counts as dead after half a minute, which here would be most of a run.
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
    # The disk behind the shared memory counts as full when this share of it is in use: always.
    "local_fs_capacity_threshold": 0.0001,
}


class Nodes:
    """The nodes of a cluster. A node dies as a machine does: all of its processes at once."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self._common = {
            "include_dashboard": False,
            "object_store_memory": STORE_MB << 20,
        }
        head = {"num_cpus": 0, "temp_dir": str(folder), "_system_config": SETTINGS}
        self._cluster = Cluster(initialize_head=True, head_node_args={**self._common, **head})
        self._nodes: list[Any] = []

    @property
    def address(self) -> str:
        """Where a driver joins."""
        return str(self._cluster.address)

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self) -> None:
        """Start a node and wait until it has joined."""
        node = self._cluster.add_node(num_cpus=CPUS, num_gpus=GPUS, **self._common)
        self._nodes.append(node)

    def workers(self) -> dict[int, int]:
        """Return the actors that host stages, by process id, with the index of their node."""
        return {
            pid: index
            for index, node in enumerate(self._nodes)
            for pid in _children(_raylet(node))
            if _is_worker(pid)
        }

    def kill_node(self, index: int) -> None:
        """Kill all processes of a node, the raylet first: no death of a worker is reported."""
        node = self._nodes.pop(index)
        raylet = _raylet(node)
        workers = _children(raylet)
        for pid in (raylet, *workers):
            kill(pid)
        self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        """Kill what is left."""
        families = [Family(_raylet(node)) for node in (*self._nodes, self._cluster.head_node)]
        members = [process.pid for family in families for process in family.members()]
        for node in self._nodes:
            self._cluster.remove_node(node, allow_graceful=False)
        self._cluster.remove_node(self._cluster.head_node, allow_graceful=False)
        for pid in members:
            kill(pid)


@contextmanager
def cluster(folder: Path) -> Iterator[Nodes]:
    """Start a head and its nodes; kill them at the end."""
    nodes = Nodes(folder)
    try:
        for _ in range(NODES):
            nodes.add()
        yield nodes
    finally:
        nodes.close()


def kill(pid: int) -> None:
    """Kill a process of ours, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _raylet(node: Any) -> int:
    ((raylet,),) = [node.all_processes["raylet"]]
    return int(raylet.process.pid)


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(one) for task in tasks for one in (task / "children").read_text().split()]
    except OSError:  # it ended meanwhile
        return []


def _is_worker(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Actor")
    except OSError:
        return False
