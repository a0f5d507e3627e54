"""The Python of a job: found from the processes that it runs under, whatever PATH says."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from florilegium.pipelines.cluster import launcher

COMMAND = f'exec "$(readlink /proc/$PPID/exe)" {launcher.__file__}'
STARTED_BY = "import subprocess, sys; sys.exit(subprocess.run({command!r}, shell=True).returncode)"
PROGRAM = """
import os, sys
print(sys.executable, os.environ["RAY_ADDRESS"], *sys.argv[1:])
sys.exit(7)
"""


@pytest.fixture
def own_python(tmp_path: Path) -> Path:
    """A virtual environment with a `florilegium` that prints how it was started."""
    folder = tmp_path / "venv"
    venv.create(folder, symlinks=True)
    (site,) = (folder / "lib").glob("*/site-packages")
    (site / "florilegium").mkdir()
    (site / "florilegium" / "__main__.py").write_text(PROGRAM, "utf-8")
    info = site / "florilegium-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: florilegium\nVersion: 9.9\n")
    return folder / "bin" / "python"


def run(raylet: list[str], arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command of a job as Ray does: a child of a worker of a raylet."""
    worker = [sys.executable, "-c", STARTED_BY.format(command=f"{COMMAND} {arguments}")]
    code = f"import subprocess, sys; sys.exit(subprocess.run({worker!r}).returncode)"
    return subprocess.run(
        [sys.executable, "-c", code, *raylet],
        env={"PATH": "/usr/bin:/bin", "RAY_ADDRESS": "10.0.0.1:1", **variables},
        capture_output=True,
        text=True,
    )


def raylet_of(python: Path) -> list[str]:
    started = f"{python} /site/setup_worker.py /site/default_worker.py --gcs-address=10.9.9.9:9"
    return [f"--python_worker_command={started}", "--gcs-address=10.2.2.2:6379"]


def test_the_command_runs_in_rays_environment_on_its_own_cluster(own_python: Path) -> None:
    done = run(raylet_of(own_python), "9.9 build x.yaml --check")
    assert done.stdout.split() == [
        *(str(own_python), "10.2.2.2:6379", "build", "x.yaml", "--check")
    ], done.stderr
    assert done.returncode == 7
    assert done.stderr == ""


def test_a_job_with_packages_of_its_own_runs_in_their_environment(own_python: Path) -> None:
    other = raylet_of(Path("/no/such/python"))
    environment = str(own_python.parents[1])
    done = run(other, "--pip 9.9 build x.yaml", VIRTUAL_ENV=environment)
    assert done.stdout.split()[0] == str(own_python), done.stderr


def test_another_version_on_the_cluster_is_a_warning(own_python: Path) -> None:
    done = run(raylet_of(own_python), "9.8 build x.yaml")
    assert done.returncode == 7
    assert done.stderr == "warning this cluster has florilegium 9.9, submitted by 9.8\n"


def test_a_cluster_without_florilegium_is_wrong_usage_with_the_cure(
    own_python: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    venv.create(bare, symlinks=True)
    done = run(raylet_of(bare / "bin" / "python"), "0.3 build x.yaml")
    assert done.returncode == 2
    assert f"florilegium is not installed in {bare}/bin/python" in done.stderr
    assert "--pip 'florilegium==0.3'" in done.stderr


def test_a_job_that_no_raylet_started_says_what_it_looked_for() -> None:
    done = run([], "0.3 build x.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("error cannot find Ray's Python: the parent of the job's parent")


def test_the_parent_of_a_process_is_read_from_the_kernel() -> None:
    assert launcher.parent_of(os.getpid()) == os.getppid()
    assert launcher.command_of(os.getpid())[0]
