"""`submit` and `job`, as a user has them, on a job server on loopback."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.end_to_end.conftest import Command
from tests.pipelines.cluster.conftest import _no_settings_of_ray, server
from tests.pipelines.cluster.server import JobServer

__all__ = ["_no_settings_of_ray", "server"]

SECRET = "a-very-secret-value"
pytestmark = pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config with a plugin of one's own, in the folder that we stand in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "stage.py").write_text("class Stage: ...\n", "utf-8")
    (tmp_path / "mine" / "weights.bin").write_bytes(b"w" * 5000)
    (tmp_path / "mine" / ".gitignore").write_text("*.bin\n", "utf-8")
    document = {
        "source": "s3://bucket/in",
        "output": "s3://bucket/out",
        "specialists": {"mine": {"use": "stage:Stage"}},
        "plugin_path": "mine",
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    return path


def the_job(server: JobServer) -> Any:
    (job,) = server.jobs.values()
    return job


def test_a_build_is_submitted_with_what_it_needs(
    server: JobServer, config: Path, florilegium: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    options = ("--set", "shard_size=7", "--env", "HF_TOKEN", "--env", "MODE=fast", "--check")
    done = florilegium("submit", config, "--address", server.address, *options)
    assert done.code == 0, done.err
    job = the_job(server)
    name = job["submission_id"]
    assert done.out.splitlines() == [
        "sent     config: 1 file, 0.2 kB",
        "sent     plugins of mine: 1 file, 0.0 kB",
        "env      HF_TOKEN, MODE",
        f"job      {name}",
        "dataset  s3://bucket/out",
        f"follow   florilegium job logs {name} --address {server.address} --wait",
    ]
    assert SECRET not in done.out + done.err + json.dumps(job["metadata"])
    assert job["entrypoint"].endswith("build florilegium_job.yaml --check")
    assert job["runtime_env"]["env_vars"] == {
        "RAY_JOB_STOP_WAIT_TIME_S": "30",
        "HF_TOKEN": SECRET,
        "MODE": "fast",
    }
    (data,) = server.packages.values()
    package = zipfile.ZipFile(io.BytesIO(data))
    assert {one for one in package.namelist() if not one.endswith("/")} == {
        "florilegium_job.yaml",
        "florilegium_job.py",
        "florilegium_plugins/0/stage.py",
    }
    assert yaml.safe_load(package.read("florilegium_job.yaml"))["shard_size"] == 7


@pytest.mark.parametrize(
    ("status", "exit_code", "code"),
    [("SUCCEEDED", 0, 0), ("FAILED", 1, 1), ("FAILED", 2, 2), ("STOPPED", None, 130)],
)
def test_waiting_prints_the_log_and_ends_with_the_code_of_the_job(
    server: JobServer,
    config: Path,
    florilegium: Command,
    status: str,
    exit_code: int | None,
    code: int,
) -> None:
    server.status, server.exit_code = status, exit_code  # type: ignore[assignment]
    done = florilegium("submit", config, "--address", server.address, "--wait")
    assert done.code == code
    assert "\na line\nanother line\n" in done.out
    assert done.out.endswith(f"{status}, exit code {code}\n")
    name = the_job(server)["submission_id"]
    again = florilegium("job", "logs", name, "--address", server.address, "--wait")
    assert again.code == code


def test_a_job_that_could_not_start_says_why(
    server: JobServer, config: Path, florilegium: Command
) -> None:
    server.status, server.exit_code = "FAILED", None  # type: ignore[assignment]
    florilegium("submit", config, "--address", server.address)
    the_job(server)["message"] = "runtime_env setup failed: no such package: timmm"
    name = the_job(server)["submission_id"]
    done = florilegium("job", "logs", name, "--address", server.address, "--wait")
    assert done.code == 1
    assert "error runtime_env setup failed: no such package: timmm" in done.err


def test_a_job_that_lacks_a_package_ends_with_the_cure(
    server: JobServer, config: Path, florilegium: Command
) -> None:
    submit = ("submit", config, "--address", server.address, "--wait")
    assert "--pip" not in florilegium(*submit).err
    server.log = ["error stage 'mine' cannot be imported: No module named 'timm'\n"]
    server.status, server.exit_code = "FAILED", 2
    done = florilegium(*submit)
    assert done.code == 2
    assert "a package is missing there: `submit --pip PACKAGE` installs it for this" in done.err


def test_the_same_command_twice_is_one_job(
    server: JobServer, config: Path, florilegium: Command
) -> None:
    florilegium("submit", config, "--address", server.address)
    again = florilegium("submit", config, "--address", server.address)
    name = the_job(server)["submission_id"]
    assert (again.code, again.out.splitlines()[0]) == (0, f"job      {name}, which runs already")
    other = florilegium("submit", config, "--address", server.address, "--replace")
    assert other.code == 3
    assert f"the job {name} of this cluster writes s3://bucket/out" in other.err


@pytest.fixture
def refinement(config: Path) -> Path:
    """A config of a refinement, whose output all nodes mount."""
    document = yaml.safe_load(config.read_text("utf-8"))
    train = {"model": "owner/name", "tasks": {"caption": 1}, "steps": 1}
    document |= {"output": "/mnt/out", "refine": {"students": {"one": {}}, "train": train}}
    config.write_text(yaml.safe_dump(document), "utf-8")
    return config


def test_a_config_that_describes_a_refinement_is_refined_there(
    server: JobServer, refinement: Path, florilegium: Command
) -> None:
    done = florilegium("submit", refinement, "--address", server.address, "--verbose")
    assert done.code == 0, done.err
    job = the_job(server)
    assert job["entrypoint"].endswith("refine florilegium_job.yaml --verbose")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--check",), "the job runs `florilegium refine`, which has no --check"),
        (("--refresh",), "describes a refinement, which takes in what is new itself"),
        (("--output", "s3://bucket/out"), "students are trained on a mounted file system"),
        (("--output", "out"), "output = 'out' is a path on this machine"),
    ],
)
def test_a_refinement_that_could_not_run_there_is_not_sent(
    server: JobServer,
    refinement: Path,
    florilegium: Command,
    options: tuple[str, ...],
    words: str,
) -> None:
    done = florilegium("submit", refinement, "--address", server.address, *options)
    assert done.code == 2
    assert words in " ".join(done.err.split())
    assert server.jobs == {}


def test_a_build_accepts_nothing(server: JobServer, config: Path, florilegium: Command) -> None:
    done = florilegium("submit", config, "--address", server.address, "--accept")
    assert done.code == 2
    assert "the job runs `florilegium build`, which has no --accept" in " ".join(done.err.split())


def test_jobs_are_listed_looked_at_and_cancelled(
    server: JobServer, config: Path, florilegium: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", server.address)
    florilegium("submit", config)
    server.add("raysubmit_of_others")
    name = next(iter(server.jobs))
    (listed,) = json.loads(florilegium("job", "status", "--json").out)
    assert (listed["job"], listed["status"], listed["exit_code"]) == (name, "RUNNING", None)
    assert listed["output"] == "s3://bucket/out"
    assert name in florilegium("job", "status").out
    assert florilegium("job", "logs", "s3://bucket/out").out == "a line\nanother line\n"
    assert florilegium("job", "cancel", "s3://bucket/out").out == f"{name} STOPPED\n"
    one = json.loads(florilegium("job", "status", name, "--json").out)
    assert (one["status"], one["exit_code"]) == ("STOPPED", 130)
    assert florilegium("job", "cancel", name).out == f"{name} had ended before: STOPPED\n"
    assert florilegium("job", "status", "florilegium-other-1").code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--address", "http://127.0.0.1:9"], 1, "no Ray cluster answers at http://127.0.0.1:9"),
        (["--address", "auto"], 2, "is no URL: give http://HEAD:8265"),
        ([], 2, "Missing option '--address'"),
        (["--address", "http://127.0.0.1:9", "--no-plugins"], 2, "names a module: --no-plugins"),
        (
            ["--address", "http://127.0.0.1:9", "--set", "refine={}"],
            2,
            "'refine.students' is missing",
        ),
        (["--address", "http://127.0.0.1:9", "--env", "NOT_SET"], 2, "--env NOT_SET: it is not"),
    ],
)
def test_what_cannot_be_submitted_is_an_error_with_the_cure(
    config: Path, florilegium: Command, arguments: list[str], code: int, message: str
) -> None:
    found = florilegium("submit", config, *arguments)
    assert found.code == code
    assert message in found.err
    assert "Traceback" not in found.err


def test_a_path_of_this_machine_is_refused_before_anything_is_sent(
    server: JobServer, config: Path, florilegium: Command
) -> None:
    found = florilegium("submit", config, "--address", server.address, "--output", "out/mine")
    assert found.code == 2
    assert "output = 'out/mine' is a path on this machine: give a URL" in found.err
    assert not server.jobs
    assert not server.packages
