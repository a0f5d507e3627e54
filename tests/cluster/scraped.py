"""A build on a Ray of its own: prints what the metrics port of the node has when it is counted.

python -m tests.cluster.scraped SOURCE OUTPUT
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.request import urlopen

import ray

from florilegium.engine.execution.preparation import prepare
from florilegium.pipelines.build import build_dataset
from tests.building import BRIGHTEST, configure
from tests.processes import wait_for

STAGES = {**BRIGHTEST, "trouble": {"use": "tests.stages:Trouble", "key": "cup", "how": "refuse"}}


def main() -> None:
    """Build, and wait until Ray has exported the last shard."""
    source, output = map(Path, sys.argv[1:])
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100 * 2**20,
        _node_ip_address="127.0.0.1",
        _system_config={"metrics_report_interval_ms": 1000},
    )
    keys = {"runner": {"kind": "ray", "workers": 1}, "specialists": STAGES, "shard_size": 5}
    build_dataset(prepare(configure(source, output, **keys)))
    (node,) = ray.nodes()
    text = ""

    def is_counted() -> bool:
        nonlocal text
        with urlopen(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics") as answer:
            text = answer.read().decode()
        states = [line for line in text.splitlines() if line.startswith("ray_florilegium_run{")]
        return any('state="finished"' in line and line.endswith(" 1.0") for line in states)

    assert wait_for(is_counted, seconds=60), text
    sys.stdout.write(text)
    ray.shutdown()


if __name__ == "__main__":
    main()
