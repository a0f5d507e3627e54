"""Waiting on a cluster that others use, too: what for, and who they are."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from florilegium.engine.execution import ray_pools
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.ray_runner import RayRunner
from florilegium.engine.execution.run import execute
from florilegium.engine.execution.waiting import programs_of, waiting_for, waiting_line
from tests.building import configure

HOLD = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
class Holder:
    def hold(self): pass
holder = ray.remote(num_gpus=1, num_cpus=1)(Holder).remote()
ray.get(holder.hold.remote())
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("wanted", "free", "others", "text"),
    [
        ({"GPU": 2}, {}, ["a"], "waiting for 2 GPUs: held by a"),
        ({"GPU": 2}, {"GPU": 1.0}, ["a", "b"], "waiting for 1 GPU: held by a, b"),
        ({"CPU": 3, "GPU": 0.5}, {"GPU": 0.2}, [], "waiting for 3 CPUs and 0.3 GPUs: held by oth"),
        ({"CPU": 1}, {}, [*"abcde"], "waiting for 1 CPU: held by a, b, c and 2 more"),
        ({"CPU": 1, "GPU": 0}, {"CPU": 1.0}, ["a"], ""),
    ],
)
def test_what_lacks_is_told_with_those_who_may_hold_it(
    wanted: dict[str, float], free: dict[str, float], others: list[str], text: str
) -> None:
    found = waiting_line(wanted, free, others)
    assert found.startswith(text) if text else found == ""


def test_rays_own_programs_hold_nothing() -> None:
    jobs = [
        {"JobID": str(number), "Entrypoint": entrypoint, "IsDead": entrypoint == "dead.py"}
        | {"DriverPid": 7, "DriverIPAddress": "10.0.0.1"}
        for number, entrypoint in enumerate(
            [
                "own.py",
                "dead.py",
                "/site/ray/dashboard/agent.py",
                'ray::DashboardAgent "" ""',
                "a.py",
            ]
        )
    ]
    assert programs_of(jobs, own="0") == ["a.py (process 7 on 10.0.0.1)"]


@pytest.fixture
def other(ray_cluster: None, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another program that holds the GPU of the cluster and a CPU."""
    import ray

    (tmp_path / "hold.py").write_text(HOLD, encoding="utf-8")
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, str(tmp_path / "hold.py"), address]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_build_tells_who_holds_the_gpu_that_it_waits_for_and_goes_on_when_it_is_free(
    album: Path, tmp_path: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_pools, "PATIENCE_S", 0.5)
    seen: list[str] = []
    waiting = RayRunner.waiting

    async def note(self: RayRunner) -> str:
        found = await waiting(self)
        if found and other.poll() is None:
            seen.append(found)
            other.kill()  # and the build goes on
        return found

    monkeypatch.setattr(RayRunner, "waiting", note)
    stages = {"bright": {"use": "tests.stages:Brightest", "num_gpus": 1}}
    config = configure(
        album, tmp_path / "out", specialists=stages, runner={"kind": "ray", "workers": 1}
    )
    progress = Progress()
    manifest = execute(prepare(config), progress)
    assert manifest.totals.samples == 12
    assert re.match("waiting for (1 CPU and )?1 GPU: held by ", seen[0])
    assert f"{tmp_path / 'hold.py'}" in seen[0]
    assert f"(process {other.pid} on " in seen[0]
    assert not progress.waiting


def test_a_line_names_only_what_is_not_free(ray_cluster: None) -> None:
    import ray

    free = ray.available_resources()  # actors of other tests may hold some
    cpus, gpus = free.get("CPU", 0.0), free.get("GPU", 0.0)
    assert waiting_for(cpus=cpus, gpus=gpus) == ""
    too_many = ray.cluster_resources()["CPU"] + 1
    assert re.match("waiting for [0-9]+ CPUs?: held by ", waiting_for(cpus=too_many, gpus=gpus))
