"""The nodes of the Ray that this process is connected to: what they have, and which will leave."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from florilegium.engine.planning.config import RunnerConfig
from florilegium.engine.planning.pools import Machines


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """What this run may use of the nodes that stay, and the ids of those that will leave."""

    machines: Machines
    leaving: frozenset[str] = frozenset()


def nodes_of_ray(runner: RunnerConfig) -> Nodes:
    """Return what a run may use of the cluster: no node that is dead, will leave, or is not
    selected."""
    import ray

    leaving = frozenset(_draining())
    machines = machines_of(
        node
        for node in ray.nodes()
        if node["Alive"]
        and node["NodeID"] not in leaving
        and is_selected(node.get("Labels") or {}, runner.label_selector)
    )
    return Nodes(machines=machines.shared(runner.share, runner.max_gpus), leaving=leaving)


def machines_of(nodes: Iterable[Mapping[str, Any]]) -> Machines:
    """Return the CPUs and GPUs of nodes, as Ray describes these."""
    there = [node["Resources"] for node in nodes]
    return Machines(
        cpus=sum(int(node.get("CPU", 0)) for node in there),
        gpus_by_node=tuple(int(node["GPU"]) for node in there if node.get("GPU", 0) >= 1),
    )


def is_selected(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Tell whether Ray places an actor with this selector on a node with these labels."""
    return all(_has(labels.get(key), wanted) for key, wanted in selector.items())


def _has(label: str | None, wanted: str) -> bool:
    values = wanted.removeprefix("!").removeprefix("in(").removesuffix(")").split(",")
    is_among = label in [value.strip() for value in values]
    return is_among != wanted.startswith("!")


def _draining() -> Collection[str]:
    """Return the nodes that the autoscaler, or a spot market, will take away soon.

    Ray has no public way to ask; its own libraries ask in this one. A client of Ray cannot.
    """
    try:
        from ray._private.state import state

        return state.get_draining_nodes()
    except Exception:  # without it, a node leaves like one that dies
        return ()
