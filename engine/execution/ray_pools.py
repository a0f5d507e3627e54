"""The pools of a run on Ray, as large as the cluster has room for.

They grow onto nodes that join and leave those that will go. What has no room is waited for, for a
limited time: workers that Ray cannot place tell the cluster's autoscaler what is missing, and go
with the run, however it ends. (`request_resources` would outlive a run that is killed, and replace
the requests of others.)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import RunError
from florilegium.engine.execution.actor_pool import ActorPool
from florilegium.engine.execution.nodes import Nodes, nodes_of_ray
from florilegium.engine.execution.ray_errors import last_line
from florilegium.engine.execution.waiting import PATIENCE_S, waiting_for
from florilegium.engine.planning.config import RunnerConfig
from florilegium.engine.planning.graph import CPU_POOL, Graph
from florilegium.engine.planning.pools import Pool, TooSmall, least_pools, pools_of, wanted_workers

_log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_S = 1.0
"""Seconds between looks at the nodes while a run waits to start."""
NODE_LOST_S = 60.0
"""Seconds that a run waits, at least, when the last node that has room for a pool is gone."""


class RayPools:
    """Pools by name, and how many workers each should have now."""

    def __init__(
        self, runner: RunnerConfig, graph: Graph, make: Callable[[Pool], ActorPool]
    ) -> None:
        self._runner = runner
        self._graph = graph
        self._make = make
        self._sizes: dict[str, Pool] = {}
        self._asked: dict[str, int] = {}  # workers beyond those that have room
        self._pools: dict[str, ActorPool] = {}
        self._released: set[str] = set()
        self._lacking = ""
        self._lacking_since_s = 0.0
        self._is_started = False
        self._asks_until_s = 0.0

    async def start(self, *, wait_s: float) -> Graph:
        """Start the workers, and return the graph as they host it.

        Raises:
            RunError: not one worker of each pool fits the cluster, even after `wait_s` seconds.
        """
        nodes = nodes_of_ray(self._runner)
        self._asks_until_s = time.monotonic() + wait_s
        if not nodes.machines.gpus and not wait_s:
            self._graph = self._graph.on_cpus()
        self._sizes = least_pools(self._graph)
        self._fit(nodes, wait_s)
        self._open()
        while self._lacking:
            await asyncio.sleep(LOOK_S)
            nodes = await _asked(partial(nodes_of_ray, self._runner)) or nodes
            self._fit(nodes, wait_s)
        self._is_started = True
        return self._graph

    def _open(self) -> None:
        """Ask for the workers of all pools; Ray places them as they come, and the largest have to
        come first."""
        for pool in sorted(self._sizes.values(), key=lambda pool: -pool.num_gpus):
            self.pool(pool.name)

    async def fit(self) -> None:
        """Give each pool the workers that have room now; a run that waits too long is ended."""
        if self._is_started and (nodes := await _asked(partial(nodes_of_ray, self._runner))):
            try:
                self._fit(nodes, max(NODE_LOST_S, self._runner.wait_for_nodes_s))
            except RunError as error:
                for pool in self._pools.values():
                    pool.fail(error)

    def _fit(self, nodes: Nodes, wait_s: float) -> None:
        try:
            self._sizes = pools_of(
                self._graph, nodes.machines, workers=self._runner.workers, without=self._released
            )
            self._lacking = ""
        except TooSmall as error:
            self._lack(error, wait_s)
        self._asked = self._missing() if self._may_ask() else {}
        for name, pool in self._pools.items():
            size = self._sizes[name].size + self._asked.get(name, 0)
            pool.resize(size, leaving=nodes.leaving)

    def _lack(self, error: TooSmall, wait_s: float) -> None:
        now_s = time.monotonic()
        if not self._lacking:
            self._lacking_since_s = now_s
        self._lacking = error.lacking
        self._sizes = least_pools(self._graph) | {CPU_POOL: self._sizes[CPU_POOL]}
        if now_s - self._lacking_since_s >= wait_s:
            waited = f"; waited {wait_s:.0f} s for nodes" if wait_s else ""
            raise RunError(f"{error}{waited}") from error

    def _may_ask(self) -> bool:
        """Tell whether workers that have no room may wait for it: while some that have room are
        not there, those would take it from them."""
        are_there = all(pool.there >= self._sizes[name].size for name, pool in self._pools.items())
        is_time = self._is_started and time.monotonic() < self._asks_until_s
        return is_time and are_there and not self._lacking

    def _missing(self) -> dict[str, int]:
        """Return how many workers each pool lacks of the number that the config states."""
        wanted = wanted_workers(self._graph, workers=self._runner.workers)
        counts = {name: wanted[name] - self._sizes[name].size for name in wanted}
        return {name: count for name, count in counts.items() if count > 0 and name in self._pools}

    def notes(self) -> list[str]:
        """Return remarks on pools that are smaller than the config states."""
        return [
            f"pool {name!r} starts with {counted(self._sizes[name].size, 'worker')} of "
            f"{self._sizes[name].size + count}: the cluster, or the share of it that this run may "
            "use, has no room for more now"
            for name, count in self._missing().items()
        ]

    async def waiting(self) -> str:
        """Return what workers wait for; "" when all that have room are there."""
        if self._lacking:
            return f"waiting for nodes: {self._lacking}"
        late = {name: pool.late(PATIENCE_S) for name, pool in self._pools.items()}
        held = {name: count - self._asked.get(name, 0) for name, count in late.items()}
        cpus = sum(self._sizes[name].num_cpus * max(0, count) for name, count in held.items())
        gpus = sum(self._sizes[name].num_gpus * max(0, count) for name, count in held.items())
        if cpus or gpus:
            return await _asked(partial(waiting_for, cpus=cpus, gpus=gpus)) or ""
        more = ", ".join(f"{count} in pool {name!r}" for name, count in self._asked.items())
        return f"waiting for nodes for more workers: {more}" if more else ""

    def width(self, pool: str) -> int:
        """Return how many calls of a pool can run at once."""
        return self._sizes[pool].width

    def pool(self, name: str) -> ActorPool:
        """Return a pool; the workers of one that was released start again."""
        if name not in self._pools:
            self._released.discard(name)
            self._pools[name] = self._make(self._sizes[name])
        return self._pools[name]

    def release(self, name: str) -> None:
        """End the workers of a pool; at the next look, others may take their room."""
        if name in self._pools:
            self._released.add(name)
            self._pools.pop(name).close()

    def close(self) -> None:
        """End all workers."""
        for pool in self._pools.values():
            pool.close()


async def _asked(question: Callable[[], T]) -> T | None:
    """Ask Ray in a thread; return `None` where its head is away: it is asked again in a second."""
    try:
        return await asyncio.to_thread(question)
    except Exception as error:  # no class of Ray's covers them
        _log.warning("the head of the cluster does not answer: %s", last_line(error))
        return None
