"""Pools: which workers host which stages, how many there are, and whether they fit.

Stages on CPUs share one pool; each GPU stage and each stage that waits for a service has its own.
Everything is counted before a worker starts, so a cluster that is too small is refused at once and
not waited for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.core.counted import counted
from engine.core.errors import RunError
from engine.core.stage import StageConfig
from engine.planning.graph import CPU_POOL, Graph


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


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What a cluster has: CPUs in all, and the GPUs of each node."""

    cpus: int
    gpus_by_node: tuple[int, ...] = ()

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return sum(self.gpus_by_node)

    def holds(self, wanted: Sequence[float]) -> bool:
        """Tell whether workers with so many GPUs each fit, all at once; the largest are placed
        first. A fraction has to fit on one GPU, several GPUs on one node."""
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


def pools_of(graph: Graph, machines: Machines, *, workers: int | None) -> dict[str, Pool]:
    """Size the pools of a graph, by name; `workers` are those for CPU stages.

    Raises:
        RunError: they do not fit the machines; the message says what to change.
    """
    pools = {CPU_POOL: _cpu_pool(machines, workers)}
    for node in graph.layered:
        if node.pool != CPU_POOL and node.stage.config.num_gpus == 0:
            pools[node.name] = Pool(name=node.name, size=1, calls=node.stage.calls_at_once)
    stages = {node.pool: node.stage for node in graph.layered if node.stage.config.num_gpus > 0}
    stages.pop(CPU_POOL, None)
    sizes = _gpu_sizes({name: stage.config for name, stage in stages.items()}, machines)
    for name, stage in stages.items():
        pools[name] = Pool(
            name=name,
            size=sizes[name],
            num_gpus=stage.config.num_gpus,
            calls=stage.calls_at_once,
        )
    return pools


def _cpu_pool(machines: Machines, workers: int | None) -> Pool:
    size = workers or machines.cpus
    if not 0 < size <= machines.cpus:
        raise RunError(
            f"{counted(size or 1, 'CPU worker is', 'CPU workers are')} wanted and the cluster has "
            f"{counted(machines.cpus, 'CPU')}: "
            f"set runner.workers to what is there, or add nodes"
        )
    return Pool(name=CPU_POOL, size=size, num_cpus=1)


def _gpu_sizes(stages: Mapping[str, StageConfig], machines: Machines) -> dict[str, int]:
    """Return the workers of each GPU stage: as many as it says, the others share what is left."""
    fixed = {name: one.workers for name, one in stages.items() if isinstance(one.workers, int)}
    left = machines.gpus - sum(count * stages[name].num_gpus for name, count in fixed.items())
    open_names = [name for name in stages if name not in fixed]
    sizes = fixed | {
        name: max(1, int(left / len(open_names) / stages[name].num_gpus)) for name in open_names
    }
    while not machines.holds([stages[name].num_gpus for name in sizes for _ in range(sizes[name])]):
        largest = max(open_names, key=sizes.__getitem__, default="")
        if not largest or sizes[largest] == 1:
            raise RunError(_too_small(stages, sizes, machines))
        sizes[largest] -= 1
    return sizes


def _too_small(
    stages: Mapping[str, StageConfig], sizes: Mapping[str, int], machines: Machines
) -> str:
    wanted = ", ".join(f"{name} {sizes[name]} x {stages[name].num_gpus:g}" for name in sizes)
    return (
        f"the GPU stages do not fit: {wanted} GPU are wanted and the cluster has {machines.gpus}. "
        "Lower num_gpus or workers, add nodes, or let `florilegium plan` share them out"
    )
