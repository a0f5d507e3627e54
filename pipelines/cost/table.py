"""The plan as tables for the terminal, and as YAML for `build --plan`."""

from __future__ import annotations

from typing import Any

import yaml
from rich.filesize import decimal
from rich.table import Table

from engine.core.counted import counted
from engine.planning.graph import CPU_POOL
from pipelines.cost.allocation import Allocation
from pipelines.cost.measure import Measured


def costs_table(measured: Measured) -> Table:
    """Return the measured cost of each stage."""
    table = Table(title="measured, one worker of each stage")
    table.add_column("stage")
    table.add_column("pool")
    for column in ("ms/image", "load s", "memory MiB", "GPU MiB", "layer B/image", "failed"):
        table.add_column(column, justify="right")
    pools = {node.name: node.pool for node in measured.graph.layered}
    for cost in measured.costs:
        table.add_row(
            cost.name,
            pools[cost.name],
            f"{cost.s_per_image * 1000:.1f}",
            f"{cost.load_s:.1f}",
            f"{cost.memory_mib:.0f}",
            f"{cost.gpu_mib:.0f}" if cost.gpu_total_mib else "",
            f"{cost.layer_bytes / max(cost.images, 1):.0f}",
            f"{len(cost.failures)} of {cost.images}" if cost.failures else "",
        )
    return table


def pools_table(allocation: Allocation) -> Table:
    """Return the workers of each pool."""
    table = Table(title="planned pools")
    table.add_column("pool")
    for column in ("workers", "GPUs each", "images/s"):
        table.add_column(column, justify="right")
    for pool in allocation.pools:
        gpus = f"{pool.num_gpus:g}" if pool.num_gpus else ""
        table.add_row(pool.name, str(pool.workers), gpus, f"{pool.images_per_s:.1f}")
    return table


def prediction(measured: Measured, allocation: Allocation) -> list[str]:
    """Return the predicted time and bytes for the whole source, in lines."""
    images, machines = measured.images, measured.machines
    hours = images / allocation.images_per_s / 3600
    gpu_hours = images * allocation.gpu_s_per_image / 3600
    rate = f"{allocation.images_per_s:.1f} images/s, limited by {allocation.bottleneck}"
    without = [node.name for node in measured.graph.nodes if node.wants_gpu and node.is_on_cpu]
    on_cpus = f"; on the CPUs run {', '.join(without)}" if without else ""
    return [
        *(f"failed     {one.name}: {one.failures[0]}" for one in measured.costs if one.failures),
        f"cluster    {counted(machines.cpus, 'CPU')}, {counted(machines.gpus, 'GPU')}{on_cpus}",
        f"predicted  {rate}",
        f"source     {counted(images, 'image')}, {decimal(round(images * measured.image_bytes))}: "
        f"{hours:.2f} h, {gpu_hours:.2f} GPU-hours",
        f"output     {decimal(round(images * measured.shard_bytes))} of shards, "
        f"{decimal(round(images * measured.layer_bytes))} of layers before compression",
    ]


def plan_file(measured: Measured, allocation: Allocation) -> str:
    """Return the YAML that `build --plan` merges into a config."""
    document: dict[str, Any] = {}
    sections = {node.name: "specialists" for node in measured.graph.specialists}
    sections |= {node.name: "filters" for node in measured.graph.filters}
    for pool in allocation.pools:
        if pool.name == CPU_POOL:
            document["runner"] = {"workers": pool.workers}
        elif pool.num_gpus:
            options = {"num_gpus": pool.num_gpus, "workers": pool.workers}
            document.setdefault(sections[pool.name], {})[pool.name] = options
    return yaml.safe_dump(document, sort_keys=False)
