"""How large the pools of a run are while nodes come and go; no Ray is started."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from types import SimpleNamespace
from typing import Any

import pytest

from florilegium.engine.core.errors import RunError
from florilegium.engine.core.stage import StageConfig
from florilegium.engine.execution import ray_pools
from florilegium.engine.execution.nodes import Nodes
from florilegium.engine.execution.ray_pools import NODE_LOST_S, RayPools
from florilegium.engine.planning.config import RunnerConfig
from florilegium.engine.planning.graph import CPU_POOL, Graph, Node
from florilegium.engine.planning.pools import Machines, Pool
from tests.stages import Brightest


class FakePool:
    """A pool whose actors are there as soon as the cluster has room for them."""

    def __init__(self, pool: Pool, cluster: FakeCluster) -> None:
        self.name = pool.name
        self.size = pool.size
        self.cluster = cluster
        self.leaving: Collection[str] = ()
        self.failure: Exception | None = None
        self.is_closed = False
        cluster.opened.append(pool.name)

    @property
    def there(self) -> int:
        return min(self.size, self.cluster.room)

    def late(self, patience_s: float) -> int:
        return self.size - self.there

    def resize(self, size: int, *, leaving: Collection[str] = ()) -> None:
        self.size, self.leaving = size, leaving

    def fail(self, error: Exception) -> None:
        self.failure = error

    def close(self) -> None:
        self.is_closed = True


class FakeCluster:
    """What a test sets, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes = Nodes(machines=Machines(cpus=4))
        self.now_s = 100.0
        self.room = 100
        self.opened: list[str] = []
        self.pools: dict[str, FakePool] = {}
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(ray_pools, "nodes_of_ray", lambda _: self.nodes)
        clock = SimpleNamespace(monotonic=lambda: self.now_s)
        monkeypatch.setattr(ray_pools, "time", clock)
        self.sleep_as(self.sleep)
        monkeypatch.setattr(ray_pools, "waiting_for", lambda **wanted: f"waiting for {wanted}")

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def sleep_as(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        namespace = SimpleNamespace(sleep=sleep, to_thread=asyncio.to_thread)
        self._monkeypatch.setattr(ray_pools, "asyncio", namespace)

    def has(self, cpus: int, *gpus: int, leaving: Collection[str] = ()) -> None:
        machines = Machines(cpus=cpus, gpus_by_node=gpus)
        self.nodes = Nodes(machines=machines, leaving=frozenset(leaving))

    def make(self, pool: Pool) -> Any:
        self.pools[pool.name] = FakePool(pool, self)
        return self.pools[pool.name]

    @property
    def sizes(self) -> dict[str, int]:
        return {name: pool.size for name, pool in self.pools.items() if not pool.is_closed}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    return FakeCluster(monkeypatch)


def pools_on(cluster: FakeCluster, *, runner: Any = None, **stages: dict[str, Any]) -> RayPools:
    nodes = [
        Node(name=name, use=name, stage=Brightest(StageConfig(**options)), fingerprint=name)
        for name, options in stages.items()
    ]
    graph = Graph(specialists=tuple(nodes), filters=())
    return RayPools(RunnerConfig(**runner or {}), graph, cluster.make)


def test_pools_grow_with_the_nodes_and_shrink_with_them(cluster: FakeCluster) -> None:
    pools = pools_on(cluster, a={"num_gpus": 0.5}, b={"num_gpus": 1})
    cluster.has(4, 2)
    seen = []

    async def run() -> None:
        await pools.start(wait_s=0)
        for nodes in ((4, 2), (12, 2, 4), (8, 4), (2, 1, 1)):
            cluster.has(*nodes)
            await pools.fit()
            seen.append((cluster.sizes, pools.width(CPU_POOL), pools.width("a")))

    asyncio.run(run())
    assert seen == [
        ({"b": 1, "a": 2, CPU_POOL: 4}, 4, 2),
        ({"b": 3, "a": 6, CPU_POOL: 12}, 12, 6),
        ({"b": 2, "a": 4, CPU_POOL: 8}, 8, 4),
        ({"b": 1, "a": 2, CPU_POOL: 2}, 2, 2),
    ]


def test_stated_numbers_are_the_most(cluster: FakeCluster) -> None:
    pools = pools_on(cluster, runner={"workers": 6}, a={"num_gpus": 1, "workers": 3})
    cluster.has(4, 2)

    async def run() -> None:
        await pools.start(wait_s=0)
        assert cluster.sizes == {"a": 2, CPU_POOL: 4}
        assert [note.partition(":")[0] for note in pools.notes()] == [
            "pool 'cpu' starts with 4 workers of 6",
            "pool 'a' starts with 2 workers of 3",
        ]
        cluster.has(40, 8)
        await pools.fit()
        assert cluster.sizes == {"a": 3, CPU_POOL: 6}
        assert pools.notes() == []

    asyncio.run(run())


def test_pools_get_what_one_that_is_released_leaves(cluster: FakeCluster) -> None:
    pools = pools_on(cluster, a={"num_gpus": 1}, b={"num_gpus": 1})
    cluster.has(4, 4)

    async def run() -> None:
        await pools.start(wait_s=0)
        pools.release("a")
        assert cluster.pools["a"].is_closed
        await pools.fit()
        assert cluster.sizes == {"b": 4, CPU_POOL: 4}
        pools.pool("a")
        await pools.fit()
        assert cluster.sizes == {"a": 2, "b": 2, CPU_POOL: 4}

    asyncio.run(run())


def test_pools_know_the_nodes_that_leave(cluster: FakeCluster) -> None:
    pools = pools_on(cluster, a={})

    async def run() -> None:
        await pools.start(wait_s=0)
        cluster.has(2, leaving={"n1"})
        await pools.fit()
        assert (cluster.sizes, cluster.pools[CPU_POOL].leaving) == ({CPU_POOL: 2}, {"n1"})

    asyncio.run(run())


def test_a_share_is_kept_as_the_cluster_grows(cluster: FakeCluster) -> None:
    pools = pools_on(cluster, a={"num_gpus": 1})
    whole = [Machines(cpus=4, gpus_by_node=(2,)), Machines(cpus=8, gpus_by_node=(2, 4))]

    async def run() -> None:
        cluster.nodes = Nodes(machines=whole[0].shared(0.5, None))
        await pools.start(wait_s=0)
        assert cluster.sizes == {"a": 1, CPU_POOL: 2}
        cluster.nodes = Nodes(machines=whole[1].shared(0.5, None))
        await pools.fit()
        assert cluster.sizes == {"a": 3, CPU_POOL: 4}

    asyncio.run(run())


def test_a_start_that_need_not_wait_is_refused_or_goes_on_cpus(cluster: FakeCluster) -> None:
    pools = pools_on(cluster, a={"num_gpus": 2})
    assert asyncio.run(pools.start(wait_s=0)).nodes[0].pool == CPU_POOL
    cluster.has(4, 1)
    pools = pools_on(cluster, a={"num_gpus": 2})
    with pytest.raises(RunError, match=r"a 2 GPU are wanted, .* the cluster has 1[.] Lower[^;]*$"):
        asyncio.run(pools.start(wait_s=0))


def test_a_start_waits_for_nodes_with_its_workers_asked_for(cluster: FakeCluster) -> None:
    pools = pools_on(cluster, a={"num_gpus": 2}, b={"num_gpus": 1, "workers": 4})
    lines: list[str] = []
    coming = iter([(4, 2), (4, 2, 2)])

    async def run() -> None:
        async def asleep(seconds: float) -> None:
            assert cluster.sizes == {"a": 1, "b": 1, CPU_POOL: 1}, "an autoscaler sees these"
            lines.append(await pools.waiting())
            cluster.has(*next(coming))

        cluster.sleep_as(asleep)
        graph = await pools.start(wait_s=30)
        assert [node.pool for node in graph.nodes] == ["a", "b"], "they do not run on CPUs"
        assert cluster.sizes == {"a": 1, "b": 2, CPU_POOL: 4}
        assert not (await pools.waiting()).startswith("waiting for nodes: the GPU")

    asyncio.run(run())
    wanted = "waiting for nodes: the GPU stages do not fit: a 2, b 1 GPU are wanted, for one worker"
    assert [line.partition(" each")[0] for line in lines] == [wanted] * 2
    assert [line[-1] for line in lines] == ["0", "2"]


def test_a_start_for_which_nodes_do_not_come_is_refused_at_the_end_of_the_time(
    cluster: FakeCluster,
) -> None:
    pools = pools_on(cluster, a={"num_gpus": 1})
    with pytest.raises(RunError, match=r"the cluster has 0[.] .*; waited 30 s for nodes"):
        asyncio.run(pools.start(wait_s=30))
    assert cluster.now_s == 130


@pytest.mark.parametrize("wait_s", [0.0, 300.0])
def test_a_run_whose_last_node_for_a_stage_goes_waits_for_another_and_then_ends(
    cluster: FakeCluster, wait_s: float
) -> None:
    pools = pools_on(cluster, runner={"wait_for_nodes_s": wait_s}, a={"num_gpus": 1}, b={})
    cluster.has(8, 1)

    async def run() -> None:
        await pools.start(wait_s=wait_s)
        cluster.has(4)
        await pools.fit()
        assert cluster.sizes == {"a": 1, CPU_POOL: 8}
        assert (await pools.waiting()).startswith("waiting for nodes: the GPU stages do not fit: a")
        cluster.now_s += max(wait_s, NODE_LOST_S) - 1
        await pools.fit()
        assert [pool.failure for pool in cluster.pools.values()] == [None, None]
        cluster.has(4, 1)
        await pools.fit()
        assert not (await pools.waiting())
        cluster.has(4)
        for after_s in (0, max(wait_s, NODE_LOST_S)):
            cluster.now_s += after_s
            await pools.fit()
        assert all("s for nodes" in str(pool.failure) for pool in cluster.pools.values())

    asyncio.run(run())


def test_a_pool_that_was_released_is_not_waited_for(cluster: FakeCluster) -> None:
    pools = pools_on(cluster, a={"num_gpus": 1}, b={"num_gpus": 1})
    cluster.has(4, 2)

    async def run() -> None:
        await pools.start(wait_s=0)
        pools.release("a")
        cluster.has(4, 1)
        await pools.fit()
        assert cluster.sizes == {"b": 1, CPU_POOL: 4}
        assert not await pools.waiting()

    asyncio.run(run())


def test_workers_beyond_the_cluster_are_asked_for_until_the_time_is_over(
    cluster: FakeCluster,
) -> None:
    pools = pools_on(cluster, runner={"workers": 9}, a={"num_gpus": 1, "workers": 3})
    cluster.has(4, 1)

    async def run() -> None:
        await pools.start(wait_s=60)
        assert cluster.sizes == {"a": 1, CPU_POOL: 4}
        cluster.room = 0
        await pools.fit()
        assert cluster.sizes == {"a": 1, CPU_POOL: 4}, "those that have room come first"
        cluster.room = 4
        await pools.fit()
        assert cluster.sizes == {"a": 3, CPU_POOL: 9}
        assert pools.width(CPU_POOL) == 4, "they are not counted on"
        assert await pools.waiting() == (
            "waiting for nodes for more workers: 5 in pool 'cpu', 2 in pool 'a'"
        )
        cluster.has(6, 1)
        await pools.fit()
        assert (cluster.sizes, pools.width(CPU_POOL)) == ({"a": 1, CPU_POOL: 6}, 6)
        cluster.room = 6
        await pools.fit()
        assert cluster.sizes == {"a": 3, CPU_POOL: 9}
        cluster.now_s += 60
        await pools.fit()
        assert cluster.sizes == {"a": 1, CPU_POOL: 6}
        assert not await pools.waiting()

    asyncio.run(run())


def test_what_others_hold_is_waited_for_with_their_names(cluster: FakeCluster) -> None:
    pools = pools_on(cluster, a={"num_gpus": 0.5, "workers": 2})
    cluster.has(4, 1)

    async def run() -> None:
        await pools.start(wait_s=0)
        cluster.room = 1
        assert await pools.waiting() == "waiting for {'cpus': 3, 'gpus': 0.5}"

    asyncio.run(run())


def test_a_head_that_does_not_answer_for_a_moment_changes_nothing(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pools = pools_on(cluster, a={"num_gpus": 1})
    cluster.has(4, 1)

    def away(*_: Any, **__: Any) -> None:
        raise RuntimeError("GCS is unavailable")

    async def run() -> None:
        await pools.start(wait_s=0)
        cluster.has(8, 2)
        with monkeypatch.context() as patch:
            patch.setattr(ray_pools, "nodes_of_ray", away)
            await pools.fit()
        assert cluster.sizes == {"a": 1, CPU_POOL: 4}
        await pools.fit()
        assert cluster.sizes == {"a": 2, CPU_POOL: 8}
        cluster.room = 0
        with monkeypatch.context() as patch:
            patch.setattr(ray_pools, "waiting_for", away)
            assert not await pools.waiting()
        assert await pools.waiting()

    asyncio.run(run())
    assert caplog.messages == ["the head of the cluster does not answer: GCS is unavailable"] * 2
