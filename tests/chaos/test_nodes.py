"""Nodes that join and leave a cluster during a build, and what a build leaves behind on it.

A driver is a process of its own, and joins a Ray of several nodes that runs on this machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayActorError

from florilegium.engine.core.errors import RunError, WorkerDied
from florilegium.engine.execution.ray_errors import NodeLost, explained
from tests.conftest import ROOT
from tests.processes import wait_for

pytestmark = pytest.mark.timeout(400)

IMAGES = 120
START_S = 120.0
"""Seconds within which a build begins, on a busy machine."""
JOINED_S = 60.0
"""Seconds within which a node that joined has its first call."""


@dataclass
class Cluster:
    """A Ray whose head has one CPU; nodes come and go."""

    ray: Any
    nodes: list[Any] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(self.ray.address)

    def add(self, **resources: Any) -> str:
        """Add a node and return its id."""
        node = self.ray.add_node(object_store_memory=80 << 20, **resources)
        self.nodes.append(node)
        return str(node.node_id)

    def remove(self, node_id: str, *, graceful: bool = True) -> None:
        node = next(one for one in self.nodes if one.node_id == node_id)
        self.nodes.remove(node)
        self.ray.remove_node(node, allow_graceful=graceful)

    def drain(self, node_id: str) -> None:
        """Announce that a node will be taken away in a minute, as on a spot market."""
        from ray._raylet import GcsClient
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline_ms = int((time.time() + 60) * 1000)
        assert GcsClient(address=self.address).drain_node(node_id, reason, "spot", deadline_ms)[0]


@pytest.fixture(scope="module")
def whole_cluster() -> Iterator[Cluster]:
    import ray
    from ray.cluster_utils import Cluster as RayCluster

    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets have short paths
    settings = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500}
    own = RayCluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "object_store_memory": 80 << 20,
            "include_dashboard": False,
            "temp_dir": folder,
            "_system_config": {**settings, "health_check_failure_threshold": 3},
        },
    )
    ray.init(address=own.address, log_to_driver=False, logging_level="ERROR")
    yield Cluster(own)
    ray.shutdown()
    own.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(whole_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with its head alone."""
    yield whole_cluster
    for node in [*whole_cluster.nodes]:
        whole_cluster.remove(node.node_id)


@dataclass
class Driver:
    """A build in a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    output: Path
    printed: Path

    def calls(self, node_id: str = "") -> list[dict[str, Any]]:
        """Return the calls that were begun, on a node or on all."""
        text = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
        calls = [json.loads(line) for line in text.splitlines()]
        return [one for one in calls if node_id in ("", one["node"])]

    def comes_to(self, condition: Callable[[], bool], *, seconds: float = START_S) -> bool:
        """Wait until something holds while the build runs."""
        assert wait_for(lambda: condition() or self.process.poll() is not None, seconds=seconds)
        return condition()

    def ended(self) -> int:
        return self.process.wait(150)

    def samples(self) -> int:
        """Return the samples of the finished dataset, in which no image may be missing."""
        totals = json.loads((self.output / "manifest.json").read_bytes())["totals"]
        assert totals["dead_letters"] == 0
        return int(totals["samples"])


Build = Callable[..., Driver]


@pytest.fixture
def build(cluster: Cluster, album: Path, tmp_path: Path) -> Iterator[Build]:
    """Start builds of many small images on the cluster."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(IMAGES):
        shutil.copy(album / "cat.jpg", photos / f"{number:03d}.jpg")
    drivers: list[Driver] = []

    def start(stages: dict[str, dict[str, Any]] | None = None, **runner: Any) -> Driver:
        log, output = tmp_path / "log", tmp_path / "out"
        stages = stages or {"placed": {}}
        document = {
            "source": str(photos),
            "output": str(output),
            "shard_size": 10,
            "runner": {"kind": "ray", "address": cluster.address, **runner},
            "specialists": {
                name: {"use": "tests.chaos.placed:Placed", "log": str(log), **options}
                for name, options in stages.items()
            },
        }
        config, printed = tmp_path / "config.json", tmp_path / "printed"
        config.write_text(json.dumps(document), encoding="utf-8")
        with printed.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "florilegium", "build", str(config)],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=file,
                stderr=file,
            )
        drivers.append(Driver(process=process, log=log, output=output, printed=printed))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.process.kill()
        driver.process.wait()


def left_behind() -> Sequence[str]:
    """Return what a build may leave on a cluster: actors, groups, names, objects, claims."""
    import ray
    from ray._private.state import actors

    total, free = ray.cluster_resources(), ray.available_resources()
    claims = {kind for kind, count in total.items() if free.get(kind, 0) < count}
    return [
        *(f"actor {one['ActorClassName']}" for one in actors().values() if one["State"] != "DEAD"),
        *(f"group {key}" for key in ray.util.placement_group_table()),
        *(f"name {one['name']}" for one in ray.util.list_named_actors(all_namespaces=True)),
        *(f"claim {kind}" for kind in sorted(claims)),
        *(f"process {pid}" for pid in worker_processes()),
    ]


