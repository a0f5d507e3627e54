"""How the stages that have something to do for a shard are grouped into visits of pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from florilegium.engine.planning.graph import Graph


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Stages of one pool that run in one visit; `after`: the segments whose layers they read."""

    pool: str
    names: tuple[str, ...]
    after: frozenset[int]


def segments(graph: Graph, todo: Sequence[str]) -> list[Segment]:
    """Group the stages that have something to do, in an order that respects what they read."""
    level: dict[str, int] = {}
    groups: dict[tuple[int, str], list[str]] = {}
    for node in graph.layered:
        if node.name not in todo:
            continue
        pool_of = {name: pool for (_, pool), names in groups.items() for name in names}
        read = [name for name in node.inputs if name in level]
        steps = [level[name] + (pool_of[name] != node.pool) for name in read]
        level[node.name] = max(steps, default=0)
        groups.setdefault((level[node.name], node.pool), []).append(node.name)
    ordered = sorted(groups.items(), key=lambda group: group[0][0])
    index_of = {name: index for index, (_, names) in enumerate(ordered) for name in names}
    inputs = {node.name: node.inputs for node in graph.layered}
    plan: list[Segment] = []
    for index, ((_, pool), names) in enumerate(ordered):
        read_names = {name for reader in names for name in inputs[reader]}
        after = {index_of[name] for name in read_names & index_of.keys()} - {index}
        plan.append(Segment(pool=pool, names=tuple(names), after=frozenset(after)))
    return plan
