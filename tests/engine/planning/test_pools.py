"""Pools are sized before a worker starts."""

from __future__ import annotations

from typing import Any

import pytest

from florilegium.engine.core.stage import StageConfig
from florilegium.engine.planning.graph import CPU_POOL, Graph, Node
from florilegium.engine.planning.pools import Machines, TooSmall, pools_of, wanted_workers
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
    ("stages", "found"),
    [
        ({"a": {"num_gpus": 1, "workers": 9}}, {"a": 8}),
        ({"a": {"num_gpus": 1, "workers": 8}, "b": {"num_gpus": 0.1}}, {"a": 7, "b": 10}),
        (
            {"a": {"num_gpus": 1, "workers": 9}, "b": {"num_gpus": 1, "workers": 5}},
            {"a": 4, "b": 4},
        ),
        ({"a": {"num_gpus": 4, "workers": 2}, "b": {"num_gpus": 1}}, {"a": 1, "b": 4}),
    ],
)
def test_a_stated_number_of_workers_is_the_most_and_gives_way_to_the_first_of_other_stages(
    stages: dict[str, Any], found: dict[str, int]
) -> None:
    assert sizes(TWO_NODES, **stages) == {CPU_POOL: 32, **found}


def test_stated_cpu_workers_are_the_most() -> None:
    for workers, size in ((9, 9), (32, 32), (33, 32), (None, 32)):
        assert pools_of(graph_of(a={}), TWO_NODES, workers=workers)[CPU_POOL].size == size


@pytest.mark.parametrize(
    ("machines", "stages", "text"),
    [
        (TWO_NODES, {"a": {"num_gpus": 5}}, "a 5 GPU are wanted, .* the cluster has 8[.]"),
        (
            TWO_NODES,
            {n: {"num_gpus": 3} for n in "abc"},
            "a 3, b 3, c 3 GPU are wanted, .* has 8[.]",
        ),
        (
            TWO_NODES.shared(0.25, 1.5),
            {"a": {"num_gpus": 2}},
            "has 8, of which this run may use 1.5",
        ),
        (Machines(cpus=0), {}, "1 CPU is wanted and the cluster has 0"),
    ],
)
def test_a_cluster_without_room_for_one_worker_of_each_is_an_error(
    machines: Machines, stages: dict[str, Any], text: str
) -> None:
    with pytest.raises(TooSmall, match=text):
        sizes(machines, **stages)


def test_a_share_of_a_cluster_is_not_exceeded() -> None:
    half = TWO_NODES.shared(0.5, None)
    assert (half.cpus, half.gpus) == (16, 4)
    assert sizes(half, a={"num_gpus": 1}, b={"num_gpus": 0.5}) == {CPU_POOL: 16, "a": 2, "b": 4}
    assert sizes(TWO_NODES.shared(1, 3), a={"num_gpus": 1, "workers": 5}) == {CPU_POOL: 32, "a": 3}
    assert not half.holds([1, 1, 1, 1, 0.1])


def test_a_share_has_at_least_one_cpu_where_there_is_one() -> None:
    assert Machines(cpus=2).shared(0.1, None).cpus == 1
    assert Machines(cpus=0).shared(0.1, None).cpus == 0


def test_all_of_a_cluster_is_no_limit() -> None:
    assert TWO_NODES.shared(1, None) == TWO_NODES


def test_pools_without_workers_leave_their_gpus_to_the_others() -> None:
    graph = graph_of(a={"num_gpus": 1}, b={"num_gpus": 1})
    pools = pools_of(graph, TWO_NODES, workers=None, without={"a"})
    assert (pools["a"].size, pools["b"].size) == (1, 8)
    assert pools_of(graph, TWO_NODES, workers=None)["b"].size == 4


def test_only_stages_on_gpus_have_a_stated_number_of_workers() -> None:
    graph = graph_of(
        a={"num_gpus": 1, "workers": 3}, b={"num_gpus": 1}, c={"workers": 4}, d={"of": Remote}
    )
    assert wanted_workers(graph, workers=7) == {CPU_POOL: 7, "a": 3}
    assert wanted_workers(graph.on_cpus(), workers=None) == {}


def test_without_gpus_their_stages_are_among_those_on_cpus() -> None:
    graph = graph_of(a={"num_gpus": 1}, b={}).on_cpus()
    assert {node.pool for node in graph.nodes} == {CPU_POOL}
    assert set(pools_of(graph, Machines(cpus=2), workers=None)) == {CPU_POOL}


def test_a_stage_that_waits_for_a_service_has_one_worker() -> None:
    assert sizes(TWO_NODES, a={"of": Remote}) == {CPU_POOL: 32, "a": 1}


def test_calls_at_once_widen_a_pool() -> None:
    pools = pools_of(graph_of(a={"of": Meeting, "num_gpus": 1}), TWO_NODES, workers=None)
    assert (pools["a"].size, pools["a"].width) == (8, 16)
