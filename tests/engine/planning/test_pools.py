"""Pools are sized before a worker starts."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.errors import RunError
from engine.core.stage import StageConfig
from engine.planning.graph import CPU_POOL, Graph, Node
from engine.planning.pools import Machines, pools_of
from tests.stages import Brightest, Meeting, Remote

TWO_NODES = Machines(cpus=32, gpus_by_node=(4, 4))


def graph_of(**stages: dict[str, Any]) -> Graph:
    nodes = [
        Node(
            name=name, use=name, stage=options.pop("of", Brightest)(StageConfig(**options)),
            fingerprint=name,
        )
        for name, options in stages.items()
    ]  # fmt: skip
    return Graph(specialists=tuple(nodes), filters=())


def sizes(machines: Machines, **stages: dict[str, Any]) -> dict[str, int]:
    pools = pools_of(graph_of(**stages), machines, workers=None)
    return {name: pool.size for name, pool in pools.items()}


def test_cpu_stages_share_one_worker_for_each_cpu() -> None:
    assert sizes(TWO_NODES, a={}, b={}) == {CPU_POOL: 32}


def test_open_pools_share_what_fixed_ones_leave() -> None:
    found = sizes(
        TWO_NODES, a={"num_gpus": 1, "workers": 2}, b={"num_gpus": 1}, c={"num_gpus": 0.5}
    )
    assert found == {CPU_POOL: 32, "a": 2, "b": 3, "c": 6}


def test_a_fraction_does_not_reach_over_two_gpus() -> None:
    assert Machines(cpus=1, gpus_by_node=(2,)).holds([0.6, 0.6])
    assert not Machines(cpus=1, gpus_by_node=(2,)).holds([0.6, 0.6, 0.6])
    assert sizes(Machines(cpus=1, gpus_by_node=(2,)), a={"num_gpus": 0.6})["a"] == 2


def test_several_gpus_are_those_of_one_node() -> None:
    assert TWO_NODES.holds([4, 4])
    assert not TWO_NODES.holds([6])
    assert not TWO_NODES.holds([3, 3, 2])


def test_an_open_pool_shrinks_until_all_fit() -> None:
    found = sizes(Machines(cpus=1, gpus_by_node=(1, 1)), a={"num_gpus": 0.75}, b={"num_gpus": 0.4})
    assert found == {CPU_POOL: 1, "a": 1, "b": 2}


@pytest.mark.parametrize(
    "stages",
    [
        {"a": {"num_gpus": 1, "workers": 9}},
        {"a": {"num_gpus": 1, "workers": 8}, "b": {"num_gpus": 0.1}},
        {"a": {"num_gpus": 5}},
    ],
)
def test_a_cluster_that_is_too_small_is_an_error(stages: dict[str, Any]) -> None:
    with pytest.raises(RunError, match=r"a \d x \d.* are wanted and the cluster has 8"):
        sizes(TWO_NODES, **stages)


def test_without_gpus_their_stages_are_among_those_on_cpus() -> None:
    graph = graph_of(a={"num_gpus": 1}, b={}).on_cpus()
    assert {node.pool for node in graph.nodes} == {CPU_POOL}
    assert set(pools_of(graph, Machines(cpus=2), workers=None)) == {CPU_POOL}


def test_a_stage_that_waits_for_a_service_has_one_worker() -> None:
    assert sizes(TWO_NODES, a={"of": Remote}) == {CPU_POOL: 32, "a": 1}


def test_calls_at_once_widen_a_pool() -> None:
    pools = pools_of(graph_of(a={"of": Meeting, "num_gpus": 1}), TWO_NODES, workers=None)
    assert (pools["a"].size, pools["a"].width) == (8, 16)