def worker_processes() -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            if command.startswith((b"ray::Actor", b"ray::_Notes")) and is_ours(folder):
                found.append(int(folder.name))
        except OSError:
            continue  # it ended meanwhile
    return found


def is_ours(folder: Path) -> bool:
    """Tell whether a process descends from this one."""
    import psutil

    return any(one.pid == os.getpid() for one in psutil.Process(int(folder.name)).parents())


@pytest.mark.parametrize("kind", ["cpu", "gpu", "half a gpu"])
def test_a_node_that_joins_is_used(
    cluster: Cluster,
    build: Build,
    kind: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    go_on = tmp_path / "go_on"
    share = {"cpu": 0.0, "gpu": 1.0, "half a gpu": 0.5}[kind]
    resources = {"num_cpus": 1} if kind == "cpu" else {"num_cpus": 1, "num_gpus": 1}
    first = cluster.add(**resources)
    driver = build({"placed": {"num_gpus": share, "seconds": 0, "waits_for": str(go_on)}})
    assert driver.comes_to(lambda: bool(driver.calls(first))), driver.printed.read_text()
    joined = cluster.add(**resources)
    joined_s = time.time()
    assert driver.comes_to(lambda: bool(driver.calls(joined)), seconds=JOINED_S)
    begun_s = min(call["begun_s"] for call in driver.calls(joined))
    record_property("seconds", round(begun_s - joined_s, 1))
    go_on.touch()
    assert driver.ended() == 0, driver.printed.read_text()
    assert driver.samples() == IMAGES


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_node_that_is_drained_gets_no_new_call_and_its_calls_are_finished(
    cluster: Cluster, build: Build, kind: str
) -> None:
    resources = {"num_cpus": 2, **({"num_gpus": 1} if kind == "gpu" else {})}
    leaving, staying = cluster.add(**resources), cluster.add(**resources)
    driver = build({"placed": {"num_gpus": 1 if kind == "gpu" else 0}})
    assert driver.comes_to(lambda: bool(driver.calls(leaving) and driver.calls(staying))), (
        driver.printed.read_text()
    )
    cluster.drain(leaving)
    drained_s = time.time()
    assert driver.ended() == 0, driver.printed.read_text()
    assert driver.samples() == IMAGES
    last_s = max(call["begun_s"] for call in driver.calls(leaving))
    assert last_s - drained_s < 6, "it is asked about each second"
    assert max(call["begun_s"] for call in driver.calls(staying)) > last_s
    keys = [key for call in driver.calls() for key in call["keys"]]
    assert len(keys) == len(set(keys)) == IMAGES, "no call was repeated"


@pytest.mark.parametrize(
    ("what", "error"),
    [("process", WorkerDied), ("node", NodeLost), ("node, with notice", NodeLost)],
)
def test_an_actor_that_goes_with_its_node_is_told_from_one_that_dies(
    cluster: Cluster, what: str, error: type[RunError]
) -> None:
    import ray

    class Sleeper:
        def pid(self) -> int:
            return os.getpid()

        def sleep(self) -> None:
            time.sleep(100)

    node = cluster.add(num_cpus=1, resources={"here": 1})
    options = {"num_cpus": 1, "resources": {"here": 1}, "max_restarts": 0}
    actor = ray.remote(**options)(Sleeper).remote()
    pid = ray.get(actor.pid.remote())
    call = actor.sleep.remote()
    if what == "process":
        os.kill(pid, signal.SIGKILL)
    else:
        cluster.remove(node, graceful=what != "node")
    for one in (call, actor.pid.remote()):  # one that was running, and one that comes too late
        with pytest.raises(RayActorError) as found:
            ray.get(one, timeout=60)
        assert type(explained(found.value, "cpu")) is error


@pytest.mark.parametrize("graceful", [True, False])
def test_a_node_that_goes_costs_its_calls_and_no_image(
    cluster: Cluster, build: Build, graceful: bool
) -> None:
    going, staying = cluster.add(num_cpus=1, num_gpus=1), cluster.add(num_cpus=1, num_gpus=1)
    driver = build({"placed": {"num_gpus": 1}})
    assert driver.comes_to(lambda: bool(driver.calls(going) and driver.calls(staying))), (
        driver.printed.read_text()
    )
    cluster.remove(going, graceful=graceful)
    assert driver.ended() == 0, driver.printed.read_text()
    assert driver.samples() == IMAGES


def test_a_stage_that_has_no_room_is_waited_for_and_starts_when_a_node_joins(
    cluster: Cluster, build: Build
) -> None:
    driver = build({"placed": {"num_gpus": 1, "seconds": 0}}, wait_for_nodes_s=90)
    line = "waiting for nodes: the GPU stages do not fit: placed 1 GPU are wanted"
    assert driver.comes_to(lambda: line in driver.printed.read_text()), driver.printed.read_text()
    joined = cluster.add(num_cpus=1, num_gpus=1)
    assert driver.ended() == 0, driver.printed.read_text()
    assert driver.samples() == IMAGES
    assert {call["node"] for call in driver.calls()} == {joined}


def test_a_stage_that_has_no_room_at_the_end_of_the_time_ends_the_run(
    cluster: Cluster, build: Build
) -> None:
    driver = build({"placed": {"num_gpus": 1}}, wait_for_nodes_s=2)
    assert driver.ended() == 1
    text = driver.printed.read_text()
    assert re.search("the cluster has 0[.] .*; waited 2 s for nodes", text), text
    assert wait_for(lambda: not left_behind(), seconds=30), left_behind()


def test_a_build_keeps_to_its_share_of_a_cluster(cluster: Cluster, build: Build) -> None:
    import ray

    for _ in range(2):
        cluster.add(num_cpus=2, num_gpus=2)  # 5 CPUs and 4 GPUs in all
    driver = build({"placed": {"num_gpus": 1}}, share=0.5)
    used: set[tuple[float, float]] = set()

    def note() -> bool:
        total, free = ray.cluster_resources(), ray.available_resources()
        used.add(tuple(total[kind] - free.get(kind, 0.0) for kind in ("CPU", "GPU")))
        return driver.process.poll() is not None

    assert wait_for(note, seconds=120)
    assert driver.ended() == 0, driver.printed.read_text()
    assert max(cpus for cpus, _ in used) == 2
    assert max(gpus for _, gpus in used) == 2


def test_a_build_keeps_to_the_nodes_with_its_labels(cluster: Cluster, build: Build) -> None:
    cluster.add(num_cpus=2, labels={"market": "spot"})
    selected = cluster.add(num_cpus=2, labels={"market": "reserved"})
    driver = build({"placed": {"seconds": 0}}, label_selector={"market": "in(reserved, owned)"})
    assert driver.ended() == 0, driver.printed.read_text()
    assert driver.samples() == IMAGES
    assert {call["node"] for call in driver.calls()} == {selected}


def test_workers_beyond_the_cluster_are_asked_for_and_start_when_a_node_joins(
    cluster: Cluster, build: Build, tmp_path: Path
) -> None:
    """The demand that an autoscaler sees is that of actors which Ray cannot place."""
    from ray._private.state import actors

    go_on = tmp_path / "go_on"
    stages = {"placed": {"seconds": 0, "waits_for": str(go_on)}}
    driver = build(stages, workers=3, wait_for_nodes_s=300)
    assert driver.comes_to(lambda: bool(driver.calls())), driver.printed.read_text()

    def waiting() -> int:
        return sum(one["State"] == "PENDING_CREATION" for one in actors().values())

    assert driver.comes_to(lambda: waiting() == 2)
    joined = cluster.add(num_cpus=2)
    assert driver.comes_to(lambda: bool(driver.calls(joined)), seconds=JOINED_S)
    assert driver.comes_to(lambda: waiting() == 0)
    go_on.touch()
    assert driver.ended() == 0, driver.printed.read_text()
    assert driver.samples() == IMAGES
    assert "pool 'cpu' starts with 1 worker of 3" in driver.printed.read_text()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_ended_leaves_nothing_on_a_cluster(
    cluster: Cluster, build: Build, how: signal.Signals
) -> None:
    cluster.add(num_cpus=1, num_gpus=1)
    driver = build({"placed": {"num_gpus": 1}, "other": {}}, wait_for_nodes_s=60, workers=9)
    assert driver.comes_to(lambda: len({call["node"] for call in driver.calls()}) == 2), (
        driver.printed.read_text()
    )
    assert left_behind()
    os.kill(driver.process.pid, how)
    assert driver.ended() != 0
    assert wait_for(lambda: not left_behind(), seconds=30), left_behind()


def test_a_build_that_is_done_leaves_nothing_on_a_cluster(cluster: Cluster, build: Build) -> None:
    cluster.add(num_cpus=1, num_gpus=1)
    driver = build({"placed": {"num_gpus": 1, "seconds": 0}, "other": {"seconds": 0}})
    assert driver.ended() == 0, driver.printed.read_text()
    assert wait_for(lambda: not left_behind(), seconds=30), left_behind()
