"""Dividing the machines of a cluster among stages, so that none waits long for another.

Pure arithmetic on measured costs. Stages on one GPU take turns: their times add up. A share of a
GPU reserves memory, not speed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from florilegium.engine.core.errors import RunError
from florilegium.engine.planning.graph import CPU_POOL
from florilegium.engine.planning.pools import Machines
from florilegium.pipelines.cost.cost import Cost
from florilegium.pipelines.cost.measure import Measured

MEMORY_MARGIN = 1.2
"""Factor on the measured GPU memory: other images may need more than those of the sample."""
FEEDERS_MARGIN = 1.25
"""Factor on the measured time of preparing images: a device that waits costs more than a CPU."""
SHARES = (0.1, 0.2, 0.25, 0.33, 0.5, 1.0)
"""The shares of a GPU that a worker can get; each fits into a GPU a whole number of times."""


@dataclass(frozen=True, kw_only=True)
class PlannedPool:
    """The workers of one pool, the GPUs and feeders of each, and the images per second of all of
    them; no `feeders` where no images are prepared for a network."""

    name: str
    workers: int
    num_gpus: float
    images_per_s: float
    feeders: int | None = None


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The pools of a run, the images per second of the whole run, and the slowest pool."""

    pools: tuple[PlannedPool, ...]
    images_per_s: float
    bottleneck: str
    gpu_s_per_image: float


def allocate(measured: Measured, *, cpu_workers: int | None = None) -> Allocation:
    """Divide the machines among the measured stages.

    Raises:
        RunError: the cluster is too small for one worker of every stage.
    """
    costs = {cost.name: cost for cost in measured.costs}
    nodes = {node.name: node for node in measured.graph.layered}
    on_cpu = [costs[name] for name, node in nodes.items() if node.pool == CPU_POOL]
    on_gpu = {name: costs[name] for name, n in nodes.items() if n.wants_gpu and n.pool == name}
    remote = [costs[name] for name, node in nodes.items() if node.stage.is_remote]
    pools = [_cpu_pool(on_cpu, cpu_workers or measured.machines.cpus)] if on_cpu else []
    wanted = {name: nodes[name].stage.config.num_gpus for name in on_gpu}
    pools += _gpu_pools(on_gpu, wanted, measured.machines)
    pools += [_pool(cost, workers=1, num_gpus=0) for cost in remote]
    gpu_s = sum(cost.s_per_image for cost in on_gpu.values())
    limits = {pool.name: pool.images_per_s for pool in pools}
    if gpu_s:
        limits["all GPUs"] = measured.machines.gpus / gpu_s
    bottleneck = min(limits, key=limits.__getitem__)
    return Allocation(
        pools=tuple(pools),
        images_per_s=limits[bottleneck],
        bottleneck=bottleneck,
        gpu_s_per_image=gpu_s,
    )


def _cpu_pool(costs: list[Cost], workers: int) -> PlannedPool:
    seconds = sum(cost.s_per_image for cost in costs)
    return PlannedPool(
        name=CPU_POOL, workers=workers, num_gpus=0, images_per_s=workers / max(seconds, 1e-9)
    )


def _pool(cost: Cost, *, workers: int, num_gpus: float) -> PlannedPool:
    return PlannedPool(
        name=cost.name,
        workers=workers,
        num_gpus=num_gpus,
        images_per_s=workers / max(cost.s_per_image, 1e-9),
    )


def _gpu_pools(
    costs: Mapping[str, Cost], wanted: Mapping[str, float], machines: Machines
) -> list[PlannedPool]:
    """Give every stage one worker; then give the slowest stage one more, again and again.

    It ends when no worker fits any more, or the slowest stage keeps pace with all GPUs together:
    more workers would only take turns.
    """
    shares = {name: _share(cost, wanted[name]) for name, cost in costs.items()}
    workers = dict.fromkeys(costs, 1)
    if not machines.holds(_wanted(workers, shares)):
        needed = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise RunError(
            f"one worker of every stage needs {needed} GPU and the cluster has {machines.gpus}: "
            "add GPUs, take smaller models or batches, or build in two runs that share `layers`"
        )
    turn_s = sum(cost.s_per_image for cost in costs.values()) / max(machines.gpus, 1)
    growing = set(costs)
    while growing:
        slowest = max(growing, key=lambda name: costs[name].s_per_image / workers[name])
        if costs[slowest].s_per_image / workers[slowest] <= turn_s:
            break
        more = {**workers, slowest: workers[slowest] + 1}
        if machines.holds(_wanted(more, shares)):
            workers = more
        else:
            growing.remove(slowest)
    cpus = machines.cpus / sum(workers.values()) if workers else 0
    return [
        replace(
            _pool(cost, workers=workers[name], num_gpus=shares[name]), feeders=_feeders(cost, cpus)
        )
        for name, cost in costs.items()
    ]


def _feeders(cost: Cost, cpus: float) -> int | None:
    """Return the feeders that keep pace with a worker as it was measured, with a reserve; at most
    its share of the CPUs. Where too few limited the measurement, these are a few more."""
    if not cost.prepare_s:
        return None
    wanted = FEEDERS_MARGIN * cost.prepare_s / max(cost.seconds, 1e-9)
    return max(1, min(math.ceil(wanted), int(cpus)))


def _wanted(workers: Mapping[str, int], shares: Mapping[str, float]) -> list[float]:
    return [shares[name] for name, count in workers.items() for _ in range(count)]


def _share(cost: Cost, wanted: float) -> float:
    """Return the smallest share of a GPU that holds the stage's memory; `num_gpus` of its config if
    torch did not measure any."""
    if not cost.gpu_total_mib:
        return wanted
    needed = cost.gpu_mib * MEMORY_MARGIN / cost.gpu_total_mib
    return next((share for share in SHARES if share >= needed), math.ceil(needed))
