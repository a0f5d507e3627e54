"""A cluster that is too small, and an autoscaler of Ray that adds nodes to it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.timeout(400)

HEAD = f"{'f' * 51}00000"
"""The id of the head of Ray's clusters for tests of autoscalers."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A cluster of a head without GPU, whose autoscaler can add nodes with one on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets have short paths
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    gcs = f"{ray.util.get_node_ip_address()}:{port}"
    config = Path(folder) / "autoscaler.json"
    config.write_text(json.dumps(autoscaler_config(gcs)), encoding="utf-8")
    monkeypatch.setenv("RAY_FAKE_CLUSTER", "1")
    monkeypatch.setenv("AUTOSCALER_UPDATE_INTERVAL_S", "1")
    own = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "object_store_memory": 80 << 20,
            "include_dashboard": False,
            "gcs_server_port": port,
            "autoscaling_config": str(config),
            "temp_dir": f"{folder}/ray",
            "env_vars": {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD},
        },
    )
    yield own.address
    started = psutil.Process().children(recursive=True)  # the autoscaler does not end its nodes
    own.shutdown()
    for process in started:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(started, timeout=10)
    shutil.rmtree(folder, ignore_errors=True)


def autoscaler_config(gcs: str) -> dict[str, object]:
    node = {"CPU": 1, "GPU": 1, "object_store_memory": 80 << 20}
    lists = ("initialization_commands", "setup_commands", "head_setup_commands",
             "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands",
             "cluster_synced_files", "rsync_exclude", "rsync_filter")  # fmt: skip
    return {
        "cluster_name": "test",
        "max_workers": 1,
        "idle_timeout_minutes": 5,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": gcs,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
            "gpu": {"resources": node, "node_config": {}, "min_workers": 0, "max_workers": 1},
        },
        "file_mounts_sync_continuously": False,
        **{key: [] for key in lists},
        **{key: {} for key in ("auth", "docker", "file_mounts")},
    }


def test_an_autoscaler_adds_the_node_that_a_build_waits_for(
    address: str, album: Path, tmp_path: Path
) -> None:
    log, config = tmp_path / "log", tmp_path / "config.json"
    placed = {"use": "tests.chaos.placed:Placed", "log": str(log), "seconds": 0, "num_gpus": 1}
    document = {
        "source": str(album),
        "output": str(tmp_path / "out"),
        "runner": {"kind": "ray", "address": address, "wait_for_nodes_s": 120},
        "specialists": {"placed": placed},
    }
    config.write_text(json.dumps(document), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "florilegium", "build", str(config)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 images = 12 samples + 0 dead letters" in done.stdout
    nodes = {json.loads(line)["node"] for line in log.read_text(encoding="utf-8").splitlines()}
    assert nodes == {f"{HEAD[:-1]}1"}, "the first node that the autoscaler added"
