"""The plan as tables for the terminal, and as YAML for `build --plan`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import yaml
from rich.filesize import decimal
from rich.table import Table

from florilegium.engine.core.counted import counted
from florilegium.engine.planning.graph import CPU_POOL
from florilegium.pipelines.cost.allocation import Allocation
from florilegium.pipelines.cost.measure import Measured


def costs_table(measured: Measured) -> Table:
    """Return the measured cost of each stage, per image that it is asked about."""
    table = Table(title="measured, one worker of each stage")
    table.add_column("stage")
    table.add_column("pool")
    times = ("ms/image", "prepare CPU-ms", "load s")
    columns = ("asked", *times, "memory MiB", "GPU MiB", "layer B/image")
    for column in (*columns, "requests", "price", "failed"):
        table.add_column(column, justify="right")
    pools = {node.name: node.pool for node in measured.graph.layered}
    for cost in measured.costs:
        table.add_row(
            cost.name,
            pools[cost.name],
            f"{100 * cost.sample_share:g}%" if cost.sample_share < 1 else "",
            f"{cost.seconds / max(cost.images, 1) * 1000:.1f}",
            f"{cost.prepare_s / max(cost.images, 1) * 1000:.1f}" if cost.prepare_s else "",
            f"{cost.load_s:.1f}",
            f"{cost.memory_mib:.0f}",
            f"{cost.gpu_mib:.0f}" if cost.gpu_total_mib else "",
            f"{cost.layer_bytes / max(cost.images, 1):.0f}",
            str(cost.requests) if cost.requests else "",
            f"{cost.price:.4f}" if cost.price else "",
            f"{len(cost.failures)} of {cost.images}" if cost.failures else "",
        )
    return table


def pools_table(allocation: Allocation) -> Table:
    """Return the workers of each pool."""
    table = Table(title="planned pools")
    table.add_column("pool")
    for column in ("workers", "GPUs each", "feeders each", "images/s"):
        table.add_column(column, justify="right")
    for pool in allocation.pools:
        gpus = f"{pool.num_gpus:g}" if pool.num_gpus else ""
        feeders = "" if pool.feeders is None else str(pool.feeders)
        table.add_row(pool.name, str(pool.workers), gpus, feeders, f"{pool.images_per_s:.1f}")
    return table


def prediction(measured: Measured, allocation: Allocation) -> list[str]:
    """Return the predicted time and bytes for the whole source, in lines."""
    hours = measured.images / allocation.images_per_s / 3600
    gpu_hours = measured.images * allocation.gpu_s_per_image / 3600
    return [
        *machine_lines(measured),
        f"predicted  {allocation.images_per_s:.1f} images/s, limited by {allocation.bottleneck}",
        f"{source_line(measured)}: {hours:.2f} h, {gpu_hours:.2f} GPU-hours",
        output_line(measured),
    ]


def machine_lines(measured: Measured) -> Iterator[str]:
    """Yield the failures on the sample, and the machines of the cluster."""
    machines = measured.machines
    yield from (
        f"failed     {one.name}: {one.failures[0]}" for one in measured.costs if one.failures
    )
    without = [node.name for node in measured.graph.nodes if node.wants_gpu and node.is_on_cpu]
    on_cpus = f"; on the CPUs run {', '.join(without)}" if without else ""
    yield f"cluster    {counted(machines.cpus, 'CPU')}, {counted(machines.gpus, 'GPU')}{on_cpus}"


def source_line(measured: Measured) -> str:
    """Return the number and the bytes of the images in the whole source."""
    size = decimal(round(measured.images * measured.image_bytes))
    return f"source     {counted(measured.images, 'image')}, {size}"


def output_line(measured: Measured) -> str:
    """Return the bytes that will be written for the whole source, each round."""
    images = measured.images
    return (
        f"output     {decimal(round(images * measured.shard_bytes))} of shards, "
        f"{decimal(round(images * measured.layer_bytes))} of layers before compression"
    )


def plan_file(measured: Measured, allocation: Allocation, *, students: Collection[str] = ()) -> str:
    """Return the YAML that `build --plan` and `refine --plan` merge into a config."""
    document: dict[str, Any] = {}
    sections: dict[str, tuple[str, ...]]
    sections = {node.name: (node.stage.section,) for node in measured.graph.nodes}
    sections |= dict.fromkeys(students, ("refine", "students"))
    for pool in allocation.pools:
        if pool.name == CPU_POOL:
            document["runner"] = {"workers": pool.workers}
        elif pool.num_gpus:
            options = {"num_gpus": pool.num_gpus, "workers": pool.workers}
            if pool.feeders is not None:
                options["feeders"] = pool.feeders
            section = document
            for key in sections[pool.name]:
                section = section.setdefault(key, {})
            section[pool.name] = options
    return yaml.safe_dump(document, sort_keys=False)
