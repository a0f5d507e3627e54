"""Pools: which workers host which stages, how many there are, and whether they fit.

Stages on CPUs share one pool; each GPU stage and each stage that waits for a service has its own.
Everything is counted before a worker starts, and again when nodes join or leave: a pool has as many
workers as the cluster has room for, up to what the config says, and at least one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from florilegium.engine.core.errors import RunError
from florilegium.engine.core.stage import StageConfig
from florilegium.engine.planning.graph import CPU_POOL, Graph


@dataclass(frozen=True, kw_only=True)
class Pool:
    """`size` workers, each with `num_cpus`, `num_gpus` and `calls` at once."""

    name: str
    size: int
    num_cpus: float = 0
    num_gpus: float = 0
    calls: int = 1

    @property
    def width(self) -> int:
        """Calls that can run at once."""
        return self.size * self.calls


class TooSmall(RunError):
    """A cluster, or the share of it that may be used, has no room for one worker of each pool.

    `lacking` is what it needs and what it has.
    """

    def __init__(self, lacking: str, cure: str) -> None:
        super().__init__(f"{lacking}. {cure}")
        self.lacking = lacking


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What a cluster has: CPUs in all, and the GPUs of each node.

    Of its GPUs, at most `max_gpus` may be used, in all.
    """

    cpus: int
    gpus_by_node: tuple[int, ...] = ()
    max_gpus: float = math.inf

    @property
    def gpus(self) -> float:
        """GPUs that may be used, in all."""
        return min(sum(self.gpus_by_node), self.max_gpus)

    def shared(self, share: float, max_gpus: float | None) -> Machines:
        """Return what one of several users of the cluster may use: a share of its CPUs, at least
        one, and of its GPUs, and of these at most so many."""
        if share == 1 and max_gpus is None:
            return self
        gpus = min(share * sum(self.gpus_by_node), math.inf if max_gpus is None else max_gpus)
        gpus = int(gpus) if gpus == int(gpus) else gpus
        return replace(self, cpus=min(self.cpus, max(1, int(share * self.cpus))), max_gpus=gpus)

    def holds(self, wanted: Sequence[float]) -> bool:
        """Tell whether workers with so many GPUs each fit, all at once; the largest are placed
        first. A fraction has to fit on one GPU, several GPUs on one node."""
        if sum(wanted) > self.gpus + 1e-9:
            return False
        free = [[1.0] * count for count in self.gpus_by_node]
        return all(_place(gpus, free) for gpus in sorted(wanted, reverse=True))


def _place(gpus: float, free: list[list[float]]) -> bool:
    """Take GPUs from the first node that has them."""
    count, share = (int(gpus), 1.0) if gpus >= 1 else (1, gpus)
    for node in free:
        fitting = [place for place, left in enumerate(node) if left >= share - 1e-9][:count]
        if len(fitting) == count:
            for place in fitting:
                node[place] -= share
            return True
    return False


def least_pools(graph: Graph) -> dict[str, Pool]:
    """Return the pools of a graph by name, each with one worker."""
    pools = {CPU_POOL: Pool(name=CPU_POOL, size=1, num_cpus=1)}
    for node in graph.layered:
        if node.pool != CPU_POOL:
            num_gpus = 0 if node.is_on_cpu else node.stage.config.num_gpus
            calls = node.stage.calls_at_once
            pools[node.pool] = Pool(name=node.pool, size=1, num_gpus=num_gpus, calls=calls)
    return pools


def pools_of(
    graph: Graph, machines: Machines, *, workers: int | None, without: Collection[str] = ()
) -> dict[str, Pool]:
    """Size the pools of a graph, by name; `workers` are those for CPU stages, at most.

    Those `without` workers, as no shard needs them any more, leave their GPUs to the others.

    Raises:
        TooSmall: not one worker of each fits the machines.
    """
    if machines.cpus < 1:
        raise TooSmall("1 CPU is wanted and the cluster has 0", "Add nodes, or start Ray with CPUs")
    pools = least_pools(graph)
    configs = {node.pool: node.stage.config for node in graph.layered if pools[node.pool].num_gpus}
    sizes = _gpu_sizes({name: configs[name] for name in configs if name not in without}, machines)
    sizes[CPU_POOL] = min(workers or machines.cpus, machines.cpus)
    return {name: replace(pool, size=sizes.get(name, 1)) for name, pool in pools.items()}


def wanted_workers(graph: Graph, *, workers: int | None) -> dict[str, int]:
    """Return the numbers of workers that a config states, by pool."""
    on_gpus = [node for node in graph.layered if node.wants_gpu and not node.is_on_cpu]
    stated = {CPU_POOL: workers} | {node.pool: node.stage.config.workers for node in on_gpus}
    return {name: count for name, count in stated.items() if isinstance(count, int)}


def _gpu_sizes(stages: Mapping[str, StageConfig], machines: Machines) -> dict[str, int]:
    """Return the workers of each GPU stage: as many as it says, where all others have one; the
    others share what is left."""
    open_names = [name for name, one in stages.items() if one.workers == "auto"]
    fixed = {name: one.workers for name, one in stages.items() if isinstance(one.workers, int)}
    sizes = _shrunk(fixed | dict.fromkeys(open_names, 1), stages, machines)
    left = machines.gpus - sum(sizes[name] * stages[name].num_gpus for name in fixed)
    shares = {
        name: max(1, int(left / len(open_names) / stages[name].num_gpus)) for name in open_names
    }
    return _shrunk(sizes | shares, stages, machines, names=open_names or None)


def _shrunk(
    sizes: Mapping[str, int],
    stages: Mapping[str, StageConfig],
    machines: Machines,
    names: Sequence[str] | None = None,
) -> dict[str, int]:
    """Take workers from the largest pools, or the largest of some, until all fit.

    Raises:
        TooSmall: not one worker of each fits.
    """
    found = dict(sizes)
    while not machines.holds([stages[name].num_gpus for name in found for _ in range(found[name])]):
        largest = max(names or found, key=found.__getitem__)
        if found[largest] == 1:
            raise _too_small(stages, machines)
        found[largest] -= 1
    return found


def _too_small(stages: Mapping[str, StageConfig], machines: Machines) -> TooSmall:
    wanted = ", ".join(f"{name} {one.num_gpus:g}" for name, one in stages.items())
    there = sum(machines.gpus_by_node)
    used = f", of which this run may use {machines.gpus:g}" if machines.gpus < there else ""
    return TooSmall(
        f"the GPU stages do not fit: {wanted} GPU are wanted, for one worker each, and the cluster "
        f"has {there}{used}",
        "Lower num_gpus, add nodes, widen runner.share, max_gpus or label_selector, or let "
        "`florilegium plan` share them out",
    )
