"""A Ray cluster of one node with its job server; prints the address, ends with its input."""

from __future__ import annotations

import sys

import ray

context = ray.init(
    address="local",
    num_cpus=2,
    include_dashboard=True,
    dashboard_host="127.0.0.1",
    dashboard_port=int(sys.argv[1]),
    log_to_driver=False,
    object_store_memory=100 * 2**20,
    _node_ip_address="127.0.0.1",
    _temp_dir=sys.argv[2],
)
sys.stdout.write(f"http://{context.dashboard_url}\n")
sys.stdout.flush()
sys.stdin.read()
ray.shutdown()
