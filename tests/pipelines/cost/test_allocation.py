from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from florilegium.engine.core.errors import RunError
from florilegium.engine.core.stage import StageConfig
from florilegium.engine.planning.graph import CPU_POOL, Graph, Node
from florilegium.engine.planning.pools import Machines, pools_of
from florilegium.pipelines.cost.allocation import Allocation, allocate
from florilegium.pipelines.cost.cost import Cost
from florilegium.pipelines.cost.measure import Measured
from tests.stages import Brightest, Remote

GPU_MIB = 24_000.0


def cost(name: str, s_per_image: float, gpu_mib: float = 0.0) -> Cost:
    return Cost(
        name=name, images=10, seconds=10 * s_per_image, load_s=1, base_mib=100, memory_mib=100,
        gpu_mib=gpu_mib, gpu_total_mib=GPU_MIB if gpu_mib else 0.0,
    )  # fmt: skip


def measured(machines: Machines, *costs: Cost, remote: tuple[str, ...] = ()) -> Measured:
    nodes = []
    for one in costs:
        stage: Any = Remote if one.name in remote else Brightest
        config = StageConfig(num_gpus=1 if one.gpu_mib else 0)
        nodes.append(Node(name=one.name, use="it", stage=stage(config), fingerprint="f"))
    return Measured(
        graph=Graph(specialists=tuple(nodes), filters=()), machines=machines, costs=costs,
        images=1000, image_bytes=1e5, shard_bytes=1e5, layer_bytes=1e3,
    )  # fmt: skip


def workers(allocation: Allocation) -> dict[str, int]:
    return {pool.name: pool.workers for pool in allocation.pools}


def test_stages_on_cpus_share_all_of_them() -> None:
    found = allocate(measured(Machines(cpus=4), cost("a", 0.1), cost("b", 0.3)))
    assert workers(found) == {CPU_POOL: 4}
    assert found.images_per_s == pytest.approx(10)
    assert found.bottleneck == CPU_POOL
    assert found.gpu_s_per_image == 0


def test_the_slower_stage_gets_more_of_the_gpus() -> None:
    machines = Machines(cpus=64, gpus_by_node=(8,))
    found = allocate(measured(machines, cost("slow", 0.3, 20_000), cost("fast", 0.1, 20_000)))
    assert workers(found) == {"slow": 6, "fast": 2}
    assert found.images_per_s == pytest.approx(20)
    assert found.gpu_s_per_image == pytest.approx(0.4)


def test_small_models_share_a_gpu_and_are_no_faster_than_it() -> None:
    machines = Machines(cpus=4, gpus_by_node=(1,))
    found = allocate(measured(machines, cost("a", 0.1, 4_000), cost("b", 0.1, 4_000)))
    assert {pool.num_gpus for pool in found.pools} == {0.2}
    assert found.images_per_s == pytest.approx(5)
    assert found.bottleneck == "all GPUs"


@pytest.mark.parametrize(
    ("cpus", "prepare_s", "feeders"),
    [(64, 0.3, 4), (64, 0.01, 1), (64, 0.0, None), (6, 0.3, 3), (1, 0.3, 1)],
)
def test_a_worker_gets_feeders_that_keep_pace_with_it_of_its_share_of_the_cpus(
    cpus: int, prepare_s: float, feeders: int | None
) -> None:
    machines = Machines(cpus=cpus, gpus_by_node=(2,))
    plain = cost("a", 0.1, 20_000)
    found = allocate(measured(machines, replace(plain, prepare_s=10 * prepare_s)))
    assert [(pool.workers, pool.feeders) for pool in found.pools] == [(2, feeders)]


def test_a_planned_allocation_fits_when_it_is_built() -> None:
    machines = Machines(cpus=4, gpus_by_node=(2, 1))
    plan = allocate(
        measured(machines, *(cost(f"s{n}", 0.1 * (n + 1), 5_000 + 2_000 * n) for n in range(4)))
    )
    nodes = [
        Node(
            name=pool.name, use="it", fingerprint="f",
            stage=Brightest(StageConfig(num_gpus=pool.num_gpus, workers=pool.workers)),
        )
        for pool in plan.pools
    ]  # fmt: skip
    built = pools_of(Graph(specialists=tuple(nodes), filters=()), machines, workers=None)
    assert {name: pool.size for name, pool in built.items() if name != CPU_POOL} == workers(plan)


def test_a_cluster_that_is_too_small_is_an_error() -> None:
    machines = Machines(cpus=4, gpus_by_node=(1,))
    with pytest.raises(RunError, match=r"needs a 1, b 0\.5 GPU and the cluster has 1"):
        allocate(measured(machines, cost("a", 0.1, 20_000), cost("b", 0.1, 9_000)))


def test_a_service_has_one_worker_and_can_be_the_bottleneck() -> None:
    found = allocate(
        measured(Machines(cpus=4), cost("a", 0.1), cost("chat", 2.0), remote=("chat",))
    )
    assert workers(found) == {CPU_POOL: 4, "chat": 1}
    assert (found.bottleneck, found.images_per_s) == ("chat", pytest.approx(0.5))
